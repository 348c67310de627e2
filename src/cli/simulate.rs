//! `muster simulate`: what a directory of manifests would do with given jobs. It reads the files, asks [`crate::simulate`],
//! and prints the answer.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::{ArgGroup, ValueEnum};
use muster_operations::config;
use muster_operations::prices::{self, Prices};
use muster_operations::terminal;
use muster_reconciler::manifest::{self, Problem, Problems, Spec, Text};
use muster_reconciler::time::{Time, human};
use muster_simulator::conditions::{Conditions, Overrides, Weather};
use muster_simulator::forecast::{Question, forecast};

use super::{Output, USAGE, report, show};
use crate::simulate::answer::{Asked, ForecastAnswer};
use crate::simulate::{Recording, html, mix, table, trace, workload};

/// The largest file that is read, in bytes. A larger one is no file for this command, or would not fit into memory.
const LARGEST_FILE: u64 = 1 << 30;

/// `muster simulate`.
#[derive(Debug, clap::Args)]
#[command(group = ArgGroup::new("jobs").required(true).multiple(true).args(["trace", "workload"]))]
pub(super) struct Args {
    /// The directory of the manifests.
    pools_dir: PathBuf,
    /// Jobs as they were: CSV with a header, or JSON lines, with queued_at, duration, labels and (optional) repo.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Jobs as they come on average, and what is assumed of the world. Beside --trace, only its `world` is used.
    #[arg(long, value_name = "FILE")]
    workload: Option<PathBuf>,
    /// Decides what is left to chance; the same seed gives the same answer.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How much goes wrong.
    #[arg(long, value_enum, default_value_t)]
    weather: Sky,
    /// What an instance hour costs. Without it: a built-in example, which is not what you pay.
    #[arg(long, value_name = "FILE")]
    prices: Option<PathBuf>,
    /// Another directory of manifests, for the same jobs, weather and seed.
    #[arg(long, value_name = "OTHER_DIR")]
    compare: Option<PathBuf>,
    /// For people, or for programs.
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
    /// Also write a report with plots: one HTML file that needs nothing else.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// [`Weather`], as the command line names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Sky {
    /// Nothing goes wrong.
    Calm,
    /// An ordinary day.
    #[default]
    Mild,
    /// Spot is scarce, boots fail, and APIs and webhooks are unreliable.
    Rough,
}

impl From<Sky> for Weather {
    fn from(sky: Sky) -> Weather {
        match sky {
            Sky::Calm => Weather::Calm,
            Sky::Mild => Weather::Mild,
            Sky::Rough => Weather::Rough,
        }
    }
}

