//! `muster demo`: the real controller on a simulated AWS and GitHub, by an accelerated clock, with the real live page.
//!
//! Nothing leaves the machine. Only the world around the controller is simulated ([`muster_simulator`]). What the
//! controller decides, and every sentence on the page, is what `muster run` would decide and say.

use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use muster_operations::inspect::{self, Inspect, Query, Questions};
use muster_operations::liveness::{Liveness, Pulse};
use muster_operations::metrics::Metrics;
use muster_operations::prices::Prices;
use muster_operations::watch::Watch;
use muster_reconciler::reason::count;
use muster_reconciler::time::{Time, human};
use muster_simulator::workload::JobStream;
use muster_simulator::{Simulation, WorldOptions, example};
use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio::time::MissedTickBehavior;

use super::{show, stop};
use crate::http::state::{About, Admin, Steer};
use crate::http::{ListenerLimits, admin};

/// The token for orders. A demo has nothing to protect.
const TOKEN: &str = "demo";
/// The real time between two moves of the simulated world.
const FRAME: Duration = Duration::from_millis(40);
/// The real time between two lines on the terminal.
const REPORT_EVERY: Duration = Duration::from_secs(10);
/// How far ahead of its time, by the world's clock, a job is handed to the simulation.
const AHEAD: Duration = Duration::from_secs(60);

/// `muster demo`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Port of the live page, on 127.0.0.1.
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// Simulated seconds in one real second.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=300))]
    speed: u32,
    /// Decides the jobs and what goes wrong; the same seed gives the same demo.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl Args {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("failed to start the runtime")?;
        let result = runtime.block_on(self.serve());
        runtime.shutdown_timeout(Duration::from_millis(200));
        result.map(|()| ExitCode::SUCCESS)
    }

    async fn serve(self) -> anyhow::Result<()> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, self.port)).await.with_context(|| {
            format!("failed to listen on 127.0.0.1:{}; if another program has that port, choose another with --port", self.port)
        })?;
        let port = listener.local_addr().context("failed to ask for the port that was bound")?.port();
        let stop = stop::on_signal()?;
        let (inspect, questions) = Inspect::new();
        let metrics = Arc::new(Metrics::new());
        let banner = format!(
            "Demo: the real controller, with a simulated EC2, GitHub and stream of jobs. The clock runs {} times as fast (seed {}).",
            self.speed, self.seed
        );
        let about = About { banner: Some(banner), ..About::cluster("demo") };
        // The world's clock is fast, so the core is asked often.
        let watch = Watch::start(inspect.clone(), metrics.clone(), Prices::example(), Duration::from_secs(1), stop.clone());
        let steer = Steer { token: tokio::sync::watch::channel(Some(SecretString::from(TOKEN))).1, keep: None };
        let (watch, steer, inspect) = (Some(watch), Some(steer), Some(inspect));
        let pulse = Pulse::start();
        let liveness = Liveness::default().with("the simulated world", pulse.clone());
        let admin = Admin { inspect, watch, steer, ..Admin::bare(about, metrics.clone(), liveness, stop.clone()) };
        let server = tokio::spawn(crate::http::serve(listener, admin::routes(admin), ListenerLimits::ADMIN, stop.clone()));
        let url = format!("http://127.0.0.1:{port}");
        show::print(&format!(
            "muster demo: the real controller on a simulated EC2 and GitHub, seed {}\n  clock      {} simulated seconds a second \
             (--speed)\n  live page  {url}/\n  steer it   MUSTER_TOKEN={TOKEN} muster pause pool/linux-x64 --controller {url}\n  \
             JSON       {url}/api/v1/pools  (or jobs, runners)\nCtrl-C ends it.\n",
            self.seed, self.speed
        ))?;
        tokio::select! {
            () = Show::new(self.speed, self.seed, metrics).play(questions, pulse) => {}
            () = stop.cancelled() => {}
        }
        stop.cancel();
        server.await.context("the live page's server failed")?;
        show::print("muster demo: ended\n")
    }
}

/// The simulated world, and how far its clock is.
struct Show {
    world: Simulation,
    jobs: std::iter::Peekable<JobStream>,
    began: Time,
    started: Instant,
    speed: u32,
    metrics: Arc<Metrics>,
}

impl Show {
    fn new(speed: u32, seed: u64, metrics: Arc<Metrics>) -> Show {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let began = Time::ZERO + since_epoch;
        let world = Simulation::beginning(began, seed, example::demo(), WorldOptions::mild());
        Show { world, jobs: JobStream::demo(seed, began).peekable(), began, started: Instant::now(), speed, metrics }
    }

    /// Moves the world along, and answers the page's questions between two moves. It never ends.
    async fn play(mut self, mut questions: Questions, pulse: Pulse) {
        let mut frame = tokio::time::interval(FRAME);
        frame.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut report = tokio::time::interval(REPORT_EVERY);
        loop {
            pulse.beat();
            tokio::select! {
                _ = frame.tick() => self.advance(),
                // A reader that has gone away does not end the demo.
                _ = report.tick() => drop(show::print(&format!("{}\n", self.status()))),
                Some(question) = questions.recv() => self.answer(question),
            }
        }
    }

    fn advance(&mut self) {
        let now = self.began + self.started.elapsed() * self.speed;
        while let Some(job) = self.jobs.next_if(|j| j.at <= now + AHEAD) {
            self.world.submit(job);
        }
        self.world.step_until(now);
        for fact in self.world.take_facts() {
            self.metrics.observe_fact(&fact);
        }
    }

    fn status(&self) -> String {
        let report = self.world.report();
        let of = |state| report.jobs.get(state).copied().unwrap_or(0);
        let live = self.world.cloud().instances().values().filter(|i| i.live()).count();
        let (queued, running, done) = (of("queued"), of("in_progress"), of("success"));
        let simulated = human(self.world.now().since(self.began));
        let (queued, live) = (count(queued, "job"), count(live, "instance"));
        format!("after {simulated}: {queued} queued, {running} running, {done} done; {live}")
    }

    fn answer(&mut self, question: Query) {
        let now = self.world.now();
        if let Some(core) = self.world.controller_mut() {
            inspect::answer(core, question, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_that_is_taken_is_told_with_the_flag_that_helps() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let port = taken.local_addr().expect("bound").port();
        let error = Args { port, speed: 10, seed: 1 }.serve().await.expect_err("the port is taken");
        assert!(format!("{error:#}").contains("--port"), "{error:#}");
    }

    #[test]
    fn ten_simulated_minutes_have_jobs_instances_and_reasons() {
        let mut show = Show::new(10, 1, Arc::new(Metrics::new()));
        show.started = Instant::now() - Duration::from_secs(60);
        show.advance();
        let core = show.world.controller().expect("it runs");
        let now = show.world.now();
        let (pools, jobs) = (core.seen().pools(now), core.seen().jobs(now));
        assert_eq!(pools.len(), 3);
        assert!(jobs.len() > 10 && jobs.iter().all(|j| !j.reason.is_empty()), "{jobs:?}");
        assert!(core.seen().runners(now).iter().any(|r| r.phase == muster_reconciler::runner::Phase::Busy));
        let counted = show.metrics.render();
        let launches = counted.lines().filter(|line| line.starts_with("muster_launches_total{"));
        let launched: f64 = launches.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum();
        assert!(launched > 0.0, "launches are counted in the demo, too:\n{counted}");
    }
}
