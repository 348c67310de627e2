use super::*;
use crate::effect::LaunchedInstance;
use crate::ids::ListId;
use crate::manifest::Allocation;
use crate::manifest::MarketPolicy;
use crate::refusal::LONG;

const NOW: Time = Time::from_millis(5);
const TICK: Duration = Duration::from_millis(1);

fn pool() -> InstanceSettings {
    of(&["m7i.large", "c7i.large"])
}

fn of(types: &[&str]) -> InstanceSettings {
    let types = types.iter().map(|t| (*t).to_owned()).collect();
    InstanceSettings { types, subnets: vec!["x".into(), "y".into()], ..Default::default() }
}

fn error(code: &str, kind: Option<&str>, subnet: Option<&str>) -> OfferingError {
    let message = "so it is".to_owned();
    OfferingError { instance_type: kind.map(Into::into), subnet: subnet.map(Into::into), code: code.into(), message }
}

/// Lets the pool ask for all that is open on a market, and lets EC2 answer with these errors.
fn answered(u: &mut Unavailable, pool: &InstanceSettings, market: Market, errors: &[OfferingError], now: Time) -> bool {
    let answer = Launched { instances: Vec::new(), errors: errors.to_vec() };
    u.note(&launch(pool, market), &answer, now) == Beside::default()
}

fn launch(pool: &InstanceSettings, market: Market) -> Launch {
    Launch {
        intent: "1".into(),
        pool: "linux".into(),
        list_id: ListId::default(),
        count: 2,
        template: "t".into(),
        offerings: offerings(pool),
        market,
        allocation: Allocation::default(),
        tags: BTreeMap::new(),
    }
}

fn closed(market: Market, errors: &[OfferingError]) -> Unavailable {
    let mut u = Unavailable::default();
    assert!(answered(&mut u, &pool(), market, errors, NOW));
    u
}

fn every(code: &str) -> Vec<OfferingError> {
    offerings(&pool()).iter().map(|o| error(code, Some(&o.instance_type), Some(&o.subnet))).collect()
}

fn choice(u: &Unavailable, pool: &InstanceSettings, now: Time) -> String {
    match u.choose(&"linux".into(), pool, now) {
        Choice::Ask(m, os) => {
            let short = |o: &Offering| format!("{}{}", o.instance_type.split('.').next().unwrap_or_default(), o.subnet);
            format!("{} {}", m.as_str(), os.iter().map(short).collect::<Vec<_>>().join(","))
        }
        Choice::Wait(until, why) => format!("{} {why}", until.since(now).as_secs()),
    }
}

fn asked(u: &Unavailable, now: Time) -> String {
    choice(u, &pool(), now)
}

#[test]
fn an_offering_without_capacity_is_left_alone_for_three_minutes() {
    let u = closed(Market::Spot, &[error("InsufficientInstanceCapacity", Some("m7i.large"), Some("x"))]);
    assert_eq!(asked(&u, NOW), "spot m7iy,c7ix,c7iy");
    assert_eq!(asked(&u, NOW + SHORT), "spot m7ix,m7iy,c7ix,c7iy");
    assert_eq!((u.count(Market::Spot, NOW), u.count(Market::OnDemand, NOW), u.count(Market::Spot, NOW + SHORT)), (1, 0, 0));
}

#[test]
fn a_type_that_a_zone_lacks_is_set_aside_for_hours_and_on_demand_takes_over_when_the_rest_is_short() {
    let mut errors = every("InsufficientInstanceCapacity");
    errors[0].code = "InvalidFleetConfiguration".into();
    let u = closed(Market::Spot, &errors);
    assert_eq!(asked(&u, NOW), "on-demand m7ix,m7iy,c7ix,c7iy");
    assert_eq!(asked(&u, NOW + SHORT), "spot m7iy,c7ix,c7iy");
    assert_eq!(asked(&u, NOW + LONG - TICK), "spot m7iy,c7ix,c7iy");
    assert_eq!(asked(&u, NOW + LONG), "spot m7ix,m7iy,c7ix,c7iy");
}

#[test]
fn a_pool_whose_offerings_are_all_set_aside_for_hours_asks_every_ten_minutes_and_at_once_when_somebody_changed_something() {
    let mut u = closed(Market::Spot, &every("InvalidFleetConfiguration"));
    assert_eq!(asked(&u, NOW), "on-demand m7ix,m7iy,c7ix,c7iy");
    answered(&mut u, &pool(), Market::OnDemand, &every("InvalidFleetConfiguration"), NOW);
    let why = "none of the pool's 4 offerings can be launched as spot or on-demand: EC2 does not offer the type in the zone \
                   (InvalidFleetConfiguration): so it is";
    assert_eq!(asked(&u, NOW), format!("600 {why}"));
    assert!(asked(&u, NOW + ASK_AGAIN - TICK).ends_with(why));
    assert_eq!(asked(&u, NOW + ASK_AGAIN), "spot m7ix,m7iy,c7ix,c7iy");
    u.reconsider();
    assert_eq!(asked(&u, NOW), "spot m7ix,m7iy,c7ix,c7iy");
    let mut short = closed(Market::Spot, &every("InsufficientInstanceCapacity"));
    short.reconsider();
    assert_eq!(asked(&short, NOW), "on-demand m7ix,m7iy,c7ix,c7iy", "a lack of capacity is no matter of manifests");
}

