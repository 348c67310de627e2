use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::failure::FailureKind;
use crate::ids::JobId;
use crate::manifest::LateAct;
use crate::market::Market;
use crate::plan::{Counts, Plan, PlannedLaunch};
use crate::rerun::{Again, NotAgain};
use crate::stage::Stage;
use crate::steer::Pause;
use crate::time::Time;
use crate::verdict::{Cause, JobVerdict};

const NOW: Time = Time::from_millis(100_000);
const SOON: Time = Time::from_millis(105_000);
const LIMIT: Duration = Duration::from_secs(300);

fn steps() -> Vec<StepReason> {
    use StepReason::*;
    vec![
        Boots,
        PerhapsRegistered,
        HalfConfigured,
        Ordered { why: "a bad image".into() },
        Outdated,
        IdleTooLong { idle: Duration::from_secs(720), limit: LIMIT },
        Unneeded,
        PoolGone,
        NearLifetime { limit: LIMIT },
        LifetimeReached { limit: LIMIT },
        OnlineNoMore,
        NeverOnline { limit: LIMIT },
        Unlisted { limit: LIMIT },
        JobOver { job: JobId(7) },
        PerhapsSecondJob { job: JobId(7) },
        InterruptionLapsed,
        DrainUnanswered { limit: LIMIT },
        NeverConfigured,
        Stopped,
        EndUnheeded,
        InstanceGone,
    ]
}

fn boots() -> Vec<BootFailure> {
    let because = StepReason::NeverOnline { limit: LIMIT };
    vec![BootFailure::Overdue { because }, BootFailure::Ended, BootFailure::EndedByEc2 { said: "Server.InternalError".into() }]
}

fn refused() -> Refused {
    Refused { kind: FailureKind::Refused, message: "mint x: GitHub answered 403".into() }
}

fn shortage(codes: &[(&str, usize)], offerings: usize) -> Shortage {
    let refused = codes.iter().map(|(code, offerings)| RefusedOffering {
        code: (*code).into(),
        offerings: *offerings,
        message: "so it is".into(),
    });
    Shortage { markets: vec![Market::Spot], offerings, refused: refused.collect() }
}

fn not_served(versions: &[&str]) -> NotServed {
    NotServed { since: Time::ZERO, versions: versions.iter().map(|version| (*version).to_owned()).collect() }
}

fn tripped() -> Tripped {
    Tripped { interruptions: 2, within: LIMIT, until: SOON }
}

fn backoffs() -> Vec<Backoff> {
    vec![Backoff::BootFailures { in_a_row: 2, last: BootFailure::Ended }, Backoff::LaunchFailed(refused())]
}

fn blocked() -> Vec<Blocked> {
    vec![
        Blocked::Paused(Pause { since: Time::ZERO, why: "a bad image".into() }),
        Blocked::Unseen,
        Blocked::Hidden { until: SOON },
        Blocked::Max,
        Blocked::Pace,
        Blocked::GitHub { until: SOON },
        Blocked::Refused { until: SOON, why: refused() },
        Blocked::Backoff { until: SOON, why: Backoff::LaunchFailed(refused()) },
        Blocked::Trial { why: Backoff::BootFailures { in_a_row: 2, last: BootFailure::Ended } },
        Blocked::Capacity { until: SOON, why: shortage(&[("InsufficientInstanceCapacity", 1)], 1) },
    ]
}

fn starting(starting: u32, jobs: u32) -> JobReason {
    JobReason::Starting { pool: "linux".into(), starting, jobs }
}

fn held_up(blocked: Blocked, starting: u32, occupied: u32, max: u32) -> JobReason {
    JobReason::Blocked { pool: "linux".into(), blocked, starting, occupied, max }
}

