//! The lease, in thousands of small worlds: processes whose clocks are minutes apart, that are stopped and go on, die and start again; an
//! S3 whose answers are slow, lost, or come when nobody waits any more; an EC2 that carries out each token once.
//!
//! `MUSTER_SEEDS` sets how many worlds, and `MUSTER_FROM` the first.

#![allow(clippy::unwrap_used, missing_docs)]
#![expect(clippy::disallowed_methods, reason = "a test may be told by its environment which seeds to run")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use muster_reconciler::effect::{Launch, Launched, LaunchedInstance, Outcome};
use muster_reconciler::failure::{Failure, FailureKind};
use muster_reconciler::ids::{Intent, ListId};
use muster_reconciler::launch::{Inheritance, LaunchRecord};
use muster_reconciler::lease::{CALL_DEADLINE, LASTS, Lease, LeaseAnswer, LeaseObject, LeaseStep, LeaseUnread, READ_EVERY};
use muster_reconciler::manifest::Allocation;
use muster_reconciler::market::Market;
use muster_reconciler::time::Time;

/// Random numbers that are the same for the same seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    fn below(&mut self, most: u64) -> u64 {
        self.roll() % most.max(1)
    }
    fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }
}

/// What happens at a moment. Times are true milliseconds.
#[derive(Clone, Debug)]
enum LeaseMoment {
    /// The process looks what to do.
    Turn,
    /// The answer to the process's call, or its deadline.
    Answer {
        call: u64,
        answer: LeaseAnswer,
    },
    /// A write reaches S3.
    Arrives {
        call: u64,
        object: LeaseObject,
        over: Option<String>,
        answered: bool,
    },
    /// The process sends CreateFleet, after it was admitted.
    Send(Intent),
    /// EC2's answer, or none.
    Launched(Intent, bool),
    /// The process wants an instance.
    Want,
    Die,
    Leave,
    Start,
}

struct LeaseProcess {
    lease: Lease,
    name: String,
    /// This process's clock is ahead by this much.
    ahead: u64,
    /// The process runs nothing before this time.
    stopped_until: u64,
    alive: bool,
    call: Option<u64>,
    /// Launches that wait to be admitted.
    waiting: BTreeSet<Intent>,
    /// Inherited launches without an answer. New launches wait for them.
    unsettled: BTreeSet<Intent>,
    asked: BTreeMap<Intent, Arc<Launch>>,
    made: u64,
    term: u64,
    /// When the next turn comes.
    turn_at: u64,
}

/// How hard the world is.
#[derive(Clone, Copy)]
struct LeaseWeather {
    lost: u64,
    slow: u64,
    stops: u64,
    deaths: u64,
}

struct LeaseWorld {
    dice: Dice,
    now: u64,
    order: u64,
    moments: BTreeMap<(u64, u64), (usize, u64, LeaseMoment)>,
    processes: Vec<LeaseProcess>,
    /// How often the process in each place was started. A moment of an earlier start means nothing.
    starts: Vec<u64>,
    object: Option<(LeaseObject, String)>,
    writes: u64,
    calls: u64,
    weather: LeaseWeather,
    /// The tokens that EC2 carried out.
    carried_out: BTreeSet<Intent>,
    /// The newest term in which something new was launched.
    newest: u64,
    free_since: Option<(u64, bool)>,
    gaps: Vec<(bool, u64)>,
    terms: u64,
    seed: u64,
}

fn launch(intent: &Intent) -> Arc<Launch> {
    Arc::new(Launch {
        intent: intent.clone(),
        pool: "p".into(),
        list_id: ListId::default(),
        count: 1,
        template: "t".into(),
        offerings: Vec::new(),
        market: Market::Spot,
        allocation: Allocation::default(),
        tags: BTreeMap::new(),
    })
}

impl LeaseWorld {
    fn new(seed: u64, weather: LeaseWeather) -> LeaseWorld {
        let mut world = LeaseWorld {
            dice: Dice(seed),
            now: 1_000,
            order: 0,
            moments: BTreeMap::new(),
            processes: Vec::new(),
            starts: vec![0; 3],
            object: None,
            writes: 0,
            calls: 0,
            weather,
            carried_out: BTreeSet::new(),
            newest: 0,
            free_since: None,
            gaps: Vec::new(),
            terms: 0,
            seed,
        };
        let places = if world.dice.percent(50) { 2 } else { 3 };
        for place in 0..places {
            world.processes.push(LeaseWorld::process(place, 0, world.dice.below(600_000)));
            let at = world.dice.below(5_000);
            world.put(place, at, LeaseMoment::Start);
        }
        world
    }

