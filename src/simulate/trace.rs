//! Reads a trace: jobs as they were, one on each line, as CSV or JSON lines. Every bad line is named, and nothing is
//! ignored in silence.

use std::fmt;
use std::time::Duration;

use muster_reconciler::manifest::{Problem, Text};
use muster_reconciler::reason::count;
use muster_reconciler::time::{Time, human};
use muster_simulator::JobPlan;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::Recording;
use super::field::{self, When};

/// The time from which seconds count, and at which a workload begins unless it says otherwise: Monday, 5 January 2026,
/// 00:00 UTC.
pub const MONDAY: Time = Time::from_millis(1_767_571_200_000);
/// The longest trace. A longer one must have a wrong time in it.
const LONGEST: Duration = Duration::from_secs(92 * 86_400);
/// The most bad lines that are named. More are only counted.
const MOST_PROBLEMS: usize = 100;

/// The fields of a line, as a header or a JSON key names them.
const FIELDS: [&str; 4] = ["queued_at", "duration", "labels", "repo"];
const KNOWN: &str = "queued_at, duration, labels and (optional) repo";

const ARRAY: &str = "a JSON array; a trace is JSON lines, one object a line: `jq -c '.[]' FILE > jobs.jsonl` writes them";
const UNCLOSED: &str =
    "a quote is not closed on its line; close it (a field ends on the line where it begins, and `\"\"` in quotes is a quote)";

/// The fields of one line as text. Only the labels are split already.
#[derive(Default)]
struct Line {
    number: usize,
    queued_at: Option<String>,
    duration: Option<String>,
    labels: Option<Vec<String>>,
    repo: Option<String>,
}

/// Reads the trace.
///
/// # Errors
/// Every bad line. The first hundred are named, and the others are counted.
pub fn read(text: &Text) -> Result<Recording, Vec<Problem>> {
    let mut reading = TraceReading { file: &text.file, problems: Vec::new(), notes: Vec::new() };
    let body = text.body.trim_start_matches('\u{feff}');
    let lines = match body.trim_start().chars().next() {
        Some('[') => return Err(vec![reading.problem(1, "", ARRAY)]),
        Some('{') => reading.json(body),
        _ => reading.csv(body),
    };
    let jobs: Vec<(usize, When, JobPlan)> = lines.into_iter().filter_map(|line| reading.job(line)).collect();
    reading.finish(jobs)
}

struct TraceReading<'a> {
    file: &'a str,
    problems: Vec<Problem>,
    notes: Vec<String>,
}

