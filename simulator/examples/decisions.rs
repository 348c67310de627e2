//! Prints what the controller decides, as one hash for each run: 2,000 drawn seeds, the corpus, and a crash after every
//! effect of every example. A change that only moves, splits or rewords code leaves every line as it was:
//!
//! ```sh
//! cargo run --release -p muster-simulator --example decisions > before   # then change the code
//! cargo run --release -p muster-simulator --example decisions | diff before -
//! ```
//!
//! The first argument is the number of seeds.
#![expect(clippy::disallowed_methods, clippy::print_stdout, reason = "a tool: it has arguments, reads the corpus and prints")]

use std::error::Error;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use muster_simulator::crash::{Example, Reference};
use muster_simulator::{RunReport, Scenario};

/// Computes one line for each item on all cores, and prints the lines in the order of the items.
fn print_all<T: Sync>(items: &[T], line: impl Fn(&T) -> String + Sync) {
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let work = || {
        let mut lines = Vec::new();
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(n) else { return lines };
            lines.push((n, line(item)));
        }
    };
    let mut lines: Vec<(usize, String)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap_or_default()).collect()
    });
    lines.sort();
    assert_eq!(lines.len(), items.len(), "a worker panicked");
    for (_, line) in lines {
        println!("{line}");
    }
}

fn told(name: &str, report: &RunReport) -> String {
    format!("{name}: {:016x} after {} effects", report.decisions, report.effects)
}

fn main() -> Result<(), Box<dyn Error>> {
    let seeds = std::env::args().nth(1).map_or(Ok(2000), |text| text.parse())?;
    let seeds: Vec<u64> = (0..seeds).collect();
    print_all(&seeds, |&seed| told(&format!("seed {seed}"), &Scenario::drawn(seed).run()));

    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sim_corpus");
    let mut files = std::fs::read_dir(corpus)?.map(|file| Ok(file?.path())).collect::<Result<Vec<_>, std::io::Error>>()?;
    files.sort();
    for file in files {
        let scenario: Scenario = serde_json::from_str(&std::fs::read_to_string(&file)?)?;
        let name = file.file_stem().unwrap_or_default().to_string_lossy();
        println!("{}", told(&format!("corpus {name}"), &scenario.run()));
    }

    for example in Example::ALL {
        let reference = Reference::of(&example.scenario(), example.judged()).map_err(|violation| violation.to_string())?;
        let points: Vec<_> = reference.points().collect();
        print_all(&points, |&at| told(&format!("{example}, crash at {at}"), &reference.crash(at, 0).report));
    }
    Ok(())
}
