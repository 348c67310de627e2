//! `muster run`: the webhook, the controller, or both in one process.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::ValueEnum;
use muster_cloud::aws::{Aws, Ec2};
use muster_cloud::clock::Clock;
use muster_cloud::driver::{self, Channels};
use muster_cloud::executor::Executor;
use muster_cloud::groups::GroupsTask;
use muster_cloud::ingest::{Doubts, Ingest, Receipts};
use muster_cloud::lease::{Fence, LeaseTask};
use muster_cloud::manifests::{ManifestPlace, Manifests};
use muster_cloud::otlp::{self, Exporter};
use muster_cloud::prices;
use muster_cloud::record::{RecordPlace, RecordTask, Tape};
use muster_cloud::reload::{Controlled, Reload};
use muster_cloud::secrets::{Secrets, distinct};
use muster_cloud::sync::task::SyncTask;
use muster_cloud::usage::UsageTask;
use muster_cloud::versions::VersionsTask;
use muster_github::{Credentials, GitHub};
use muster_message::keyring::Keyring;
use muster_message::seal::Sealed;
use muster_operations::inspect::Inspect;
use muster_operations::liveness::{Liveness, Pulse};
use muster_operations::metrics::Metrics;
use muster_operations::observer::Observer;
use muster_operations::prices::Book;
use muster_operations::watch::Watch;
use muster_reconciler::controller::Controller;
use muster_reconciler::effect::Input;
use muster_reconciler::failure::FailureKind;
use muster_reconciler::ids::PoolName;
use muster_reconciler::manifest::{self, Spec};
use muster_reconciler::steer::Pause;
use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{shadow, unreadable};
use crate::cli::fault::CliError;
use crate::cli::stop;
use crate::http::console::Console;
use crate::http::door::Door;
use crate::http::state::{About, Admin, Keep, StandsBy, Steer};
use crate::http::webhook::{self, Webhook};
use crate::http::{self, ListenerLimits, admin};
use crate::outbox::{Outbox, Settings};
use crate::supervisor::Supervisor;

/// How often the core is asked for the cost and for the page's sparklines.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How many inputs may wait for the core.
const INPUTS: usize = 256;
/// How long after SIGTERM the whole process ends, whatever is under way.
const LAST_CALL: Duration = Duration::from_millis(9500);

/// `muster run`.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// The directory of the manifests, or s3://BUCKET/PREFIX; a change is picked up without a restart.
    #[arg(long, env = "MUSTER_MANIFESTS")]
    manifests: ManifestPlace,
    /// What this process does.
    #[arg(long, value_enum, default_value_t, env = "MUSTER_ROLE")]
    role: Role,
    /// What an hour of each instance type costs you, as for `muster simulate --prices`: a file, or s3://BUCKET/KEY. These prices
    /// win over AWS's own, which the controller reads once a day.
    #[arg(long, value_name = "FILE", env = "MUSTER_PRICES")]
    prices: Option<String>,
    /// A price list for what neither the list of --prices nor AWS tells. Terraform writes it.
    #[arg(long, value_name = "FILE", env = "MUSTER_FALLBACK_PRICES")]
    fallback_prices: Option<String>,
    #[command(flatten)]
    shadow: shadow::run::ShadowArgs,
}

/// What a process does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Role {
    /// Everything.
    #[default]
    All,
    /// Takes GitHub's webhooks and puts them on the queue. Stateless: run as many as you like.
    Webhook,
    /// Reads the queue, launches and ends runners. Run one per cluster, or several with spec.lease.
    Controller,
}