fn jobs() -> Vec<JobReason> {
    let pool = || "linux".into();
    vec![
        JobReason::Runs { runner: "c.linux.i-1".into() },
        JobReason::LeftQueue,
        JobReason::Over { conclusion: Some("success".into()) },
        JobReason::Unmatched(Unmatched::NoLabels),
        JobReason::Foreign(Foreign::Unserved { repo: "acme/web".into() }),
        JobReason::Held { why: HoldReason::Waiting, until: SOON },
        JobReason::NotServed { pool: pool(), why: not_served(&["2.1.0"]), until: SOON },
        JobReason::NoPool { pool: pool() },
        JobReason::Delayed { pool: pool(), left: LIMIT },
        JobReason::Hidden { until: SOON },
        JobReason::Confirming { why: DoubtReason::OldNews, asked: true, until: SOON },
        JobReason::Unplanned { pool: pool() },
        held_up(Blocked::Pace, 1, 1, 1),
        JobReason::AboveShare { pool: pool(), repo: "acme/web".into(), most: 1 },
        JobReason::Launching { pool: pool() },
        JobReason::IdleRunner { pool: pool(), idle: 1 },
        starting(1, 1),
        JobReason::Unexplained,
    ]
}

fn standings() -> Vec<Standing> {
    use Standing::*;
    let (ago, why) = (LIMIT, Some(StepReason::PoolGone));
    vec![
        Launched { age: LIMIT },
        ConfigureFailed,
        Found,
        Boots { left: LIMIT },
        Configured { left: LIMIT },
        Idle { idle: LIMIT },
        RunsJob { job: JobId(7) },
        Busy,
        DrainAsked { ago, why: None },
        DrainRefused { ago, why: why.clone() },
        DrainUnanswered { ago, why },
        Interrupted,
        OnlineNoMore,
        NeverOnline { limit: LIMIT },
        EndAccepted,
        JobOver { job: JobId(7), left: LIMIT },
        Ending,
        Gone { said: None },
    ]
}

fn events() -> Vec<EventReason> {
    use EventReason::*;
    let market = Market::Spot;
    let message = || "launch x: so it is".to_owned();
    vec![
        Step(StepReason::PoolGone),
        Asks { repo: "acme/web".into(), labels: vec!["linux".into()] },
        Taken { runner: None },
        Over { conclusion: None, of: None },
        Held { why: HoldReason::LeftQueued },
        HandedOver { why: HandOver::Full, to: "linux".into() },
        Uninvited { repo: "acme/other".into(), group: "Default".into() },
        NameTaken { id: None },
        Lost,
        Judged { verdict: JobVerdict::Infrastructure(Cause::Lost), conclusion: Some("failure".into()), untold: true },
        RunAgain { again: Again::Failed, on_demand: false },
        NotRunAgain { why: NotAgain::Late },
        Late { act: LateAct::Tell, after: LIMIT, because: "pool linux is full".into() },
        NotTaken { act: LateAct::Cancel, message: message() },
        Wanted { count: 1, market, why: LaunchReason::Unanswered },
        Given { instance_type: "m7i.large".into(), market },
        FellShort { missing: 1, market, why: LaunchFailure::Unexplained },
        Unanswered { count: 1, message: message() },
        NotLaunched { count: 1, message: message() },
        NotConfigured { message: message() },
        CallFailed { message: message() },
        HasJob,
        Reached { stage: Stage::Online, after: LIMIT },
        NotStarted { why: BootFailure::Ended, late: false },
        Interrupted { busy: true },
        BreakerOpened { tripped: tripped(), open_for: LIMIT, again: false },
        BreakerClosed,
        Gone { known: LIMIT, market },
        ByOperator { why: String::new() },
    ]
}

fn calls() -> Vec<CallReason> {
    use CallReason::*;
    vec![
        Look,
        StillQueued,
        LeftQueue,
        LeftQueueSaysGitHub,
        Expired,
        ShuttingDown,
        Undelivered,
        DeliveredBefore,
        OldNews,
        ToldAgain,
        Waiting,
        LongInState,
        HowItEnded,
        RunOver,
        LostJobs,
        Late,
        Judged,
    ]
}

