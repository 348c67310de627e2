//! Breaker: a pool leaves spot when its breaker is open, and goes back by one instance.
//!
//! Judged are
//! - opening: after as many notices for instances with jobs as the manifest says, no launch asks for spot for as long as the manifest
//!   says, unless EC2 has no on-demand capacity;
//! - the trial: one instance at a time tries, and when the time for the trial has come, the next instance is the one that tries;
//! - closing: no launch is made for an open breaker once an instance that tried has served;
//! - an end: a breaker is open because of an interruption or a refusal of spot that is not long ago.

use std::collections::BTreeMap;
use std::time::Duration;

use muster_reconciler::capacity::Choice;
use muster_reconciler::effect::{Effect, Input, Launch, Outcome, Swept};
use muster_reconciler::event::{Ec2EventKind, JobState};
use muster_reconciler::fact::Fact;
use muster_reconciler::ids::{EffectId, InstanceId, JobId, PoolName};
use muster_reconciler::manifest::{InstanceSettings, SpotBreaker};
use muster_reconciler::market::Market;
use muster_reconciler::reason::{LaunchReason, Reason, Tripped};
use muster_reconciler::runner::Runner;
use muster_reconciler::time::{Time, human};
use muster_reconciler::verdict::{Cause, JobVerdict, blames};

use super::{Invariant, Oracle, Truth};

/// How long after EC2's notice a pool is planned at the latest. A job that ends before that has not been interrupted.
const PLANNED: Duration = Duration::from_secs(1);
/// How long after an interruption or a refusal of spot the time of an open breaker may begin. An instance may get a job minutes after
/// EC2's notice, and after a refusal the next trial is ten minutes later.
const BEGINS: Duration = Duration::from_secs(15 * 60);

/// What one process heard of its pools' spot instances.
#[derive(Debug, Default)]
pub(super) struct SpotNews {
    /// The instances with jobs for which a notice came: when it came, and the job.
    notices: BTreeMap<PoolName, BTreeMap<InstanceId, (Time, JobId)>>,
    /// When the process last heard anything that may keep a breaker open.
    alarms: BTreeMap<PoolName, Time>,
    /// The instances whose end by spot a sweep has shown.
    shown: BTreeMap<InstanceId, Time>,
    /// The spot launches under way, and whether they are trials.
    launches: BTreeMap<EffectId, (PoolName, bool)>,
    /// The instance that last tried.
    probes: BTreeMap<PoolName, InstanceId>,
}

impl SpotNews {
    /// The manifests changed. They may have closed a breaker.
    pub fn new_spec(&mut self) {
        self.notices.clear();
    }

    /// The time by which so many notices had come that the breaker was open. None: it may be closed.
    fn opened(&self, pool: &PoolName, settings: SpotBreaker, now: Time) -> Option<Time> {
        let mut times: Vec<Time> = self.notices.get(pool)?.values().map(|(at, _)| *at).collect();
        times.sort_unstable();
        let enough = usize::try_from(settings.interruptions).ok().filter(|n| *n > 0)?;
        let together = |few: &&[Time]| few[enough - 1].since(few[0]) + PLANNED * 2 < settings.within.get();
        let mut opened = times.windows(enough).filter(together).map(|few| few[enough - 1]);
        opened.rfind(|at| now.since(*at) < settings.open_for.get())
    }

    fn job_over(&mut self, job: JobId, now: Time) {
        for notices in self.notices.values_mut() {
            notices.retain(|_, (at, of)| *of != job || now.since(*at) > PLANNED);
        }
    }
}

impl Oracle {
    /// Takes in what the controller is about to hear of spot.
    pub(super) fn hear_of_spot(&mut self, input: &Input, truth: Truth<'_>) {
        let now = truth.now();
        let news = &mut self.process_view.spot;
        match input {
            Input::Ec2(event) if event.kind == Ec2EventKind::SpotInterruption => {
                let Some(runner) = truth.controller.and_then(|c| c.view().world.runners().get(&event.instance)) else { return };
                news.alarms.insert(runner.pool().clone(), now);
                if let Some(job) = runner.job().running() {
                    let notices = news.notices.entry(runner.pool().clone()).or_default();
                    notices.entry(event.instance.clone()).or_insert((now, job));
                }
            }
            Input::Messages(messages) => {
                for m in messages.iter().filter(|m| m.event.state == JobState::Completed) {
                    news.job_over(m.event.job, now);
                }
            }
            Input::Outcome(_, Outcome::Job(told)) if told.state == Some(JobState::Completed) => news.job_over(told.job, now),
            Input::Outcome(_, Outcome::Swept(Swept::Instances(rows))) => {
                let by_spot = |why: &str| blames(why) == Some(Cause::Interruption);
                for row in rows.iter().filter(|row| row.state_reason.as_deref().is_some_and(by_spot)) {
                    if news.shown.insert(row.id.clone(), now).is_none() {
                        news.alarms.insert(row.pool.clone(), now);
                    }
                }
            }
            Input::Outcome(id, outcome) => {
                let Some((pool, trial)) = news.launches.remove(id) else { return };
                match outcome {
                    Outcome::Launched(answer) if answer.errors.is_empty() => {
                        let probe = answer.instances.first().filter(|_| trial);
                        news.probes.extend(probe.map(|probe| (pool, probe.id.clone())));
                    }
                    _ => drop(news.alarms.insert(pool, now)),
                }
            }
            _ => {}
        }
    }

