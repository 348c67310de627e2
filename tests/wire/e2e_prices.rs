//! The controller reads AWS's prices once a day. It shows each price with its source and its date. A price that no source
//! tells stays unknown.

use crate::support;

use std::time::SystemTime;

use serde_json::json;
use support::github::GitHub;
use support::moto::{Moto, World};
use support::muster::{Muster, Pool};
use support::scene::{CLUSTER, linux};
use support::{eventually, secs};

/// A world whose pools have subnets in two of the three zones. The spot prices of the third zone are not used.
async fn stage(pools: &[Pool]) -> Option<(Moto, GitHub, World, Muster)> {
    let moto = Moto::start().await?;
    let names: Vec<&str> = pools.iter().map(Pool::name).collect();
    let mut world = moto.create_world(CLUSTER, &names).await;
    let zones = moto.zones(&world.subnets).await;
    world.subnets.retain(|subnet| zones[subnet].ends_with(['a', 'b']));
    let github = GitHub::start().await;
    let muster = Muster::prepare(&moto, &github, &world, pools);
    Some((moto, github, world, muster))
}

/// `muster get prices`, once it contains `wanted`.
async fn prices(muster: &Muster, wanted: &str) -> String {
    eventually(secs(30), "the prices are told", || async {
        let (code, said, complaint) = muster.command(&["get", "prices"]).await;
        if code == 0 && said.contains(wanted) { Ok(said) } else { Err(format!("{said}{complaint}")) }
    })
    .await
}

/// The row of a type, with one space between its columns.
fn row(said: &str, name: &str) -> String {
    let line = said.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name} in:\n{said}"));
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn today() -> String {
    chrono::DateTime::<chrono::Utc>::from(SystemTime::now()).format("%Y-%m-%d").to_string()
}

#[tokio::test]
async fn the_controller_reads_awss_prices_and_says_which_are_unknown() {
    let pool = linux().set("instance.types", "[m7i.large, m6i.large, r7i.large]").set("capacity.idle", 1);
    let Some((moto, _github, _world, mut muster)) = stage(&[pool]).await else { return };
    let day = today();
    muster.spawn();
    muster.ready().await;
    let said = prices(&muster, "prices that the pools need: 6, of which known: 4").await;
    let dated = |row: &str| [&day, &today()].iter().any(|day| row.ends_with(&format!("AWS of {day}")));
    let known = row(&said, "m7i.large");
    assert!(
        known.starts_with("m7i.large linux 0.1123 USD 0.0450 USD ") && dated(&known),
        "the mean of the pools' zones: {known}"
    );
    assert_eq!(row(&said, "r7i.large"), "r7i.large linux unknown unknown -");
    // What is known is counted. What is unknown does not count as zero.
    eventually(secs(30), "the cost is counted", || async {
        let text = muster.metrics().await;
        let cost = text.lines().find(|l| l.starts_with("muster_estimated_cost_total{currency=\"USD\"")).map(str::to_owned);
        if cost.as_ref().is_some_and(|line| !line.ends_with(" 0")) { Ok(()) } else { Err(format!("{cost:?}")) }
    })
    .await;
    let text = muster.metrics().await;
    for line in ["muster_prices_unknown{market=\"spot\"} 1\n", "muster_prices_unknown{market=\"on-demand\"} 1\n"] {
        assert!(text.contains(line), "{line}");
    }
    assert!(text.contains("muster_prices_timestamp_seconds{market=\"spot\"}"), "{text}");
    assert!(!text.contains("currency=\"\""), "no cost without a price:\n{text}");
    let page = muster.page("/").await;
    assert!(page.contains("spot prices of") && page.contains("4 of the 6 that the pools need"), "{page}");
    // There is one call for all spot prices, and one for each type on demand, however many instances there are.
    let count = async |op: &str| moto.calls_of(op).await.len();
    assert_eq!((count("DescribeSpotPriceHistory").await, count("GetProducts").await, count("DescribeSubnets").await), (1, 3, 1));
}

#[tokio::test]
async fn where_the_role_may_not_it_is_told_once_and_terraforms_list_fills() {
    let Some((moto, _github, world, mut muster)) = stage(&[linux()]).await else { return };
    for (op, code) in [("DescribeSpotPriceHistory", "UnauthorizedOperation"), ("GetProducts", "AccessDeniedException")] {
        let message = "You are not authorized to perform this operation.";
        moto.fault(json!({ "op": op, "kind": "error", "status": 403, "code": code, "message": message, "times": -1 })).await;
    }
    let list = "asOf: 2026-11-02\ncurrency: USD\nlinux:\n  m7i.large: {onDemand: 0.2, spot: 0.1}\n";
    let put = moto.s3.put_object().bucket(&world.bucket).key("manifests/prices/aws.yaml");
    put.body(list.as_bytes().to_vec().into()).send().await.expect("moto stores an object");
    muster.set_env("MUSTER_FALLBACK_PRICES", &format!("s3://{}/manifests/prices/aws.yaml", world.bucket));
    muster.spawn();
    muster.ready().await;
    let said = prices(&muster, "allow pricing:GetProducts").await;
    assert!(said.contains("allow ec2:DescribeSpotPriceHistory"), "{said}");
    assert_eq!(row(&said, "m7i.large"), "m7i.large linux 0.2000 USD 0.1000 USD aws.yaml of 2026-11-02");
    assert_eq!(row(&said, "m6i.large"), "m6i.large linux unknown unknown -");
    // Prices are read anew when the pools want other types. The same refusal is not reported again.
    muster.write_pool(&linux().set("instance.types", "[m7i.large, r7i.large]"));
    let said = prices(&muster, "r7i.large").await;
    assert!(said.contains("allow pricing:GetProducts"), "{said}");
    eventually(secs(30), "muster asks again for both", || async {
        let asked = moto.calls_of("DescribeSpotPriceHistory").await.len();
        if asked == 2 { Ok(()) } else { Err(format!("asked {asked} times")) }
    })
    .await;
    let told = muster.logs().lines().filter(|line| line.contains("prices cannot be read") && line.contains("SpotPrice")).count();
    assert_eq!(told, 1, "{}", muster.logs());
}

#[tokio::test]
async fn the_users_own_list_wins_and_one_that_cannot_be_read_ends_the_start() {
    let Some((moto, _github, _world, mut muster)) = stage(&[linux()]).await else { return };
    muster.write("../mine.yaml", "asOf: 2026-10-01\ncurrency: USD\nlinux:\n  m7i.large: {onDemand: 0.07}\n");
    let path = muster.manifests().join("../mine.yaml").display().to_string();
    muster.args(&["--prices", &path]);
    muster.spawn();
    muster.ready().await;
    let said = prices(&muster, "prices that the pools need: 4, of which known: 4").await;
    let own = row(&said, "m7i.large");
    assert!(own.starts_with("m7i.large linux 0.0700 USD 0.0450 USD mine.yaml of 2026-10-01, AWS of "), "{own}");
    let manifests = muster.manifests().display().to_string();
    let (code, _, complaint) = muster.command(&["run", "--manifests", &manifests, "--prices", "s3://nowhere/p.yaml"]).await;
    assert!(code != 0 && complaint.contains("s3://nowhere/p.yaml"), "{code}: {complaint}");
    let refused = moto.take_violations().await;
    assert!(refused.iter().all(|line| line.contains("arn:aws:s3:::nowhere/p.yaml")), "{refused:#?}");
}
