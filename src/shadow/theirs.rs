//! What a shadow heard and saw of the other fleet, put together: its jobs, its instances, and when nobody watched.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use muster_operations::shadow::{BoxSeen, RunnerState, ShadowLine, ShadowLooks, ShadowSeen};
use muster_reconciler::event::{JobEvent, JobState};
use muster_reconciler::ids::{InstanceId, JobId};
use muster_reconciler::time::Time;
use muster_reconciler::verdict::{StepEnd, StepKind};

/// If two looks at the same are further apart than this, nobody watched in between. A shadow looks each minute.
const GAP: Duration = Duration::from_secs(300);

/// A job of the other fleet.
#[derive(Clone, Debug, PartialEq)]
pub struct TheirJob {
    /// The newest event.
    pub event: JobEvent,
    /// When GitHub queued it.
    pub queued: Time,
    /// When the shadow heard that it is queued. None: that event never came.
    pub heard: Option<Time>,
    /// When a runner took it. None: none has, as far as the shadow heard.
    pub started: Option<Time>,
    /// The runner that took it.
    pub runner: Option<String>,
    /// When it ended.
    pub ended: Option<Time>,
    /// Whether GitHub told when it ended. If not, `ended` is when the shadow heard of it, which may be late.
    pub end_told: bool,
    /// Its conclusion.
    pub conclusion: Option<String>,
    /// How its steps ended, if GitHub was asked.
    pub steps: Option<Vec<(StepKind, StepEnd)>>,
}

impl TheirJob {
    fn new(event: JobEvent, heard: Time) -> TheirJob {
        let (queued, heard) = (event.queued_at.unwrap_or(heard), None);
        TheirJob {
            event,
            queued,
            heard,
            started: None,
            runner: None,
            ended: None,
            end_told: false,
            conclusion: None,
            steps: None,
        }
    }

    /// How long it ran. None: it did not, or it is not over.
    pub fn ran(&self) -> Option<Duration> {
        Some(self.ended?.since(self.started?))
    }

    /// How long it waited for a runner. None: it never got one.
    pub fn waited(&self) -> Option<Duration> {
        Some(self.started?.since(self.queued))
    }

    /// The instance that its runner's name has in it. None: the name has none, as the names of pods.
    pub fn instance(&self) -> Option<InstanceId> {
        self.runner.as_deref().and_then(instance_in)
    }
}

/// An instance of the other fleet.
#[derive(Clone, Debug, PartialEq)]
pub struct TheirBox {
    /// What EC2 said last.
    pub seen: BoxSeen,
    /// When a look first showed that it is no longer up.
    pub down_by: Option<Time>,
}

impl TheirBox {
    /// When it ended: as EC2 tells, or the look that showed it. None: it is up.
    pub fn ended(&self) -> Option<Time> {
        let by = self.down_by?;
        Some(self.seen.ended_at.map_or(by, |at| at.min(by)))
    }
}

/// What one look at all lists of runners showed of the instances: for each that has a registration, whether it is idle.
#[derive(Clone, Debug, PartialEq)]
pub struct RunnersLook {
    /// When.
    pub at: Time,
    /// The state of each instance's runner.
    pub states: BTreeMap<InstanceId, RunnerState>,
}

/// The other fleet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Theirs {
    /// The time of the first line.
    pub from: Time,
    /// The time of the last line.
    pub until: Time,
    /// What the shadow looked at with success.
    pub looks: ShadowLooks,
    /// The jobs.
    pub jobs: BTreeMap<JobId, TheirJob>,
    /// The instances.
    pub boxes: BTreeMap<InstanceId, TheirBox>,
    /// The looks at the lists of runners, in order.
    pub runners: Vec<RunnersLook>,
    /// Spans in which something was not looked at, although it was before.
    pub gaps: Vec<(Time, Time)>,
    /// What failed, each with how often.
    pub failures: BTreeMap<String, u64>,
}

impl Theirs {
    /// Puts the lines together, whatever their order.
    pub fn of(mut lines: Vec<ShadowLine>) -> Theirs {
        lines.sort_by_key(|line| line.at);
        let (first, last) = (lines.first().map(|line| line.at), lines.last().map(|line| line.at));
        let mut all = Theirs { from: first.unwrap_or_default(), until: last.unwrap_or_default(), ..Theirs::default() };
        let mut lists: BTreeMap<String, BTreeMap<String, RunnerState>> = BTreeMap::new();
        let (mut looked, mut first_look): (BTreeMap<String, Time>, bool) = (BTreeMap::new(), false);
        for ShadowLine { at, seen } in lines {
            match seen {
                ShadowSeen::Began { .. } => {
                    // Another process tells every runner and instance anew.
                    lists.clear();
                    first_look = true;
                }
                ShadowSeen::Job { event, ended } => all.hear(at, event, ended),
                ShadowSeen::Asked(sighting) => {
                    if let Some(job) = all.jobs.get_mut(&sighting.job) {
                        job.steps = Some(sighting.steps);
                    }
                }
                ShadowSeen::Boxes { changed } => {
                    all.looks.boxes = true;
                    all.note_gap(looked.insert(String::new(), at), at);
                    if std::mem::take(&mut first_look) {
                        all.end_others(at, &changed);
                    }
                    all.see_boxes(at, changed);
                }
                ShadowSeen::Runners { list, changed } => {
                    all.looks.github = true;
                    all.note_gap(looked.insert(list.clone(), at), at);
                    let list = lists.entry(list).or_default();
                    for (name, state) in changed {
                        if let Some(state) = state {
                            list.insert(name, state);
                        } else {
                            list.remove(&name);
                        }
                    }
                    let rows = lists.values().flatten();
                    let states = rows.filter_map(|(name, state)| Some((instance_in(name)?, *state))).collect();
                    all.runners.push(RunnersLook { at, states });
                }
                ShadowSeen::Failed { why } => *all.failures.entry(why).or_default() += 1,
                ShadowSeen::Ended => {}
            }
        }
        looked.into_values().for_each(|last| all.note_gap(Some(last), all.until));
        all.merge_gaps();
        all
    }