impl Args {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("failed to start the runtime")?;
        let result = match self.shadow.shadow {
            true if self.role == Role::Webhook => {
                let said = "a shadow takes no webhooks itself: run `muster run --role webhook` beside it, without --shadow";
                Err(CliError::Usage(said.to_owned()).into())
            }
            true => runtime.block_on(self.shadow.watch(self.manifests)),
            false => runtime.block_on(self.serve()),
        };
        runtime.shutdown_timeout(Duration::from_millis(200));
        result.map(|()| ExitCode::SUCCESS)
    }

    async fn serve(self) -> anyhow::Result<()> {
        // This comes first, because a signal during the start must not be lost.
        let stop = stop::on_signal()?;
        let clock = Clock::start();
        let supervisor = Supervisor::from_env().map_err(|e| CliError::Config(e.to_string()))?;
        let decides = self.role != Role::Webhook;
        let otlp = if decides { otlp::Config::from_env().map_err(|e| CliError::Config(e.to_string()))? } else { None };
        let mut manifests = Manifests::new(self.manifests, &Aws::connect(None).await);
        let texts = manifests.read().await.map_err(unreadable)?;
        let spec = Arc::new(manifest::load(&texts)?);
        let settings = &spec.controller.spec;
        let metrics = Arc::new(Metrics::new());
        let observer = observer(&metrics);
        let aws = Aws::connect(settings.region.as_deref()).await.with_observer(observer.clone());
        let book = if decides { book(self.prices, self.fallback_prices, &aws).await? } else { Book::default() };
        let secrets = Secrets::new(aws.clone(), manifests.place().base());
        let webhook_secrets = secrets.webhook(&spec).await?;
        let (spec_in, spec_out) = watch::channel(spec.clone());
        let (secrets_in, secrets_out) = watch::channel(webhook_secrets);
        // Only the controller takes orders, so the webhook's role need not read their token.
        let token = if decides { secrets.admin_token(&spec).await? } else { None };
        let view_token = secrets.view_token(&spec).await?;
        distinct(token.as_ref(), view_token.as_ref())?;
        let (token_in, token_out) = watch::channel(token);
        let (view_in, view_out) = watch::channel(view_token);

        // Both listeners are bound before anything begins. Otherwise a port that is in use would cost held
        // messages.
        let admin_listener = http::bind(&settings.listen.admin, "spec.listen.admin").await?;
        let webhook_listener = match self.role {
            Role::Controller => None,
            _ => Some(http::bind(&settings.listen.webhook, "spec.listen.webhook").await?),
        };
        let mut tasks = JoinSet::new();
        let mut liveness = Liveness::default();
        let shared = Shared { aws, spec: spec_out, secrets: secrets_out, metrics, observer, clock, stop };
        let (mut inspect, mut controlled, mut fence) = (None, None, Fence::default());
        let process = process_name(spec.controller.cluster(), clock);
        if decides {
            let credentials = secrets.credentials(&spec).await?;
            fence = if settings.lease { Fence::new(&process, clock) } else { Fence::default() };
            let core = shared.start_controller(&process, &fence, credentials, otlp, &mut tasks).await?;
            liveness = liveness.with("the controller's loop", core.pulse);
            (inspect, controlled) = (Some(core.inspect), Some(core.controlled));
        }
        if let Some(listener) = webhook_listener {
            liveness = liveness.with(webhook::OUTBOX, shared.start_webhook(listener, &mut tasks)?);
        }
        let reload = Reload {
            manifests,
            secrets,
            spec: spec_in,
            webhook_secrets: secrets_in,
            admin_token: token_in,
            view_token: view_in,
            controller: controlled,
            metrics: shared.metrics.clone(),
        };
        tasks.spawn(reload.run(texts, shared.stop.clone()));
        tracing::info!(address = %admin_listener.local_addr()?, role = ?self.role, cluster = spec.controller.cluster(), "muster runs");
        let door = Door { hosts: settings.listen.admin_hosts.as_slice().into(), token: Some(view_out) };
        let admin = Admin { door, ..shared.admin(inspect, book, token_out, liveness.clone(), &fence) };
        admin.watch.clone().into_iter().for_each(|watch| shared.record_usage(watch, process.clone(), &fence, &mut tasks));
        tasks.spawn(http::serve(admin_listener, admin::routes(admin), ListenerLimits::ADMIN, shared.stop.clone()));
        supervisor.ready();
        until_the_end(tasks, supervisor, &liveness, &shared.stop).await?;
        let lost = |why| anyhow::anyhow!("{why}; started again, this process stands by until it can have the lease");
        fence.lost().map_or(Ok(()), |why| Err(lost(why)))
    }
}

/// What the parts of the process have in common.
struct Shared {
    aws: Aws,
    spec: watch::Receiver<Arc<Spec>>,
    secrets: watch::Receiver<Arc<Keyring>>,
    metrics: Arc<Metrics>,
    observer: Observer,
    clock: Clock,
    stop: CancellationToken,
}

