//! A trace: jobs as they were, one a line, as CSV or JSON lines. Every bad line is named; nothing is passed over in silence.

use std::time::Duration;

use muster_reconciler::manifest::{Problem, Text};
use muster_reconciler::sim::JobPlan;
use muster_reconciler::time::{Time, human};
use serde_json::Value;

use super::Input;
use super::field::{self, When};

/// Where seconds are counted from, and where a workload begins unless it says otherwise: Monday, 5 January 2026, 0:00 UTC.
pub const MONDAY: Time = Time::from_millis(1_767_571_200_000);
/// A trace that spans more than this has a wrong time in it.
const LONGEST: Duration = Duration::from_secs(92 * 86_400);
/// More bad lines than this are only counted.
const MOST_PROBLEMS: usize = 100;

/// The fields of a line, as a header or a key names them.
const FIELDS: [&str; 4] = ["queued_at", "duration", "labels", "repo"];
const KNOWN: &str = "queued_at, duration, labels and (optional) repo";

/// One line's fields, still as text; labels are split already.
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
/// Every bad line: the first hundred by name, the rest counted.
pub fn read(text: &Text) -> Result<Input, Vec<Problem>> {
    let mut reading = Reading { file: &text.file, problems: Vec::new(), notes: Vec::new() };
    let body = text.body.trim_start_matches('\u{feff}');
    let lines = if body.trim_start().starts_with('{') { reading.json(body) } else { reading.csv(body) };
    let jobs: Vec<(usize, When, JobPlan)> = lines.into_iter().filter_map(|line| reading.job(line)).collect();
    reading.finish(jobs)
}

struct Reading<'a> {
    file: &'a str,
    problems: Vec<Problem>,
    notes: Vec<String>,
}

impl Reading<'_> {
    fn refuse(&mut self, line: usize, field: &str, message: impl Into<String>) {
        self.problems.push(Problem { file: self.file.to_owned(), line, path: field.into(), message: message.into() });
    }

    fn csv(&mut self, body: &str) -> Vec<Line> {
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .trim(csv::Trim::All)
            .comment(Some(b'#'))
            .from_reader(body.as_bytes());
        let mut columns: Option<Vec<Option<usize>>> = None;
        let mut lines = Vec::new();
        for record in reader.records() {
            let record = match record {
                Ok(record) => record,
                Err(error) => {
                    let line = error.position().map_or(0, |p| usize::try_from(p.line()).unwrap_or(0));
                    self.refuse(line, "", format!("cannot be read as CSV: {error}"));
                    continue;
                }
            };
            let number = record.position().map_or(0, |p| usize::try_from(p.line()).unwrap_or(0));
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

    /// What each column is; None: nothing that is used.
    fn header(&mut self, number: usize, record: &csv::StringRecord) -> Vec<Option<usize>> {
        let columns: Vec<Option<usize>> = record.iter().map(known).collect();
        let unused: Vec<&str> = record.iter().filter(|name| known(name).is_none()).collect();
        self.note_unused(&unused);
        for (nth, field) in FIELDS.iter().enumerate().take(3) {
            match columns.iter().filter(|c| **c == Some(nth)).count() {
                0 => self.refuse(number, field, format!("no such column; the first line names them: {KNOWN}")),
                1 => {}
                _ => self.refuse(number, field, "this column stands here twice; keep one"),
            }
        }
        columns
    }

    fn json(&mut self, body: &str) -> Vec<Line> {
        let mut lines = Vec::new();
        let mut unused = std::collections::BTreeSet::new();
        for (number, text) in body.lines().enumerate().map(|(n, text)| (n + 1, text)).filter(|(_, text)| !text.trim().is_empty())
        {
            let object = match serde_json::from_str(text) {
                Ok(Value::Object(object)) => object,
                Ok(_) => {
                    self.refuse(number, "", format!("a line is one JSON object with {KNOWN}"));
                    continue;
                }
                Err(error) => {
                    self.refuse(number, "", format!("cannot be read as JSON: {error}; each line is one object"));
                    continue;
                }
            };
            let (mut line, mut good) = (Line { number, ..Line::default() }, true);
            for (key, value) in object {
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
                    good = false;
                }
            }
            if good {
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

    /// One line's job, or every reason why it is none.
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

    fn finish(mut self, jobs: Vec<(usize, When, JobPlan)>) -> Result<Input, Vec<Problem>> {
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
                Ok(Input { jobs, from: first, until: last, notes: self.notes })
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
        let message = format!("and {more} more problems after line {}; mend these first", last.line);
        problems.push(Problem { path: String::new(), message, ..last });
    }
    problems
}

/// `queued_at`, `queuedAt` and `Queued At` are one.
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

    fn parse(body: &str) -> Result<Input, Vec<String>> {
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
        assert!(said[0].starts_with("t:1: labels: this column stands here twice"), "{said:#?}");
        assert!(said[1].starts_with("t:1: queued_at: no such column; the first line names them"), "{said:#?}");
        assert!(parse("").expect_err("nothing")[0].contains("holds no job"));
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