fn launches() -> Vec<LaunchReason> {
    let wants = Wants { wanted: 1, jobs: 1, ..Wants::default() };
    vec![
        LaunchReason::Wanted(wants),
        LaunchReason::Breaker { wants, tripped: tripped() },
        LaunchReason::Probe { wants, tripped: tripped() },
        LaunchReason::Unanswered,
    ]
}

fn pools() -> Vec<PoolReason> {
    let launching = PoolReason::Launching { count: 1, market: Market::OnDemand };
    let blocked = PoolReason::Blocked(Blocked::Max);
    vec![
        PoolReason::PoolGone { runners: 1 },
        blocked,
        launching,
        PoolReason::NoDemand,
        PoolReason::Supplied,
        PoolReason::NotServed(not_served(&[])),
    ]
}

fn unmatched() -> Vec<Unmatched> {
    let misfit = Misfit::Lacks { labels: vec!["gpu".into()] };
    vec![
        Unmatched::NoLabels,
        Unmatched::Unserved { repo: "acme/web".into() },
        Unmatched::Misfit { nearest: "linux".into(), misfit },
    ]
}

fn foreign() -> Vec<Foreign> {
    let repo = || "acme/web".to_owned();
    vec![
        Foreign::Barred { pool: "linux".into(), repo: repo() },
        Foreign::Unserved { repo: repo() },
        Foreign::NotAsked { labels: vec!["gpu".into()] },
        Foreign::Ignored { by: "gpu".into() },
    ]
}

/// Checks that the samples have every variant, and that JSON has the same word for it.
fn holds<T: serde::Serialize>(words: &[&str], word: fn(&T) -> &'static str, all: &[T]) {
    let sampled: Vec<&str> = all.iter().map(word).collect();
    assert_eq!(sampled, words);
    for (sample, word) in all.iter().zip(words) {
        let told = serde_json::to_value(sample).expect("a reason is plain data");
        assert_eq!(told["reasonWord"], **word, "{told}");
    }
}

#[test]
fn every_word_is_snake_case_unique_and_the_same_in_json() {
    holds(StepReason::WORDS, StepReason::word, &steps());
    holds(BootFailure::WORDS, BootFailure::word, &boots());
    holds(LaunchReason::WORDS, LaunchReason::word, &launches());
    holds(Blocked::WORDS, Blocked::word, &blocked());
    holds(Backoff::WORDS, Backoff::word, &backoffs());
    holds(PoolReason::WORDS, PoolReason::word, &pools());
    holds(JobReason::WORDS, JobReason::word, &jobs());
    holds(HoldReason::WORDS, HoldReason::word, &[HoldReason::LeftQueued, HoldReason::Waiting]);
    holds(DoubtReason::WORDS, DoubtReason::word, &[DoubtReason::DeliveredBefore, DoubtReason::OldNews, DoubtReason::ToldAgain]);
    let hand_overs = [HandOver::Paused, HandOver::Failing, HandOver::Full, HandOver::NoCapacity, HandOver::Late];
    holds(HandOver::WORDS, HandOver::word, &hand_overs);
    holds(Unmatched::WORDS, Unmatched::word, &unmatched());
    holds(Foreign::WORDS, Foreign::word, &foreign());
    holds(Standing::WORDS, Standing::word, &standings());
    holds(EventReason::WORDS, EventReason::word, &events());
    let misfits = [Misfit::Lacks { labels: Vec::new() }, Misfit::Unasked { labels: Vec::new() }];
    holds(Misfit::WORDS, Misfit::word, &misfits);
    assert_eq!(calls().iter().map(CallReason::word).collect::<Vec<_>>(), CallReason::WORDS);
    let families = [
        StepReason::WORDS,
        BootFailure::WORDS,
        LaunchReason::WORDS,
        Blocked::WORDS,
        Backoff::WORDS,
        PoolReason::WORDS,
        HoldReason::WORDS,
        DoubtReason::WORDS,
        HandOver::WORDS,
        Unmatched::WORDS,
        Foreign::WORDS,
        Misfit::WORDS,
        Standing::WORDS,
        EventReason::WORDS,
        CallReason::WORDS,
        JobReason::WORDS,
    ];
    for words in families {
        assert_eq!(words.iter().collect::<BTreeSet<_>>().len(), words.len(), "{words:?}");
        for word in words {
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            assert!(word.starts_with(|c: char| c.is_ascii_lowercase()) && word.chars().all(plain), "{word}");
        }
    }
    for word in StepReason::OF_DRAINS.iter().chain(&StepReason::OF_ENDS) {
        assert!(StepReason::WORDS.contains(word), "{word}");
    }
}

