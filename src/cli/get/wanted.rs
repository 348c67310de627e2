//! What `muster get` lists: `pools`, `all`, `pool NAME`, `job/1331`, or the address of a job's page.

use muster_operations::subject::{Subject, SubjectKind};

use super::ListKind;
use crate::cli::fault::CliError;
use crate::cli::pasted::nearest;

/// The lists, and of each what was named. Nothing was named: everything is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// The lists.
    pub kinds: Vec<ListKind>,
    /// The things that were named, all of one kind.
    pub named: Vec<Subject>,
}

impl Wanted {
    /// Reads the words of the command line.
    pub fn read(words: &[String]) -> Result<Wanted, CliError> {
        let (first, ids) = words.split_first().ok_or_else(|| CliError::Usage(format!("name a list; {WRITE}")))?;
        let named: Result<Vec<Subject>, String> = match (list_of(first), SubjectKind::of_word(first)) {
            (Some(kinds), _) if ids.is_empty() => return Ok(Wanted { kinds, named: Vec::new() }),
            (Some(_), Some(kind)) => ids.iter().map(|id| of_kind(kind, id)).collect(),
            (Some(_), None) => return Err(CliError::Usage(format!("`{first}` takes no names; leave {} out", ids.join(" ")))),
            (None, _) => words.iter().map(|word| subject(word)).collect(),
        };
        let named = named.map_err(CliError::Usage)?;
        match named.split_first() {
            Some((first, others)) if others.iter().all(|other| other.kind() == first.kind()) => {
                Ok(Wanted { kinds: vec![list(first.kind())], named })
            }
            _ => Err(CliError::Usage("these are of several kinds; name things of one kind, or list all".to_owned())),
        }
    }
}

const WRITE: &str = "write pools, jobs, runners, prices or all, or one thing such as pool/NAME";

/// The lists that a word names.
fn list_of(word: &str) -> Option<Vec<ListKind>> {
    match word.to_ascii_lowercase().as_str() {
        "all" => Some(vec![ListKind::Pools, ListKind::Jobs, ListKind::Runners]),
        "prices" | "price" => Some(vec![ListKind::Prices]),
        other => SubjectKind::of_word(other).map(|kind| vec![list(kind)]),
    }
}

const fn list(kind: SubjectKind) -> ListKind {
    match kind {
        SubjectKind::Job => ListKind::Jobs,
        SubjectKind::Runner => ListKind::Runners,
        SubjectKind::Pool => ListKind::Pools,
    }
}

/// The thing of this kind. Its id may stand alone, or in any form that names its kind as well.
fn of_kind(kind: SubjectKind, id: &str) -> Result<Subject, String> {
    match id.parse::<Subject>() {
        Ok(subject) if subject.kind() == kind => Ok(subject),
        _ => kind.subject(id),
    }
}

/// The thing that a word names by itself. A bare name would be a pool's, but is more likely a list with a slip.
fn subject(word: &str) -> Result<Subject, String> {
    match word.parse::<Subject>() {
        Ok(Subject::Pool(name)) if !word.contains('/') => {
            let lists = ["pools", "jobs", "runners", "prices", "all"];
            let meant = nearest(word, lists).first().map_or_else(|| format!("pool/{name}"), |list| (*list).to_owned());
            Err(format!("there is no list `{word}`; did you mean {meant}?"))
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Wanted, String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Wanted::read(&words).map_err(|error| error.to_string())
    }

    #[test]
    fn lists_and_things_are_understood_in_the_forms_in_which_people_write_them() {
        let all = |line: &str| read(line).unwrap_or_else(|said| panic!("{line}: {said}"));
        for line in ["pool", "pools", "Pools"] {
            assert_eq!(all(line), Wanted { kinds: vec![ListKind::Pools], named: vec![] });
        }
        assert_eq!(all("all").kinds.len(), 3);
        assert_eq!(all("prices").kinds, [ListKind::Prices]);
        let job = Wanted { kinds: vec![ListKind::Jobs], named: vec![Subject::Job(1331)] };
        for line in ["job 1331", "jobs job/1331", "job/1331", "1331", "https://github.com/a/b/actions/runs/1/job/1331"] {
            assert_eq!(all(line), job, "{line}");
        }
        assert_eq!(all("pool a b").named, [Subject::Pool("a".into()), Subject::Pool("b".into())]);
        assert_eq!(all("pool 12").named, [Subject::Pool("12".into())]);
        assert_eq!(all("runner prod.linux.i-0a").named, [Subject::Runner("i-0a".into())]);
        assert_eq!(all("i-0a").kinds, [ListKind::Runners]);
    }

    #[test]
    fn a_slip_is_told_with_what_was_probably_meant() {
        for (line, said) in [
            ("jbos", "there is no list `jbos`; did you mean jobs?"),
            ("linux-x64", "there is no list `linux-x64`; did you mean pool/linux-x64?"),
            ("job/1 pool/a", "these are of several kinds; name things of one kind, or list all"),
            ("prices x", "`prices` takes no names; leave x out"),
            ("job x", "`x` is no job's id; GitHub's ids are numbers, such as job/29679449526"),
        ] {
            assert_eq!(read(line).expect_err(line), said);
        }
    }
}
