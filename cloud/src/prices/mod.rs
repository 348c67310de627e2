//! Where prices come from beyond a local file: AWS's own, read once a day, and a list in S3.

pub mod list;
pub mod task;
