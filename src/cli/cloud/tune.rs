//! `muster tune`: searches the settings of the pools that meet a goal, in the simulator, and says what each costs.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail, ensure};
use clap::ArgGroup;
use muster_cloud::aws::Aws;
use muster_cloud::record::RecordPlace;
use muster_operations::prices::Prices;
use muster_operations::recorded_jobs::{RecordedJobs, whole_parts};
use muster_operations::{config, prices, terminal};
use muster_reconciler::ids::PoolName;
use muster_reconciler::manifest::{MarketPolicy, Os, Problem, Problems, RunnerPool, Span, Spec};
use muster_reconciler::market::Market;
use muster_reconciler::time::Time;
use muster_simulator::JobPlan;
use muster_simulator::conditions::{Conditions, Overrides};
use muster_simulator::tune::goal::Goal;
use muster_simulator::tune::search::{Quest, TuneFindings, search};
use muster_simulator::tune::split::Split;
use muster_simulator::tune::{Workbench, by_pool};

use super::replay::time;
use crate::cli::ask::block_on;
use crate::cli::fault::CliError;
use crate::cli::simulate::{Sky, read_file, read_manifests};
use crate::cli::{Output, show};
use crate::simulate::{Recording, trace, workload};
use crate::tune::answer::{Sources, TuneAnswer, reason_of};
use crate::tune::budget::DayBudget;
use crate::tune::cores::Cores;
use crate::tune::{manifest_edit, table};

/// `muster tune`.
#[derive(Debug, clap::Args)]
#[command(group = ArgGroup::new("jobs").required(true).args(["trace", "record"]))]
pub(in crate::cli) struct Args {
    /// The directory of the manifests.
    pools_dir: PathBuf,
    /// Jobs as they were: CSV with a header, or JSON lines, with queued_at, duration, labels and (optional) repo.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// A flight record that has the jobs: s3://BUCKET/PREFIX, or a directory, as in `spec.record.to`.
    #[arg(long, value_name = "RECORD")]
    record: Option<String>,
    /// The cluster, if the record has several.
    #[arg(long, value_name = "NAME", requires = "record")]
    cluster: Option<String>,
    /// The first time of the record that counts, in UTC, such as 2026-11-24T14:03.
    #[arg(long, value_name = "TIME", value_parser = time, requires = "record")]
    from: Option<Time>,
    /// The last time of the record that counts.
    #[arg(long, value_name = "TIME", value_parser = time, requires = "record")]
    until: Option<Time>,
    /// The longest wait that is good enough: p50, p90, p95, p99 or max, such as 'p95 wait <= 30s'.
    #[arg(long)]
    goal: Goal,
    /// The most that the instances of a day may cost, such as 40/day or 1200/month, in the currency of the prices.
    #[arg(long, value_name = "MONEY/TIME")]
    budget: Option<DayBudget>,
    /// How many more jobs than today may be lost with their instances, in percent of all jobs.
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0)]
    may_lose: f64,
    /// Tune only these pools; only the waits of their jobs count. Without it: all pools that the jobs use.
    #[arg(long, value_name = "NAME")]
    pool: Vec<String>,
    /// How many variants to try.
    #[arg(long, value_name = "N", default_value_t = 100)]
    candidates: u16,
    /// With how many seeds the best are judged.
    #[arg(long, value_name = "N", default_value_t = 3)]
    seeds: u8,
    /// Decides what is left to chance; the same seed gives the same answer.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Stop trying after this time, and judge what there is. Then the answer depends on the machine's speed.
    #[arg(long, value_name = "DURATION")]
    time_limit: Option<Span>,
    /// How much goes wrong.
    #[arg(long, value_enum, default_value_t)]
    weather: Sky,
    /// A workload file whose `world` says what is assumed, such as how long instances boot.
    #[arg(long, value_name = "FILE")]
    workload: Option<PathBuf>,
    /// What an instance hour costs. Without it: a built-in example, which is not what you pay.
    #[arg(long, value_name = "FILE")]
    prices: Option<PathBuf>,
    /// Write the manifests with the chosen settings, and the reason as a comment, to this directory. It may be that of the manifests.
    #[arg(long, value_name = "OTHER_DIR")]
    write: Option<PathBuf>,
    /// For people, or for programs.
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

/// What the files say.
struct TuneFiles {
    spec: Spec,
    jobs: Recording,
    jobs_from: String,
    conditions: Conditions,
    prices: Prices,
}