    /// Judges what the controller says of a breaker.
    pub(super) fn judge_swing(&mut self, fact: &Fact, truth: Truth<'_>) {
        let now = truth.now();
        match fact {
            Fact::JobJudged { pool, verdict: JobVerdict::Infrastructure(Cause::Interruption), .. } => {
                self.process_view.spot.alarms.insert(pool.clone(), now);
            }
            Fact::BreakerOpened { pool } => drop(self.process_view.spot.probes.remove(pool)),
            Fact::BreakerClosed { pool } => {
                let Some(settings) = truth.spec.pools.get(pool).map(|p| p.spec.instance.breaker) else { return };
                let notices = self.process_view.spot.notices.remove(pool).unwrap_or_default();
                let last = notices.values().map(|(at, _)| *at).max();
                if let Some(since) = last.map(|at| now.since(at)).filter(|since| *since < settings.open_for.get()) {
                    let what = format!("the breaker of pool {pool} closes {} after an interruption", human(since));
                    self.blame(Invariant::Breaker, now, what);
                }
            }
            _ => {}
        }
    }

    /// Judges the market of a launch.
    pub(super) fn judge_market(&mut self, launch: &Launch, effect: &Effect, truth: Truth<'_>) {
        let Some(settings) = truth.spec.pools.get(&launch.pool).map(|p| &p.spec.instance) else { return };
        let (now, pool) = (truth.now(), &launch.pool);
        let Reason::Launch(why) = &effect.reason else { return };
        if settings.breaker.interruptions == 0 || *why == LaunchReason::Unanswered {
            return;
        }
        let opened = self.process_view.spot.opened(pool, settings.breaker, now).map(|at| human(now.since(at)));
        if let Some(ago) = opened.filter(|_| launch.market == Market::Spot && can_buy(Market::OnDemand, pool, settings, truth)) {
            self.blame(Invariant::Breaker, now, format!("pool {pool} asks for spot, and its breaker opened {ago} ago"));
        }
        if let LaunchReason::Breaker { tripped, .. } | LaunchReason::Probe { tripped, .. } = why {
            self.judge_open(launch, why, tripped, settings, truth);
        }
        if launch.market == Market::Spot {
            let trial = matches!(why, LaunchReason::Probe { .. });
            self.process_view.spot.launches.insert(effect.id, (pool.clone(), trial));
        }
    }

    /// Judges a launch that is made as it is because the breaker is open.
    fn judge_open(
        &mut self,
        launch: &Launch,
        why: &LaunchReason,
        tripped: &Tripped,
        settings: &InstanceSettings,
        truth: Truth<'_>,
    ) {
        let (now, pool, open_for) = (truth.now(), &launch.pool, settings.breaker.open_for.get());
        let trial = matches!(why, LaunchReason::Probe { .. });
        let spot = &self.process_view.spot;
        let probe = spot.probes.get(pool);
        let runner = |id: &InstanceId| truth.controller.and_then(|c| c.view().world.runners().get(id));
        let tries = |id: &&InstanceId| runner(id).is_some_and(|r| r.gone_at().is_none() && !r.taken_back());
        let served = |id: &&InstanceId| runner(id).is_some_and(|r| r.left_to_serve(open_for, now));
        let alarm = spot.alarms.get(pool).copied().unwrap_or(Time::ZERO);
        let mut wrong = Vec::new();
        if trial && (launch.count > 1 || launch.market != Market::Spot || now < tripped.until) {
            wrong.push(format!("a trial asks for {} on {}", launch.count, launch.market));
        }
        if let Some(id) = probe.filter(tries).filter(|_| trial) {
            wrong.push(format!("another spot instance tries, and {id} still does"));
        }
        if let Some(id) = probe.filter(served) {
            wrong.push(format!("the breaker is open, and {id} has served"));
        }
        if tripped.until > alarm + open_for + BEGINS {
            wrong.push("the breaker is open, and the last interruption is too long ago".to_owned());
        }
        // Found or launched after the time has come, by whatever launch.
        let since = |r: &Runner| r.bought_on_spot_since(tripped.until) && r.gone_at().is_none();
        let any = || truth.controller.is_some_and(|c| c.view().world.runners().values().any(|r| r.pool() == pool && since(r)));
        // Of several instances, the one that tries is bought last.
        let last = matches!(why, LaunchReason::Breaker { wants, .. } if wants.wanted == wants.supply + 1);
        let late = last && tripped.until <= now && can_buy(Market::Spot, pool, settings, truth);
        if late && !any() && !awaits_spot(pool, truth) {
            wrong.push("it is time, and no spot instance tries".to_owned());
        }
        for what in wrong {
            self.blame(Invariant::Breaker, now, format!("pool {pool}: {what}"));
        }
    }
}

/// Whether a spot launch of the pool has no certain answer.
fn awaits_spot(pool: &PoolName, truth: Truth<'_>) -> bool {
    let pending = |l: &Launch| l.pool == *pool && l.market == Market::Spot;
    truth.controller.is_none_or(|c| c.view().world.outstanding(pending) > 0)
}

/// Whether EC2 has not refused all of the pool's offerings on a market, as far as the controller knows.
fn can_buy(market: Market, pool: &PoolName, settings: &InstanceSettings, truth: Truth<'_>) -> bool {
    let choice = truth.controller.map(|c| c.view().unavailable.choose_on(pool, settings, &[market], truth.now()));
    matches!(choice, Some(Choice::Ask(..)))
}
