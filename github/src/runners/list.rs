//! The sweep of one list of runners, page by page. Each request is conditional, so a page that did not change costs no rate
//! limit.
//!
//! What muster remembers of a list changes only when a whole sweep succeeded. Otherwise a sweep that failed half-way could store
//! the new ETag of a page whose news was never told, and the next sweep would get "unchanged" for that page.
//!
//! GitHub's pages are counted by rows. When a runner disappears while muster reads, another runner may move across the edge of a
//! page, so that the sweep misses it. Therefore the core believes that a runner is absent only when two sweeps did not show it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use http::{Method, StatusCode, header};
use muster_reconciler::effect::{Outcome, RunnerSighting, Swept};
use muster_reconciler::failure::{Failure, FailureKind};
use muster_reconciler::ids::{ListId, RunnerId, RunnerName};

use super::{RunnerPage, base};
use crate::{ApiCall, GitHub, GoodAnswer};

/// The rows on a page; GitHub's maximum.
const PAGE_ROWS: u64 = 100;
/// The most pages of a list. GitHub admits 10,000 runners in a runner group.
const PAGES_MAX: usize = 1000;

/// What muster remembers of each list, by list and cluster. The inner lock is held for a whole sweep.
pub(crate) type Lists = Mutex<BTreeMap<(ListId, String), Arc<tokio::sync::Mutex<Vec<Arc<Page>>>>>>;

/// One page, as it was when GitHub last sent it.
pub(crate) struct Page {
    etag: Option<String>,
    /// The number of rows in the whole list, those of other clusters included.
    total: u64,
    ours: Vec<RunnerSighting>,
}

impl Page {
    /// Reads the rows of `cluster`'s runners.
    fn read(answer: &GoodAnswer, call: &ApiCall, cluster: &str) -> Result<Page, Failure> {
        let found: RunnerPage = answer.json(call)?;
        // Neighbours in the list usually have the same labels and the same version, so they share them.
        let mut last: Arc<[String]> = Arc::default();
        let mut last_version: Option<Arc<str>> = None;
        let ours = found.runners.into_iter().filter_map(|runner| {
            let (online, name) = (runner.online(), RunnerName::parse_ours(&runner.name, cluster)?);
            if !runner.labels.iter().map(|l| &l.name).eq(last.iter()) {
                last = runner.labels.into_iter().map(|l| l.name).collect();
            }
            if runner.version.as_deref() != last_version.as_deref() {
                last_version = runner.version.map(Arc::from);
            }
            let (labels, version) = (last.clone(), last_version.clone());
            Some(RunnerSighting { id: RunnerId(runner.id), name, online, busy: runner.busy, labels, version })
        });
        let etag = answer.headers.get(header::ETAG).and_then(|etag| etag.to_str().ok()).map(str::to_owned);
        Ok(Page { etag, total: found.total_count, ours: ours.collect() })
    }
}

#[cfg(fuzzing)]
pub(super) fn fuzzed(answer: &GoodAnswer, call: &ApiCall) {
    let _ = Page::read(answer, call, "prod");
}

impl GitHub {
    /// Sweeps a list for the runners of `cluster`. The outcome is `Swept(Runners(None))` if no page changed since the last sweep
    /// that succeeded, and else it has all runners of the cluster. It is `Failed` if one page could not be read.
    pub async fn list(&self, list_id: &ListId, cluster: &str) -> Outcome {
        match self.sweep(list_id, cluster).await {
            Ok(runners) => Outcome::Swept(Swept::Runners(runners)),
            Err(failure) => Outcome::Failed(failure),
        }
    }

    async fn sweep(&self, list_id: &ListId, cluster: &str) -> Result<Option<Vec<RunnerSighting>>, Failure> {
        let list = {
            let mut lists = self.0.lists.lock().unwrap_or_else(PoisonError::into_inner);
            lists.entry((list_id.clone(), cluster.to_owned())).or_default().clone()
        };
        let mut remembered = list.lock().await;
        let mut pages: Vec<Arc<Page>> = Vec::new();
        let mut changed = false;
        loop {
            let old = remembered.get(pages.len());
            let new = self.page(list_id, cluster, pages.len() + 1, old.and_then(|page| page.etag.clone())).await?;
            changed |= new.is_some();
            // GitHub answers "unchanged" only to a request with the ETag of an old page.
            let Some(page) = new.map(Arc::new).or_else(|| old.cloned()) else { break };
            let total = page.total;
            pages.push(page);
            if pages.len() as u64 * PAGE_ROWS >= total {
                break;
            }
            if pages.len() == PAGES_MAX {
                let message = format!("list the runners of {}: there are {total}, more than muster reads", list_id.scope);
                return Err(Failure::new(FailureKind::Refused, message));
            }
        }
        changed |= pages.len() != remembered.len();
        // From here on nothing can fail and nothing waits, so the caller gets the news of exactly what is stored.
        *remembered = pages;
        if !changed {
            return Ok(None);
        }
        let ours = remembered.iter().flat_map(|page| &page.ours).map(|runner| (runner.id, runner.clone()));
        Ok(Some(ours.collect::<BTreeMap<_, _>>().into_values().collect()))
    }

    /// Reads one page. None: the page has not changed since GitHub sent `etag`.
    async fn page(&self, list_id: &ListId, cluster: &str, number: usize, etag: Option<String>) -> Result<Option<Page>, Failure> {
        let path = format!("{}/actions/runners?per_page={PAGE_ROWS}&page={number}", base(&list_id.scope));
        let what = format!("list the runners of {} (page {number})", list_id.scope);
        let call = ApiCall { etag, ..ApiCall::new("github.ListRunners", Method::GET, path, what) };
        let (call, answer) = self.ask(list_id, call).await?;
        if answer.status == StatusCode::NOT_MODIFIED {
            return Ok(None);
        }
        Page::read(&answer, &call, cluster).map(Some)
    }
}