impl Args {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        self.check()?;
        let mut problems = Vec::new();
        let read = self.read(&mut problems)?;
        let Some(mut read) = read.filter(|_| problems.is_empty()) else {
            // The lines have no prefix, as in `validate`, because editors and scripts read FILE:LINE.
            terminal::say(&Problems(problems).to_string());
            return Ok(ExitCode::FAILURE);
        };
        let pools = self.pools(&read, &mut problems);
        unpriced(&read.spec, &read.prices, &mut problems);
        if !problems.is_empty() {
            terminal::say(&Problems(problems).to_string());
            return Ok(ExitCode::FAILURE);
        }
        read.jobs.jobs.sort_by_key(|job| job.at);
        let counted = tuned_jobs(&read, &pools);
        let split = match Split::of(&counted) {
            Ok(split) => split,
            Err(too_little) => bail!("{}: {too_little}", read.jobs_from),
        };
        let bench = Workbench { jobs: read.jobs.jobs.clone(), split, conditions: read.conditions.clone(), pools };
        let quest = self.quest(&read, &bench);
        let price = |os: Os, instance_type: &str, market: Market| read.prices.hour(os, instance_type, market);
        let shown = io::stderr().is_terminal();
        let told = |done: usize, all: usize| {
            if shown {
                terminal::replace_line(&format!("{done} of {all} runs of this round"));
            }
        };
        let found = search(&quest, &mut Cores::new(&bench, &price, self.time_limit.map(Span::get), &told));
        if shown {
            terminal::replace_line("");
        }
        self.answer(&read, &quest, &bench, &found)
    }

    fn check(&self) -> anyhow::Result<()> {
        let usage = |said: String| Err(CliError::Usage(said).into());
        if !self.pools_dir.is_dir() {
            return usage(format!("{} is no directory; name the one that holds the manifests", self.pools_dir.display()));
        }
        if !(0.0..=100.0).contains(&self.may_lose) {
            return usage(format!("--may-lose {} is no percentage; write a number from 0 to 100", self.may_lose));
        }
        if self.candidates == 0 || self.seeds == 0 {
            return usage("--candidates and --seeds count from 1".to_owned());
        }
        if let Some(to) = self.write.as_ref().filter(|to| !same(to, &self.pools_dir)) {
            let there = to.ancestors().find(|path| path.exists());
            if there.is_some_and(|path| !path.is_dir()) {
                return usage(format!("--write {} leads through a file; name a directory", to.display()));
            }
            let texts = config::read_dir(&self.pools_dir)?;
            if let Some(reference) = texts.iter().find_map(|text| relative_secret(&text.body)) {
                let (to, from) = (to.display(), self.pools_dir.display());
                let why = "begins at the manifests' directory, so it would mean another file in";
                return usage(format!("{reference} {why} {to}; write to {from}, or give the file's whole path"));
            }
            let there = if to.exists() { config::manifests_in(to)? } else { Vec::new() };
            if !there.is_empty() {
                let (to, from) = (to.display(), self.pools_dir.display());
                return usage(format!("{to} holds manifests already; name a new directory for --write, or {from} itself"));
            }
        }
        Ok(())
    }

    /// Reads every file, and notes all problems. None: there is a problem.
    fn read(&self, problems: &mut Vec<Problem>) -> anyhow::Result<Option<TuneFiles>> {
        let spec = read_manifests(&self.pools_dir, problems);
        let weather = self.weather.into();
        let conditions = match &self.workload {
            Some(path) => read_file(path, problems, |text| workload::read(text, weather, true)).map(|w| w.conditions),
            None => Some(Conditions::new(weather, &Overrides::default())),
        };
        let prices = match &self.prices {
            Some(path) => read_file(path, problems, prices::file::read),
            None => Some(Prices::example()),
        };
        let (jobs_from, jobs) = match (&self.trace, &self.record) {
            (Some(path), _) => (path.display().to_string(), read_file(path, problems, trace::read)),
            (None, Some(record)) => (record.clone(), Some(block_on(self.recorded(record))?)),
            (None, None) => return Ok(None),
        };
        let (Some(spec), Some(conditions), Some(prices), Some(mut jobs)) = (spec, conditions, prices, jobs) else {
            return Ok(None);
        };
        jobs.settle_repositories(&spec);
        Ok(Some(TuneFiles { spec, jobs, jobs_from, conditions, prices }))
    }

    /// The jobs of a flight record.
    async fn recorded(&self, record: &str) -> anyhow::Result<Recording> {
        let place = RecordPlace::open(record, async || Aws::connect(None).await.s3).await;
        let all = place.parts().await.map_err(|error| CliError::Config(format!("{error:#}")))?;
        let (from, until) = (self.from.unwrap_or(Time::ZERO), self.until.unwrap_or(Time::FAR));
        let parts = whole_parts(all, self.cluster.as_deref(), from, until);
        let parts = parts.map_err(|error| CliError::Unknown(format!("{record}: {error}")))?;
        let (mut heard, mut cut) = (RecordedJobs::default(), Vec::new());
        for part in &parts {
            let (lines, wrong) = place.read(part).await?;
            lines.lines().for_each(|line| heard.hear(line));
            cut.extend(wrong.map(|wrong| format!("{part} is cut off ({wrong}), so jobs of that minute may be missing")));
        }
        let (jobs, mut notes) = heard.finish();
        notes.extend(cut);
        let jobs: Vec<JobPlan> = jobs
            .into_iter()
            .filter(|job| from <= job.queued && job.queued <= until)
            .map(|job| JobPlan { at: job.queued, takes: job.ran, labels: job.labels, repo: job.repo, cancel_after: None })
            .collect();
        let span = jobs.iter().map(|job| job.at).min().zip(jobs.iter().map(|job| job.at).max());
        let Some((first, last)) = span else {
            bail!("{record} tells of no job from its queueing to its end; choose a longer time with --from and --until");
        };
        Ok(Recording { jobs, from: first, until: last, notes })
    }

    /// The pools to tune. Pools that no job uses stay as they are.
    fn pools(&self, read: &TuneFiles, problems: &mut Vec<Problem>) -> Vec<PoolName> {
        let mut refuse = |message: String| problems.push(Problem { message, ..Problem::default() });
        let used = by_pool(&read.spec, read.jobs.jobs.iter());
        if read.spec.pools.is_empty() {
            refuse(format!("{} has no RunnerPool; write one, or name another directory", self.pools_dir.display()));
        } else if used.is_empty() {
            let labels = read.jobs.jobs.first().map_or_else(String::new, |job| job.labels.join(" "));
            refuse(format!(
                "no pool takes any job of {}; `muster match {labels}` says which pool lacks what for the first one",
                read.jobs_from
            ));
        }
        for name in &self.pool {
            let name: PoolName = name.as_str().into();
            if !read.spec.pools.contains_key(&name) {
                let known: Vec<&str> = read.spec.pools.keys().map(PoolName::as_str).collect();
                refuse(format!("--pool {name}: there is no such pool; there are {}", known.join(", ")));
            } else if !used.contains_key(&name) {
                refuse(format!("--pool {name}: no job of {} is for this pool; take another trace or pool", read.jobs_from));
            }
        }
        let wanted = |pool: &PoolName| self.pool.is_empty() || self.pool.iter().any(|name| name == pool.as_str());
        used.into_keys().filter(wanted).collect()
    }

    fn quest(&self, read: &TuneFiles, bench: &Workbench) -> Quest {
        let priced = |pool: &RunnerPool, market: MarketPolicy| {
            let mut pool = pool.clone();
            pool.spec.instance.market = market;
            without_price(&pool, &read.prices).is_empty()
        };
        let (burst, singles) = bench.suggestions(&read.spec, priced);
        Quest {
            base: std::sync::Arc::new(read.spec.clone()),
            goal: self.goal,
            budget: self.budget.map(|budget| budget.a_day),
            may_lose: self.may_lose / 100.0,
            split: bench.split.clone(),
            burst,
            weights: bench.weights(),
            singles,
            candidates: usize::from(self.candidates),
            seeds: u64::from(self.seeds),
            seed: self.seed,
        }
    }

    fn answer(&self, read: &TuneFiles, quest: &Quest, bench: &Workbench, found: &TuneFindings) -> anyhow::Result<ExitCode> {
        let mut notes = read.jobs.notes.clone();
        let used = by_pool(&read.spec, read.jobs.jobs.iter());
        let unused: Vec<&str> = read.spec.pools.keys().filter(|pool| !used.contains_key(*pool)).map(PoolName::as_str).collect();
        if !unused.is_empty() {
            notes.push(format!("no job is for {}: nothing is known of it, and it stays as it is", unused.join(", ")));
        }
        let without = read.jobs.jobs.len() - used.values().map(Vec::len).sum::<usize>();
        if without > 0 {
            notes.push(format!("no pool takes {without} of the jobs; they do not count"));
        }
        let sources = Sources {
            manifests: self.pools_dir.display().to_string(),
            jobs_from: read.jobs_from.clone(),
            weather: self.weather.into(),
            notes,
            prices: &read.prices,
        };
        let answer = TuneAnswer::new(sources, quest, bench, found);
        let text = match self.output {
            Output::Table => table::print(&answer),
            Output::Json => serde_json::to_string_pretty(&answer).context("failed to write the answer as JSON")? + "\n",
        };
        show::print(&text)?;
        if let Some(to) = &self.write {
            self.write_to(to, quest, found, &read.prices.currency)?;
        }
        Ok(if found.chosen.is_ok() && found.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// Writes the manifests with the chosen settings.
    fn write_to(&self, to: &Path, quest: &Quest, found: &TuneFindings, currency: &str) -> anyhow::Result<()> {
        let Ok(at) = found.chosen else {
            terminal::say(&format!("muster: nothing is chosen, so nothing is written to {}", to.display()));
            return Ok(());
        };
        let Some(chosen) = found.frontier.get(at).filter(|chosen| !chosen.variant.is_empty()) else {
            terminal::say(&format!("muster: the manifests stay as they are, so nothing is written to {}", to.display()));
            return Ok(());
        };
        let moved = !same(to, &self.pools_dir);
        let before = config::read_dir(&self.pools_dir)?;
        let mut texts = before.clone();
        let reason = vec![reason_of(quest, found, at, currency), "a model, not a forecast: docs/tune.md".to_owned()];
        let pools: std::collections::BTreeSet<&PoolName> = chosen.variant.settings().map(|(pool, _)| pool).collect();
        for pool in pools {
            let settings: Vec<_> = chosen.variant.settings().filter(|(of, _)| *of == pool).map(|(_, setting)| setting).collect();
            let new = texts.iter().enumerate().find_map(|(nth, text)| {
                Some((nth, manifest_edit::with_settings(&text.body, pool.as_str(), &settings, &reason)?))
            });
            let by_hand = settings.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let (nth, body) = new.with_context(|| {
                format!("the text of pool {pool} has a form that muster does not change; set by hand: {by_hand}")
            })?;
            if let Some(text) = texts.get_mut(nth) {
                text.body = body;
            }
        }
        // The proof that these settings, and nothing else, were changed.
        let written = muster_reconciler::manifest::load_for_people(&texts, None).map(|reading| reading.spec);
        let wanted = chosen.variant.applied(&quest.base);
        ensure!(
            written.is_ok_and(|spec| spec == *wanted),
            "the manifests have a form that muster does not change safely, so nothing is written; set by hand what the answer lists"
        );
        std::fs::create_dir_all(to).with_context(|| format!("cannot make the directory {}", to.display()))?;
        for (text, before) in texts.iter().zip(&before) {
            if moved || text.body != before.body {
                let path = to.join(&text.file);
                replace(&path, &text.body).with_context(|| format!("cannot write {}", path.display()))?;
            }
        }
        terminal::say(&format!("muster: the chosen manifests are in {}; `muster validate` checks them", to.display()));
        Ok(())
    }
}

/// A reference to a secret's file whose path is relative, if the text has one.
fn relative_secret(body: &str) -> Option<&str> {
    let uncommented = body.lines().map(|line| line.split(" #").next().unwrap_or_default());
    let mut words = uncommented.flat_map(|line| line.split(|c: char| c.is_whitespace() || "\"',[]{}".contains(c)));
    words.find(|word| word.strip_prefix("file:").is_some_and(|path| !path.is_empty() && !path.starts_with('/')))
}

/// Writes a file beside its place, and moves it there, so that a manifest is never half written.
fn replace(path: &Path, body: &str) -> std::io::Result<()> {
    let path = &std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()); // a link stays a link
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    std::fs::write(&beside, body)?;
    if let Ok(old) = std::fs::metadata(path) {
        std::fs::set_permissions(&beside, old.permissions())?;
    }
    std::fs::rename(&beside, path)
}

