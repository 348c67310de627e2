//! The answer of `muster tune` for people.

use super::answer::{SeedRange, TuneAnswer, TuneChoice, wait};
use crate::simulate::table::{number, percent, plain_table};

/// The whole answer.
pub fn print(answer: &TuneAnswer) -> String {
    let asked = &answer.asked;
    let mut out = format!("{}\n\n", answer.model);
    let mut line = |text: &str| out += &format!("  {text}\n");
    line(&format!("{} jobs of {}, {} to {}", number(asked.jobs as u64), asked.jobs_from, asked.from, asked.until));
    line(&format!("pools: {}", asked.pools.join(", ")));
    line(&asked.held_out);
    line(&format!("{} variants in {} runs; {} seeds judge the best", answer.tried, answer.runs, asked.seeds));
    asked.notes.iter().for_each(|note| line(&format!("note: {note}")));
    out += &format!("\nGOAL: {}\n", asked.goal);
    answer.conclusions.iter().for_each(|said| out += &format!("  - {said}\n"));
    let currency = &answer.prices.currency;
    out += &format!(
        "\nTHE FRONTIER, cheapest first; {} held-out jobs with each seed; least and most of the seeds in brackets\n",
        asked.judged_by
    );
    let heads = ["", &format!("{currency}/DAY"), "GOAL'S WAIT", "P50", "P95", "IN TIME", "LOST", "MET"];
    let mut rows = vec![row("today", &answer.today, asked.seeds)];
    for (nth, choice) in answer.frontier.iter().enumerate() {
        let mark = if answer.chosen == Some(nth) { " chosen" } else { "" };
        rows.push(row(&format!("{}{mark}", nth + 1), choice, asked.seeds));
    }
    plain_table(&mut out, &heads, rows);
    for (nth, choice) in answer.frontier.iter().enumerate() {
        out += &format!("\n{}{}\n", nth + 1, if choice.changes.is_empty() { ": the manifests as they are" } else { "" });
        choice.changes.iter().for_each(|change| out += &format!("  {change}\n"));
    }
    out += "\nNOT KNOWN\n";
    answer.unknown.iter().for_each(|said| out += &format!("  - {said}\n"));
    for violation in &answer.violations {
        out += &format!("\nA RULE WAS BROKEN, so do not trust these figures; this is a bug of muster: {violation}\n");
    }
    out
}

fn row(name: &str, choice: &TuneChoice, seeds: u64) -> Vec<String> {
    let money = |x: f64| format!("{x:.2}");
    let met = match choice.met_with_seeds {
        met if met == seeds => "yes".to_owned(),
        0 => "no".to_owned(),
        met => format!("{met} of {seeds}"),
    };
    vec![
        name.to_owned(),
        ranged(choice.cost_a_day, money),
        ranged(choice.goal_wait_seconds, wait),
        ranged(choice.p50_seconds, wait),
        ranged(choice.p95_seconds, wait),
        ranged(choice.within_goal, percent),
        choice.lost.mean.map_or_else(|| "-".to_owned(), percent),
        met,
    ]
}

fn ranged(figure: SeedRange, say: impl Fn(f64) -> String) -> String {
    let [mean, min, max] = [figure.mean, figure.min, figure.max].map(|x| say(x.unwrap_or(f64::INFINITY)));
    if min == max { mean } else { format!("{mean} ({min}-{max})") }
}
