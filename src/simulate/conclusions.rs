//! What stands out in a run, in sentences that say what to do. A figure that a reader has to find in a table is often not found.

use std::collections::BTreeMap;
use std::time::Duration;

use muster_reconciler::ids::{InstanceId, PoolName};
use muster_reconciler::reason::count;
use muster_reconciler::time::human;
use muster_simulator::forecast::Forecast;

use super::answer::{ForecastRow, ForecastRun};
use super::table::{decimal, number};

/// From this share on, jobs of one pool that run on another pool's runners stand out; and instances that never came online.
const STANDS_OUT: f64 = 0.1;
/// Fewer jobs or instances than this say nothing.
const FEW: u64 = 5;
/// A pool at its limit matters if one job in ten waits longer than this.
const LONG_WAIT: Duration = Duration::from_secs(120);

/// The sentences about a run, the most important first. Empty: nothing stands out.
pub fn of(forecast: &Forecast, run: &ForecastRun, currency: &str) -> Vec<String> {
    let mut said = elsewhere(forecast);
    said.extend(run.pools.iter().filter_map(|row| at_its_limit(forecast, row)));
    said.extend(run.pools.iter().filter_map(|row| floor(forecast, row, currency)));
    said.extend(no_pool(run));
    said.extend(run.pools.iter().filter_map(never_online));
    said.extend(unpriced(run));
    said
}

/// How many jobs of each pool ran on runners of each pool.
fn hosts(forecast: &Forecast) -> BTreeMap<&PoolName, BTreeMap<&PoolName, u64>> {
    let pool_of: BTreeMap<&InstanceId, &PoolName> = forecast.instances.iter().map(|i| (&i.id, &i.pool)).collect();
    let mut all: BTreeMap<&PoolName, BTreeMap<&PoolName, u64>> = BTreeMap::new();
    for job in &forecast.jobs {
        let host = job.instance.as_ref().and_then(|id| pool_of.get(id));
        if let (Some(pool), Some(host)) = (&job.pool, host) {
            *all.entry(pool).or_default().entry(host).or_default() += 1;
        }
    }
    all
}

fn elsewhere(forecast: &Forecast) -> Vec<String> {
    let mut said = Vec::new();
    for (pool, hosts) in hosts(forecast) {
        let jobs: u64 = hosts.values().sum();
        for (host, n) in hosts.iter().filter(|(host, _)| **host != pool) {
            let share = *n as f64 / jobs as f64;
            if *n >= FEW && share >= STANDS_OUT {
                said.push(format!(
                    "{} of {pool}'s jobs ran on runners of {host}, which have all their labels{}",
                    share_of(share),
                    way_out(forecast, pool, host)
                ));
            }
        }
    }
    said
}

/// What to do about jobs of `pool` that ran on runners of `host`. The simulated GitHub knows no runner groups.
fn way_out(forecast: &Forecast, pool: &PoolName, host: &PoolName) -> String {
    let place = |name: &PoolName| {
        let found = forecast.spec.pools.get(name)?;
        Some((found.list_id(), found.spec.github.runner_group.to_ascii_lowercase()))
    };
    match (place(pool), place(host)) {
        (Some(ours), Some(theirs)) if ours != theirs => format!(
            "; the model knows no runner groups, and at GitHub this happens to those repositories only that the group {} admits",
            theirs.1
        ),
        _ => format!(": give {host} a runner group of its own, or {pool} a label that {host} does not have"),
    }
}

fn at_its_limit(forecast: &Forecast, row: &ForecastRow) -> Option<String> {
    let max = forecast.spec.pools.get(&PoolName::from(row.pool.as_str()))?.spec.capacity.max;
    let wait = row.wait_seconds.p90.map(|seconds| Duration::from_secs_f64(seconds.round()));
    if row.jobs < FEW || max == 0 || row.peak_instances < u64::from(max) || wait.is_some_and(|wait| wait < LONG_WAIT) {
        return None;
    }
    let waited = match wait {
        Some(wait) => format!("one job in ten waited {} or longer", human(wait)),
        None => "one job in ten never started".to_owned(),
    };
    Some(format!("{} was full with {}, and {waited}: raise its capacity.max", row.pool, count(max, "instance")))
}

fn floor(forecast: &Forecast, row: &ForecastRow, currency: &str) -> Option<String> {
    let capacity = &forecast.spec.pools.get(&PoolName::from(row.pool.as_str()))?.spec.capacity;
    let cost = row.cost.filter(|cost| *cost > 0.0)?;
    let own = hosts(forecast)
        .iter()
        .filter(|(pool, _)| pool.as_str() == row.pool)
        .flat_map(|(_, hosts)| hosts)
        .any(|(host, _)| host.as_str() == row.pool);
    let has_floor = capacity.idle > 0 || !capacity.schedules.is_empty();
    (has_floor && !own).then(|| {
        format!(
            "{} cost {} {currency} and ran none of its own jobs: its warm floor served nobody it was meant for",
            row.pool,
            decimal(cost)
        )
    })
}

fn no_pool(run: &ForecastRun) -> Option<String> {
    let jobs: u64 = run.unrouted.iter().map(|unserved| unserved.jobs).sum();
    let first = run.unrouted.first()?;
    let is = if jobs == 1 { "1 job is".to_owned() } else { format!("{} jobs are", number(jobs)) };
    Some(format!("{is} taken by no pool, such as {}: `muster match` says which pool lacks what", first.example))
}

fn never_online(row: &ForecastRow) -> Option<String> {
    let share = row.never_online as f64 / row.instances.max(1) as f64;
    (row.never_online >= FEW && share >= STANDS_OUT).then(|| {
        format!(
            "{} of {}'s {} never came online: boots that failed, and launches for jobs that another runner took first",
            number(row.never_online),
            row.pool,
            count(row.instances, "instance")
        )
    })
}

fn unpriced(run: &ForecastRun) -> Option<String> {
    let hours: f64 = run.cost.unpriced.values().sum();
    let (first, _) = run.cost.unpriced.iter().next()?;
    let more = match run.cost.unpriced.len() {
        1 => String::new(),
        n => format!(" and {}", count(n - 1, "other type")),
    };
    Some(format!("{} hours have no price, so the real cost is higher: add {first}{more} to the file of --prices", decimal(hours)))
}

/// A share in whole percent.
fn share_of(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::answer::Unserved;

    #[test]
    fn what_stands_out_is_said_and_what_does_not_is_not() {
        let row = ForecastRow { pool: "linux".into(), instances: 537, never_online: 203, ..ForecastRow::default() };
        let said = never_online(&row).expect("it stands out");
        assert!(said.starts_with("203 of linux's 537 instances never came online"), "{said}");
        assert_eq!(never_online(&ForecastRow { never_online: 4, ..row }), None);
    }

    #[test]
    fn jobs_without_a_pool_and_hours_without_a_price_are_told() {
        let mut run = ForecastRun::default();
        assert_eq!((no_pool(&run), unpriced(&run)), (None, None));
        run.unrouted.push(Unserved { jobs: 1, reason: "no pool".into(), example: "[gpu] of acme/web".into() });
        assert!(no_pool(&run).expect("one job").starts_with("1 job is taken by no pool, such as [gpu] of acme/web"));
        run.cost.unpriced.insert("windows m7i.xlarge (spot)".into(), 21.7);
        let said = unpriced(&run).expect("hours");
        assert_eq!(
            said,
            "21.70 hours have no price, so the real cost is higher: add windows m7i.xlarge (spot) to the file of --prices"
        );
    }
}
