//! A launch: what EC2 is asked for, what it answers, and what one process leaves of it to the next.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::failure::OfferingError;
use crate::ids::{InstanceId, Intent, ListId, PoolName};
use crate::manifest::{Allocation, Spec};
use crate::market::{Market, Offering};
use crate::release::RunnerRelease;
use crate::serial::{perhaps_text, shared};
use crate::tags;

/// One launch. Every retry of an intent sends the same value, byte for byte.
/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateFleet.html>
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Launch {
    /// The ClientToken of the call, and the value of the `muster:intent` tag.
    pub intent: Intent,
    /// The pool that gets the instances.
    pub pool: PoolName,
    /// The list in which the instances will register.
    pub list_id: ListId,
    /// The number of instances.
    pub count: u32,
    /// The name of the launch template. Its version is `$Default`.
    pub template: String,
    /// The offerings that EC2 may choose from, in order of preference.
    pub offerings: Vec<Offering>,
    /// The market on which the instances are bought.
    pub market: Market,
    /// The spot allocation strategy.
    pub allocation: Allocation,
    /// All tags of the instances, volumes and fleet, muster's own tags included.
    pub tags: BTreeMap<String, String>,
}

impl Launch {
    /// The launch of `count` instances of a pool. None: the manifests have no such pool.
    pub fn of(
        spec: &Spec,
        pool: &PoolName,
        intent: Intent,
        count: u32,
        market: Market,
        offerings: &[Offering],
    ) -> Option<Launch> {
        let manifest = spec.pools.get(pool)?;
        let (settings, list_id) = (&manifest.spec.instance, manifest.list_id());
        let cluster = spec.controller.cluster();
        let mut all_tags = spec.controller.spec.tags.clone();
        all_tags.extend(settings.tags.clone());
        let own = [
            ("Name", format!("{cluster}.{pool}")),
            (tags::CLUSTER, cluster.to_owned()),
            (tags::POOL, pool.to_string()),
            (tags::INTENT, intent.to_string()),
            (tags::LIST, list_id.as_tag()),
            (tags::MAX_LIFETIME, manifest.spec.runner.max_lifetime.get().as_secs().to_string()),
        ];
        for (key, value) in own {
            if key != "Name" || !all_tags.contains_key(key) {
                all_tags.insert(key.to_owned(), value);
            }
        }
        Some(Launch {
            intent,
            pool: pool.clone(),
            list_id,
            count,
            template: manifest.launch_template(cluster),
            offerings: offerings.to_vec(),
            market,
            allocation: settings.allocation,
            tags: all_tags,
        })
    }

    /// The same launch, whose instances install this release.
    #[must_use]
    pub fn with_release(mut self, release: Option<&RunnerRelease>) -> Launch {
        self.tags.extend(release.map(|release| (tags::RELEASE.to_owned(), release.as_tag())));
        self
    }
}

/// CreateFleet's answer. Each error is about an offering, and may come together with launched instances.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Launched {
    /// The instances that were launched.
    pub instances: Vec<LaunchedInstance>,
    /// The offerings that could not be launched.
    pub errors: Vec<OfferingError>,
}

/// One launched instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LaunchedInstance {
    /// The id of the instance.
    pub id: InstanceId,
    /// The instance type, such as `m7i.large`.
    #[serde(with = "shared")]
    pub instance_type: Arc<str>,
    /// The subnet, if EC2 named one.
    #[serde(with = "perhaps_text")]
    pub subnet: Option<Arc<str>>,
    /// The market on which the instance was bought.
    pub market: Market,
}

/// One launch in the object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LaunchRecord {
    /// The launch. A successor asks for it again byte for byte.
    #[serde(with = "shared")]
    pub launch: Arc<Launch>,
    /// The instances in EC2's answer; empty if EC2 refused. None: no certain answer has come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub launched: Option<Vec<LaunchedInstance>>,
}

/// What a holder finds of its predecessor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Inheritance {
    /// The number of the term that begins.
    pub term: u64,
    /// The predecessor's last launches. None: there was no object, so nothing is known of a predecessor.
    pub launches: Option<Vec<LaunchRecord>>,
}