/// The controller's ends that the rest of the process holds.
struct Core {
    inspect: Inspect,
    controlled: Controlled,
    pulse: Pulse,
}

impl Shared {
    async fn start_controller(
        &self,
        process: &str,
        fence: &Fence,
        credentials: Vec<Credentials>,
        otlp: Option<otlp::Config>,
        tasks: &mut JoinSet<()>,
    ) -> anyhow::Result<Core> {
        let spec = self.spec.borrow().clone();
        let (cluster, settings) = (spec.controller.cluster(), &spec.controller.spec);
        let (limits, limits_out) = mpsc::unbounded_channel();
        let github = GitHub::new(credentials.clone(), limits.clone(), self.observer.clone())?;
        for name in spec.tokens.keys() {
            tracing::info!(token = %name, "GitHub has no API for an enterprise's webhook: deliveries that fail are not asked for again");
        }
        let receipts = Receipts::default();
        let executor = Executor::new(self.aws.clone(), github, receipts.clone(), &spec.controller).with_fence(fence.clone());
        let (inputs, inputs_out) = mpsc::channel(INPUTS);
        let (inspect, queries) = Inspect::new();
        let mut controller = Controller::new(process, self.clock.now());
        // The pauses come before the manifests, because a paused pool must launch nothing from the first moment on. With a
        // lease, they come with the lease.
        match settings.lease {
            true => controller.stand_by(),
            false => controller.set_paused(paused(&self.aws, cluster).await?),
        }
        let tape = match &settings.record.to {
            None => None,
            Some(to) => Some(self.record(&mut controller, to, process, tasks).await),
        };
        let traces = match otlp {
            None => None,
            Some(config) => {
                tracing::info!(endpoint = config.place(), "each job that ends is exported as a trace");
                let (traces, exporter) = Exporter::new(config, cluster, self.aws.region.as_deref(), self.metrics.clone())?;
                tasks.spawn(exporter.run(self.stop.clone()));
                Some(traces)
            }
        };
        let pulse = Pulse::start();
        let channels = Channels { inputs: inputs_out, limits: limits_out, queries, pulse: pulse.clone(), tape };
        let (metrics, stop) = (self.metrics.clone(), self.stop.clone());
        let core = driver::run(controller, self.clock, executor.clone(), channels, metrics, traces, stop);
        self.run_core(core, fence, inputs.downgrade(), tasks);
        inputs.send(Input::Spec(spec.clone())).await.context("failed to start the core")?;
        let ingest = Ingest {
            sqs: self.aws.sqs.clone(),
            queues: settings.queues.clone(),
            receipts,
            inputs: inputs.clone(),
            metrics: self.metrics.clone(),
            spec: self.spec.clone(),
            secrets: self.secrets.clone(),
            doubts: Doubts::default(),
            fence: fence.clone(),
        };
        ingest.start(tasks, &self.stop);
        let (s3, observer) = (self.aws.s3.clone(), self.observer.clone());
        let (spec, metrics) = (self.spec.clone(), self.metrics.clone());
        let sync = SyncTask { s3, spec, executor: executor.clone(), inputs: inputs.clone(), metrics, observer: observer.clone() };
        tasks.spawn(self.once_acting(fence, sync.run(self.stop.clone())));
        let groups = GroupsTask { executor: executor.clone(), spec: self.spec.clone(), inputs: inputs.clone() };
        tasks.spawn(self.once_acting(fence, groups.run(self.stop.clone())));
        let versions = VersionsTask { executor: executor.clone(), inspect: inspect.clone(), inputs: inputs.clone() };
        tasks.spawn(self.once_acting(fence, versions.run(self.stop.clone())));
        Ok(Core { inspect, controlled: Controlled { inputs, executor, credentials, limits, observer }, pulse })
    }

    /// Has the controller record what enters it, and keeps the record at `to`.
    async fn record(&self, controller: &mut Controller, to: &str, process: &str, tasks: &mut JoinSet<()>) -> Tape {
        let (spec, now) = (self.spec.borrow().clone(), self.clock.now());
        controller.record(env!("CARGO_PKG_VERSION"), spec.controller.spec.record.names);
        let (tape, parts) = Tape::new(spec.controller.cluster(), process, now, self.metrics.clone());
        let place = RecordPlace::open(to, async || self.aws.s3.clone()).await;
        tracing::info!(to, "everything that the controller hears and decides is recorded");
        tasks.spawn(RecordTask { place, parts, metrics: self.metrics.clone() }.run(self.stop.clone()));
        tape
    }

