//! EC2: launches, sweeps, terminations and drains. A launch is one CreateFleet call for its intent. A sweep is one paginated
//! DescribeInstances for all pools.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_ec2::Client;
use aws_sdk_ec2::operation::create_fleet::builders::CreateFleetFluentBuilder;
use aws_sdk_ec2::types;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use muster_reconciler::effect::{InstanceSighting, Launch, Launched, LaunchedInstance, Outcome, Swept};
use muster_reconciler::event::InstanceState;
use muster_reconciler::failure::{Failure, FailureKind, OfferingError};
use muster_reconciler::ids::{InstanceId, ListId};
use muster_reconciler::manifest::Allocation;
use muster_reconciler::market::Market;
use muster_reconciler::refusal::Refusal;
use muster_reconciler::stage::Stage;
use muster_reconciler::tags;
use muster_reconciler::time::Time;
use muster_reconciler::verdict::Cause;
use muster_reconciler::versions;

use super::{CallError, Probe};

/// Instances in one TerminateInstances or CreateTags call. AWS admits 1,000 and advises fewer.
const BATCH: usize = 500;
/// The most pages of one sweep: a million instances. The limit ends a sweep whose page tokens go round in a circle.
const PAGES: usize = 1_000;

/// The adapter for EC2. A clone is cheap.
#[derive(Clone, Debug)]
pub struct Ec2 {
    client: Client,
    pub(super) probe: Probe,
    page: i32,
}

impl Ec2 {
    pub(super) fn new(config: &SdkConfig, probe: Probe) -> Ec2 {
        Ec2 { client: Client::new(config), probe, page: 1_000 }
    }

    /// Sets the instances on a page of a sweep, 5..=1,000. The default is 1,000. Smaller pages let tests see several pages.
    pub fn with_page(mut self, page: i32) -> Ec2 {
        self.page = page;
        self
    }

    /// Makes one CreateFleet call of type `instant`. The same launch gives the same bytes, so a repeated call for an intent
    /// launches nothing twice.
    /// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateFleet.html>
    pub async fn launch(&self, launch: &Launch) -> Outcome {
        let what = format!("launch {} for pool {}", launch.count, launch.pool);
        let call = fleet(&self.client, launch);
        match self.probe.call("ec2.CreateFleet", &what, call.send()).await {
            Ok(answer) => Outcome::Launched(Launched {
                instances: answer.instances().iter().flat_map(|fleet| launched(fleet, launch.market)).collect(),
                errors: answer.errors().iter().map(offering_error).collect(),
            }),
            Err(error) => refused(error),
        }
    }

    /// Finds every instance that has the cluster's tag, in any state. If one page fails, the whole sweep fails, because half a
    /// sweep proves nothing.
    pub async fn sweep(&self, cluster: &str) -> Outcome {
        match self.pages(cluster).await {
            Ok(instances) => Outcome::Swept(Swept::Instances(instances)),
            Err(failure) => Outcome::Failed(failure),
        }
    }

    async fn pages(&self, cluster: &str) -> Result<Vec<InstanceSighting>, Failure> {
        let filter = types::Filter::builder().name(format!("tag:{}", tags::CLUSTER)).values(cluster).build();
        let mut seen = Vec::new();
        let mut next = None;
        for page in 1..=PAGES {
            let call = self.client.describe_instances().filters(filter.clone()).max_results(self.page).set_next_token(next);
            let what = format!("sweep the instances of cluster {cluster}, page {page}");
            let answer = self.probe.call("ec2.DescribeInstances", &what, call.send()).await?;
            seen.extend(answer.reservations().iter().flat_map(|reservation| reservation.instances()).filter_map(sighting));
            next = answer.next_token().filter(|token| !token.is_empty()).map(str::to_owned);
            if next.is_none() {
                return Ok(seen);
            }
        }
        let message = format!("sweep the instances of cluster {cluster}: no end after {PAGES} pages");
        Err(Failure::new(FailureKind::Refused, message))
    }

