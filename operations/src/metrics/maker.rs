//! Registers metrics, and remembers how each one is described, for the documentation.

#[cfg(target_os = "linux")]
mod process;

use prometheus::core::Collector;
use prometheus::{
    CounterVec, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry,
};

/// The description of a metric: a row of `docs/metrics.md`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// The full name, such as `muster_jobs`.
    pub name: String,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// The names of the labels, in order.
    pub labels: Vec<String>,
    /// The meaning of the metric.
    pub help: String,
}

/// The table of `docs/metrics.md`, sorted by name.
#[cfg(test)]
pub(super) fn table(all: &[Described]) -> String {
    let mut rows: Vec<String> = all
        .iter()
        .map(|d| {
            let labels: Vec<String> = d.labels.iter().map(|l| format!("`{l}`")).collect();
            format!("| `{}` | {} | {} | {} |\n", d.name, d.kind, labels.join(", "), d.help)
        })
        .collect();
    rows.sort();
    format!("| name | type | labels | meaning |\n|---|---|---|---|\n{}", rows.concat())
}

/// Makes and registers metrics, and remembers their descriptions.
pub(super) struct Maker {
    pub(super) registry: Registry,
    pub(super) described: Vec<Described>,
}

impl Maker {
    pub(super) fn add<C: Collector + Clone + 'static>(&mut self, kind: &'static str, made: prometheus::Result<C>) -> C {
        let collector = made.expect("a metric's name and labels are well-formed: they are constants of this file");
        for desc in collector.desc() {
            self.described.push(Described {
                name: desc.fq_name.clone(),
                kind,
                labels: desc.variable_labels.clone(),
                help: desc.help.clone(),
            });
        }
        self.registry
            .register(Box::new(collector.clone()))
            .expect("a metric's name is given once: they are constants of this file");
        collector
    }

    pub(super) fn counter(&mut self, name: &str, _: &[&str; 0], help: &str) -> IntCounter {
        self.add("counter", IntCounter::new(name, help))
    }

    pub(super) fn counters(&mut self, name: &str, labels: &[&str], help: &str) -> IntCounterVec {
        self.add("counter", IntCounterVec::new(Opts::new(name, help), labels))
    }

    pub(super) fn gauge(&mut self, name: &str, _: &[&str; 0], help: &str) -> Gauge {
        self.add("gauge", Gauge::new(name, help))
    }

    pub(super) fn float_counters(&mut self, name: &str, labels: &[&str], help: &str) -> CounterVec {
        self.add("counter", CounterVec::new(Opts::new(name, help), labels))
    }

    pub(super) fn gauges(&mut self, name: &str, labels: &[&str], help: &str) -> GaugeVec {
        self.add("gauge", GaugeVec::new(Opts::new(name, help), labels))
    }

    pub(super) fn int_gauges(&mut self, name: &str, labels: &[&str], help: &str) -> IntGaugeVec {
        self.add("gauge", IntGaugeVec::new(Opts::new(name, help), labels))
    }

    pub(super) fn histogram(&mut self, name: &str, _: &[&str; 0], buckets: &[f64], help: &str) -> Histogram {
        self.add("histogram", Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec())))
    }

    pub(super) fn histograms(&mut self, name: &str, labels: &[&str], buckets: &[f64], help: &str) -> HistogramVec {
        self.add("histogram", HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), labels))
    }
}

/// Adds the process's CPU time, memory and file descriptors under Prometheus' standard names. Linux only.
#[cfg(target_os = "linux")]
pub(super) fn add_process(m: &mut Maker) {
    let process = process::Process::new();
    for desc in process.desc() {
        let kind = if desc.fq_name.ends_with("_total") { "counter" } else { "gauge" };
        m.described.push(Described { name: desc.fq_name.clone(), kind, labels: Vec::new(), help: desc.help.clone() });
    }
    m.registry.register(Box::new(process)).expect("process_* is registered once");
}

#[cfg(not(target_os = "linux"))]
pub(super) fn add_process(_: &mut Maker) {}
