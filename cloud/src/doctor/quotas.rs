//! Whether EC2's vCPU quotas admit what all pools together may launch.
//! <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-instance-quotas.html>

use std::collections::{BTreeMap, BTreeSet};

use muster_reconciler::manifest::{RunnerPool, Spec};
use muster_reconciler::market::Market;
use muster_reconciler::quota::QuotaClass;

use super::finding::Finding;
use super::look::Look;

const CONSOLE: &str = "look at the quotas of EC2 in the Service Quotas console";

/// One of EC2's quotas, with the classes of instance types that count against it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Quota {
    code: &'static str,
    market: Market,
    classes: BTreeSet<QuotaClass>,
}

impl Quota {
    /// All quotas that AWS has a code for.
    fn all() -> Vec<Quota> {
        let mut by_code: BTreeMap<(Market, &'static str), BTreeSet<QuotaClass>> = BTreeMap::new();
        for market in [Market::Spot, Market::OnDemand] {
            for class in QuotaClass::ALL {
                if let Some(code) = class.code(market) {
                    by_code.entry((market, code)).or_default().insert(class);
                }
            }
        }
        by_code.into_iter().map(|((market, code), classes)| Quota { code, market, classes }).collect()
    }

    fn check(&self) -> String {
        // The families in brackets are left out, because the column would be as wide as the screen.
        let name = |class: &QuotaClass| class.as_str().split(" (").next().unwrap_or_default();
        let classes: Vec<&str> = self.classes.iter().map(name).collect();
        format!("quota of {} vCPUs, {}", self.market.as_str(), classes.join(" and "))
    }

    fn buys(&self, pool: &RunnerPool) -> bool {
        pool.markets().contains(&self.market)
    }

    /// How many vCPUs of this quota the pools may need together: for each pool, `max` times its largest type. The second number
    /// counts only the pools that buy on no other market.
    fn needed(&self, spec: &Spec, vcpus: &BTreeMap<String, u64>) -> (u64, u64) {
        let counts = |name: &&String| QuotaClass::of(name).is_some_and(|class| self.classes.contains(&class));
        let takes = |pool: &RunnerPool| {
            let largest = pool.spec.instance.types.iter().filter(counts).filter_map(|name| vcpus.get(name)).max();
            largest.copied().unwrap_or(0) * u64::from(pool.spec.capacity.max)
        };
        let buyers = || spec.pools.values().filter(|pool| self.buys(pool));
        let firm = buyers().filter(|pool| pool.markets().len() == 1);
        (buyers().map(takes).sum(), firm.map(takes).sum())
    }
}

/// Checks every quota that the pools' types count against. `vcpus` has the vCPUs of each type that EC2 knows.
pub(super) async fn check(look: &Look, spec: &Spec, vcpus: &BTreeMap<String, u64>) -> Vec<Finding> {
    let mut found = Vec::new();
    for quota in Quota::all() {
        let (needed, firm) = quota.needed(spec, vcpus);
        if needed > 0 {
            found.push(one(look, &quota, needed, firm).await);
        }
    }
    let of_none: Vec<&str> = vcpus.keys().map(String::as_str).filter(|name| QuotaClass::of(name).is_none()).collect();
    if !of_none.is_empty() {
        let seen = format!("{}: muster does not know which quota they count against", of_none.join(", "));
        found.push(Finding::unchecked("other quotas", seen, CONSOLE));
    }
    found
}

/// Checks one quota.
/// <https://docs.aws.amazon.com/servicequotas/2019-06-24/apireference/API_GetServiceQuota.html>
async fn one(look: &Look, quota: &Quota, needed: u64, firm: u64) -> Finding {
    let call = look.quotas.get_service_quota().service_code("ec2").quota_code(quota.code);
    let what = format!("look at quota {}", quota.code);
    match look.probe.call("servicequotas.GetServiceQuota", &what, call.send()).await {
        Ok(answer) => judge(quota, answer.quota().and_then(|quota| quota.value()), needed, firm),
        Err(error) if error.code == "NoSuchResourceException" => judge(quota, None, needed, firm),
        Err(error) => {
            let finding = Finding::look_failed(quota.check(), &error, "servicequotas:GetServiceQuota", CONSOLE);
            // muster itself never makes this call, so a failure here prevents nothing.
            Finding::unchecked(quota.check(), &finding.seen, finding.next.unwrap_or_default())
        }
    }
}

fn judge(quota: &Quota, value: Option<f64>, needed: u64, firm: u64) -> Finding {
    let (check, code) = (quota.check(), quota.code);
    let Some(value) = value else {
        return Finding::unchecked(
            check,
            format!("Service Quotas tells no value of {code}; the pools may need {needed}"),
            CONSOLE,
        );
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
    use muster_reconciler::manifest::MarketPolicy;

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

    fn quota(code: &str) -> Quota {
        Quota::all().into_iter().find(|quota| quota.code == code).expect(code)
    }

    fn standard(market: Market) -> Quota {
        quota(QuotaClass::Standard.code(market).expect("a quota"))
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
        assert_eq!(standard(Market::Spot).needed(&spec, &vcpus), (170, 160));
        assert_eq!(standard(Market::OnDemand).needed(&spec, &vcpus), (16, 6));
        assert_eq!(quota("L-DB2E81BA").needed(&spec, &vcpus), (12, 12), "a GPU type counts against a quota of its own");
        assert_eq!(quota("L-3819A6DF").needed(&spec, &vcpus), (0, 0));
    }

    #[test]
    fn a_quota_of_several_classes_is_one() {
        assert_eq!(quota("L-417A185B").classes, [QuotaClass::P, QuotaClass::P5].into());
        assert!(quota("L-417A185B").check().ends_with("on-demand vCPUs, P and P5"));
    }

    #[test]
    fn a_quota_below_the_need_is_a_warning() {
        assert_eq!(judge(&standard(Market::Spot), Some(640.0), 200, 200).verdict, Verdict::Ok);
        let low = judge(&standard(Market::OnDemand), Some(32.0), 200, 0);
        assert!(low.verdict == Verdict::Warning && low.seen.contains("32, but the pools may need 200 (0 of them"), "{low:?}");
        assert!(low.next.is_some_and(|next| next.contains("L-1216C47A")));
        assert_eq!(judge(&standard(Market::Spot), None, 200, 0).verdict, Verdict::NotChecked);
    }
}
