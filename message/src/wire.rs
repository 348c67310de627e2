//! The messages of the job queue: one [`JobEvent`] as versioned JSON with a `kind`. A message has a few hundred bytes, and GitHub's
//! payload has 12 KB.
//!
//! The webhook writes the messages and `ingest` reads them. The two may run different releases of muster at the same time, so
//! each message has a version. The limits are checked on both sides, because whoever may write to the queue is not trusted with
//! anything else.

use std::borrow::Cow;

use muster_reconciler::event::{JobAbout, JobEvent};
use muster_reconciler::reason::count;
use serde::{Deserialize, Serialize};

/// The version that this release writes. It is also the only one that this release reads.
pub const VERSION: u64 = 1;
/// The kind of message that this release writes. A message without a kind is of this kind, too: earlier releases wrote none.
const KIND: &str = "workflow_job";
/// The longest message, in bytes. Ten of them fit into one SQS batch many times over.
pub const MAX_BYTES: usize = 8192;
/// The most labels of a job in a message.
pub const MAX_LABELS: usize = 100;
/// The longest label, runner name or other word, in characters. This is GitHub's own limit on a label.
pub const MAX_WORD: usize = 256;
/// The mark of what was cut: a label that was too long ends with it, and the last label begins with it if there were too many. No
/// pool has a label with this character at that place.
const CUT: char = '…';
/// The longest name of a workflow, a job or a branch in a message, in characters. GitHub's own texts may be longer.
pub const MAX_TITLE: usize = 100;
/// The most bytes that a job's labels take in a message, as JSON. The other fields are short.
const LABEL_BYTES: usize = MAX_BYTES - 3072;

/// Why a message, or an event that is to become one, is refused. The error says what is wrong, and never repeats the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The text is not the JSON that was expected.
    #[error("the message is malformed: {0}")]
    Malformed(String),
    /// The message has a version that this release does not know.
    #[error("the message has version {0}, but this release reads version {VERSION} only: upgrade the controller")]
    Version(u64),
    /// The message is of a kind that this release does not know.
    #[error("the message is of a kind that this release does not read, which is {KIND} only: upgrade the controller")]
    Kind,
    /// The message is longer than [`MAX_BYTES`].
    #[error("the message would be {0} bytes long, and {MAX_BYTES} is the most")]
    TooLong(usize),
    /// A field is beyond its limit.
    #[error("{field} {problem}")]
    Field {
        /// The field's name in GitHub's payload.
        field: &'static str,
        /// What is wrong with the field.
        problem: String,
    },
}

#[derive(Serialize)]
struct NumberedMessage<'a> {
    v: u64,
    kind: &'static str,
    #[serde(flatten)]
    event: &'a JobEvent,
}

#[derive(Deserialize)]
struct MessageHead<'a> {
    v: u64,
    #[serde(borrow)]
    kind: Option<Cow<'a, str>>,
}

/// Makes the message of an event. [`check`] the event before this call, and the message's length after it ([`MAX_BYTES`]).
pub fn encode(event: &JobEvent) -> String {
    // These structs have only numbers and text, so they can always be serialised.
    serde_json::to_string(&NumberedMessage { v: VERSION, kind: KIND, event }).unwrap_or_default()
}

/// Reads a message. Returns its event, which has passed [`check`].
pub fn decode(text: &str) -> Result<JobEvent, WireError> {
    if text.len() > MAX_BYTES {
        return Err(WireError::TooLong(text.len()));
    }
    let malformed = |e: serde_json::Error| WireError::Malformed(explain(&e));
    let MessageHead { v, kind } = serde_json::from_str(text).map_err(malformed)?;
    if v != VERSION {
        return Err(WireError::Version(v));
    }
    if kind.is_some_and(|kind| kind != KIND) {
        return Err(WireError::Kind);
    }
    let mut event: JobEvent = serde_json::from_str(text).map_err(malformed)?;
    // Another release may let other characters pass.
    let JobAbout { workflow, name, branch, .. } = &mut event.about;
    for title in [workflow, name, branch] {
        *title = fit_title(title);
    }
    check(&event)?;
    Ok(event)
}

/// Checks that every field of an event is within its limits.
pub fn check(event: &JobEvent) -> Result<(), WireError> {
    if !is_repository(&event.repo) {
        return Err(field("repository.full_name", "is not OWNER/NAME"));
    }
    if event.labels.len() > MAX_LABELS {
        return Err(field("workflow_job.labels", format!("has {} entries, and {MAX_LABELS} is the most", event.labels.len())));
    }
    if let Some(length) = event.labels.iter().map(|label| label.chars().count()).find(|length| *length > MAX_WORD + 1) {
        let problem = format!("is {length} characters long, and {MAX_WORD} is the most");
        return Err(field("a label in workflow_job.labels", problem));
    }
    for (name, value) in [
        ("organization.login", &event.org),
        ("enterprise.slug", &event.enterprise),
        ("workflow_job.runner_name", &event.runner),
        ("workflow_job.conclusion", &event.conclusion),
    ] {
        value.as_deref().map_or(Ok(()), |v| word(name, v))?;
    }
    let JobAbout { workflow, name, branch, sha } = &event.about;
    for (what, title) in
        [("workflow_job.workflow_name", workflow), ("workflow_job.name", name), ("workflow_job.head_branch", branch)]
    {
        if *title != fit_title(title) {
            return Err(field(what, format!("is longer than {MAX_TITLE} characters, or holds a control character")));
        }
    }
    if !sha.is_empty() && !is_commit(sha) {
        return Err(field("workflow_job.head_sha", "is not a commit in hexadecimal"));
    }
    Ok(())
}

