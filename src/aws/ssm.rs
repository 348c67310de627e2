//! SSM parameters: each box's JIT secret, where only that box may read it, and the secrets that manifests refer to.

use std::collections::BTreeMap;

use aws_config::SdkConfig;
use aws_sdk_ssm::Client;
use aws_sdk_ssm::types;
use muster_reconciler::effect::{Failure, FailureKind, Outcome, Swept};
use muster_reconciler::ids::{InstanceId, PoolName};
use muster_reconciler::steer::Pause;
use muster_reconciler::tags;
use muster_reconciler::time::Time;
use secrecy::{ExposeSecret as _, SecretString};

use super::{CallError, Probe};

/// Names in one DeleteParameters at most.
const BATCH: usize = 10;
/// Parameters on one page of DescribeParameters at most.
const PAGE: i32 = 50;
/// Pages of one listing at most: ten times what SSM stores without a raised quota.
const PAGES: usize = 2_000;

/// Secrets.
#[derive(Clone, Debug)]
pub struct Ssm {
    client: Client,
    pub(super) probe: Probe,
}

impl Ssm {
    pub(super) fn new(config: &SdkConfig, probe: Probe) -> Ssm {
        Ssm { client: Client::new(config), probe }
    }

    /// Stores a box's secret as SecureString `/muster/<cluster>/runners/<instance-id>`, tagged with the instance's ARN (`arn`, see
    /// [`super::ec2::arn_of`]) so that IAM lets that box alone read and delete it. An older secret of the box is replaced: 8 KB at most.
    pub async fn put_secret(
        &self,
        cluster: &str,
        instance: &InstanceId,
        arn: Option<&str>,
        value: &SecretString,
    ) -> Result<(), Failure> {
        // SSM takes tags or Overwrite, never both; nearly always the parameter is new, so the tags go first.
        match self.put(cluster, instance, arn, value, false).await {
            Err(error) if error.code == "ParameterAlreadyExists" => self.put(cluster, instance, arn, value, true).await?,
            other => other?,
        }
        Ok(())
    }

    async fn put(
        &self,
        cluster: &str,
        instance: &InstanceId,
        arn: Option<&str>,
        value: &SecretString,
        overwrite: bool,
    ) -> Result<(), CallError> {
        let name = format!("{}/{instance}", folder(cluster));
        let pairs = [(tags::CLUSTER, Some(cluster)), (tags::INSTANCE_ARN, arn)];
        let tags = pairs.into_iter().filter_map(|(key, text)| types::Tag::builder().key(key).value(text?).build().ok()).collect();
        let call = self
            .client
            .put_parameter()
            .name(&name)
            .value(value.expose_secret())
            .r#type(types::ParameterType::SecureString)
            // Standard (free) up to 4 KB, Advanced above; an explicit tier could not be lowered by a later, shorter secret.
            .tier(types::ParameterTier::IntelligentTiering)
            .overwrite(overwrite)
            .set_tags((!overwrite).then_some(tags));
        let what = format!("store the secret {name}");
        self.probe.call_hiding("ssm.PutParameter", &what, Some(value.expose_secret()), call.send()).await.map(drop)
    }

    /// Deletes the boxes' secrets. Missing ones are done: the box deletes its own after reading it.
    pub async fn delete_secrets(&self, cluster: &str, ids: &[InstanceId]) -> Outcome {
        let (mut done, mut failed) = (Vec::new(), Vec::new());
        for batch in ids.chunks(BATCH) {
            let names = batch.iter().map(|id| format!("{}/{id}", folder(cluster))).collect();
            let what = format!("delete {} secrets of cluster {cluster}", batch.len());
            let call = self.client.delete_parameters().set_names(Some(names));
            match self.probe.call("ssm.DeleteParameters", &what, call.send()).await {
                Ok(_) => done.extend_from_slice(batch),
                Err(error) => failed.extend(batch.iter().map(|id| (id.clone(), error.failure.clone()))),
            }
        }
        Outcome::Batch { done, failed }
    }

    /// The boxes that a secret lies ready for. A page that fails fails the listing.
    ///
    /// By DescribeParameters, not GetParametersByPath: 50 to a page instead of 10, so a fifth of the calls, and the
    /// secrets themselves stay where they are.
    pub async fn list_secrets(&self, cluster: &str) -> Outcome {
        match self.pages(cluster).await {
            Ok(ids) => Outcome::Swept(Swept::Secrets(ids)),
            Err(failure) => Outcome::Failed(failure),
        }
    }

