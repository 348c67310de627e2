//! Loads a price list from a file, or from S3, where Terraform can put one.

use std::path::Path;

use anyhow::Context;
use muster_operations::prices::file::{self, Prices};
use muster_reconciler::manifest::{Problems, Text};

use crate::aws::S3;

/// Loads the list at `place`, which is the path of a file, or `s3://BUCKET/KEY`.
///
/// # Errors
/// When the list cannot be read, or with every problem in it.
pub async fn load(place: &str, s3: &S3) -> anyhow::Result<Prices> {
    let Some(rest) = place.strip_prefix("s3://") else { return file::load(Path::new(place)) };
    let (bucket, key) = rest
        .split_once('/')
        .filter(|(bucket, key)| !bucket.is_empty() && !key.is_empty())
        .with_context(|| format!("{place} names no object; write s3://BUCKET/KEY"))?;
    let found = s3.get(bucket, key).await.map_err(|failure| anyhow::anyhow!(failure.message))?;
    let (bytes, _) = found.with_context(|| format!("there is no {place}; put the price list there, or correct the place"))?;
    let body = String::from_utf8(bytes.to_vec()).with_context(|| format!("{place} is no text"))?;
    let name = key.rsplit('/').next().unwrap_or(key).to_owned();
    Ok(file::read(&Text { file: name, body }).map_err(Problems)?)
}
