//! `muster replay`: the controller as it was at some time, rebuilt from its flight record.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use chrono::NaiveDateTime;
use clap::Parser as _;
use muster_cloud::aws::Aws;
use muster_cloud::record::RecordPlace;
use muster_operations::config;
use muster_operations::inspect::{self, Inspect, Questions};
use muster_operations::liveness::{Liveness, Pulse};
use muster_operations::metrics::Metrics;
use muster_operations::prices::Prices;
use muster_operations::record::{Chosen, RecordSpan, choose, instant};
use muster_operations::reel::Reel;
use muster_operations::terminal;
use muster_operations::watch::Watch;
use muster_reconciler::manifest::Spec;
use muster_reconciler::reason::count;
use muster_reconciler::replay::{Difference, Differs, Player};
use muster_reconciler::time::{Time, human};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::{plan, unreadable};
use crate::cli::fault::CliError;
use crate::cli::{Cli, Output, show, stop};
use crate::http::rewind::Rewind;
use crate::http::state::{About, Admin};
use crate::http::{ListenerLimits, admin};

/// How many differences are printed for people.
const SHOWN: usize = 50;
const HOUR_MS: u64 = 3_600_000;
const NO_LINE: &str = "the record has no line before that time";

/// `muster replay`.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// The record: s3://BUCKET/PREFIX, or a directory, as in `spec.record.to`.
    record: String,
    /// The time to go to, in UTC, such as 2026-11-24T14:03; without it, the end of the record.
    #[arg(long, value_name = "TIME", value_parser = time)]
    at: Option<Time>,
    /// The cluster, if the record has several.
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    /// The process. Without it, the one that wrote last before the time.
    #[arg(long, value_name = "ID")]
    process: Option<String>,
    /// List what this muster decides otherwise than the one that wrote the record, from the process's start on. Exits with 1 if there
    /// is anything.
    #[arg(long, conflicts_with_all = ["listen", "command"])]
    check: bool,
    /// As --check, with these manifests (a directory) in place of the recorded ones, or with another muster (its binary).
    #[arg(long, value_name = "DIR|BINARY", conflicts_with_all = ["listen", "command"])]
    against: Option<PathBuf>,
    /// Serve the live page and the API of that time on 127.0.0.1:PORT until Ctrl-C. A slider on the page goes to other times.
    #[arg(long, value_name = "PORT")]
    listen: Option<u16>,
    /// The first time that the page can go to. Default: an hour before --at.
    #[arg(long, value_name = "TIME", value_parser = time, requires = "listen")]
    from: Option<Time>,
    /// The last time that the page can go to. Default: an hour after --at.
    #[arg(long, value_name = "TIME", value_parser = time, requires = "listen")]
    until: Option<Time>,
    /// For people, or for programs.
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
    /// A command that asks the controller of that time: explain, get, events, top, plan.
    #[arg(trailing_var_arg = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// `plan`, asked of the controller of that time.
#[derive(Debug, clap::Parser)]
#[command(name = "plan")]
struct PlanOfThen {
    /// For people, or for programs.
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

/// The answer of `--check`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ReplayAnswer<'a> {
    process: &'a str,
    until: String,
    decisions: u64,
    differences: &'a [Difference],
}

/// Reads a time, such as `2026-11-24T14:03`, in UTC.
pub(super) fn time(text: &str) -> Result<Time, String> {
    let forms = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M"];
    let read = forms.iter().find_map(|form| NaiveDateTime::parse_from_str(text.trim_end_matches('Z'), form).ok());
    let at = read.and_then(|at| u64::try_from(at.and_utc().timestamp_millis()).ok());
    at.map(Time::from_millis).ok_or_else(|| "write a time in UTC, such as 2026-11-24T14:03 or 2026-11-24T14:03:20".to_owned())
}

impl Args {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        if let Some(binary) = self.against.as_ref().filter(|path| path.is_file()) {
            return self.other_binary(binary);
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("failed to start the runtime")?;
        let result = self.replay(&runtime);
        runtime.shutdown_timeout(Duration::from_millis(200));
        result
    }

