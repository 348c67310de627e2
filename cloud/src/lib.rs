//! Everything that asks AWS or GitHub, or changes something there. Decisions are made in `muster_reconciler`.
//!
//! In the order of the data: the manifests and secrets say where to look. Then SQS -> [`ingest`] -> [`driver`] (the core) ->
//! [`executor`] -> [`aws`] and `muster_github`. Besides this loop, the crate has what else asks AWS or GitHub: traces, prices, the record of
//! usage, the cache of runner binaries, and `muster doctor`.
#![forbid(unsafe_code)]

pub mod manifests;
pub mod record;
pub mod reload;
pub mod secrets;

pub mod ingest;

pub mod clock;
pub mod driver;

pub mod executor;
pub mod lease;

pub mod shadow;

pub mod aws;
pub mod groups;
pub mod retry;

pub mod otlp;
pub mod prices;
pub mod sync;
pub mod usage;
pub mod versions;

pub mod doctor;

// The tests of the whole program speak to AWS and read traces by these crates. A dependency of the tests on them would build the SDK
// where the feature `live` is off, too.
#[doc(hidden)]
pub use {aws_config, aws_sdk_ec2, aws_sdk_s3, aws_sdk_sqs, aws_sdk_ssm, opentelemetry_proto, prost};
