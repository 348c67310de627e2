//! Whose turn it is. Pools that share a budget take turns at the budget. So the backlog of one pool delays the single need of
//! another by one round at most.

use std::collections::BTreeMap;

use crate::ids::PoolName;
use crate::time::Time;

/// When each pool had its last turn at one budget.
#[derive(Clone, Debug, Default)]
pub struct Turns {
    last: BTreeMap<PoolName, Time>,
}

impl Turns {
    /// When the pool had its last turn. [`Time::ZERO`]: the pool has had none.
    pub fn last(&self, pool: &PoolName) -> Time {
        self.last.get(pool).copied().unwrap_or(Time::ZERO)
    }

    /// The pool has a turn now.
    pub fn take(&mut self, pool: &PoolName, now: Time) {
        self.last.insert(pool.clone(), now);
    }

    /// The pool is gone.
    pub fn forget(&mut self, pool: &PoolName) {
        self.last.remove(pool);
    }

    /// Puts needs, given by age, into rounds. Each round has one need of each pool. In a round, the pool whose last turn is the
    /// longest ago comes first, and of two such pools the one with the older need.
    pub fn order<T>(&self, needs: impl IntoIterator<Item = (PoolName, T)>) -> Vec<(PoolName, T)> {
        let mut rounds: BTreeMap<PoolName, usize> = BTreeMap::new();
        let mut ranked: Vec<(usize, Time, (PoolName, T))> = Vec::new();
        for (pool, need) in needs {
            let round = rounds.entry(pool.clone()).or_default();
            *round += 1;
            ranked.push((*round, self.last(&pool), (pool, need)));
        }
        ranked.sort_by_key(|(round, last, _)| (*round, *last));
        ranked.into_iter().map(|(_, _, need)| need).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(turns: &Turns, needs: &[(&str, u32)]) -> String {
        let needs = needs.iter().map(|(pool, need)| (PoolName::from(*pool), *need));
        turns.order(needs).into_iter().map(|(pool, need)| format!("{pool}{need}")).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn each_pool_has_one_need_a_round_and_the_oldest_comes_first() {
        let turns = Turns::default();
        assert_eq!(order(&turns, &[("b", 1), ("b", 2), ("b", 3), ("a", 4), ("c", 5), ("a", 6)]), "b1 a4 c5 b2 a6 b3");
    }

    #[test]
    fn who_waited_longest_for_a_turn_comes_first() {
        let mut turns = Turns::default();
        let at = Time::from_millis;
        turns.take(&"a".into(), at(20));
        turns.take(&"b".into(), at(10));
        assert_eq!(order(&turns, &[("a", 1), ("a", 2), ("b", 3), ("c", 4)]), "c4 b3 a1 a2");
        turns.forget(&"a".into());
        assert_eq!(order(&turns, &[("a", 1), ("b", 3), ("c", 4)]), "a1 c4 b3");
    }
}