impl TraceReading<'_> {
    fn refuse(&mut self, line: usize, field: &str, message: impl Into<String>) {
        let problem = self.problem(line, field, message);
        self.problems.push(problem);
    }

    fn problem(&self, line: usize, field: &str, message: impl Into<String>) -> Problem {
        Problem { file: self.file.to_owned(), line, path: field.into(), message: message.into(), ..Problem::default() }
    }

    fn csv(&mut self, body: &str) -> Vec<Line> {
        let mut columns: Option<Vec<Option<usize>>> = None;
        let mut lines = Vec::new();
        for (number, text) in body.lines().enumerate().map(|(n, text)| (n + 1, text)) {
            let record = match cells(text) {
                Ok(Some(record)) => record,
                Ok(None) => continue,
                Err(message) => {
                    self.refuse(number, "", message);
                    continue;
                }
            };
            let Some(columns) = &columns else {
                columns = Some(self.header(number, &record));
                if !self.problems.is_empty() {
                    break;
                }
                continue;
            };
            if record.len() != columns.len() {
                let (has, wants) = (record.len(), columns.len());
                self.refuse(number, "", format!("{has} fields, but the header has {wants}; labels are separated by `;`"));
                continue;
            }
            let mut line = Line { number, ..Line::default() };
            for (column, value) in columns.iter().zip(record.iter()) {
                match column {
                    Some(0) => line.queued_at = Some(value.to_owned()),
                    Some(1) => line.duration = Some(value.to_owned()),
                    Some(2) => line.labels = Some(value.split(';').map(str::to_owned).collect()),
                    Some(_) if !value.is_empty() => line.repo = Some(value.to_owned()),
                    _ => {}
                }
            }
            lines.push(line);
        }
        lines
    }

    /// The field of each column. None: the column is not used.
    fn header(&mut self, number: usize, record: &csv::StringRecord) -> Vec<Option<usize>> {
        let columns: Vec<Option<usize>> = record.iter().map(known).collect();
        let unused: Vec<&str> = record.iter().filter(|name| known(name).is_none()).collect();
        self.note_unused(&unused);
        for (nth, field) in FIELDS.iter().enumerate() {
            let names: Vec<&str> = record.iter().filter(|name| known(name) == Some(nth)).collect();
            match names.len() {
                0 if *field != "repo" => {
                    self.refuse(number, field, format!("no such column; the first line names them: {KNOWN}"))
                }
                0 | 1 => {}
                _ => self.refuse(number, field, twice(&names)),
            }
        }
        columns
    }

    fn json(&mut self, body: &str) -> Vec<Line> {
        let mut lines = Vec::new();
        let mut unused = std::collections::BTreeSet::new();
        for (number, text) in body.lines().enumerate().map(|(n, text)| (n + 1, text)).filter(|(_, text)| !text.trim().is_empty())
        {
            let Pairs(pairs) = match serde_json::from_str(text) {
                Ok(pairs) => pairs,
                Err(error) if error.is_data() => {
                    self.refuse(number, "", format!("a line is one JSON object with {KNOWN}"));
                    continue;
                }
                Err(error) => {
                    self.refuse(number, "", format!("cannot be read as JSON: {error}; each line is one object"));
                    continue;
                }
            };
            let before = self.problems.len();
            for (nth, field) in FIELDS.iter().enumerate() {
                let names: Vec<&str> = pairs.iter().map(|(key, _)| key.as_str()).filter(|key| known(key) == Some(nth)).collect();
                if names.len() > 1 {
                    self.refuse(number, field, twice(&names));
                }
            }
            let mut line = Line { number, ..Line::default() };
            for (key, value) in pairs {
                let taken = match known(&key) {
                    Some(0) => scalar(&value).map(|text| line.queued_at = Some(text)),
                    Some(1) => scalar(&value).map(|text| line.duration = Some(text)),
                    Some(2) => list(&value).map(|labels| line.labels = Some(labels)),
                    Some(_) if value.is_null() => Ok(()),
                    Some(_) => scalar(&value).map(|text| line.repo = Some(text)),
                    None => {
                        unused.insert(key.clone());
                        Ok(())
                    }
                };
                if let Err(message) = taken {
                    self.refuse(number, &key, message);
                }
            }
            if self.problems.len() == before {
                lines.push(line);
            }
        }
        self.note_unused(&unused.iter().map(String::as_str).collect::<Vec<_>>());
        lines
    }

    fn note_unused(&mut self, names: &[&str]) {
        if !names.is_empty() {
            self.notes.push(format!("{}: not used: {}; used are {KNOWN}", self.file, names.join(", ")));
        }
    }

    /// The job of one line. None: the line is bad, and every reason was noted.
    fn job(&mut self, line: Line) -> Option<(usize, When, JobPlan)> {
        let missing = |name: &str| format!("required: write {name}");
        let when = line.queued_at.as_deref().ok_or_else(|| missing("when the job was queued")).and_then(field::when);
        let takes = line.duration.as_deref().ok_or_else(|| missing("how long the job ran")).and_then(field::duration);
        let labels = match &line.labels {
            Some(labels) => field::labels(labels.iter().map(String::as_str)),
            None => Err(missing("the job's runs-on")),
        };
        let repo = line.repo.as_deref().map_or(Ok(String::new()), field::repository);
        for (field, error) in
            FIELDS.iter().zip([when.as_ref().err(), takes.as_ref().err(), labels.as_ref().err(), repo.as_ref().err()])
        {
            if let Some(message) = error {
                self.refuse(line.number, field, message.clone());
            }
        }
        let plan = JobPlan { at: Time::ZERO, takes: takes.ok()?, labels: labels.ok()?, repo: repo.ok()?, cancel_after: None };
        Some((line.number, when.ok()?, plan))
    }

    fn finish(mut self, jobs: Vec<(usize, When, JobPlan)>) -> Result<Recording, Vec<Problem>> {
        let by_calendar = jobs.first().is_some_and(|(_, when, _)| matches!(when, When::At(_)));
        let mut placed = Vec::with_capacity(jobs.len());
        for (number, when, plan) in jobs {
            let at = match when {
                When::At(at) => at,
                When::After(after) => MONDAY + after,
            };
            if matches!(when, When::At(_)) != by_calendar {
                let (first, here) =
                    if by_calendar { ("by the calendar", "in seconds") } else { ("in seconds", "by the calendar") };
                self.refuse(number, FIELDS[0], format!("{here}, but the first line is {first}; write all alike"));
            }
            placed.push((number, JobPlan { at, ..plan }));
        }
        let first = placed.iter().map(|(_, j)| j.at).min();
        let last = placed.iter().map(|(number, j)| (j.at, *number)).max();
        let (Some(first), Some((last, line))) = (first, last) else {
            if self.problems.is_empty() {
                self.refuse(1, "", format!("holds no job; write one a line, with {KNOWN}"));
            }
            return Err(capped(self.problems));
        };
        if last.since(first) > LONGEST && self.problems.is_empty() {
            let (from, to, most) = (field::said(first), field::said(last), human(LONGEST));
            self.refuse(line, FIELDS[0], format!("the jobs lie between {from} and {to}; a trace spans {most} at most"));
        }
        if !by_calendar {
            self.notes.push(format!(
                "seconds count from {}, a Monday in UTC: that decides what schedules see; write RFC 3339 to choose",
                field::said(MONDAY)
            ));
        }
        match self.problems.is_empty() {
            true => {
                let jobs = placed.into_iter().map(|(_, job)| job).collect();
                Ok(Recording { jobs, from: first, until: last, notes: self.notes })
            }
            false => Err(capped(self.problems)),
        }
    }
}