    /// Runs the core, and with a lease the task that holds it. The lease is given back once the core has ended.
    fn run_core(
        &self,
        core: impl Future<Output = ()> + Send + 'static,
        fence: &Fence,
        inputs: mpsc::WeakSender<Input>,
        tasks: &mut JoinSet<()>,
    ) {
        let (spec, idle) = (self.spec.borrow().clone(), CancellationToken::new());
        let settings = &spec.controller.spec;
        if let (true, Some(bucket)) = (settings.lease, settings.bucket.clone()) {
            let (s3, ssm, cluster) = (self.aws.s3.clone(), self.aws.ssm.clone(), spec.controller.cluster().to_owned());
            let (fence, metrics) = (fence.clone(), self.metrics.clone());
            let lease = LeaseTask { s3, bucket, ssm, cluster, fence, inputs, metrics };
            tasks.spawn(lease.run(self.stop.clone(), idle.clone()));
        }
        tasks.spawn(async move {
            core.await;
            idle.cancel();
        });
    }

    /// The work, which begins when this process acts.
    fn once_acting(
        &self,
        fence: &Fence,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> impl Future<Output = ()> + Send + 'static {
        let (fence, stop) = (fence.clone(), self.stop.clone());
        async move { fence.then(&stop, work).await }
    }

    /// Returns the pulse of the loop that puts messages on the queue.
    fn start_webhook(&self, listener: TcpListener, tasks: &mut JoinSet<()>) -> anyhow::Result<Pulse> {
        tracing::info!(address = %listener.local_addr()?, "listening for webhooks");
        let outbox = outbox(&self.aws, &self.spec.borrow());
        let pulse = outbox.pulse();
        let (spec, secrets, metrics) = (self.spec.clone(), self.secrets.clone(), self.metrics.clone());
        let routes = webhook::routes(Webhook { spec, secrets, outbox, metrics });
        tasks.spawn(http::serve(listener, routes, ListenerLimits::WEBHOOK, self.stop.clone()));
        Ok(pulse)
    }

    /// Records who uses the instances. A process that stands by counts nothing, and reads the record when it begins to act.
    fn record_usage(&self, watch: Arc<Watch>, process: String, fence: &Fence, tasks: &mut JoinSet<()>) {
        let (s3, spec, metrics) = (self.aws.s3.clone(), self.spec.clone(), self.metrics.clone());
        let usage = UsageTask { s3, spec, watch, metrics, clock: self.clock, process };
        tasks.spawn(self.once_acting(fence, usage.run(self.stop.clone())));
    }

    /// What the admin listener answers from. Without a controller (`inspect`), it shows metrics and health only.
    fn admin(
        &self,
        inspect: Option<Inspect>,
        book: Book,
        token: watch::Receiver<Option<SecretString>>,
        liveness: Liveness,
        fence: &Fence,
    ) -> Admin {
        let cluster = self.spec.borrow().controller.cluster().to_owned();
        let (metrics, stop) = (self.metrics.clone(), self.stop.clone());
        let about = About::cluster(&cluster);
        let bare = Admin::bare(about, metrics.clone(), liveness, stop.clone());
        let Some(core) = inspect else { return bare };
        let watch = Watch::start(core.clone(), metrics, book.clone(), LOOK_EVERY, stop.clone());
        // This task is not one of the process's tasks, because only prices are lost if it fails.
        let prices =
            prices::task::PriceTask { api: self.aws.prices.clone(), spec: self.spec.clone(), book, watch: watch.clone() };
        tokio::spawn(prices.run(stop));
        let console = Some(console(self.aws.ec2.clone()));
        let steer = Some(Steer { token, keep: Some(keep(&self.aws, &cluster)) });
        let fence = fence.clone();
        let stands_by: StandsBy = Arc::new(move || fence.stands_by());
        Admin { inspect: Some(core), console, watch: Some(watch), steer, stands_by, ..bare }
    }
}