    /// Why an instance ended, as its boot script wrote it to the console: the text after the last `muster: ended: `. EC2 keeps a
    /// console for an hour after the instance is terminated. None: the console has no such line, or there is no console yet.
    /// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_GetConsoleOutput.html>
    pub async fn ended(&self, id: &InstanceId) -> Result<Option<String>, Failure> {
        let call = self.client.get_console_output().instance_id(id.as_str());
        let answer = self.probe.call("ec2.GetConsoleOutput", &format!("read the console of {id}"), call.send()).await?;
        let bytes = BASE64_STANDARD.decode(answer.output().unwrap_or_default().trim()).unwrap_or_default();
        Ok(last_reason(&String::from_utf8_lossy(&bytes)))
    }

    /// Terminates the instances. An instance that does not exist counts as done. If EC2 refuses to end one instance, because of
    /// termination protection for example, only that instance fails.
    pub async fn terminate(&self, ids: &[InstanceId]) -> Outcome {
        self.in_batches(ids, InstanceChange::Terminate).await
    }

    /// Tags the instances with `muster:drain`. `value` says why, in 256 characters at most; the rest is cut off. An instance that
    /// does not exist counts as done.
    pub async fn drain(&self, ids: &[InstanceId], value: &str) -> Outcome {
        let value: String = value.chars().take(256).collect();
        self.in_batches(ids, InstanceChange::Drain(&value)).await
    }

    /// Changes all instances, some hundreds in a call. EC2 refuses a whole call because of one bad id, and usually names that id.
    /// The named ids are set aside, and the others are sent again. If EC2 names no id, the batch is cut in halves, and each half
    /// is sent. So one bad id costs a few calls, but not the whole batch.
    async fn in_batches(&self, ids: &[InstanceId], change: InstanceChange<'_>) -> Outcome {
        let (mut done, mut failed) = (Vec::new(), Vec::new());
        let mut work: Vec<Vec<InstanceId>> = ids.chunks(BATCH).rev().map(<[InstanceId]>::to_vec).collect();
        while let Some(batch) = work.pop() {
            let Err(error) = self.change(&batch, change).await else {
                done.extend(batch);
                continue;
            };
            let (bad, rest) = match blamed(&error, batch) {
                Blame::All(batch) => (batch, Vec::new()),
                Blame::Some(bad, rest) => (bad, rest),
                Blame::Unknown(mut first) => {
                    let second = first.split_off(first.len() / 2);
                    work.extend([second, first]);
                    continue;
                }
            };
            match error.failure.kind {
                FailureKind::NotFound => done.extend(bad),
                _ => failed.extend(bad.into_iter().map(|id| (id, error.failure.clone()))),
            }
            if !rest.is_empty() {
                work.push(rest);
            }
        }
        Outcome::Batch { done, failed }
    }

    async fn change(&self, batch: &[InstanceId], change: InstanceChange<'_>) -> Result<(), CallError> {
        let ids = Some(batch.iter().map(|id| id.as_str().to_owned()).collect());
        let whom = match batch {
            [only] => only.to_string(),
            _ => format!("{} instances", batch.len()),
        };
        match change {
            InstanceChange::Terminate => {
                let call = self.client.terminate_instances().set_instance_ids(ids);
                self.probe.call("ec2.TerminateInstances", &format!("terminate {whom}"), call.send()).await.map(drop)
            }
            InstanceChange::Drain(why) => {
                let tag = types::Tag::builder().key(tags::DRAIN).value(why).build();
                let call = self.client.create_tags().set_resources(ids).tags(tag);
                self.probe.call("ec2.CreateTags", &format!("tag {whom} for draining"), call.send()).await.map(drop)
            }
        }
    }
}

/// What is done to a batch of instances.
#[derive(Clone, Copy)]
enum InstanceChange<'a> {
    Terminate,
    Drain(&'a str),
}

