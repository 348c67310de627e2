//! Which pool a job's labels lead to. One rule serves the webhook (is this job for us?) and the controller (which pool does the
//! job count for?).

mod candidates;

use std::collections::BTreeMap;

pub use candidates::{Candidate, Precedence, Stance, candidates, example_repository, job_like};

use crate::event::JobEvent;
use crate::ids::{PoolName, Scope};
use crate::labels::SELF_HOSTED;
use crate::manifest::{Matching, RunnerPool, Spec, fits};
use crate::reason::{Foreign, Misfit, Unmatched};

/// Where a job belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// The job counts for this pool.
    Pool(PoolName),
    /// The job asks for a self-hosted runner, but no pool takes the job. muster keeps the job, with the pool that came nearest
    /// and what that pool lacks.
    Unmatched(Unmatched),
    /// The job is not for muster, and why.
    Foreign(Foreign),
}

/// Finds the pool that takes the job: the lowest `priority`, then the fewest labels that the job does not ask for, then the name. A
/// pool that is switched off (`capacity.max: 0`) takes only what no other pool takes.
pub fn route(spec: &Spec, event: &JobEvent) -> Route {
    match first(spec, event, |_| true) {
        Some(name) => Route::Pool(name.clone()),
        None if event.labels.is_empty() => ignored(spec, event).unwrap_or_else(|| without_labels(spec, event)),
        None => ignored(spec, event).unwrap_or_else(|| unmatched(spec, event)),
    }
}

/// Of the pools that take the job and are `open`, the one that comes first.
pub fn first<'a>(spec: &'a Spec, event: &JobEvent, open: impl Fn(&PoolName) -> bool) -> Option<&'a PoolName> {
    let fitting = spec.pools.iter().filter(|(name, pool)| takes(pool, event) && open(name));
    let ranked = fitting.map(|(name, pool)| {
        let extra = pool.spec.labels.len().saturating_sub(event.labels.len());
        (pool.spec.capacity.max == 0, pool.spec.priority, extra, name)
    });
    ranked.min().map(|(.., name)| name)
}

/// Whether the pool takes the job, if no other one does.
pub fn takes(pool: &RunnerPool, event: &JobEvent) -> bool {
    admits(pool, event) && !event.labels.is_empty() && misfit(pool, &event.labels).is_none()
}

/// Whether the pool's manifest admits the job's repository.
pub fn admits(pool: &RunnerPool, event: &JobEvent) -> bool {
    covers(&pool.spec.github.scope, event) && repository_allowed(pool, &event.repo)
}

/// Routes a job that no pool takes.
fn unmatched(spec: &Spec, event: &JobEvent) -> Route {
    let mut nearest: Option<(usize, &PoolName, Misfit)> = None;
    let mut barred: Option<&PoolName> = None;
    for (name, pool) in spec.pools.iter().filter(|(_, pool)| covers(&pool.spec.github.scope, event)) {
        if !repository_allowed(pool, &event.repo) {
            barred.get_or_insert(name);
            continue;
        }
        if let Some((distance, misfit)) = misfit(pool, &event.labels)
            && nearest.as_ref().is_none_or(|(d, ..)| distance < *d)
        {
            nearest = Some((distance, name, misfit));
        }
    }
    let asks = event.labels.iter().any(|l| asks_for_own(l));
    match (nearest, barred) {
        (None, Some(pool)) => Route::Foreign(Foreign::Barred { pool: pool.clone(), repo: event.repo.clone() }),
        (Some((_, nearest, misfit)), _) if asks => Route::Unmatched(Unmatched::Misfit { nearest: nearest.clone(), misfit }),
        (None, None) if asks => Route::Unmatched(Unmatched::Unserved { repo: event.repo.clone() }),
        _ => Route::Foreign(Foreign::NotAsked { labels: event.labels.clone() }),
    }
}

/// The most routes that are remembered.
const REMEMBERED: usize = 10_000;

/// The routes found so far under one set of manifests. Many jobs have the same repository and labels, and there may be hundreds of
/// pools.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Routes {
    found: BTreeMap<RoutedBy, Route>,
}

/// All of an event that decides its route: the repository, the organisation, the enterprise, and the labels.
pub type RoutedBy = (String, Option<String>, Option<String>, Vec<String>);

