//! What a question or an order is about. People write `job/ID`, `runner/ID` or `pool/NAME`, or paste what they have at hand: an id,
//! a runner's whole name, or the address of a page at GitHub, at AWS or of muster itself.

use std::fmt;
use std::str::FromStr;

/// One thing that muster can be asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A job, by its id at GitHub.
    Job(u64),
    /// A runner, by the id of its instance.
    Runner(String),
    /// A pool, by its name.
    Pool(String),
}

/// The kinds of things that muster can be asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubjectKind {
    /// Jobs.
    Job,
    /// Runners.
    Runner,
    /// Pools.
    Pool,
}

impl SubjectKind {
    /// The kind that a word names, in the singular or the plural and in any case.
    pub fn of_word(word: &str) -> Option<SubjectKind> {
        match word.to_ascii_lowercase().as_str() {
            "job" | "jobs" => Some(SubjectKind::Job),
            "runner" | "runners" | "instance" | "instances" => Some(SubjectKind::Runner),
            "pool" | "pools" => Some(SubjectKind::Pool),
            _ => None,
        }
    }

    /// The word in the singular.
    pub const fn as_str(self) -> &'static str {
        match self {
            SubjectKind::Job => "job",
            SubjectKind::Runner => "runner",
            SubjectKind::Pool => "pool",
        }
    }

    /// The thing of this kind with this id.
    ///
    /// # Errors
    /// One sentence, if the text is no id of this kind.
    pub fn subject(self, id: &str) -> Result<Subject, String> {
        match self {
            SubjectKind::Job => id
                .parse()
                .map(Subject::Job)
                .map_err(|_| format!("`{id}` is no job's id; GitHub's ids are numbers, such as job/29679449526")),
            // The whole name of a runner ends with its instance id.
            SubjectKind::Runner if is_word(id) => Ok(Subject::Runner(id.rsplit('.').next().unwrap_or(id).to_owned())),
            SubjectKind::Pool if is_word(id) => Ok(Subject::Pool(id.to_owned())),
            SubjectKind::Runner => {
                Err(format!("`{id}` is no instance id; write runner/i-0123456789abcdef0, or job/ID or pool/NAME"))
            }
            SubjectKind::Pool => Err(format!("`{id}` is no pool's name; write pool/NAME, or job/ID or runner/INSTANCE-ID")),
        }
    }
}

/// What to write, for whoever wrote something else.
const WRITE: &str = "write job/ID, runner/INSTANCE-ID or pool/NAME, or paste the address of a job's page at GitHub";

impl FromStr for Subject {
    type Err = String;

    fn from_str(text: &str) -> Result<Subject, String> {
        let text = text.trim();
        if text.contains("://") || text.starts_with("arn:") {
            return pasted_address(text);
        }
        match text.split_once('/') {
            Some((word, id)) => match SubjectKind::of_word(word) {
                Some(kind) => kind.subject(id),
                None => Err(match meant(word, id) {
                    Some(meant) => format!("there is no kind `{word}`; did you mean {meant}?"),
                    None => format!("there is no kind `{word}`; {WRITE}"),
                }),
            },
            None => bare(text),
        }
    }
}

/// What somebody may have meant who misspelt a kind: the three kinds begin with different letters.
fn meant(word: &str, id: &str) -> Option<Subject> {
    let first = word.chars().next()?;
    let kinds = [(SubjectKind::Job, 'j'), (SubjectKind::Runner, 'r'), (SubjectKind::Pool, 'p')];
    let (kind, _) = kinds.into_iter().find(|(_, letter)| first.eq_ignore_ascii_case(letter))?;
    kind.subject(id).ok()
}

/// The subject of an id or a name alone. A number is a job, `i-...` is a runner, and so is a name that ends with `.i-...`. Any
/// other name is a pool's.
fn bare(text: &str) -> Result<Subject, String> {
    if SubjectKind::of_word(text).is_some() {
        return Err(format!("`{text}` is a kind without an id; {WRITE}"));
    }
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return SubjectKind::Job.subject(text);
    }
    if text.rsplit('.').next().is_some_and(|last| last.starts_with("i-")) {
        return SubjectKind::Runner.subject(text);
    }
    if is_word(text) { SubjectKind::Pool.subject(text) } else { Err(format!("this names nothing; {WRITE}")) }
}

/// The subject of the address of a page: a job at GitHub, an instance in the console of EC2, or muster's own page of a thing. No
/// error repeats the address, which may hold a token.
///
/// GitHub has `OWNER/REPO/actions/runs/RUN/job/JOB`, `OWNER/REPO/runs/JOB` for the same page, and `.../actions/jobs/JOB` in its API.
fn pasted_address(text: &str) -> Result<Subject, String> {
    if let Some(id) = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').find(|part| is_instance(part)) {
        return Ok(Subject::Runner(id.to_owned()));
    }
    let path = text.split(['?', '#']).next().unwrap_or_default();
    let parts: Vec<&str> = path.split('/').skip(3).filter(|part| !part.is_empty()).collect();
    let number_after = |words: &[&str]| {
        let at = parts.iter().rposition(|part| words.contains(part))?;
        parts.get(at + 1)?.parse::<u64>().ok()
    };
    if let Some(job) = number_after(&["job", "jobs"]) {
        return Ok(Subject::Job(job));
    }
    if let [.., "explain", kind, id] = parts[..]
        && let Some(kind) = SubjectKind::of_word(kind)
    {
        return kind.subject(id);
    }
    match number_after(&["runs"]) {
        Some(run) if parts.contains(&"actions") => Err(format!(
            "this is the address of a whole run; paste the address of one of its jobs, or list them with: muster get jobs --run {run}"
        )),
        Some(job) => Ok(Subject::Job(job)),
        None => Err(format!("this address is of no job, runner or pool; {WRITE}")),
    }
}

