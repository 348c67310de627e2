//! The answer of `muster tune`: one value for all printers.

use muster_operations::prices::Prices;
use muster_reconciler::reason::count;
use muster_reconciler::time::{Time, human};
use muster_simulator::conditions::{Conditions, Weather};
use muster_simulator::tune::Workbench;
use muster_simulator::tune::search::{Finalist, OverSeeds, Quest, TuneFindings, Unchosen};
use muster_simulator::tune::split::HoldOut;
use serde::Serialize;

use crate::simulate::answer::{MODEL, PricesUsed};
use crate::simulate::field;

/// The answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TuneAnswer {
    /// What kind of answer this is.
    pub model: &'static str,
    /// The version of muster.
    pub version: &'static str,
    /// What was asked.
    pub asked: TuneAsked,
    /// What came of it, in sentences, the most important first.
    pub conclusions: Vec<String>,
    /// The manifests as they are.
    pub today: TuneChoice,
    /// Those that no other beats in both cost and wait, the cheapest first.
    pub frontier: Vec<TuneChoice>,
    /// The place in `frontier` of the one that is chosen. None: none meets the goal within the budget.
    pub chosen: Option<usize>,
    /// How many variants were tried.
    pub tried: usize,
    /// How many simulated runs that took.
    pub runs: usize,
    /// The prices that were used.
    pub prices: PricesUsed,
    /// What is not known or was assumed, in sentences.
    pub unknown: Vec<String>,
    /// Invariants that the controller violated. Each is a bug, and these figures are not to be trusted.
    pub violations: Vec<String>,
}

/// What was asked.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TuneAsked {
    /// The directory of the manifests.
    pub manifests: String,
    /// The file or the record that the jobs come from.
    pub jobs_from: String,
    /// How many jobs there are.
    pub jobs: usize,
    /// When the first job was queued (RFC 3339).
    pub from: String,
    /// When the last job was queued (RFC 3339).
    pub until: String,
    /// The goal, such as `p95 wait <= 30s`.
    pub goal: String,
    /// The most that a day may cost. None: no limit.
    pub budget_a_day: Option<f64>,
    /// The pools that were tuned.
    pub pools: Vec<String>,
    /// How a part of the trace was held out, in a sentence.
    pub held_out: String,
    /// How many held-out jobs judge.
    pub judged_by: u64,
    /// How many seeds judge.
    pub seeds: u64,
    /// How much goes wrong.
    pub weather: Weather,
    /// What was assumed about the files, in sentences.
    pub notes: Vec<String>,
}

/// Manifests, and what they cost and give.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TuneChoice {
    /// What is changed, such as `linux-x64: idle 4`. Empty: nothing.
    pub changes: Vec<String>,
    /// What a day costs.
    pub cost_a_day: SeedRange,
    /// The wait of the job at the goal's rank.
    pub goal_wait_seconds: SeedRange,
    /// The median wait.
    pub p50_seconds: SeedRange,
    /// 19 of 20 jobs waited no longer.
    pub p95_seconds: SeedRange,
    /// The share of the jobs that waited no longer than the goal says, 0 to 1.
    pub within_goal: SeedRange,
    /// The share of the jobs that were lost with their instance, 0 to 1.
    pub lost: SeedRange,
    /// With how many seeds the goal was met.
    pub met_with_seeds: u64,
    /// Pools that reached `capacity.max`.
    pub full: Vec<String>,
}

/// A figure over the seeds. None: the job at that rank never started.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct SeedRange {
    /// The mean.
    pub mean: Option<f64>,
    /// The least.
    pub min: Option<f64>,
    /// The most.
    pub max: Option<f64>,
}

impl SeedRange {
    fn of(figure: OverSeeds, digits: i32) -> SeedRange {
        let factor = 10f64.powi(digits);
        let round = |x: f64| x.is_finite().then(|| (x * factor).round() / factor);
        SeedRange { mean: round(figure.mean), min: round(figure.min), max: round(figure.max) }
    }
}

