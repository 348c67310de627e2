//! What a question or an order is about, in the form in which people write it: `job/ID`, `runner/ID` or `pool/NAME`.

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

impl FromStr for Subject {
    type Err = String;

    fn from_str(text: &str) -> Result<Subject, String> {
        match text.split_once('/') {
            Some(("job", id)) => id
                .parse()
                .map(Subject::Job)
                .map_err(|_| format!("`{id}` is no job's id; GitHub's ids are numbers, such as job/29679449526")),
            // The whole name of a runner ends with its instance id.
            Some(("runner", id)) if is_word(id) => Ok(Subject::Runner(id.rsplit('.').next().unwrap_or(id).to_owned())),
            Some(("pool", name)) if is_word(name) => Ok(Subject::Pool(name.to_owned())),
            _ => Err("write job/ID, runner/INSTANCE-ID or pool/NAME".to_owned()),
        }
    }
}

impl Subject {
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

    #[test]
    fn subjects_are_read_or_refused_with_the_way_out() {
        for (text, subject) in [
            ("job/17", Subject::Job(17)),
            ("runner/i-0a", Subject::Runner("i-0a".into())),
            ("runner/prod.linux-x64.i-0a", Subject::Runner("i-0a".into())),
            ("pool/linux", Subject::Pool("linux".into())),
        ] {
            assert_eq!(text.parse(), Ok(subject));
        }
        for bad in ["", "job", "job/x", "runner/", "instance/i-0a", "pool/a b", "pool/../x", "runner/i-0a/ended"] {
            let said = bad.parse::<Subject>().expect_err(bad);
            assert!(said.contains("job/"), "{bad}: {said}");
        }
    }
}
