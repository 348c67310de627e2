//! 10,000 runners and 10,000 queued jobs, shown over HTTP: the live page, `muster get`, `/metrics`, an explanation.
//!
//! `cargo bench --no-default-features --bench show`. Prints figures; asserts none.

mod crowd;
#[path = "crowd/served.rs"]
mod served;

use std::time::{Duration, Instant};

const ROUNDS: u32 = 5;

// What the page shows first, what `muster get` asks for (all rows), what Prometheus scrapes.
const PATHS: [&str; 6] =
    ["/", "/api/v1/pools", "/api/v1/jobs?limit=100000", "/api/v1/runners?limit=100000", "/metrics", "/explain/pool/linux"];

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
}
