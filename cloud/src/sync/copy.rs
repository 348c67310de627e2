//! Copies one file from its release to S3 without touching the disk. The file is hashed on the way, and becomes an object only
//! once the hash is right.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use muster_reconciler::failure::{Failure, FailureKind};
use sha2::{Digest as _, Sha256};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::again::again;
use crate::aws::S3;
use crate::aws::s3::upload::{Upload, UploadPart};
use crate::aws::s3::{Condition, PutResult};
use muster_github::releases::{Asset, Download, Releases, Version};

/// Size of a part, in bytes. S3 wants 5 MiB or more, and admits 10,000 parts.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>
const PART: usize = 8 << 20;
/// The most parts that are sent to S3 at a time. With the part that is being filled, they take 24 MiB of memory.
const IN_FLIGHT: usize = 2;
/// The longest time of a download. 200 MB at 1 Mbit/s take 27 minutes.
const LONGEST: Duration = Duration::from_secs(3600);

/// A file, and the key that it is copied to.
#[derive(Debug)]
pub(super) struct Copy<'a> {
    pub s3: &'a S3,
    pub releases: &'a Releases,
    pub bucket: &'a str,
    pub key: String,
    pub asset: &'a Asset,
    pub sha256: &'a str,
    pub version: Version,
    /// Ends the copy early and aborts the upload.
    pub stop: &'a CancellationToken,
}

impl Copy<'_> {
    /// Copies the file. Whatever fails, the key holds either the whole new file or what it held before. After a failure the
    /// upload is aborted. If the abort fails as well, a later pass aborts the upload. [`PutResult::Lost`] means that somebody
    /// else wrote the key meanwhile.
    pub async fn run(&self, condition: Condition) -> Result<PutResult, Failure> {
        let download = again(|| self.releases.download(self.asset)).await?;
        let metadata = BTreeMap::from([("sha256", self.sha256.to_owned()), ("version", self.version.to_string())]);
        let upload = again(|| self.s3.begin_upload(self.bucket, &self.key, &metadata)).await?;
        let mut sender = Sender { upload: upload.clone(), sending: JoinSet::new(), sent: BTreeMap::new(), number: 0 };
        let streamed = tokio::select! {
            streamed = self.stream(download, &mut sender) => streamed,
            () = tokio::time::sleep(LONGEST) => Err(self.failed(FailureKind::Unavailable, format!("it took longer than {LONGEST:?}"))),
            () = self.stop.cancelled() => Err(self.failed(FailureKind::Unavailable, "muster was told to stop".into())),
        };
        // A part that is still being sent would survive the abort, and would cost storage.
        sender.sending.shutdown().await;
        let result = match streamed {
            Ok(()) => {
                let parts: Vec<UploadPart> = sender.sent.into_values().collect();
                again(|| upload.complete(parts.clone(), condition.clone())).await
            }
            Err(failure) => Err(failure),
        };
        if !matches!(result, Ok(PutResult::Stored(_)))
            && let Err(failure) = upload.abort().await
        {
            tracing::warn!(key = upload.key(), error = failure.message, "an unfinished upload is left; it is aborted in a day");
        }
        result
    }

    /// Sends all parts. The last part is held back until the hash is right.
    async fn stream(&self, mut download: Download, sender: &mut Sender) -> Result<(), Failure> {
        let mut hash = Sha256::new();
        let mut part = BytesMut::with_capacity(PART);
        let (mut received, wanted) = (0_u64, self.asset.size);
        while let Some(mut bytes) = download.chunk().await? {
            received += bytes.len() as u64;
            if received > wanted {
                return Err(
                    self.failed(FailureKind::Refused, format!("it is longer than the {wanted} bytes that its release names"))
                );
            }
            hash.update(&bytes);
            while !bytes.is_empty() {
                if part.len() == PART {
                    sender.send(std::mem::replace(&mut part, BytesMut::with_capacity(PART)).freeze()).await?;
                }
                part.extend_from_slice(&bytes.split_to(bytes.len().min(PART - part.len())));
            }
        }
        if received < wanted {
            return Err(self.failed(FailureKind::Unavailable, format!("it broke off after {received} of {wanted} bytes")));
        }
        let found = hex::encode(hash.finalize());
        if found != self.sha256 {
            let message = format!(
                "its SHA-256 is {found} and not {}, as its release says; nothing was stored. If it stays so, somebody between GitHub \
                 and here changes files",
                self.sha256
            );
            return Err(self.failed(FailureKind::Refused, message));
        }
        sender.send(part.freeze()).await?;
        sender.finish().await
    }

    fn failed(&self, kind: FailureKind, said: String) -> Failure {
        Failure::new(kind, format!("copy {} to s3://{}/{}: {said}", self.asset.url, self.bucket, self.key))
    }
}

/// Sends parts side by side, [`IN_FLIGHT`] at most.
struct Sender {
    upload: Upload,
    sending: JoinSet<(i32, Result<UploadPart, Failure>)>,
    sent: BTreeMap<i32, UploadPart>,
    number: i32,
}

impl Sender {
    async fn send(&mut self, bytes: Bytes) -> Result<(), Failure> {
        while self.sending.len() >= IN_FLIGHT {
            self.next().await?;
        }
        self.number += 1;
        let (upload, number) = (self.upload.clone(), self.number);
        self.sending.spawn(async move { (number, again(|| upload.part(number, bytes.clone())).await) });
        Ok(())
    }

    async fn finish(&mut self) -> Result<(), Failure> {
        while !self.sending.is_empty() {
            self.next().await?;
        }
        Ok(())
    }

    async fn next(&mut self) -> Result<(), Failure> {
        match self.sending.join_next().await {
            Some(Ok((number, part))) => drop(self.sent.insert(number, part?)),
            Some(Err(lost)) => {
                let message = format!("upload s3 part of {}: the task failed: {lost}", self.upload.key());
                return Err(Failure::new(FailureKind::Ambiguous, message));
            }
            None => {}
        }
        Ok(())
    }
}
