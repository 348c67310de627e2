//! `muster plan`: what a controller would do now, and why. It reads EC2, SSM and GitHub, and changes nothing.
//!
//! The jobs come from the running controller, which holds their messages. To read a message is to take it from the queue
//! for a while, so only the length of the queue is read.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use muster_cloud::aws::Aws;
use muster_cloud::clock::Clock;
use muster_cloud::executor::Executor;
use muster_cloud::ingest::Receipts;
use muster_cloud::manifests::{ManifestPlace, Manifests};
use muster_cloud::secrets::Secrets;
use muster_github::GitHub;
use muster_reconciler::controller::Controller;
use muster_reconciler::effect::{Action, Input, JobMessage, Outcome};
use muster_reconciler::event::{JobAbout, JobEvent, JobState};
use muster_reconciler::ids::{JobId, MessageId, RunId};
use muster_reconciler::manifest::Spec;
use muster_reconciler::plan::Plan;
use muster_reconciler::reason::{Code, count};
use muster_reconciler::time::Time;
use muster_reconciler::view::JobView;
use serde::Serialize;

use super::unreadable;
use crate::cli::Output;
use crate::cli::ask::{self, Items};
use crate::cli::show;

/// `muster plan`.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// The directory of the manifests, or s3://BUCKET/PREFIX.
    #[arg(long, env = "MUSTER_MANIFESTS")]
    manifests: ManifestPlace,
    /// The running controller's admin listener, asked for the jobs that it knows. Default: the manifests' `listen.admin`.
    #[arg(long, value_name = "URL")]
    controller: Option<String>,
    /// For people, or for programs.
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

/// The answer, for both printers.
#[derive(Debug, Serialize)]
struct PlanAnswer {
    /// Where the jobs come from, as a sentence.
    jobs: String,
    pools: Vec<Pool>,
}

#[derive(Debug, Serialize)]
struct Pool {
    name: String,
    reason: String,
    #[serde(flatten)]
    code: Code,
    actions: Vec<Planned>,
}

#[derive(Debug, Serialize)]
struct Planned {
    action: &'static str,
    on: String,
    reason: String,
    #[serde(flatten)]
    code: Code,
}

impl Args {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().context("failed to start the runtime")?;
        let answer = runtime.block_on(self.answer())?;
        answer.print(self.output)
    }

    async fn answer(&self) -> anyhow::Result<PlanAnswer> {
        let spec = Arc::new(Manifests::new(self.manifests.clone(), &Aws::connect(None).await).load().await.map_err(unreadable)?);
        let settings = &spec.controller.spec;
        let aws = Aws::connect(settings.region.as_deref()).await;
        let secrets = Secrets::new(aws.clone(), self.manifests.base());
        let (limits, _unread) = tokio::sync::mpsc::unbounded_channel();
        let github = GitHub::new(secrets.credentials(&spec).await?, limits, Arc::new(|_, _, _| ()))?;
        let executor = Executor::new(aws.clone(), github, Receipts::default(), &spec.controller);

        let (events, jobs) = self.jobs(&spec, &aws).await;
        let clock = Clock::start();
        // The controller counts as one that has run for a while. Otherwise it would hold back for what an earlier one did
        // in its last seconds.
        let long_ago = clock.now() - Duration::from_secs(60);
        let mut controller = Controller::new("plan", long_ago);
        controller.set_paused(super::run::paused(&aws, spec.controller.cluster()).await?);
        let mut todo = controller.step(clock.now(), Input::Spec(spec.clone()));
        // Sweeps only read. No other effect is carried out.
        let mut failures = Vec::new();
        for _ in 0..spec.list_ids().len() + 2 {
            let sweeps: Vec<_> = std::mem::take(&mut todo).into_iter().filter(|e| matches!(e.action, Action::Sweep(_))).collect();
            for sweep in sweeps {
                let outcome = executor.carry_out(&sweep.action, &sweep.reason.to_string()).await;
                if let Outcome::Failed(f) = &outcome {
                    failures.push(f.message.clone());
                }
                todo.extend(controller.step(clock.now(), Input::Outcome(sweep.id, outcome)));
            }
        }
        if !failures.is_empty() {
            anyhow::bail!("failed to see the whole world, so any plan would be a guess:\n  {}", failures.join("\n  "));
        }
        let messages = events.into_iter().zip(1..).map(|(event, n)| JobMessage { id: MessageId(n), receive_count: 1, event });
        controller.step(clock.now(), Input::Messages(messages.collect()));
        let pools = controller.seen().preview(clock.now()).into_iter().map(|plan| said(&plan, clock.now())).collect();
        Ok(PlanAnswer { jobs, pools })
    }

    /// The queued and running jobs that the controller knows, and a sentence about where they come from.
    async fn jobs(&self, spec: &Spec, aws: &Aws) -> (Vec<JobEvent>, String) {
        let admin = &spec.controller.spec.listen.admin;
        let base = self.controller.clone().unwrap_or_else(|| format!("http://{}", admin.replace("0.0.0.0", "127.0.0.1")));
        match ask(&base).await {
            Ok(jobs) => {
                let text = format!("{}, as the controller at {base} knows them", count(jobs.len(), "job"));
                (jobs.into_iter().filter_map(event).collect(), text)
            }
            Err(error) => {
                let depth = match aws.sqs.depth(&spec.controller.spec.queues.jobs).await {
                    Ok((visible, held, delayed)) => {
                        format!("the queue holds {}, not looked at", count(visible + held + delayed, "message"))
                    }
                    Err(f) => f.message,
                };
                (Vec::new(), format!("none: no controller answers at {base} ({error:#}); {depth}. Name one with --controller"))
            }
        }
    }
}

