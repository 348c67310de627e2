//! The most that a day may cost: `40/day`.

use std::str::FromStr;

/// Money for a time, in the currency of the prices.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DayBudget {
    /// The money for one day.
    pub a_day: f64,
}

impl FromStr for DayBudget {
    type Err = String;

    fn from_str(text: &str) -> Result<DayBudget, String> {
        const WAY_OUT: &str =
            "write money and its time, such as 40/day or 1200/month (of 30 days), in the currency of the prices";
        let Some((money, time)) = text.split_once('/') else {
            return Err(format!("`{text}` does not say for what time; {WAY_OUT}"));
        };
        let days = match time.trim() {
            "day" => 1.0,
            "week" => 7.0,
            "month" => 30.0,
            other => return Err(format!("`{other}` is none of day, week and month; {WAY_OUT}")),
        };
        match money.trim().parse::<f64>() {
            Ok(money) if money > 0.0 && money.is_finite() => Ok(DayBudget { a_day: money / days }),
            _ => Err(format!("`{money}` is no amount of money above 0; {WAY_OUT}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_money_for_a_time() {
        let a_day = |text: &str| text.parse::<DayBudget>().map(|budget| budget.a_day);
        assert_eq!([a_day("40/day"), a_day("70/week"), a_day("1200/month")], [Ok(40.0), Ok(10.0), Ok(40.0)]);
        for (bad, why) in [
            ("40", "for what time"),
            ("10m", "for what time"),
            ("40/hour", "`hour` is none of"),
            ("-4/day", "`-4` is no"),
            ("x/day", "`x` is no"),
        ] {
            let error = a_day(bad).expect_err(bad);
            assert!(error.contains(why) && error.contains("such as 40/day"), "{error}");
        }
    }
}
