//! A planted week: a fleet of somebody else serves a job every ten minutes, and some things go wrong. The report must find all of them,
//! and nothing else.

use std::sync::Arc;
use std::time::Duration;

use muster_operations::prices::Prices;
use muster_operations::shadow::{BoxSeen, FORMAT, RunnerState, ShadowLine, ShadowLooks, ShadowSeen};
use muster_reconciler::event::{JobEvent, JobState};
use muster_reconciler::manifest::Spec;
use muster_reconciler::market::Market;
use muster_simulator::conditions::{Conditions, Overrides, Weather};
use muster_simulator::example;

use super::planted::{at, event};
use super::report::{ShadowAsked, ShadowReport};
use super::table;
use super::theirs::Theirs;

/// The jobs of a week, one every ten minutes.
const JOBS: u64 = 7 * 24 * 6;
const DAY: u64 = 86_400;

/// What goes wrong with a job or its instance.
#[derive(Clone, Copy, Default, PartialEq)]
enum Wrong {
    #[default]
    Nothing,
    /// The runner comes an hour late.
    Slow,
    /// No runner comes, and GitHub gives the job up after a day.
    Lost,
    /// Somebody cancels the job after half a minute, before its runner comes.
    Cancelled,
    /// The job fails by itself.
    Fails,
    /// The instance is terminated under the job, and GitHub notices ten minutes later.
    Killed,
    /// The instance stays for two hours after its job.
    Leaked,
    /// The instance was there for an hour before its job.
    Idle,
}

/// The planted week.
struct Week(Vec<ShadowLine>);

impl Week {
    fn of(wrong: impl Fn(u64) -> Wrong) -> Week {
        let mut week = Week(Vec::new());
        let looks = ShadowLooks { boxes: true, github: true };
        week.says(0, ShadowSeen::Began { format: FORMAT, version: "0.1.0".into(), looks });
        (1..=JOBS).for_each(|n| week.serve(n, wrong(n)));
        // A look each minute, which shows nothing new.
        for minute in 0..(8 * DAY / 60) {
            week.says(minute * 60 + 1, ShadowSeen::Boxes { changed: Vec::new() });
            let list = "main/org/acme".into();
            week.says(minute * 60 + 2, ShadowSeen::Runners { list, changed: [].into() });
        }
        week
    }

    fn says(&mut self, s: u64, seen: ShadowSeen) {
        self.0.push(ShadowLine { at: at(s), seen });
    }

    fn job(&mut self, n: u64, state: JobState, heard: u64, times: (u64, Option<u64>, Option<u64>), conclusion: &str) {
        let (queued, started, ended) = times;
        let runner = started.map(|_| format!("ci-{}", instance(n)));
        let conclusion = (state == JobState::Completed).then(|| conclusion.to_owned());
        let event = JobEvent { runner, started_at: started.map(at), conclusion, ..event(n, state, queued) };
        self.says(heard, ShadowSeen::Job { event, ended: ended.map(at) });
    }

    /// The list of runners and EC2 show the change at the next look, less than a minute later.
    fn runner(&mut self, n: u64, s: u64, state: Option<RunnerState>) {
        let changed = [(format!("ci-{}", instance(n)), state)].into();
        self.says(s / 60 * 60 + 62, ShadowSeen::Runners { list: "main/org/acme".into(), changed });
    }

    fn machine(&mut self, n: u64, launched: u64, ended: Option<(u64, &str)>) {
        let seen = BoxSeen {
            id: instance(n).as_str().into(),
            instance_type: "m7i.large".into(),
            market: Market::OnDemand,
            windows: false,
            launched_at: at(launched),
            up: ended.is_none(),
            ended_at: ended.map(|(s, _)| at(s)),
            reason: ended.map(|(_, why)| why.to_owned()),
        };
        let s = ended.map_or(launched, |(s, _)| s);
        self.says(s / 60 * 60 + 61, ShadowSeen::Boxes { changed: vec![seen] });
    }