fn capped(mut problems: Vec<Problem>) -> Vec<Problem> {
    problems.sort();
    let more = problems.len().saturating_sub(MOST_PROBLEMS);
    problems.truncate(MOST_PROBLEMS);
    if let (Some(last), 1..) = (problems.last().cloned(), more) {
        let message = format!("and {} after line {}; mend these first", count(more, "more problem"), last.line);
        problems.push(Problem { path: String::new(), message, ..last });
    }
    problems
}

/// The fields of one line, trimmed. None: the line is empty or a comment. Lines are read one by one. So an unclosed quote
/// swallows no other line, and the line numbers are right whatever ends a line.
fn cells(text: &str) -> Result<Option<csv::StringRecord>, String> {
    // An unclosed quote takes in the end of the line, which shows it.
    let line = format!("{text}\n");
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .terminator(csv::Terminator::Any(b'\n'))
        .comment(Some(b'#'))
        .buffer_capacity(line.len())
        .from_reader(line.as_bytes());
    let Some(record) = reader.records().next() else { return Ok(None) };
    let mut record = record.map_err(|error| format!("cannot be read as CSV: {error}"))?;
    if record.iter().any(|cell| cell.contains('\n')) {
        return Err(UNCLOSED.into());
    }
    record.trim();
    Ok(Some(record))
}

/// The keys and values of a JSON object in their order, repeated keys included.
struct Pairs(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Pairs, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Pairs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// The message about names that mean the same field.
fn twice(names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    format!("{} name this field more than once; keep one", names.join(" and "))
}

/// The field that a name means. `queued_at`, `queuedAt` and `Queued At` mean the same.
fn known(name: &str) -> Option<usize> {
    let bare = |s: &str| s.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    FIELDS.iter().position(|field| bare(field) == bare(name))
}

fn scalar(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        _ => Err("expected text or a number".into()),
    }
}

