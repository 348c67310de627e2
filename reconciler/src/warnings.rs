//! What a valid manifest may not mean as its author thinks: each [`Warning`] says what GitHub will do.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::groups::{Admits, RunnerGroup, RunnerGroups};
use crate::ids::{ListId, PoolName, Scope};
use crate::manifest::{RunnerPool, Spec};
use crate::matching::repository_allowed;
use crate::time::{Time, human};
use crate::versions::{EndOf, VersionEnds, WARN_BEFORE};

/// How many repositories a warning names.
const NAMED: usize = 3;

/// Something that GitHub will not do as a pool's manifest seems to say, or not for long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Warning {
    /// The pool lists repositories, and its runners are in the group that admits every repository unless somebody narrowed it.
    /// What the group really admits is not known.
    OpenGroup,
    /// The pool lists repositories, and its runner group admits more.
    WideGroup {
        /// The runner group.
        group: String,
        /// The words for what the group admits beyond the pool's list.
        more: String,
    },
    /// The pool lists repositories, and GitHub did not say what its runner group admits.
    UnknownGroup {
        /// The runner group.
        group: String,
    },
    /// The pool's runner group admits public repositories.
    PublicGroup {
        /// The runner group.
        group: String,
    },
    /// The runners of another pool have all labels of this pool, in the same list and runner group.
    Overlap {
        /// The pool whose runners may get this pool's jobs.
        elsewhere: PoolName,
        /// The runner group of both.
        group: String,
    },
    /// GitHub soon stops serving a version of the runner program that the pool runs.
    VersionEnds {
        /// The version.
        version: String,
        /// What ends first.
        end: EndOf,
        /// The time that is left.
        left: Duration,
    },
    /// GitHub has stopped serving a version of the runner program that the pool runs.
    VersionEnded {
        /// The version.
        version: String,
        /// What ended first.
        end: EndOf,
        /// How long ago that was.
        ago: Duration,
    },
}

impl Warning {
    /// The words in metrics.
    pub const ALL: [&'static str; 7] =
        ["open_group", "wide_group", "unknown_group", "public_group", "overlap", "version_ends", "version_ended"];

    /// The word used in metrics.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Warning::OpenGroup => Warning::ALL[0],
            Warning::WideGroup { .. } => Warning::ALL[1],
            Warning::UnknownGroup { .. } => Warning::ALL[2],
            Warning::PublicGroup { .. } => Warning::ALL[3],
            Warning::Overlap { .. } => Warning::ALL[4],
            Warning::VersionEnds { .. } => Warning::ALL[5],
            Warning::VersionEnded { .. } => Warning::ALL[6],
        }
    }
}

impl Warning {
    /// What to do about it.
    pub const fn way_out(&self) -> &'static str {
        match self {
            Warning::OpenGroup => {
                "make a runner group with selected repositories at GitHub, and name it in spec.github.runnerGroup"
            }
            Warning::WideGroup { .. } => "select the group's repositories at GitHub, or list them in spec.github.repositories",
            Warning::UnknownGroup { .. } => "see the log for GitHub's answer; the App needs the permission Self-hosted runners",
            Warning::PublicGroup { .. } => "turn off \"Allow public repositories\" for the group at GitHub, unless that is meant",
            Warning::Overlap { .. } => {
                "give one of the two pools a runner group of its own, or this pool a label that the other one does not have"
            }
            Warning::VersionEnds { .. } | Warning::VersionEnded { .. } => {
                "set spec.bootstrap.version to latest or to a newer version, and run terraform apply; if it is latest, see that \
                 `muster sync` succeeds; if the image brings the runner program, make a newer image"
            }
        }
    }
}

/// What GitHub will do. [`Warning::way_out`] says what to do about it.
impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Warning::OpenGroup => f.write_str(
                "its runners are in the group Default, which admits every repository unless somebody narrowed it; \
                 github.repositories keeps no job off a runner",
            ),
            Warning::WideGroup { group, more } => write!(
                f,
                "its runner group {group} admits {more}, beyond github.repositories, and GitHub gives their jobs to its runners, too"
            ),
            Warning::UnknownGroup { group } => {
                write!(
                    f,
                    "GitHub did not say which repositories its runner group {group} admits, beyond github.repositories or not"
                )
            }
            Warning::PublicGroup { group } => write!(
                f,
                "its runner group {group} admits public repositories, and whoever opens a pull request there may run code on its \
                 runners"
            ),
            Warning::Overlap { elsewhere, group } => write!(
                f,
                "runners of pool {elsewhere} have all its labels and are in the same runner group, {group}, so GitHub may give a job of \
                 this pool to them"
            ),
            Warning::VersionEnds { version, end, left } => {
                write!(f, "in {} GitHub stops {} version {version}, which the pool runs", human(*left), end.doing())
            }
            Warning::VersionEnded { version, end, ago } => {
                write!(f, "GitHub stopped {} version {version}, which the pool runs, {} ago", end.doing(), human(*ago))
            }
        }
    }
}

