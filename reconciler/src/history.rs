//! What became of a pool's spot instances: how many had a job, how many of them spot took back, and how long they ran. Operators see
//! from this whether spot lasts for their jobs. No decision reads it, and a new process begins with none.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The most offerings of which a pool has a record. Others are not recorded.
const MOST_OFFERINGS: usize = 100;

/// What became of a spot instance that had a job.
#[derive(Clone, Debug, PartialEq)]
pub struct SpotLife {
    /// The instance type, such as `m7i.large`.
    pub instance_type: Arc<str>,
    /// The subnet. None: EC2 has not told the subnet.
    pub subnet: Option<Arc<str>>,
    /// Whether spot took the instance back.
    pub taken_back: bool,
    /// The time from EC2's launch of the instance until muster found it gone.
    pub ran: Duration,
}

/// The record of one instance type in one subnet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpotRecord {
    /// The instances that had a job and are gone.
    pub instances: u32,
    /// Those of them that spot took back.
    pub taken_back: u32,
    /// The time that these instances ran, in all.
    pub ran: Duration,
}

/// An instance type, and a subnet if known.
type OfferingKey = (Arc<str>, Option<Arc<str>>);

/// The records of one pool.
#[derive(Clone, Debug, Default)]
pub struct SpotHistory(BTreeMap<OfferingKey, SpotRecord>);

impl SpotHistory {
    /// An instance is gone.
    pub fn note(&mut self, life: &SpotLife) {
        let key = (life.instance_type.clone(), life.subnet.clone());
        if self.0.len() >= MOST_OFFERINGS && !self.0.contains_key(&key) {
            return;
        }
        let record = self.0.entry(key).or_default();
        record.instances += 1;
        record.taken_back += u32::from(life.taken_back);
        record.ran += life.ran;
    }

    /// The records by instance type and subnet. Those with the most interruptions come first.
    pub fn records(&self) -> Vec<(&str, Option<&str>, SpotRecord)> {
        let mut all: Vec<_> = self.0.iter().map(|((kind, subnet), record)| (&**kind, subnet.as_deref(), *record)).collect();
        all.sort_by_key(|(.., record)| std::cmp::Reverse((record.taken_back, record.instances)));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life(kind: &str, taken_back: bool) -> SpotLife {
        SpotLife { instance_type: kind.into(), subnet: Some("subnet-a".into()), taken_back, ran: Duration::from_secs(1800) }
    }

    #[test]
    fn a_record_counts_instances_and_the_worst_offering_comes_first() {
        let mut history = SpotHistory::default();
        for (kind, taken_back) in [("m7i.large", false), ("m7i.large", false), ("m6i.large", true)] {
            history.note(&life(kind, taken_back));
        }
        let ran = Duration::from_secs(1800);
        let worst = ("m6i.large", Some("subnet-a"), SpotRecord { instances: 1, taken_back: 1, ran });
        let other = ("m7i.large", Some("subnet-a"), SpotRecord { instances: 2, taken_back: 0, ran: ran * 2 });
        assert_eq!(history.records(), [worst, other]);
    }

    #[test]
    fn a_history_has_a_limit() {
        let mut history = SpotHistory::default();
        for n in 0..2 * MOST_OFFERINGS {
            history.note(&life(&format!("m{n}.large"), false));
        }
        history.note(&life("m0.large", false));
        assert_eq!((history.records().len(), history.records()[0].2.instances), (MOST_OFFERINGS, 2));
    }
}
