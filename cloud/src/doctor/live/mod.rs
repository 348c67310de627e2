//! `muster doctor --live`: the field test. It sends one real job through a running muster, follows the job and its instance, and
//! has a second instance drained. Then it reports what it saw, how long each stage took, and where AWS and GitHub differ from the
//! emulators of the tests.
//!
//! The test touches nothing but what it made itself: two runs of a temporary workflow, the instances that the controller launched
//! for them, and one registration, which it deletes again. The user is asked before every step. A step that is refused, or that
//! takes too long, is a line of the report. Whatever happens, the test cleans up what it made, and writes the report.

mod assume;
mod begin;
mod clean;
mod controller;
mod follow;
mod human;
mod report;
mod seen;
mod steps;
pub mod workflow;

use std::path::Path;
use std::time::Duration;

use muster_reconciler::failure::{Failure, FailureKind};
use muster_reconciler::ids::RunnerId;
use muster_reconciler::manifest::Spec;
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use assume::{Assumption, Stands};
pub use controller::RunningController;
pub use human::Person;
pub use report::{FieldReport, TestStage, TestStep, Went, page};

use super::finding::Verdict;
use super::look::Look;
use crate::aws::Aws;
use crate::secrets::Secrets;
use assume::Observed;
use begin::{choose, hidden, kind_of};
use follow::{Follow, Places};
use muster_github::Proof;
use muster_github::field::{Headers, Repo, Twice};
use seen::{InstanceSeen, Sight};

/// The version of the report's format. It increases when a field changes its meaning.
const FORMAT: u32 = 1;
/// The time between two looks for the workflow's file.
const FILE_EVERY: Duration = Duration::from_secs(5);
/// For how many minutes an instance of this test lives. The estimate of its cost uses this number.
const MINUTES: f64 = 10.0;

/// What the user wants of the test.
#[derive(Clone, Debug)]
pub struct TestWish {
    /// The repository of the temporary workflow: `OWNER/NAME`.
    pub repo: String,
    /// The branch or the tag that has the workflow.
    pub git_ref: String,
    /// The name of the workflow's file.
    pub file: String,
    /// The pool to test. None: the only pool that can take the job.
    pub pool: Option<String>,
    /// The longest wait for each part of the test.
    pub patience: Duration,
    /// Whether account, owner and repository stay in the report.
    pub with_account: bool,
}

/// Why the test does not go on, in words.
enum Stop {
    /// The user said no, or pressed Ctrl-C.
    Wished(String),
    /// The rest of the test would show nothing.
    Pointless(String),
}

/// The state of the test while it runs.
struct Kit<'a> {
    wish: &'a TestWish,
    human: &'a mut Person,
    stop: &'a CancellationToken,
    report: FieldReport,
    /// The runs that the test started and that may not be over.
    runs: Vec<u64>,
    /// The registration that the test made and has not deleted yet.
    registration: Option<RunnerId>,
    jit: Option<Headers>,
    twice: Option<Twice>,
    first: Option<Follow>,
    second: Option<Follow>,
    last_words: Option<Option<String>>,
}

/// Runs the test. Returns the report as JSON and as text, both without what must stay secret. The third value is whether nothing
/// was refused and nothing failed.
///
/// # Errors
/// When the test cannot even begin: there are no credentials, there is no App, or there is no such pool.
pub async fn run(
    spec: &Spec,
    base: &Path,
    controller: &RunningController,
    wish: &TestWish,
    human: &mut Person,
    stop: &CancellationToken,
) -> anyhow::Result<(Value, String, bool)> {
    let began = Instant::now();
    let (name, pool) = choose(spec, wish)?;
    let config = Aws::config(spec.controller.spec.region.as_deref()).await;
    let (aws, look) = (Aws::new(&config), Look::new(&config));
    let (app, secrets) = (pool.list_id().app, Secrets::new(aws.clone(), base));
    let (api_url, proof) = match (spec.apps.get(&app), spec.tokens.get(&app)) {
        (Some(app), _) => (&app.spec.api_url, Proof::App(app.spec.app_id, secrets.resolve(&app.spec.private_key).await?)),
        (None, Some(token)) => (&token.spec.api_url, Proof::Token(secrets.resolve(&token.spec.token).await?)),
        (None, None) => anyhow::bail!("there is no GitHubApp and no GitHubToken `{app}`; add its manifest"),
    };
    let github = super::client(app.as_str(), api_url, proof)?;
    let repo = Repo::parse(&app, &wish.repo).map_err(|failure| anyhow::anyhow!(failure.message))?;
    let hidden = hidden(&look, spec, wish, &repo).await;
    let places = Places {
        controller,
        github: &github,
        look: &look,
        ssm: &aws.ssm,
        list_id: pool.list_id(),
        repo,
        cluster: spec.controller.cluster(),
        pool: name.as_str(),
    };
    let report = FieldReport {
        format: FORMAT,
        version: env!("CARGO_PKG_VERSION").into(),
        began: chrono::DateTime::<chrono::Utc>::from(std::time::SystemTime::now())
            .to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
        region: aws.region.clone().unwrap_or_default(),
        pool: kind_of(pool),
        ..FieldReport::default()
    };
    let mut kit = Kit {
        wish,
        human,
        stop,
        report,
        runs: Vec::new(),
        registration: None,
        jit: None,
        twice: None,
        first: None,
        second: None,
        last_words: None,
    };
    kit.human.hears("looking at everything that muster needs; nothing is changed by that");
    kit.report.checks = super::examine(spec, base).await;
    let ended = kit.steps(&places, pool).await;
    kit.clean_up(&places, &github).await;
    kit.report.ended = match ended {
        Ok(()) => "it came to its end".into(),
        Err(Stop::Wished(why) | Stop::Pointless(why)) => why,
    };
    kit.settle();
    kit.report.took_seconds = began.elapsed().as_secs();
    // It is no fault to say no, or to give no token.
    let bad = |step: &TestStep| matches!(step.went, Went::Refused | Went::Failed);
    let well = !kit.report.steps.iter().any(bad);
    Ok((hidden.clean(&kit.report), hidden.text(&page(&kit.report)), well))
}