/// The ARN of an instance, for conditions in IAM policies. The account is read from the queue's URL
/// (`https://sqs.<region>.amazonaws.com/<account>/<name>`), which saves a call to STS. None: the URL has no account in it.
pub fn arn_of(queue_url: &str, region: &str, id: &InstanceId) -> Option<String> {
    let account = queue_url.rsplit('/').nth(1)?;
    if account.len() != 12 || !account.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let partitions = [
        ("cn-", "aws-cn"),
        ("us-gov-", "aws-us-gov"),
        ("us-isob-", "aws-iso-b"),
        ("us-isof-", "aws-iso-f"),
        ("us-iso-", "aws-iso"),
        ("eu-isoe-", "aws-iso-e"),
        ("eusc-", "aws-eusc"),
    ];
    let partition = partitions.iter().find(|(start, _)| region.starts_with(start)).map_or("aws", |(_, partition)| partition);
    Some(format!("arn:{partition}:ec2:{region}:{account}:instance/{id}"))
}

/// Which instances are the cause that EC2 refused a batch.
enum Blame {
    /// Every instance of the batch.
    All(Vec<InstanceId>),
    /// The first list has the instances that are the cause. The second has the others.
    Some(Vec<InstanceId>, Vec<InstanceId>),
    /// At least one instance of the batch, but EC2 did not say which.
    Unknown(Vec<InstanceId>),
}

fn blamed(error: &CallError, batch: Vec<InstanceId>) -> Blame {
    let of_a_member = error.code.starts_with("InvalidInstanceID")
        || ["InvalidID", "OperationNotPermitted", "IncorrectInstanceState"].contains(&error.code.as_str());
    if !of_a_member || batch.len() == 1 {
        return Blame::All(batch);
    }
    // `error.said` is read here, because the failure's own message is cut: of hundreds of ids it would hold only the first.
    let named =
        |id: &InstanceId| error.said.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').any(|word| word == id.as_str());
    match batch.into_iter().partition::<Vec<_>, _>(named) {
        (bad, rest) if bad.is_empty() => Blame::Unknown(rest),
        (bad, rest) => Blame::Some(bad, rest),
    }
}

/// The CreateFleet request of a launch. The same launch gives the same bytes.
pub(crate) fn fleet(client: &Client, launch: &Launch) -> CreateFleetFluentBuilder {
    let count = i32::try_from(launch.count).unwrap_or(i32::MAX);
    let specification = types::FleetLaunchTemplateSpecificationRequest::builder()
        .launch_template_name(&launch.template)
        .version("$Default")
        .build();
    let config = types::FleetLaunchTemplateConfigRequest::builder()
        .launch_template_specification(specification)
        .set_overrides(Some(overrides(launch)))
        .build();
    let target = types::TargetCapacitySpecificationRequest::builder().total_target_capacity(count);
    let call = client
        .create_fleet()
        .r#type(types::FleetType::Instant)
        .client_token(launch.intent.as_str())
        .launch_template_configs(config)
        .set_tag_specifications(Some(tag_specifications(&launch.tags)));
    match launch.market {
        Market::Spot => call
            .spot_options(types::SpotOptionsRequest::builder().allocation_strategy(spot_strategy(launch.allocation)).build())
            .target_capacity_specification(target.default_target_capacity_type(types::DefaultTargetCapacityType::Spot).build()),
        Market::OnDemand => call
            .on_demand_options(
                types::OnDemandOptionsRequest::builder()
                    .allocation_strategy(types::FleetOnDemandAllocationStrategy::LowestPrice)
                    .build(),
            )
            .target_capacity_specification(
                target.default_target_capacity_type(types::DefaultTargetCapacityType::OnDemand).build(),
            ),
    }
}

/// The launch's offerings. With the prioritised strategy, each offering has the rank of its instance type as its priority. With
/// any other strategy there are no priorities, because EC2 does not take them.
fn overrides(launch: &Launch) -> Vec<types::FleetLaunchTemplateOverridesRequest> {
    let ranked = launch.market == Market::Spot && launch.allocation == Allocation::CapacityOptimizedPrioritized;
    let mut order: Vec<&str> = Vec::new();
    let mut rank = |instance_type| {
        order.iter().position(|known| *known == instance_type).unwrap_or_else(|| {
            order.push(instance_type);
            order.len() - 1
        })
    };
    let offerings = launch.offerings.iter();
    offerings
        .map(|offering| {
            let rank = ranked.then(|| rank(&*offering.instance_type) as f64);
            types::FleetLaunchTemplateOverridesRequest::builder()
                .instance_type(types::InstanceType::from(&*offering.instance_type))
                .subnet_id(&*offering.subnet)
                .set_priority(rank)
                .build()
        })
        .collect()
}

