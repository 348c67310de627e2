//! Reads events that somebody else kept: JSON values one after the other, on lines of their own or not, in the form that
//! [`muster_message::kept`] reads. Files that end with `.gz` are compressed.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use flate2::read::MultiGzDecoder;
use muster_message::kept::{self, KeptEvent};
use muster_reconciler::time::Time;
use serde_json::Value;

/// The events of an archive.
#[derive(Debug, Default)]
pub struct Archive {
    /// The events, in the order of their time.
    pub events: Vec<KeptEvent>,
    /// How many values were events of other kinds.
    pub others: u64,
}

/// From the first event to the last. All of that time is played.
const LONGEST: Duration = Duration::from_secs(366 * 86400);

/// The day of a time, in UTC.
fn date(at: Time) -> String {
    let at = i64::try_from(at.as_millis()).ok().and_then(chrono::DateTime::from_timestamp_millis).unwrap_or_default();
    at.format("%Y-%m-%d").to_string()
}

/// Reads a file, or all files of a directory and below it.
///
/// # Errors
/// When a file cannot be read, has something else than events, or when there is no event of a job.
pub fn read(path: &Path) -> anyhow::Result<Archive> {
    let mut archive = Archive::default();
    let mut todo = vec![path.to_owned()];
    while let Some(path) = todo.pop() {
        let failed = || format!("failed to read {}", path.display());
        if fs::metadata(&path).with_context(failed)?.is_dir() {
            for entry in fs::read_dir(&path).with_context(failed)? {
                todo.push(entry.with_context(failed)?.path());
            }
            continue;
        }
        read_text(&mut archive, &text(&path).with_context(failed)?, &path)?;
    }
    if archive.events.is_empty() {
        bail!(
            "{} has no workflow_job event: name a file or a directory with the events, one JSON value after the other",
            path.display()
        );
    }
    archive.events.sort_by_key(|kept| (kept.at, kept.event.job, kept.event.state));
    let ends = archive.events.first().zip(archive.events.last());
    if let Some((first, last)) = ends.filter(|(first, last)| last.at.since(first.at) > LONGEST) {
        bail!(
            "{} has events from {} to {}, and a year is the most: take out what has a wrong time, or read it in parts",
            path.display(),
            date(first.at),
            date(last.at)
        );
    }
    Ok(archive)
}

fn text(path: &PathBuf) -> std::io::Result<String> {
    if path.extension().is_none_or(|end| end != "gz") {
        return fs::read_to_string(path);
    }
    let mut text = String::new();
    MultiGzDecoder::new(fs::File::open(path)?).read_to_string(&mut text)?;
    Ok(text)
}

fn read_text(archive: &mut Archive, text: &str, path: &Path) -> anyhow::Result<()> {
    let values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    for (value, number) in values.zip(1_u64..) {
        let place = || format!("{}, value {number}", path.display());
        match kept::read(&value.with_context(place)?) {
            Ok(Some(event)) => archive.events.push(event),
            Ok(None) => archive.others += 1,
            Err(why) => bail!("{}: {why}; take it out, or mend it", place()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: &str = r#"{"action":"queued","repository":{"full_name":"acme/app"},"workflow_job":{"id":7,"run_id":3,
        "labels":["self-hosted"],"created_at":"2026-12-01T08:00:00Z"}}"#;

    #[test]
    fn events_are_read_one_after_the_other_and_whatever_else_is_told_with_its_place() {
        let mut archive = Archive::default();
        let path = Path::new("a.json");
        let all = format!("{EVENT}{EVENT}\n{{\"detail-type\":\"push\"}}");
        read_text(&mut archive, &all, path).expect("events");
        assert_eq!((archive.events.len(), archive.others), (2, 1));
        let said = |text: &str| format!("{:#}", read_text(&mut Archive::default(), text, path).expect_err("bad"));
        assert_eq!(
            said(&format!("{EVENT}\n[1]")),
            "a.json, value 2: it is neither GitHub's payload of an event nor an EventBridge envelope; take it out, or mend it"
        );
        assert!(said(&format!("{EVENT} {{")).starts_with("a.json, value 2: EOF"), "{}", said("{"));
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("events.json");
        fs::write(&file, format!("{EVENT}{}", EVENT.replace("2026-12-01", "1970-01-01"))).expect("a file");
        let far = format!("{:#}", read(&file).expect_err("too long"));
        assert!(far.ends_with("has events from 1970-01-01 to 2026-12-01, and a year is the most: take out what has a wrong time, or read it in parts"), "{far}");
        let nothing = read(Path::new("/nonexistent/archive")).expect_err("nothing there");
        assert!(format!("{nothing:#}").starts_with("failed to read /nonexistent/archive"), "{nothing:#}");
    }
}