    fn note_gap(&mut self, before: Option<Time>, at: Time) {
        self.gaps.extend(before.filter(|before| at.since(*before) > GAP).map(|before| (before, at)));
    }

    /// Makes one gap of those that overlap.
    fn merge_gaps(&mut self) {
        self.gaps.sort_unstable();
        let mut merged: Vec<(Time, Time)> = Vec::new();
        for (from, until) in std::mem::take(&mut self.gaps) {
            match merged.last_mut().filter(|(_, end)| *end >= from) {
                Some((_, end)) => *end = until.max(*end),
                None => merged.push((from, until)),
            }
        }
        self.gaps = merged;
    }

    /// Joins what an event says with what is known. Events may be doubled and out of order.
    fn hear(&mut self, at: Time, event: JobEvent, ended: Option<Time>) {
        let job = self.jobs.entry(event.job).or_insert_with(|| TheirJob::new(event.clone(), at));
        job.queued = event.queued_at.unwrap_or(job.queued);
        if event.state == JobState::Queued && !event.waiting {
            job.heard = job.heard.or(Some(at));
        }
        let runs = event.state > JobState::Queued && event.runner.is_some();
        if runs {
            job.started = event.started_at.or(job.started).or(Some(at));
            job.runner.clone_from(&event.runner);
        }
        if event.state == JobState::Completed {
            job.ended = ended.or(job.ended).or(Some(at));
            job.end_told |= ended.is_some();
            job.conclusion = event.conclusion.clone().or(job.conclusion.take());
        }
        if event.state >= job.event.state {
            job.event = event;
        }
    }

    /// The first look of a process shows every instance, so all others have ended since the process before.
    fn end_others(&mut self, at: Time, shown: &[BoxSeen]) {
        let shown: BTreeSet<&InstanceId> = shown.iter().map(|seen| &seen.id).collect();
        let others = self.boxes.iter_mut().filter(|(id, known)| known.down_by.is_none() && !shown.contains(id));
        others.for_each(|(_, known)| known.down_by = Some(at));
    }

    fn see_boxes(&mut self, at: Time, changed: Vec<BoxSeen>) {
        for seen in changed {
            let known = self.boxes.entry(seen.id.clone()).or_insert_with(|| TheirBox { seen: seen.clone(), down_by: None });
            known.down_by = if seen.up { None } else { known.down_by.or(Some(at)) };
            known.seen = seen;
        }
    }

    /// Whether nobody looked at some moment between the two.
    pub fn blind(&self, from: Time, until: Time) -> bool {
        self.gaps.iter().any(|(a, b)| *a < until && *b > from)
    }
}

/// The id of the instance that a runner's name has in it, as `prefix-i-0123456789abcdef0` or `prod.linux.i-0123456789abcdef0`. None:
/// there is none.
pub fn instance_in(name: &str) -> Option<InstanceId> {
    let starts = name.match_indices("i-").map(|(at, _)| at).filter(|at| {
        let before = at.checked_sub(1).and_then(|before| name.as_bytes().get(before));
        before.is_none_or(|byte| !byte.is_ascii_alphanumeric())
    });
    let id = |at: usize| {
        let digits = name.get(at + 2..)?.bytes().take_while(u8::is_ascii_hexdigit).count();
        matches!(digits, 8 | 17).then(|| name.get(at..at + 2 + digits).map(InstanceId::from)).flatten()
    };
    starts.filter_map(id).last()
}

#[cfg(test)]
mod tests {
    use super::super::planted::{at, event};
    use super::*;

    #[test]
    fn the_instance_is_found_in_the_names_of_the_lambda_module_and_of_muster() {
        let found = |name: &str| instance_in(name).map(|id| id.to_string());
        assert_eq!(found("i-0123456789abcdef0").as_deref(), Some("i-0123456789abcdef0"));
        assert_eq!(found("ci-i-0123456789abcdef0").as_deref(), Some("i-0123456789abcdef0"));
        assert_eq!(found("prod.linux.i-0abc1234").as_deref(), Some("i-0abc1234"));
        for other in ["ci-linux-x7k2p-runner-9f8sd", "multi-00000000", "i-123", "i-0123456789abcdef01"] {
            assert_eq!(found(other), None, "{other}");
        }
    }

    #[test]
    fn doubled_and_disordered_events_make_one_job() {
        let line = |s, event: JobEvent, ended| ShadowLine { at: at(s), seen: ShadowSeen::Job { event, ended } };
        let begun = |state| {
            let (runner, started_at) = (Some("i-0abc1234".to_owned()), Some(at(50)));
            JobEvent { runner, started_at, ..event(7, state, 0) }
        };
        let done = begun(JobState::Completed);
        let lines = vec![
            line(101, done.clone(), Some(at(100))),
            line(2, event(7, JobState::Queued, 0), None),
            line(140, begun(JobState::InProgress), None),
            line(141, done, Some(at(100))),
        ];
        let job = &Theirs::of(lines).jobs[&JobId(7)];
        let fifty = Some(Duration::from_secs(50));
        assert_eq!((job.heard, job.waited(), job.ran()), (Some(at(2)), fifty, fifty));
        assert_eq!(job.event.state, JobState::Completed);
    }
}
