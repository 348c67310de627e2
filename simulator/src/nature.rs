//! What every part of the world shares: the agenda, the luck, the options and the trace. A *spell* is a fault that lasts
//! for minutes, such as an outage.

use std::collections::BTreeMap;
use std::time::Duration;

use muster_reconciler::failure::FailureKind;
use muster_reconciler::ids::{AppName, InstanceId};
use muster_reconciler::time::Time;

use crate::agenda::Agenda;
use crate::event::{Deadline, Event};
use crate::faults::Fault;
use crate::luck::Luck;
use crate::options::{Latencies, WorldOptions};
use crate::rng::{Rng, Spread};
use crate::trace::Trace;

/// How often new spells and crashes are decided.
pub(super) const WEATHER_EVERY: Duration = Duration::from_secs(30);
const SPELL: Spread = Spread::secs(30, 600);
/// The share of calls that fail during a spell.
const SPELL_SHARE: f64 = 0.7;

/// The time, the events to come, the faults and the trace, for all parts of the world.
#[derive(Debug)]
pub(super) struct Nature {
    pub agenda: Agenda,
    pub luck: Luck,
    pub options: WorldOptions,
    pub trace: Trace,
    began: Time,
    aws_throttles_until: Time,
    github_fails_until: Time,
    github_down_until: Time,
    /// Until when GitHub answers 503 to all that each App asks.
    app_fails_until: BTreeMap<AppName, Time>,
    rng: Rng,
}

impl Nature {
    pub fn new(began: Time, seed: u64, options: WorldOptions) -> Nature {
        Nature {
            agenda: Agenda::new(began),
            luck: Luck::new(seed, &options.faults.schedule),
            trace: Trace::new(began, options.keep_lines),
            options,
            began,
            aws_throttles_until: Time::ZERO,
            github_fails_until: Time::ZERO,
            github_down_until: Time::ZERO,
            app_fails_until: BTreeMap::new(),
            rng: Rng::new(seed, "spells"),
        }
    }

    pub fn now(&self) -> Time {
        self.agenda.now
    }

    /// When the last fault can strike. None: faults strike for ever.
    pub fn calm_from(&self) -> Option<Time> {
        self.options.faults.last.map(|last| self.began + last)
    }

    /// From now on, no fault strikes.
    pub fn stop_faults(&mut self) {
        self.options.faults.last = Some(Duration::ZERO);
        self.luck.active = false;
    }

    /// The time has moved. Faults end at a time.
    pub fn moved(&mut self) {
        let now = self.now();
        self.luck.active &= self.calm_from().is_none_or(|calm| now < calm);
    }

    pub fn takes(&self) -> &Latencies {
        &self.options.latencies
    }

    pub fn after(&mut self, delay: Duration, event: Event) {
        self.agenda.after(delay, event);
    }

    pub fn act_after(&mut self, delay: Duration, id: &InstanceId, act: Deadline) {
        self.after(delay, Event::Act(id.clone(), act));
    }

    pub fn strikes(&mut self, fault: Fault) -> Option<Rng> {
        self.luck.strikes(fault)
    }

    pub fn hits(&mut self, fault: Fault) -> bool {
        self.luck.hits(fault)
    }

    pub fn say(&mut self, what: std::fmt::Arguments<'_>) {
        self.trace.say(self.agenda.now, what);
    }

    /// Decides which spells begin now.
    pub fn weather(&mut self) {
        for fault in [Fault::AwsThrottling, Fault::GitHubErrors, Fault::GitHubOutage] {
            let Some(mut how_long) = self.strikes(fault) else { continue };
            let until = self.now() + how_long.within(SPELL);
            let spell = match fault {
                Fault::AwsThrottling => &mut self.aws_throttles_until,
                Fault::GitHubErrors => &mut self.github_fails_until,
                _ => &mut self.github_down_until,
            };
            *spell = until.max(*spell);
            if fault == Fault::GitHubOutage {
                let back = *spell;
                // Jobs and runners that wait for each other find each other then.
                self.agenda.at(back, Event::Assign);
            }
            let long = muster_reconciler::time::human(until.since(self.now()));
            self.say(format_args!("---- {fault} for {long}"));
        }
    }

    /// Decides whether GitHub begins to fail one of these Apps.
    pub fn fail_app<'a>(&mut self, apps: impl Iterator<Item = &'a AppName>) {
        let Some(mut how_long) = self.strikes(Fault::AppErrors) else { return };
        let apps: Vec<&AppName> = apps.collect();
        let Some(app) = how_long.pick(&apps).copied() else { return };
        let long = how_long.within(SPELL);
        self.app_fails_until.insert(app.clone(), self.now() + long);
        self.say(format_args!("---- GitHub fails App {app} for {}", muster_reconciler::time::human(long)));
    }

    /// Whether a spell of throttling makes this call to AWS fail.
    pub fn aws_spell(&mut self) -> bool {
        self.luck.active && self.now() < self.aws_throttles_until && self.rng.chance(SPELL_SHARE)
    }

    /// How a spell makes this call to GitHub fail; None: it does not. During an outage, some calls are not even answered.
    pub fn github_spell(&mut self, app: &AppName) -> Option<FailureKind> {
        if self.github_down() {
            return Some(if self.rng.chance(0.3) { FailureKind::Ambiguous } else { FailureKind::Unavailable });
        }
        let app_fails = self.luck.active && self.app_fails_until.get(app).is_some_and(|until| self.now() < *until);
        let fails = self.luck.active && self.now() < self.github_fails_until && self.rng.chance(SPELL_SHARE);
        (app_fails || fails).then_some(FailureKind::Unavailable)
    }

    pub fn github_down(&self) -> bool {
        self.luck.active && self.now() < self.github_down_until
    }

    /// How much longer GitHub's outage lasts. Zero: there is none.
    pub fn github_back_in(&self) -> Duration {
        if self.github_down() { self.github_down_until.since(self.now()) } else { Duration::ZERO }
    }
}