/// Makes the name of a workflow, a job or a branch fit into a message, and into one line of a terminal.
pub fn fit_title(text: &str) -> String {
    let fits = |c: char| if c.is_control() || is_unseen(c) || NOT_IN_SQS.contains(&c) { '\u{fffd}' } else { c };
    let mut title: String = text.chars().take(MAX_TITLE).map(fits).collect();
    if text.chars().nth(MAX_TITLE).is_some() {
        title.pop();
        title.push(CUT);
    }
    title
}

/// Whether a character changes the order in which a terminal or a browser shows the others, or shows nothing itself.
fn is_unseen(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
        || matches!(c, '\u{e0000}'..='\u{e007f}')
}

/// Whether a text is the whole id of a commit: SHA-1 or SHA-256, in lower case.
pub fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'a'..=b'f'))
}

/// Makes a job's labels fit into a message. Labels that are too many or too long are cut. A job with strange labels waits at
/// GitHub like any other job. A label that was cut matches no pool, and neither did the original.
pub fn fit_labels(labels: Vec<String>) -> Vec<String> {
    let (all, mut bytes, mut fit) = (labels.len(), 0, Vec::with_capacity(labels.len().min(MAX_LABELS)));
    for label in labels {
        let label = fit_label(label);
        // Each label takes two quotes, which `to_string` has added, and one comma.
        bytes += serde_json::to_string(&label).map_or(0, |json| json.len()) + 1;
        let last = fit.len() + 1 == all;
        if bytes > LABEL_BYTES || (fit.len() + 1 == MAX_LABELS && !last) {
            fit.push(format!("{CUT} and {}", count(all - fit.len(), "more label")));
            break;
        }
        fit.push(label);
    }
    fit
}

fn fit_label(label: String) -> String {
    // SQS takes no message with these two characters. JSON writes control characters as escapes, so SQS takes those.
    let mut label = if label.contains(NOT_IN_SQS) { label.replace(NOT_IN_SQS, "\u{fffd}") } else { label };
    if let Some((at, _)) = label.char_indices().nth(MAX_WORD) {
        label.truncate(at);
        label.push(CUT);
    }
    label
}

/// Two characters that SQS does not admit in a message.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html>
const NOT_IN_SQS: [char; 2] = ['\u{fffe}', '\u{ffff}'];

/// Whether a text is a name or a word as GitHub writes them: not empty, at most [`MAX_WORD`] characters long, and without control
/// characters.
pub fn is_word(text: &str) -> bool {
    word("", text).is_ok()
}

/// The message of a JSON parser's error, without the text that could not be parsed. That text may be a secret in the wrong place.
pub fn explain(e: &serde_json::Error) -> String {
    let text = e.to_string();
    let place = format!("line {}, column {}", e.line(), e.column());
    // serde writes `invalid type: string "<text of the message>", expected <text of muster's types> at line 1 column 2`. So
    // muster's part is the last one.
    let ours = text.strip_suffix(&format!(" at line {} column {}", e.line(), e.column())).unwrap_or(&text);
    match e.classify() {
        serde_json::error::Category::Data if ours.starts_with("missing field") || ours.starts_with("duplicate field") => {
            format!("{ours} ({place})")
        }
        serde_json::error::Category::Data => {
            let expected = ours.rsplit_once(", expected ").map_or("something else", |(_, ours)| ours);
            format!("expected {expected} ({place})")
        }
        serde_json::error::Category::Eof => format!("the JSON ends too early ({place})"),
        _ => format!("not JSON ({place})"),
    }
}

fn field(field: &'static str, problem: impl Into<String>) -> WireError {
    WireError::Field { field, problem: problem.into() }
}

fn word(name: &'static str, value: &str) -> Result<(), WireError> {
    let length = value.chars().count();
    if value.is_empty() {
        return Err(field(name, "is empty"));
    }
    if length > MAX_WORD {
        return Err(field(name, format!("is {length} characters long, and {MAX_WORD} is the most")));
    }
    // SQS refuses a message with U+FFFE or U+FFFF, and a name never has control characters.
    if value.chars().any(|c| c.is_control() || NOT_IN_SQS.contains(&c)) {
        return Err(field(name, "holds a control character"));
    }
    Ok(())
}

