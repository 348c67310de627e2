//! Finds tags that EC2 would refuse. A refused tag makes the whole launch fail, so it is better to say this before.
//!
//! Instances read their own tags from the instance metadata service. For such tags EC2 admits fewer characters in a key than
//! usual:
//! <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/work-with-tags-in-IMDS.html>. The other limits are here:
//! <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Tags.html#tag-restrictions>.

use std::collections::BTreeMap;

use super::Check;

/// The most tags of a user. EC2 admits 50. The other ten are for muster's own tags, and for those that AWS and others add.
const MOST_TAGS: usize = 40;
const LONGEST_KEY: usize = 128;
const LONGEST_VALUE: usize = 256;

pub(super) fn tags(path: &str, tags: &BTreeMap<String, String>, check: &mut Check<'_>) {
    for (key, value) in tags {
        let at = format!("{path}.{key}");
        let allowed = |c: char| c.is_ascii_alphanumeric() || "+-=.,_:@".contains(c);
        if key.is_empty() || key.chars().count() > LONGEST_KEY {
            check.fail(if key.is_empty() { path } else { &at }, format!("a tag's key has 1 to {LONGEST_KEY} characters"));
        } else if let Some(prefix) = ["aws:", "muster:"].iter().find(|p| key.to_ascii_lowercase().starts_with(**p)) {
            check.fail(&at, format!("tags that begin with `{prefix}` are reserved; choose another key"));
        } else if !key.chars().all(allowed) || [".", "..", "_index"].contains(&key.as_str()) {
            check.fail(&at, "a tag's key holds letters, digits and +-=.,_:@ only, because instances read their tags by metadata");
        }
        if value.chars().count() > LONGEST_VALUE {
            check.fail(&at, format!("a tag's value has at most {LONGEST_VALUE} characters"));
        }
    }
}

pub(super) fn count(path: &str, count: usize, check: &mut Check<'_>) {
    if count > MOST_TAGS {
        check.fail(path, format!("{count} tags; at most {MOST_TAGS} (EC2 admits 50, and muster adds its own)"));
    }
}

/// Checks the number of a pool's tags together with the Controller's, because both go on the same instance.
pub(super) fn together(controller: &BTreeMap<String, String>, pool: &BTreeMap<String, String>, check: &mut Check<'_>) {
    let both = controller.len() + pool.keys().filter(|key| !controller.contains_key(*key)).count();
    // If the Controller alone has too many tags, this is said at the Controller, once.
    if controller.len() <= MOST_TAGS && both > MOST_TAGS {
        let message =
            format!("{both} tags together with the Controller's; at most {MOST_TAGS} (EC2 admits 50, and muster adds its own)");
        check.fail("spec.instance.tags", message);
    }
}
