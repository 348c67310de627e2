//! The result for manifests that are judged together: problems, or a summary with warnings and notes. There are three printers:
//! for people, for programs, and for GitHub Actions.

use muster_operations::terminal;
use muster_reconciler::groups::RunnerGroups;
use muster_reconciler::manifest::{ManifestReading, Problem, Problems, RunnerPool, Spec, load_for_people};
use muster_reconciler::warnings;
use serde::Serialize;

use super::excerpt;
use super::input::ManifestSet;
use super::types;
use crate::cli::app::NO_APP;
use crate::cli::show;

/// The result.
#[derive(Debug)]
pub(super) struct JudgedSet<'a> {
    set: &'a ManifestSet,
    /// Whether others are judged by the same call, so that the directory must be named.
    among_others: bool,
    /// What the manifests say, one line each. None: they have problems.
    summary: Option<String>,
    problems: Vec<Problem>,
    warnings: Vec<Warned>,
    notes: Vec<String>,
}

/// A warning, and where it stands. The line is 0 if there is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Warned {
    file: String,
    line: usize,
    message: String,
}

/// What programs read.
#[derive(Serialize)]
struct JudgedAnswer<'a> {
    valid: bool,
    problems: Vec<Problem>,
    warnings: Vec<&'a Warned>,
    notes: Vec<&'a String>,
}

