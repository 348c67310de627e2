//! The jobs of a flight record: what a trace of `muster tune` and `muster simulate` is made of. Nothing is replayed: the events of the jobs
//! are in the record as they were heard.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use muster_reconciler::effect::{Input, JobMessage};
use muster_reconciler::event::{JobEvent, JobState};
use muster_reconciler::ids::JobId;
use muster_reconciler::reason::count;
use muster_reconciler::record::{RecordEntry, RecordLine};
use muster_reconciler::time::Time;

use crate::record::{PartName, instant};

/// A job that a record tells from its queueing to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedJob {
    /// When GitHub queued it.
    pub queued: Time,
    /// How long it ran, until the controller heard of its end.
    pub ran: Duration,
    /// Its `runs-on`.
    pub labels: Vec<String>,
    /// Its repository, as `OWNER/NAME`.
    pub repo: String,
}

/// What is known of a job so far.
#[derive(Debug, Default)]
struct Known {
    queued: Option<Time>,
    started: Option<Time>,
    ended: Option<Time>,
    took_runner: bool,
    labels: Vec<String>,
    repo: String,
}

/// Collects the jobs of a record, line by line. The lines may be of several processes.
#[derive(Debug, Default)]
pub struct RecordedJobs {
    jobs: BTreeMap<JobId, Known>,
    unreadable: u64,
}

impl RecordedJobs {
    /// Takes what a line tells of jobs.
    pub fn hear(&mut self, line: &str) {
        // A day has a million lines, and few of them tell of jobs.
        if !line.contains(r#""messages":[{"#) {
            return;
        }
        let Ok(RecordLine { at, entry, .. }) = serde_json::from_str::<RecordLine<'_>>(line) else {
            self.unreadable += 1;
            return;
        };
        match entry {
            RecordEntry::Input(input) => {
                if let Input::Messages(messages) = input.as_ref() {
                    self.messages(at, messages);
                }
            }
            RecordEntry::Begin(beginning) => {
                if let Some(heard) = &beginning.heard {
                    self.messages(at, &heard.messages);
                }
            }
            _ => {}
        }
    }

    fn messages(&mut self, at: Time, messages: &[JobMessage]) {
        for JobMessage { event, .. } in messages {
            let JobEvent { state, queued_at, started_at, labels, repo, .. } = event;
            let known = self.jobs.entry(event.job).or_default();
            known.queued = known.queued.or(*queued_at).or((*state == JobState::Queued).then_some(at));
            known.started = known.started.or(*started_at).or((*state == JobState::InProgress).then_some(at));
            known.took_runner |= event.runner.is_some();
            if *state == JobState::Completed {
                known.ended = Some(known.ended.map_or(at, |ended| ended.min(at)));
            }
            if known.labels.is_empty() {
                known.labels.clone_from(labels);
            }
            if known.repo.is_empty() {
                known.repo.clone_from(repo);
            }
        }
    }

    /// The jobs that the record tells as a whole, the oldest first, and what was left out, in sentences.
    pub fn finish(self) -> (Vec<RecordedJob>, Vec<String>) {
        let (mut unended, mut never, mut jobs) = (0u64, 0u64, Vec::new());
        for known in self.jobs.into_values() {
            let Known { queued, started, ended, took_runner, labels, repo } = known;
            match (queued, started, ended) {
                (Some(queued), Some(started), Some(ended)) if took_runner && !labels.is_empty() => {
                    let ran = ended.since(started).max(Duration::from_secs(1));
                    jobs.push(RecordedJob { queued, ran, labels, repo });
                }
                (_, _, None) => unended += 1,
                _ => never += 1,
            }
        }
        jobs.sort_by_key(|job| job.queued);
        let mut notes = vec!["a job's end is when the controller heard of it, some seconds after it".to_owned()];
        if unended > 0 {
            notes.push(format!("{} without an end in the record left out", count(unended, "job")));
        }
        if never > 0 {
            notes.push(format!("{} that no runner took left out: cancelled or skipped", count(never, "job")));
        }
        if self.unreadable > 0 {
            notes.push(format!("{} with jobs could not be read", count(self.unreadable, "line")));
        }
        (jobs, notes)
    }
}

