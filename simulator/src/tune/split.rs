//! Which part of a trace the search may see, and which part is held out to judge what was found.

use std::time::Duration;

use muster_reconciler::time::{Time, human};

use crate::job_plan::JobPlan;

const DAY: Duration = Duration::from_secs(86_400);
/// From this length on, whole days are held out.
const DAYS_FROM: Duration = Duration::from_secs(36 * 3600);
/// The shortest trace of which a part can be held out.
const SHORTEST: Duration = Duration::from_secs(3600);
/// The length of a block, where blocks of a short trace are held out.
const BLOCK_MS: u64 = 600_000;
/// The fewest jobs in either part. With fewer, one job decides a percentile.
const FEWEST: usize = 20;

/// A part of the time of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TracePiece {
    /// The begin.
    pub from: Time,
    /// The end, which belongs to the next piece.
    pub until: Time,
}

impl TracePiece {
    /// How long it is.
    pub fn length(&self) -> Duration {
        self.until.since(self.from)
    }

    /// Whether a time is in it.
    pub fn has(&self, at: Time) -> bool {
        self.from <= at && at < self.until
    }
}

/// How a trace is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldOut {
    /// Every third day (in UTC) is held out. Of two days, the second is.
    Days,
    /// The trace is short. All of it is run, and the jobs of every second ten minutes are held out.
    Blocks,
}

/// A trace in two parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// How it is divided.
    pub how: HoldOut,
    /// What the search sees.
    pub shown: Vec<TracePiece>,
    /// What judges the finalists. With [`HoldOut::Blocks`] it is the same time, and other jobs.
    pub held: Vec<TracePiece>,
}

/// Why a trace cannot be divided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TooLittle {
    /// It is too short.
    Short(Duration),
    /// One of the parts has too few jobs: how many the search sees, and how many are held out.
    Few(usize, usize),
}

impl std::fmt::Display for TooLittle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            TooLittle::Short(span) => write!(
                f,
                "the jobs lie within {}, which is too short to hold a part out that judges what was found; take the jobs of an hour at \
                 least, and better of two weeks",
                human(*span)
            ),
            TooLittle::Few(shown, held) => write!(
                f,
                "{shown} jobs to search with and {held} held out to judge what was found are too few; take a trace with {FEWEST} at least \
                 of each, and better some thousands"
            ),
        }
    }
}

impl Split {
    /// Divides a trace.
    ///
    /// # Errors
    /// When it is too short, or has too few jobs.
    pub fn of(jobs: &[JobPlan]) -> Result<Split, TooLittle> {
        let (first, last) = (jobs.iter().map(|j| j.at).min(), jobs.iter().map(|j| j.at).max());
        let (Some(first), Some(last)) = (first, last) else { return Err(TooLittle::Few(0, 0)) };
        let whole = TracePiece { from: first, until: last + Duration::from_millis(1) };
        if whole.length() < SHORTEST {
            return Err(TooLittle::Short(whole.length()));
        }
        let split = match whole.length() >= DAYS_FROM {
            true => Split::by_days(whole, jobs),
            false => Split { how: HoldOut::Blocks, shown: vec![whole], held: vec![whole] },
        };
        let shown = jobs.iter().filter(|job| split.shows(job.at)).count();
        match jobs.len() - shown {
            held if shown < FEWEST || held < FEWEST => Err(TooLittle::Few(shown, held)),
            _ => Ok(split),
        }
    }

    fn by_days(whole: TracePiece, jobs: &[JobPlan]) -> Split {
        let day = u64::try_from(DAY.as_millis()).unwrap_or(u64::MAX);
        let midnight = Time::from_millis(whole.from.as_millis() / day * day);
        let days = (0..).map(|n| midnight + DAY * n).take_while(|from| *from < whole.until);
        let pieces = days.map(|from| TracePiece { from: from.max(whole.from), until: (from + DAY).min(whole.until) });
        let pieces: Vec<TracePiece> = pieces.filter(|piece| jobs.iter().any(|job| piece.has(job.at))).collect();
        let held = |nth: usize| if pieces.len() == 2 { nth == 1 } else { nth % 3 == 2 };
        let part =
            |wanted: bool| pieces.iter().enumerate().filter(|(nth, _)| held(*nth) == wanted).map(|(_, piece)| *piece).collect();
        Split { how: HoldOut::Days, shown: part(false), held: part(true) }
    }

    /// Whether the search may see what happens to a job that is queued then.
    pub fn shows(&self, at: Time) -> bool {
        match self.how {
            HoldOut::Days => self.shown.iter().any(|piece| piece.has(at)),
            HoldOut::Blocks => (at.as_millis() / BLOCK_MS).is_multiple_of(2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::times::BEGIN;

    fn jobs(every_s: u64, count: u64) -> Vec<JobPlan> {
        let job = |nth| JobPlan {
            at: BEGIN + Duration::from_secs(every_s * nth),
            takes: Duration::from_secs(60),
            labels: vec!["linux".into()],
            repo: "acme/web".into(),
            cancel_after: None,
        };
        (0..count).map(job).collect()
    }

    #[test]
    fn every_third_day_is_held_out_and_no_job_is_in_both_parts() {
        let jobs = jobs(3600, 24 * 7);
        let split = Split::of(&jobs).expect("a week");
        assert_eq!((split.how, split.shown.len(), split.held.len()), (HoldOut::Days, 5, 2));
        assert_eq!(split.held[0].from, BEGIN + DAY * 2);
        for job in &jobs {
            assert_eq!(split.shows(job.at), !split.held.iter().any(|piece| piece.has(job.at)), "{:?}", job.at);
        }
        assert_eq!(
            Split::of(&jobs[..48]).expect("two days").held,
            [TracePiece { from: BEGIN + DAY, until: jobs[47].at + Duration::from_millis(1) }]
        );
    }

    #[test]
    fn of_a_day_every_second_ten_minutes_are_held_out() {
        let jobs = jobs(60, 24 * 60);
        let split = Split::of(&jobs).expect("a day");
        assert_eq!((split.how, split.shown.len()), (HoldOut::Blocks, 1));
        assert_eq!(jobs.iter().filter(|job| split.shows(job.at)).count(), 720);
    }

    #[test]
    fn too_little_is_refused_with_what_to_take() {
        let said = |jobs: &[JobPlan]| Split::of(jobs).expect_err("too little").to_string();
        assert!(said(&jobs(1, 100)).contains("within 1m 39s"), "{}", said(&jobs(1, 100)));
        assert!(said(&jobs(7200, 10)).contains("5 jobs to search with") || said(&jobs(7200, 10)).contains("are too few"));
        assert!(said(&[]).contains("0 jobs to search with and 0 held out"));
    }
}
