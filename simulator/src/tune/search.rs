//! The search: which manifests to try next, and what to say in the end. It runs nothing itself, has no clock, and asks a [`Lab`].
//!
//! Many variants get a short look, the better ones a longer one, and a few are run on all that the search may see. The finalists are
//! judged by the part of the trace that was held out, with seeds that the search did not use.

use std::sync::Arc;
use std::time::Duration;

use muster_reconciler::ids::PoolName;
use muster_reconciler::manifest::{IdleSchedule, Spec};
use muster_reconciler::time::Time;

use super::frontier::{Rating, frontier, ranked};
use super::goal::{Goal, GoalRank};
use super::knobs::{KnobSetting, Variant};
use super::measure::{Measure, WaitCounts};
use super::split::{HoldOut, Split, TracePiece};

/// One run that is wanted.
#[derive(Clone, Debug)]
pub struct TuneRun {
    /// The manifests.
    pub spec: Arc<Spec>,
    /// The part of the trace.
    pub piece: TracePiece,
    /// Decides what is left to chance.
    pub seed: u64,
}

/// Whoever can run manifests.
pub trait Lab {
    /// What each run gave, in the order of `runs`. None: the time for the search is over. `must` asks for an answer in any case.
    fn measure(&mut self, runs: &[TuneRun], must: bool) -> Option<Vec<Measure>>;
}

/// What is searched, and how.
#[derive(Clone, Debug)]
pub struct Quest {
    /// The manifests as they are.
    pub base: Arc<Spec>,
    /// What is wanted of the waits.
    pub goal: Goal,
    /// The most that a day may cost. None: no limit.
    pub budget: Option<f64>,
    /// How many more jobs than today, as a share, may be lost with their instances.
    pub may_lose: f64,
    /// How the trace is divided.
    pub split: Split,
    /// The time of the greatest burst of jobs that the search may see. A short look does not leave it out.
    pub burst: Option<Time>,
    /// How many jobs each shown piece has.
    pub weights: Vec<usize>,
    /// Changes to try by themselves, the most promising of each pool first.
    pub singles: Vec<(PoolName, KnobSetting)>,
    /// How many variants are tried at most, the manifests as they are included.
    pub candidates: usize,
    /// The seeds of the final judgement.
    pub seeds: u64,
    /// The first seed.
    pub seed: u64,
}

/// A figure over several seeds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct OverSeeds {
    /// The mean.
    pub mean: f64,
    /// The least.
    pub min: f64,
    /// The most.
    pub max: f64,
}

impl OverSeeds {
    fn of(values: &[f64]) -> OverSeeds {
        let mean = values.iter().sum::<f64>() / (values.len() as f64).max(1.0);
        let (min, max) = values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(*v), b.max(*v)));
        OverSeeds { mean, min, max }
    }
}

/// What a variant costs and gives, by the part of the trace that was held out.
#[derive(Clone, Debug, PartialEq)]
pub struct Finalist {
    /// What is changed.
    pub variant: Variant,
    /// What a day costs.
    pub cost: OverSeeds,
    /// The wait in seconds at the goal's rank.
    pub wait: OverSeeds,
    /// The median wait in seconds.
    pub p50: OverSeeds,
    /// The 95th percentile of the waits in seconds.
    pub p95: OverSeeds,
    /// The share of the jobs that waited no longer than the goal says.
    pub within: OverSeeds,
    /// The share of the jobs that were lost with their instance.
    pub lost: OverSeeds,
    /// With how many seeds the goal was met.
    pub met: u64,
    /// More jobs are lost than `may_lose` admits.
    pub loses: bool,
    /// Pools that reached `capacity.max`.
    pub full: Vec<PoolName>,
}

/// Why none of the finalists is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unchosen {
    /// None meets the goal with every seed.
    GoalUnmet,
    /// Those that meet the goal cost more than the budget.
    OverBudget,
}

/// What the search found.
#[derive(Clone, Debug, PartialEq)]
pub struct TuneFindings {
    /// The manifests as they are.
    pub today: Finalist,
    /// Those that no other beats, the cheapest first. The manifests as they are may be among them.
    pub frontier: Vec<Finalist>,
    /// The cheapest of the frontier that meets the goal within the budget, or why there is none.
    pub chosen: Result<usize, Unchosen>,
    /// How many variants were tried.
    pub tried: usize,
    /// How many runs that took.
    pub runs: usize,
    /// The time for the search was over before all was tried.
    pub cut_short: bool,
    /// How many jobs the final judgement counts, with each seed.
    pub judged_by: u64,
    /// Rules of its own that the controller broke in any run. Each is a bug of muster.
    pub violations: Vec<String>,
}