    fn process(place: usize, start: u64, ahead: u64) -> LeaseProcess {
        let name = format!("c-{place}-{start}");
        LeaseProcess {
            lease: Lease::new(&name),
            name,
            ahead,
            stopped_until: 0,
            alive: false,
            call: None,
            waiting: BTreeSet::new(),
            unsettled: BTreeSet::new(),
            asked: BTreeMap::new(),
            made: 0,
            term: 0,
            turn_at: u64::MAX,
        }
    }

    fn put(&mut self, place: usize, after: u64, moment: LeaseMoment) {
        self.order += 1;
        self.moments.insert((self.now + after, self.order), (place, self.starts[place], moment));
    }

    fn clock(&self, place: usize) -> Time {
        Time::from_millis(self.now + self.processes[place].ahead)
    }

    /// The true time until which a process is sure to hold the lease.
    fn sure(&self, place: usize) -> Option<u64> {
        let p = &self.processes[place];
        p.lease.sure_until().filter(|_| p.alive).map(|sure| sure.as_millis() - p.ahead)
    }

    fn run(&mut self, until: u64) {
        while let Some((&(at, order), _)) = self.moments.iter().next() {
            if at > until {
                break;
            }
            let (place, start, moment) = self.moments.remove(&(at, order)).expect("the first moment");
            self.now = at;
            // What is under way in the network goes on when its process is stopped or dead.
            let of_process = !matches!(moment, LeaseMoment::Arrives { .. } | LeaseMoment::Start);
            if of_process && start != self.starts[place] {
                continue;
            }
            let stopped = self.processes[place].stopped_until;
            if of_process && stopped > at && !matches!(moment, LeaseMoment::Die) {
                let after = stopped - at;
                self.put(place, after, moment);
                continue;
            }
            self.happen(place, start, moment);
        }
        self.now = until;
    }

    fn happen(&mut self, place: usize, start: u64, moment: LeaseMoment) {
        let now = self.clock(place);
        match moment {
            LeaseMoment::Start => {
                self.starts[place] += 1;
                let ahead = self.dice.below(600_000);
                self.processes[place] = LeaseWorld::process(place, self.starts[place], ahead);
                self.processes[place].alive = true;
                self.turn_soon(place, 0);
                self.put(place, 500, LeaseMoment::Want);
            }
            // A turn that was put off to an earlier time comes once.
            LeaseMoment::Turn if self.processes[place].turn_at > self.now => {}
            LeaseMoment::Turn => {
                self.processes[place].turn_at = u64::MAX;
                self.turn(place);
            }
            LeaseMoment::Arrives { call, object, over, answered } => {
                let fits = self.object.as_ref().map(|(_, etag)| etag.clone()) == over;
                let etag = fits.then(|| {
                    self.writes += 1;
                    let etag = format!("e{}", self.writes);
                    if object.holder.is_none() {
                        self.free_since = Some((self.now, true));
                    }
                    self.object = Some((object, etag.clone()));
                    etag
                });
                if answered && start == self.starts[place] {
                    self.put(place, 5, LeaseMoment::Answer { call, answer: LeaseAnswer::Written(Ok(etag)) });
                }
            }
            LeaseMoment::Answer { call, answer } => {
                let p = &mut self.processes[place];
                if p.call != Some(call) {
                    return;
                }
                p.call = None;
                p.lease.heard(answer, now);
                if let Some(inheritance) = p.lease.take_inheritance(now) {
                    self.begins(place, inheritance);
                }
                self.turn(place);
            }
            LeaseMoment::Want => {
                self.put(place, 700, LeaseMoment::Want);
                let p = &mut self.processes[place];
                if p.lease.sure_until().is_some() && p.unsettled.is_empty() {
                    p.made += 1;
                    let intent: Intent = format!("{}-{}", p.name, p.made).into();
                    self.ask(place, &intent);
                }
            }
            LeaseMoment::Send(intent) => {
                let new = self.carried_out.insert(intent.clone());
                let term = self.processes[place].term;
                let own =
                    self.processes[place].made > 0 && intent.as_str().starts_with(&format!("{}-", self.processes[place].name));
                assert!(
                    !new || term >= self.newest,
                    "seed {}: {} ms: EC2 launched {intent} of term {term} for the first time, after term {} had launched something new",
                    self.seed,
                    self.now,
                    self.newest
                );
                if own {
                    self.newest = self.newest.max(term);
                }
                let answered = !self.dice.percent(self.weather.lost);
                self.put(place, 30, LeaseMoment::Launched(intent, answered));
            }
            LeaseMoment::Launched(intent, answered) => {
                let p = &mut self.processes[place];
                let instances = vec![LaunchedInstance {
                    id: "i-1".into(),
                    instance_type: "m7i.large".into(),
                    subnet: None,
                    market: Market::Spot,
                }];
                let outcome = match answered {
                    true => Outcome::Launched(Launched { instances, errors: Vec::new() }),
                    false => Outcome::Failed(Failure::new(FailureKind::Ambiguous, "lost")),
                };
                p.lease.launch_ended(&intent, &outcome, now);
                match answered {
                    true => drop(p.unsettled.remove(&intent)),
                    false => self.ask(place, &intent),
                }
            }
            LeaseMoment::Leave => {
                self.processes[place].lease.leave();
                self.turn(place);
            }
            LeaseMoment::Die => {
                if self.sure(place).is_some_and(|sure| sure > self.now) {
                    self.free_since = Some((self.now, false));
                }
                self.end(place);
            }
        }
        let chance = self.weather.stops;
        if self.dice.below(1_000) < chance && self.processes[place].alive {
            self.processes[place].stopped_until = self.now + self.dice.below(60_000);
        }
        if self.dice.below(3_000) < self.weather.deaths && self.processes[place].alive {
            let how = if self.dice.percent(50) { LeaseMoment::Die } else { LeaseMoment::Leave };
            self.put(place, 0, how);
        }
    }