/// Waits until the process is told to stop. A task that ends before that has failed. Then nothing works as it should, so
/// everything stops.
async fn until_the_end(
    mut tasks: JoinSet<()>,
    supervisor: Supervisor,
    liveness: &Liveness,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let ended_early = tokio::select! {
        ended = tasks.join_next() => ended.filter(|_| !stop.is_cancelled()),
        () = supervisor.watch(liveness, stop) => None,
    };
    stop.cancel();
    supervisor.stopping();
    let all = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(LAST_CALL, all).await.is_err() {
        tracing::warn!("stopped with work under way after {LAST_CALL:?}");
    }
    match ended_early {
        Some(Err(error)) => Err(error).context("a part of muster failed; all of it stops"),
        Some(Ok(())) => anyhow::bail!("a part of muster ended by itself; all of it stops"),
        None => {
            tracing::info!("stopped");
            Ok(())
        }
    }
}

pub(super) fn observer(metrics: &Arc<Metrics>) -> Observer {
    let metrics = metrics.clone();
    Arc::new(move |api, ended, took| metrics.api_call(api, ended.failure(), took))
}

/// The price lists that are given. If the user's list cannot be read, the start fails. If the fallback cannot
/// be read, there is a warning.
async fn book(own: Option<String>, fallback: Option<String>, aws: &Aws) -> anyhow::Result<Book> {
    let own = match own {
        Some(place) => Some(prices::list::load(&place, &aws.s3).await?),
        None => None,
    };
    let Some(place) = fallback else { return Ok(Book::new(own, None)) };
    match prices::list::load(&place, &aws.s3).await {
        Ok(list) => Ok(Book::new(own, Some(list))),
        Err(error) => {
            let why = format!("the list of fallback prices is left out: {error:#}");
            tracing::warn!("{why}");
            let mut book = Book::new(own, None);
            book.note_trouble("fallback", Some(why));
            Ok(book)
        }
    }
}

fn console(ec2: Ec2) -> Console {
    Console::new(move |id| {
        let ec2 = ec2.clone();
        Box::pin(async move { ec2.ended(&id).await.map_err(|failure| failure.message) })
    })
}

/// The pools that an operator paused before this process began. SSM is asked up to three times, because
/// nothing may be launched without this answer.
pub(super) async fn paused(aws: &Aws, cluster: &str) -> anyhow::Result<BTreeMap<PoolName, Pause>> {
    let mut failure = None;
    for wait_s in [0, 1, 4] {
        tokio::time::sleep(Duration::from_secs(wait_s)).await;
        match aws.ssm.paused(cluster).await {
            Ok(paused) => return Ok(paused),
            Err(f) if f.kind == FailureKind::Refused => anyhow::bail!("{}; allow ssm:GetParametersByPath there", f.message),
            Err(f) => failure = Some(f.message),
        }
    }
    anyhow::bail!("{}", failure.unwrap_or_default())
}

/// Keeps a pause where the next process finds it.
fn keep(aws: &Aws, cluster: &str) -> Keep {
    let (ssm, cluster) = (aws.ssm.clone(), cluster.to_owned());
    Arc::new(move |pool, pause| {
        let (ssm, cluster) = (ssm.clone(), cluster.clone());
        Box::pin(async move { ssm.keep_pause(&cluster, &pool, pause.as_ref()).await.map_err(|failure| failure.message) })
    })
}

fn outbox(aws: &Aws, spec: &Spec) -> Outbox<Sealed> {
    let (sqs, queue) = (aws.sqs.clone(), spec.controller.spec.queues.jobs.clone());
    Outbox::start(Settings::default(), move |messages: Vec<Sealed>| {
        let (sqs, queue) = (sqs.clone(), queue.clone());
        async move { sqs.send_batch(&queue, &messages).await.into_iter().map(|r| r.map_err(|f| f.message)).collect() }
    })
}

/// A name for this start of the process. It must be unique, because it is part of every ClientToken (at most
/// 64 characters, with a serial number).
pub(super) fn process_name(cluster: &str, clock: Clock) -> String {
    use std::hash::{BuildHasher, Hasher};
    let random = std::collections::hash_map::RandomState::new().build_hasher().finish();
    let cluster: String = cluster.chars().take(20).collect();
    format!("{cluster}-{:x}-{:08x}", clock.now().as_millis(), random as u32)
}
