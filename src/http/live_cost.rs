//! What the page says of the cost: now, today, and by repository.

use muster_operations::meter::CostView;
use muster_operations::usage::{NO_JOB, OTHER};

use super::live_view::money;

/// What the page says of the cost.
#[derive(Clone, Debug, Default)]
pub struct LiveCost {
    /// What the instances that run now cost in an hour. Empty: no price is known.
    pub hourly: String,
    /// The cost of the day so far. Empty: no price is known.
    pub today: String,
    /// The share of the day's instance hours without a job, in percent. Empty: no instance ran.
    pub idle: String,
    /// The repositories, the dearest first.
    pub rows: Vec<CostRow>,
}

/// What one repository used today.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CostRow {
    /// The repository, or what stands for it, in words.
    pub name: String,
    /// The instance hours.
    pub hours: String,
    /// Their share of all instance hours, in percent.
    pub share: String,
    /// The cost, or that it is unknown.
    pub cost: String,
}

impl LiveCost {
    /// What the page says of this cost.
    pub fn new(cost: &CostView) -> LiveCost {
        let known = !cost.prices.is_empty();
        let of = |amount: f64| if known { money(amount, &cost.currency) } else { String::new() };
        let share = |hours: f64| if cost.hours > 0.0 { format!("{:.0}%", hours / cost.hours * 100.0) } else { String::new() };
        let row = |name: &str, hours: f64, amount: Option<f64>| CostRow {
            name: match name {
                NO_JOB => "no job: starting, idle or ending".into(),
                OTHER => "all others".into(),
                name => name.to_owned(),
            },
            hours: format!("{hours:.1}"),
            share: share(hours),
            cost: amount.map_or_else(|| "unknown".into(), |amount| money(amount, &cost.currency)),
        };
        let rows = cost.repositories.iter().map(|used| row(&used.repository, used.hours, used.cost)).collect();
        let without = cost.repositories.iter().find(|used| used.repository == NO_JOB).map_or(0.0, |used| used.hours);
        LiveCost { hourly: of(cost.hourly), today: of(cost.total), idle: share(without), rows }
    }
}

#[cfg(test)]
mod tests {
    use muster_operations::meter::RepositoryCost;

    use super::*;

    fn used(repository: &str, hours: f64, cost: Option<f64>) -> RepositoryCost {
        RepositoryCost { repository: repository.into(), hours, cost }
    }

    #[test]
    fn each_repository_is_told_and_what_has_no_price_is_unknown() {
        let repositories = vec![used("acme/api", 6.0, Some(1.5)), used("none", 2.0, Some(0.5)), used("other", 0.4, None)];
        let view = CostView {
            currency: "USD".into(),
            prices: "AWS".into(),
            total: 2.0,
            hourly: 0.25,
            hours: 10.0,
            repositories,
            ..CostView::default()
        };
        let cost = LiveCost::new(&view);
        assert_eq!((cost.hourly.as_str(), cost.today.as_str(), cost.idle.as_str()), ("0.25 USD", "2.00 USD", "20%"));
        assert_eq!((cost.rows[0].name.as_str(), cost.rows[0].share.as_str(), cost.rows.len()), ("acme/api", "60%", 3));
        let all_others = CostRow { name: "all others".into(), hours: "0.4".into(), share: "4%".into(), cost: "unknown".into() };
        assert_eq!((cost.rows[1].name.as_str(), &cost.rows[2]), ("no job: starting, idle or ending", &all_others));
        let unpriced = LiveCost::new(&CostView { prices: String::new(), ..view });
        assert!(unpriced.hourly.is_empty() && unpriced.idle == "20%", "{unpriced:?}");
    }
}