/// Of the variants, this share is tried by itself at first. The rest combines what did well.
const SINGLES_PERCENT: usize = 60;
/// In how many rounds combinations are made. Later ones combine the best of the earlier ones.
const ROUNDS: usize = 3;
/// How many of the best take part in combinations.
const PARENTS: usize = 12;
/// How many finalists there are, beside the manifests as they are.
const FINALISTS: usize = 5;
/// A short look runs one hour of so many.
const EVERY_NTH_HOUR: usize = 4;
/// The most pieces that the longer looks run.
const MOST_PIECES: usize = 7;
/// Losses differ by chance between seeds. A share of this much more is not called more.
const LOSS_NOISE: f64 = 0.005;
/// The seeds of the final judgement begin this far from those of the search.
const FRESH: u64 = 1_000_000;

/// Searches.
pub fn search(quest: &Quest, lab: &mut dyn Lab) -> TuneFindings {
    let mut hunt = Hunt { quest, lab, variants: Vec::new(), runs: 0, cut_short: false, violations: Vec::new() };
    let looked = hunt.look_at_many();
    let finalists = hunt.narrow(looked);
    hunt.judge(finalists)
}

struct Hunt<'a> {
    quest: &'a Quest,
    lab: &'a mut dyn Lab,
    variants: Vec<Variant>,
    runs: usize,
    cut_short: bool,
    violations: Vec<String>,
}

