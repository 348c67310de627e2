//! SSM parameters: the secret of each instance, which only that instance may read; which pools are paused; and the secrets that
//! manifests refer to.

use std::collections::BTreeMap;

use aws_config::SdkConfig;
use aws_sdk_ssm::Client;
use aws_sdk_ssm::types;
use muster_reconciler::effect::{Outcome, Swept};
use muster_reconciler::failure::{Failure, FailureKind};
use muster_reconciler::ids::{InstanceId, PoolName};
use muster_reconciler::reason::count;
use muster_reconciler::steer::Pause;
use muster_reconciler::tags;
use muster_reconciler::time::Time;
use secrecy::{ExposeSecret as _, SecretString};

use super::{CallError, Probe};

/// The most names in one DeleteParameters call.
const BATCH: usize = 10;
/// The most parameters on one page of DescribeParameters.
const PAGE: i32 = 50;
/// The most pages of one listing. With 50 parameters on a page, they hold ten times what SSM stores without a raised quota.
const PAGES: usize = 2_000;

/// The secret of one instance.
#[derive(Clone, Copy, Debug)]
pub struct InstanceSecret<'a> {
    /// The cluster's name.
    pub cluster: &'a str,
    /// The instance that the secret is for.
    pub instance: &'a InstanceId,
    /// The instance's ARN (see [`super::ec2::arn_of`]), by which IAM knows the only reader.
    pub arn: Option<&'a str>,
    /// The ARN of the KMS key that encrypts the secret. None: the account's key `aws/ssm`, which whoever may read the parameter
    /// may use.
    pub key: Option<&'a str>,
    /// What is stored, 8 KB at most.
    pub value: &'a SecretString,
}

/// The adapter for SSM. A clone is cheap.
#[derive(Clone, Debug)]
pub struct Ssm {
    client: Client,
    pub(super) probe: Probe,
}

impl Ssm {
    pub(super) fn new(config: &SdkConfig, probe: Probe) -> Ssm {
        Ssm { client: Client::new(config), probe }
    }

    /// Stores an instance's secret as the SecureString `/muster/<cluster>/runners/<instance-id>`. The parameter is tagged with the
    /// instance's ARN, so that IAM lets that instance alone read and delete it. An older secret of the instance is replaced.
    pub async fn put_secret(&self, secret: InstanceSecret<'_>) -> Result<(), Failure> {
        // SSM takes either tags or Overwrite in one call. The parameter is nearly always new, so the first call has the tags.
        match self.put(secret, false).await {
            Err(error) if error.code == "ParameterAlreadyExists" => self.put(secret, true).await?,
            other => other?,
        }
        Ok(())
    }

    async fn put(&self, secret: InstanceSecret<'_>, overwrite: bool) -> Result<(), CallError> {
        let InstanceSecret { cluster, instance, arn, key, value } = secret;
        let name = format!("{}/{instance}", folder(cluster));
        let pairs = [(tags::CLUSTER, Some(cluster)), (tags::INSTANCE_ARN, arn)];
        let tags = pairs.into_iter().filter_map(|(key, text)| types::Tag::builder().key(key).value(text?).build().ok()).collect();
        let call = self
            .client
            .put_parameter()
            .name(&name)
            .value(value.expose_secret())
            .r#type(types::ParameterType::SecureString)
            .set_key_id(key.map(str::to_owned))
            // A standard parameter is free and holds 4 KB. Above 4 KB, SSM makes the parameter an advanced one. The tier is not
            // given here, because an advanced parameter could not go back to standard for a later, shorter secret.
            .tier(types::ParameterTier::IntelligentTiering)
            .overwrite(overwrite)
            .set_tags((!overwrite).then_some(tags));
        let what = format!("store the secret {name}");
        self.probe.call_hiding("ssm.PutParameter", &what, Some(value.expose_secret()), call.send()).await.map(drop)
    }

    /// Deletes the instances' secrets. A missing secret counts as deleted, because an instance deletes its own secret after
    /// reading it.
    pub async fn delete_secrets(&self, cluster: &str, ids: &[InstanceId]) -> Outcome {
        let (mut done, mut failed) = (Vec::new(), Vec::new());
        for batch in ids.chunks(BATCH) {
            let names = batch.iter().map(|id| format!("{}/{id}", folder(cluster))).collect();
            let what = format!("delete {} of cluster {cluster}", count(batch.len(), "secret"));
            let call = self.client.delete_parameters().set_names(Some(names));
            match self.probe.call("ssm.DeleteParameters", &what, call.send()).await {
                Ok(_) => done.extend_from_slice(batch),
                Err(error) => failed.extend(batch.iter().map(|id| (id.clone(), error.failure.clone()))),
            }
        }
        Outcome::Batch { done, failed }
    }

    /// The instances whose secret is stored. If one page fails, the whole listing fails.
    ///
    /// The call is DescribeParameters, and not GetParametersByPath, for two reasons. A page holds 50 parameters instead of 10, so
    /// a listing needs a fifth of the calls. And the answer does not contain the secrets.
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

    /// Stores that an operator paused a pool, as the parameter `/muster/<cluster>/paused/<pool>`. With None, the parameter is
    /// deleted. A pause is no secret, so its type is String.
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

    /// The pools that are paused, as [`Ssm::keep_pause`] stored them. A parameter that cannot be read counts as a pause without a
    /// reason, whose start is time zero.
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

    /// The decrypted value of any parameter. References of the form `ssm:` in manifests need it.
    pub async fn get(&self, name: &str) -> Result<SecretString, Failure> {
        let what = format!("read the parameter {name}");
        let call = self.client.get_parameter().name(name).with_decryption(true);
        let answer = self.probe.call("ssm.GetParameter", &what, call.send()).await?;
        let value = answer.parameter.and_then(|parameter| parameter.value);
        value.map(SecretString::from).ok_or_else(|| Failure::new(FailureKind::Refused, format!("{what}: it holds no value")))
    }
}

/// The folder of the parameters that say which pools are paused.
fn paused_folder(cluster: &str) -> String {
    format!("/muster/{cluster}/paused")
}

/// The folder of a cluster's runner secrets. The IAM policies name the same path.
fn folder(cluster: &str) -> String {
    format!("/muster/{cluster}/runners")
}