/// Whether a text is `OWNER/NAME`. Both parts become parts of a URL: they have only letters, digits, `-`, `_` and `.`, and are
/// not `.` or `..`.
fn is_repository(text: &str) -> bool {
    let part = |s: &str| {
        (1..=100).contains(&s.len())
            && s != "."
            && s != ".."
            && s.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    };
    text.split_once('/').is_some_and(|(owner, name)| part(owner) && part(name))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use muster_reconciler::event::JobState;
    use muster_reconciler::ids::{JobId, RunId};

    use super::*;

    fn event() -> JobEvent {
        JobEvent {
            job: JobId(12_877_621_891),
            run: RunId(4_747_967_848),
            state: JobState::Queued,
            waiting: false,
            attempt: None,
            about: JobAbout::default(),
            repo: "acme/web".into(),
            org: Some("acme".into()),
            enterprise: None,
            labels: vec!["self-hosted".into(), "linux".into()],
            runner: None,
            runner_id: None,
            conclusion: None,
            queued_at: None,
            started_at: None,
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let text = encode(&event());
        assert!(text.starts_with(r#"{"v":1,"kind":"workflow_job","job":12877621891,"#), "{text}");
        assert!(text.len() < 300, "{text}");
        assert_eq!(decode(&text).unwrap(), event());
    }

    #[test]
    fn a_later_release_may_add_fields_but_not_change_the_version() {
        let text = encode(&event());
        assert_eq!(decode(&text.replacen('{', r#"{"new":[1],"#, 1)).unwrap(), event());
        assert_eq!(decode(&text.replacen(r#""v":1"#, r#""v":2"#, 1)), Err(WireError::Version(2)));
        assert!(decode(&text.replacen(r#""v":1,"#, "", 1)).unwrap_err().to_string().contains("missing field `v`"));
    }

    #[test]
    fn an_earlier_release_writes_no_kind_and_another_kind_is_for_a_later_release() {
        let text = encode(&event());
        assert_eq!(decode(&text.replacen(r#""kind":"workflow_job","#, "", 1)).unwrap(), event());
        let other = text.replacen("workflow_job", "workflow_run", 1);
        assert_eq!(decode(&other), Err(WireError::Kind));
        assert!(decode(&other).unwrap_err().to_string().contains("upgrade the controller"));
    }

    #[test]
    fn what_people_call_a_job_is_bounded_and_fits_on_a_line() {
        let long = fit_title(&"ä".repeat(5000));
        assert_eq!((long.chars().count(), long.chars().last()), (MAX_TITLE, Some(CUT)));
        assert_eq!(fit_title("build\u{202e}\n\u{1b}[31m (x64)"), "build\u{fffd}\u{fffd}\u{fffd}[31m (x64)");
        let about = JobAbout { workflow: "CI".into(), name: long, branch: "main".into(), sha: "0a".repeat(20) };
        let told = JobEvent { about, ..event() };
        assert_eq!(decode(&encode(&told)).unwrap(), told);
        for sha in ["main", "../x", &"0A".repeat(20)] {
            let odd = JobEvent { about: JobAbout { sha: sha.into(), ..JobAbout::default() }, ..event() };
            assert!(decode(&encode(&odd)).unwrap_err().to_string().contains("head_sha"), "{sha}");
        }
    }

    #[test]
    fn a_message_says_that_a_job_waits_only_if_it_does() {
        let (free, waits) = (encode(&event()), encode(&JobEvent { waiting: true, ..event() }));
        assert!(!free.contains("waiting"), "the message of a release that did not know the word: {free}");
        assert!(waits.contains(r#""state":"queued","waiting":true"#), "{waits}");
        assert_eq!(decode(&waits).unwrap(), JobEvent { waiting: true, ..event() });
    }

    #[test]
    fn bad_messages_say_what_is_wrong_and_never_what_they_hold() {
        for (text, says) in [
            ("hunter2".to_owned(), "not JSON"),
            (r#"{"v":1,"job":"hunter2"}"#.to_owned(), "expected u64"),
            (r#"{"v":1,"job":1,"run":2,"state":"hunter2"}"#.to_owned(), "expected one of"),
            (r#"{"v":1,"job":1"#.to_owned(), "ends too early"),
            (r#"{"v":"hunter2, expected x"}"#.to_owned(), "expected u64"),
            ("hunter2".repeat(2000), "8192 is the most"),
            (encode(&JobEvent { repo: "hunter2/../x".into(), ..event() }), "is not OWNER/NAME"),
            (encode(&JobEvent { repo: "hunter2/..".into(), ..event() }), "is not OWNER/NAME"),
            (encode(&JobEvent { labels: vec!["x".repeat(258)], ..event() }), "is 258 characters long"),
            (encode(&JobEvent { labels: vec!["x".into(); 101], ..event() }), "has 101 entries"),
            (encode(&JobEvent { org: Some("hunter2\n".into()), ..event() }), "control character"),
            (encode(&JobEvent { runner: Some(String::new()), ..event() }), "runner_name is empty"),
        ] {
            let error = decode(&text).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