impl Kit<'_> {
    /// Notes how a step went.
    fn note(&mut self, step: &str, went: Went, seen: impl Into<String>) {
        let seen = seen.into();
        self.human.hears(&format!("{}: {seen}", step));
        self.report.steps.push(TestStep { step: step.to_owned(), went, seen });
    }

    /// Asks the user before a step. Ctrl-C counts as an answer, too.
    async fn ask(&mut self, step: &str, question: &str) -> Result<(), Stop> {
        let agreed = tokio::select! {
            biased;
            () = self.stop.cancelled() => return Err(Stop::Wished("it was interrupted".into())),
            agreed = self.human.agrees(question) => agreed,
        };
        if agreed {
            return Ok(());
        }
        self.note(step, Went::Declined, "you said no");
        Err(Stop::Wished(format!("you said no before the step `{step}`")))
    }

    /// Notes a failed call as the end of a step. If GitHub or AWS refused the call, the step did not fail but was refused.
    fn failed(&mut self, step: &str, failure: &Failure) {
        let went = if failure.kind == FailureKind::Refused { Went::Refused } else { Went::Failed };
        self.note(step, went, failure.message.clone());
    }

    /// Looks until `done` is true, or `stop` is cancelled, or the user's patience is over. Returns true if `done` was true.
    async fn watch(&mut self, at: &Places<'_>, follow: &mut Follow, mut done: impl FnMut(&Follow) -> bool) -> Result<bool, Stop> {
        let deadline = Instant::now() + self.wish.patience;
        let mut told = String::new();
        while !done(follow) {
            if self.stop.is_cancelled() {
                return Err(Stop::Wished("it was interrupted".into()));
            }
            if Instant::now() >= deadline {
                return Ok(false);
            }
            tokio::select! {
                () = self.stop.cancelled() => {}
                () = follow.tick(at) => {}
            }
            let now = how_far(follow);
            if now != told {
                self.human.hears(&format!("  {now}"));
                told = now;
            }
        }
        Ok(true)
    }

    /// Judges what was seen, and puts the judgement into the report.
    fn settle(&mut self) {
        let first = self.first.as_ref();
        let run_instance = first.and_then(Follow::the_instance).map(|(_, seen)| seen);
        let idle_instance = self.second.as_ref().and_then(Follow::the_instance).map(|(_, seen)| seen);
        self.report.assumptions = assume::judge(&Observed {
            job: first.map(|follow| &follow.marks),
            run_instance,
            idle_instance,
            jit: self.jit.as_ref(),
            twice: self.twice.as_ref(),
            last_words: self.last_words.as_ref(),
        });
        let marks = |follow: &Follow, seen: Option<&InstanceSeen>| {
            let mut marks = follow.marks.clone();
            marks.extend(seen.iter().flat_map(|seen| seen.marks.iter().map(|(mark, at)| (*mark, *at))));
            marks
        };
        self.report.stages = first.map(|follow| report::stages(report::RUN, &marks(follow, run_instance))).unwrap_or_default();
        let second = self.second.as_ref();
        self.report.drained =
            second.map(|follow| report::stages(report::DRAINED, &marks(follow, idle_instance))).unwrap_or_default();
        let all_seen = first.is_some_and(|follow| report::RUN.iter().all(|mark| follow.has(*mark)));
        let bad = self.report.steps.iter().any(|step| step.went != Went::Done);
        self.report.complete = all_seen && !bad;
    }
}

/// How far a job and its instance are, in words for the user.
fn how_far(follow: &Follow) -> String {
    let of_instance = follow.the_instance().map(|(id, seen)| {
        let ec2 = if seen.state.is_empty() { String::new() } else { format!(", EC2 says {}", seen.state) };
        format!("{id} {}{ec2}", seen.view.phase)
    });
    let job = match follow.job {
        None => "the job is not seen yet".to_owned(),
        Some(job) if follow.marks.contains_key(&Sight::JobEnded) => format!("job {job} is over"),
        Some(job) if follow.marks.contains_key(&Sight::JobStarted) => format!("job {job} runs"),
        Some(job) if follow.marks.contains_key(&Sight::WebhookHeard) => format!("job {job} waits"),
        Some(job) => format!("job {job} is queued at GitHub, and the controller has not heard of it"),
    };
    of_instance.map_or(job.clone(), |of_instance| format!("{job}; instance {of_instance}"))
}
