//! The record of what enters the controller and what it decides ([`crate::record`]).

use super::Controller;
use crate::record::Recorder;
use crate::time::Time;

impl Controller {
    /// Records everything from now on, for [`take_record`](Self::take_record). `version` is muster's. Must be called after
    /// [`set_paused`](Self::set_paused) and [`stand_by`](Self::stand_by), and before the first step. Without `names`, the record
    /// leaves out branches, workflows, names of jobs and operators' reasons.
    pub fn record(&mut self, version: &str, names: bool) {
        self.recorder = Some(Box::new(Recorder::new(version, &self.process, names, self.stands_by, &self.paused, self.began)));
    }

    /// Writes a line from which on the record can be read without the lines before.
    pub fn begin_record_anew(&mut self, now: Time) {
        if let Some(recorder) = &mut self.recorder {
            recorder.begin_anew(self.stands_by, &self.paused, &self.held, now);
        }
    }

    /// The lines of the record since the last call. Whole lines, each with its end.
    pub fn take_record(&mut self) -> Vec<u8> {
        self.recorder.as_mut().map(|recorder| recorder.take()).unwrap_or_default()
    }

    /// How many bytes of the record wait to be taken.
    pub fn record_waiting(&self) -> usize {
        self.recorder.as_ref().map_or(0, |recorder| recorder.waiting())
    }
}
