//! What `muster simulate` reads: a trace of jobs, or a description of a workload.
#![no_main]

use libfuzzer_sys::fuzz_target;
use muster::simulate::{trace, workload};
use muster_reconciler::manifest::Text;
use muster_simulator::conditions::Weather;

fuzz_target!(|body: &str| {
    let text = Text { file: "fuzz".into(), body: body.into() };
    if let Err(problems) = trace::read(&text) {
        assert!(!problems.is_empty());
    }
    if let Err(problems) = workload::read(&text, Weather::Calm, body.len() % 2 == 0) {
        assert!(!problems.is_empty());
    }
});
