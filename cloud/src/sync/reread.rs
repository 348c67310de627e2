//! Reads cached objects again and hashes them. An object's size and metadata were written together with its content, so they show
//! an upload that went wrong. They do not show that somebody wrote another content with the same metadata.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use muster_reconciler::failure::Failure;

use super::again::again;
use crate::aws::S3;
use crate::aws::s3::Head;

/// An object whose ETag has not changed is read again after this time. An object with a new ETag is read at once.
const EVERY: Duration = Duration::from_secs(86_400);

/// The objects that were read and were right: by key, their ETag and when they were read.
#[derive(Debug, Default)]
pub struct Reread(Mutex<BTreeMap<String, (String, Instant)>>);

/// An object whose content is not what its metadata says.
#[derive(Clone, Debug)]
pub struct Corrupt {
    /// The key of the object.
    pub key: String,
    /// The SHA-256 of its content.
    pub found: String,
    /// The SHA-256 that its release names.
    pub wanted: String,
}

impl Reread {
    /// Whether the object has this SHA-256. Reads the object only if it was not read lately.
    pub(super) async fn look(
        &self,
        s3: &S3,
        bucket: &str,
        key: &str,
        head: &Head,
        wanted: &str,
    ) -> Result<Option<Corrupt>, Failure> {
        let lately = |(etag, read): &(String, Instant)| *etag == head.etag && read.elapsed() < EVERY;
        if self.known().get(key).is_some_and(lately) {
            return Ok(None);
        }
        let found = again(|| s3.sha256(bucket, key, &head.etag)).await?;
        if found != wanted {
            return Ok(Some(Corrupt { key: key.to_owned(), found, wanted: wanted.to_owned() }));
        }
        self.known().insert(key.to_owned(), (head.etag.clone(), Instant::now()));
        Ok(None)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, (String, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
