//! The object of the lease in S3, and how the processes read and write it.

use std::time::Duration;

use muster_reconciler::lease::{CALL_DEADLINE, LeaseAnswer, LeaseStep, LeaseUnread};

use super::Simulation;
use crate::event::{Event, LeaseWrite};
use crate::faults::Fault;
use crate::rng::Spread;

/// How long a call of S3 takes when nothing goes wrong.
const TAKES: Spread = Spread::millis(5, 120);
/// How long a slow one takes.
const SLOW: Spread = Spread::millis(120, 12_000);

impl Simulation {
    /// The time has come at which a process wanted to look at the lease.
    pub(super) fn lease_turn(&mut self, process: u32) {
        let now = self.now();
        if let Some(member) = self.member(process).filter(|member| member.turn_at == now) {
            member.turn_at = muster_reconciler::time::Time::FAR;
            self.lease_step(process);
        }
    }

    /// The process does what the lease asks for: it reads, writes, waits or ends.
    pub(super) fn lease_step(&mut self, process: u32) {
        self.send_written(process);
        let now = self.now();
        let Some(team) = &mut self.team else { return };
        let Some(member) = team.members.get_mut(&process).filter(|member| !member.stopped && member.call.is_none()) else {
            return;
        };
        let clock = now + member.ahead;
        let step = member.lease.next(clock);
        match step {
            LeaseStep::Wait(until) => {
                let at = now + until.since(clock).max(Duration::from_millis(1));
                if at < member.turn_at || member.turn_at <= now {
                    member.turn_at = at;
                    self.nature.agenda.at(at, Event::LeaseTurn(process));
                }
            }
            LeaseStep::Over(why) => {
                let why = if why.is_empty() { "it gave the lease back".to_owned() } else { why };
                self.leaves(process, &why);
            }
            LeaseStep::Read => {
                team.calls += 1;
                let call = team.calls;
                member.call = Some(call);
                // The object is read somewhere between the beginning and the answer; here, at the beginning.
                let found = LeaseAnswer::Read(Ok(team.object.clone()));
                let silent = LeaseAnswer::Read(Err(LeaseUnread::NoAnswer("no answer".into())));
                let (takes, lost, refused) = self.s3();
                let (after, answer) = match () {
                    () if refused => (takes.min(CALL_DEADLINE), silent),
                    () if lost.is_some() || takes >= CALL_DEADLINE => (CALL_DEADLINE, silent),
                    () => (takes, found),
                };
                self.nature.after(after, Event::LeaseAnswer(process, call, Box::new(answer)));
            }
            LeaseStep::Write(object, over) => {
                team.calls += 1;
                let call = team.calls;
                member.call = Some(call);
                let (takes, lost, refused) = self.s3();
                let silent = || Box::new(LeaseAnswer::Written(Err("no answer".into())));
                if refused {
                    return self.nature.after(takes.min(CALL_DEADLINE), Event::LeaseAnswer(process, call, silent()));
                }
                let answered = lost.is_none() && takes + TAKES.high < CALL_DEADLINE;
                if lost != Some(true) {
                    self.nature.after(takes, Event::LeaseWrite(Box::new(LeaseWrite { process, call, object, over, answered })));
                }
                if !answered {
                    self.nature.after(CALL_DEADLINE, Event::LeaseAnswer(process, call, silent()));
                }
            }
        }
    }

    /// Whether the process does not surely hold the lease, so that the fence lets none of its changes pass.
    pub(super) fn is_fenced(&mut self, process: u32) -> bool {
        let now = self.now();
        self.member(process).is_some_and(|member| member.lease.sure_until().is_none_or(|sure| now + member.ahead >= sure))
    }

    /// How long S3 takes; whether the call has no answer, and then whether it has no effect; and whether S3 refuses it.
    fn s3(&mut self) -> (Duration, Option<bool>, bool) {
        let slow = self.nature.strikes(Fault::LeaseSlow).map(|mut rng| rng.within(SLOW));
        let usual = self.team.as_mut().map(|team| team.rng.within(TAKES)).unwrap_or_default();
        let lost = self.nature.strikes(Fault::LeaseLost).map(|mut half| half.chance(0.5));
        (slow.unwrap_or(usual), lost, self.nature.hits(Fault::LeaseRefused))
    }

    /// A write reaches S3, which carries it out only over the version that it names.
    pub(super) fn lease_write(&mut self, write: LeaseWrite) {
        let Some(team) = &mut self.team else { return };
        let fits = team.object.as_ref().map(|(_, etag)| etag) == write.over.as_ref();
        let etag = fits.then(|| {
            team.writes += 1;
            let etag = format!("e{}", team.writes);
            team.object = Some((write.object, etag.clone()));
            etag
        });
        if write.answered {
            let travels = team.rng.within(TAKES);
            let answer = Box::new(LeaseAnswer::Written(Ok(etag)));
            self.nature.after(travels, Event::LeaseAnswer(write.process, write.call, answer));
        }
    }
}
