//! A shadow: it watches the fleet of another system and changes nothing. [`eyes`] are the only adapters that it holds, and they have no
//! method that changes anything at EC2 or GitHub. [`queue`] is the one thing that it empties: a queue of its own. [`watch`] looks and
//! listens, and [`keep`] writes down what was seen.

pub mod eyes;
pub mod keep;
pub mod queue;
pub mod watch;
