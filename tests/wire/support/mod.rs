//! What the black-box tests need: AWS (moto behind a layer of faults), a double of GitHub, a stand-in for the instances,
//! and the compiled binary. Nothing here knows muster's code. It meets muster only at the wire, as the real world does.
#![allow(dead_code, reason = "on other systems than Linux some of its users are left out")]

pub mod browser;
pub mod demo;
pub mod downloads;
mod external;
pub mod github;
pub mod iam;
pub mod imds;
pub mod instances;
pub mod linux;
pub mod moto;
pub mod muster;
pub mod pool;
pub mod releases;
pub mod scene;
pub mod terraform;
pub mod tools;
pub mod verdict;

use std::fmt::Debug;
use std::future::Future;
use std::time::{Duration, Instant};

/// How many times longer than on an idle machine anything may take before a test gives up. A test that passes never waits
/// for this.
pub const PATIENCE: u32 = 5;

/// Waits until `probe` is Ok, and returns what it found. Panics with the last Err after [`PATIENCE`] times `idle`. `idle`
/// is ample for a machine that does nothing else.
pub async fn eventually<T, F, Fut>(idle: Duration, what: &str, mut probe: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, String>>,
{
    let (start, deadline) = (Instant::now(), idle * PATIENCE);
    loop {
        match probe().await {
            Ok(found) => return found,
            Err(seen) if start.elapsed() > deadline => panic!("after {deadline:?} still not so: {what}; {seen}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(40)).await,
        }
    }
}

/// Panics if `probe` is Err at any time during `span`.
pub async fn never<F, Fut>(span: Duration, what: &str, mut probe: F)
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<(), String>>,
{
    let start = Instant::now();
    while start.elapsed() < span {
        if let Err(seen) = probe().await {
            panic!("{:?} into {span:?} it happened: {what}; {seen}", start.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
}

/// Ok if both are the same, and both in words otherwise. For [`eventually`] and [`never`].
pub fn same<T: PartialEq + Debug>(seen: T, wanted: T) -> Result<(), String> {
    if seen == wanted { Ok(()) } else { Err(format!("saw {seen:?}, want {wanted:?}")) }
}

pub const fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}

pub const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Milliseconds since the Unix epoch.
pub fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("the clock is past 1970");
    u64::try_from(since.as_millis()).expect("the year is sane")
}