/// The tags of a launch, once for each of the three resource types that CreateFleet tags for an instant fleet.
pub(crate) fn tag_specifications(tags: &BTreeMap<String, String>) -> Vec<types::TagSpecification> {
    let tags: Vec<_> = tags.iter().map(|(key, value)| types::Tag::builder().key(key).value(value).build()).collect();
    [types::ResourceType::Instance, types::ResourceType::Volume, types::ResourceType::Fleet]
        .map(|kind| types::TagSpecification::builder().resource_type(kind).set_tags(Some(tags.clone())).build())
        .into()
}

fn spot_strategy(allocation: Allocation) -> types::SpotAllocationStrategy {
    match allocation {
        Allocation::PriceCapacityOptimized => types::SpotAllocationStrategy::PriceCapacityOptimized,
        Allocation::CapacityOptimized => types::SpotAllocationStrategy::CapacityOptimized,
        Allocation::CapacityOptimizedPrioritized => types::SpotAllocationStrategy::CapacityOptimizedPrioritized,
        Allocation::LowestPrice => types::SpotAllocationStrategy::LowestPrice,
        Allocation::Diversified => types::SpotAllocationStrategy::Diversified,
    }
}

/// What a CreateFleet request that EC2 refused as a whole means. EC2 sometimes refuses the whole because it cannot launch any of
/// the offerings (for a lack of capacity, for example), instead of naming each of them. Such a refusal becomes one error of no
/// named offering. Any other refusal is a failure.
fn refused(error: CallError) -> Outcome {
    if !Refusal::known(&error.code).is_some_and(Refusal::of_offerings) {
        return Outcome::Failed(error.failure);
    }
    let (code, message) = (error.code, error.failure.message);
    let errors = vec![OfferingError { instance_type: None, subnet: None, code, message }];
    Outcome::Launched(Launched { instances: Vec::new(), errors })
}

fn launched(fleet: &types::CreateFleetInstance, asked: Market) -> impl Iterator<Item = LaunchedInstance> + '_ {
    let (override_type, override_subnet) = offering(fleet.launch_template_and_overrides());
    let instance_type =
        fleet.instance_type().map(|said| said.as_str().into()).or(override_type).unwrap_or_else(|| "unknown".into());
    let subnet = override_subnet.or_else(|| fleet.subnet_id().map(Arc::from));
    let market = match fleet.lifecycle() {
        Some(types::InstanceLifecycle::Spot) => Market::Spot,
        Some(_) => Market::OnDemand,
        None => asked,
    };
    fleet.instance_ids().iter().map(move |id| LaunchedInstance {
        id: id.as_str().into(),
        instance_type: instance_type.clone(),
        subnet: subnet.clone(),
        market,
    })
}

fn offering_error(error: &types::CreateFleetError) -> OfferingError {
    let (instance_type, subnet) = offering(error.launch_template_and_overrides());
    OfferingError {
        instance_type,
        subnet,
        code: error.error_code().unwrap_or("Unknown").to_owned(),
        message: super::plain(error.error_message().unwrap_or_default()),
    }
}

fn offering(said: Option<&types::LaunchTemplateAndOverridesResponse>) -> (Option<Arc<str>>, Option<Arc<str>>) {
    let said = said.and_then(|said| said.overrides());
    (said.and_then(|o| o.instance_type()).map(|t| t.as_str().into()), said.and_then(|o| o.subnet_id()).map(Arc::from))
}

