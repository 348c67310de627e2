//! `muster run --shadow`: watches the fleet of another system, prints what muster would do, writes down what it sees, and does nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use muster_cloud::aws::Aws;
use muster_cloud::clock::Clock;
use muster_cloud::manifests::{ManifestPlace, Manifests};
use muster_cloud::record::RecordPlace;
use muster_cloud::secrets::Secrets;
use muster_cloud::shadow::eyes::{BoxEyes, GitHubEyes};
use muster_cloud::shadow::keep::ShadowKeeper;
use muster_cloud::shadow::queue::{OwnQueue, Trust};
use muster_cloud::shadow::watch::{JobQuestion, ShadowWatch, Sighted};
use muster_operations::shadow::{FORMAT, ShadowLine, ShadowLooks, ShadowSeen};
use muster_reconciler::event::{JobEvent, JobState};
use muster_reconciler::manifest::Spec;
use muster_reconciler::matching::{Route, route};
use muster_reconciler::reason::count;
use muster_reconciler::time::Time;
use muster_simulator::conditions::Conditions;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::WorldArgs;
use crate::cli::cloud::{run, unreadable};
use crate::cli::fault::CliError;
use crate::cli::{show, stop};
use crate::shadow::archive;
use crate::shadow::paper::Paper;

/// How often what was seen is written down.
const KEEP_EVERY: Duration = Duration::from_secs(60);
/// How often the fleet on paper moves on.
const MOVE_EVERY: Duration = Duration::from_secs(1);
/// How many sightings may wait.
const WAITING: usize = 1024;
/// If the record takes nothing for so many minutes, the shadow ends with an error. The queue keeps the messages.
const PATIENCE: u32 = 60;
/// For this long an archive's fleet on paper goes on after the last event.
const AFTERWARDS: Duration = Duration::from_secs(3600);

/// The flags of `muster run --shadow`.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Shadow")]
pub(in crate::cli::cloud) struct ShadowArgs {
    /// Watch the fleet that another system runs, print what muster would do, and change nothing there.
    #[arg(long, requires = "record")]
    pub(in crate::cli::cloud) shadow: bool,
    /// Where the shadow writes down what it sees: s3://BUCKET/PREFIX, or a directory. `muster shadow report` reads it.
    #[arg(long, value_name = "PLACE", requires = "shadow")]
    record: Option<String>,
    /// Read events that were kept (a file, or a directory of files) in place of the queue, look at nothing else, and end.
    #[arg(long, value_name = "PATH", requires = "shadow")]
    events: Option<PathBuf>,
    /// The tag of the other system's instances. The default is that of terraform-aws-github-runner.
    #[arg(long, value_name = "KEY=VALUE", requires = "shadow", default_value = "ghr:Application=github-action-runner")]
    theirs: String,
    /// Believe messages of the queue without a signature, as an EventBridge rule sends them.
    #[arg(long, requires = "shadow", conflicts_with = "events")]
    bus: bool,
    #[command(flatten)]
    world: WorldArgs,
}

impl ShadowArgs {
    /// Watches until a signal, or until the archive ends.
    pub(in crate::cli::cloud) async fn watch(self, place: ManifestPlace) -> anyhow::Result<()> {
        let record = self.record.as_deref().unwrap_or_default();
        let conditions = super::conditions(self.world.world.as_deref())?;
        let base = place.base().to_owned();
        let mut manifests = Manifests::new(place, &Aws::connect(None).await);
        let spec = Arc::new(manifests.load().await.map_err(unreadable)?);
        let place = RecordPlace::open(record, async || Aws::connect(None).await.s3).await;
        if let Some(events) = &self.events {
            return replay(events, spec, &conditions, place).await;
        }
        // Not before: what plays an archive ends by the signal itself.
        let stop = stop::on_signal()?;
        let clock = Clock::start();
        let process = run::process_name(spec.controller.cluster(), clock);
        let queue = self.queue(&spec, &base).await?;
        let keeper = ShadowKeeper::new(place, Some(queue.clone()), spec.controller.cluster(), &process, clock.now());
        let (to, sightings) = mpsc::channel(WAITING);
        let (ask, questions) = mpsc::channel(WAITING);
        let watch = self.eyes(&spec, &base, to).await?;
        let mut tasks = JoinSet::new();
        watch.start(queue, questions, &mut tasks, &stop);
        let looks = ShadowLooks { boxes: watch.boxes.is_some(), github: watch.github.is_some() };
        drop(watch);
        let paper = Paper::new(clock.now(), Arc::clone(&spec), &conditions, 1);
        tracing::info!(cluster = spec.controller.cluster(), record, "the shadow watches; nothing of what it prints is done");
        let mut shade = Shade { clock, spec, paper, keeper, ask, unkept: 0 };
        shade.note(began(looks), None);
        let done = shade.run(sightings, &stop).await;
        stop.cancel();
        done
    }

