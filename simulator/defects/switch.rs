//! Switches one deliberate defect on. This module exists only in the copy of the core that `tests/defects.sh` makes.

use std::cell::Cell;

thread_local! {
    static ACTIVE: Cell<&'static str> = const { Cell::new("") };
}

/// Whether the controllers of this thread have the defect of that name.
pub fn has(defect: &str) -> bool {
    ACTIVE.get() == defect
}

/// Gives the controllers of this thread the defect of that name; "": none.
pub fn set(defect: &'static str) {
    ACTIVE.set(defect);
}
