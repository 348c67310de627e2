//! Who attacks, and what it comes to. Each file plays one of the four attackers of `docs/security.md` against the real binary, and tries
//! what the tables there name. Other tests in those tables are where the thing that they test is.
//!
//! - [`job`]: whoever may run a workflow on a pool's runners.
//! - [`neighbour`]: whoever may register runners in a repository of the organisation, or administers another App of the cluster.
//! - [`network`]: whoever reaches a listener.
//! - [`account`]: whoever may send to the jobs queue.

mod account;
mod job;
mod neighbour;
mod network;
