//! What may be changed of a pool, and how a change is applied to its manifest.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use muster_reconciler::ids::PoolName;
use muster_reconciler::manifest::{IdleSchedule, Lifetime, MarketPolicy, RunnerPool, Span, Spec};

/// A part of a pool's manifest that may be changed. All else stays as it is, `maxLifetime` and `capacity.max` included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Knob {
    /// `capacity.idle` and `capacity.schedules`.
    Floor,
    /// `runner.idleTimeout`.
    IdleTimeout,
    /// `runner.queueDelay`.
    QueueDelay,
    /// `instance.market`.
    Market,
}

/// A value of a [`Knob`].
#[derive(Clone, Debug, PartialEq)]
pub enum KnobSetting {
    /// The warm floor: `capacity.idle`, and the schedules that replace it at times.
    Floor(u32, Vec<IdleSchedule>),
    /// `runner.idleTimeout`.
    IdleTimeout(Span),
    /// `runner.queueDelay`.
    QueueDelay(Span),
    /// `instance.market`.
    Market(MarketPolicy),
}

impl KnobSetting {
    /// What is set.
    pub const fn knob(&self) -> Knob {
        match self {
            KnobSetting::Floor(..) => Knob::Floor,
            KnobSetting::IdleTimeout(_) => Knob::IdleTimeout,
            KnobSetting::QueueDelay(_) => Knob::QueueDelay,
            KnobSetting::Market(_) => Knob::Market,
        }
    }

    /// What a pool has now.
    pub fn now(knob: Knob, pool: &RunnerPool) -> KnobSetting {
        match knob {
            Knob::Floor => KnobSetting::Floor(pool.spec.capacity.idle, pool.spec.capacity.schedules.clone()),
            Knob::IdleTimeout => KnobSetting::IdleTimeout(pool.spec.runner.idle_timeout),
            Knob::QueueDelay => {
                let ms = u64::try_from(pool.queue_delay().as_millis()).unwrap_or(u64::MAX);
                KnobSetting::QueueDelay(Span::millis(ms))
            }
            Knob::Market => KnobSetting::Market(pool.spec.instance.market),
        }
    }

    fn apply(&self, pool: &mut RunnerPool) {
        let spec = &mut pool.spec;
        match self {
            KnobSetting::Floor(idle, schedules) => {
                (spec.capacity.idle, spec.capacity.schedules) = (*idle, schedules.clone());
            }
            KnobSetting::IdleTimeout(timeout) => spec.runner.idle_timeout = *timeout,
            KnobSetting::QueueDelay(delay) => spec.runner.queue_delay = Some(*delay),
            KnobSetting::Market(market) => spec.instance.market = *market,
        }
    }

    /// Whether the manifests' rules admit the setting for this pool.
    pub fn fits(&self, pool: &RunnerPool) -> bool {
        let max = pool.spec.capacity.max;
        match self {
            KnobSetting::Floor(idle, schedules) => *idle <= max && schedules.iter().all(|schedule| schedule.idle <= max),
            KnobSetting::IdleTimeout(timeout) => {
                pool.spec.runner.lifetime == Lifetime::Ephemeral || *timeout < pool.spec.runner.max_lifetime
            }
            KnobSetting::QueueDelay(_) | KnobSetting::Market(_) => true,
        }
    }

    /// The same floor, larger or smaller by a factor. None: it is no floor, or would be the same.
    pub(super) fn scaled(&self, num: u32, den: u32, most: u32) -> Option<KnobSetting> {
        let KnobSetting::Floor(idle, schedules) = self else { return None };
        let scale = |n: u32| (n * num).div_ceil(den.max(1)).min(most);
        let schedules = schedules.iter().map(|s| IdleSchedule { idle: scale(s.idle), ..s.clone() }).collect();
        let scaled = KnobSetting::Floor(scale(*idle), schedules);
        (scaled != *self).then_some(scaled)
    }
}

impl fmt::Display for KnobSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KnobSetting::Floor(idle, schedules) => {
                write!(f, "idle {idle}")?;
                for IdleSchedule { cron, timezone, hold, idle } in schedules {
                    write!(f, "; idle {idle} for {hold} from `{cron}` {timezone}")?;
                }
                Ok(())
            }
            KnobSetting::IdleTimeout(timeout) => write!(f, "idleTimeout {timeout}"),
            KnobSetting::QueueDelay(delay) => write!(f, "queueDelay {delay}"),
            KnobSetting::Market(market) => f.write_str(match market {
                MarketPolicy::Spot => "market spot",
                MarketPolicy::OnDemand => "market on-demand",
                MarketPolicy::SpotThenOnDemand => "market spot-then-on-demand",
            }),
        }
    }
}

