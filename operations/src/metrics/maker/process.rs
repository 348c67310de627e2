//! The process's own metrics, with a start time that does not need `/proc/stat`.
//!
//! Under systemd's `ProcSubset=pid`, as in the shipped unit, this file does not exist, and the library's collector says 0.

use std::time::{SystemTime, UNIX_EPOCH};

use prometheus::IntGauge;
use prometheus::core::{Collector, Desc};
use prometheus::process_collector::ProcessCollector;
use prometheus::proto::MetricFamily;

const START: &str = "process_start_time_seconds";

/// The library's collector, except for the start time.
pub(super) struct Process {
    library: ProcessCollector,
    start: IntGauge,
}

impl Process {
    /// Makes the collector of a process that starts at about this moment.
    pub(super) fn new() -> Process {
        let library = ProcessCollector::for_self();
        let help = library.desc().into_iter().find(|desc| desc.fq_name == START).map(|desc| desc.help.clone());
        let start = IntGauge::new(START, help.unwrap_or_default()).expect("a well-formed name");
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        start.set(i64::try_from(since_epoch.as_secs()).unwrap_or(i64::MAX));
        Process { library, start }
    }
}

impl Collector for Process {
    fn desc(&self) -> Vec<&Desc> {
        self.library.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut families = self.library.collect();
        families.retain(|family| family.name() != START);
        families.extend(self.start.collect());
        families
    }
}