/// What decides the event's route.
pub fn routed_by(event: &JobEvent) -> RoutedBy {
    (event.repo.clone(), event.org.clone(), event.enterprise.clone(), event.labels.clone())
}

impl Routes {
    /// Finds the route, or remembers it.
    pub fn find(&mut self, spec: &Spec, event: &JobEvent) -> Route {
        let by = routed_by(event);
        if let Some(known) = self.found.get(&by) {
            return known.clone();
        }
        if self.found.len() >= REMEMBERED {
            self.found.clear();
        }
        let route = route(spec, event);
        self.found.insert(by, route.clone());
        route
    }
}

/// Routes a job whose `runs-on` has a `group` alone: "the runs-on key sends the job to any available runner in the group". The
/// webhook names no group. So nobody can tell which pool's runners are meant, or whether the group has GitHub's own larger
/// runners.
/// <https://docs.github.com/en/actions/how-tos/write-workflows/choose-where-workflows-run/choose-the-runner-for-a-job#choosing-runners-in-a-group>
fn without_labels(spec: &Spec, event: &JobEvent) -> Route {
    if !spec.pools.values().any(|pool| admits(pool, event)) {
        return Route::Foreign(Foreign::Unserved { repo: event.repo.clone() });
    }
    Route::Unmatched(Unmatched::NoLabels)
}

/// Whether a label is `self-hosted`, or was meant to contain it: several labels written as one, or a label with a line break.
fn asks_for_own(label: &str) -> bool {
    label.split(|c: char| c == ',' || c.is_whitespace() || c.is_control()).any(|part| part.eq_ignore_ascii_case(SELF_HOSTED))
}

/// Whether the pool's scope covers the job's repository.
pub fn covers(scope: &Scope, event: &JobEvent) -> bool {
    let same = |a: &str, b: &str| a.eq_ignore_ascii_case(b);
    let owner = event.repo.split('/').next().unwrap_or_default();
    match scope {
        Scope::Org(org) => same(org, event.org.as_deref().unwrap_or(owner)),
        Scope::Repo(o, name) => event.repo.split_once('/').is_some_and(|(a, b)| same(o, a) && same(name, b)),
        Scope::Enterprise(slug) => event.enterprise.as_deref().is_some_and(|e| same(slug, e)),
    }
}

/// Whether the pool's list of repositories has this one. An empty list has every one.
pub fn repository_allowed(pool: &RunnerPool, repo: &str) -> bool {
    let globs = &pool.spec.github.repositories;
    globs.is_empty() || among(globs, repo).is_some()
}

/// The first pattern that fits the repository, whatever the case.
fn among<'a>(globs: &'a [String], repo: &str) -> Option<&'a String> {
    globs.iter().find(|pattern| fits(pattern, repo))
}

/// Whether `spec.ignore` of the Controller leaves the job to others.
fn ignored(spec: &Spec, event: &JobEvent) -> Option<Route> {
    let ignore = &spec.controller.spec.ignore;
    let asked = |label: &&String| event.labels.iter().any(|l| l.eq_ignore_ascii_case(label));
    let by = ignore.labels.iter().find(asked).or_else(|| among(&ignore.repositories, &event.repo))?;
    Some(Route::Foreign(Foreign::Ignored { by: by.clone() }))
}