    fn replay(self, runtime: &tokio::runtime::Runtime) -> anyhow::Result<ExitCode> {
        let manifests = self.against.as_deref().map(config::load_dir).transpose().map_err(unreadable)?;
        if self.check || self.against.is_some() {
            let mut player = runtime.block_on(self.played(manifests.map(Arc::new)))?;
            return self.checked(&mut player);
        }
        let mut reel = runtime.block_on(self.reel())?;
        if self.command.is_empty() && self.listen.is_none() {
            return summary(&mut reel);
        }
        if self.command.first().is_some_and(|word| word == "plan") {
            let words = std::iter::once("plan").chain(self.command.iter().skip(1).map(String::as_str));
            let plan = PlanOfThen::try_parse_from(words).map_err(|error| CliError::Usage(error.to_string()))?;
            let at = reel.at();
            let Some(controller) = reel.controller() else { bail!(NO_LINE) };
            return plan::print_plans(&controller.seen().preview(at), plan.output, at);
        }
        let stop = CancellationToken::new();
        let port = runtime.block_on(serve(reel, self.listen.unwrap_or(0), stop.clone()))?;
        let url = format!("http://127.0.0.1:{port}");
        if self.command.is_empty() {
            let told = runtime.block_on(async { stop::on_signal() })?;
            show::print(&format!("the controller of that time answers at {url}/\nCtrl-C ends it.\n"))?;
            runtime.block_on(told.cancelled());
            return Ok(ExitCode::SUCCESS);
        }
        let words = std::iter::once("muster".to_owned()).chain(self.command).chain(["--controller".to_owned(), url]);
        let cli = Cli::try_parse_from(words).map_err(|error| CliError::Usage(error.to_string()))?;
        let code = cli.command.run();
        stop.cancel();
        code
    }

    /// Where the record is, and the parts of it that are needed.
    async fn chosen(&self, span: RecordSpan) -> anyhow::Result<(RecordPlace, Chosen)> {
        let place = RecordPlace::open(&self.record, async || Aws::connect(None).await.s3).await;
        let parts = place.parts().await.map_err(|error| CliError::Config(format!("{error:#}")))?;
        let chosen = choose(parts, span, self.cluster.as_deref(), self.process.as_deref());
        let chosen = chosen.map_err(|error| CliError::Unknown(format!("{}: {error}", self.record)))?;
        chosen.notes.iter().for_each(|note| terminal::say(&format!("muster: {note}")));
        Ok((place, chosen))
    }

    /// The lines that are asked about, at the time that is asked for.
    async fn reel(&self) -> anyhow::Result<Reel> {
        let at = self.at.unwrap_or(Time::FAR);
        let span = match self.listen {
            None => RecordSpan::moment(at),
            Some(_) => RecordSpan {
                from: self.from.unwrap_or(Time::from_millis(at.as_millis().saturating_sub(HOUR_MS))),
                at,
                until: self.until.unwrap_or(Time::from_millis(at.as_millis().saturating_add(HOUR_MS))),
            },
        };
        let (place, chosen) = self.chosen(span).await?;
        let mut all = Vec::new();
        for part in &chosen.parts {
            let (lines, wrong) = place.read(part).await?;
            let within = |line: &&str| Player::time_of(line).is_none_or(|time| time <= span.until);
            all.extend(lines.lines().take_while(within).map(str::to_owned));
            if let Some(wrong) = wrong {
                terminal::say(&format!("muster: {part} is cut off ({wrong}); the replay ends there"));
                break;
            }
        }
        let mut reel = Reel::new(all);
        reel.go_to(at).with_context(|| format!("{}, after {}", self.record, instant(reel.at())))?;
        Ok(reel)
    }

    /// Plays the record from the start of its process to the time.
    async fn played(&self, manifests: Option<Arc<Spec>>) -> anyhow::Result<Player> {
        let until = self.at.unwrap_or(Time::FAR);
        let (place, chosen) = self.chosen(RecordSpan::all_before(until)).await?;
        let mut player = Player::new(manifests);
        for part in &chosen.parts {
            let (lines, wrong) = place.read(part).await?;
            for (number, line) in lines.lines().enumerate() {
                if Player::time_of(line).is_some_and(|at| at > until) {
                    return Ok(player);
                }
                player.play(line).with_context(|| format!("{part}, line {}", number + 1))?;
            }
            if let Some(wrong) = wrong {
                let at = instant(player.at());
                terminal::say(&format!("muster: {part} is cut off ({wrong}); the replay ends at {at}"));
                return Ok(player);
            }
        }
        Ok(player)
    }

    fn checked(&self, player: &mut Player) -> anyhow::Result<ExitCode> {
        let (process, until, decisions) = (player.process().to_owned(), instant(player.at()), player.decisions());
        let differences = player.differences(true);
        let code = if differences.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
        if matches!(self.output, Output::Json) {
            let answer = ReplayAnswer { process: &process, until, decisions, differences };
            show::print(&(serde_json::to_string_pretty(&answer)? + "\n"))?;
            return Ok(code);
        }
        let mut text = match differences.first() {
            None => format!("the same {} until {until}\n", count(decisions, "decision")),
            Some(first) => {
                let here = if self.against.is_some() { "with these manifests" } else { "by this muster" };
                let (found, of) = (count(differences.len(), "difference"), count(decisions, "decision"));
                format!("{found} {here}, in {of}; the first is at {}, and later ones may follow from it\n", instant(first.at))
            }
        };
        differences.iter().take(SHOWN).for_each(|d| text.push_str(&told(d)));
        if differences.len() > SHOWN {
            text.push_str(&format!("and {} more; -o json has all\n", differences.len() - SHOWN));
        }
        show::print(&text)?;
        Ok(code)
    }

