//! Where the manifests are: in a directory, or in an S3 bucket under a prefix, where `terraform/` puts them.

use std::convert::Infallible;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use muster_operations::config;
use muster_reconciler::manifest::{self, Spec, Text};

use crate::aws::{Aws, S3};

/// A directory, or `s3://BUCKET/PREFIX`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ManifestPlace {
    /// The files of a directory.
    Dir(PathBuf),
    /// The objects directly under `prefix/`. With an empty prefix, these are the objects at the top of the bucket.
    Bucket {
        /// The name of the bucket.
        bucket: String,
        /// The prefix, without a slash at either end.
        prefix: String,
    },
}

impl FromStr for ManifestPlace {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<ManifestPlace, Infallible> {
        Ok(match text.strip_prefix("s3://") {
            Some(rest) => {
                let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
                ManifestPlace::Bucket { bucket: bucket.to_owned(), prefix: prefix.trim_matches('/').to_owned() }
            }
            None => ManifestPlace::Dir(text.into()),
        })
    }
}

impl fmt::Display for ManifestPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ManifestPlace::Dir(dir) => dir.display().fmt(f),
            ManifestPlace::Bucket { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
        }
    }
}

impl ManifestPlace {
    /// The directory that relative `file:` references begin at. For a bucket this is the root directory, because a bucket has no
    /// directory on this machine.
    pub fn base(&self) -> &Path {
        match self {
            ManifestPlace::Dir(dir) => dir,
            ManifestPlace::Bucket { .. } => Path::new("/"),
        }
    }

    /// How often the place is looked at for a change. A directory has a handful of small files. Each look at a bucket is a call
    /// that costs.
    pub fn look(&self) -> Duration {
        Duration::from_secs(if matches!(self, ManifestPlace::Dir(_)) { 2 } else { 60 })
    }
}

/// The manifests, which are read again and again.
#[derive(Debug)]
pub struct Manifests {
    place: ManifestPlace,
    s3: S3,
    /// For a bucket: the keys and ETags of the last look. `texts` holds what was read under them, and only objects that changed
    /// are read again.
    listed: Vec<(String, String)>,
    texts: Vec<Text>,
}

impl Manifests {
    /// Makes the reader. Nothing is read yet.
    pub fn new(place: ManifestPlace, aws: &Aws) -> Manifests {
        Manifests { place, s3: aws.s3.clone(), listed: Vec::new(), texts: Vec::new() }
    }

    /// Where the manifests are.
    pub fn place(&self) -> &ManifestPlace {
        &self.place
    }

    /// Reads every manifest as it is now, in the order of the names.
    ///
    /// # Errors
    /// When the place or a manifest in it cannot be read, or when there is no manifest.
    pub async fn read(&mut self) -> anyhow::Result<Vec<Text>> {
        match self.place.clone() {
            ManifestPlace::Dir(dir) => tokio::task::spawn_blocking(move || config::read_dir(&dir)).await?,
            ManifestPlace::Bucket { bucket, prefix } => self.read_bucket(&bucket, &prefix).await,
        }
    }

    /// Reads the manifests with [`Manifests::read`], and validates them.
    ///
    /// # Errors
    /// The errors of [`Manifests::read`], and every problem of the manifests, in the form that [`config::load_dir`] has, too.
    pub async fn load(&mut self) -> anyhow::Result<Spec> {
        Ok(manifest::load(&self.read().await?)?)
    }

    async fn read_bucket(&mut self, bucket: &str, prefix: &str) -> anyhow::Result<Vec<Text>> {
        ensure!(!bucket.is_empty(), "{} names no bucket; write s3://BUCKET/PREFIX", self.place);
        let folder = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        let mut listed = self.s3.list(bucket, &folder).await.map_err(|failure| anyhow::anyhow!(failure.message))?;
        listed.retain(|(key, _)| key.strip_prefix(&folder).is_some_and(is_manifest));
        if listed.is_empty() {
            bail!("{} holds no *.yaml or *.yml; put the manifests there", self.place);
        }
        if listed != self.listed {
            let mut texts = Vec::new();
            for (key, etag) in &listed {
                texts.push(self.read_object(bucket, &folder, key, etag).await?);
            }
            (self.listed, self.texts) = (listed, texts);
        }
        Ok(self.texts.clone())
    }

    async fn read_object(&self, bucket: &str, folder: &str, key: &str, etag: &str) -> anyhow::Result<Text> {
        let known = self.listed.iter().position(|(k, e)| k == key && e == etag);
        if let Some(text) = known.and_then(|at| self.texts.get(at)) {
            return Ok(text.clone());
        }
        let found = self.s3.get(bucket, key).await.map_err(|failure| anyhow::anyhow!(failure.message))?;
        let (bytes, _) = found.with_context(|| format!("s3://{bucket}/{key} was deleted while it was read"))?;
        let body = String::from_utf8(bytes.to_vec()).with_context(|| format!("s3://{bucket}/{key} is no text"))?;
        Ok(Text { file: key.strip_prefix(folder).unwrap_or(key).to_owned(), body })
    }
}

fn is_manifest(name: &str) -> bool {
    !name.starts_with('.') && !name.contains('/') && (name.ends_with(".yaml") || name.ends_with(".yml"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_directory_unless_it_says_s3() {
        let place = |text: &str| text.parse::<ManifestPlace>().unwrap_or_else(|never| match never {});
        assert_eq!(place("manifests/prod"), ManifestPlace::Dir("manifests/prod".into()));
        for text in ["s3://b/manifests", "s3://b/manifests/"] {
            assert_eq!(place(text), ManifestPlace::Bucket { bucket: "b".into(), prefix: "manifests".into() });
            assert_eq!(place(text).to_string(), "s3://b/manifests");
        }
        assert_eq!(place("s3://b"), ManifestPlace::Bucket { bucket: "b".into(), prefix: String::new() });
    }

    #[test]
    fn what_lies_deeper_or_hidden_is_no_manifest() {
        assert!(is_manifest("pools.yaml") && is_manifest("a.yml"));
        for other in ["runners/linux.yaml", ".hidden.yaml", "pools.json", ""] {
            assert!(!is_manifest(other), "{other}");
        }
    }
}