/// Changes of the manifests that are tried together. None at all: the manifests as they are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Variant(BTreeMap<(PoolName, Knob), KnobSetting>);

impl Variant {
    /// One change.
    pub fn single(pool: PoolName, setting: KnobSetting) -> Variant {
        Variant([((pool, setting.knob()), setting)].into())
    }

    /// The changes, by pool and knob.
    pub fn settings(&self) -> impl Iterator<Item = (&PoolName, &KnobSetting)> {
        self.0.iter().map(|((pool, _), setting)| (pool, setting))
    }

    /// How many changes there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All changes of both. None: both set the same knob of a pool.
    pub(super) fn with(&self, other: &Variant) -> Option<Variant> {
        let apart = other.0.keys().all(|key| !self.0.contains_key(key));
        apart.then(|| Variant(self.0.iter().chain(&other.0).map(|(key, setting)| (key.clone(), setting.clone())).collect()))
    }

    /// The same changes but for one.
    pub(super) fn but(&self, pool: &PoolName, setting: KnobSetting) -> Variant {
        let mut all = self.0.clone();
        all.insert((pool.clone(), setting.knob()), setting);
        Variant(all)
    }

    /// The manifests with these changes.
    pub fn applied(&self, base: &Spec) -> Arc<Spec> {
        let mut spec = base.clone();
        for ((pool, _), setting) in &self.0 {
            if let Some(pool) = spec.pools.get_mut(pool) {
                setting.apply(pool);
            }
        }
        Arc::new(spec)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example;

    #[test]
    fn a_change_changes_its_knob_and_nothing_else() {
        let base = example::cluster("c", [example::pool("a", &["linux"], 5), example::pool("b", &["gpu"], 5)]);
        let floor = KnobSetting::Floor(3, vec![]);
        let both = Variant::single("a".into(), floor.clone())
            .with(&Variant::single("a".into(), KnobSetting::QueueDelay(Span::secs(9))))
            .expect("two knobs");
        let spec = both.applied(&base);
        assert_eq!(spec.pools[&PoolName::from("b")], base.pools[&PoolName::from("b")]);
        let mut expected = base.pools[&PoolName::from("a")].clone();
        expected.spec.capacity.idle = 3;
        expected.spec.runner.queue_delay = Some(Span::secs(9));
        assert_eq!(spec.pools[&PoolName::from("a")], expected);
        assert_eq!(Variant::default().applied(&base), base);
        assert_eq!(both.with(&Variant::single("a".into(), KnobSetting::Floor(1, vec![]))), None);
        assert_eq!(KnobSetting::now(Knob::Floor, &spec.pools[&PoolName::from("a")]), floor);
    }

    #[test]
    fn a_floor_above_max_and_a_timeout_beyond_the_lifetime_do_not_fit() {
        let mut pool = example::pool("a", &["linux"], 5);
        let schedule = |idle| IdleSchedule { cron: "0 8 * * *".into(), idle, ..IdleSchedule::default() };
        assert!(KnobSetting::Floor(5, vec![schedule(5)]).fits(&pool));
        assert!(!KnobSetting::Floor(6, vec![]).fits(&pool) && !KnobSetting::Floor(0, vec![schedule(6)]).fits(&pool));
        pool.spec.runner.lifetime = Lifetime::Reusable;
        pool.spec.runner.max_lifetime = Span::secs(1200);
        assert!(
            KnobSetting::IdleTimeout(Span::secs(1199)).fits(&pool) && !KnobSetting::IdleTimeout(Span::secs(1200)).fits(&pool)
        );
    }

    #[test]
    fn a_floor_grows_and_shrinks_within_the_pool() {
        let floor = KnobSetting::Floor(0, vec![IdleSchedule { cron: "0 8 * * *".into(), idle: 4, ..IdleSchedule::default() }]);
        let idle = |setting: Option<KnobSetting>| match setting {
            Some(KnobSetting::Floor(_, schedules)) => schedules.first().map(|s| s.idle),
            _ => None,
        };
        assert_eq!(
            (idle(floor.scaled(3, 2, 9)), idle(floor.scaled(3, 2, 5)), idle(floor.scaled(1, 2, 9))),
            (Some(6), Some(5), Some(2))
        );
        assert_eq!(floor.scaled(3, 2, 4), None);
        assert_eq!(KnobSetting::QueueDelay(Span::secs(2)).scaled(3, 2, 9), None);
    }
}
