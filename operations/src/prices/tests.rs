//! These tests show which source wins, what stays unknown, and that currencies are not mixed.

use muster_reconciler::manifest::{Lone, MarketPolicy, RunnerPool, Text};

use super::*;

/// 2026-11-29T00:00:00Z, in milliseconds since 1970.
const DAY: u64 = 1_795_910_400_000;

fn list(file: &str, currency: &str, prices: &str) -> Prices {
    let body = format!("asOf: 2026-01-02\ncurrency: {currency}\nlinux:\n{prices}");
    file::read(&Text { file: file.into(), body }).expect("a good list")
}

fn aws(name: &str, hour: f64) -> MarketPrices {
    MarketPrices { at: DAY, currency: "USD".into(), hours: [((Os::Linux, name.to_owned()), hour)].into() }
}

#[test]
fn the_users_own_price_wins_and_the_fallback_fills_what_is_left() {
    let own = list("mine.yaml", "USD", "  m7i.large: {onDemand: 0.07}\n");
    let fallback = list("aws.yaml", "USD", "  m7i.large: {onDemand: 0.3, spot: 0.3}\n  m5.large: {onDemand: 0.3, spot: 0.3}\n");
    let mut book = Book::new(Some(own), Some(fallback));
    book.hear(Market::OnDemand, aws("m7i.large", 0.1));
    book.hear(Market::Spot, aws("m7i.large", 0.04));
    let hour = |name: &str, market| book.hour(Os::Linux, name, market);
    assert_eq!(hour("m7i.large", Market::OnDemand), Some(0.07), "the user's");
    assert_eq!(hour("m7i.large", Market::Spot), Some(0.04), "AWS's, for the user's list has no spot price");
    assert_eq!(hour("m5.large", Market::Spot), Some(0.3), "the fallback's, for nobody else has one");
    assert_eq!(hour("x9.huge", Market::Spot), None, "unknown, and not zero");
    assert_eq!(book.hour(Os::Windows, "m7i.large", Market::OnDemand), None, "Linux's price is not Windows's");
    let source = "mine.yaml of 2026-01-02, then AWS's spot prices of 2026-11-29, then AWS's on-demand prices of 2026-11-29, \
                  then aws.yaml of 2026-01-02";
    assert_eq!(book.source(), source);
}

#[test]
fn prices_in_two_currencies_are_not_added_up() {
    let own = list("mine.yaml", "EUR", "  m7i.large: {onDemand: 0.07}\n");
    let mut book = Book::new(Some(own), None);
    book.hear(Market::Spot, aws("m7i.large", 0.04));
    assert_eq!((book.currency(), book.hour(Os::Linux, "m7i.large", Market::Spot)), ("EUR", None));
    let trouble = book.trouble();
    assert!(trouble.len() == 1 && trouble[0].contains("USD") && trouble[0].contains("left out"), "{trouble:?}");
    assert!(!book.source().contains("AWS"), "{}", book.source());
}

#[test]
fn a_book_without_prices_says_so() {
    let book = Book::from(Prices::default());
    assert_eq!((book.source().as_str(), book.currency(), book.trouble().len()), ("", "", 0));
    // An answer without any price counts as no answer.
    let mut book = Book::default();
    book.hear(Market::Spot, MarketPrices { at: DAY, currency: "USD".into(), hours: BTreeMap::new() });
    assert_eq!(book.source(), "");
}

#[test]
fn what_is_wanted_is_what_the_pools_may_buy() {
    let mut spec = Spec::default();
    for (name, market, types, interruptions) in [
        ("a", MarketPolicy::Spot, ["m7i.large"], 0),
        ("b", MarketPolicy::SpotThenOnDemand, ["m5.large"], 0),
        ("c", MarketPolicy::Spot, ["c7i.large"], 2),
    ] {
        let mut pool = RunnerPool::default();
        pool.spec.instance.market = market;
        pool.spec.instance.types = types.map(str::to_owned).into();
        pool.spec.instance.breaker.interruptions = interruptions;
        spec.pools.insert(name.into(), pool);
    }
    let mut book = Book::default();
    book.want(wanted(&spec));
    book.hear(Market::Spot, aws("m7i.large", 0.04));
    assert_eq!((book.unknown(Market::Spot), book.unknown(Market::OnDemand)), (2, 2));
    let view = book.view();
    assert_eq!((view.wanted, view.known, view.types.len()), (5, 1, 3));
    let known = view.types.iter().find(|t| t.instance_type == "m7i.large").and_then(|t| t.spot.clone());
    assert_eq!(known, Some(PriceView { hour: 0.04, source: "AWS".into(), as_of: "2026-11-29".into() }));
    assert_eq!(view.types.iter().find(|t| t.instance_type == "m5.large").and_then(|t| t.on_demand.clone()), None);
}

#[test]
fn the_shape_of_a_list_is_the_simulators() {
    let text = Text { file: "p.yaml".into(), body: file::EXAMPLE.into() };
    assert!(Lone::<Prices>::read(&text).value == Prices { source: String::new(), ..file::read(&text).expect("good") });
}
