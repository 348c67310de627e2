//! What became of the other fleet's instances: which were ended under a job, which were left behind, and which stood idle.

use std::collections::BTreeMap;
use std::time::Duration;

use muster_operations::shadow::RunnerState;
use muster_reconciler::ids::{InstanceId, JobId};
use muster_reconciler::time::Time;
use muster_reconciler::verdict::{Cause, JobVerdict, blames, judge};

use super::theirs::{TheirBox, TheirJob, Theirs};

/// If an instance was gone this long before GitHub told the end of its job, it did not end because the job was over.
const BEFORE: Duration = Duration::from_secs(30);
/// If an instance was gone for this long and its job is still not over at GitHub, the job was lost.
const SILENT: Duration = Duration::from_secs(300);
/// If an instance ended within this time after a job that did not succeed, it may have been ended under the job.
const SOON: Duration = Duration::from_secs(600);

/// A job whose instance was ended under it.
#[derive(Clone, Debug, PartialEq)]
pub struct KilledJob {
    /// The job.
    pub job: JobId,
    /// Its instance.
    pub instance: InstanceId,
    /// When the instance ended, at the latest.
    pub at: Time,
    /// What ended it.
    pub cause: Cause,
}

/// A span of time in which an instance did not what it is there for.
#[derive(Clone, Debug, PartialEq)]
pub struct VainBox {
    /// The instance.
    pub instance: InstanceId,
    /// Since when.
    pub since: Time,
    /// How long, all spans together.
    pub long: Duration,
    /// Whether it is still so at the end of the record.
    pub still: bool,
}

/// What became of the instances.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fates {
    /// Jobs whose instance was ended under them.
    pub killed: Vec<KilledJob>,
    /// Instances that were up without a connected runner.
    pub leaked: Vec<VainBox>,
    /// Instances whose runner was connected and had no job.
    pub idle: Vec<VainBox>,
    /// Jobs that did not succeed and whose instance ended soon after, where nobody knows which came first.
    pub doubtful: u64,
    /// Instances that ran a job and were in no list that the shadow looked at.
    pub unlisted: u64,
    /// Whether any instance was ever in one of these lists.
    pub listed: bool,
}

impl Fates {
    /// Finds out. An instance counts as idle or leaked once it was so for this long without an interruption.
    pub fn of(theirs: &Theirs, idle_after: Duration, leaked_after: Duration) -> Fates {
        let mut fates = Fates { listed: theirs.runners.iter().any(|look| !look.states.is_empty()), ..Fates::default() };
        let mut by_box: BTreeMap<InstanceId, Vec<&TheirJob>> = BTreeMap::new();
        for job in theirs.jobs.values() {
            let Some(instance) = job.instance() else { continue };
            if let Some(the_box) = theirs.boxes.get(&instance) {
                fates.look_for_a_kill(job, the_box, theirs.until);
            }
            by_box.entry(instance).or_default().push(job);
        }
        if !fates.listed {
            return fates;
        }
        for (id, the_box) in &theirs.boxes {
            let jobs = by_box.get(id).map(Vec::as_slice).unwrap_or_default();
            fates.look_for_waste(theirs, (id, the_box), jobs, (idle_after, leaked_after));
        }
        fates
    }

    fn look_for_a_kill(&mut self, job: &TheirJob, the_box: &TheirBox, until: Time) {
        let Some(gone) = the_box.ended().filter(|_| job.conclusion.as_deref() != Some("success")) else { return };
        // An instance that ended before the job began is another one's namesake.
        if job.started.is_none_or(|started| started > gone) {
            return;
        }
        let cause = the_box.seen.reason.as_deref().and_then(blames);
        let cut_short = match job.ended {
            None => until.since(gone) >= SILENT,
            Some(ended) => {
                let soon = gone.since(ended) <= SOON;
                let by_steps = job.steps.as_ref().map(|steps| judge(cause.unwrap_or(Cause::Lost), steps));
                let judged = matches!(by_steps, Some(JobVerdict::Infrastructure(_)));
                let before = job.end_told && ended.since(gone) >= BEFORE;
                // An instance that ends after its job is as it should be, unless the job's steps say that they were cut short.
                self.doubtful += u64::from(!before && soon && cause.is_some() && by_steps.is_none());
                before || soon && judged && cause.is_some()
            }
        };
        if cut_short {
            let cause = cause.unwrap_or(Cause::Lost);
            self.killed.push(KilledJob { job: job.event.job, instance: the_box.seen.id.clone(), at: gone, cause });
        }
    }

    fn look_for_waste(
        &mut self,
        theirs: &Theirs,
        (id, the_box): (&InstanceId, &TheirBox),
        jobs: &[&TheirJob],
        (idle_after, leaked_after): (Duration, Duration),
    ) {
        let (mut idle, mut bare) = (Streak::default(), Streak::default());
        let mut ever_listed = false;
        let begin = theirs.runners.partition_point(|look| look.at < the_box.seen.launched_at);
        let mut before: Option<Time> = None;
        for look in theirs.runners.iter().skip(begin) {
            if the_box.ended().is_some_and(|ended| ended <= look.at) {
                break;
            }
            let state = look.states.get(id);
            ever_listed |= state.is_some();
            let busy = jobs.iter().any(|job| {
                job.started.is_some_and(|started| started <= look.at) && job.ended.is_none_or(|ended| ended >= look.at)
            });
            let blind = before.is_some_and(|before| theirs.blind(before, look.at));
            let (is_idle, is_bare) = match state {
                _ if busy => (false, false),
                Some(RunnerState::Idle) => (true, false),
                Some(RunnerState::Busy) => (false, false),
                Some(RunnerState::Offline) | None => (false, true),
            };
            idle.look(is_idle, look.at, blind, idle_after);
            bare.look(is_bare, look.at, blind, leaked_after);
            before = Some(look.at);
        }
        if !ever_listed && !jobs.is_empty() {
            self.unlisted += 1;
            return;
        }
        let up = the_box.ended().is_none();
        self.idle.extend(idle.end(id, up, idle_after));
        self.leaked.extend(bare.end(id, up, leaked_after));
    }
}

/// A state that may come and go, as looks show it.
#[derive(Default)]
struct Streak {
    since: Option<Time>,
    last: Time,
    first: Option<Time>,
    long: Duration,
}

impl Streak {
    fn look(&mut self, holds: bool, at: Time, blind: bool, least: Duration) {
        if !holds || blind {
            self.close(least);
        }
        if holds {
            self.since = self.since.or(Some(at));
            self.last = at;
        }
    }

    fn close(&mut self, least: Duration) {
        let Some(since) = self.since.take() else { return };
        let long = self.last.since(since);
        if long >= least {
            self.first = self.first.or(Some(since));
            self.long += long;
        }
    }

    fn end(mut self, id: &InstanceId, up: bool, least: Duration) -> Option<VainBox> {
        let still = up && self.since.is_some();
        self.close(least);
        Some(VainBox { instance: id.clone(), since: self.first?, long: self.long, still })
    }
}
