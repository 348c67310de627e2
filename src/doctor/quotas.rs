//! Whether EC2's vCPU quotas admit what the pools may launch together.
//! <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-instance-quotas.html>

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::types::InstanceType;
use muster_reconciler::manifest::{MarketPolicy, Spec};

use super::finding::Finding;
use super::look::Look;

/// Types in one DescribeInstanceTypes at most.
/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeInstanceTypes.html>
const TYPES: usize = 100;

/// A quota of the standard families (A, C, D, H, I, M, R, T, Z).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quota {
    Spot,
    OnDemand,
}

impl Quota {
    const fn code(self) -> &'static str {
        match self {
            Quota::Spot => "L-34B43A08",
            Quota::OnDemand => "L-1216C47A",
        }
    }

    const fn check(self) -> &'static str {
        match self {
            Quota::Spot => "quota of spot vCPUs",
            Quota::OnDemand => "quota of on-demand vCPUs",
        }
    }

    const fn buys(self, market: MarketPolicy) -> bool {
        match self {
            Quota::Spot => matches!(market, MarketPolicy::Spot | MarketPolicy::SpotThenOnDemand),
            Quota::OnDemand => matches!(market, MarketPolicy::OnDemand | MarketPolicy::SpotThenOnDemand),
        }
    }

    /// What the pools may take of it together: `max` times the largest type. With it, those that have no other market.
    fn needed(self, spec: &Spec, vcpus: &BTreeMap<String, u64>) -> (u64, u64) {
        let of = |market: fn(MarketPolicy, Quota) -> bool| {
            let pools = spec.pools.values().filter(|pool| market(pool.spec.instance.market, self));
            pools
                .map(|pool| {
                    let types = pool.spec.instance.types.iter().filter(|name| standard(name));
                    let largest = types.filter_map(|name| vcpus.get(name)).max().copied().unwrap_or(0);
                    largest * u64::from(pool.spec.capacity.max)
                })
                .sum()
        };
        let all = of(|market, quota| quota.buys(market));
        (all, of(|market, quota| quota.buys(market) && market != MarketPolicy::SpotThenOnDemand))
    }
}

/// Whether a type counts against the standard quota. `im4gn` and `is4gen` are of the I family, `hpc` and `inf` are not theirs.
fn standard(name: &str) -> bool {
    let letters: String = name.chars().take_while(char::is_ascii_alphabetic).collect();
    matches!(letters.as_str(), "a" | "c" | "d" | "h" | "i" | "im" | "is" | "m" | "r" | "t" | "z")
}

pub(super) async fn check(look: &Look, spec: &Spec) -> Vec<Finding> {
    let names: BTreeSet<&String> = spec.pools.values().flat_map(|pool| &pool.spec.instance.types).collect();
    let names: Vec<&String> = names.into_iter().collect();
    let mut vcpus = BTreeMap::new();
    for some in names.chunks(TYPES) {
        let types = some.iter().map(|name| InstanceType::from(name.as_str())).collect();
        let call = look.ec2.describe_instance_types().set_instance_types(Some(types));
        match look.probe.call("ec2.DescribeInstanceTypes", "look at the pools' instance types", call.send()).await {
            Ok(answer) => vcpus.extend(answer.instance_types().iter().filter_map(|known| {
                let count = known.v_cpu_info()?.default_v_cpus()?;
                Some((known.instance_type()?.as_str().to_owned(), u64::try_from(count).ok()?))
            })),
            Err(error) => {
                let next = "take the types that this region lacks out of spec.instance.types";
                return vec![Finding::look_failed("instance types", &error, "ec2:DescribeInstanceTypes", next)];
            }
        }
    }
    let mut found = vec![Finding::ok("instance types", format!("{} types, all known in this region", vcpus.len()))];
    for quota in [Quota::Spot, Quota::OnDemand] {
        let (needed, firm) = quota.needed(spec, &vcpus);
        if needed > 0 {
            found.push(one(look, quota, needed, firm).await);
        }
    }
    let others: Vec<&str> = names.iter().map(|name| name.as_str()).filter(|name| !standard(name)).collect();
    if !others.is_empty() {
        let seen = format!("{} count against other quotas than the standard one", others.join(", "));
        found.push(Finding::unchecked("other quotas", seen, "look at the quotas of EC2 in the Service Quotas console"));
    }
    found
}

