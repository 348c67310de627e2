//! What every pool says to a job: the pool that takes it, and why the others do not. The rules are those of the router.

use std::fmt;

use serde::Serialize;

use super::{covers, first, misfit, repository_allowed};
use crate::event::{JobAbout, JobEvent, JobState};
use crate::ids::{JobId, PoolName, RunId, Scope};
use crate::manifest::{RunnerPool, Spec};
use crate::reason::Misfit;

/// One pool, and what it says to a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Candidate {
    /// The pool.
    pub pool: PoolName,
    /// What it says.
    #[serde(flatten)]
    pub stance: Stance,
    /// Whether the job does not count for the pool, and yet GitHub may give it to the pool's runners, because they have all its
    /// labels. The runner group alone decides that.
    pub may_run: bool,
    /// The runner group of the pool's runners.
    pub runner_group: String,
}

/// What a pool says to a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "word", content = "fields", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub enum Stance {
    /// The pool takes the job.
    Takes,
    /// The pool would take the job, but another one comes first.
    Behind {
        /// The pool that takes the job.
        first: PoolName,
        /// What puts the other pool first.
        by: Precedence,
    },
    /// The pool's scope does not cover the job's repository.
    OutOfScope {
        /// The scope.
        scope: String,
    },
    /// The pool's repositories leave out the job's.
    Barred,
    /// The labels do not fit.
    Misfit(Misfit),
}

/// What puts one pool before another that would take the same job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Precedence {
    /// The later pool is switched off: its capacity.max is 0.
    SwitchedOff,
    /// The earlier pool has the lower priority number.
    Priority,
    /// The earlier pool has fewer labels that the job does not ask for.
    FewerLabels,
    /// The earlier pool's name comes first in the alphabet.
    Name,
}

impl fmt::Display for Precedence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Precedence::SwitchedOff => "this pool is switched off (capacity.max is 0)",
            Precedence::Priority => "its priority is lower, and the lowest comes first",
            Precedence::FewerLabels => "it has fewer labels that the job does not ask for",
            Precedence::Name => "its name comes first in the alphabet, and nothing else tells the two apart",
        })
    }
}

impl fmt::Display for Stance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stance::Takes => f.write_str("takes the job"),
            Stance::Behind { first, by } => write!(f, "would take it, but {first} comes first: {by}"),
            Stance::OutOfScope { scope } => write!(f, "its scope {scope} does not cover the repository"),
            Stance::Barred => f.write_str("its github.repositories leave out the repository"),
            Stance::Misfit(misfit) => write!(f, "{misfit}"),
        }
    }
}

/// What each pool says to the job: first the one that takes it, then those that would, then the others by name.
pub fn candidates(spec: &Spec, event: &JobEvent) -> Vec<Candidate> {
    let taken = first(spec, event, |_| true);
    let mut all: Vec<Candidate> = spec.pools.iter().map(|(name, pool)| candidate(spec, event, taken, name, pool)).collect();
    let rank = |candidate: &Candidate| match candidate.stance {
        Stance::Takes => 0,
        Stance::Behind { .. } => 1,
        _ => 2,
    };
    all.sort_by_key(rank);
    all
}

fn candidate(spec: &Spec, event: &JobEvent, taken: Option<&PoolName>, name: &PoolName, pool: &RunnerPool) -> Candidate {
    let scope = &pool.spec.github.scope;
    let stance = match (misfit(pool, &event.labels), taken) {
        _ if !covers(scope, event) => Stance::OutOfScope { scope: scope.to_string() },
        (Some((_, misfit)), _) => Stance::Misfit(misfit),
        _ if !repository_allowed(pool, &event.repo) => Stance::Barred,
        (None, Some(first)) if first != name => {
            let by = spec.pools.get(first).map_or(Precedence::Name, |other| precedence(other, pool));
            Stance::Behind { first: first.clone(), by }
        }
        (None, _) => Stance::Takes,
    };
    let has_all = !matches!(misfit(pool, &event.labels), Some((_, Misfit::Lacks { .. })));
    let may_run = stance != Stance::Takes && has_all && covers(scope, event);
    Candidate { pool: name.clone(), stance, may_run, runner_group: pool.spec.github.runner_group.clone() }
}

/// Why `first` comes before `later` for a job that both would take.
fn precedence(first: &RunnerPool, later: &RunnerPool) -> Precedence {
    let (a, b) = (&first.spec, &later.spec);
    if (a.capacity.max == 0) != (b.capacity.max == 0) {
        Precedence::SwitchedOff
    } else if a.priority != b.priority {
        Precedence::Priority
    } else if a.labels.len() != b.labels.len() {
        Precedence::FewerLabels
    } else {
        Precedence::Name
    }
}

