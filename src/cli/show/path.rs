//! `-o jsonpath=PATH`: a part of an answer, for scripts. Of kubectl's JSONPath it has what most scripts use: keys, `[0]`, `[*]`.
//! `-o json` and jq have the rest.

use std::str::FromStr;

use serde_json::Value;

/// A path such as `{.items[*].name}`. The braces and a `$` at the beginning may be left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct JsonPath(Vec<PathStep>);

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
enum PathStep {
    /// The value of this key.
    Key(String),
    /// The item at this place, from 0.
    Item(usize),
    /// All items, or all values.
    All,
}

impl FromStr for JsonPath {
    type Err = String;

    fn from_str(text: &str) -> Result<JsonPath, String> {
        let bad = || {
            format!("`{text}` is no path that muster knows; write one such as {{.items[*].name}}, or use -o json and jq for more")
        };
        let bare = text.trim();
        let bare = bare.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or(bare);
        let mut rest = bare.strip_prefix('$').unwrap_or(bare);
        let mut steps = Vec::new();
        while !rest.is_empty() {
            let step;
            (step, rest) = match rest.strip_prefix('[') {
                Some(inside) => bracket(inside).ok_or_else(bad)?,
                None => key(rest.strip_prefix('.').unwrap_or(rest)).ok_or_else(bad)?,
            };
            steps.push(step);
        }
        Ok(JsonPath(steps))
    }
}

/// The step of what stands behind a `[`, and the rest of the path.
fn bracket(inside: &str) -> Option<(PathStep, &str)> {
    let (inner, rest) = inside.split_once(']')?;
    let quoted = |mark: char| inner.strip_prefix(mark)?.strip_suffix(mark);
    let step = match (inner, quoted('\'').or_else(|| quoted('"'))) {
        ("*", _) => PathStep::All,
        (_, Some(key)) => PathStep::Key(key.to_owned()),
        _ => PathStep::Item(inner.parse().ok()?),
    };
    Some((step, rest))
}

/// The step of a key, and the rest of the path.
fn key(text: &str) -> Option<(PathStep, &str)> {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_' && c != '-' && c != '*').unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let ends = rest.is_empty() || rest.starts_with(['.', '[']);
    match name {
        "" => None,
        "*" if ends => Some((PathStep::All, rest)),
        _ if ends && !name.contains('*') => Some((PathStep::Key(name.to_owned()), rest)),
        _ => None,
    }
}

impl JsonPath {
    /// What the path leads to, one value a line: text as it is, and anything else as JSON.
    pub(crate) fn of(&self, value: &Value) -> String {
        let mut found = vec![value];
        for step in &self.0 {
            found = found.into_iter().flat_map(|value| step.of(value)).collect();
        }
        let said = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned) + "\n";
        found.into_iter().map(said).collect()
    }
}

impl PathStep {
    fn of<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        match (self, value) {
            (PathStep::Key(key), _) => value.get(key).into_iter().collect(),
            (PathStep::Item(at), _) => value.get(at).into_iter().collect(),
            (PathStep::All, Value::Array(items)) => items.iter().collect(),
            (PathStep::All, Value::Object(map)) => map.values().collect(),
            (PathStep::All, _) => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_path_leads_to_what_kubectls_would() {
        let pools = json!({"items": [{"name": "a", "max": 3, "labels": ["x", "y"]}, {"name": "b", "max": 4, "labels": []}]});
        for (path, found) in [
            ("{.items[*].name}", "a\nb\n"),
            (".items[0].max", "3\n"),
            ("$.items[1]['name']", "b\n"),
            ("items.*.labels[1]", "y\n"),
            ("{.items[0].labels}", "[\"x\",\"y\"]\n"),
            ("{.items[9].name}", ""),
            ("{.nothing}", ""),
        ] {
            assert_eq!(path.parse::<JsonPath>().expect(path).of(&pools), found, "{path}");
        }
    }

    #[test]
    fn what_is_not_supported_is_refused_with_the_way_out() {
        for bad in ["{range .items[*]}{.name}{end}", "{.items[?(@.max>3)]}", "{..name}", ".a b", ".items[", ".na*"] {
            let said = bad.parse::<JsonPath>().expect_err(bad);
            assert!(said.contains("-o json and jq"), "{said}");
        }
    }
}
