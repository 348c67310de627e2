//! The flight recorder: everything that enters the core, with its time, and what the core decided. The core is a function of what
//! enters it, so a record is enough to have the same core again ([`crate::replay`]).
//!
//! A record is text: one line of JSON for each entry, in order. It holds no secret, because no secret enters the core. The controller
//! makes the lines itself, so nothing enters it unrecorded, and whoever runs it keeps them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::effect::{Effect, Input, InstanceSighting, JobMessage, RunnerSighting};
use crate::groups::RunnerGroups;
use crate::ids::{EffectId, ListId, PoolName};
use crate::manifest::Spec;
use crate::release::RunnerReleases;
use crate::serial::shared;
use crate::steer::{Order, Pause};
use crate::time::Time;
use crate::versions::RunnerVersions;

mod edits;
mod recorder;
mod said;

pub use edits::ListEdits;
pub use recorder::Recorder;

/// The version of the form in which records are written. It rises when an older muster could not read a record any more. A field
/// that an older muster may leave out needs no new version.
pub const FORMAT: u32 = 1;

/// One line of a record.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordLine<'a> {
    /// When it entered the core.
    pub at: Time,
    /// What entered the core.
    pub entry: RecordEntry<'a>,
    /// What the core decided then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub decided: Vec<Decided>,
}

/// What entered the core.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordEntry<'a> {
    /// The record begins, or may be read from here on.
    Begin(Box<Beginning>),
    /// An input. A list of a sweep is not here.
    Input(Cow<'a, Input>),
    /// The end of a sweep of EC2, as what changed since the last one.
    Instances(EffectId, ListEdits<'a, InstanceSighting>),
    /// The end of a sweep of a list of runners, as what changed since the list's last one.
    Runners(EffectId, ListId, ListEdits<'a, RunnerSighting>),
    /// An operator's order.
    Order(Cow<'a, Order>),
}

/// What the core must know so that the record can be read from here on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Beginning {
    /// [`FORMAT`] of whoever wrote it.
    pub format: u32,
    /// The version of muster that wrote it.
    pub version: String,
    /// The process whose core it is.
    pub process: String,
    /// The process begins here, so nothing came before.
    pub first: bool,
    /// Branches, workflows, names of jobs and operators' reasons are left out.
    #[serde(default)]
    pub names_left_out: bool,
    /// The process stands by: another one may hold the lease.
    #[serde(default)]
    pub stands_by: bool,
    /// The pools that are paused.
    #[serde(default)]
    pub paused: BTreeMap<PoolName, Pause>,
    /// What the process has heard so far. None: it begins here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heard: Option<HeardSoFar>,
}

/// The newest of each input that stands for a state, and the messages that the process holds. A process that starts and hears these
/// knows what a restarted muster would know.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeardSoFar {
    /// The manifests.
    #[serde(with = "shared")]
    pub spec: Arc<Spec>,
    /// The releases of the runner program.
    pub releases: RunnerReleases,
    /// The runner groups.
    pub groups: RunnerGroups,
    /// The versions in use.
    pub versions: RunnerVersions,
    /// The messages of the queue.
    pub messages: Vec<JobMessage>,
}

/// One decision, as it was recorded: the effect's id, what it does, why, and a digest of all of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decided(pub EffectId, pub String, pub String, pub String);

impl Decided {
    /// The decision behind an effect. Without names, neither the reason nor the digest is told: both may hold what was left out.
    pub(crate) fn of(effect: &Effect, names: bool) -> Decided {
        let (why, digest) = if names { (effect.reason.to_string(), said::digest(effect)) } else { Default::default() };
        Decided(effect.id, effect.action.to_string(), why, digest)
    }
}
