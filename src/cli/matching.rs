//! `muster match LABEL...`: which pool takes a job with these labels, and why the others do not. The controller's own rule answers.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use muster_operations::config;
use muster_reconciler::labels::listed;
use muster_reconciler::manifest::{Spec, load_for_people};
use muster_reconciler::matching::{Candidate, Route, Stance, candidates, example_repository, job_like, route};
use serde::Serialize;

use super::fault::CliError;
use super::{Output, show};

/// `muster match`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The labels of the job, in any form in which a workflow has them: `self-hosted linux x64`, `[self-hosted, linux, x64]`, or
    /// `runs-on: linux`.
    #[arg(required = true, value_name = "LABEL")]
    labels: Vec<String>,
    /// The job's repository. Without it: one that a pool admits.
    #[arg(long, value_name = "OWNER/NAME", value_parser = repository)]
    repo: Option<String>,
    /// The directory of the manifests.
    #[arg(long, value_name = "DIR", default_value = ".", env = "MUSTER_MANIFESTS")]
    manifests: PathBuf,
    /// For people, or for programs.
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

/// The answer, for both printers.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct MatchAnswer {
    labels: Vec<String>,
    repo: String,
    /// Whether the repository was assumed.
    assumed: bool,
    /// The pool that takes the job. None: no pool does.
    pool: Option<String>,
    /// The answer in one sentence.
    said: String,
    candidates: Vec<Candidate>,
}

impl Args {
    /// The exit code is 0 if a pool takes the job, and 1 if none does.
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let labels = labels(&self.labels);
        if labels.is_empty() {
            return Err(CliError::Usage("no label is named; write them as in runs-on, such as: self-hosted linux".into()).into());
        }
        let place = self.manifests.display().to_string();
        let texts = config::read_dir(&self.manifests)
            .map_err(|error| CliError::Config(format!("{error:#}; name it with --manifests")))?;
        let read = load_for_people(&texts, None)
            .with_context(|| format!("the manifests in {place} are wrong; `muster validate {place}` shows where"))?;
        let answer = MatchAnswer::new(&read.spec, labels, self.repo);
        let text = match self.output {
            Output::Json => serde_json::to_string_pretty(&answer)? + "\n",
            Output::Table => answer.text(),
        };
        show::print(&text)?;
        Ok(if answer.pool.is_some() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

impl MatchAnswer {
    fn new(spec: &Spec, labels: Vec<String>, repo: Option<String>) -> MatchAnswer {
        let assumed = repo.is_none();
        let takes = |repo: &String| matches!(route(spec, &job_like(spec, repo, labels.clone())), Route::Pool(_));
        let examples: Vec<String> = spec.pools.values().map(example_repository).collect();
        let example = || examples.iter().find(|repo| takes(repo)).or(examples.first()).cloned();
        let repo = repo.or_else(example).unwrap_or_else(|| "acme/any".into());
        let event = job_like(spec, &repo, labels.clone());
        let (pool, said) = match route(spec, &event) {
            Route::Pool(name) => {
                (Some(name.to_string()), format!("pool {name} takes a job of {repo} with {}", listed(&labels, ", ")))
            }
            Route::Unmatched(why) => (None, why.to_string()),
            Route::Foreign(why) => (None, format!("the job is not for muster: {why}")),
        };
        MatchAnswer { labels, repo, assumed, pool, said, candidates: candidates(spec, &event) }
    }

    fn text(&self) -> String {
        let mut text = format!("{}\n\n", self.said);
        let rows = self.candidates.iter().map(|candidate| {
            let takes = if candidate.stance == Stance::Takes { "yes" } else { "no" };
            vec![candidate.pool.to_string(), takes.to_owned(), candidate.stance.to_string()]
        });
        text += &show::table(&["POOL", "TAKES", "WHY"], &[], rows);
        let may_run: Vec<&Candidate> = self.candidates.iter().filter(|candidate| candidate.may_run).collect();
        if !may_run.is_empty() {
            text += "\nGitHub looks at labels and runner groups alone, and may give the job to runners of these pools as well:\n";
        }
        for candidate in may_run {
            text += &format!("  {}, if its runner group {} admits {}\n", candidate.pool, candidate.runner_group, self.repo);
        }
        if self.assumed {
            text += &format!("\nThe job was taken to be of {}; name another repository with --repo.\n", self.repo);
        }
        text
    }
}

/// The labels, as they stand in a workflow: with brackets, commas, quotes, `runs-on:` or dashes of a list, or without.
fn labels(words: &[String]) -> Vec<String> {
    let joined = words.join(" ");
    let bare = joined.trim().strip_prefix("runs-on:").unwrap_or(joined.trim());
    let strange = |c: char| c == ',' || c == '[' || c == ']' || c.is_whitespace();
    let label = |word: &str| word.trim_matches(['"', '\'']).to_owned();
    bare.split(strange).map(label).filter(|label| !label.is_empty() && label != "-").collect()
}

fn repository(text: &str) -> Result<String, String> {
    let good = text.split_once('/').is_some_and(|(owner, name)| !owner.is_empty() && !name.is_empty() && !name.contains('/'));
    if good { Ok(text.to_owned()) } else { Err(format!("`{text}` is no repository; write OWNER/NAME")) }
}

#[cfg(test)]
mod tests {
    use muster_simulator::example;

    use super::*;

    #[test]
    fn labels_are_taken_as_a_workflow_has_them() {
        for line in [
            &["self-hosted", "linux"][..],
            &["[self-hosted, linux]"],
            &["runs-on: [self-hosted,", "'linux']"],
            &["- self-hosted - linux"],
        ] {
            let words: Vec<String> = line.iter().map(|word| (*word).to_owned()).collect();
            assert_eq!(labels(&words), ["self-hosted", "linux"], "{line:?}");
        }
        assert_eq!(labels(&["[]".into()]), [""; 0]);
    }

    #[test]
    fn the_answer_names_the_pool_and_says_why_the_others_do_not_take_the_job() {
        let mut warm = example::pool("warm", &["self-hosted", "linux", "warm"], 3);
        warm.spec.github.repositories = vec!["acme/mono".into()];
        let spec = example::cluster("c", [example::pool("linux", &["self-hosted", "linux"], 5), warm]);
        let ask = |labels: &[&str], repo: Option<&str>| {
            MatchAnswer::new(&spec, labels.iter().map(|label| (*label).to_owned()).collect(), repo.map(str::to_owned))
        };
        let answer = ask(&["self-hosted", "linux"], Some("acme/web"));
        let text = answer.text();
        assert_eq!(answer.pool.as_deref(), Some("linux"));
        assert!(text.starts_with("pool linux takes a job of acme/web with self-hosted, linux\n"), "{text}");
        assert!(text.contains("warm   no     its github.repositories leave out the repository"), "{text}");
        assert!(text.contains("may give the job to runners of these pools as well:\n  warm, if its runner group"), "{text}");
        let none = ask(&["self-hosted", "gpu"], None);
        assert!(none.pool.is_none() && none.text().contains("--repo"), "{}", none.text());
        assert_eq!(ask(&["warm"], None).pool.as_deref(), Some("warm"), "a repository is assumed that a pool admits");
    }
}