/// How far the labels are from fitting, and what is wrong. None: the labels fit.
fn misfit(pool: &RunnerPool, job: &[String]) -> Option<(usize, Misfit)> {
    let has = |set: &[String], l: &str| set.iter().any(|x| x.eq_ignore_ascii_case(l));
    let labels: Vec<String> = job.iter().filter(|l| !has(&pool.spec.labels, l)).cloned().collect();
    if !labels.is_empty() {
        return Some((labels.len(), Misfit::Lacks { labels }));
    }
    if pool.spec.matching != Matching::Exact {
        return None;
    }
    let labels: Vec<String> = pool.spec.labels.iter().filter(|l| !has(job, l)).cloned().collect();
    if labels.is_empty() { None } else { Some((labels.len(), Misfit::Unasked { labels })) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{JobAbout, JobState};
    use crate::ids::{JobId, RunId};
    use crate::labels::listed;

    fn pool(name: &str, labels: &[&str]) -> (PoolName, RunnerPool) {
        let mut p = RunnerPool::default();
        p.metadata.name = name.into();
        p.spec.github.scope = Scope::Org("acme".into());
        p.spec.labels = labels.iter().map(|l| l.to_string()).collect();
        (name.into(), p)
    }

    fn spec(pools: impl IntoIterator<Item = (PoolName, RunnerPool)>) -> Spec {
        Spec { pools: pools.into_iter().collect(), ..Spec::default() }
    }

    fn job(labels: &[&str]) -> JobEvent {
        JobEvent {
            job: JobId(1),
            run: RunId(1),
            state: JobState::Queued,
            waiting: false,
            attempt: None,
            about: JobAbout::default(),
            repo: "acme/web".into(),
            org: Some("acme".into()),
            enterprise: None,
            labels: labels.iter().map(|l| l.to_string()).collect(),
            runner: None,
            runner_id: None,
            conclusion: None,
            queued_at: None,
            started_at: None,
        }
    }

    fn to(pool: &str) -> Route {
        Route::Pool(pool.into())
    }

    /// The route of a job that `pool`, the nearest, does not take, because it lacks `labels`.
    fn lacks(pool: &str, labels: &[&str]) -> Route {
        let misfit = Misfit::Lacks { labels: labels.iter().map(|l| (*l).to_owned()).collect() };
        Route::Unmatched(Unmatched::Misfit { nearest: pool.into(), misfit })
    }

    fn not_asked(labels: &[&str]) -> Route {
        Route::Foreign(Foreign::NotAsked { labels: labels.iter().map(|l| (*l).to_owned()).collect() })
    }

    #[test]
    fn the_closest_pool_takes_the_job_whatever_the_case() {
        let s = spec([pool("gpu", &["self-hosted", "linux", "x64", "gpu"]), pool("linux", &["self-hosted", "Linux", "x64"])]);
        assert_eq!(route(&s, &job(&["self-hosted", "linux"])), to("linux"));
        assert_eq!(route(&s, &job(&["SELF-HOSTED", "GPU"])), to("gpu"));
    }

    #[test]
    fn priority_goes_before_closeness_and_the_name_breaks_ties() {
        let mut cheap = pool("cheap", &["self-hosted", "linux", "x64", "spot"]);
        cheap.1.spec.priority = 1;
        let s = spec([pool("b", &["self-hosted", "linux"]), pool("a", &["self-hosted", "linux"]), cheap]);
        assert_eq!(route(&s, &job(&["linux"])), to("cheap"));
        assert_eq!(route(&spec([pool("b", &["linux"]), pool("a", &["linux"])]), &job(&["linux"])), to("a"));
    }

    #[test]
    fn a_pool_that_is_switched_off_takes_only_what_no_other_takes() {
        let (mut off, on) = (pool("a", &["self-hosted", "linux"]), pool("b", &["self-hosted", "linux"]));
        off.1.spec.capacity.max = 0;
        off.1.spec.priority = 0;
        assert_eq!(route(&spec([off.clone(), on]), &job(&["self-hosted", "linux"])), to("b"));
        assert_eq!(route(&spec([off]), &job(&["self-hosted", "linux"])), to("a"));
    }

    #[test]
    fn ignored_jobs_are_anothers_unless_a_pool_takes_them() {
        let mut s = spec([pool("linux", &["self-hosted", "linux"])]);
        s.controller.spec.ignore.labels = vec!["GPU".into()];
        s.controller.spec.ignore.repositories = vec!["acme/mobile-*".into()];
        let ignored = |by: &str| Route::Foreign(Foreign::Ignored { by: by.into() });
        assert_eq!(route(&s, &job(&["self-hosted", "gpu"])), ignored("GPU"));
        assert_eq!(route(&s, &job(&["self-hosted", "arm64"])), lacks("linux", &["arm64"]));
        let mobile = |labels: &[&str]| JobEvent { repo: "Acme/mobile-app".into(), ..job(labels) };
        assert_eq!(route(&s, &mobile(&["self-hosted", "macos"])), ignored("acme/mobile-*"));
        assert_eq!(route(&s, &mobile(&[])), ignored("acme/mobile-*"), "a group alone");
        assert_eq!(route(&s, &mobile(&["self-hosted", "linux"])), to("linux"), "a pool takes it");
    }

    #[test]
    fn exact_takes_the_same_set_only() {
        let mut p = pool("p", &["self-hosted", "linux"]);
        p.1.spec.matching = Matching::Exact;
        let s = spec([p]);
        assert_eq!(route(&s, &job(&["linux", "self-hosted"])), to("p"));
        let misfit = Misfit::Unasked { labels: vec!["linux".into()] };
        let nearest = Route::Unmatched(Unmatched::Misfit { nearest: "p".into(), misfit });
        assert_eq!(route(&s, &job(&["self-hosted"])), nearest);
    }

    #[test]
    fn a_job_that_no_pool_takes_says_which_came_nearest() {
        let s = spec([pool("linux", &["self-hosted", "linux"]), pool("win", &["self-hosted", "windows", "gpu"])]);
        assert_eq!(route(&s, &job(&["self-hosted", "windows", "arm64"])), lacks("win", &["arm64"]));
        assert_eq!(route(&s, &job(&["ubuntu-latest"])), not_asked(&["ubuntu-latest"]));
        // Two pools are equally near, so the first one is named.
        assert_eq!(route(&s, &job(&["self-hosted", "arm64"])), lacks("linux", &["arm64"]));
        // There is no pool at all.
        let unserved = Route::Unmatched(Unmatched::Unserved { repo: "acme/web".into() });
        assert_eq!(route(&spec([]), &job(&["self-hosted"])), unserved);
        assert_eq!(route(&spec([]), &job(&["ubuntu-latest"])), not_asked(&["ubuntu-latest"]));
    }

    #[test]
    fn odd_labels_are_shown_as_they_came_and_never_lost() {
        let s = spec([pool("linux", &["self-hosted", "linux", "x64"])]);
        for (labels, odd) in [
            (&["self-hosted", "linux\n"][..], "linux\n"),
            (&["self-hosted", "linux x64"], "linux x64"),
            (&["self-hosted", ""], ""),
            (&["self-hosted\n"], "self-hosted\n"),
            (&["self-hosted, linux, x64"], "self-hosted, linux, x64"),
            (&["Self-Hosted,linux"], "Self-Hosted,linux"),
        ] {
            assert_eq!(route(&s, &job(labels)), lacks("linux", &[odd]), "{labels:?}");
        }
        assert_eq!(listed(&job(&["linux", "a, b", "x\n", "\u{1b}[2J", ""]).labels, ","), r#"linux,"a, b","x\n","\u{1b}[2J","""#);
        assert_eq!(route(&s, &job(&["ubuntu-latest", "a, b"])), not_asked(&["ubuntu-latest", "a, b"]));
    }

    #[test]
    fn a_job_with_a_group_and_no_labels_is_kept_where_a_pool_serves_its_repository() {
        let s = spec([pool("linux", &["self-hosted", "linux"])]);
        assert_eq!(route(&s, &job(&[])), Route::Unmatched(Unmatched::NoLabels));
        let elsewhere = JobEvent { repo: "other/app".into(), org: Some("other".into()), ..job(&[]) };
        assert_eq!(route(&s, &elsewhere), Route::Foreign(Foreign::Unserved { repo: "other/app".into() }));
    }

    #[test]
    fn scope_and_repositories_bound_a_pool() {
        let mut p = pool("p", &["self-hosted"]);
        p.1.spec.github.repositories = vec!["acme/api-*".into()];
        let barred = Route::Foreign(Foreign::Barred { pool: "p".into(), repo: "acme/web".into() });
        assert_eq!(route(&spec([p.clone()]), &job(&["self-hosted"])), barred);
        p.1.spec.github.repositories = vec!["ACME/*".into()];
        assert_eq!(route(&spec([p.clone()]), &job(&["self-hosted"])), to("p"));
        for (scope, takes) in
            [("repo/acme/web", true), ("repo/acme/api", false), ("org/other", false), ("enterprise/acme", false)]
        {
            p.1.spec.github.scope = scope.parse().expect(scope);
            assert_eq!(route(&spec([p.clone()]), &job(&["self-hosted"])) == to("p"), takes, "{scope}");
        }
    }
}