/// <https://docs.aws.amazon.com/servicequotas/2019-06-24/apireference/API_GetServiceQuota.html>
async fn one(look: &Look, quota: Quota, needed: u64, firm: u64) -> Finding {
    let call = look.quotas.get_service_quota().service_code("ec2").quota_code(quota.code());
    let what = format!("look at quota {}", quota.code());
    match look.probe.call("servicequotas.GetServiceQuota", &what, call.send()).await {
        Ok(answer) => judge(quota, answer.quota().and_then(|quota| quota.value()), needed, firm),
        Err(error) if error.code == "NoSuchResourceException" => judge(quota, None, needed, firm),
        Err(error) => {
            let next = "look at the quotas of EC2 in the Service Quotas console";
            let finding = Finding::look_failed(quota.check(), &error, "servicequotas:GetServiceQuota", next);
            // muster itself never asks: a service that does not answer here keeps it from nothing.
            Finding::unchecked(quota.check(), &finding.seen, finding.next.unwrap_or_default())
        }
    }
}

fn judge(quota: Quota, value: Option<f64>, needed: u64, firm: u64) -> Finding {
    let (check, code) = (quota.check(), quota.code());
    let Some(value) = value else {
        let next = "look at the quotas of EC2 in the Service Quotas console";
        return Finding::unchecked(check, format!("Service Quotas tells no value of {code}; the pools may need {needed}"), next);
    };
    if value >= needed as f64 {
        return Finding::ok(check, format!("{value}, the pools need {needed} at most"));
    }
    let firm = if firm < needed { format!(" ({firm} of them for pools that buy nothing else)") } else { String::new() };
    let seen = format!("{value}, but the pools may need {needed}{firm}: their max times their largest type");
    Finding::warning(check, seen, format!("ask Service Quotas to raise {code}, or lower capacity.max"))
}

#[cfg(test)]
mod tests {
    use muster_reconciler::manifest::RunnerPool;

    use super::super::finding::Verdict;
    use super::*;

    fn spec(pools: &[(MarketPolicy, u32, &[&str])]) -> Spec {
        let mut spec = Spec::default();
        for (nth, (market, max, types)) in pools.iter().enumerate() {
            let mut pool = RunnerPool::default();
            pool.spec.instance.market = *market;
            pool.spec.instance.types = types.iter().map(|&name| name.to_owned()).collect();
            pool.spec.capacity.max = *max;
            spec.pools.insert(format!("p{nth}").as_str().into(), pool);
        }
        spec
    }

    #[test]
    fn pools_need_their_max_of_their_largest_type_in_each_market_they_buy_in() {
        use MarketPolicy::{OnDemand, Spot, SpotThenOnDemand};
        let vcpus = [("m7i.large", 2), ("c7i.4xlarge", 16), ("g5.xlarge", 4)].map(|(name, n)| (name.to_owned(), n)).into();
        let spec = spec(&[
            (Spot, 10, &["m7i.large", "c7i.4xlarge"]),
            (SpotThenOnDemand, 5, &["m7i.large"]),
            (OnDemand, 3, &["m7i.large", "g5.xlarge"]),
        ]);
        assert_eq!(Quota::Spot.needed(&spec, &vcpus), (170, 160));
        assert_eq!(Quota::OnDemand.needed(&spec, &vcpus), (16, 6), "a GPU type counts against another quota");
    }

    #[test]
    fn a_quota_below_the_need_is_a_warning() {
        assert_eq!(judge(Quota::Spot, Some(640.0), 200, 200).verdict, Verdict::Ok);
        let low = judge(Quota::OnDemand, Some(32.0), 200, 0);
        assert!(low.verdict == Verdict::Warning && low.seen.contains("32, but the pools may need 200 (0 of them"), "{low:?}");
        assert!(low.next.is_some_and(|next| next.contains("L-1216C47A")));
        assert_eq!(judge(Quota::Spot, None, 200, 0).verdict, Verdict::NotChecked);
    }

    #[test]
    fn families_are_told_apart() {
        assert!(["m7i.large", "c7gn.xlarge", "im4gn.large", "t4g.micro", "z1d.large"].iter().all(|name| standard(name)));
        assert!(
            ["g5.xlarge", "p5.48xlarge", "inf2.xlarge", "x2idn.16xlarge", "hpc7a.96xlarge", "trn1.2xlarge", "vt1.3xlarge"]
                .iter()
                .all(|name| !standard(name))
        );
    }
}
