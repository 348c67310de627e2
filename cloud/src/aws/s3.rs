//! S3, as far as muster needs it. Small objects are read and written whole, with conditional writes. Large objects are sent as
//! [`upload`]s.

pub mod upload;

use std::collections::BTreeMap;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::ChecksumAlgorithm;
use bytes::Bytes;
use muster_reconciler::failure::{Failure, FailureKind};
use sha2::{Digest as _, Sha256};

use super::{CONNECT_TIMEOUT, Probe};

/// The most pages of one listing, with 1,000 keys each.
const PAGES: usize = 1_000;
/// The longest wait for an answer to a call that moves or joins megabytes. CompleteMultipartUpload "could take several minutes".
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html>
const HEAVY_TIMEOUT: Duration = Duration::from_secs(300);

/// The adapter for S3. A clone is cheap.
#[derive(Clone, Debug)]
pub struct S3 {
    client: Client,
    pub(super) probe: Probe,
}

/// The condition under which S3 stores an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// S3 stores the object in any case.
    Always,
    /// S3 stores the object only if there is no object with that key.
    IfAbsent,
    /// S3 stores the object only if the present object still has this ETag.
    IfMatch(String),
}

/// How a put ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PutResult {
    /// The object is stored, and has this ETag.
    Stored(String),
    /// The condition did not hold, because somebody else wrote or deleted the object first. Nothing was stored.
    Lost,
}

/// What S3 says of an object without sending its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The ETag, which changes with the content.
    pub etag: String,
    /// The size of the object, in bytes.
    pub size: u64,
    /// When the object was written, since the Unix epoch. None: S3 did not say.
    pub modified: Option<Duration>,
    /// The metadata that users define (`x-amz-meta-*`), with keys in lower case.
    pub metadata: BTreeMap<String, String>,
}

impl S3 {
    pub(super) fn new(config: &SdkConfig, probe: Probe) -> S3 {
        // A bucket as part of the host name needs DNS names that an emulator at a given endpoint does not have.
        let path_style = config.endpoint_url().is_some();
        let config = aws_sdk_s3::config::Builder::from(config).force_path_style(path_style).build();
        S3 { client: Client::from_conf(config), probe }
    }

    /// Reads an object whole. Returns the object and its ETag; None if there is no object with that key.
    pub async fn get(&self, bucket: &str, key: &str) -> Result<Option<(Bytes, String)>, Failure> {
        let what = format!("read s3://{bucket}/{key}");
        let call = self.client.get_object().bucket(bucket).key(key);
        let answer = match self.probe.call("s3.GetObject", &what, call.send()).await {
            Err(error) if error.code == "NoSuchKey" => return Ok(None),
            other => other?,
        };
        let etag = answer.e_tag.unwrap_or_default();
        match answer.body.collect().await {
            Ok(body) => Ok(Some((body.into_bytes(), etag))),
            Err(error) => Err(Failure::new(FailureKind::Unavailable, format!("{what}: the answer broke off: {error}"))),
        }
    }

    /// The SHA-256 of an object's content, as 64 hexadecimal digits. The object is read piece by piece, so a large one takes little
    /// memory. S3 refuses if the object no longer has the ETag `etag`.
    pub async fn sha256(&self, bucket: &str, key: &str, etag: &str) -> Result<String, Failure> {
        let what = format!("read s3://{bucket}/{key} again");
        let call = self.client.get_object().bucket(bucket).key(key).if_match(etag);
        let mut body = self.probe.call("s3.GetObject", &what, call.send()).await?.body;
        let mut hash = Sha256::new();
        let read = async {
            while let Some(bytes) = body.next().await {
                hash.update(bytes?);
            }
            Ok::<(), aws_sdk_s3::primitives::ByteStreamError>(())
        };
        let said = match tokio::time::timeout(HEAVY_TIMEOUT, read).await {
            Ok(Ok(())) => return Ok(hex::encode(hash.finalize())),
            Ok(Err(error)) => format!("the answer broke off: {error}"),
            Err(_) => format!("it took longer than {HEAVY_TIMEOUT:?}"),
        };
        Err(Failure::new(FailureKind::Unavailable, format!("{what}: {said}")))
    }