#[test]
fn no_sentence_is_empty_ends_with_a_full_stop_or_speaks_of_a_box() {
    let mut all: Vec<String> = steps().iter().map(ToString::to_string).collect();
    all.extend(boots().iter().map(ToString::to_string));
    all.extend(launches().iter().map(ToString::to_string));
    all.extend(backoffs().iter().map(ToString::to_string));
    all.extend(unmatched().iter().map(ToString::to_string));
    all.extend(foreign().iter().map(ToString::to_string));
    all.extend(standings().iter().map(ToString::to_string));
    all.extend(events().iter().map(ToString::to_string));
    all.extend(calls().iter().map(ToString::to_string));
    all.extend(blocked().iter().map(|why| why.say(NOW)));
    all.extend(jobs().iter().map(|why| why.say(NOW)));
    all.extend(blocked().into_iter().map(|why| held_up(why, 2, 3, 3).say(NOW)));
    for sentence in all {
        let words = sentence.to_lowercase();
        let words: Vec<&str> = words.split(|c: char| !c.is_alphanumeric()).collect();
        assert!(!words.contains(&"box") && !words.contains(&"boxes"), "{sentence}");
        assert!(!sentence.is_empty() && !sentence.ends_with('.') && !sentence.contains("  "), "{sentence}");
    }
}

#[test]
fn a_pool_that_gets_nothing_names_its_version_and_githubs_status_page() {
    let said = |versions: &[&str]| not_served(versions).say(NOW);
    for (versions, wanted) in [
        (&[][..], "the likely causes are the runners' version, which GitHub may have ended, or an outage"),
        (&["2.1.0"], "the likely causes are runner version 2.1.0, which GitHub may have ended, or an outage"),
        (&["2.1.0", "2.2.0"], "the likely causes are runner versions 2.1.0, 2.2.0, which GitHub may have ended, or an outage"),
    ] {
        assert!(said(versions).contains(wanted) && said(versions).contains("https://www.githubstatus.com"), "{}", said(versions));
    }
}

#[test]
fn a_breaker_says_what_opened_it_and_what_comes_next() {
    let why = "spot took back 2 instances with jobs within 5m";
    assert_eq!(tripped().say(NOW), format!("buys on-demand for 5s more, because {why}"));
    let waits = "buys on-demand until one spot instance has served without an interruption";
    assert_eq!(tripped().say(SOON), format!("{waits}, because {why}"));
    let one = Tripped { interruptions: 1, ..tripped() };
    assert_eq!(one.to_string(), "spot took back 1 instance with a job within 5m");
    let said: Vec<String> = launches()[1..3].iter().map(ToString::to_string).collect();
    let wants = "1 wanted (1 queued job), 0 supplied";
    assert_eq!(said, [format!("{wants}; on-demand, because {why}"), format!("{wants}; one spot instance tries, after {why}")]);
    let opened = |again| EventReason::BreakerOpened { tripped: tripped(), open_for: LIMIT, again }.to_string();
    assert_eq!(opened(false), format!("{why}, so the pool buys on-demand for 5m"));
    assert_eq!(opened(true), "spot took an instance back again, so the pool buys on-demand for another 5m");
}