/// The jobs of the tuned pools.
fn tuned_jobs(read: &TuneFiles, pools: &[PoolName]) -> Vec<JobPlan> {
    let mut router = muster_simulator::ledger::Router::new(&read.spec);
    let ours =
        |job: &&JobPlan| matches!(router.route(job), muster_reconciler::matching::Route::Pool(pool) if pools.contains(pool));
    read.jobs.jobs.iter().filter(ours).cloned().collect()
}

/// Without all prices the cheaper of two manifests may be the one whose prices are missing.
fn unpriced(spec: &Spec, prices: &Prices, problems: &mut Vec<Problem>) {
    let missing: std::collections::BTreeSet<String> = spec.pools.values().flat_map(|pool| without_price(pool, prices)).collect();
    if !missing.is_empty() {
        let missing = missing.into_iter().collect::<Vec<_>>().join(", ");
        let message =
            format!("no price of {missing}: without them the costs cannot be compared; add them to the file of --prices");
        problems.push(Problem { file: String::new(), message, ..Problem::default() });
    }
}

fn without_price(pool: &RunnerPool, prices: &Prices) -> Vec<String> {
    let instance = &pool.spec.instance;
    let windows = if instance.os == Os::Windows { "windows " } else { "" };
    let all = instance.types.iter().flat_map(|name| pool.markets().iter().map(move |market| (name, *market)));
    all.filter(|(name, market)| prices.hour(instance.os, name, *market).is_none())
        .map(|(name, market)| format!("{windows}{name} ({})", market.as_str()))
        .collect()
}

fn same(a: &Path, b: &Path) -> bool {
    same_file::is_same_file(a, b).unwrap_or(false)
}