/// The reason in the console's last `muster: ended: ` line. Whoever runs code on the instance can write to the console. So the
/// reason is cut to 500 characters, and control characters are removed.
fn last_reason(console: &str) -> Option<String> {
    let (_, reason) = console.lines().rev().find_map(|line| line.split_once("muster: ended: "))?;
    Some(reason.trim().chars().filter(|c| !c.is_control()).take(500).collect())
}

/// EC2's code and message in one text. Most messages begin with their code, which is then not repeated.
/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_StateReason.html>
fn state_reason(code: Option<&str>, message: Option<&str>) -> String {
    match (code.unwrap_or_default(), super::plain(message.unwrap_or_default())) {
        ("", message) => message,
        (code, message) if message.is_empty() => code.to_owned(),
        (code, message) if message.starts_with(code) => message,
        (code, message) => format!("{code}: {message}"),
    }
}

/// What the core needs to know of an instance. None: the instance has no id, which EC2 never does.
fn sighting(instance: &types::Instance) -> Option<InstanceSighting> {
    let tag = |key: &str| instance.tags().iter().find(|tag| tag.key() == Some(key)).map(|tag| tag.value().unwrap_or_default());
    let state = match instance.state().and_then(|state| state.name()) {
        Some(types::InstanceStateName::Pending) => InstanceState::Pending,
        Some(types::InstanceStateName::ShuttingDown) => InstanceState::ShuttingDown,
        Some(types::InstanceStateName::Terminated) => InstanceState::Terminated,
        Some(types::InstanceStateName::Stopping) => InstanceState::Stopping,
        Some(types::InstanceStateName::Stopped) => InstanceState::Stopped,
        // A state that muster does not know counts as running, because muster keeps running instances.
        _ => InstanceState::Running,
    };
    let reason = instance.state_reason().map(|said| state_reason(said.code(), said.message()));
    Some(InstanceSighting {
        id: instance.instance_id()?.into(),
        pool: tag(tags::POOL).unwrap_or_default().into(),
        list_id: tag(tags::LIST).and_then(ListId::parse_tag),
        intent: tag(tags::INTENT).map(Into::into),
        max_lifetime: tag(tags::MAX_LIFETIME).and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs),
        state,
        launched_at: Time::from_millis(
            instance.launch_time().and_then(|at| at.to_millis().ok()).and_then(|ms| u64::try_from(ms).ok()).unwrap_or(0),
        ),
        instance_type: instance.instance_type().map_or("unknown", |t| t.as_str()).into(),
        subnet: instance.subnet_id().map(Arc::from),
        market: match instance.instance_lifecycle() {
            Some(types::InstanceLifecycleType::Spot) => Market::Spot,
            _ => Market::OnDemand,
        },
        draining: tag(tags::DRAIN).is_some(),
        stages: tag(tags::STAGES).map(Stage::parse_tag).unwrap_or_default(),
        own_word: tag(tags::STAGES).and_then(Cause::of_tag),
        runner_version: tag(tags::STAGES).and_then(versions::of_tag),
        state_reason: reason.filter(|text| !text.is_empty()),
    })
}

#[cfg(test)]
mod tests {
    use muster_reconciler::market::Offering;

    use super::*;

    #[test]
    fn the_last_end_on_a_console_is_the_reason() {
        let console = "[ 1.0] boot\r\nmuster: ended: first\r\n[ 9.1] cloud-init[7]: muster: ended: no \u{1b}[31mjob\r\nreboot\n";
        assert_eq!(last_reason(console).as_deref(), Some("no [31mjob"));
        assert_eq!(last_reason("muster: stage script 0.0s"), None);
        assert_eq!(last_reason(&format!("muster: ended: {}", "x".repeat(9_000))).map(|r| r.len()), Some(500));
    }

