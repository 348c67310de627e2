//! Multipart uploads: an object is sent in parts. The object appears as a whole when the upload is completed, and not before.
//! <https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html>

use std::collections::BTreeMap;
use std::time::SystemTime;

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumType, CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;
use muster_reconciler::failure::{Failure, FailureKind};

use super::{Condition, PAGES, PutResult, S3, heavy};

/// One upload that is under way. Its parts cost storage until the upload is completed or aborted. A clone is cheap.
#[derive(Clone, Debug)]
pub struct Upload {
    s3: S3,
    bucket: String,
    key: String,
    id: String,
}

/// A part of an upload that S3 has received.
#[derive(Clone, Debug)]
pub struct UploadPart(CompletedPart);

/// An upload that somebody began and did not end, whoever it was.
#[derive(Clone, Debug)]
pub struct Unfinished {
    /// The upload, so that it can be aborted.
    pub upload: Upload,
    /// When the upload was begun.
    pub begun: SystemTime,
}

impl S3 {
    /// Begins an upload of `key`. The metadata is set here and cannot be changed later. The object gets one checksum of its whole
    /// content, and not a checksum of its parts' checksums. So a reader of the object or of a copy can check the content.
    /// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity-upload.html>
    pub async fn begin_upload(&self, bucket: &str, key: &str, metadata: &BTreeMap<&str, String>) -> Result<Upload, Failure> {
        let what = format!("begin the upload of s3://{bucket}/{key}");
        let call = self.client.create_multipart_upload().bucket(bucket).key(key);
        let mut call = call.checksum_algorithm(ChecksumAlgorithm::Crc32).checksum_type(ChecksumType::FullObject);
        for (name, value) in metadata {
            call = call.metadata(*name, value);
        }
        let answer = self.probe.call("s3.CreateMultipartUpload", &what, call.send()).await?;
        let id = answer.upload_id.ok_or_else(|| Failure::new(FailureKind::Ambiguous, format!("{what}: S3 gave it no id")))?;
        Ok(Upload { s3: self.clone(), bucket: bucket.to_owned(), key: key.to_owned(), id })
    }

    /// The uploads under a prefix that are neither completed nor aborted.
    pub async fn unfinished(&self, bucket: &str, prefix: &str) -> Result<Vec<Unfinished>, Failure> {
        let what = format!("list the unfinished uploads of s3://{bucket}/{prefix}");
        let mut found = Vec::new();
        let (mut key, mut id) = (None, None);
        for _ in 0..PAGES {
            let call = self.client.list_multipart_uploads().bucket(bucket).prefix(prefix);
            let call = call.set_key_marker(key).set_upload_id_marker(id);
            let answer = self.probe.call("s3.ListMultipartUploads", &what, call.send()).await?;
            found.extend(answer.uploads.unwrap_or_default().into_iter().filter_map(|upload| {
                let begun = SystemTime::try_from(upload.initiated?).ok()?;
                let upload = Upload { s3: self.clone(), bucket: bucket.to_owned(), key: upload.key?, id: upload.upload_id? };
                Some(Unfinished { upload, begun })
            }));
            if answer.is_truncated != Some(true) {
                return Ok(found);
            }
            (key, id) = (answer.next_key_marker, answer.next_upload_id_marker);
        }
        Err(Failure::new(FailureKind::Refused, format!("{what}: no end after {PAGES} pages")))
    }
}

impl Upload {
    /// The key of the object that this upload makes.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Sends a part. A part has 5 MiB or more, except the last one. Numbers begin with 1. A second part with the same number
    /// replaces the first.
    pub async fn part(&self, number: i32, bytes: Bytes) -> Result<UploadPart, Failure> {
        let call = self.s3.client.upload_part().bucket(&self.bucket).key(&self.key).upload_id(&self.id).part_number(number);
        let call = call.checksum_algorithm(ChecksumAlgorithm::Crc32).body(ByteStream::from(bytes));
        let what = format!("upload part {number} of s3://{}/{}", self.bucket, self.key);
        let call = call.customize().config_override(heavy());
        let answer = self.s3.probe.call("s3.UploadPart", &what, call.send()).await?;
        let part = CompletedPart::builder().part_number(number).set_e_tag(answer.e_tag);
        Ok(UploadPart(part.set_checksum_crc32(answer.checksum_crc32).build()))
    }

    /// Makes the object from its parts, in order, if the condition holds. After [`PutResult::Lost`] the upload still has to be
    /// aborted. A conflict (409) means that another write was under way; the upload is lost in this case as well.
    /// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html>
    pub async fn complete(&self, parts: Vec<UploadPart>, condition: Condition) -> Result<PutResult, Failure> {
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts.into_iter().map(|part| part.0).collect())).build();
        let call = self.s3.client.complete_multipart_upload().bucket(&self.bucket).key(&self.key).upload_id(&self.id);
        let call = call.multipart_upload(parts);
        let must_exist = matches!(condition, Condition::IfMatch(_));
        let call = match condition {
            Condition::Always => call,
            Condition::IfAbsent => call.if_none_match("*"),
            Condition::IfMatch(etag) => call.if_match(etag),
        };
        let what = format!("complete the upload of s3://{}/{}", self.bucket, self.key);
        let call = call.customize().config_override(heavy());
        match self.s3.probe.call("s3.CompleteMultipartUpload", &what, call.send()).await {
            Ok(answer) => Ok(PutResult::Stored(answer.e_tag.unwrap_or_default())),
            Err(error) if error.status == 412 || error.failure.kind == FailureKind::Conflict => Ok(PutResult::Lost),
            Err(error) if must_exist && error.code == "NoSuchKey" => Ok(PutResult::Lost),
            Err(error) => Err(error.failure),
        }
    }

    /// Gives the upload up, so that S3 deletes its parts. It is no error if the upload is already gone. A part that is still
    /// being sent may survive, so end its sender first.
    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_AbortMultipartUpload.html>
    pub async fn abort(&self) -> Result<(), Failure> {
        let call = self.s3.client.abort_multipart_upload().bucket(&self.bucket).key(&self.key).upload_id(&self.id);
        let what = format!("abort the upload of s3://{}/{}", self.bucket, self.key);
        match self.s3.probe.call("s3.AbortMultipartUpload", &what, call.send()).await {
            Err(error) if error.code != "NoSuchUpload" => Err(error.failure),
            _ => Ok(()),
        }
    }
}
