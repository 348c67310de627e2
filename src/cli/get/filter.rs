//! The filters of `muster get`: by pool, repository, run, state, reason and age.

use std::collections::BTreeSet;

use clap_complete::engine::ArgValueCompleter;
use muster_reconciler::event::JobState;
use muster_reconciler::manifest::{Span, fits};
use muster_reconciler::reason::{Blocked, JobReason, PoolReason, Standing};
use muster_reconciler::runner::Phase;
use muster_reconciler::view::{JobView, PoolView, RunnerView, Switch};

use super::ListKind;
use crate::cli::complete;
use crate::cli::fault::CliError;
use crate::cli::pasted::{nearest, pool_name};

/// Which of the listed things are shown.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct Filters {
    /// Only what belongs to this pool.
    #[arg(long, value_name = "NAME", value_parser = pool_name, add = ArgValueCompleter::new(complete::pools))]
    pub pool: Option<String>,
    /// Only jobs of this repository; `*` stands for any text, as in acme/*.
    #[arg(long, value_name = "OWNER/NAME")]
    pub repo: Option<String>,
    /// Only jobs of this workflow run.
    #[arg(long, value_name = "RUN")]
    pub run: Option<u64>,
    /// Only what is in this state, such as queued or in_progress (jobs), idle or busy (runners), paused (pools); or in one of
    /// several, as in idle,busy.
    #[arg(long, value_name = "STATE", value_delimiter = ',')]
    pub state: Vec<String>,
    /// Only what has this reason: the word that -o wide (jobs) and -o json show, such as paused or unmatched; or one of several.
    #[arg(long, value_name = "WORD", value_delimiter = ',')]
    pub reason: Vec<String>,
    /// Only jobs and runners that the controller has known no longer than this, such as 10m.
    #[arg(long, value_name = "DURATION")]
    pub since: Option<Span>,
}

impl Filters {
    /// Checks that the filters make sense for a list. The words are spelt as the API spells them from then on.
    pub fn settle(&mut self, kinds: &[ListKind]) -> Result<(), CliError> {
        let only_for = |given: bool, flag: &str, of: &[ListKind]| match kinds.iter().find(|kind| !of.contains(kind)) {
            Some(kind) if given => {
                let fitting: Vec<&str> = of.iter().map(|kind| kind.as_str()).collect();
                Err(CliError::Usage(format!(
                    "{kind} have no {flag}; leave it out, or list {}",
                    fitting.join(" or "),
                    kind = kind.as_str()
                )))
            }
            _ => Ok(()),
        };
        only_for(self.repo.is_some(), "--repo", &[ListKind::Jobs])?;
        only_for(self.run.is_some(), "--run", &[ListKind::Jobs])?;
        only_for(self.since.is_some(), "--since", &[ListKind::Jobs, ListKind::Runners])?;
        let any = self.pool.is_some() || !self.state.is_empty() || !self.reason.is_empty();
        only_for(any, "--pool, --state or --reason", &[ListKind::Pools, ListKind::Jobs, ListKind::Runners])?;
        for word in self.state.iter_mut().chain(&mut self.reason) {
            *word = word.trim().to_ascii_lowercase().replace('-', "_");
        }
        for word in &mut self.state {
            if word == "running" {
                *word = JobState::InProgress.as_str().to_owned();
            }
        }
        let states: BTreeSet<&str> = kinds.iter().flat_map(|kind| states(*kind)).collect();
        match self.state.iter().find(|word| !states.contains(word.as_str())) {
            Some(word) => Err(CliError::Usage(unknown("state", word, &states))),
            None => Ok(()),
        }
    }

    /// The error of a reason that nothing has, if no release up to this one knows the word. A newer controller may know more words.
    pub fn unknown_reason(&self) -> Option<CliError> {
        let words = [JobReason::WORDS, Blocked::WORDS, PoolReason::WORDS, Standing::WORDS].concat();
        let words: BTreeSet<&str> = words.into_iter().collect();
        let word = self.reason.iter().find(|word| !words.contains(word.as_str()))?;
        Some(CliError::Usage(unknown("reason", word, &words)))
    }

    /// Whether the pool is shown.
    pub fn pool(&self, pool: &PoolView) -> bool {
        let switch = if pool.paused { Switch::Paused } else { Switch::Active };
        self.pool.as_ref().is_none_or(|name| *name == pool.name)
            && self.state(switch.as_str())
            && self.reason(&[pool.code.word()])
    }