    fn end(&mut self, place: usize) {
        self.processes[place].alive = false;
        self.starts[place] += 1;
        let after = 1_000 + self.dice.below(20_000);
        self.put(place, after, LeaseMoment::Start);
    }

    fn ask(&mut self, place: usize, intent: &Intent) {
        let now = self.clock(place);
        let p = &mut self.processes[place];
        let launch = p.asked.entry(intent.clone()).or_insert_with(|| launch(intent)).clone();
        p.lease.record(&launch, now);
        p.waiting.insert(intent.clone());
        self.turn_soon(place, 0);
    }

    fn turn_soon(&mut self, place: usize, after: u64) {
        let at = self.now + after;
        if at < self.processes[place].turn_at {
            self.processes[place].turn_at = at;
            self.put(place, after, LeaseMoment::Turn);
        }
    }

    fn begins(&mut self, place: usize, inheritance: Inheritance) {
        self.terms += 1;
        for other in (0..self.processes.len()).filter(|other| *other != place) {
            let sure = self.sure(other).filter(|sure| *sure > self.now);
            assert_eq!(sure, None, "seed {}: {} ms: processes {place} and {other} both hold the lease", self.seed, self.now);
        }
        if let Some((since, clean)) = self.free_since.take() {
            self.gaps.push((clean, self.now - since));
        }
        let p = &mut self.processes[place];
        p.term = inheritance.term;
        for LaunchRecord { launch, launched } in inheritance.launches.unwrap_or_default() {
            if launched.is_none() {
                p.unsettled.insert(launch.intent.clone());
                p.asked.insert(launch.intent.clone(), launch);
            }
        }
        for intent in p.unsettled.clone() {
            self.ask(place, &intent);
        }
    }