impl PlanAnswer {
    fn print(&self, output: Output) -> anyhow::Result<ExitCode> {
        match output {
            Output::Json => show::print(&(serde_json::to_string_pretty(self)? + "\n"))?,
            Output::Table => print(self)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Prints what a replayed controller would do next.
pub(super) fn print_plans(plans: &[Plan], output: Output, at: Time) -> anyhow::Result<ExitCode> {
    let jobs = "as the controller knew them then".to_owned();
    PlanAnswer { jobs, pools: plans.iter().map(|plan| said(plan, at)).collect() }.print(output)
}

async fn ask(base: &str) -> anyhow::Result<Vec<JobView>> {
    let base = muster_operations::client::typed_address(base)?;
    let body = muster_operations::client::get(
        &format!("{base}/api/v1/jobs?limit=100000"),
        ask::view_token()?.as_ref(),
        Duration::from_secs(5),
    )
    .await?;
    Ok(serde_json::from_slice::<Items<JobView>>(&body).context("its answer is not the jobs API's")?.items)
}

fn event(view: JobView) -> Option<JobEvent> {
    if view.state == JobState::Completed {
        return None;
    }
    let org = view.repo.split('/').next().map(str::to_owned);
    Some(JobEvent {
        job: JobId(view.id),
        run: RunId(view.run),
        state: view.state,
        waiting: false,
        org,
        attempt: None,
        about: JobAbout::default(),
        repo: view.repo,
        enterprise: view.enterprise,
        labels: view.labels,
        runner: view.runner,
        runner_id: None,
        conclusion: None,
        queued_at: None,
        started_at: None,
    })
}

fn said(plan: &Plan, now: Time) -> Pool {
    let mut actions = Vec::new();
    if let Some(l) = &plan.launch {
        let on = format!("{} {} of {}", l.count, l.market.as_str(), count(l.offerings.len(), "offering"));
        let code = Code::Launch(l.reason.clone());
        actions.push(Planned { action: "launch", on, reason: l.reason.to_string(), code });
    }
    for s in &plan.steps {
        let code = Code::Step(s.reason.clone());
        actions.push(Planned { action: s.act.as_str(), on: s.instance.to_string(), reason: s.reason.to_string(), code });
    }
    Pool { name: plan.pool.to_string(), reason: plan.say(now), code: plan.reason().into(), actions }
}

fn print(answer: &PlanAnswer) -> anyhow::Result<()> {
    let mut text = format!("jobs: {}\n", answer.jobs);
    for pool in &answer.pools {
        text += &format!("\n{}: {}\n", pool.name, pool.reason);
        if pool.actions.is_empty() {
            text += "  nothing to do\n";
        }
        for a in &pool.actions {
            text += &format!("  {:<12} {:<24} {}\n", a.action, a.on, a.reason);
        }
    }
    show::print(&text)
}