/// The warnings about each pool's valid manifest, for pools with warnings only. What `groups` does not tell is not known.
pub fn of(spec: &Spec, groups: &RunnerGroups) -> BTreeMap<PoolName, Vec<Warning>> {
    let mut found: BTreeMap<PoolName, Vec<Warning>> = BTreeMap::new();
    let mut together: BTreeMap<(ListId, String), Vec<(&PoolName, &RunnerPool)>> = BTreeMap::new();
    for (name, pool) in &spec.pools {
        let warnings = of_group(pool, groups.of(pool));
        if !warnings.is_empty() {
            found.insert(name.clone(), warnings);
        }
        let key = (pool.list_id(), pool.spec.github.runner_group.to_ascii_lowercase());
        together.entry(key).or_default().push((name, pool));
    }
    for pools in together.values() {
        for (name, pool) in pools {
            for (elsewhere, _) in pools.iter().filter(|(other, them)| other != name && covers(them, pool)) {
                let group = pool.spec.github.runner_group.clone();
                found.entry((*name).clone()).or_default().push(Warning::Overlap { elsewhere: (*elsewhere).clone(), group });
            }
        }
    }
    found
}

/// The warnings about the runner group of one pool. None: what the group admits is not known.
pub fn of_group(pool: &RunnerPool, known: Option<&RunnerGroup>) -> Vec<Warning> {
    let github = &pool.spec.github;
    if matches!(github.scope, Scope::Repo(..)) {
        return Vec::new();
    }
    let group = || github.runner_group.clone();
    match known {
        None if !github.repositories.is_empty() && github.runner_group.eq_ignore_ascii_case("Default") => {
            vec![Warning::OpenGroup]
        }
        None => Vec::new(),
        Some(known) => {
            let listed = !github.repositories.is_empty();
            let unknown = (listed && known.admits == Admits::Unknown).then(|| Warning::UnknownGroup { group: group() });
            let wide = beyond(pool, &known.admits).map(|more| Warning::WideGroup { group: group(), more });
            unknown.into_iter().chain(wide).chain(known.public.then(|| Warning::PublicGroup { group: group() })).collect()
        }
    }
}

/// The warning about a version that ends within [`WARN_BEFORE`], or has ended.
pub fn of_version(version: &str, ends: &VersionEnds, now: Time) -> Option<Warning> {
    let (end, at) = ends.first().filter(|(_, at)| now + WARN_BEFORE >= *at)?;
    let version = version.to_owned();
    Some(match now >= at {
        true => Warning::VersionEnded { version, end, ago: now.since(at) },
        false => Warning::VersionEnds { version, end, left: at.since(now) },
    })
}

/// What a group admits beyond the repositories that the pool lists. None: nothing, or the pool lists none and so takes all.
fn beyond(pool: &RunnerPool, admits: &Admits) -> Option<String> {
    let scope = &pool.spec.github.scope;
    if pool.spec.github.repositories.is_empty() {
        return None;
    }
    match admits {
        Admits::Unknown => None,
        Admits::All => Some(format!("every repository of {scope}")),
        Admits::Private => Some(format!("every private repository of {scope}")),
        Admits::Selected(all) => {
            let more: Vec<&str> = all.iter().map(String::as_str).filter(|repo| !repository_allowed(pool, repo)).collect();
            let named = more.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
            match more.len() {
                0 => None,
                n if n <= NAMED => Some(named),
                n => Some(format!("{named} and {} more", n - NAMED)),
            }
        }
    }
}

