//! The beginning of simulated time, and how a scenario's file writes times.

use muster_reconciler::time::Time;

/// When a simulated run begins, unless its caller gives another time: 1 January 2026, 00:00 UTC.
pub const BEGIN: Time = Time::from_millis(1_767_225_600_000);

/// Durations in the form that manifests have, such as `90s`.
pub(super) mod spans {
    use crate::rng::span;
    use muster_reconciler::manifest::Span;
    use serde::{Deserialize, Serialize};
    use std::time::Duration;

    pub fn serialize<S: serde::Serializer>(d: &Duration, s: S) -> Result<S::Ok, S::Error> {
        span(*d).serialize(s)
    }

    pub fn deserialize<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
        Span::deserialize(d).map(Span::get)
    }

    /// The same form, for a duration that may be left out.
    pub mod optional {
        use crate::rng::span;
        use muster_reconciler::manifest::Span;
        use serde::{Deserialize, Serialize};
        use std::time::Duration;

        pub fn serialize<S: serde::Serializer>(d: &Option<Duration>, s: S) -> Result<S::Ok, S::Error> {
            d.map(span).serialize(s)
        }

        pub fn deserialize<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Option<Duration>, D::Error> {
            Ok(Option::<Span>::deserialize(d)?.map(Span::get))
        }
    }
}

/// Times, written as durations from [`BEGIN`].
pub(super) mod since_begin {
    use super::BEGIN;
    use muster_reconciler::manifest::Span;
    use muster_reconciler::time::Time;
    use serde::Deserialize;

    pub fn serialize<S: serde::Serializer>(at: &Time, s: S) -> Result<S::Ok, S::Error> {
        super::spans::serialize(&at.since(BEGIN), s)
    }

    pub fn deserialize<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Time, D::Error> {
        Ok(BEGIN + Span::deserialize(d)?.get())
    }
}
