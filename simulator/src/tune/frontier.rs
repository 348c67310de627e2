//! Which of several manifests are worth a look: those that no others beat in both cost and wait.

use super::goal::Goal;

/// What manifests cost and give.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rating {
    /// What a day costs.
    pub cost: f64,
    /// The wait in seconds of the job at the goal's rank. Infinite: it never starts.
    pub wait: f64,
    /// The share of the jobs that wait longer than the goal admits.
    pub late: f64,
    /// More jobs are lost with their instances than a person accepts.
    pub loses: bool,
    /// How many changes it takes.
    pub changes: usize,
}

impl Rating {
    /// Whether these manifests are at least as good as the others in each respect, and better in one.
    pub fn beats(&self, other: &Rating) -> bool {
        let by_wait = self.wait.total_cmp(&other.wait).then(self.late.total_cmp(&other.late));
        let by_cost = self.cost.total_cmp(&other.cost);
        let no_worse = by_wait.is_le() && by_cost.is_le() && self.loses <= other.loses;
        no_worse && (by_wait.is_lt() || by_cost.is_lt() || (!self.loses && other.loses))
    }

    /// Whether these manifests do about the same with fewer changes: within 1 % of the cost, and 5 % and a second of the wait.
    fn is_simpler(&self, other: &Rating) -> bool {
        let about_as_cheap = self.cost <= other.cost * 1.01 + 0.005;
        let about_as_fast = self.wait <= other.wait * 1.05 + 1.0 && self.late <= other.late + 0.005;
        self.changes < other.changes && about_as_cheap && about_as_fast && self.loses <= other.loses
    }
}

/// Which of these nobody beats, the cheapest first. Manifests that do about the same as others with fewer changes are left out first,
/// unless they meet the goal and the others do not.
pub fn frontier(all: &[Rating], goal: Goal) -> Vec<usize> {
    let met = |standing: &Rating| goal.met_by(standing.wait);
    let needless = |it: &Rating| all.iter().any(|other| other.is_simpler(it) && (met(other) || !met(it)));
    let needed: Vec<usize> = all.iter().enumerate().filter(|(_, it)| !needless(it)).map(|(nth, _)| nth).collect();
    unbeaten(all, &needed)
}

/// Those of `of` that no other of them beats, the cheapest first. Of equals, the one with the fewest changes.
fn unbeaten(all: &[Rating], of: &[usize]) -> Vec<usize> {
    let standing = |nth: &usize| all.get(*nth);
    let mut kept: Vec<usize> = Vec::new();
    let mut sorted = of.to_vec();
    sorted.sort_by(|a, b| match (standing(a), standing(b)) {
        (Some(a), Some(b)) => a.cost.total_cmp(&b.cost).then(a.changes.cmp(&b.changes)),
        _ => a.cmp(b),
    });
    for nth in &sorted {
        let Some(it) = standing(nth) else { continue };
        let beaten = sorted.iter().filter_map(standing).any(|other| other.beats(it));
        let twin = kept.iter().filter_map(standing).any(|k| k.cost == it.cost && k.wait == it.wait && k.late == it.late);
        if !beaten && !twin {
            kept.push(*nth);
        }
    }
    kept
}

/// All of them, the most promising first: those that nobody beats, then those that only these beat, and so on. Within such a front, the
/// cheapest that meets the goal comes first, and then its neighbours in cost.
pub fn ranked(all: &[Rating], goal: Goal) -> Vec<usize> {
    let mut left: Vec<usize> = (0..all.len()).collect();
    let mut order = Vec::with_capacity(all.len());
    while !left.is_empty() {
        let mut front = unbeaten(all, &left);
        if front.is_empty() {
            order.append(&mut left);
            break;
        }
        left.retain(|nth| !front.contains(nth));
        let met = front.iter().position(|nth| all.get(*nth).is_some_and(|it| goal.met_by(it.wait) && !it.loses));
        let middle = met.unwrap_or(front.len() - 1);
        let mut near: Vec<(usize, usize)> = front.drain(..).enumerate().map(|(at, nth)| (at.abs_diff(middle), nth)).collect();
        near.sort_by_key(|(apart, _)| *apart);
        order.extend(near.into_iter().map(|(_, nth)| nth));
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(cost: f64, wait: f64, changes: usize) -> Rating {
        Rating { cost, wait, late: if wait > 30.0 { 0.1 } else { 0.0 }, loses: false, changes }
    }

    fn goal() -> Goal {
        "p95 wait <= 30s".parse().expect("a goal")
    }

    #[test]
    fn nobody_on_the_frontier_is_beaten_and_whoever_is_not_on_it_is() {
        let all =
            [at(10.0, 60.0, 0), at(12.0, 60.0, 1), at(20.0, 25.0, 1), at(19.0, 40.0, 1), at(40.0, 5.0, 2), at(50.0, 90.0, 1)];
        let front = frontier(&all, goal());
        assert_eq!(front, [0, 3, 2, 4]);
        for nth in &front {
            assert!(!all.iter().any(|other| other.beats(&all[*nth])), "{nth}");
        }
    }

    #[test]
    fn manifests_with_fewer_changes_win_when_they_do_about_the_same() {
        // The second is cheaper by less than 1 %, with two changes more.
        assert_eq!(frontier(&[at(20.0, 25.0, 1), at(19.9, 25.2, 3)], goal()), [0]);
        // It stays if only it meets the goal.
        assert_eq!(frontier(&[at(20.0, 30.5, 1), at(19.9, 29.8, 3)], goal()), [1]);
        // Twins are one.
        assert_eq!(frontier(&[at(20.0, 25.0, 2), at(20.0, 25.0, 2)], goal()), [0]);
    }

    #[test]
    fn who_loses_jobs_beats_nobody_who_does_not() {
        let risky = Rating { loses: true, ..at(5.0, 20.0, 1) };
        assert!(!risky.beats(&at(10.0, 20.0, 0)) && at(5.0, 20.0, 0).beats(&risky));
    }

    #[test]
    fn the_cheapest_that_meets_the_goal_is_the_most_promising() {
        let all = [at(10.0, 60.0, 0), at(20.0, 25.0, 1), at(40.0, 5.0, 2), at(50.0, 50.0, 2), at(15.0, 45.0, 1)];
        let order = ranked(&all, goal());
        assert_eq!((order[0], order.len(), order.last()), (1, 5, Some(&3)));
        assert_eq!(ranked(&[at(10.0, 90.0, 0), at(20.0, 70.0, 1)], goal())[0], 1, "if none meets it, the fastest");
    }
}
