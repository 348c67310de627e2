//! The parts of a flight record, as they are kept: one compressed object for each minute and process. `muster run` writes them and
//! `muster replay` chooses those that it needs.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use chrono::{DateTime, NaiveDateTime};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use muster_reconciler::reason::count;
use muster_reconciler::time::Time;

/// How the names of all parts end.
const SUFFIX: &str = ".jsonl.gz";
/// How the name of a part ends with which a replay can begin.
const BEGINS: &str = "_begins";

/// The name of a part, below the place of the record: `CLUSTER/2026-12-01/13/0507.123_PROCESS_42.jsonl.gz`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PartName {
    /// The cluster.
    pub cluster: String,
    /// The time of its first line.
    pub at: Time,
    /// The process whose core it is.
    pub process: String,
    /// Counts the parts of the process, from 0. A number that is missing was lost.
    pub number: u64,
    /// A replay can begin with this part.
    pub begins: bool,
}

impl fmt::Display for PartName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = i64::try_from(self.at.as_millis()).ok().and_then(DateTime::from_timestamp_millis).unwrap_or_default();
        let begins = if self.begins { BEGINS } else { "" };
        let at = at.format("%Y-%m-%d/%H/%M%S%.3f");
        write!(f, "{}/{at}_{}_{}{begins}{SUFFIX}", self.cluster, self.process, self.number)
    }
}

impl PartName {
    /// The part of this name. None: it is no name of a part.
    pub fn parse(name: &str) -> Option<PartName> {
        let (rest, begins) = name.strip_suffix(SUFFIX).map(|rest| match rest.strip_suffix(BEGINS) {
            Some(rest) => (rest, true),
            None => (rest, false),
        })?;
        let (cluster, rest) = rest.split_once('/')?;
        let (rest, number) = rest.rsplit_once('_')?;
        let (at, process) = rest.split_once('_')?;
        let at = NaiveDateTime::parse_from_str(at, "%Y-%m-%d/%H/%M%S%.3f").ok()?.and_utc().timestamp_millis();
        Some(PartName {
            cluster: cluster.to_owned(),
            at: Time::from_millis(u64::try_from(at).ok()?),
            process: process.to_owned(),
            number: number.parse().ok()?,
            begins,
        })
    }
}

/// Compresses the lines of a part.
pub fn pack(lines: &[u8]) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
    // Writing to memory does not fail.
    let written = packer.write_all(lines).and_then(|()| packer.finish());
    written.unwrap_or_default()
}

/// The lines of a part: as many as can be read, and what is wrong with the rest.
pub fn unpack(bytes: &[u8]) -> (String, Option<String>) {
    let mut lines = Vec::new();
    let failed = GzDecoder::new(bytes).read_to_end(&mut lines).err();
    // A line that was cut off does not count.
    let whole = lines.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    let cut = failed.map(|e| e.to_string()).or_else(|| (whole < lines.len()).then(|| "its last line has no end".to_owned()));
    lines.truncate(whole);
    match String::from_utf8(lines) {
        Ok(lines) => (lines, cut),
        Err(error) => (String::new(), Some(error.to_string())),
    }
}

/// The names of all files below a directory that holds a record, relative to it.
///
/// # Errors
/// When a directory cannot be read.
pub fn files(dir: &Path) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let path = dir.join(&folder);
        let failed = || format!("failed to read {}", path.display());
        for entry in std::fs::read_dir(&path).with_context(failed)? {
            let entry = entry.with_context(failed)?;
            let name = folder.join(entry.file_name());
            if entry.file_type().with_context(failed)?.is_dir() {
                folders.push(name);
            } else {
                found.extend(name.to_str().map(|name| name.replace(std::path::MAIN_SEPARATOR, "/")));
            }
        }
    }
    Ok(found)
}

/// The parts that a replay needs, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// The parts.
    pub parts: Vec<PartName>,
    /// What whoever reads the replay must know.
    pub notes: Vec<String>,
}

/// Why no parts can be chosen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotChosen {
    /// The place has no part at all.
    #[error("there is no record here; a controller writes one where its `spec.record.to` says")]
    Nothing,
    /// The time is before the first part.
    #[error("the record begins at {0}; choose a later time")]
    TooEarly(String),
    /// There is no such process or cluster.
    #[error("the record has no part of {0}; it has {1}")]
    NoSuch(String, String),
    /// Several processes or clusters could be meant.
    #[error("the record has {0}; choose one with {1}")]
    Several(String, &'static str),
    /// Parts are missing.
    #[error("the record has a gap of {} before {before}, and nothing after it from which a replay could begin", count(*.lost, "part"))]
    Gap {
        /// How many parts are missing.
        lost: u64,
        /// The time of the first part after the gap.
        before: String,
    },
    /// The first parts are gone.
    #[error("the record of {0} has lost its first parts, and a replay can begin once in an hour; choose a time an hour later")]
    NoBeginning(String),
}

