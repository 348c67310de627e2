//! `muster cost`: who used the instances, and what that cost, of the record that the controller keeps in S3.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use clap::ValueEnum;
use muster_cloud::aws::Aws;
use muster_cloud::manifests::{ManifestPlace, Manifests};
use muster_cloud::usage::recorded;
use muster_operations::terminal;
use muster_operations::usage::{self, By, Sum};
use muster_reconciler::failure::{Failure, FailureKind};
use muster_reconciler::manifest::Span;
use muster_reconciler::reason::count;
use serde::Serialize;

use super::unreadable;
use crate::cli::ask::block_on;
use crate::cli::show;

/// `muster cost`.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// The directory of the manifests, or s3://BUCKET/PREFIX. They name the bucket.
    #[arg(long, env = "MUSTER_MANIFESTS")]
    manifests: ManifestPlace,
    /// How far back to look, from now. The hour in which that time begins counts whole.
    #[arg(long, value_name = "DURATION", default_value = "7d")]
    since: Span,
    /// What to sum by: one or more, with commas between them.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "pool,repository")]
    by: Vec<SumBy>,
    /// Only these pools.
    #[arg(long, value_name = "NAME")]
    pool: Vec<String>,
    /// Only these repositories, as OWNER/NAME; none stands for the time without a job.
    #[arg(long, value_name = "REPOSITORY")]
    repo: Vec<String>,
    /// How many sums to tell apart. The rest is one sum, called other.
    #[arg(long, value_name = "N", default_value_t = 50)]
    top: usize,
    /// For people, for programs, or for a spreadsheet.
    #[arg(long, short, value_enum, default_value_t)]
    output: CostOutput,
}

/// What sums are made by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum SumBy {
    /// The pool.
    Pool,
    /// The repository whose job ran.
    Repository,
    /// Spot or on-demand.
    Market,
    /// The instance type.
    Type,
    /// The day, in UTC.
    Day,
}

/// How the sums are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum CostOutput {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
    /// For a spreadsheet.
    Csv,
}

/// The answer, for all printers.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct CostAnswer {
    by: Vec<String>,
    /// How many lines the record has for this time, before the filters.
    lines: usize,
    sums: Vec<Sum>,
    total: Sum,
    unreadable: Vec<String>,
}

impl From<SumBy> for By {
    fn from(by: SumBy) -> By {
        match by {
            SumBy::Pool => By::Pool,
            SumBy::Repository => By::Repository,
            SumBy::Market => By::Market,
            SumBy::Type => By::Type,
            SumBy::Day => By::Day,
        }
    }
}

impl Args {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let answer = block_on(self.answer())?;
        match self.output {
            CostOutput::Json => show::print(&(serde_json::to_string_pretty(&answer)? + "\n"))?,
            CostOutput::Csv => show::print(&csv(&answer)?)?,
            CostOutput::Table => show::print(&self.table(&answer))?,
        }
        answer.unreadable.iter().for_each(|why| terminal::say(&format!("muster: {why}")));
        Ok(ExitCode::SUCCESS)
    }

    async fn answer(&self) -> anyhow::Result<CostAnswer> {
        let spec = Manifests::new(self.manifests.clone(), &Aws::connect(None).await).load().await.map_err(unreadable)?;
        let (cluster, settings) = (spec.controller.cluster(), &spec.controller.spec);
        let bucket = settings.bucket.as_ref().with_context(|| {
            format!(
                "no usage is recorded: set spec.bucket of Controller {cluster} to an S3 bucket, and the controller records it there"
            )
        })?;
        let aws = Aws::connect(settings.region.as_deref()).await;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let since = u64::try_from(now.saturating_sub(self.since.get()).as_millis()).unwrap_or(u64::MAX);
        let found = recorded(&aws.s3, bucket, cluster, usage::hour_of(since)).await.map_err(unread)?;
        let (pools, repositories) = (set(&self.pool), set(&self.repo));
        let by: Vec<By> = self.by.iter().map(|by| By::from(*by)).collect();
        let (sums, total) = usage::sum(usage::only(&found.lines, &pools, &repositories), &by, self.top);
        let name = |by: &SumBy| by.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
        let (by, lines) = (self.by.iter().map(name).collect(), found.lines.len());
        Ok(CostAnswer { by, lines, sums, total, unreadable: found.unreadable })
    }

    fn table(&self, answer: &CostAnswer) -> String {
        if answer.sums.is_empty() && answer.lines > 0 {
            return format!(
                "nothing fits --pool and --repo in the {} of the last {}\n",
                count(answer.lines as u64, "line"),
                self.since
            );
        }
        if answer.sums.is_empty() {
            let every = "the controller writes every spec.usage.every (10m by default) while instances run";
            return format!("nothing is recorded for the last {}; {every}\n", self.since);
        }
        let head: Vec<String> =
            answer.by.iter().map(|by| by.to_uppercase()).chain(["HOURS".into(), "COST".into(), "PRICED".into()]).collect();
        let row =
            |sum: &Sum, of: Vec<String>| of.into_iter().chain([format!("{:.1}", sum.hours), cost(sum), priced(sum)]).collect();
        let mut all = vec![String::new(); answer.by.len()];
        all[0] = "all".into();
        let rows: Vec<Vec<String>> =
            answer.sums.iter().map(|sum| row(sum, sum.of.clone())).chain([row(&answer.total, all)]).collect();
        let numbers = [head.len() - 3, head.len() - 2, head.len() - 1];
        show::table(&head.iter().map(String::as_str).collect::<Vec<_>>(), &numbers, rows)
    }
}