#[test]
fn what_ec2_did_not_try_is_not_closed_beside_what_it_tried() {
    let mut errors = every("UnfulfillableCapacity");
    errors[1].code = "InsufficientInstanceCapacity".into();
    assert_eq!(asked(&closed(Market::Spot, &errors), NOW), "spot m7ix,c7ix,c7iy");
    assert!(asked(&closed(Market::Spot, &every("UnfulfillableCapacity")), NOW).starts_with("on-demand"), "of all, it is a lack");
}

#[test]
fn a_full_subnet_is_closed_for_all_types_on_both_markets() {
    let u = closed(Market::Spot, &[error("InsufficientFreeAddressesInSubnet", Some("m7i.large"), Some("x"))]);
    assert_eq!(asked(&u, NOW), "spot m7iy,c7iy");
    assert_eq!(choice(&u, &InstanceSettings { market: MarketPolicy::OnDemand, ..of(&["r7i.large"]) }, NOW), "on-demand r7iy");
    assert_eq!((u.count(Market::Spot, NOW), u.count(Market::OnDemand, NOW)), (1, 1));
}

#[test]
fn a_quota_closes_the_families_that_share_it_on_its_market_and_no_others() {
    let (gpu, mut u) = (of(&["g5.xlarge"]), Unavailable::default());
    answered(&mut u, &gpu, Market::Spot, &[error("MaxSpotInstanceCountExceeded", Some("g5.xlarge"), Some("x"))], NOW);
    assert_eq!(choice(&u, &gpu, NOW), "on-demand g5x,g5y");
    assert_eq!(choice(&u, &of(&["g6.xlarge"]), NOW), "on-demand g6x,g6y");
    assert_eq!(asked(&u, NOW), "spot m7ix,m7iy,c7ix,c7iy", "another quota");
    // An error without an offering closes the quota if all types of the request share one. Otherwise nobody knows which quota it
    // is.
    let mut u = Unavailable::default();
    answered(&mut u, &gpu, Market::OnDemand, &[error("VcpuLimitExceeded", None, None)], NOW);
    assert_eq!(
        choice(&u, &InstanceSettings { market: MarketPolicy::OnDemand, ..of(&["g6.xlarge"]) }, NOW).split(' ').next(),
        Some("180")
    );
    let (mixed, mut u) = (of(&["g5.xlarge", "m7i.large"]), Unavailable::default());
    answered(&mut u, &mixed, Market::Spot, &[error("MaxSpotInstanceCountExceeded", None, None)], NOW);
    assert_eq!(choice(&u, &mixed, NOW), "on-demand g5x,g5y,m7ix,m7iy");
    assert_eq!(asked(&u, NOW), "spot c7ix,c7iy");
}

#[test]
fn the_refusal_of_a_whole_request_closes_what_it_asked_for() {
    for code in ["InsufficientInstanceCapacity", "MaxFleetCountExceeded", "SomethingNew"] {
        let u = closed(Market::Spot, &[error(code, None, None)]);
        assert!(asked(&u, NOW).starts_with("on-demand"), "{code}");
        assert_eq!(choice(&u, &of(&["r7i.large"]), NOW), "spot r7ix,r7iy", "{code}");
    }
    // If EC2's message names the type that it refuses, the other types stay open.
    let message = "Your requested instance type (m7i.large) is not supported in your requested Availability Zone (z).";
    let e = OfferingError { message: message.into(), ..error("InvalidFleetConfiguration", None, None) };
    assert_eq!(asked(&closed(Market::Spot, &[e]), NOW), "spot c7ix,c7iy");
    let e = OfferingError { message: "m7i.large is not offered in y.".into(), ..error("Unsupported", None, None) };
    assert_eq!(asked(&closed(Market::Spot, &[e]), NOW), "spot m7ix,c7ix,c7iy");
    let e = OfferingError { message: "The subnet ID 'y' does not exist".into(), ..error("InvalidSubnetID.NotFound", None, None) };
    let u = closed(Market::Spot, &[e]);
    assert_eq!(asked(&u, NOW), "spot m7ix,c7ix");
    assert_eq!(choice(&u, &InstanceSettings { market: MarketPolicy::OnDemand, ..pool() }, NOW), "on-demand m7ix,c7ix");
}