#[test]
fn sentences_are_right_for_none_one_and_many() {
    for (said, wanted) in [
        (starting(1, 1), "1 instance of pool linux is starting for 1 job"),
        (starting(3, 2), "3 instances of pool linux are starting for 2 jobs"),
        (held_up(Blocked::Max, 0, 1, 1), "pool linux is full: 1 of 1 runner; none is starting"),
        (held_up(Blocked::Max, 1, 3, 3), "pool linux is full: 3 of 3 runners; 1 is starting"),
        (held_up(Blocked::Max, 2, 3, 3), "pool linux is full: 3 of 3 runners; 2 are starting"),
        (held_up(Blocked::Unseen, 0, 0, 3), "pool linux waits for the first complete sweep of EC2; no instances are starting"),
        (held_up(Blocked::Unseen, 1, 0, 3), "pool linux waits for the first complete sweep of EC2; 1 instance is starting"),
        (
            JobReason::IdleRunner { pool: "linux".into(), idle: 1 },
            "pool linux has 1 idle runner; GitHub usually assigns a job within seconds",
        ),
        (
            JobReason::IdleRunner { pool: "linux".into(), idle: 2 },
            "pool linux has 2 idle runners; GitHub usually assigns a job within seconds",
        ),
    ] {
        assert_eq!(said.say(NOW), wanted);
    }
    let boots = |in_a_row| Backoff::BootFailures { in_a_row, last: BootFailure::Ended }.to_string();
    assert_eq!(boots(1), "1 runner in a row failed to start; the last: it ended by itself before it was online");
    assert_eq!(boots(2), "2 runners in a row failed to start; the last: it ended by itself before it was online");
    let wants = |jobs| Wants { wanted: jobs, jobs, taken: 0, floor: 0, supply: 0 }.to_string();
    assert_eq!(
        [wants(0), wants(1), wants(2)].map(|w| w.replace(", 0 supplied", "")),
        ["0 wanted (0 queued jobs)", "1 wanted (1 queued job)", "2 wanted (2 queued jobs)"]
    );
    assert_eq!(
        shortage(&[("InsufficientInstanceCapacity", 1)], 1).to_string(),
        "the pool's only offering cannot be launched as spot: EC2 lacks capacity (InsufficientInstanceCapacity)"
    );
    let drained = |occupied| {
        let counts = Counts { occupied, ..Counts::default() };
        Plan { pool_gone: true, counts, ..Plan::default() }.say(NOW)
    };
    assert_eq!(
        [0, 1, 2].map(drained),
        [
            "no longer in the manifests; no runner is left",
            "no longer in the manifests; 1 runner left, ending as it becomes idle",
            "no longer in the manifests; 2 runners left, ending as they become idle",
        ]
    );
}

#[test]
fn a_call_for_several_runners_tells_each_reason_once() {
    let gone = || StepReason::PoolGone;
    let idle = StepReason::IdleTooLong { idle: LIMIT, limit: LIMIT };
    let said = |steps: Vec<StepReason>| (Reason::Steps(steps.clone()).to_string(), Reason::Steps(steps).word());
    assert_eq!(said(vec![gone()]), ("its pool is no longer in the manifests".into(), "pool_gone"));
    assert_eq!(said(vec![gone(), gone()]), ("2x its pool is no longer in the manifests".into(), "pool_gone"));
    let both = "idle for 5m, and no job wants it; 2x its pool is no longer in the manifests";
    assert_eq!(said(vec![gone(), idle, gone()]), (both.into(), "several"));
}