/// The error of a record that cannot be read.
fn unread(failure: Failure) -> anyhow::Error {
    let way_out = if failure.kind == FailureKind::Refused {
        "; you need s3:ListBucket and s3:GetObject on usage/* of the bucket, as the Terraform module's policy `operator` allows"
    } else {
        ""
    };
    anyhow::anyhow!("failed to {}{way_out}", failure.message)
}

/// The values in lower case, in which repositories are recorded, too.
fn set(values: &[String]) -> BTreeSet<String> {
    values.iter().map(|value| value.to_ascii_lowercase()).collect()
}

/// The cost for people. A cost without any price is unknown, not zero.
fn cost(sum: &Sum) -> String {
    let each: Vec<String> = sum.cost.iter().map(|(currency, cost)| format!("{cost:.2} {currency}")).collect();
    if each.is_empty() { "unknown".into() } else { each.join(" + ") }
}

/// The share of the hours that has a price.
fn priced(sum: &Sum) -> String {
    if sum.hours > 0.0 { format!("{:.0}%", sum.priced_hours / sum.hours * 100.0) } else { "-".into() }
}

/// One line for each sum and currency. A sum without a price has an empty cost.
fn csv(answer: &CostAnswer) -> anyhow::Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(answer.by.iter().map(String::as_str).chain(["hours", "pricedHours", "cost", "currency"]))?;
    for sum in &answer.sums {
        let hours = [format!("{:.4}", sum.hours), format!("{:.4}", sum.priced_hours)];
        let costs: Vec<(String, String)> = if sum.cost.is_empty() {
            vec![(String::new(), String::new())]
        } else {
            sum.cost.iter().map(|(currency, cost)| (format!("{cost:.4}"), currency.clone())).collect()
        };
        for (nth, (cost, currency)) in costs.into_iter().enumerate() {
            // The hours of a sum count once, however many currencies it has.
            let hours = if nth == 0 { hours.clone() } else { [String::new(), String::new()] };
            writer.write_record(sum.of.iter().map(|of| guarded(of)).chain(hours).chain([cost, currency]))?;
        }
    }
    Ok(String::from_utf8(writer.into_inner()?)?)
}

/// A cell that a spreadsheet does not take for a formula.
/// <https://owasp.org/www-community/attacks/CSV_Injection>
fn guarded(cell: &str) -> String {
    if cell.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{cell}") } else { cell.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer() -> CostAnswer {
        let sum = |of: [&str; 2], hours, cost: &[(&str, f64)]| Sum {
            of: of.map(str::to_owned).to_vec(),
            hours,
            priced_hours: if cost.is_empty() { 0.0 } else { hours },
            cost: cost.iter().map(|(currency, cost)| ((*currency).to_owned(), *cost)).collect(),
        };
        CostAnswer {
            by: vec!["pool".into(), "repository".into()],
            lines: 2,
            sums: vec![sum(["linux", "acme/api"], 2.0, &[("USD", 0.5)]), sum(["=cmd()", "none"], 0.25, &[])],
            total: Sum { hours: 2.25, priced_hours: 2.0, cost: [("USD".to_owned(), 0.5)].into(), ..Sum::default() },
            unreadable: Vec::new(),
        }
    }

    #[test]
    fn a_table_says_unknown_where_no_price_is_known() {
        let args = Args {
            manifests: "manifests".parse().expect("a directory"),
            since: Span::secs(7 * 86_400),
            by: Vec::new(),
            pool: Vec::new(),
            repo: Vec::new(),
            top: 50,
            output: CostOutput::Table,
        };
        assert_eq!(
            args.table(&answer()),
            "POOL    REPOSITORY  HOURS      COST  PRICED\nlinux   acme/api      2.0  0.50 USD    100%\n\
             =cmd()  none          0.2   unknown      0%\nall                   2.2  0.50 USD     89%\n"
        );
        let filtered = CostAnswer { sums: Vec::new(), ..answer() };
        assert!(args.table(&filtered).starts_with("nothing fits --pool and --repo in the 2 lines"), "{}", args.table(&filtered));
        let none = CostAnswer { lines: 0, ..filtered };
        assert!(
            args.table(&none).contains("the last 7d") && args.table(&none).contains("spec.usage.every"),
            "{}",
            args.table(&none)
        );
    }

    #[test]
    fn a_spreadsheet_runs_no_name() {
        assert_eq!(
            csv(&answer()).expect("written"),
            "pool,repository,hours,pricedHours,cost,currency\nlinux,acme/api,2.0000,2.0000,0.5000,USD\n'=cmd(),none,0.2500,0.0000,,\n"
        );
    }
}
