//! One day with 10,000 jobs, with and without the flight recorder: how large the record is, what recording costs, and how long a replay
//! takes.
//!
//! ```sh
//! cargo run --release -p muster-simulator --example recorded_day -- /tmp/day.jsonl && gzip -1 -c /tmp/day.jsonl | wc -c
//! ```
//!
//! With an argument, the record is written to that file.
#![allow(clippy::disallowed_methods, reason = "a tool: it measures time, and has an argument")]

use std::error::Error;
use std::time::Duration;

use muster_reconciler::record::RecordLine;
use muster_reconciler::replay::Player;
use muster_simulator::rng::Spread;
use muster_simulator::workload::{JobKind, JobStream};
use muster_simulator::{BEGIN, Simulation, WorldOptions, example};

const JOBS: usize = 10_000;
/// How often each day is run, in turn. The fastest counts.
const ROUNDS: usize = 2;

/// The processor time that this thread has had. Other work on the machine does not count.
fn spent() -> Duration {
    std::thread::yield_now();
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(told.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or_default())
}

/// Runs the day. Returns the processor time that it took, and the record.
fn day(recorded: bool) -> (Duration, String) {
    let labels = ["self-hosted", "linux", "x64"];
    let kind = JobKind {
        weight: 1,
        labels: labels.map(str::to_owned).to_vec(),
        takes: Spread::secs(60, 1800),
        cancel_after: None,
        repos: vec!["acme/web".to_owned(), "acme/api".to_owned()],
    };
    let mut world =
        Simulation::new(1, example::cluster("demo", [example::pool("linux-x64", &labels, 400)]), WorldOptions::mild());
    if recorded {
        world.keep_record();
    }
    JobStream::new(1, BEGIN, vec![kind], Spread::secs(0, 17)).take(JOBS).for_each(|job| world.submit(job));
    let began = spent();
    world.run_for(Duration::from_secs(86_400));
    (spent().saturating_sub(began), world.take_record())
}

fn main() -> Result<(), Box<dyn Error>> {
    let (mut without, mut with, mut record) = (Duration::MAX, Duration::MAX, String::new());
    for _ in 0..ROUNDS {
        without = without.min(day(false).0);
        let (took, lines) = day(true);
        (with, record) = (with.min(took), lines);
    }
    let lines = record.lines().count();
    let each = |bytes: usize| bytes as f64 / JOBS as f64;
    println!("record: {lines} lines, {} bytes, {:.0} bytes a job before compression", record.len(), each(record.len()));
    let more = with.as_secs_f64() / without.as_secs_f64() - 1.0;
    println!(
        "the simulated day had {without:.2?} without and {with:.2?} of processor time with the recorder: {:+.1} %",
        100.0 * more
    );
    let began = spent();
    let read = record.lines().filter(|line| serde_json::from_str::<RecordLine<'_>>(line).is_ok()).count();
    println!("reading its {read} lines took {:.2?}", spent().saturating_sub(began));
    let (mut player, began) = (Player::new(None), spent());
    for line in record.lines() {
        player.play(line)?;
    }
    let differences = player.differences(true).len();
    println!("replaying its {} decisions took {:.2?}; {differences} differ", player.decisions(), spent().saturating_sub(began));
    if let Some(file) = std::env::args().nth(1) {
        std::fs::write(file, record)?;
    }
    Ok(())
}