/// The parts of one cluster between two times, in the order of time.
///
/// # Errors
/// When there is none, when several clusters could be meant, and when parts are missing in between: the jobs of that time are lost.
pub fn whole_parts(all: Vec<PartName>, cluster: Option<&str>, from: Time, until: Time) -> Result<Vec<PartName>, String> {
    let clusters: BTreeSet<&str> = all.iter().map(|part| part.cluster.as_str()).collect();
    let names = clusters.iter().copied().collect::<Vec<_>>().join(", ");
    let cluster = match (cluster, clusters.len()) {
        (_, 0) => return Err("there is no record here; a controller writes one where its `spec.record.to` says".to_owned()),
        (Some(cluster), _) if !clusters.contains(cluster) => {
            return Err(format!("the record has no cluster {cluster}; it has {names}"));
        }
        (None, 2..) => return Err(format!("the record has {names}; choose one with --cluster")),
        (Some(cluster), _) => cluster.to_owned(),
        (None, _) => names,
    };
    let mut parts: Vec<PartName> = all.into_iter().filter(|part| part.cluster == cluster).collect();
    parts.sort_by(|a, b| (a.at, &a.process, a.number).cmp(&(b.at, &b.process, b.number)));
    // A part holds what came after its time, until the next one.
    let first = parts.iter().rposition(|part| part.at <= from).unwrap_or(0);
    parts.drain(..first);
    parts.retain(|part| part.at <= until);
    let mut last: BTreeMap<&str, &PartName> = BTreeMap::new();
    for part in &parts {
        match last.insert(&part.process, part) {
            Some(before) if part.number != before.number + 1 => {
                let (lost, from, to) = (part.number.saturating_sub(before.number + 1), instant(before.at), instant(part.at));
                return Err(format!(
                    "the record has a hole of {} between {from} and {to}, so jobs of that time are missing; take a time without it, such as \
                     --from {}",
                    count(lost, "part"),
                    to.trim_end_matches('Z')
                ));
            }
            _ => {}
        }
    }
    match parts.is_empty() {
        true => Err(format!(
            "the record of {cluster} has nothing between {} and {}; choose another time",
            instant(from),
            instant(until)
        )),
        false => Ok(parts),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(at: u64, job: u64, state: &str, more: &str) -> String {
        format!(
            r#"{{"at":{at},"entry":{{"input":{{"messages":[{{"id":{at},"receiveCount":1,"event":{{"job":{job},"run":1,"state":"{state}","repo":"acme/web","labels":["linux"]{more}}}}}]}}}}}}"#
        )
    }

    #[test]
    fn a_job_is_whole_when_its_queueing_its_runner_and_its_end_were_heard() {
        let mut jobs = RecordedJobs::default();
        let started = r#","runner":"r-1","queued_at":1000,"started_at":5000"#;
        for line in [
            line(2000, 1, "queued", r#","queued_at":1000"#),
            line(6000, 1, "in_progress", started),
            line(65_000, 1, "completed", started),
            line(99_000, 1, "completed", started),
            line(2000, 2, "queued", ""),
            line(3000, 3, "queued", ""),
            line(4000, 3, "completed", r#","conclusion":"cancelled""#),
            r#"{"at":1,"entry":{"input":"tick"}}"#.to_owned(),
        ] {
            jobs.hear(&line);
        }
        let (jobs, notes) = jobs.finish();
        let whole = RecordedJob {
            queued: Time::from_millis(1000),
            ran: Duration::from_secs(60),
            labels: vec!["linux".into()],
            repo: "acme/web".into(),
        };
        assert_eq!(jobs, [whole], "{notes:?}");
        assert!(notes[1].starts_with("1 job without an end") && notes[2].starts_with("1 job that no runner took"), "{notes:?}");
    }

    fn part(minute: u64, process: &str, number: u64) -> PartName {
        let at = Time::from_millis(1_780_000_000_000 + minute * 60_000);
        PartName { cluster: "prod".into(), at, process: process.into(), number, begins: number == 0 }
    }

    #[test]
    fn all_processes_count_and_a_hole_is_refused_with_a_way_around_it() {
        let all = vec![part(0, "a", 0), part(1, "a", 1), part(2, "b", 0), part(3, "b", 2)];
        let (begin, end) = (Time::ZERO, Time::FAR);
        let hole = whole_parts(all.clone(), None, begin, end).expect_err("a hole");
        assert!(hole.contains("a hole of 1 part between") && hole.contains("--from 2026-"), "{hole}");
        assert_eq!(whole_parts(all.clone(), None, begin, part(2, "b", 0).at).map(|parts| parts.len()), Ok(3));
        assert_eq!(whole_parts(all.clone(), None, part(3, "b", 2).at, end), Ok(vec![part(3, "b", 2)]));
        let said = |all: Vec<PartName>, cluster| whole_parts(all, cluster, begin, end).expect_err("refused");
        assert!(said(vec![], None).contains("spec.record.to"));
        assert!(said(all.clone(), Some("test")).contains("no cluster test; it has prod"));
        let other = PartName { cluster: "test".into(), ..part(0, "a", 0) };
        assert!(said([all, vec![other]].concat(), None).contains("prod, test; choose one with --cluster"));
    }
}
