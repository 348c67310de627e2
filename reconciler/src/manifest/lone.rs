//! Reads a file that is no manifest with the same care as manifests: YAML (or JSON, which is YAML), one document, and every
//! problem with its line and field. The workload files and the price files of `muster simulate` are read by this.

use serde::Deserialize;

use super::document::{Origin, Problem, Text};
use super::read::read;
use super::yaml::{Flaw, documents};

/// The one document of a file, as far as it could be read.
#[derive(Debug)]
pub struct Lone<T> {
    /// The value. A field that was bad has its default.
    pub value: T,
    /// The problems of the file's form, and those that [`Lone::refuse`] has added.
    problems: Vec<Problem>,
    file: String,
    source: Option<Origin>,
}

impl<T: for<'de> Deserialize<'de> + Default> Lone<T> {
    /// Reads the one document of a text. An empty text is a document without fields, so its value has all defaults.
    pub fn read(text: &Text) -> Lone<T> {
        let mut lone = Lone { value: T::default(), problems: Vec::new(), file: text.file.clone(), source: None };
        for (nth, document) in documents(&text.body).into_iter().enumerate() {
            let mut findings = document.findings;
            match document.node {
                Some(node) if nth > 0 => {
                    findings.push(Flaw { line: node.line, message: ONE.into(), ..Flaw::default() });
                }
                Some(mut node) => {
                    lone.value = read(&mut node, &mut findings);
                    lone.source = Some(Origin { file: text.file.clone(), node });
                }
                None => {}
            }
            lone.problems.extend(findings.into_iter().map(|flaw| Problem::new(&text.file, flaw)));
        }
        lone
    }
}

const ONE: &str = "a second document; this file holds one: remove the `---`, or make it a file of its own";

impl<T> Lone<T> {
    /// Notes that the value of a field makes no sense, unless the field was already found bad. For a field that is not written,
    /// the problem has the line of what should contain it.
    pub fn refuse(&mut self, path: &str, message: impl Into<String>) {
        let (line, path) = match self.source.as_ref().map(|source| source.place(path)) {
            Some(place) if place.bad => return,
            Some(place) => (place.line, place.path),
            // The document could not be read at all, and the problems already say so.
            None if !self.problems.is_empty() => return,
            None => (1, path.to_owned()),
        };
        self.problems.push(Problem { file: self.file.clone(), line, path, message: message.into(), ..Problem::default() });
    }

    /// The value, and all problems, sorted by line.
    pub fn finish(mut self) -> (T, Vec<Problem>) {
        self.problems.sort();
        self.problems.dedup();
        (self.value, self.problems)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Span;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default, deny_unknown_fields, rename_all = "camelCase")]
    struct LoneExample {
        length: Span,
        kinds: Vec<LoneKind>,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default, deny_unknown_fields, rename_all = "camelCase")]
    struct LoneKind {
        labels: Vec<String>,
        per_hour: f64,
    }

    fn text(body: &str) -> Text {
        Text { file: "x.yaml".into(), body: body.into() }
    }

    #[test]
    fn yaml_and_json_say_the_same() {
        let yaml = Lone::<LoneExample>::read(&text("length: 1d\nkinds:\n  - {labels: [a, b], perHour: 3}\n"));
        let json =
            Lone::<LoneExample>::read(&text("{\"length\": \"1d\", \"kinds\": [{\"labels\": [\"a\", \"b\"], \"perHour\": 3}]}"));
        assert_eq!(yaml.finish(), json.finish());
    }

    #[test]
    fn what_is_misread_and_what_means_nothing_are_told_together_by_line() {
        let mut lone = Lone::<LoneExample>::read(&text("length: 5\nkinds:\n  - labels: []\n    perHuor: 3\n  - labels: [a]\n"));
        for nth in 0..lone.value.kinds.len() {
            if lone.value.kinds[nth].labels.is_empty() {
                lone.refuse(&format!("kinds[{nth}].labels"), "write at least one label");
            }
            if lone.value.kinds[nth].per_hour == 0.0 {
                lone.refuse(&format!("kinds[{nth}].perHour"), "write a rate");
            }
        }
        let said: Vec<String> = lone.finish().1.iter().map(ToString::to_string).collect();
        assert_eq!(said.len(), 4, "{said:#?}");
        assert!(said[0].starts_with("x.yaml:1: length: `5` has no unit"), "{said:#?}");
        assert_eq!(said[1], "x.yaml:3: kinds[0].labels: write at least one label");
        assert!(said[2].starts_with("x.yaml:4: kinds[0].perHuor: unknown field; did you mean `perHour`?"), "{said:#?}");
        assert_eq!(said[3], "x.yaml:5: kinds[1].perHour: write a rate");
    }

    #[test]
    fn a_second_document_is_refused_and_nothing_is_nothing() {
        let two = Lone::<LoneExample>::read(&text("length: 1d\n---\nlength: 2d\n")).finish();
        assert_eq!(two.1.len(), 1, "{two:?}");
        let mut nothing = Lone::<LoneExample>::read(&text("# nothing\n"));
        nothing.refuse("kinds", "write some");
        let (value, problems) = nothing.finish();
        assert_eq!((value, problems[0].to_string().as_str()), (LoneExample::default(), "x.yaml:1: kinds: write some"));
        let mut broken = Lone::<LoneExample>::read(&text("a: [1\n"));
        broken.refuse("kinds", "write some");
        assert_eq!(broken.finish().1.len(), 1, "what cannot be read has one problem");
    }
}