impl Args {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let absent: Vec<_> = self.dirs().filter(|dir| !dir.is_dir()).collect();
        for dir in &absent {
            terminal::say(&format!("muster: {} is no directory; name the one that holds the manifests", dir.display()));
        }
        if !absent.is_empty() {
            return Ok(ExitCode::from(USAGE));
        }
        let mut problems = Vec::new();
        let asked = self.read(&mut problems);
        if let Some(path) = &self.html {
            noted(report::check(path, &self.inputs()), &mut problems);
        }
        let Some((specs, input, conditions, prices)) = asked.filter(|_| problems.is_empty()) else {
            // The lines have no prefix, as in `validate`, because editors and scripts read FILE:LINE.
            terminal::say(&Problems(problems).to_string());
            return Ok(ExitCode::FAILURE);
        };
        let mut runs = Vec::new();
        for (dir, spec) in specs {
            let question = input.question(Arc::new(spec), conditions.clone(), self.seed);
            let progress = Progress::new(&dir, &question);
            let answer = forecast(&question, |now| progress.tell(now));
            progress.clear();
            runs.push((dir, answer));
        }
        let jobs_from = self.trace.as_ref().or(self.workload.as_ref()).map_or_else(String::new, |p| p.display().to_string());
        let asked = Asked::new(jobs_from, &input, self.seed, self.weather.into());
        let answer = ForecastAnswer::new(asked, conditions, &prices, &runs);
        self.print(&answer)?;
        let broken = answer.runs.iter().any(|run| !run.violations.is_empty());
        Ok(if broken { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }

    fn dirs(&self) -> impl Iterator<Item = &PathBuf> {
        std::iter::once(&self.pools_dir).chain(&self.compare)
    }

    /// Every file that the command reads.
    fn inputs(&self) -> Vec<PathBuf> {
        let manifests = self.dirs().flat_map(|dir| config::manifests_in(dir).unwrap_or_default());
        manifests.chain([&self.trace, &self.workload, &self.prices].into_iter().flatten().cloned()).collect()
    }

    /// Reads every file, and notes all problems. None: there is a problem.
    #[expect(clippy::type_complexity, reason = "what a question is made of, used once")]
    fn read(&self, problems: &mut Vec<Problem>) -> Option<(Vec<(String, Spec)>, Recording, Conditions, Prices)> {
        let mut specs = Vec::new();
        for dir in self.dirs() {
            specs.extend(read_manifests(dir, problems).map(|spec| (dir.display().to_string(), spec)));
        }
        let weather = self.weather.into();
        let checked = match &self.workload {
            Some(path) => read_file(path, problems, |text| workload::read(text, weather, self.trace.is_some())).map(Some),
            None => Some(None),
        };
        let input = match &self.trace {
            Some(path) => read_file(path, problems, trace::read),
            None => checked.as_ref().and_then(Option::as_ref).map(|w| mix::draw(w, self.seed)),
        };
        let prices = match &self.prices {
            Some(path) => read_file(path, problems, prices::file::read),
            None => Some(Prices::example()),
        };
        let (mut input, checked, prices) = (input?, checked?, prices?);
        input.settle_repositories(&specs.first()?.1);
        let conditions = checked.map_or_else(|| Conditions::new(weather, &Overrides::default()), |w| w.conditions);
        Some((specs, input, conditions, prices))
    }

    fn print(&self, answer: &ForecastAnswer) -> anyhow::Result<()> {
        if let Some(path) = &self.html {
            report::write(path, &html::page(answer)?)?;
        }
        let text = match self.output {
            Output::Table => table::print(answer),
            Output::Json => serde_json::to_string_pretty(answer).context("failed to write the answer as JSON")? + "\n",
        };
        show::print(&text)
    }
}

/// The manifests of a directory. None: they have problems, which were noted with the directory's name before the file's.
pub(super) fn read_manifests(dir: &Path, problems: &mut Vec<Problem>) -> Option<Spec> {
    let texts = noted(config::read_dir(dir), problems)?;
    let of_dir = |p: Problem| match p.file.is_empty() {
        true => Problem { message: format!("{}: {}", dir.display(), p.message), ..p },
        false => Problem { file: dir.join(&p.file).display().to_string(), ..p },
    };
    let read = manifest::load_for_people(&texts, None).map_err(|Problems(found)| problems.extend(found.into_iter().map(of_dir)));
    let read = read.ok()?;
    if read.assumed {
        let place = dir.display();
        terminal::say(&format!("note: no Controller in {place}: muster assumes the one that the Terraform module writes"));
    }
    Some(read.spec)
}

/// What `read` makes of a file. None: the file has problems, which were noted.
pub(super) fn read_file<T>(
    path: &Path,
    problems: &mut Vec<Problem>,
    read: impl FnOnce(&Text) -> Result<T, Vec<Problem>>,
) -> Option<T> {
    let file = path.display().to_string();
    let body = || -> anyhow::Result<String> {
        anyhow::ensure!(std::fs::metadata(path)?.len() <= LARGEST_FILE, "it is larger than {LARGEST_FILE} bytes");
        Ok(std::fs::read_to_string(path)?)
    };
    let body = noted(body().with_context(|| format!("cannot read {file}")), problems)?;
    read(&Text { file, body }).map_err(|found| problems.extend(found)).ok()
}

/// The value. None: there was an error, which was noted.
fn noted<T>(result: anyhow::Result<T>, problems: &mut Vec<Problem>) -> Option<T> {
    let problem = |error| Problem { message: format!("{error:#}"), ..Problem::default() };
    result.map_err(|error| problems.push(problem(error))).ok()
}

/// A line on the terminal that says how far the simulation is. Nothing is printed if stderr is no terminal.
struct Progress<'a> {
    dir: &'a str,
    from: Time,
    until: Time,
    shown: bool,
}

impl Progress<'_> {
    fn new<'a>(dir: &'a str, question: &Question) -> Progress<'a> {
        Progress { dir, from: question.from, until: question.until, shown: io::stderr().is_terminal() }
    }

    fn tell(&self, now: Time) {
        if self.shown {
            let (done, all) = (human(now.since(self.from)), human(self.until.since(self.from)));
            terminal::replace_line(&format!("{}: {done} of {all} simulated", self.dir));
        }
    }

    fn clear(&self) {
        if self.shown {
            terminal::replace_line("");
        }
    }
}