/// Whether the runners of `them`, in the same list and runner group, have all labels of `pool`.
fn covers(them: &RunnerPool, pool: &RunnerPool) -> bool {
    let has = |label: &String| them.spec.labels.iter().any(|l| l.eq_ignore_ascii_case(label));
    pool.spec.labels.iter().all(has)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(name: &str, group: &str, labels: &[&str]) -> (PoolName, RunnerPool) {
        let mut pool = RunnerPool::default();
        pool.spec.github.scope = "org/acme".parse().expect("a scope");
        pool.spec.github.runner_group = group.into();
        pool.spec.labels = labels.iter().map(|l| (*l).to_owned()).collect();
        (name.into(), pool)
    }

    fn warnings(pools: impl IntoIterator<Item = (PoolName, RunnerPool)>, groups: &RunnerGroups) -> Vec<Warning> {
        let spec = Spec { pools: pools.into_iter().collect(), ..Spec::default() };
        of(&spec, groups).into_values().flatten().collect()
    }

    fn unknown() -> RunnerGroups {
        RunnerGroups::default()
    }

    #[test]
    fn runners_with_all_labels_of_another_pool_may_get_its_jobs_unless_a_group_keeps_them_apart() {
        let plain = || pool("plain", "Default", &["self-hosted", "linux"]);
        let warm = |group| pool("warm", group, &["self-hosted", "Linux", "warm"]);
        let overlap = Warning::Overlap { elsewhere: "warm".into(), group: "Default".into() };
        assert_eq!(warnings([plain(), warm("default")], &unknown()), [overlap]);
        assert_eq!(warnings([plain(), warm("trusted")], &unknown()), []);
        let mut elsewhere = warm("Default");
        elsewhere.1.spec.github.scope = "org/other".parse().expect("a scope");
        assert_eq!(warnings([plain(), elsewhere], &unknown()), []);
    }

    #[test]
    fn repositories_are_no_boundary_in_the_group_of_everybody() {
        let mut listed = pool("listed", "Default", &["self-hosted"]);
        listed.1.spec.github.repositories = vec!["acme/web".into()];
        assert_eq!(warnings([listed.clone()], &unknown()), [Warning::OpenGroup]);
        listed.1.spec.github.runner_group = "web".into();
        assert_eq!(warnings([listed.clone()], &unknown()), []);
        listed.1.spec.github.runner_group = "Default".into();
        listed.1.spec.github.scope = "repo/acme/web".parse().expect("a scope");
        assert_eq!(warnings([listed], &unknown()), [], "a repository has no groups");
    }

    #[test]
    fn a_group_that_admits_more_than_the_pool_lists_is_told_with_what_it_admits() {
        let mut listed = pool("listed", "Default", &["self-hosted"]);
        let judge = |pool: &(PoolName, RunnerPool), admits, public| {
            let mut groups = RunnerGroups::default();
            groups.insert(&pool.1.list_id(), "DEFAULT", RunnerGroup { admits, public });
            warnings([pool.clone()], &groups)
        };
        let selected = |names: &[&str]| Admits::Selected(names.iter().map(|name| (*name).to_owned()).collect());
        let group = || "Default".to_owned();
        assert_eq!(judge(&listed, Admits::All, false), [], "the pool takes every repository");
        assert_eq!(judge(&listed, Admits::All, true), [Warning::PublicGroup { group: group() }]);
        listed.1.spec.github.repositories = vec!["acme/web".into(), "acme/api-*".into()];
        let wide = |more: &str| Warning::WideGroup { group: group(), more: more.into() };
        assert_eq!(judge(&listed, Admits::All, false), [wide("every repository of org/acme")]);
        assert_eq!(judge(&listed, Admits::Private, false), [wide("every private repository of org/acme")]);
        assert_eq!(judge(&listed, selected(&["acme/web", "acme/api-1"]), false), [], "a group that is narrow enough");
        assert_eq!(judge(&listed, selected(&["acme/web", "acme/x"]), false), [wide("acme/x")]);
        assert_eq!(judge(&listed, Admits::Unknown, false), [Warning::UnknownGroup { group: group() }]);
        let many = selected(&["acme/a", "acme/b", "acme/c", "acme/d", "acme/e"]);
        assert_eq!(judge(&listed, many, false), [wide("acme/a, acme/b, acme/c and 2 more")]);
    }

    #[test]
    fn the_earlier_of_the_two_dates_is_warned_of_from_two_weeks_before() {
        const DAY: Duration = Duration::from_secs(86_400);
        let day = |n: u32| Time::ZERO + DAY * n;
        let both = VersionEnds { registration: Some(day(100)), runtime: Some(day(90)) };
        let ends = |now| of_version("2.1.0", &both, now);
        assert_eq!(ends(day(75)), None);
        assert_eq!(both.first(), Some((EndOf::Runtime, day(90))));
        let left = |left| Some(Warning::VersionEnds { version: "2.1.0".into(), end: EndOf::Runtime, left });
        assert_eq!(ends(day(76)), left(14 * DAY));
        assert_eq!(ends(day(89)), left(DAY));
        assert_eq!(
            ends(day(90)),
            Some(Warning::VersionEnded { version: "2.1.0".into(), end: EndOf::Runtime, ago: Duration::ZERO })
        );
        let registration = VersionEnds { registration: Some(day(80)), ..both };
        assert!(matches!(
            of_version("2.1.0", &registration, day(79)),
            Some(Warning::VersionEnds { end: EndOf::Registration, .. })
        ));
        assert_eq!(of_version("2.1.0", &VersionEnds::default(), day(76)), None, "GitHub's newest version has no date");
    }
}