impl Hunt<'_> {
    /// Runs each of these variants on all pieces. None: the time is over.
    fn run(&mut self, of: &[usize], pieces: &[TracePiece], seed: u64, must: bool) -> Option<Vec<Measure>> {
        let mut runs = Vec::with_capacity(of.len() * pieces.len());
        for nth in of {
            let spec = self.variants.get(*nth).map(|variant| variant.applied(&self.quest.base))?;
            runs.extend(pieces.iter().map(|piece| TuneRun { spec: Arc::clone(&spec), piece: *piece, seed }));
        }
        let Some(measured) = self.lab.measure(&runs, must) else {
            self.cut_short = true;
            return None;
        };
        self.runs += runs.len();
        let mut sums = Vec::with_capacity(of.len());
        for each in measured.chunks(pieces.len().max(1)) {
            let mut sum = Measure::default();
            each.iter().for_each(|measure| sum.add(measure));
            self.violations.append(&mut sum.violations);
            sums.push(sum);
        }
        Some(sums)
    }

    /// A short look at single changes, and then at combinations. Returns the variants with their standing, the best first.
    fn look_at_many(&mut self) -> Vec<usize> {
        let quest = self.quest;
        let most = quest.candidates.max(1);
        self.variants.push(Variant::default());
        let singles = (most * SINGLES_PERCENT / 100).max(2).min(most);
        let single = |(pool, setting): &(PoolName, KnobSetting)| Variant::single(pool.clone(), setting.clone());
        self.variants.extend(quest.singles.iter().take(singles - 1).map(single));
        let pieces = quest.short_look();
        let all: Vec<usize> = (0..self.variants.len()).collect();
        let Some(mut seen) = self.run(&all, &pieces, quest.seed, false) else { return vec![0] };
        for round in 1..=ROUNDS {
            let order = self.order(&(0..seen.len()).collect::<Vec<_>>(), &seen);
            let room = (most - seen.len().min(most)).div_ceil(ROUNDS + 1 - round);
            let children = self.children(&order, room);
            if children.is_empty() {
                break;
            }
            let begin = self.variants.len();
            self.variants.extend(children);
            let new: Vec<usize> = (begin..self.variants.len()).collect();
            let Some(more) = self.run(&new, &pieces, quest.seed, false) else {
                self.variants.truncate(begin);
                break;
            };
            seen.extend(more);
        }
        self.order(&(0..seen.len()).collect::<Vec<_>>(), &seen)
    }

    /// Longer looks at fewer variants. Returns the finalists.
    fn narrow(&mut self, mut order: Vec<usize>) -> Vec<usize> {
        let quest = self.quest;
        let (longer, whole) = quest.long_looks();
        let fifth = (self.variants.len() / 5).clamp(2 * FINALISTS, 40);
        for (keep, pieces, seed) in [(fifth, longer, quest.seed), (FINALISTS + 2, whole, quest.seed.wrapping_add(1))] {
            order.truncate(keep);
            // What is changed is compared with what is.
            if !order.contains(&0) {
                order.push(0);
            }
            let Some(seen) = self.run(&order, &pieces, seed, false) else { break };
            order = self.order(&order, &seen);
        }
        order.retain(|nth| *nth != 0);
        order.truncate(FINALISTS);
        order.insert(0, 0);
        order
    }

    /// The variants in the order of promise, by what the search may see of their runs. The first measure of variant 0 says how many jobs
    /// are lost today.
    fn order(&self, of: &[usize], seen: &[Measure]) -> Vec<usize> {
        let lost = of.iter().position(|nth| *nth == 0).and_then(|at| seen.get(at)).map_or(0.0, Measure::lost_share);
        let standing = |(nth, measure): (&usize, &Measure)| self.standing(*nth, measure, &measure.shown, lost);
        let all: Vec<Rating> = of.iter().zip(seen).map(standing).collect();
        ranked(&all, self.quest.goal).into_iter().filter_map(|at| of.get(at).copied()).collect()
    }

    fn standing(&self, nth: usize, measure: &Measure, waits: &WaitCounts, lost_today: f64) -> Rating {
        Rating {
            cost: measure.cost_a_day(),
            wait: waits.at(self.quest.goal.rank),
            late: 1.0 - waits.within(self.quest.goal.limit.get()),
            loses: measure.lost_share() > lost_today + self.quest.may_lose + LOSS_NOISE,
            changes: self.variants.get(nth).map_or(0, Variant::len),
        }
    }

    /// Combinations of the best, and their floors a little larger and smaller, which were not tried yet.
    fn children(&self, order: &[usize], room: usize) -> Vec<Variant> {
        let parents: Vec<&Variant> =
            order.iter().filter_map(|nth| self.variants.get(*nth)).filter(|variant| !variant.is_empty()).take(PARENTS).collect();
        let mut new: Vec<Variant> = Vec::new();
        let mut add = |child: Variant| {
            if new.len() < room && !new.contains(&child) && !self.variants.contains(&child) {
                new.push(child);
            }
        };
        // Pairs in the order of promise: first with second, first with third, second with third, and so on.
        for late in 0..parents.len() {
            let Some(child) = parents.get(late) else { break };
            for sized in self.resized(child) {
                add(sized);
            }
            for early in parents.iter().take(late) {
                early.with(child).into_iter().for_each(&mut add);
            }
        }
        new
    }

    fn resized(&self, variant: &Variant) -> Vec<Variant> {
        let mut all = Vec::new();
        for (pool, setting) in variant.settings() {
            let max = self.quest.base.pools.get(pool).map_or(0, |p| p.spec.capacity.max);
            let sizes = [(3, 4), (4, 3), (1, 2)].into_iter().filter_map(|(num, den)| setting.scaled(num, den, max));
            all.extend(sizes.filter(|scaled| !is_no_floor(scaled)).map(|scaled| variant.but(pool, scaled)));
        }
        all
    }

    /// Judges the finalists, of which the first is the manifests as they are, by what was held out.
    fn judge(mut self, finalists: Vec<usize>) -> TuneFindings {
        let quest = self.quest;
        let mut by_seed: Vec<Vec<Measure>> = Vec::new();
        for nth in 0..quest.seeds.max(1) {
            let seed = quest.seed.wrapping_add(FRESH + nth);
            by_seed.extend(self.run(&finalists, &quest.split.held, seed, true));
        }
        let lost_today = by_seed.iter().filter_map(|of_seed| of_seed.first()).map(Measure::lost_share).sum::<f64>()
            / (by_seed.len() as f64).max(1.0);
        let measures = |at: usize| by_seed.iter().filter_map(|of_seed| of_seed.get(at)).collect::<Vec<_>>();
        let judged: Vec<Finalist> =
            finalists.iter().enumerate().map(|(at, nth)| self.finalist(*nth, &measures(at), lost_today)).collect();
        let standings: Vec<Rating> = judged.iter().map(Finalist::standing).collect();
        let front: Vec<Finalist> =
            frontier(&standings, quest.goal).into_iter().filter_map(|at| judged.get(at).cloned()).collect();
        let meets = |f: &Finalist| f.met == quest.seeds.max(1) && !f.loses;
        let affordable = |f: &Finalist| quest.budget.is_none_or(|most| f.cost.mean <= most);
        let chosen = match front.iter().position(|f| meets(f) && affordable(f)) {
            Some(at) => Ok(at),
            None if front.iter().any(meets) => Err(Unchosen::OverBudget),
            None => Err(Unchosen::GoalUnmet),
        };
        self.violations.sort();
        self.violations.dedup();
        TuneFindings {
            today: judged.into_iter().next().unwrap_or_else(|| self.finalist(0, &[], 0.0)),
            judged_by: measures(0).first().map_or(0, |measure| measure.held.jobs()),
            frontier: front,
            chosen,
            tried: self.variants.len(),
            runs: self.runs,
            cut_short: self.cut_short,
            violations: self.violations,
        }
    }

    fn finalist(&self, nth: usize, measures: &[&Measure], lost_today: f64) -> Finalist {
        let goal = self.quest.goal;
        let over = |of: &dyn Fn(&Measure) -> f64| OverSeeds::of(&measures.iter().map(|measure| of(measure)).collect::<Vec<_>>());
        let lost = over(&Measure::lost_share);
        let max = |pool: &PoolName| self.quest.base.pools.get(pool).map_or(u64::MAX, |p| u64::from(p.spec.capacity.max));
        let mut full: Vec<PoolName> = Vec::new();
        for (pool, _) in measures.iter().flat_map(|m| &m.peaks).filter(|(pool, peak)| **peak >= max(pool) && **peak > 0) {
            if !full.contains(pool) {
                full.push(pool.clone());
            }
        }
        Finalist {
            variant: self.variants.get(nth).cloned().unwrap_or_default(),
            cost: over(&Measure::cost_a_day),
            wait: over(&|m| m.held.at(goal.rank)),
            p50: over(&|m| m.held.at(GoalRank::P50)),
            p95: over(&|m| m.held.at(GoalRank::P95)),
            within: over(&|m| m.held.within(goal.limit.get())),
            lost,
            met: measures.iter().filter(|m| goal.met_by(m.held.at(goal.rank))).count() as u64,
            loses: lost.mean > lost_today + self.quest.may_lose + LOSS_NOISE,
            full,
        }
    }
}

