//! Reads an answer as every part of the crate reads it. Only the fuzz targets build this module; see `fuzz/`.

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use muster_reconciler::ids::AppName;

use crate::limits::Reporter;
use crate::{ApiCall, GoodAnswer, about, app, deliveries, jobs, limits, releases, runners, runs};

/// Reads an answer.
pub fn read(status: u16, headers: HeaderMap, body: &[u8]) {
    let Ok(status) = StatusCode::from_u16(status) else { return };
    let answer = GoodAnswer { status, headers, body: Bytes::copy_from_slice(body) };
    let call = ApiCall::new("github.Fuzzed", Method::GET, "/", "read an answer");
    let name = AppName::from("main");
    let (limits, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let reporter = Reporter::new(limits);
    let payer = muster_reconciler::ids::Payer::itself(&name);
    reporter.heard(&payer, &call, &answer.headers);
    if let Some(wait) = limits::throttled(&answer) {
        reporter.throttled(&payer, &call, &answer, wait);
    }
    while heard.try_recv().is_ok() {}
    for token in [false, true] {
        assert!(limits::failure(&call, &name, token, &answer).message.contains("read an answer"));
    }
    about::fuzzed(&answer, &call);
    app::fuzzed(&answer, &call);
    deliveries::fuzzed(&answer, &call);
    jobs::fuzzed(&answer, &call);
    releases::fuzzed(&answer, &call);
    runners::fuzzed(&answer, &call);
    runs::fuzzed(&answer, &call);
}