impl TuneChoice {
    fn of(finalist: &Finalist) -> TuneChoice {
        TuneChoice {
            changes: finalist.variant.settings().map(|(pool, setting)| format!("{pool}: {setting}")).collect(),
            cost_a_day: SeedRange::of(finalist.cost, 2),
            goal_wait_seconds: SeedRange::of(finalist.wait, 1),
            p50_seconds: SeedRange::of(finalist.p50, 1),
            p95_seconds: SeedRange::of(finalist.p95, 1),
            within_goal: SeedRange::of(finalist.within, 4),
            lost: SeedRange::of(finalist.lost, 4),
            met_with_seeds: finalist.met,
            full: finalist.full.iter().map(ToString::to_string).collect(),
        }
    }
}

/// Where the jobs and the manifests of an answer come from.
#[derive(Debug)]
pub struct Sources<'a> {
    /// The directory of the manifests.
    pub manifests: String,
    /// The file or the record of the jobs.
    pub jobs_from: String,
    /// How much goes wrong.
    pub weather: Weather,
    /// What was assumed about the files.
    pub notes: Vec<String>,
    /// The prices.
    pub prices: &'a Prices,
}

impl TuneAnswer {
    /// Makes the answer.
    pub fn new(sources: Sources<'_>, quest: &Quest, bench: &Workbench, found: &TuneFindings) -> TuneAnswer {
        let Sources { manifests, jobs_from, weather, notes, prices } = sources;
        let time = |at: Option<Time>| at.map(field::said).unwrap_or_default();
        let asked = TuneAsked {
            manifests,
            jobs_from,
            jobs: bench.jobs.len(),
            from: time(bench.jobs.iter().map(|job| job.at).min()),
            until: time(bench.jobs.iter().map(|job| job.at).max()),
            goal: quest.goal.to_string(),
            budget_a_day: quest.budget,
            pools: bench.pools.iter().map(ToString::to_string).collect(),
            held_out: held_out(quest),
            judged_by: found.judged_by,
            seeds: quest.seeds,
            weather,
            notes,
        };
        TuneAnswer {
            model: MODEL,
            version: env!("CARGO_PKG_VERSION"),
            asked,
            conclusions: conclusions(quest, found, &prices.currency),
            today: TuneChoice::of(&found.today),
            frontier: found.frontier.iter().map(TuneChoice::of).collect(),
            chosen: found.chosen.ok(),
            tried: found.tried,
            runs: found.runs,
            prices: PricesUsed {
                source: prices.source.clone(),
                as_of: prices.as_of.clone(),
                currency: prices.currency.clone(),
                example: prices.example,
            },
            unknown: unknown(prices, &bench.conditions, found.judged_by),
            violations: found.violations.clone(),
        }
    }
}

fn held_out(quest: &Quest) -> String {
    match quest.split.how {
        HoldOut::Days => {
            let (shown, held) = (count(quest.split.shown.len(), "day"), count(quest.split.held.len(), "day"));
            format!("the search saw {shown} (UTC), and {held} that it did not see judge what it found")
        }
        HoldOut::Blocks => {
            "the trace is short: the search saw the jobs of every second ten minutes, and the other jobs of the same time judge \
                            what it found. Only a trace of several days shows whether a day repeats"
                .to_owned()
        }
    }
}

/// What came of it, in sentences.
fn conclusions(quest: &Quest, found: &TuneFindings, currency: &str) -> Vec<String> {
    let (goal, rank) = (quest.goal, quest.goal.rank.as_str());
    let money = |amount: f64| format!("{amount:.2} {currency}");
    let mut said = Vec::new();
    match found.chosen {
        Ok(at) => {
            let Some(chosen) = found.frontier.get(at) else { return said };
            said.push(reason_of(quest, found, at, currency));
            if let Some(next) = found.frontier.get(at + 1) {
                said.push(format!(
                    "the next better one costs {} a day more, and its {rank} is {} instead of {}",
                    money(next.cost.mean - chosen.cost.mean),
                    wait(next.wait.mean),
                    wait(chosen.wait.mean)
                ));
            } else {
                said.push("nothing that was tried is faster at a higher price".to_owned());
            }
        }
        Err(why) => {
            let best = found.frontier.iter().min_by(|a, b| a.wait.mean.total_cmp(&b.wait.mean));
            said.push(match why {
                Unchosen::GoalUnmet => format!("nothing that was tried meets {goal} with each seed, so nothing is chosen"),
                Unchosen::OverBudget => {
                    let most = quest.budget.unwrap_or_default();
                    let met = found.frontier.iter().find(|f| f.met == quest.seeds);
                    let price =
                        met.map_or_else(String::new, |f| format!("; the cheapest that does costs {}", money(f.cost.mean)));
                    format!("nothing that was tried meets {goal} for {} a day, so nothing is chosen{price}", money(most))
                }
            });
            said.extend(best.map(|best| {
                format!(
                    "the best {rank} is {}, at {} a day (today {})",
                    spread(best.wait, wait),
                    money(best.cost.mean),
                    money(found.today.cost.mean)
                )
            }));
        }
    }
    let pools = found.chosen.ok().and_then(|at| found.frontier.get(at)).or(found.frontier.last()).map(|f| f.full.clone());
    for pool in pools.unwrap_or_default() {
        let max = quest.base.pools.get(&pool).map_or(0, |p| p.spec.capacity.max);
        said.push(format!(
            "{pool} was full with {max} instances; tune does not change capacity.max, and a higher one may shorten the waits"
        ));
    }
    if found.frontier.iter().any(|f| f.loses) {
        said.push("some of these lose more jobs with their instances than the manifests do today, and are not chosen; --may-lose admits them".to_owned());
    }
    if found.cut_short {
        said.push("the time limit ended the search before all was tried; a longer one may find better".to_owned());
    }
    said
}

