//! What a plan may and may not be, over random worlds: the same whatever the order in which the world was heard of,
//! never above max, never launching and shrinking at once, and empty once everything is as it should be.

mod boxes;
mod counts;
mod properties;
mod scene;
mod story;
