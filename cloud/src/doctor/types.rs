//! Whether EC2 has what the pools ask for: whether it knows the instance types, whether their hypervisor shows a drain to a
//! running instance, and whether the zones of the subnets offer the types. The quotas of these types are checked after that.
//! <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeInstanceTypes.html>

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::types::{Filter, InstanceType, InstanceTypeHypervisor, LocationType};
use muster_reconciler::manifest::{RunnerPool, Spec};
use muster_reconciler::refusal::Refusal;

use super::finding::{Complaints, Finding};
use super::look::Look;
use super::quotas;
use crate::aws::CallError;

/// The most types in one DescribeInstanceTypes call. `PAGES` is the most pages of one list.
const TYPES: usize = 100;
const PAGES: usize = 100;

/// What EC2 says of one instance type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct TypeFacts {
    vcpus: u64,
    xen: bool,
}

pub(super) async fn check(look: &Look, spec: &Spec) -> Vec<Finding> {
    let names: BTreeSet<&String> = spec.pools.values().flat_map(|pool| &pool.spec.instance.types).collect();
    let names: Vec<&String> = names.into_iter().collect();
    let types = match types(look, &names).await {
        Ok(types) => types,
        Err(error) => {
            let next = "take the types that this region lacks out of spec.instance.types";
            return vec![Finding::look_failed("instance types", &error, "ec2:DescribeInstanceTypes", next)];
        }
    };
    let mut found = vec![judge_types(&types)];
    found.extend(zones(look, spec, &names).await);
    let vcpus = types.iter().map(|(name, known)| (name.clone(), known.vcpus)).collect();
    found.extend(quotas::check(look, spec, &vcpus).await);
    found
}

fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

async fn types(look: &Look, names: &[&String]) -> Result<BTreeMap<String, TypeFacts>, CallError> {
    let mut types = BTreeMap::new();
    for some in names.chunks(TYPES) {
        let asked = some.iter().map(|name| InstanceType::from(name.as_str())).collect();
        let call = look.ec2.describe_instance_types().set_instance_types(Some(asked));
        let answer = look.probe.call("ec2.DescribeInstanceTypes", "look at the pools' instance types", call.send()).await?;
        types.extend(answer.instance_types().iter().filter_map(|said| {
            let vcpus = u64::try_from(said.v_cpu_info()?.default_v_cpus()?).ok()?;
            // Bare metal has no hypervisor.
            let xen = said.hypervisor() == Some(&InstanceTypeHypervisor::Xen);
            Some((said.instance_type()?.as_str().to_owned(), TypeFacts { vcpus, xen }))
        }));
    }
    Ok(types)
}

fn judge_types(types: &BTreeMap<String, TypeFacts>) -> Finding {
    let xen: Vec<&str> = types.iter().filter(|(_, known)| known.xen).map(|(name, _)| name.as_str()).collect();
    let mut marks = Complaints::default();
    marks.fact(format!("{}, all known in this region, none on Xen", count(types.len(), "type")));
    if !xen.is_empty() {
        let seen = format!(
            "EC2 runs {} on Xen: AWS has promised only for Nitro that a running instance sees a new tag, and by a tag muster asks a \
             runner to end",
            xen.join(", ")
        );
        marks.fail(seen, "write Nitro types in spec.instance.types");
    }
    marks.finding("instance types")
}

/// Checks which of the pools' types the zones of their subnets do not offer.
async fn zones(look: &Look, spec: &Spec, names: &[&String]) -> Vec<Finding> {
    const CHECK: &str = "types by zone";
    let subnets: BTreeSet<&String> = spec.pools.values().flat_map(|pool| &pool.spec.instance.subnets).collect();
    let zone_of = match zones_of(look, &subnets).await {
        Ok(zone_of) => zone_of,
        Err(error) => {
            let next = "correct spec.instance.subnets";
            return vec![Finding::look_failed(CHECK, &error, "ec2:DescribeSubnets", next)];
        }
    };
    match offered(look, names).await {
        Ok(offered) => spec.pools.iter().map(|(name, pool)| judge_zones(name.as_str(), pool, &zone_of, &offered)).collect(),
        Err(error) => vec![Finding::look_failed(CHECK, &error, "ec2:DescribeInstanceTypeOfferings", "see EC2's message")],
    }
}

/// The availability zone of each subnet.
/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeSubnets.html>
async fn zones_of(look: &Look, subnets: &BTreeSet<&String>) -> Result<BTreeMap<String, String>, CallError> {
    let ids = subnets.iter().map(|id| (*id).clone()).collect();
    let call = look.ec2.describe_subnets().set_subnet_ids(Some(ids));
    let answer = look.probe.call("ec2.DescribeSubnets", "look at the pools' subnets", call.send()).await?;
    let zone = |s: &aws_sdk_ec2::types::Subnet| Some((s.subnet_id()?.to_owned(), s.availability_zone()?.to_owned()));
    Ok(answer.subnets().iter().filter_map(zone).collect())
}