    #[test]
    fn a_whole_request_refused_for_its_offerings_is_an_answer_and_any_other_a_failure() {
        let said = |code: &str| {
            let failure = Failure::new(FailureKind::Refused, format!("launch: {code}: so it is"));
            refused(CallError { code: code.into(), said: String::new(), status: 400, failure })
        };
        for known in muster_reconciler::refusal::REFUSALS {
            assert_eq!(matches!(said(known.code), Outcome::Launched(_)), known.of_offerings(), "{}", known.code);
        }
        assert!(matches!(said("SomethingNew"), Outcome::Failed(_)), "of nobody knows what");
        assert!(matches!(said("MaxFleetCountExceeded"), Outcome::Launched(l) if l.errors[0].code == "MaxFleetCountExceeded"));
    }

    #[test]
    fn why_an_instance_ended_is_told_with_its_code_once() {
        let said = state_reason(Some("Client.InternalError"), Some("Client.InternalError: Client error on launch"));
        assert_eq!(said, "Client.InternalError: Client error on launch");
        assert_eq!(state_reason(Some("Server.SpotInstanceTermination"), None), "Server.SpotInstanceTermination");
        assert_eq!(state_reason(Some("pending"), Some("so it is")), "pending: so it is");
        assert_eq!(state_reason(None, None), "");
    }

    #[test]
    fn an_instance_arn_needs_an_account_in_the_queue_url() {
        let arn = |url, region| arn_of(url, region, &"i-1".into());
        let said = arn("https://sqs.eu-west-1.amazonaws.com/123456789012/jobs", "eu-west-1");
        assert_eq!(said.as_deref(), Some("arn:aws:ec2:eu-west-1:123456789012:instance/i-1"));
        let said = arn("https://sqs.cn-north-1.amazonaws.com.cn/123456789012/jobs", "cn-north-1");
        assert_eq!(said.as_deref(), Some("arn:aws-cn:ec2:cn-north-1:123456789012:instance/i-1"));
        assert_eq!(arn("http://localhost:4566/queue/jobs", "us-east-1"), None);
        assert_eq!(arn("jobs", "us-east-1"), None);
    }

    #[test]
    fn only_ids_that_ec2_names_in_full_are_blamed() {
        let error = |code: &str, message: &str, kind| CallError {
            code: code.into(),
            said: message.into(),
            status: 400,
            failure: Failure::new(kind, format!("terminate 3 instances: {code}")),
        };
        let batch: Vec<InstanceId> = ["i-0a", "i-0ab", "i-0abc"].map(InstanceId::from).into();
        let missing = error("InvalidInstanceID.NotFound", "The instance IDs 'i-0a, i-0abc' do not exist", FailureKind::NotFound);
        let Blame::Some(bad, rest) = blamed(&missing, batch.clone()) else { panic!("nobody is blamed") };
        assert_eq!((bad, rest), (vec!["i-0a".into(), "i-0abc".into()], vec!["i-0ab".into()]));
        let silent = error("OperationNotPermitted", "one of them is protected", FailureKind::Refused);
        assert!(matches!(blamed(&silent, batch.clone()), Blame::Unknown(all) if all.len() == 3));
        let forbidden = error("UnauthorizedOperation", "no", FailureKind::Refused);
        assert!(matches!(blamed(&forbidden, batch), Blame::All(all) if all.len() == 3));
    }

    #[test]
    fn types_are_ranked_in_their_order_only_where_ec2_takes_priorities() {
        let offer = |t: &str, s: &str| Offering { instance_type: t.into(), subnet: s.into() };
        let mut launch = Launch {
            intent: "1".into(),
            pool: "linux".into(),
            list_id: ListId::default(),
            count: 1,
            template: "prod-linux".into(),
            offerings: vec![offer("m7i.large", "a"), offer("m7i.large", "b"), offer("m6i.large", "a")],
            market: Market::Spot,
            allocation: Allocation::CapacityOptimizedPrioritized,
            tags: BTreeMap::new(),
        };
        let ranks = |launch: &Launch| overrides(launch).iter().map(|o| o.priority()).collect::<Vec<_>>();
        assert_eq!(ranks(&launch), [Some(0.0), Some(0.0), Some(1.0)]);
        launch.allocation = Allocation::PriceCapacityOptimized;
        assert_eq!(ranks(&launch), [None; 3]);
    }
}