#[test]
fn a_plan_tells_what_keeps_it_from_launching_before_what_it_launches() {
    let counts = Counts { queued: 3, counting: 2, wanted: 2, supply: 1, occupied: 1, max: 5, ..Counts::default() };
    let reason = LaunchReason::Wanted(Wants::from(&counts));
    let launch = PlannedLaunch { count: 1, market: Market::Spot, offerings: Vec::new(), reason };
    let plan = Plan { counts, launch: Some(launch), blocked: Some(Blocked::Pace), ..Plan::default() };
    assert_eq!(
        plan.say(NOW),
        "2 wanted (2 queued jobs), 1 supplied, 1 of 5 runners; 1 queued job does not count yet; launches 1 spot instance; \
          the pool launches only as fast as GitHub and SSM let us configure"
    );
    assert_eq!(plan.reason(), PoolReason::Blocked(Blocked::Pace));
    let free = Plan { blocked: None, ..plan };
    assert_eq!(free.reason(), PoolReason::Launching { count: 1, market: Market::Spot });
    assert_eq!(Plan { launch: None, ..free }.reason(), PoolReason::Supplied);
    assert_eq!(Plan::default().reason(), PoolReason::NoDemand);
}

#[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct ToldInJson {
    reason: String,
    #[serde(flatten)]
    code: Code,
}

#[test]
fn programs_read_the_word_and_the_fields_beside_the_sentence() {
    let told = |code: Code| serde_json::to_value(ToldInJson { reason: "so".into(), code }).expect("plain data");
    let step = StepReason::IdleTooLong { idle: Duration::from_secs(720), limit: LIMIT };
    assert_eq!(
        told(EventReason::Step(step.clone()).into()),
        json!({"reason": "so", "reasonWord": "idle_too_long", "reasonFields": {"idleSeconds": 720.0, "limitSeconds": 300.0}})
    );
    assert_eq!(
        told(Code::Runner(Standing::DrainAsked { ago: LIMIT, why: Some(StepReason::PoolGone) })),
        json!({"reason": "so", "reasonWord": "drain_asked", "reasonFields": {"agoSeconds": 300.0, "why": {"reasonWord": "pool_gone"}}})
    );
    assert_eq!(
        told(held_up(Blocked::Refused { until: SOON, why: refused() }, 0, 0, 0).into()),
        json!({"reason": "so", "reasonWord": "refused", "reasonFields":
            {"until": 105_000, "kind": "refused", "message": "mint x: GitHub answered 403"}})
    );
    assert_eq!(told(PoolReason::NoDemand.into()), json!({"reason": "so", "reasonWord": "no_demand"}));
    // A reason of another process is kept as it is, whether that process is newer or older.
    for (text, word) in [
        (json!({"reason": "so", "reasonWord": "unheard_of", "reasonFields": {"x": 1}}), "unheard_of"),
        (json!({"reason": "so", "reasonWord": "pool_gone"}), "pool_gone"),
    ] {
        let read: ToldInJson = serde_json::from_value(text.clone()).expect("read");
        assert_eq!(read.code.word(), word);
        assert_eq!(serde_json::to_value(&read).expect("plain data"), text);
    }
    let old: ToldInJson = serde_json::from_value(json!({"reason": "so", "state": "queued"})).expect("read");
    assert_eq!((old.code.word(), &old.code), ("", &Code::default()));
    assert_eq!(told(Code::default())["reasonFields"], Value::Null);
}

/// A pool's labels have no spaces, commas or line breaks. So a label with one is a mistake in the workflow.
#[test]
fn a_label_that_no_pool_can_have_is_shown_as_it_came_with_the_way_out() {
    let hint = "; write each label of runs-on as an item of its own, without spaces or line breaks";
    for (label, shown, hinted) in [
        ("arm64", r#"it lacks ["arm64"]"#, false),
        ("linux x64", r#"it lacks ["linux x64"]"#, false),
        ("linux\n", r#"it lacks ["linux\n"]"#, true),
        ("", r#"it lacks [""]"#, true),
        ("self-hosted, linux", r#"it lacks ["self-hosted, linux"]"#, true),
    ] {
        let said = Misfit::Lacks { labels: vec![label.into()] }.to_string();
        assert_eq!(said, format!("{shown}{}", if hinted { hint } else { "" }));
    }
}