/// Why this one is chosen, as a sentence that also stands alone in a manifest.
pub fn reason_of(quest: &Quest, found: &TuneFindings, at: usize, currency: &str) -> String {
    let (rank, today) = (quest.goal.rank.as_str(), &found.today);
    let Some(chosen) = found.frontier.get(at) else { return String::new() };
    let now = format!("{rank} {}, {:.2} {currency} a day", spread(chosen.wait, wait), chosen.cost.mean);
    if chosen.variant.is_empty() {
        return format!("the manifests meet {} as they are, and nothing cheaper does: {now}", quest.goal);
    }
    format!(
        "{} is met at the least cost by {}: {now}; before: {rank} {}, {:.2} {currency} a day",
        quest.goal,
        count(chosen.variant.len(), "change"),
        spread(today.wait, wait),
        today.cost.mean
    )
}

/// What is not known or was assumed.
fn unknown(prices: &Prices, conditions: &Conditions, judged_by: u64) -> Vec<String> {
    let mut said = Vec::new();
    if prices.example {
        said.push("prices: the built-in EXAMPLE, which is not what you pay; name yours with --prices".to_owned());
    } else {
        said.push(format!("prices: {} of {}; spot prices change", prices.source, prices.as_of));
    }
    let median = [conditions.start, conditions.boot, conditions.register].iter().map(|range| range.median()).sum();
    said.push(format!(
        "starts are assumed, and not measured: half of the runners are online within about {}; write your own into the `world` of a \
         --workload file",
        human(median)
    ));
    said.push("the spread is that of the seeds, over the same jobs: other days have other jobs".to_owned());
    if judged_by < 400 {
        said.push(format!("only {judged_by} held-out jobs judge with each seed, so a few jobs decide a high percentile"));
    }
    said
}

/// A wait in seconds, for people.
pub fn wait(seconds: f64) -> String {
    match seconds {
        s if !s.is_finite() => "never".to_owned(),
        s if s < 100.0 => format!("{s:.1}s"),
        s => human(std::time::Duration::from_secs_f64(s.round())).to_string(),
    }
}

/// A figure with its spread.
pub fn spread(figure: OverSeeds, say: fn(f64) -> String) -> String {
    let [mean, min, max] = [figure.mean, figure.min, figure.max].map(say);
    if min == max { mean } else { format!("{mean} ({min} to {max})") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_and_spreads_read_well() {
        assert_eq!([wait(9.04), wait(130.0), wait(f64::INFINITY)], ["9.0s", "2m 10s", "never"]);
        let over = |mean, min, max| OverSeeds { mean, min, max };
        assert_eq!(spread(over(9.0, 8.0, 10.0), wait), "9.0s (8.0s to 10.0s)");
        assert_eq!(spread(over(9.0, 9.0, 9.0), wait), "9.0s");
        let never = SeedRange::of(over(f64::INFINITY, 5.0, f64::INFINITY), 1);
        assert_eq!((never.mean, never.min), (None, Some(5.0)));
    }
}
