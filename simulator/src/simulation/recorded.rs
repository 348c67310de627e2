//! The flight record of a simulated world's controllers.

use super::Simulation;

impl Simulation {
    /// From now on, the controllers record what enters them. To have the whole run, call this before the first step. Of a run with
    /// several controllers at once, nothing is recorded.
    pub fn keep_record(&mut self) {
        self.recorded.get_or_insert_default();
    }

    /// The lines since the last call. Each process begins with a line of its own.
    pub fn take_record(&mut self) -> String {
        self.collect_record();
        let lines = self.recorded.as_mut().map(std::mem::take).unwrap_or_default();
        String::from_utf8(lines).unwrap_or_default()
    }

    /// Takes the lines of the current process, before they go with it.
    pub(super) fn collect_record(&mut self) {
        if let (Some(recorded), Some(controller)) = (&mut self.recorded, &mut self.controller) {
            recorded.append(&mut controller.take_record());
        }
    }
}
