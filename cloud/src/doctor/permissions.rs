//! Whether the caller may do what the controller does. EC2 can be asked without an effect (`DryRun`), and calls that only read
//! are made. For the other calls, the finding says that they were not checked.
//! <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateFleet.html>

use aws_sdk_ec2::types;
use muster_reconciler::effect::Launch;
use muster_reconciler::failure::Failure;
use muster_reconciler::ids::PoolName;
use muster_reconciler::manifest::{MarketPolicy, Spec};
use muster_reconciler::market::{Market, Offering};
use muster_reconciler::tags;

use super::finding::{Complaints, Finding, way_out};
use super::look::{DryRun, Look};
use super::templates::{Template, TemplateLook};
use crate::aws::Ssm;
use crate::aws::ec2;

/// Tries, as dry runs, the launch that a controller would ask for first: the fleet, and the instance that EC2 then launches in
/// the caller's name.
pub(super) async fn launch(look: &Look, spec: &Spec, pool: &PoolName, seen: &TemplateLook) -> Vec<Finding> {
    let check = format!("permission to launch {pool}");
    if *seen == TemplateLook::Missing {
        let next = "mend the launch template first";
        return vec![Finding::unchecked(check, "without a launch template there is nothing to try", next)];
    }
    let Some(launch) = trial(spec, pool) else { return Vec::new() };
    let mut tried = Vec::new();
    let call = ec2::fleet(&look.ec2, &launch).dry_run(true);
    let what = format!("try to launch for pool {pool}");
    tried.push(("ec2:CreateFleet", DryRun::of(look.probe.call("ec2.CreateFleet", &what, call.send()).await)));
    if let TemplateLook::There(template) = seen {
        let run = DryRun::of(look.probe.call("ec2.RunInstances", &what, instance(look, &launch, template).send()).await);
        tried.push(("ec2:RunInstances", run));
    }
    vec![judge(check, tried)]
}

fn trial(spec: &Spec, pool: &PoolName) -> Option<Launch> {
    let instance = &spec.pools.get(pool)?.spec.instance;
    let subnets = |t: &String| {
        let of = |s: &String| Offering { instance_type: t.as_str().into(), subnet: s.as_str().into() };
        instance.subnets.iter().map(of).collect::<Vec<_>>()
    };
    let offerings: Vec<Offering> = instance.types.iter().flat_map(subnets).collect();
    let market = if instance.market == MarketPolicy::OnDemand { Market::OnDemand } else { Market::Spot };
    Launch::of(spec, pool, "doctor".into(), 1, market, &offerings)
}

/// The call for one of the fleet's instances. IAM checks iam:PassRole and the tags with this call.
/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_RunInstances.html>
fn instance(
    look: &Look,
    launch: &Launch,
    template: &Template,
) -> aws_sdk_ec2::operation::run_instances::builders::RunInstancesFluentBuilder {
    let specification =
        types::LaunchTemplateSpecification::builder().launch_template_name(&launch.template).version("$Default").build();
    let of_fleets = |said: &types::TagSpecification| said.resource_type() == Some(&types::ResourceType::Fleet);
    let tags = ec2::tag_specifications(&launch.tags).into_iter().filter(|said| !of_fleets(said)).collect();
    let call =
        look.ec2.run_instances().launch_template(specification).min_count(1).max_count(1).set_tag_specifications(Some(tags));
    let Some(offering) = launch.offerings.first() else { return call.dry_run(true) };
    let call = call.instance_type(types::InstanceType::from(&*offering.instance_type)).dry_run(true);
    if template.interfaces {
        let interface =
            types::InstanceNetworkInterfaceSpecification::builder().device_index(0).subnet_id(&*offering.subnet).build();
        call.network_interfaces(interface)
    } else {
        call.subnet_id(&*offering.subnet)
    }
}

/// Tries, on one instance of the cluster, what the controller does to instances: sweep, terminate and drain.
pub(super) async fn instances(look: &Look, cluster: &str) -> Vec<Finding> {
    let filter = types::Filter::builder().name(format!("tag:{}", tags::CLUSTER)).values(cluster).build();
    let alive = types::Filter::builder().name("instance-state-name").values("running").values("pending").build();
    let call = look.ec2.describe_instances().filters(filter).filters(alive).max_results(5);
    let check = "permission to sweep";
    let answer =
        look.probe.call("ec2.DescribeInstances", &format!("look for an instance of cluster {cluster}"), call.send()).await;
    let found = match answer {
        Ok(answer) => answer.reservations().iter().flat_map(|r| r.instances()).find_map(|i| i.instance_id().map(str::to_owned)),
        Err(error) => return vec![Finding::call_failed(check, &error.failure, "ec2:DescribeInstances", "see EC2's message")],
    };
    let sweep = Finding::ok(check, "ec2:DescribeInstances");
    let check = "permission to end instances";
    let Some(id) = found else {
        let seen =
            "ec2:TerminateInstances, ec2:CreateTags: they hang on the instance's tag, and there is no instance to try them on";
        return vec![sweep, Finding::unchecked(check, seen, "run doctor again when an instance runs")];
    };
    let end = look.ec2.terminate_instances().instance_ids(&id).dry_run(true);
    let end = look.probe.call("ec2.TerminateInstances", &format!("try to end {id}"), end.send()).await;
    let tag = types::Tag::builder().key(tags::DRAIN).value("doctor").build();
    let drain = look.ec2.create_tags().resources(&id).tags(tag).dry_run(true);
    let drain = look.probe.call("ec2.CreateTags", &format!("try to drain {id}"), drain.send()).await;
    let tried = vec![("ec2:TerminateInstances", DryRun::of(end)), ("ec2:CreateTags", DryRun::of(drain))];
    vec![sweep, judge(check.into(), tried)]
}

