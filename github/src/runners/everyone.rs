//! All runners of a list, whoever made them. Only a shadow asks this: it looks at the runners of another system.

use http::Method;
use muster_reconciler::failure::{Failure, FailureKind};
use muster_reconciler::ids::ListId;

use super::{RunnerPage, base};
use crate::{ApiCall, GitHub};

/// The rows on a page; GitHub's maximum.
const PAGE_ROWS: usize = 100;
/// The most pages of a list. GitHub admits 10,000 runners in a runner group.
const PAGES_MAX: usize = 1000;

/// A runner of anybody's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnyRunner {
    /// Its name.
    pub name: String,
    /// Whether it is connected.
    pub online: bool,
    /// Whether it has a job, as far as GitHub says.
    pub busy: bool,
}

impl GitHub {
    /// All runners of a list.
    ///
    /// # Errors
    /// When a page cannot be read.
    pub async fn everyone(&self, list_id: &ListId) -> Result<Vec<AnyRunner>, Failure> {
        let mut all = Vec::new();
        for page in 1..=PAGES_MAX {
            let path = format!("{}/actions/runners?per_page={PAGE_ROWS}&page={page}", base(&list_id.scope));
            let what = format!("list the runners of {} (page {page})", list_id.scope);
            let (call, answer) = self.ask(list_id, ApiCall::new("github.ListRunners", Method::GET, path, what)).await?;
            let found: RunnerPage = answer.json(&call)?;
            let rows = found.runners.len();
            all.extend(found.runners.into_iter().map(|r| AnyRunner { online: r.online(), busy: r.busy, name: r.name }));
            if rows < PAGE_ROWS {
                return Ok(all);
            }
        }
        let message = format!("list the runners of {}: there are more than muster reads", list_id.scope);
        Err(Failure::new(FailureKind::Refused, message))
    }
}