    async fn queue(&self, spec: &Arc<Spec>, base: &Path) -> anyhow::Result<OwnQueue> {
        let trust = match self.bus {
            true => Trust::Bus,
            false => Trust::Signed(secrets(spec, base).await.webhook(spec).await?),
        };
        Ok(OwnQueue::open(Arc::clone(spec), trust).await)
    }

    async fn eyes(&self, spec: &Arc<Spec>, base: &Path, to: mpsc::Sender<Sighted>) -> anyhow::Result<ShadowWatch> {
        let Some((key, value)) = self.theirs.split_once('=').filter(|(key, value)| !key.is_empty() && !value.is_empty()) else {
            let said = format!("--theirs {}: write a tag as KEY=VALUE, such as karpenter.sh/nodepool=runners", self.theirs);
            return Err(CliError::Usage(said).into());
        };
        if key == muster_reconciler::tags::CLUSTER && value == spec.controller.cluster() {
            let said = "--theirs names the cluster of these manifests: give the shadow's manifests another metadata.name, so that nobody mistakes one for the other";
            return Err(CliError::Config(said.to_owned()).into());
        }
        let credentials = secrets(spec, base).await.credentials(spec).await?;
        let settings = &spec.controller.spec;
        Ok(ShadowWatch {
            boxes: Some(BoxEyes::open(settings.region.as_deref(), key, value).await),
            github: Some(GitHubEyes::new(credentials, Arc::new(|_, _, _| ()))?),
            lists: spec.list_ids().into_iter().collect(),
            every: settings.intervals.runners.get(),
            to,
        })
    }
}

async fn secrets(spec: &Spec, base: &Path) -> Secrets {
    Secrets::new(Aws::connect(spec.controller.spec.region.as_deref()).await, base)
}

fn began(looks: ShadowLooks) -> ShadowSeen {
    ShadowSeen::Began { format: FORMAT, version: env!("CARGO_PKG_VERSION").to_owned(), looks }
}

/// A shadow that runs.
struct Shade {
    clock: Clock,
    spec: Arc<Spec>,
    paper: Paper,
    keeper: ShadowKeeper,
    ask: mpsc::Sender<JobQuestion>,
    /// For how many minutes the record took nothing.
    unkept: u32,
}

impl Shade {
    async fn run(
        &mut self,
        mut sightings: mpsc::Receiver<Sighted>,
        stop: &tokio_util::sync::CancellationToken,
    ) -> anyhow::Result<()> {
        let (mut keep, mut turn) = (tokio::time::interval(KEEP_EVERY), tokio::time::interval(MOVE_EVERY));
        keep.set_missed_tick_behavior(MissedTickBehavior::Skip);
        turn.set_missed_tick_behavior(MissedTickBehavior::Skip);
        // The loops end soon after the order to stop, and what they saw until then is kept.
        loop {
            tokio::select! {
                sighted = sightings.recv() => match sighted {
                    Some(sighted) => self.note(sighted.seen, sighted.receipt),
                    None => break,
                },
                _ = turn.tick() => self.step()?,
                _ = keep.tick() => self.keep().await?,
            }
        }
        if !stop.is_cancelled() {
            bail!("the shadow's loops ended by themselves, which they never should; please report it");
        }
        self.note(ShadowSeen::Ended, None);
        let now = self.clock.now();
        self.keeper.keep(now).await.context("failed to write down the last minute of the shadow; the queue keeps its messages")
    }