    /// One job, from its queueing to the end of its instance.
    fn serve(&mut self, n: u64, wrong: Wrong) {
        let queued = n * 600;
        self.job(n, JobState::Queued, queued + 2, (queued, None, None), "");
        if matches!(wrong, Wrong::Lost | Wrong::Cancelled) {
            let ended = queued + if wrong == Wrong::Lost { DAY } else { 30 };
            return self.job(n, JobState::Completed, ended + 2, (queued, None, Some(ended)), "cancelled");
        }
        let online = queued + if wrong == Wrong::Slow { 3600 } else { 75 };
        let launched = if wrong == Wrong::Idle { queued.saturating_sub(3600) } else { online - 70 };
        self.machine(n, launched, None);
        self.runner(n, launched + 60, Some(RunnerState::Idle));
        let (started, ended) = (online, online + 300);
        self.job(n, JobState::InProgress, started + 2, (queued, Some(started), None), "");
        self.runner(n, started, Some(RunnerState::Busy));
        let (told, conclusion) = match wrong {
            Wrong::Killed => (ended + 600, "failure"),
            Wrong::Fails => (ended, "failure"),
            _ => (ended, "success"),
        };
        self.job(n, JobState::Completed, told + 2, (queued, Some(started), Some(told)), conclusion);
        self.runner(n, told, None);
        let gone = match wrong {
            Wrong::Leaked => ended + 7200,
            Wrong::Killed => ended,
            _ => ended + 20,
        };
        self.machine(n, launched, Some((gone, "Client.UserInitiatedShutdown: User initiated shutdown")));
    }

    /// Looks of one kind fail for these hours.
    fn without(mut self, such: impl Fn(&ShadowSeen) -> bool, hours: std::ops::Range<u64>) -> Week {
        let within = |line: &ShadowLine| line.at >= at(hours.start * 3600) && line.at < at(hours.end * 3600);
        self.0.retain(|line| !(such(&line.seen) && within(line)));
        self
    }

    fn report(self, spec: &Arc<Spec>) -> ShadowReport {
        let calm = Conditions::new(Weather::Calm, &Overrides::default());
        let minutes = |n: u64| Duration::from_secs(n * 60);
        let asked = ShadowAsked { longer: minutes(2), idle: minutes(10), leaked: minutes(20), seed: 1 };
        ShadowReport::of(&Theirs::of(self.0), spec, calm, &Prices::example(), asked)
    }
}

fn instance(n: u64) -> String {
    format!("i-{n:017x}")
}

fn spec() -> Arc<Spec> {
    example::cluster("c", [example::pool("linux", &["self-hosted", "linux"], 20)])
}

#[test]
fn every_planted_loss_is_found_and_none_is_invented() {
    let planted = |n: u64| match n {
        101 | 700 => Wrong::Slow,
        202 | 203 => Wrong::Lost,
        250 => Wrong::Cancelled,
        300..=302 => Wrong::Fails,
        404 | 909 => Wrong::Killed,
        505 => Wrong::Leaked,
        606 => Wrong::Idle,
        _ => Wrong::Nothing,
    };
    let report = Week::of(planted).report(&spec());
    let found = |jobs: Vec<u64>| {
        let mut jobs = jobs;
        jobs.sort_unstable();
        jobs
    };
    assert_eq!(found(report.longer.iter().map(|wait| wait.job).collect()), [101, 700], "{:#?}", report.longer);
    assert!(report.longer.iter().all(|wait| wait.waited == 3600 && wait.would < 120), "{:#?}", report.longer);
    assert_eq!(found(report.lost.iter().map(|lost| lost.job).collect()), [202, 203]);
    assert!(report.lost.iter().all(|lost| lost.would.is_some_and(|would| would < 120)), "{:#?}", report.lost);
    assert_eq!(found(report.killed.iter().flatten().map(|killed| killed.job).collect()), [404, 909]);
    let boxes = |rows: &Option<Vec<super::report::WastedBox>>| {
        rows.iter().flatten().map(|row| (row.instance.clone(), row.seconds / 600)).collect::<Vec<_>>()
    };
    assert_eq!(boxes(&report.leaked), [(instance(505), 11)], "two hours, to a look");
    assert_eq!(boxes(&report.idle), [(instance(606), 5)], "an hour, to two looks");
    // Two jobs were given up and one was cancelled, so nobody knows how long they take. The three that fail are in doubt, because nobody
    // asked GitHub for their steps.
    let said = |text: &str| report.unknown.iter().filter(|said| said.contains(text)).count();
    assert_eq!((said("3 jobs: it did not end on a runner"), said("3 jobs: it failed and its instance ended soon after")), (1, 1));
    assert_eq!(report.unknown.len(), 2, "{:#?}", report.unknown);
    // Each of the 1,005 instances lived for 390 s, and three did so for longer.
    let theirs = report.cost.theirs.as_ref().expect("the shadow looked at EC2");
    let hours: f64 = theirs.by_market.values().map(|market| market.hours).sum();
    assert!((hours - (1005.0 * 390.0 + 7180.0 + 3605.0) / 3600.0).abs() < 1.0, "{hours}");
    assert!(report.cost.ours.total > 0.0 && report.shorter == 0, "{:#?}", report.cost);
    let text = table::print(&report);
    assert!(text.contains("     2  jobs waited longer than they would have") && text.contains("NOT KNOWN"), "{text}");
}