fn asked_by_another(u: &Unavailable, now: Time) -> String {
    match u.choose(&"other".into(), &pool(), now) {
        Choice::Ask(market, offerings) => format!("{} {}", market.as_str(), offerings.len()),
        Choice::Wait(until, why) => format!("{} {why}", until.since(now).as_secs()),
    }
}

#[test]
fn what_a_refusal_does_not_name_is_closed_to_the_pool_that_asked_and_to_no_other() {
    for code in ["InvalidSubnetID.NotFound", "InsufficientFreeAddressesInSubnet", "InvalidFleetConfiguration"] {
        let mut u = closed(Market::Spot, &[error(code, None, None)]);
        assert_eq!(asked(&u, NOW), "on-demand m7ix,m7iy,c7ix,c7iy", "{code}");
        assert_eq!(asked_by_another(&u, NOW), "spot 4", "{code}");
        assert_eq!((u.count(Market::Spot, NOW), u.count(Market::OnDemand, NOW)), (4, 0), "{code}");
        answered(&mut u, &pool(), Market::OnDemand, &[error(code, None, None)], NOW);
        let wait = if Refusal::of(code).holds == SHORT { SHORT } else { ASK_AGAIN };
        assert!(asked(&u, NOW).starts_with(&format!("{} none", wait.as_secs())), "{code}: {}", asked(&u, NOW));
        assert_eq!(asked(&u, NOW + wait), "spot m7ix,m7iy,c7ix,c7iy", "{code}");
    }
    // An offering that was launched is open again.
    let mut u = closed(Market::Spot, &[error("InvalidFleetConfiguration", None, None)]);
    let i =
        LaunchedInstance { id: "i-1".into(), instance_type: "m7i.large".into(), subnet: Some("x".into()), market: Market::Spot };
    u.note(&launch(&pool(), Market::Spot), &Launched { instances: vec![i], errors: Vec::new() }, NOW);
    assert_eq!(asked(&u, NOW), "spot m7ix");
}

#[test]
fn the_same_launch_does_not_go_again_when_a_refusal_is_about_nothing_that_it_asked_for() {
    for code in ["InsufficientInstanceCapacity", "VcpuLimitExceeded", "MaxFleetCountExceeded", "InvalidSubnet", "New"] {
        for kind in [None, Some("r7i.large"), Some("m7i.large")] {
            let mut u = Unavailable::default();
            let errors = [error(code, kind, Some("nobody-asked"))];
            assert!(answered(&mut u, &pool(), Market::Spot, &errors, NOW), "{code}");
            let next = asked(&u, NOW);
            assert_ne!(next, "spot m7ix,m7iy,c7ix,c7iy", "{code} {kind:?}");
            assert_eq!(asked_by_another(&u, NOW), "spot 4", "{code} {kind:?}");
        }
    }
    // The same holds when a pool asks again for an offering that is closed for longer.
    let only_spot = InstanceSettings { market: MarketPolicy::Spot, ..pool() };
    let mut u = closed(Market::Spot, &every("InvalidFleetConfiguration"));
    let later = NOW + ASK_AGAIN;
    answered(&mut u, &only_spot, Market::Spot, &[error("InsufficientInstanceCapacity", None, Some("nobody-asked"))], later);
    assert!(choice(&u, &only_spot, later).starts_with("180 "), "{}", choice(&u, &only_spot, later));
}

#[test]
fn an_unknown_code_is_about_its_offering_and_a_wrong_request_about_all_or_those_that_it_names() {
    let u = closed(Market::Spot, &[error("SomethingNew", Some("m7i.large"), Some("x"))]);
    assert_eq!(asked(&u, NOW), "spot m7iy,c7ix,c7iy");
    let mut u = Unavailable::default();
    assert!(!answered(&mut u, &pool(), Market::Spot, &every("UnauthorizedOperation"), NOW), "the controller hears of it");
    assert_eq!(u, Unavailable::default());
    let mut some = every("InsufficientInstanceCapacity");
    some[0].code = "InvalidParameterValue".into();
    let u = closed(Market::Spot, &some);
    assert_eq!(asked(&u, NOW + SHORT), "spot m7iy,c7ix,c7iy");
    assert_eq!(asked(&u, NOW + ASK_AGAIN), "spot m7ix,m7iy,c7ix,c7iy");
    for code in ["RequestLimitExceeded", "InternalError", "IdempotentParameterMismatch"] {
        assert!(!answered(&mut Unavailable::default(), &pool(), Market::Spot, &[error(code, None, None)], NOW), "{code}");
    }
}