/// Pairs of a type and a zone: everything that the region offers of these types.
/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeInstanceTypeOfferings.html>
async fn offered(look: &Look, names: &[&String]) -> Result<BTreeSet<(String, String)>, CallError> {
    let mut offered = BTreeSet::new();
    for some in names.chunks(TYPES) {
        let values = some.iter().map(|name| (*name).clone()).collect();
        let filter = Filter::builder().name("instance-type").set_values(Some(values)).build();
        let mut next = None;
        for _ in 0..PAGES {
            let call = look.ec2.describe_instance_type_offerings().location_type(LocationType::AvailabilityZone);
            let call = call.filters(filter.clone()).set_next_token(next);
            let what = "look at which zones offer the pools' types";
            let answer = look.probe.call("ec2.DescribeInstanceTypeOfferings", what, call.send()).await?;
            offered.extend(
                answer
                    .instance_type_offerings()
                    .iter()
                    .filter_map(|o| Some((o.instance_type()?.as_str().to_owned(), o.location()?.to_owned()))),
            );
            next = answer.next_token().filter(|token| !token.is_empty()).map(str::to_owned);
            if next.is_none() {
                break;
            }
        }
    }
    Ok(offered)
}

fn judge_zones(
    name: &str,
    pool: &RunnerPool,
    zone_of: &BTreeMap<String, String>,
    offered: &BTreeSet<(String, String)>,
) -> Finding {
    let check = format!("types by zone {name}");
    let instance = &pool.spec.instance;
    let zones: BTreeSet<&String> = instance.subnets.iter().filter_map(|subnet| zone_of.get(subnet)).collect();
    let pairs = || instance.types.iter().flat_map(|kind| zones.iter().map(move |zone| (kind.clone(), (*zone).clone())));
    let lacking: Vec<String> =
        pairs().filter(|pair| !offered.contains(pair)).map(|(kind, zone)| format!("{kind} in {zone}")).collect();
    let all = pairs().count();
    match lacking.len() {
        0 => Finding::ok(check, format!("every type is offered in {}", count(zones.len(), "zone"))),
        n if n == all => {
            let seen = format!("EC2 offers none of the pool's types in the zones of its subnets: {}", lacking.join(", "));
            Finding::failed(check, seen, "name types that these zones offer, or subnets in other zones")
        }
        _ => {
            let seen = format!("EC2 does not offer {}", lacking.join(", "));
            let means = Refusal::of("InvalidFleetConfiguration");
            let holds = muster_reconciler::time::human(means.holds);
            let next =
                format!("nothing, or name other types: muster leaves such an offering alone for {holds} after EC2 refused it");
            Finding::warning(check, seen, next)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;

    fn pool(types: &[&str], subnets: &[&str]) -> RunnerPool {
        let mut pool = RunnerPool::default();
        pool.spec.instance.types = types.iter().map(|&name| name.to_owned()).collect();
        pool.spec.instance.subnets = subnets.iter().map(|&id| id.to_owned()).collect();
        pool
    }

    #[test]
    fn xen_is_named_whatever_the_manifests_list_knows() {
        let types = |xen| {
            [("m7i.large".to_owned(), TypeFacts { vcpus: 2, xen: false }), ("n1.large".to_owned(), TypeFacts { vcpus: 2, xen })]
                .into()
        };
        assert_eq!(judge_types(&types(false)), Finding::ok("instance types", "2 types, all known in this region, none on Xen"));
        let found = judge_types(&types(true));
        assert!(found.verdict == Verdict::Failed && found.seen.contains("EC2 runs n1.large on Xen"), "{found:?}");
    }

    #[test]
    fn a_type_that_a_zone_lacks_is_named_with_the_zone() {
        let zone_of = [("subnet-a", "z-a"), ("subnet-b", "z-b")].map(|(s, z)| (s.to_owned(), z.to_owned())).into();
        let offered =
            [("m7i.large", "z-a"), ("m7i.large", "z-b"), ("c7i.large", "z-b")].map(|(t, z)| (t.to_owned(), z.to_owned())).into();
        let judge = |types: &[&str], subnets: &[&str]| judge_zones("linux", &pool(types, subnets), &zone_of, &offered);
        let all = judge(&["m7i.large"], &["subnet-a", "subnet-b"]);
        assert_eq!(all, Finding::ok("types by zone linux", "every type is offered in 2 zones"));
        let some = judge(&["m7i.large", "c7i.large"], &["subnet-a", "subnet-b"]);
        assert_eq!((some.verdict, some.seen.as_str()), (Verdict::Warning, "EC2 does not offer c7i.large in z-a"));
        let none = judge(&["c7i.large"], &["subnet-a"]);
        assert!(none.verdict == Verdict::Failed && none.seen.ends_with("c7i.large in z-a"), "{none:?}");
    }
}
