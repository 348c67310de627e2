//! 10,000 runners and 10,000 queued jobs, shown over HTTP: the live page, `muster get`, `/metrics`, an explanation.
//!
//! `cargo bench --no-default-features --bench show`. Prints figures; asserts none.

mod crowd;
#[path = "crowd/served.rs"]
mod served;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const ROUNDS: u32 = 5;
/// For how long the stream is looked at, once the first look is over.
const LOOKED_AT: Duration = Duration::from_secs(60);
const SETTLES: Duration = Duration::from_secs(5);

// What the page shows first, what `muster get` asks for (all rows), what Prometheus scrapes.
const PATHS: [&str; 6] =
    ["/", "/api/v1/pools", "/api/v1/jobs?limit=100000", "/api/v1/runners?limit=100000", "/metrics", "/explain/pool/pool-000"];

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(show());
}

async fn show() {
    let url = served::serve().await;
    let client = reqwest::Client::new();
    println!("shown at {} runners and {} queued jobs", crowd::RUNNERS, crowd::JOBS);
    for path in PATHS {
        let (mut times, mut length) = (Vec::new(), 0);
        for _ in 0..ROUNDS {
            let began = Instant::now();
            let answer = client.get(format!("{url}{path}")).send().await.expect("an answer");
            assert_eq!(answer.status(), 200, "{path}");
            length = answer.bytes().await.expect("a body").len();
            times.push(began.elapsed());
            // A snapshot is shared for 900 ms: each look is to be a new one.
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        times.sort();
        let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
        println!("  {path}: median {median:?}, worst of {ROUNDS} {worst:?}, {length} bytes");
    }
    stream(&client).await;
}

/// What one open page gets while the crowd is busy. The first look, which is the whole page, is told apart.
async fn stream(client: &reqwest::Client) {
    let url = served::serve_with(crowd::STARTS).await;
    let mut open = client.get(format!("{url}/api/v1/stream")).send().await.expect("an answer");
    let (mut first, mut bytes, mut by_section) = (0, 0, BTreeMap::<String, usize>::new());
    let (began, mut line, mut section) = (Instant::now(), Vec::new(), String::new());
    while began.elapsed() < LOOKED_AT + SETTLES {
        let Ok(Ok(Some(piece))) = tokio::time::timeout(LOOKED_AT, open.chunk()).await else { break };
        if began.elapsed() < SETTLES {
            first += piece.len();
            continue;
        }
        bytes += piece.len();
        for byte in &piece {
            line.push(*byte);
            if *byte == b'\n' {
                let text = String::from_utf8_lossy(&line);
                section = text.strip_prefix("event:").map_or(section, |name| name.trim().to_owned());
                *by_section.entry(section.clone()).or_default() += line.len();
                line.clear();
            }
        }
    }
    let seconds = LOOKED_AT.as_secs() as usize;
    println!(
        "the stream of one page, {} jobs started in a second: {first} bytes at first, then {} bytes a second",
        crowd::STARTS,
        bytes / seconds
    );
    for (section, bytes) in by_section {
        println!("  {section}: {} bytes a second", bytes / seconds);
    }
}