/// A queued job of a repository that asks for these labels. The owner is taken to be an organisation, and to belong to the
/// enterprise of the pools, if one of them has such a scope.
pub fn job_like(spec: &Spec, repo: &str, labels: Vec<String>) -> JobEvent {
    let enterprise = spec.pools.values().find_map(|pool| match &pool.spec.github.scope {
        Scope::Enterprise(slug) => Some(slug.to_string()),
        Scope::Org(_) | Scope::Repo(..) => None,
    });
    JobEvent {
        job: JobId(0),
        run: RunId(0),
        state: JobState::Queued,
        waiting: false,
        attempt: None,
        repo: repo.to_owned(),
        org: repo.split('/').next().map(str::to_owned),
        enterprise,
        labels,
        runner: None,
        runner_id: None,
        conclusion: None,
        queued_at: None,
        started_at: None,
        about: JobAbout::default(),
    }
}

/// A repository whose jobs the pool takes.
pub fn example_repository(pool: &RunnerPool) -> String {
    let github = &pool.spec.github;
    match (github.repositories.first(), &github.scope) {
        (Some(glob), _) => glob.replace('*', "any"),
        (None, Scope::Org(owner) | Scope::Enterprise(owner)) => format!("{owner}/any"),
        (None, Scope::Repo(owner, name)) => format!("{owner}/{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Matching;

    fn pool(name: &str, labels: &[&str], change: impl FnOnce(&mut RunnerPool)) -> (PoolName, RunnerPool) {
        let mut pool = RunnerPool::default();
        pool.spec.github.scope = Scope::Org("acme".into());
        pool.spec.github.runner_group = "Default".into();
        pool.spec.labels = labels.iter().map(|label| (*label).to_owned()).collect();
        pool.spec.capacity.max = 5;
        change(&mut pool);
        (name.into(), pool)
    }

    fn said(spec: &Spec, repo: &str, labels: &[&str]) -> Vec<String> {
        let event = job_like(spec, repo, labels.iter().map(|label| (*label).to_owned()).collect());
        let line = |c: Candidate| format!("{}: {}{}", c.pool, c.stance, if c.may_run { " (may run)" } else { "" });
        candidates(spec, &event).into_iter().map(line).collect()
    }

    #[test]
    fn every_pool_says_what_it_makes_of_the_job() {
        let pools = [
            pool("exact", &["self-hosted", "linux", "warm"], |p| p.spec.matching = Matching::Exact),
            pool("gpu", &["self-hosted", "linux", "gpu"], |_| ()),
            pool("late", &["self-hosted", "linux"], |p| p.spec.priority = 500),
            pool("linux", &["self-hosted", "linux"], |_| ()),
            pool("other", &["self-hosted", "linux"], |p| p.spec.github.scope = Scope::Org("other".into())),
            pool("picky", &["self-hosted", "linux"], |p| p.spec.github.repositories = vec!["acme/api".into()]),
            pool("windows", &["self-hosted", "windows"], |_| ()),
        ];
        let spec = Spec { pools: pools.into_iter().collect(), ..Spec::default() };
        assert_eq!(
            said(&spec, "acme/web", &["self-hosted", "linux"]),
            [
                "linux: takes the job",
                "gpu: would take it, but linux comes first: it has fewer labels that the job does not ask for (may run)",
                "late: would take it, but linux comes first: its priority is lower, and the lowest comes first (may run)",
                "exact: it matches exactly and the job does not ask for [\"warm\"] (may run)",
                "other: its scope org/other does not cover the repository",
                "picky: its github.repositories leave out the repository (may run)",
                "windows: it lacks [\"linux\"]",
            ]
        );
        assert_eq!(said(&spec, "acme/web", &["macos"])[0], "exact: it lacks [\"macos\"]");
    }

    #[test]
    fn a_pool_that_is_off_comes_last_and_names_break_ties() {
        let off = pool("a", &["linux"], |p| p.spec.capacity.max = 0);
        let spec = Spec { pools: [off, pool("b", &["linux"], |_| ()), pool("c", &["linux"], |_| ())].into(), ..Spec::default() };
        let said = said(&spec, "acme/web", &["linux"]);
        assert!(said[0].starts_with("b: takes") && said[1].contains("switched off") && said[2].contains("alphabet"), "{said:?}");
    }
}