fn list(value: &Value) -> Result<Vec<String>, String> {
    let wrong = || "expected a list of labels, such as [\"self-hosted\", \"linux\"]".to_owned();
    match value {
        Value::String(text) => Ok(text.split(';').map(str::to_owned).collect()),
        Value::Array(items) => items.iter().map(|i| i.as_str().map(str::to_owned).ok_or_else(wrong)).collect(),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &str) -> Result<Recording, Vec<String>> {
        let text = Text { file: "t".into(), body: body.into() };
        read(&text).map_err(|problems| problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn csv_and_json_lines_say_the_same() {
        let csv = parse(
            "queued_at,duration,labels,repo\n2026-01-05T08:00:00Z,90,self-hosted;linux,acme/web\n2026-01-05T08:01:00Z,5m,gpu,\n",
        );
        let json = parse(concat!(
            "{\"queued_at\": \"2026-01-05T08:00:00Z\", \"duration\": 90, \"labels\": [\"self-hosted\", \"linux\"], \"repo\": \"acme/web\"}\n\n",
            "{\"queuedAt\": \"2026-01-05T08:01:00Z\", \"duration\": \"5m\", \"labels\": \"gpu\", \"repo\": null}\n"
        ));
        assert_eq!(csv, json);
        let input = csv.expect("two jobs");
        assert_eq!((input.jobs.len(), input.until.since(input.from)), (2, Duration::from_secs(60)));
        assert_eq!(input.jobs[0].labels, ["self-hosted", "linux"]);
        assert_eq!(input.jobs[1].repo, "");
    }

    #[test]
    fn columns_come_in_any_order_and_foreign_ones_are_told() {
        let input = parse("# from our warehouse\nlabels,id,duration,queued_at\nx,7,60s,0\nx,8,60s,10\n").expect("two jobs");
        assert_eq!(input.jobs[1].at, MONDAY + Duration::from_secs(10));
        assert!(input.notes[0].contains("not used: id"), "{:?}", input.notes);
        assert!(input.notes[1].contains("a Monday"), "{:?}", input.notes);
    }

    #[test]
    fn every_bad_line_is_named_with_field_and_way_out() {
        let body = "queued_at,duration,labels,repo\nsoon,5m,x,\n0,5 min,x,\n0,60,,web\n0,60\n5,60,a;b,acme/web\n";
        let said = parse(body).expect_err("four bad lines");
        let starts = [
            "t:2: queued_at: `soon` is no time; write RFC 3339",
            "t:3: duration: `5 min` is no duration; write seconds",
            "t:4: labels: a label is missing",
            "t:4: repo: `web` is no repository; write OWNER/NAME",
            "t:5: 2 fields, but the header has 4",
        ];
        assert_eq!(said.len(), starts.len(), "{said:#?}");
        for (line, start) in said.iter().zip(starts) {
            assert!(line.starts_with(start), "{line} / {start}");
        }
    }

    #[test]
    fn bad_json_lines_are_named_too() {
        let body = "{\"queued_at\": 1, \"duration\": 2, \"labels\": [\"x\"]}\n[1]\n{\n{\"queued_at\": true, \"labels\": [3]}\n{\"labels\": [\"x\"]}\n";
        let said = parse(body).expect_err("four bad lines");
        let starts = [
            "t:2: a line is one JSON object",
            "t:3: cannot be read as JSON",
            "t:4: labels: expected a list",
            "t:4: queued_at: expected text or a number",
            "t:5: duration: required: write how long",
            "t:5: queued_at: required: write when",
        ];
        assert_eq!(said.len(), starts.len(), "{said:#?}");
        for (line, start) in said.iter().zip(starts) {
            assert!(line.starts_with(start), "{line} / {start}");
        }
    }

    #[test]
    fn a_header_without_the_columns_names_each() {
        let said = parse("when,duration,labels,labels\n0,1,x,y\n").expect_err("a bad header");
        assert!(said[0].starts_with("t:1: labels: `labels` and `labels` name this field more than once; keep one"), "{said:#?}");
        assert!(said[1].starts_with("t:1: queued_at: no such column; the first line names them"), "{said:#?}");
        assert!(parse("").expect_err("nothing")[0].contains("holds no job"));
    }

    #[test]
    fn an_unclosed_quote_swallows_no_line() {
        let body = "queued_at,duration,labels,repo\r\n# the \"fast\" ones\r\n0,60,\"a;b,acme/web\r\n\r\n5,60,\"c\",\"acme/web\"\r\nsoon,60,d,\r\n";
        let said = parse(body).expect_err("two bad lines");
        assert!(said[0].starts_with("t:3: a quote is not closed on its line; close it"), "{said:#?}");
        assert!(said[1].starts_with("t:6: queued_at: `soon` is no time"), "{said:#?}");
        assert_eq!(said.len(), 2, "{said:#?}");
        // The unclosed quote may be on the last line, with or without a line end, or may span two lines.
        for (rows, lines) in [("0,60,\"x", &[2][..]), ("0,60,\"x\n", &[2]), ("0,60,\"x\ny\"\n", &[2, 3])] {
            let said = parse(&format!("queued_at,duration,labels\n{rows}")).expect_err(rows);
            let starts: Vec<String> = lines.iter().map(|line| format!("t:{line}: ")).collect();
            assert!(said[0].contains("a quote is not closed"), "{said:#?}");
            assert!(said.len() == starts.len() && said.iter().zip(starts).all(|(s, start)| s.starts_with(&start)), "{said:#?}");
        }
        let quoted = parse("queued_at,duration,labels\n0,60,\" a ; \"\"b\"\" \"\n").expect("a job");
        assert_eq!(quoted.jobs[0].labels, ["a", "\"b\""]);
    }

    #[test]
    fn a_label_lies_on_one_line() {
        for body in
            ["{\"queued_at\": 1, \"duration\": 2, \"labels\": [\"x\", \"a\\nb\"]}", "queued_at,duration,labels\n0,1,a\rb\n"]
        {
            let said = parse(body).expect_err(body);
            assert!(said.len() == 1 && said[0].contains(": labels: a label has a line break in it"), "{said:#?}");
        }
    }

    #[test]
    fn a_field_that_is_named_twice_is_refused_by_name() {
        let said = parse("queued_at,duration,labels,repo,Repo\n0,1,x,acme/a,acme/b\n").expect_err("two repositories");
        assert_eq!(said, ["t:1: repo: `repo` and `Repo` name this field more than once; keep one"]);
        let lines = [
            "{\"queued_at\": 1, \"duration\": 2, \"Duration\": 3, \"labels\": [\"x\"]}",
            "{\"queued_at\": 1, \"duration\": 2, \"labels\": [\"x\"], \"repo\": \"a/b\", \"repo\": null}",
            "{\"queued_at\": 1, \"duration\": 2, \"labels\": [\"x\"], \"id\": 1, \"id\": 2}",
        ];
        let wants = [
            "t:1: duration: `duration` and `Duration` name this field more than once; keep one",
            "t:2: repo: `repo` and `repo` name this field more than once; keep one",
        ];
        assert_eq!(parse(&lines.join("\n")).expect_err("two bad lines"), wants);
    }

    #[test]
    fn a_json_array_is_told_what_to_become() {
        let said = parse("\n [\n{\"queued_at\": 1, \"duration\": 2, \"labels\": [\"x\"]}\n]\n").expect_err("an array");
        assert_eq!(said.len(), 1, "{said:#?}");
        assert!(said[0].starts_with("t:1: a JSON array; ") && said[0].contains("jq -c '.[]' FILE"), "{said:#?}");
    }

    #[test]
    fn mixed_clocks_and_impossible_spans_are_refused() {
        let mixed = parse("queued_at,duration,labels\n0,1,x\n2026-01-05T08:00:00Z,1,x\n").expect_err("mixed");
        assert!(mixed[0].starts_with("t:3: queued_at: by the calendar, but the first line is in seconds"), "{mixed:#?}");
        let long =
            parse("queued_at,duration,labels\n2020-01-05T08:00:00Z,1,x\n2026-01-05T08:00:00Z,1,x\n").expect_err("six years");
        assert!(long[0].contains("spans 92d at most"), "{long:#?}");
    }

    #[test]
    fn many_bad_lines_are_counted() {
        let body = format!("queued_at,duration,labels\n{}", "x,1,y\n".repeat(250));
        let said = parse(&body).expect_err("250 bad lines");
        assert_eq!(said.len(), 101);
        assert!(said[100].contains("and 150 more problems"), "{}", said[100]);
    }
}
