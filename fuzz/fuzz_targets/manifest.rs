//! A directory with one file of manifests.
#![no_main]

use libfuzzer_sys::fuzz_target;
use muster_reconciler::groups::RunnerGroups;
use muster_reconciler::manifest::{self, Text};
use muster_reconciler::warnings;

fuzz_target!(|body: &str| {
    let text = Text { file: "fuzz.yaml".into(), body: body.into() };
    match manifest::load(&[text]) {
        Ok(spec) => {
            for warning in warnings::of(&spec, &RunnerGroups::default()).into_values().flatten() {
                assert!(!warning.to_string().is_empty());
            }
        }
        Err(problems) => assert!(problems.to_string().contains("fuzz.yaml:"), "{problems}"),
    }
});