/// Whether a text is an instance id as EC2 writes it. <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/resource-ids.html>
fn is_instance(text: &str) -> bool {
    let hex = text.strip_prefix("i-").unwrap_or_default();
    matches!(hex.len(), 8 | 17) && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

impl Subject {
    /// The kind of the thing.
    pub const fn kind(&self) -> SubjectKind {
        match self {
            Subject::Job(_) => SubjectKind::Job,
            Subject::Runner(_) => SubjectKind::Runner,
            Subject::Pool(_) => SubjectKind::Pool,
        }
    }

    /// The likely reason if muster knows nothing of the subject.
    pub const fn unknown(&self) -> &'static str {
        match self {
            Subject::Job(_) => "no event told of it, or it is over and forgotten",
            Subject::Runner(_) => "a runner is forgotten some time after its instance is gone",
            Subject::Pool(_) => "it is in no manifest of the running controller",
        }
    }
}

/// Whether the text may be a part of a URL's path as it is.
fn is_word(text: &str) -> bool {
    (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Job(id) => write!(f, "job/{id}"),
            Subject::Runner(id) => write!(f, "runner/{id}"),
            Subject::Pool(name) => write!(f, "pool/{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Subject {
        text.parse().unwrap_or_else(|said| panic!("{text}: {said}"))
    }

    #[test]
    fn subjects_are_read_or_refused_with_the_way_out() {
        for (text, subject) in [
            ("job/17", Subject::Job(17)),
            ("Jobs/17", Subject::Job(17)),
            ("runner/i-0a", Subject::Runner("i-0a".into())),
            ("instances/i-0a", Subject::Runner("i-0a".into())),
            ("runner/prod.linux-x64.i-0a", Subject::Runner("i-0a".into())),
            ("pool/linux", Subject::Pool("linux".into())),
            ("POOL/linux", Subject::Pool("linux".into())),
            ("pool/12", Subject::Pool("12".into())),
        ] {
            assert_eq!(read(text), subject, "{text}");
        }
        for bad in ["", "job", "job/x", "runner/", "thing/i-0a", "pool/a b", "pool/../x", "runner/i-0a/ended", "a b"] {
            let said = bad.parse::<Subject>().expect_err(bad);
            assert!(said.contains("job/"), "{bad}: {said}");
        }
    }

    #[test]
    fn a_misspelt_kind_is_told_with_the_one_that_was_meant() {
        for (slip, meant) in [("jbo/1", "job/1"), ("Pol/linux", "pool/linux"), ("ruuner/i-0a", "runner/i-0a")] {
            let said = slip.parse::<Subject>().expect_err(slip);
            assert!(said.ends_with(&format!("did you mean {meant}?")), "{said}");
        }
        assert!("jbo/x".parse::<Subject>().expect_err("no number").contains("write job/ID"));
    }

    #[test]
    fn what_people_have_at_hand_is_understood() {
        let run = "https://github.com/acme/web/actions/runs/332";
        for text in [
            "1331",
            " 1331 ",
            &format!("{run}/job/1331"),
            &format!("{run}/job/1331?pr=4#step:3:12"),
            &format!("{run}/attempts/2/job/1331/"),
            "https://github.example.com/acme/web/runs/1331?check_suite_focus=true",
            "https://api.github.com/repos/acme/web/actions/jobs/1331",
            "http://127.0.0.1:9090/explain/job/1331",
        ] {
            assert_eq!(read(text), Subject::Job(1331), "{text}");
        }
        let id = "i-0123456789abcdef0";
        for text in [
            id,
            &format!("prod.linux-x64.{id}"),
            &format!("https://eu-west-1.console.aws.amazon.com/ec2/home?region=eu-west-1#InstanceDetails:instanceId={id}"),
            &format!("arn:aws:ec2:eu-west-1:123456789012:instance/{id}"),
            &format!("http://127.0.0.1:9090/explain/runner/{id}"),
        ] {
            assert_eq!(read(text), Subject::Runner(id.into()), "{text}");
        }
        assert_eq!(read("linux-x64"), Subject::Pool("linux-x64".into()));
        assert_eq!(read("https://muster.example.com/explain/pool/linux-x64"), Subject::Pool("linux-x64".into()));
        let said = run.parse::<Subject>().expect_err("a run is no job");
        assert!(said.ends_with("muster get jobs --run 332"), "{said}");
        let said = "https://u:secret@github.com/acme/web".parse::<Subject>().expect_err("a repository is no job");
        assert!(!said.contains("secret"), "{said}");
    }
}