impl Finalist {
    /// Where it stands among the others.
    pub fn standing(&self) -> Rating {
        Rating {
            cost: self.cost.mean,
            wait: self.wait.mean,
            late: 1.0 - self.within.mean,
            loses: self.loses,
            changes: self.variant.len(),
        }
    }
}

fn is_no_floor(setting: &KnobSetting) -> bool {
    let cold = |schedule: &IdleSchedule| schedule.idle == 0;
    matches!(setting, KnobSetting::Floor(0, schedules) if schedules.iter().all(cold))
}

impl Quest {
    /// One hour of four of a shown piece, so that the greatest burst is in one of them.
    fn short_look(&self) -> Vec<TracePiece> {
        self.hours(EVERY_NTH_HOUR)
    }

    /// The pieces of the second look and of the third.
    fn long_looks(&self) -> (Vec<TracePiece>, Vec<TracePiece>) {
        match self.split.how {
            HoldOut::Blocks => (self.hours(EVERY_NTH_HOUR / 2), self.split.shown.clone()),
            HoldOut::Days => (self.busiest(2), self.busiest(MOST_PIECES)),
        }
    }

    /// One hour of so many, of the piece with the greatest burst. A short piece is taken as a whole.
    fn hours(&self, every: usize) -> Vec<TracePiece> {
        let hour = Duration::from_secs(3600);
        let with_burst = self.split.shown.iter().find(|piece| self.burst.is_some_and(|burst| piece.has(burst)));
        let Some(piece) = with_burst.copied().or_else(|| self.busiest(1).first().copied()) else { return Vec::new() };
        let hours: Vec<TracePiece> = (0u32..)
            .map(|n| piece.from + hour * n)
            .take_while(|from| *from < piece.until)
            .map(|from| TracePiece { from, until: (from + hour).min(piece.until) })
            .collect();
        if hours.len() < 2 * every {
            return vec![piece];
        }
        let at = hours.iter().position(|hour| self.burst.is_some_and(|burst| hour.has(burst))).unwrap_or(0);
        hours.into_iter().enumerate().filter(|(nth, _)| nth % every == at % every).map(|(_, hour)| hour).collect()
    }

    /// So many shown pieces, from the busiest to the quietest at even distances, in the order of time.
    fn busiest(&self, most: usize) -> Vec<TracePiece> {
        let mut by_jobs: Vec<(usize, TracePiece)> = self.weights.iter().copied().zip(self.split.shown.iter().copied()).collect();
        by_jobs.sort_by_key(|(jobs, piece)| (std::cmp::Reverse(*jobs), piece.from));
        let (all, wanted) = (by_jobs.len(), most.min(by_jobs.len()).max(1));
        let mut chosen: Vec<TracePiece> =
            (0..wanted).filter_map(|n| by_jobs.get(n * all / wanted)).map(|(_, piece)| *piece).collect();
        chosen.sort_by_key(|piece| piece.from);
        chosen
    }
}