fn judge(check: String, tried: Vec<(&str, DryRun)>) -> Finding {
    let mut marks = Complaints::default();
    for (action, run) in tried {
        match run {
            DryRun::Allowed => marks.fact(action),
            DryRun::Refused(failure) => {
                marks.fail(format!("{action} is refused: {}", failure.message), way_out(&failure, action, ""));
            }
            DryRun::Other(failure) => {
                let next = "mend what EC2 complains of: a launch would meet it too";
                marks.fail(failure.message.clone(), way_out(&failure, action, next));
            }
        }
    }
    marks.finding(check)
}

/// Reads the parameters that a controller reads at its start and in its sweeps.
pub(super) async fn parameters(ssm: &Ssm, cluster: &str) -> Vec<Finding> {
    let (paused, secrets) = tokio::join!(ssm.paused(cluster), ssm.list_secrets(cluster));
    let said = |failure: &Failure, action: &str| {
        Finding::call_failed(format!("permission {action}"), failure, action, "see what SSM says of /muster in this account")
    };
    let paused = match paused {
        Ok(paused) if paused.is_empty() => Finding::ok("permission ssm:GetParametersByPath", "no pool is paused"),
        Ok(paused) => {
            let names: Vec<String> = paused.keys().map(ToString::to_string).collect();
            let seen = format!("paused by an operator: {}", names.join(", "));
            Finding::warning("permission ssm:GetParametersByPath", seen, "`muster resume pool/NAME`, when they may launch again")
        }
        Err(failure) => said(&failure, "ssm:GetParametersByPath"),
    };
    let secrets = match secrets {
        muster_reconciler::effect::Outcome::Failed(failure) => said(&failure, "ssm:DescribeParameters"),
        _ => Finding::ok("permission ssm:DescribeParameters", format!("/muster/{cluster}/runners")),
    };
    vec![paused, secrets]
}

/// The finding about permissions that cannot be tried without an effect.
pub(super) fn untried() -> Finding {
    let seen = "sqs:SendMessage, sqs:ReceiveMessage, sqs:DeleteMessage, sqs:ChangeMessageVisibility, ssm:PutParameter, \
                ssm:AddTagsToResource, ssm:DeleteParameters, s3:PutObject and s3:DeleteObject cannot be tried without doing it";
    let next = "compare with terraform/modules/controller/policies.tf; what is refused, `muster run` logs with its action";
    Finding::unchecked("other permissions", seen, next)
}

#[cfg(test)]
mod tests {
    use muster_reconciler::failure::FailureKind;

    use super::super::finding::Verdict;
    use super::*;

    #[test]
    fn a_refused_action_is_named() {
        let said = "try to launch: UnauthorizedOperation: You are not authorized";
        let refused = || Failure { code: Some("UnauthorizedOperation".into()), ..Failure::new(FailureKind::Refused, said) };
        let all = judge("p".into(), vec![("ec2:CreateFleet", DryRun::Allowed), ("ec2:RunInstances", DryRun::Allowed)]);
        assert_eq!(all, Finding::ok("p", "ec2:CreateFleet, ec2:RunInstances"));
        let one = judge("p".into(), vec![("ec2:CreateFleet", DryRun::Allowed), ("ec2:RunInstances", DryRun::Refused(refused()))]);
        assert!(one.verdict == Verdict::Failed && one.seen.starts_with("ec2:RunInstances is refused"), "{one:?}");
        assert!(one.next.is_some_and(|next| next.starts_with("allow ec2:RunInstances")));
        let odd = Failure::new(FailureKind::NotFound, "try to launch: InvalidSubnetID.NotFound: no such subnet");
        let odd = judge("p".into(), vec![("ec2:CreateFleet", DryRun::Other(odd))]);
        assert!(odd.verdict == Verdict::Failed && odd.next.is_some_and(|next| next.contains("EC2 complains")));
    }
}
