//! A record that can be gone through in both directions, for the page of a replay.

use muster_reconciler::controller::Controller;
use muster_reconciler::replay::{NotPlayed, Player};
use muster_reconciler::time::Time;

/// How many copies of the controller are kept on the way through a record. To go back is to go on from one of them.
const COPIES: usize = 24;

/// The lines of one process's record, and its controller at one moment of them.
#[derive(Debug)]
pub struct Reel {
    lines: Vec<String>,
    player: Player,
    /// The line that comes next.
    next: usize,
    /// The player as it was before the line of that number, the earliest first.
    copies: Vec<(usize, Player)>,
}

impl Reel {
    /// A reel that stands before its first line.
    pub fn new(lines: Vec<String>) -> Reel {
        Reel { lines, player: Player::new(None), next: 0, copies: Vec::new() }
    }

    /// The time of the first line, and of the last. None: there is no line.
    pub fn span(&self) -> Option<(Time, Time)> {
        let first = self.lines.iter().find_map(|line| Player::time_of(line))?;
        Some((first, self.lines.iter().rev().find_map(|line| Player::time_of(line))?))
    }

    /// The process whose controller it is. Empty: no line was played.
    pub fn process(&self) -> &str {
        self.player.process()
    }

    /// The time of the last line that was played.
    pub fn at(&self) -> Time {
        self.player.at()
    }

    /// How many decisions the lines had that were played.
    pub fn decisions(&self) -> u64 {
        self.player.decisions()
    }

    /// The controller as it was then. None: no line was played.
    pub fn controller(&mut self) -> Option<&mut Controller> {
        self.player.controller()
    }

    /// Goes to a moment. Every line of that time has been played then.
    ///
    /// # Errors
    /// When a line cannot be played. The controller is as it was before that line.
    pub fn go_to(&mut self, at: Time) -> Result<(), NotPlayed> {
        let copy = self.copies.iter().rfind(|(_, copy)| copy.at() <= at);
        match copy {
            Some((next, copy)) if at < self.player.at() || *next > self.next => (self.next, self.player) = (*next, copy.clone()),
            None if at < self.player.at() => (self.next, self.player) = (0, Player::new(None)),
            _ => {}
        }
        let every = (self.lines.len() / COPIES).max(1);
        while let Some(line) = self.lines.get(self.next) {
            if Player::time_of(line).is_some_and(|time| time > at) && self.next > 0 {
                break;
            }
            if self.next.is_multiple_of(every) && self.copies.last().is_none_or(|(last, _)| *last < self.next) {
                self.copies.push((self.next, self.player.clone()));
            }
            self.player.play(line)?;
            self.next += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use muster_reconciler::effect::Input;
    use muster_reconciler::manifest::Spec;

    use super::*;

    const BEGAN: Time = Time::from_millis(1_780_000_000_000);

    fn after(secs: u64) -> Time {
        BEGAN + Duration::from_secs(secs)
    }

    /// The record of a controller that steps once a second for `secs` seconds.
    fn lines(secs: u64) -> Vec<String> {
        let mut controller = Controller::new("p1", BEGAN);
        controller.record("0.1.0", true);
        controller.step(BEGAN, Input::Spec(Arc::new(Spec::default())));
        for second in 1..=secs {
            controller.step(after(second), Input::Tick);
        }
        String::from_utf8(controller.take_record()).expect("text").lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_reel_goes_to_any_moment_and_is_there_as_if_it_had_come_straight() {
        let lines = lines(200);
        let mut reel = Reel::new(lines.clone());
        assert_eq!(reel.span(), Some((BEGAN, after(200))));
        for secs in [150, 20, 21, 200, 0, 199, 7, 7] {
            reel.go_to(after(secs)).expect("lines of a record");
            let mut straight = Reel::new(lines.clone());
            straight.go_to(after(secs)).expect("lines of a record");
            let seen = |reel: &mut Reel| format!("{:?}", reel.controller().expect("a controller"));
            assert_eq!(seen(&mut reel), seen(&mut straight), "{secs}");
        }
        assert!(reel.copies.len() <= COPIES + 2, "{}", reel.copies.len());
    }

    #[test]
    fn before_the_first_moment_the_reel_stands_at_it() {
        let mut reel = Reel::new(lines(3));
        reel.go_to(Time::ZERO).expect("a first line");
        assert!(reel.controller().is_some());
        assert_eq!(reel.process(), "p1");
        assert_eq!(Reel::new(Vec::new()).span(), None);
    }

    #[test]
    fn a_line_that_cannot_be_played_stops_the_reel_before_it() {
        let mut spoiled = lines(10);
        spoiled[6] = "{\"at\":1780000006000,\"entry\":?}".to_owned();
        let mut reel = Reel::new(spoiled);
        assert!(reel.go_to(after(10)).is_err());
        assert!(reel.controller().is_some());
        reel.go_to(after(2)).expect("the lines before it");
    }
}
