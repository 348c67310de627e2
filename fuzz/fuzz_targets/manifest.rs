//! A directory with a Controller, an App, and one more file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use muster_reconciler::groups::RunnerGroups;
use muster_reconciler::manifest::{self, Text};
use muster_reconciler::warnings;

fuzz_target!(|body: &str| {
    let text = |file: &str, body: &str| Text { file: file.into(), body: body.into() };
    let controller = text("controller.yaml", include_str!("../../manifests/controller.yaml"));
    let app = text("github-app.yaml", include_str!("../../manifests/github-app.yaml"));
    match manifest::load(&[controller, app, text("fuzz.yaml", body)]) {
        Ok(spec) => {
            for warning in warnings::of(&spec, &RunnerGroups::default()).into_values().flatten() {
                assert!(!warning.to_string().is_empty());
            }
        }
        Err(problems) => assert!(!problems.to_string().is_empty()),
    }
});