/// A time as people read it, in UTC.
pub fn instant(at: Time) -> String {
    let at = i64::try_from(at.as_millis()).ok().and_then(DateTime::from_timestamp_millis).unwrap_or_default();
    at.format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The times that a replay is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordSpan {
    /// The replay begins at this time or before it, if the record lets it.
    pub from: Time,
    /// The process that is replayed is the one that wrote last before this time.
    pub at: Time,
    /// The last time that is replayed.
    pub until: Time,
}

impl RecordSpan {
    /// A replay of one moment, which begins as late as possible.
    pub const fn moment(at: Time) -> RecordSpan {
        RecordSpan { from: at, at, until: at }
    }

    /// A replay of everything before a time.
    pub const fn all_before(until: Time) -> RecordSpan {
        RecordSpan { from: Time::ZERO, at: until, until }
    }
}

/// Chooses what a replay needs. Without a process, it is the one that wrote last before `span.at`: one that stands by writes nothing.
///
/// # Errors
/// When the record does not have what is asked for.
pub fn choose(all: Vec<PartName>, span: RecordSpan, cluster: Option<&str>, process: Option<&str>) -> Result<Chosen, NotChosen> {
    let mut notes = Vec::new();
    let all = of_cluster(all, cluster)?;
    let first = all.iter().map(|part| part.at).min().ok_or(NotChosen::Nothing)?;
    let before = |part: &&PartName| part.at <= span.at;
    let process = match process {
        Some(process) => process.to_owned(),
        None => {
            let newest = all.iter().filter(before).max_by_key(|part| part.at);
            newest.ok_or_else(|| NotChosen::TooEarly(instant(first)))?.process.clone()
        }
    };
    let processes: BTreeSet<String> = all.iter().filter(before).map(|part| part.process.clone()).collect();
    let mut parts: Vec<PartName> = all.into_iter().filter(|part| part.process == process && part.at <= span.until).collect();
    parts.sort_by_key(|part| part.number);
    if parts.is_empty() {
        return Err(NotChosen::NoSuch(format!("the process {process}"), list(&processes)));
    }
    if processes.len() > 1 {
        let others = processes.into_iter().filter(|other| *other != process).collect();
        notes.push(format!("this is the process {process}; the record has {} before this time, too (--process)", list(&others)));
    }
    let gap = |pair: &[PartName]| matches!(pair, [a, b] if b.number != a.number + 1);
    let after_gap = parts.windows(2).rposition(gap).map_or(0, |at| at + 1);
    let begins = |at: &usize| parts.get(*at).is_some_and(|part| part.begins);
    let early = |at: &usize| parts.get(*at).is_some_and(|part| part.at <= span.from);
    let mut places = after_gap..parts.len();
    let Some(begin) = places.clone().rfind(|at| begins(at) && early(at)).or_else(|| places.find(begins)) else {
        return Err(match (after_gap.checked_sub(1).and_then(|at| parts.get(at)), parts.get(after_gap)) {
            (Some(a), Some(b)) => NotChosen::Gap { lost: b.number - a.number - 1, before: instant(b.at) },
            _ => NotChosen::NoBeginning(process),
        });
    };
    parts.drain(..begin);
    if let Some(part) = parts.first().filter(|part| part.number > 0) {
        notes.push(format!(
            "the replay begins at {}, with what a controller knows that starts then: what the process remembered from before is not here",
            instant(part.at)
        ));
    }
    Ok(Chosen { parts, notes })
}

fn of_cluster(all: Vec<PartName>, cluster: Option<&str>) -> Result<Vec<PartName>, NotChosen> {
    let clusters: BTreeSet<String> = all.iter().map(|part| part.cluster.clone()).collect();
    match cluster {
        Some(cluster) if !clusters.contains(cluster) && !clusters.is_empty() => {
            Err(NotChosen::NoSuch(format!("the cluster {cluster}"), list(&clusters)))
        }
        None if clusters.len() > 1 => Err(NotChosen::Several(list(&clusters), "--cluster")),
        _ => Ok(all.into_iter().filter(|part| cluster.is_none_or(|cluster| part.cluster == cluster)).collect()),
    }
}

fn list(names: &BTreeSet<String>) -> String {
    names.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(minute: u64, process: &str, number: u64, begins: bool) -> PartName {
        let at = Time::from_millis(1_780_000_000_123 + minute * 60_000);
        PartName { cluster: "prod".into(), at, process: process.into(), number, begins }
    }

    #[test]
    fn a_name_is_read_as_it_was_written() {
        for part in [part(0, "p1-x", 0, true), part(7, "p1-x", 42, false)] {
            assert_eq!(PartName::parse(&part.to_string()), Some(part));
        }
        assert_eq!(part(0, "p1-x", 42, true).to_string(), "prod/2026-05-28/20/2640.123_p1-x_42_begins.jsonl.gz");
        assert_eq!(PartName::parse("prod/2026-05-28/20/readme.txt"), None);
    }

    #[test]
    fn what_is_cut_off_is_read_up_to_there() {
        let lines = "{\"a\":1}\n".repeat(10_000);
        let packed = pack(lines.as_bytes());
        assert_eq!(unpack(&packed), (lines.clone(), None));
        let (read, wrong) = unpack(&packed[..packed.len() / 2]);
        assert!(wrong.is_some() && lines.starts_with(&read) && (read.is_empty() || read.ends_with('\n')), "{wrong:?}");
        assert_eq!(unpack(&pack(b"{\"a\":1}\n{\"a\"")), ("{\"a\":1}\n".into(), Some("its last line has no end".into())));
    }

    #[test]
    fn a_replay_begins_as_late_as_it_can_and_at_the_start_if_it_must() {
        let all = vec![part(0, "p1", 0, true), part(1, "p1", 1, false), part(2, "p1", 2, true), part(3, "p1", 3, false)];
        let until = part(9, "", 0, false).at;
        let numbers = |span| choose(all.clone(), span, None, None).map(|c| c.parts.iter().map(|p| p.number).collect::<Vec<_>>());
        assert_eq!(numbers(RecordSpan::moment(until)), Ok(vec![2, 3]));
        assert_eq!(numbers(RecordSpan::all_before(until)), Ok(vec![0, 1, 2, 3]));
        let (early, later) = (part(1, "", 0, false).at, part(2, "", 0, false).at);
        assert_eq!(numbers(RecordSpan { from: early, at: early, until: later }), Ok(vec![0, 1, 2]));
        let late = choose(all, RecordSpan::moment(until), None, None).expect("parts");
        assert!(
            late.notes[0].starts_with("the replay begins at 2026-05-28T20:28:40Z, with what a controller knows"),
            "{:?}",
            late.notes
        );
    }

    #[test]
    fn a_gap_is_passed_where_the_record_begins_anew() {
        let until = part(9, "", 0, false).at;
        let gap = vec![part(0, "p1", 0, true), part(1, "p1", 1, false), part(3, "p1", 3, false)];
        let wrong = choose(gap.clone(), RecordSpan::all_before(until), None, None).expect_err("a gap");
        assert_eq!(wrong, NotChosen::Gap { lost: 1, before: "2026-05-28T20:29:40Z".into() });
        let mended = [gap, vec![part(4, "p1", 4, true)]].concat();
        assert_eq!(choose(mended, RecordSpan::all_before(until), None, None).expect("parts").parts, [part(4, "p1", 4, true)]);
    }

    #[test]
    fn the_process_that_wrote_last_is_replayed_and_the_others_are_named() {
        let all = vec![part(0, "p1", 0, true), part(1, "p1", 1, false), part(5, "p2", 0, true)];
        let until = part(9, "", 0, false).at;
        let chosen = choose(all.clone(), RecordSpan::moment(until), None, None).expect("parts");
        assert_eq!(chosen.parts, [part(5, "p2", 0, true)]);
        assert!(chosen.notes[0].contains("has p1 before this time"), "{:?}", chosen.notes);
        assert_eq!(choose(all.clone(), RecordSpan::moment(until), None, Some("p1")).expect("parts").parts.len(), 2);
        // A process that stands by has begun, and writes nothing.
        let standby = [all.clone(), vec![part(6, "p1", 2, false)]].concat();
        assert_eq!(choose(standby, RecordSpan::moment(until), None, None).expect("parts").parts.len(), 3);
        let old = choose(vec![part(7, "p1", 60, false)], RecordSpan::moment(until), None, None);
        assert_eq!(old, Err(NotChosen::NoBeginning("p1".into())));
        assert!(matches!(choose(all.clone(), RecordSpan::moment(Time::ZERO), None, None), Err(NotChosen::TooEarly(_))));
        assert!(matches!(choose(all, RecordSpan::moment(until), Some("test"), None), Err(NotChosen::NoSuch(..))));
        assert_eq!(choose(Vec::new(), RecordSpan::moment(until), None, None), Err(NotChosen::Nothing));
    }
}