#[test]
fn in_a_week_in_which_nothing_goes_wrong_nothing_is_found() {
    let report = Week::of(|_| Wrong::Nothing).report(&spec());
    let (waits, boxes) = ((&report.longer, &report.lost, &report.killed), (&report.leaked, &report.idle));
    assert!(waits.0.is_empty() && waits.1.is_empty() && waits.2.as_ref().is_some_and(Vec::is_empty), "{waits:#?}");
    assert!(
        [boxes.0, boxes.1].iter().all(|rows| rows.as_ref().is_some_and(Vec::is_empty)) && report.unknown.is_empty(),
        "{boxes:#?} {:#?}",
        report.unknown
    );
    assert_eq!((report.jobs, report.compared), (JOBS, JOBS));
}

#[test]
fn what_was_not_looked_at_or_not_told_is_said_and_nothing_is_concluded_from_it() {
    // For ten hours EC2 refused every look, while GitHub's lists showed runners come and go.
    let blind = Week::of(|_| Wrong::Nothing).without(|seen| matches!(seen, ShadowSeen::Boxes { .. }), 50..60);
    let report = blind.report(&spec());
    let none = |rows: &Option<Vec<super::report::WastedBox>>| rows.as_ref().is_some_and(Vec::is_empty);
    assert!(none(&report.leaked) && none(&report.idle) && report.killed == Some(Vec::new()), "{:#?}", report.leaked);
    assert!(report.unknown.iter().any(|said| said.contains("not all of it was looked at")), "{:#?}", report.unknown);

    // No look at EC2 succeeded.
    let boxless = Week::of(|_| Wrong::Nothing).without(|seen| matches!(seen, ShadowSeen::Boxes { .. }), 0..1000);
    let report = boxless.report(&spec());
    assert_eq!((&report.cost.theirs, &report.leaked, &report.idle, &report.killed), (&None, &None, &None, &None));
    assert!(
        table::print(&report).contains("     ?  jobs had their instances ended under them\n"),
        "what is not known is not zero"
    );
    assert!(report.unknown.iter().any(|said| said.contains("no look of the shadow at EC2")), "{:#?}", report.unknown);

    // The events of a job's start and end were lost: it is not called lost.
    let job =
        |seen: &ShadowSeen| matches!(seen, ShadowSeen::Job { event, .. } if event.job.0 == 10 && event.state > JobState::Queued);
    let report = Week::of(|_| Wrong::Nothing).without(job, 0..1000).report(&spec());
    assert!(report.lost.is_empty() && report.longer.is_empty(), "{:#?} {:#?}", report.lost, report.longer);
    assert!(
        report.unknown.iter().any(|said| said.contains("1 job: nothing was heard since it was queued")),
        "{:#?}",
        report.unknown
    );

    // muster's own messages do not tell when a job ended. A failure that is heard of late is no kill.
    let mut week = Week::of(|n| if n == 20 { Wrong::Fails } else { Wrong::Nothing });
    for line in &mut week.0 {
        if let ShadowSeen::Job { event, ended } = &mut line.seen
            && event.job.0 == 20
            && ended.take().is_some()
        {
            line.at = line.at + Duration::from_secs(1800);
        }
    }
    assert_eq!(week.report(&spec()).killed, Some(Vec::new()));
}