    /// The object's head; None if there is no object with that key. The call needs `s3:ListBucket`. Without this permission S3
    /// answers 403 for a missing key.
    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html>
    pub async fn head(&self, bucket: &str, key: &str) -> Result<Option<Head>, Failure> {
        let call = self.client.head_object().bucket(bucket).key(key);
        match self.probe.call("s3.HeadObject", &format!("look at s3://{bucket}/{key}"), call.send()).await {
            Ok(answer) => Ok(Some(Head {
                etag: answer.e_tag.unwrap_or_default(),
                modified: answer.last_modified.and_then(|at| u64::try_from(at.secs()).ok()).map(Duration::from_secs),
                size: answer.content_length.and_then(|n| u64::try_from(n).ok()).unwrap_or(0),
                metadata: answer.metadata.unwrap_or_default().into_iter().map(|(k, v)| (k.to_lowercase(), v)).collect(),
            })),
            Err(error) if error.status == 404 => Ok(None),
            Err(error) => Err(error.failure),
        }
    }

    /// Makes `to` a copy of `from` within S3, with its metadata. A reader of `to` sees either the whole old object or the whole
    /// new one. S3 refuses the copy if `from` no longer has the ETag `etag`. Keys must not need URL encoding.
    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html>
    pub async fn copy(&self, bucket: &str, from: &str, etag: &str, to: &str) -> Result<(), Failure> {
        let call = self.client.copy_object().copy_source(format!("{bucket}/{from}")).copy_source_if_match(etag);
        let call = call.bucket(bucket).key(to).checksum_algorithm(ChecksumAlgorithm::Crc32).customize().config_override(heavy());
        let what = format!("copy s3://{bucket}/{from} to {to}");
        self.probe.call("s3.CopyObject", &what, call.send()).await?;
        Ok(())
    }

    /// Deletes an object. It is no error if the object does not exist.
    pub async fn delete(&self, bucket: &str, key: &str) -> Result<(), Failure> {
        let call = self.client.delete_object().bucket(bucket).key(key);
        self.probe.call("s3.DeleteObject", &format!("delete s3://{bucket}/{key}"), call.send()).await?;
        Ok(())
    }

    /// Stores an object if the condition holds. [`FailureKind::Conflict`] means that another write ran at the same moment, and
    /// that it is not known which write won. The caller has to read the object again.
    /// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html>
    pub async fn put(
        &self,
        bucket: &str,
        key: &str,
        bytes: impl Into<Bytes>,
        condition: Condition,
    ) -> Result<PutResult, Failure> {
        let call = self.client.put_object().bucket(bucket).key(key).body(ByteStream::from(bytes.into()));
        let must_exist = matches!(condition, Condition::IfMatch(_));
        let call = match condition {
            Condition::Always => call,
            Condition::IfAbsent => call.if_none_match("*"),
            Condition::IfMatch(etag) => call.if_match(etag),
        };
        match self.probe.call("s3.PutObject", &format!("write s3://{bucket}/{key}"), call.send()).await {
            Ok(answer) => Ok(PutResult::Stored(answer.e_tag.unwrap_or_default())),
            Err(error) if error.status == 412 => Ok(PutResult::Lost),
            // The object whose ETag was to be matched has been deleted.
            Err(error) if must_exist && error.code == "NoSuchKey" => Ok(PutResult::Lost),
            Err(error) => Err(error.failure),
        }
    }

    /// The keys under a prefix and their ETags, in the order of the keys.
    pub async fn list(&self, bucket: &str, prefix: &str) -> Result<Vec<(String, String)>, Failure> {
        let what = format!("list s3://{bucket}/{prefix}");
        let mut found = Vec::new();
        let mut next = None;
        for _ in 0..PAGES {
            let call = self.client.list_objects_v2().bucket(bucket).prefix(prefix).set_continuation_token(next);
            let answer = self.probe.call("s3.ListObjectsV2", &what, call.send()).await?;
            let objects = answer.contents.unwrap_or_default().into_iter();
            found.extend(objects.filter_map(|object| Some((object.key?, object.e_tag.unwrap_or_default()))));
            next = answer.next_continuation_token;
            if next.is_none() {
                return Ok(found);
            }
        }
        Err(Failure::new(FailureKind::Refused, format!("{what}: no end after {PAGES} pages")))
    }
}

/// The configuration of one call that may take [`HEAVY_TIMEOUT`].
fn heavy() -> aws_sdk_s3::config::Builder {
    let timeouts = aws_config::timeout::TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(HEAVY_TIMEOUT)
        .build();
    aws_sdk_s3::Config::builder().timeout_config(timeouts)
}
