//! Runs what the search asks for, on all cores, until its time is over.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use muster_simulator::tune::Workbench;
use muster_simulator::tune::measure::{HourPrice, Measure};
use muster_simulator::tune::search::{Lab, TuneRun};

/// The cores of this machine.
pub struct Cores<'a> {
    bench: &'a Workbench,
    price: &'a HourPrice<'a>,
    threads: usize,
    until: Option<Instant>,
    told: &'a (dyn Fn(usize, usize) + Sync),
}

impl<'a> Cores<'a> {
    /// All cores, for at most `limit`. `told` hears how many runs of a round are over, and how many the round has.
    pub fn new(
        bench: &'a Workbench,
        price: &'a HourPrice<'a>,
        limit: Option<Duration>,
        told: &'a (dyn Fn(usize, usize) + Sync),
    ) -> Cores<'a> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Cores { bench, price, threads, until: limit.and_then(|limit| Instant::now().checked_add(limit)), told }
    }
}

impl Lab for Cores<'_> {
    fn measure(&mut self, runs: &[TuneRun], must: bool) -> Option<Vec<Measure>> {
        let (next, ended) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let done: Mutex<Vec<Option<Measure>>> = Mutex::new(vec![None; runs.len()]);
        let over = || !must && self.until.is_some_and(|until| Instant::now() >= until);
        std::thread::scope(|scope| {
            for _ in 0..self.threads.min(runs.len()) {
                scope.spawn(|| {
                    while !over() {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        let Some(run) = runs.get(at) else { break };
                        let measure = self.bench.run(run, self.price);
                        if let Some(place) = done.lock().ok().as_mut().and_then(|all| all.get_mut(at)) {
                            *place = Some(measure);
                        }
                        (self.told)(ended.fetch_add(1, Ordering::Relaxed) + 1, runs.len());
                    }
                });
            }
        });
        done.into_inner().ok()?.into_iter().collect()
    }
}