    fn turn(&mut self, place: usize) {
        let now = self.clock(place);
        let admitted: Vec<Intent> = {
            let p = &self.processes[place];
            p.waiting.iter().filter(|intent| p.lease.admits(intent, now)).cloned().collect()
        };
        for intent in admitted {
            self.processes[place].waiting.remove(&intent);
            // The call is in the process's hand. If the process is stopped now, the call goes out when the process goes on.
            let after = self.dice.below(3);
            self.put(place, after, LeaseMoment::Send(intent));
        }
        if self.processes[place].call.is_some() {
            return;
        }
        self.calls += 1;
        let call = self.calls;
        let delay = 5 + if self.dice.percent(self.weather.slow) { self.dice.below(12_000) } else { self.dice.below(80) };
        let deadline = CALL_DEADLINE.as_millis() as u64;
        let lost = self.dice.percent(self.weather.lost);
        let p = &mut self.processes[place];
        match p.lease.next(now) {
            LeaseStep::Wait(until) => {
                let after = until.since(now).as_millis().max(1) as u64;
                self.turn_soon(place, after.min(1_000));
            }
            LeaseStep::Over(_) => {
                if self.free_since.is_none()
                    && self.object.as_ref().is_some_and(|(o, _)| o.holder.as_ref() == Some(&self.processes[place].name))
                {
                    self.free_since = Some((self.now, false));
                }
                self.end(place);
            }
            LeaseStep::Read => {
                p.call = Some(call);
                // The object is read somewhere between the beginning and the answer; here, at the beginning.
                let found = Ok(self.object.clone());
                let silent = LeaseAnswer::Read(Err(LeaseUnread::NoAnswer("no answer".into())));
                let (after, answer) =
                    if lost || delay > deadline { (deadline, silent) } else { (delay, LeaseAnswer::Read(found)) };
                self.put(place, after, LeaseMoment::Answer { call, answer });
            }
            LeaseStep::Write(object, over) => {
                p.call = Some(call);
                let silent = LeaseAnswer::Written(Err("no answer".into()));
                let (vanishes, answered) = (lost && self.dice.percent(50), !lost && delay < deadline - 10);
                if !vanishes {
                    self.put(place, delay, LeaseMoment::Arrives { call, object, over, answered });
                }
                if !answered {
                    self.put(place, deadline, LeaseMoment::Answer { call, answer: silent });
                }
            }
        }
    }
}

fn seeds() -> std::ops::Range<u64> {
    let number = |name: &str, usual: u64| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual);
    let from = number("MUSTER_FROM", 0);
    from..from + number("MUSTER_SEEDS", 300)
}

#[test]
fn one_process_holds_the_lease_and_no_launch_is_carried_out_behind_its_back() {
    let (mut terms, mut launches) = (0, 0);
    for seed in seeds() {
        let mut dice = Dice(seed ^ 0x5eed);
        let weather = LeaseWeather { lost: dice.below(20), slow: dice.below(20), stops: dice.below(20), deaths: dice.below(20) };
        let mut world = LeaseWorld::new(seed, weather);
        world.run(600_000);
        terms += world.terms;
        launches += world.carried_out.len();
    }
    assert!(terms > seeds().count() as u64 * 3 && launches > seeds().count() * 100, "{terms} terms, {launches} launches");
    println!("{terms} terms, {launches} launches");
}

/// Where S3 answers and nobody is stopped, the lease has a holder again 10 s after a clean end, and 30 s after a death.
#[test]
fn a_successor_takes_over_soon() {
    let mut worst = [0; 2];
    let mut seen = [0; 2];
    for seed in seeds() {
        let mut world = LeaseWorld::new(seed, LeaseWeather { lost: 0, slow: 0, stops: 0, deaths: 10 });
        // The first process dies and starts again, but another one always stands by.
        world.weather.deaths = 0;
        world.run(30_000);
        for _ in 0..8 {
            let holder = (0..world.processes.len()).find(|place| world.sure(*place).is_some_and(|sure| sure > world.now));
            let Some(place) = holder else { panic!("seed {seed}: nobody holds the lease at {} ms", world.now) };
            let how = if world.dice.percent(50) { LeaseMoment::Die } else { LeaseMoment::Leave };
            world.put(place, 0, how);
            let until = world.now + 45_000 + world.dice.below(5_000);
            world.run(until);
        }
        for (clean, gap) in &world.gaps {
            let which = usize::from(*clean);
            worst[which] = worst[which].max(*gap);
            seen[which] += 1;
        }
    }
    println!(
        "after a death: {} ms at most ({} times); after a clean end: {} ms at most ({} times)",
        worst[0], seen[0], worst[1], seen[1]
    );
    assert!(seen[0] > 0 && seen[1] > 0);
    assert!(worst[0] <= 30_000 && worst[1] <= 10_000, "{worst:?}");
    assert!(LASTS + READ_EVERY + CALL_DEADLINE < Duration::from_secs(30));
}
