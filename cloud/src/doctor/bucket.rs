//! Whether the bucket exists, and has the runner binaries that the instances will ask for.

use std::collections::BTreeSet;

use muster_reconciler::failure::FailureKind;
use muster_reconciler::manifest::Spec;

use super::finding::Finding;
use crate::aws::S3;
use crate::sync::plan::{self, Platform, WantedVersion};

const CHECK: &str = "bucket";

pub(super) async fn check(s3: &S3, spec: &Spec) -> Vec<Finding> {
    let Some(bucket) = &spec.controller.spec.bucket else {
        let next = "set spec.bucket if the instances take the runner from there (those of terraform/ do)";
        return vec![Finding::unchecked(CHECK, "spec.bucket is not set", next)];
    };
    // A run of the sync lists the same keys, so it needs the same permission.
    let keys: BTreeSet<String> = match s3.list(bucket, "runners/").await {
        Ok(listed) => listed.into_iter().map(|(key, _)| key).collect(),
        Err(failure) if failure.kind == FailureKind::NotFound => {
            let next = "make it (`terraform apply`), or correct spec.bucket";
            return vec![Finding::failed(CHECK, format!("there is no bucket {bucket}"), next)];
        }
        Err(failure) => {
            let next = "see that the bucket is this account's and lies in spec.region";
            return vec![Finding::call_failed(CHECK, &failure, "s3:ListBucket", next)];
        }
    };
    let mut found = vec![Finding::ok(CHECK, format!("{bucket}, runner binaries: {}", keys.len()))];
    for (platform, wanted) in plan::needs(spec) {
        found.extend(wanted.into_iter().map(|wanted| judge(&keys, platform, wanted)));
    }
    found
}

fn judge(keys: &BTreeSet<String>, platform: Platform, wanted: WantedVersion) -> Finding {
    let check = format!("runner {platform} {wanted}");
    let key = match wanted {
        WantedVersion::Latest => platform.latest_key(),
        WantedVersion::Pinned(version) => platform.key(version),
    };
    if keys.contains(&key) {
        return Finding::ok(check, key);
    }
    let next = "run `muster sync`; a running controller does so by itself unless spec.sync.every is 0s";
    Finding::warning(check, format!("{key} is not in the bucket, where instances look for it first"), next)
}

#[cfg(test)]
mod tests {
    use muster_reconciler::manifest::{Architecture, Os};

    use super::super::finding::Verdict;
    use super::*;
    use muster_github::releases::Version;

    #[test]
    fn what_a_pool_asks_for_must_lie_there() {
        let keys = BTreeSet::from(["runners/linux-x64/latest.tar.gz".to_owned(), "runners/linux-x64/2.330.0.tar.gz".into()]);
        let linux = Platform { os: Os::Linux, architecture: Architecture::X64 };
        let windows = Platform { os: Os::Windows, architecture: Architecture::X64 };
        assert_eq!(judge(&keys, linux, WantedVersion::Latest).verdict, Verdict::Ok);
        assert_eq!(judge(&keys, linux, WantedVersion::Pinned(Version(2, 330, 0))).verdict, Verdict::Ok);
        assert_eq!(judge(&keys, linux, WantedVersion::Pinned(Version(2, 331, 0))).verdict, Verdict::Warning);
        assert!(judge(&keys, windows, WantedVersion::Latest).next.is_some_and(|next| next.contains("muster sync")));
    }
}