    async fn pages(&self, cluster: &str) -> Result<Vec<InstanceId>, Failure> {
        let folder = folder(cluster);
        let what = format!("list the secrets under {folder}");
        let filter = types::ParameterStringFilter::builder().key("Path").option("OneLevel").values(&folder).build();
        let filter = filter.map_err(|error| Failure::new(FailureKind::Refused, format!("{what}: {error}")))?;
        let mut ids = Vec::new();
        let mut next = None;
        for _ in 0..PAGES {
            let call = self.client.describe_parameters().parameter_filters(filter.clone()).max_results(PAGE).set_next_token(next);
            let answer = self.probe.call("ssm.DescribeParameters", &what, call.send()).await?;
            let names = answer.parameters().iter().filter_map(|parameter| parameter.name());
            ids.extend(names.filter_map(|name| name.strip_prefix(&folder)?.strip_prefix('/')).map(InstanceId::from));
            next = answer.next_token().filter(|token| !token.is_empty()).map(str::to_owned);
            if next.is_none() {
                return Ok(ids);
            }
        }
        Err(Failure::new(FailureKind::Refused, format!("{what}: no end after {PAGES} pages")))
    }

    /// Keeps that an operator paused a pool (None: forgets it), as `/muster/<cluster>/paused/<pool>`: no secret, so a plain String.
    pub async fn keep_pause(&self, cluster: &str, pool: &PoolName, pause: Option<&Pause>) -> Result<(), Failure> {
        let name = format!("{}/{pool}", paused_folder(cluster));
        let Some(pause) = pause else {
            let call = self.client.delete_parameters().names(&name);
            self.probe.call("ssm.DeleteParameters", &format!("forget the pause {name}"), call.send()).await?;
            return Ok(());
        };
        let what = format!("keep the pause {name}");
        let value =
            serde_json::to_string(pause).map_err(|error| Failure::new(FailureKind::Refused, format!("{what}: {error}")))?;
        let call = self.client.put_parameter().name(&name).value(value).r#type(types::ParameterType::String).overwrite(true);
        self.probe.call("ssm.PutParameter", &what, call.send()).await?;
        Ok(())
    }

    /// The pools that are paused, as [`Ssm::keep_pause`] left them. One that cannot be read is a pause without words.
    pub async fn paused(&self, cluster: &str) -> Result<BTreeMap<PoolName, Pause>, Failure> {
        let folder = paused_folder(cluster);
        let what = format!("read which pools are paused, under {folder}");
        let mut paused = BTreeMap::new();
        let mut next = None;
        for _ in 0..PAGES {
            let call = self.client.get_parameters_by_path().path(&folder).set_next_token(next);
            let answer = self.probe.call("ssm.GetParametersByPath", &what, call.send()).await?;
            for parameter in answer.parameters() {
                let Some(pool) = parameter.name().and_then(|name| name.strip_prefix(&folder)?.strip_prefix('/')) else {
                    continue;
                };
                let pause = parameter.value().and_then(|value| serde_json::from_str(value).ok());
                paused.insert(PoolName::from(pool), pause.unwrap_or(Pause { since: Time::ZERO, why: String::new() }));
            }
            next = answer.next_token().filter(|token| !token.is_empty()).map(str::to_owned);
            if next.is_none() {
                return Ok(paused);
            }
        }
        Err(Failure::new(FailureKind::Refused, format!("{what}: no end after {PAGES} pages")))
    }

    /// The decrypted value of any parameter, for `ssm:` references in manifests.
    pub async fn get(&self, name: &str) -> Result<SecretString, Failure> {
        let what = format!("read the parameter {name}");
        let call = self.client.get_parameter().name(name).with_decryption(true);
        let answer = self.probe.call("ssm.GetParameter", &what, call.send()).await?;
        let value = answer.parameter.and_then(|parameter| parameter.value);
        value.map(SecretString::from).ok_or_else(|| Failure::new(FailureKind::Refused, format!("{what}: it holds no value")))
    }
}

/// Where it is kept which pools are paused.
fn paused_folder(cluster: &str) -> String {
    format!("/muster/{cluster}/paused")
}

/// Where a cluster's JIT secrets lie. IAM policies name the same path.
fn folder(cluster: &str) -> String {
    format!("/muster/{cluster}/runners")
}