    /// Has another muster check the record.
    fn other_binary(&self, binary: &PathBuf) -> anyhow::Result<ExitCode> {
        let mut words = vec!["replay".to_owned(), self.record.clone(), "--check".to_owned()];
        let at = self.at.map(instant);
        for (flag, value) in [("--at", &at), ("--cluster", &self.cluster), ("--process", &self.process)] {
            words.extend(value.iter().flat_map(|value| [flag.to_owned(), value.clone()]));
        }
        if matches!(self.output, Output::Json) {
            words.extend(["-o".to_owned(), "json".to_owned()]);
        }
        let ended = Command::new(binary).args(words).status().with_context(|| format!("failed to start {}", binary.display()))?;
        match ended.code() {
            Some(code) => Ok(u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from)),
            None => bail!("{} was killed", binary.display()),
        }
    }
}

/// One difference, for people.
fn told(difference: &Difference) -> String {
    let Difference { at, differs, what, recorded_why, why_here, later_ms } = difference;
    let how = match differs {
        Differs::OnlyRecorded => "only in the record".to_owned(),
        Differs::OnlyHere => "only here".to_owned(),
        Differs::OtherTime => format!("{} apart", human(Duration::from_millis(*later_ms))),
        Differs::OtherDetails => "with other details".to_owned(),
    };
    let why = |side: &str, why: &Option<String>| why.as_ref().map(|why| format!("    {side}: {why}\n")).unwrap_or_default();
    format!("{}  {what} ({how})\n{}{}", instant(*at), why("record", recorded_why), why("here", why_here))
}

/// What there is at the end of the replay.
fn summary(reel: &mut Reel) -> anyhow::Result<ExitCode> {
    let (process, at, decisions) = (reel.process().to_owned(), reel.at(), reel.decisions());
    let Some(controller) = reel.controller() else { bail!(NO_LINE) };
    let snapshot = controller.seen().snapshot(at);
    let (pools, jobs, runners) = (snapshot.pools.len(), snapshot.jobs.len(), snapshot.runners.len());
    let [pools, jobs, runners] = [(pools, "pool"), (jobs, "job"), (runners, "runner")].map(|(n, what)| count(n as u64, what));
    show::print(&format!(
        "process {process} at {}: {pools}, {jobs}, {runners}; {} since the replay began\nask it: muster replay RECORD --at TIME \
         explain job/ID (or get, events, top, plan), or --listen PORT for the page\n",
        instant(at),
        count(decisions, "decision")
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// Serves what the controller of that time answers. Returns the port.
async fn serve(reel: Reel, port: u16, stop: CancellationToken) -> anyhow::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .await
        .with_context(|| format!("failed to listen on 127.0.0.1:{port}; choose another port with --listen"))?;
    let port = listener.local_addr().context("failed to ask for the port that was bound")?.port();
    let (inspect, questions) = Inspect::new();
    let metrics = Arc::new(Metrics::new());
    let Some(span) = reel.span() else { bail!(NO_LINE) };
    let banner =
        format!("Replay of process {}. The record here goes from {} to {}.", reel.process(), instant(span.0), instant(span.1));
    let ((shown, at), (go, asked)) = (watch::channel(reel.at()), mpsc::channel(1));
    let about = About { banner: Some(banner), ..About::cluster("replay") };
    let watch = Watch::start(inspect.clone(), metrics.clone(), Prices::example(), Duration::from_secs(1), stop.clone());
    let pulse = Pulse::start();
    let liveness = Liveness::default().with("the replayed controller", pulse.clone());
    let rewind = Some(Rewind { span, at, go });
    let admin =
        Admin { inspect: Some(inspect), watch: Some(watch), rewind, ..Admin::bare(about, metrics, liveness, stop.clone()) };
    tokio::spawn(answer(reel, questions, pulse, asked, shown));
    tokio::spawn(crate::http::serve(listener, admin::routes(admin), ListenerLimits::ADMIN, stop));
    Ok(port)
}

/// Answers questions from the controller, whose time stands still until somebody asks to go to another.
async fn answer(
    mut reel: Reel,
    mut questions: Questions,
    pulse: Pulse,
    mut asked: mpsc::Receiver<(Time, oneshot::Sender<Result<(), String>>)>,
    shown: watch::Sender<Time>,
) {
    let mut beat = tokio::time::interval(Duration::from_secs(1));
    loop {
        let at = reel.at();
        tokio::select! {
            _ = beat.tick() => pulse.beat(),
            Some((to, told)) = asked.recv() => {
                // A day takes seconds, in which other tasks go on.
                let gone = tokio::task::block_in_place(|| reel.go_to(to)).map_err(|error| error.to_string());
                shown.send_replace(reel.at());
                // Whoever asked may have left.
                let _ = told.send(gone);
            }
            question = questions.recv() => match (question, reel.controller()) {
                (Some(question), Some(controller)) => inspect::answer(controller, question, at),
                _ => return,
            },
        }
    }
}
