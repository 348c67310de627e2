//! Properties of plans over random worlds. A plan does not depend on the order in which the world was heard of, and never
//! exceeds `max`. It never launches and drains at once, and is empty once everything is as it should be.

mod counts;
mod properties;
mod runners;
mod scene;
mod story;