    fn note(&mut self, seen: ShadowSeen, receipt: Option<String>) {
        if let ShadowSeen::Job { event, ended } = &seen {
            self.paper.hear(event, *ended);
            self.ask_why(event);
        }
        self.keeper.add(&ShadowLine { at: self.clock.now(), seen }, receipt);
    }

    /// The steps of a job that failed tell whether its machine went under it.
    fn ask_why(&self, event: &JobEvent) {
        let bad = !matches!(event.conclusion.as_deref(), Some("success" | "skipped" | "neutral"));
        if event.state != JobState::Completed || event.runner.is_none() || !bad {
            return;
        }
        let Route::Pool(pool) = route(&self.spec, event) else { return };
        let Some(pool) = self.spec.pools.get(&pool) else { return };
        let question = JobQuestion { app: pool.list_id().app, repo: event.repo.clone(), job: event.job };
        // With a thousand questions waiting, the report says that the job is in doubt.
        let _ = self.ask.try_send(question);
    }

    fn step(&mut self) -> anyhow::Result<()> {
        self.paper.step(self.clock.now()).iter().try_for_each(|line| show::print(&format!("{line}\n")))
    }

    async fn keep(&mut self) -> anyhow::Result<()> {
        let Err(error) = self.keeper.keep(self.clock.now()).await else {
            self.unkept = 0;
            return Ok(());
        };
        self.unkept += 1;
        if self.unkept >= PATIENCE {
            return Err(error.context("the record of the shadow took nothing for an hour; the queue keeps the messages"));
        }
        tracing::warn!(error = format!("{error:#}"), "failed to write down a minute of the shadow, and will try again");
        Ok(())
    }
}

/// Plays events that were kept, by their own clock.
async fn replay(events: &Path, spec: Arc<Spec>, conditions: &Conditions, place: RecordPlace) -> anyhow::Result<()> {
    let archive = archive::read(events).map_err(|error| CliError::Config(format!("{error:#}")))?;
    let (first, last) = (archive.events.first().map(|kept| kept.at), archive.events.last().map(|kept| kept.at));
    let (first, last) = (first.unwrap_or_default(), last.unwrap_or_default());
    // Another archive has another name, and the same one again is the same record.
    let digest = hex::encode(Sha256::digest(format!("{:?}", archive.events)));
    let process = format!("events-{:x}-{}", first.as_millis(), digest.get(..12).unwrap_or_default());
    let mut keeper = ShadowKeeper::new(place, None, spec.controller.cluster(), &process, first);
    let mut paper = Paper::new(first, spec, conditions, 1);
    keeper.add(&ShadowLine { at: first, seen: began(ShadowLooks::default()) }, None);
    let read = archive.events.len();
    for kept in archive.events {
        print(&mut paper, kept.at)?;
        paper.hear(&kept.event, kept.ended);
        keeper.add(&ShadowLine { at: kept.at, seen: ShadowSeen::Job { event: kept.event, ended: kept.ended } }, None);
    }
    print(&mut paper, last + AFTERWARDS)?;
    keeper.add(&ShadowLine { at: last, seen: ShadowSeen::Ended }, None);
    keeper.keep(last).await?;
    let others = archive.others;
    let others = if others == 0 { String::new() } else { format!("; {} of other kinds passed over", count(others, "event")) };
    tracing::info!("{} of jobs read{others}", count(read, "event"));
    Ok(())
}

fn print(paper: &mut Paper, until: Time) -> anyhow::Result<()> {
    paper.step(until).iter().try_for_each(|line| show::print(&format!("{line}\n")))
}
