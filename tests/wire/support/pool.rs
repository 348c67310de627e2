//! The manifests of pools, which tests write field by field.

use std::fmt::Write as _;

use super::moto::World;
use super::muster::{APP, TOKEN};

/// A RunnerPool manifest that is being written.
#[derive(Clone, Debug)]
pub struct Pool {
    name: String,
    app: &'static str,
    scope: String,
    labels: Vec<String>,
    fields: Vec<(&'static str, String)>,
}

impl Pool {
    /// A pool of `org/acme` with these labels. It has up to 100 spot runners, which end after 2 s of idleness.
    pub fn new(name: &str, labels: &[&str]) -> Pool {
        Pool {
            name: name.into(),
            app: APP,
            scope: "org/acme".into(),
            labels: labels.iter().map(|&l| l.to_owned()).collect(),
            fields: vec![
                ("capacity.max", "100".into()),
                ("runner.idleTimeout", "2s".into()),
                ("runner.bootDeadline", "60s".into()),
                ("instance.types", "[m7i.large, m6i.large]".into()),
            ],
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The pool registers in another scope, such as `repo/acme/app` or `enterprise/big`.
    pub fn scope(mut self, scope: &str) -> Pool {
        self.scope = scope.into();
        self
    }

    /// The pool is another App's; see [`Muster::write_app`].
    pub fn app(mut self, app: &'static str) -> Pool {
        self.app = app;
        self
    }

    /// Sets a field of a section, such as `("capacity.max", 2)` or `("github.runnerGroup", "big")`.
    pub fn set(mut self, field: &'static str, value: impl ToString) -> Pool {
        self.fields.retain(|(name, _)| *name != field);
        self.fields.push((field, value.to_string()));
        self
    }

    /// The text of the manifest.
    pub fn yaml(&self, world: &World) -> String {
        let mut sections = std::collections::BTreeMap::<&str, Vec<(&str, String)>>::new();
        let credential = if self.scope.starts_with("enterprise/") { ("token", TOKEN) } else { ("app", self.app) };
        sections.entry("github").or_default().extend([(credential.0, credential.1.to_owned()), ("scope", self.scope.clone())]);
        sections.entry("instance").or_default().push(("subnets", format!("[{}]", world.subnets.join(", "))));
        let mut top = vec![("labels", format!("[{}]", self.labels.join(", ")))];
        for (field, value) in &self.fields {
            match field.split_once('.') {
                Some((section, name)) => sections.entry(section).or_default().push((name, value.clone())),
                None => top.push((field, value.clone())),
            }
        }
        let mut text = format!("apiVersion: muster/v1\nkind: RunnerPool\nmetadata:\n  name: {}\nspec:\n", self.name);
        for (name, value) in top {
            writeln!(text, "  {name}: {value}").expect("a String takes all");
        }
        for (section, fields) in sections {
            let fields = fields.iter().map(|(name, value)| format!("{name}: {value}")).collect::<Vec<_>>().join(", ");
            writeln!(text, "  {section}: {{{fields}}}").expect("a String takes all");
        }
        text
    }
}