impl<'a> JudgedSet<'a> {
    /// Judges the manifests.
    pub fn new(set: &'a ManifestSet, cluster: Option<&str>, among_others: bool) -> JudgedSet<'a> {
        let mut judged =
            JudgedSet { set, among_others, summary: None, problems: Vec::new(), warnings: Vec::new(), notes: Vec::new() };
        for (path, why) in &set.unread {
            let (file, message) = (path.display().to_string(), (*why).to_owned());
            judged.warnings.push(Warned { file, line: 0, message });
        }
        match load_for_people(&set.texts, cluster) {
            Err(Problems(problems)) => judged.problems = problems,
            Ok(read) => {
                judged.warn(&read);
                judged.note(&read, cluster);
                judged.summary = Some(summary(&read.spec, read.assumed));
            }
        }
        judged
    }

    fn warn(&mut self, read: &ManifestReading) {
        for file in &read.empty {
            self.warnings.push(Warned { file: self.set.path(file), line: 0, message: "holds no manifest".into() });
        }
        for name in read.spec.apps.iter().filter(|(_, app)| app.spec.app_id == NO_APP).map(|(name, _)| name) {
            let message =
                format!("GitHubApp {name}: appId: {NO_APP} stands for an App that is not made yet; `muster app create` makes it");
            self.warnings.push(Warned { file: String::new(), line: 0, message });
        }
        if read.spec.pools.is_empty() {
            let message = "there is no RunnerPool, so muster would launch nothing; add one".into();
            self.warnings.push(Warned { file: String::new(), line: 0, message });
        }
        let of_groups = warnings::of(&read.spec, &RunnerGroups::default());
        for (name, pool) in &read.spec.pools {
            let of_groups = of_groups.get(name).into_iter().flatten().map(|warning| format!("{warning}; {}", warning.way_out()));
            for said in of_groups.chain(types::unknown(pool)) {
                let (file, line) = read.places.get(name).map_or((String::new(), 0), |(file, line)| (self.set.path(file), *line));
                self.warnings.push(Warned { file, line, message: format!("RunnerPool {name}: {said}") });
            }
        }
    }

    fn note(&mut self, read: &ManifestReading, cluster: Option<&str>) {
        if read.assumed && cluster.is_none() {
            let place =
                if self.set.dir.as_os_str().is_empty() { "the files".to_owned() } else { self.set.dir.display().to_string() };
            self.notes.push(format!(
                "no Controller in {place}: muster assumes the one that the Terraform module writes. Without Terraform, add one; with \
                 it, --cluster NAME also checks the length of the runners' names"
            ));
        }
    }

    pub fn is_valid(&self) -> bool {
        self.problems.is_empty()
    }

    /// The name of a file in a line for people: as the directory has it, unless several directories are judged.
    fn shown(&self, file: &str) -> String {
        if self.among_others { self.set.path(file) } else { file.to_owned() }
    }

    /// Prints for people. Problems have no prefix, so that editors and scripts can read FILE:LINE.
    pub fn say(&self) -> anyhow::Result<()> {
        for problem in &self.problems {
            let shown = Problem { file: self.shown(&problem.file), ..problem.clone() };
            terminal::say(&format!("{shown}\n{}", self.excerpt(problem)).trim_end().replace('\r', ""));
        }
        if let Some(summary) = &self.summary {
            let title = if self.among_others && !self.set.dir.as_os_str().is_empty() {
                format!("{}\n", self.set.dir.display())
            } else {
                String::new()
            };
            show::print(&(title + summary))?;
        }
        for Warned { file, message, .. } in &self.warnings {
            // The name of a pool is enough for people; a file that is not read has no pool.
            let about_file = message.starts_with("RunnerPool ") || file.is_empty();
            let place = if about_file { String::new() } else { format!("{file}: ") };
            terminal::say(&format!("warning: {place}{message}"));
        }
        for note in &self.notes {
            terminal::say(&format!("note: {note}"));
        }
        Ok(())
    }

    fn excerpt(&self, problem: &Problem) -> String {
        let body = self.set.texts.iter().find(|text| text.file == problem.file).map(|text| &text.body);
        body.map_or_else(String::new, |body| excerpt::of(problem, body))
    }

    /// Problems and warnings as the commands that GitHub Actions reads in a log.
    /// <https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands#setting-an-error-message>
    pub fn annotations(&self) -> String {
        let problems = self.problems.iter().map(|problem| {
            let message =
                if problem.path.is_empty() { problem.message.clone() } else { format!("{}: {}", problem.path, problem.message) };
            annotation("error", &self.set.path(&problem.file), problem.line, problem.column, &message)
        });
        let warnings = self.warnings.iter().map(|w| annotation("warning", &w.file, w.line, 0, &w.message));
        let notes = self.notes.iter().map(|note| annotation("notice", "", 0, 0, note));
        problems.chain(warnings).chain(notes).collect()
    }
}

fn annotation(level: &str, file: &str, line: usize, column: usize, message: &str) -> String {
    let escaped = |text: &str| text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    let mut places = Vec::new();
    if !file.is_empty() {
        places.push(format!("file={}", escaped(file).replace(':', "%3A").replace(',', "%2C")));
    }
    if line > 0 {
        places.push(format!("line={line}"));
    }
    if column > 0 {
        places.push(format!("col={column}"));
    }
    places.push("title=muster validate".to_owned());
    format!("::{level} {}::{}\n", places.join(","), terminal::visible_line(&escaped(message)))
}

/// All results as one JSON object.
pub(super) fn json(all: &[JudgedSet<'_>]) -> anyhow::Result<String> {
    let path = |judged: &JudgedSet<'_>, problem: &Problem| Problem { file: judged.set.path(&problem.file), ..problem.clone() };
    let answer = JudgedAnswer {
        valid: all.iter().all(JudgedSet::is_valid),
        problems: all.iter().flat_map(|judged| judged.problems.iter().map(move |problem| path(judged, problem))).collect(),
        warnings: all.iter().flat_map(|judged| &judged.warnings).collect(),
        notes: all.iter().flat_map(|judged| &judged.notes).collect(),
    };
    Ok(serde_json::to_string_pretty(&answer)? + "\n")
}

fn summary(spec: &Spec, assumed: bool) -> String {
    let mut text = String::new();
    let controller = &spec.controller.spec;
    let region = controller.region.as_deref().unwrap_or("region from the environment");
    if !assumed {
        text += &format!("Controller {}: {region}, jobs from {}\n", spec.controller.cluster(), controller.queues.jobs);
    }
    for (name, app) in &spec.apps {
        let app = &app.spec;
        text += &format!("GitHubApp {name}: id {} at {}, key in {}\n", app.app_id, app.api_url, app.private_key);
    }
    for (name, token) in &spec.tokens {
        text += &format!("GitHubToken {name}: at {}, token in {}\n", token.spec.api_url, token.spec.token);
    }
    for (name, pool) in &spec.pools {
        text += &format!("RunnerPool {name}: {}\n", said(pool));
    }
    text
}

fn said(pool: &RunnerPool) -> String {
    let RunnerPool { spec, .. } = pool;
    let schedules = match spec.capacity.schedules.len() {
        0 => String::new(),
        1 => " (1 schedule)".into(),
        n => format!(" ({n} schedules)"),
    };
    let lifetime = if pool.ephemeral() { "ephemeral" } else { "reusable" };
    let (idle, max) = (spec.capacity.idle, spec.capacity.max);
    format!("{}, [{}], {lifetime}, idle {idle}{schedules}, max {max}", spec.github.scope, spec.labels.join(", "))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use muster_reconciler::manifest::Text;

    use super::*;

    fn set(dir: &str, body: &str) -> ManifestSet {
        let texts = vec![Text { file: "pools.yaml".into(), body: body.into() }];
        ManifestSet { dir: PathBuf::from(dir), texts, unread: Vec::new() }
    }

    #[test]
    fn annotations_name_the_file_from_where_the_command_runs() {
        let set = set("infra", "apiVersion: muster/v1\nkind: Pod\n");
        let judged = JudgedSet::new(&set, None, false);
        let text = judged.annotations();
        assert!(text.starts_with("::error file=infra/pools.yaml,line=2,title=muster validate::kind: unknown kind; "), "{text}");
        assert_eq!(text.lines().count(), judged.problems.len());
        assert_eq!(
            annotation("error", "a,b:c", 1, 2, "x\ny %"),
            "::error file=a%2Cb%3Ac,line=1,col=2,title=muster validate::x%0Ay %25\n"
        );
    }

    #[test]
    fn programs_read_the_same_problems() {
        let set = set("infra", "kind: Pod\n");
        let judged = [JudgedSet::new(&set, None, false)];
        let answer: serde_json::Value = serde_json::from_str(&json(&judged).expect("JSON")).expect("JSON");
        assert_eq!(answer["valid"], false);
        assert_eq!(answer["problems"][0]["file"], "infra/pools.yaml");
    }

    #[test]
    fn a_set_without_pool_and_controller_is_valid_with_a_warning_and_a_note() {
        let set = set("infra", "# nothing\n");
        let judged = JudgedSet::new(&set, None, false);
        assert!(judged.is_valid());
        let said: Vec<&str> = judged.warnings.iter().map(|warned| warned.message.as_str()).collect();
        assert_eq!(said, ["holds no manifest", "there is no RunnerPool, so muster would launch nothing; add one"]);
        assert!(judged.notes[0].starts_with("no Controller in infra: muster assumes"), "{:?}", judged.notes);
        assert!(JudgedSet::new(&set, Some("prod"), false).notes.is_empty());
    }
}
