//! Recorded days that lie in the repository: what a change of the core decides otherwise is seen on them, decision by decision.
#![allow(missing_docs)]
#![allow(clippy::disallowed_methods, reason = "the records are files, and a variable says that they shall be written anew")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use muster_reconciler::replay::{Difference, Player};
use muster_simulator::workload::JobStream;
use muster_simulator::{Scenario, Simulation, WorldOptions, example};

/// How many differences of a day are printed.
const SHOWN: usize = 20;
/// The drawn scenarios that are kept: several pools, spot that is taken away, a process that dies, GitHub that does not answer.
const SEEDS: [u64; 4] = [3, 11, 24, 38];

fn place() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recorded")
}

/// Forty minutes of the demo's cluster, in a world with faults.
fn demo() -> String {
    let mut world = Simulation::new(1, example::demo(), WorldOptions::swarm(1));
    world.keep_record();
    let began = world.now();
    JobStream::demo(1, began).take_while(|job| job.at < began + Duration::from_secs(1200)).for_each(|job| world.submit(job));
    world.run_for(Duration::from_secs(2400));
    world.take_record()
}

/// Writes the simulated days anew. The record of the black-box run is written by its own test (`tests/wire/e2e_record.rs`).
fn write_anew() {
    let days = SEEDS.iter().map(|seed| (format!("seed-{seed}"), Scenario::drawn(*seed).record()));
    for (name, record) in days.chain([("demo".to_owned(), demo())]) {
        let mut packer = GzEncoder::new(Vec::new(), Compression::best());
        packer.write_all(record.as_bytes()).expect("writing to memory does not fail");
        fs::write(place().join(name + ".jsonl.gz"), packer.finish().expect("as above")).expect("a file");
    }
}

fn said(d: &Difference) -> String {
    let why = |why: &Option<String>| why.clone().unwrap_or_else(|| "-".to_owned());
    format!("  {:?}: {}\n    recorded: {}\n    here:     {}\n", d.differs, d.what, why(&d.recorded_why), why(&d.why_here))
}

/// Plays a day. Returns how many decisions it has, and what is decided otherwise.
fn played(path: &Path) -> (u64, Vec<Difference>) {
    let mut record = String::new();
    let packed = fs::read(path).expect("a file that was listed");
    GzDecoder::new(&*packed).read_to_string(&mut record).expect("a record is compressed text");
    let mut player = Player::new(None);
    for (number, line) in record.lines().enumerate() {
        player.play(line).unwrap_or_else(|error| panic!("{}, line {}: {error}", path.display(), number + 1));
    }
    (player.decisions(), player.differences(true).to_vec())
}

#[test]
fn recorded_days_are_decided_as_they_were() {
    if std::env::var("MUSTER_WRITE_RECORDS").is_ok() {
        write_anew();
    }
    let mut days: Vec<PathBuf> = fs::read_dir(place()).expect("a directory").map(|entry| entry.expect("a file").path()).collect();
    days.sort();
    assert!(days.len() > SEEDS.len(), "{days:?}");
    let (mut otherwise, mut text) = (0, String::new());
    for day in &days {
        let (decisions, differences) = played(day);
        let name = day.file_name().unwrap_or_default().display();
        println!("{name}: {decisions} decisions, {} otherwise", differences.len());
        assert!(decisions > 50, "{name} is no day");
        otherwise += differences.len();
        if !differences.is_empty() {
            text += &format!("{name}: {} of {decisions} decisions\n", differences.len());
            text.extend(differences.iter().take(SHOWN).map(said));
        }
    }
    assert!(
        otherwise == 0,
        "this core decides otherwise than the recorded one (the first differences of a day lead to the later ones):\n{text}If that is \
         meant, say so in the commit, and write the days anew:\nMUSTER_WRITE_RECORDS=1 cargo test -p muster-simulator --test recorded_days"
    );
}