    /// Whether the job is shown.
    pub fn job(&self, job: &JobView) -> bool {
        let of_repo = |pattern: &String| fits(pattern, &job.repo);
        self.of_pool(job.pool.as_deref())
            && self.repo.as_ref().is_none_or(of_repo)
            && self.run.is_none_or(|run| run == job.run)
            && self.state(job.state.as_str())
            && self.reason(&[job.why.as_str(), job.code.word()])
            && self.age(job.age_seconds)
    }

    /// Whether the runner is shown.
    pub fn runner(&self, runner: &RunnerView) -> bool {
        self.of_pool(Some(&runner.pool))
            && self.state(runner.phase.as_str())
            && self.reason(&[runner.code.word()])
            && self.age(runner.age_seconds)
    }

    fn of_pool(&self, pool: Option<&str>) -> bool {
        self.pool.is_none() || self.pool.as_deref() == pool
    }

    fn state(&self, state: &str) -> bool {
        self.state.is_empty() || self.state.iter().any(|word| word == state)
    }

    fn reason(&self, words: &[&str]) -> bool {
        self.reason.is_empty() || self.reason.iter().any(|word| words.contains(&word.as_str()))
    }

    fn age(&self, seconds: u64) -> bool {
        self.since.is_none_or(|since| seconds <= since.get().as_secs())
    }
}

/// The words for the states of what a list has.
fn states(kind: ListKind) -> Vec<&'static str> {
    match kind {
        ListKind::Pools => vec![Switch::Active.as_str(), Switch::Paused.as_str()],
        ListKind::Jobs => vec![JobState::Queued.as_str(), JobState::InProgress.as_str()],
        ListKind::Runners => Phase::ALL.map(Phase::as_str).to_vec(),
        ListKind::Prices => Vec::new(),
    }
}

fn unknown(what: &str, word: &str, known: &BTreeSet<&str>) -> String {
    match nearest(word, known.iter().copied()) {
        near if !near.is_empty() => format!("there is no {what} `{word}`; did you mean {}?", near.join(" or ")),
        _ => format!("there is no {what} `{word}`; write one of {}", known.iter().copied().collect::<Vec<_>>().join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> JobView {
        JobView {
            id: 7,
            run: 3,
            repo: "acme/web".into(),
            state: JobState::InProgress,
            pool: Some("linux".into()),
            why: "running".into(),
            age_seconds: 600,
            ..JobView::default()
        }
    }

    fn settled(mut filters: Filters) -> Filters {
        filters.settle(&[ListKind::Jobs]).expect("they make sense");
        filters
    }

    #[test]
    fn every_filter_has_its_say() {
        let with = |change: fn(&mut Filters)| {
            let mut filters = Filters::default();
            change(&mut filters);
            settled(filters).job(&job())
        };
        assert!(with(|_| ()));
        assert!(with(|f| f.repo = Some("Acme/*".into())) && !with(|f| f.repo = Some("acme/api".into())));
        assert!(with(|f| f.pool = Some("linux".into())) && !with(|f| f.pool = Some("windows".into())));
        assert!(with(|f| f.run = Some(3)) && !with(|f| f.run = Some(4)));
        assert!(with(|f| f.state = vec!["Running".into()]) && !with(|f| f.state = vec!["queued".into()]));
        assert!(with(|f| f.state = vec!["queued".into(), "in-progress".into()]));
        assert!(with(|f| f.reason = vec!["running".into()]) && !with(|f| f.reason = vec!["paused".into()]));
        assert!(with(|f| f.since = Some(Span::secs(600))) && !with(|f| f.since = Some(Span::secs(599))));
    }

    #[test]
    fn a_filter_that_makes_no_sense_is_refused_with_the_way_out() {
        let refused = |mut filters: Filters, kinds: &[ListKind]| filters.settle(kinds).expect_err("refused").to_string();
        let state = |word: &str| Filters { state: vec![word.into()], ..Filters::default() };
        assert_eq!(refused(state("bsuy"), &[ListKind::Runners]), "there is no state `bsuy`; did you mean busy?");
        assert!(refused(state("idle"), &[ListKind::Jobs]).contains("write one of in_progress, queued"));
        let repo = Filters { repo: Some("acme/web".into()), ..Filters::default() };
        assert_eq!(refused(repo, &[ListKind::Runners]), "runners have no --repo; leave it out, or list jobs");
        let reason = |word: &str| Filters { reason: vec![word.into()], ..Filters::default() }.unknown_reason();
        assert!(reason("unmatched").is_none());
        assert!(reason("unmached").expect("no word").to_string().contains("did you mean unmatched"));
    }
}