#[test]
fn every_code_of_the_list_closes_what_it_says_and_leaves_other_pools_alone() {
    for refusal in crate::refusal::REFUSALS {
        let mut u = Unavailable::default();
        let heard = answered(&mut u, &pool(), Market::Spot, &every(refusal.code), NOW);
        assert_eq!(heard, refusal.of_offerings(), "{}", refusal.code);
        assert_eq!(u != Unavailable::default(), refusal.of_offerings(), "{}", refusal.code);
        let elsewhere = InstanceSettings { subnets: vec!["z".into()], ..of(&["g5.xlarge"]) };
        assert_eq!(choice(&u, &elsewhere, NOW), "spot g5z", "{}", refusal.code);
    }
}

#[test]
fn a_reason_tells_each_code_with_its_share_and_ec2s_words_where_they_add_something() {
    let mut errors = every("InsufficientInstanceCapacity");
    (errors[0].code, errors[2].code) = ("VcpuLimitExceeded".into(), "SomethingNew".into());
    let on_demand = InstanceSettings { market: MarketPolicy::OnDemand, ..of(&["m7i.large", "g5.xlarge"]) };
    for (e, o) in errors.iter_mut().zip(offerings(&on_demand)) {
        e.instance_type = Some(o.instance_type);
    }
    let mut u = Unavailable::default();
    answered(&mut u, &on_demand, Market::OnDemand, &errors, NOW);
    assert_eq!(
        choice(&u, &on_demand, NOW),
        "180 none of the pool's 4 offerings can be launched as on-demand: the account's quota of vCPUs is used up \
             (VcpuLimitExceeded, 2 of 4); EC2 lacks capacity (InsufficientInstanceCapacity, 1 of 4); EC2 refuses it (SomethingNew, 1 \
             of 4): so it is"
    );
    let one = InstanceSettings { subnets: vec!["x".into()], market: MarketPolicy::Spot, ..of(&["m7i.large"]) };
    let u = closed(Market::Spot, &every("InsufficientInstanceCapacity"));
    let why = "180 the pool's only offering cannot be launched as spot: EC2 lacks capacity (InsufficientInstanceCapacity)";
    assert_eq!(choice(&u, &one, NOW), why);
    assert_eq!(choice(&u, &of(&[]), NOW), "180 the pool has no offerings");
}

#[test]
fn spot_that_took_an_instance_back_has_none_of_its_kind_for_three_minutes() {
    let mut u = Unavailable::default();
    u.interrupted(&"m7i.large".into(), Some(&"y".into()), NOW);
    assert_eq!(asked(&u, NOW), "spot m7ix,c7ix,c7iy");
    u.interrupted(&"c7i.large".into(), None, NOW);
    assert_eq!(asked(&u, NOW + SHORT - TICK), "spot m7ix");
    assert_eq!(asked(&u, NOW + SHORT), "spot m7ix,m7iy,c7ix,c7iy");
}

#[test]
fn what_was_launched_is_open_again() {
    let mut u = closed(Market::Spot, &every("InvalidFleetConfiguration"));
    let instance =
        LaunchedInstance { id: "i-1".into(), instance_type: "m7i.large".into(), subnet: Some("x".into()), market: Market::Spot };
    let launch = launch(&pool(), Market::Spot);
    u.note(&launch, &Launched { instances: vec![instance], errors: Vec::new() }, NOW);
    assert_eq!(asked(&u, NOW), "spot m7ix");
}

#[test]
fn what_is_past_is_forgotten_and_nothing_else() {
    let mut u = Unavailable::default();
    u.interrupted(&"m7i.large".into(), None, NOW);
    u.expire(NOW + SHORT - TICK);
    assert_ne!(u, Unavailable::default());
    u.expire(NOW + SHORT);
    assert_eq!(u, Unavailable::default());
}

#[test]
fn a_pool_waits_until_the_first_offering_of_any_market_is_free_again() {
    let later = NOW + Duration::from_secs(9);
    let mut u = Unavailable::default();
    answered(&mut u, &pool(), Market::Spot, &every("VcpuLimitExceeded"), later);
    answered(&mut u, &pool(), Market::OnDemand, &every("VcpuLimitExceeded"), NOW);
    assert!(matches!(u.choose(&"linux".into(), &pool(), later), Choice::Wait(until, _) if until == NOW + SHORT));
    // If two causes close one offering, the longer one holds.
    let narrow = InstanceSettings { subnets: vec!["x".into()], market: MarketPolicy::Spot, ..of(&["m7i.large"]) };
    let mut u = closed(Market::Spot, &[error("InsufficientInstanceCapacity", Some("m7i.large"), Some("x"))]);
    u.interrupted(&"m7i.large".into(), None, later);
    assert!(matches!(u.choose(&"linux".into(), &narrow, later), Choice::Wait(until, _) if until == later + SHORT));
    let on_demand = InstanceSettings { market: MarketPolicy::OnDemand, ..narrow };
    assert!(matches!(u.choose(&"linux".into(), &on_demand, later), Choice::Ask(Market::OnDemand, _)));
}
