//! `muster tune`: which settings of the pools meet a goal, and what each costs. [`muster_simulator::tune`] searches; here are the cores that
//! it runs on, the answer, and the manifests that are written.
//!
//! In the order of the data: [`budget`] is read, [`cores`] run what the search asks for, [`answer`] is one value, [`table`] prints it for
//! people, and [`manifest_edit`] puts the chosen settings into the manifests' text.

pub mod answer;
pub mod budget;
pub mod cores;
pub mod manifest_edit;
pub mod table;
