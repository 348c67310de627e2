//! Turns a YAML text into documents. Each value has the line on which it is written.
//!
//! The file is cut into documents before it is parsed, so that a syntax error in one document never hides what is wrong in
//! another. In YAML 1.2, `---` at the start of a line ends a document whatever is around it (`c-forbidden`), so the cut is exact.

use saphyr::{LoadableYamlNode, MarkedYaml, Scalar, YamlData};

use super::syntax::in_words;

/// A value, and the line of the key or the list item that it belongs to.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// The line, from 1.
    pub line: usize,
    pub data: Data,
}

/// The values that YAML can express.
#[derive(Clone, Debug)]
pub(super) enum Data {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
    /// A value that was found bad and reported. It is not read again.
    Pruned,
}

/// One thing that is wrong in a document: the line, the column (0 if it is not known), the path of the field (which may be empty),
/// and the message.
#[derive(Clone, Debug, Default)]
pub(super) struct Flaw {
    pub line: usize,
    pub column: usize,
    pub path: String,
    pub message: String,
}

/// One document: its value, unless it could not be read, and what is wrong with its form.
#[derive(Debug)]
pub(super) struct Parsed {
    pub node: Option<Node>,
    pub findings: Vec<Flaw>,
}

/// All documents of a file, without empty ones.
pub(super) fn documents(body: &str) -> Vec<Parsed> {
    pieces(body.trim_start_matches('\u{feff}')).into_iter().flat_map(|(offset, text)| parse(offset, text)).collect()
}

/// Cuts a text at `---` lines. Each piece has the number of lines before it. Comments and directives stay with the document that
/// follows them.
fn pieces(body: &str) -> Vec<(usize, String)> {
    let mut pieces = vec![(0, String::new())];
    let mut filled = false;
    for (number, line) in body.split_inclusive('\n').enumerate() {
        let starts = line.strip_prefix("---").is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace));
        if starts && filled {
            pieces.push((number, String::new()));
        }
        let bare = line.trim();
        filled = starts || (filled || !(bare.is_empty() || bare.starts_with(['#', '%'])));
        if let Some((_, text)) = pieces.last_mut() {
            text.push_str(line);
        }
    }
    pieces
}

/// The prefix for a key that is written twice. With it, the rest of the document can still be read.
const DOUBLED: &str = "__doubled-key__";
/// The most doubled keys that are looked for.
const MOST_DOUBLED: usize = 50;
/// The deepest nesting. A document that is nested deeper is no manifest.
const DEEPEST: usize = 32;

fn parse(offset: usize, mut text: String) -> Vec<Parsed> {
    let mut doubled = Vec::new();
    let loaded = loop {
        let error = match MarkedYaml::load_from_str(&text) {
            Ok(loaded) => break loaded,
            Err(error) => error,
        };
        let (at, column) = (error.marker().line(), error.marker().col() + 1);
        let mut finding = |message: String| {
            doubled.push(Flaw { line: offset + at, column, path: String::new(), message });
            doubled.len()
        };
        let renamed = if error.info().contains("duplicated key") {
            let nth = finding("this key stands here twice; keep one".into());
            (nth < MOST_DOUBLED).then(|| rename(&text, error.marker().index(), nth)).flatten()
        } else {
            finding(in_words(error.info(), text.lines().nth(at.saturating_sub(1)).unwrap_or_default()));
            None
        };
        match renamed {
            Some(better) => text = better,
            None => return vec![Parsed { node: None, findings: doubled }],
        }
    };
    // Keys that are written twice are found again below, and then with their path.
    let mut parsed = Vec::new();
    for node in &loaded {
        let mut reading = YamlReading { offset, findings: Vec::new() };
        let node = reading.node(node, node.span.start.line(), "", DEEPEST);
        if !matches!(node.data, Data::Null) {
            parsed.push(Parsed { node: Some(node), findings: reading.findings });
        }
    }
    parsed
}

/// The text in which the key at `character` has the prefix. None: there is no simple key at this place.
fn rename(text: &str, character: usize, nth: usize) -> Option<String> {
    let (mut at, first) = text.char_indices().nth(character)?;
    match first {
        '"' | '\'' => at += 1,
        '?' | '&' | '*' | '!' | '{' | '[' => return None,
        _ => {}
    }
    Some(format!("{}{DOUBLED}{nth}/{}", &text[..at], &text[at..]))
}

/// Turns saphyr's nodes into our own, and notes what cannot be a part of a manifest.
struct YamlReading {
    offset: usize,
    findings: Vec<Flaw>,
}

impl YamlReading {
    fn refuse(&mut self, line: usize, path: &str, message: &str) -> Data {
        self.findings.push(Flaw { line: self.offset + line, path: path.into(), message: message.into(), ..Flaw::default() });
        Data::Pruned
    }

    fn node(&mut self, yaml: &MarkedYaml<'_>, line: usize, path: &str, depth: usize) -> Node {
        let data = match &yaml.data {
            _ if depth == 0 => self.refuse(line, path, "nested too deep to be a manifest"),
            YamlData::Value(scalar) => match scalar {
                Scalar::Null => Data::Null,
                Scalar::Boolean(b) => Data::Bool(*b),
                Scalar::Integer(i) => Data::Int(*i),
                Scalar::FloatingPoint(f) => Data::Float(f.0),
                Scalar::String(s) => Data::Text(s.clone().into_owned()),
            },
            YamlData::Sequence(items) => {
                let item = |(i, item): (usize, &MarkedYaml<'_>)| {
                    self.node(item, item.span.start.line(), &format!("{path}[{i}]"), depth - 1)
                };
                Data::List(items.iter().enumerate().map(item).collect())
            }
            YamlData::Mapping(map) => self.map(map.iter(), path, depth - 1),
            YamlData::Tagged(_, inner) => self.node(inner, line, path, depth - 1).data,
            // saphyr has this value for an empty document.
            YamlData::BadValue if path.is_empty() => Data::Null,
            YamlData::BadValue | YamlData::Alias(_) | YamlData::Representation(..) => {
                self.refuse(line, path, "this value does not fit its tag; leave the tag out")
            }
        };
        Node { line: self.offset + line, data }
    }

    fn map<'a, 'b: 'a>(
        &mut self,
        entries: impl Iterator<Item = (&'a MarkedYaml<'b>, &'a MarkedYaml<'b>)>,
        path: &str,
        depth: usize,
    ) -> Data {
        let mut map = Vec::new();
        for (key, value) in entries {
            let line = key.span.start.line();
            let Some(name) = name_of(key) else {
                self.refuse(
                    line,
                    path,
                    "a key must be a plain word; is this a template, such as `{{ x }}`, that was not filled in?",
                );
                continue;
            };
            match name.strip_prefix(DOUBLED).and_then(|rest| rest.split_once('/')) {
                Some((_, name)) => drop(self.refuse(line, &join(path, name), "this key stands here twice; keep one")),
                None => {
                    let node = self.node(value, line, &join(path, &name), depth);
                    map.push((name, node));
                }
            }
        }
        Data::Map(map)
    }
}

/// The path of a key in the mapping at `path`.
pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn name_of(key: &MarkedYaml<'_>) -> Option<String> {
    match &key.data {
        YamlData::Value(Scalar::String(s)) => Some(s.clone().into_owned()),
        YamlData::Value(Scalar::Integer(i)) => Some(i.to_string()),
        YamlData::Value(Scalar::Boolean(b)) => Some(b.to_string()),
        YamlData::Value(Scalar::FloatingPoint(f)) => Some(f.0.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(body: &str) -> Vec<String> {
        let all = documents(body).into_iter().flat_map(|d| d.findings);
        all.map(|f| format!("{}: {}: {}", f.line, f.path, f.message)).collect()
    }

    #[test]
    fn every_key_that_stands_twice_is_found() {
        let body = "a: 1\nb:\n  c: 1\n  c: 2\na: 3\n\"d\": 1\n\"d\": 2\n---\ne: 1\ne: 1\n";
        let said = "this key stands here twice; keep one";
        assert_eq!(
            findings(body),
            [format!("4: b.c: {said}"), format!("5: a: {said}"), format!("7: d: {said}"), format!("10: e: {said}")]
        );
    }

    #[test]
    fn a_broken_document_hides_no_other_and_lines_count_from_the_top() {
        let read = documents("# head\n---\na: [1\n---\nb:\n  c: 1\n---\n---\n# nothing\n");
        assert_eq!(read.len(), 2);
        assert!(read[0].node.is_none());
        assert!(read[0].findings[0].message.starts_with("cannot be read as YAML"), "{:?}", read[0].findings);
        let Some(Node { data: Data::Map(entries), .. }) = &read[1].node else { panic!("{read:?}") };
        assert_eq!((entries[0].0.as_str(), entries[0].1.line), ("b", 5));
        let Data::Map(inner) = &entries[0].1.data else { panic!("{entries:?}") };
        assert_eq!(inner[0].1.line, 6);
    }

    #[test]
    fn aliases_are_their_anchors_and_a_bomb_is_an_error() {
        let read = documents("a: &x [1, 2]\nb: *x\n");
        let Some(Node { data: Data::Map(entries), .. }) = &read[0].node else { panic!("{read:?}") };
        assert!(matches!(&entries[1].1.data, Data::List(items) if items.len() == 2), "{entries:?}");
        let bomb = (1..9).fold("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_string(), |text, i| {
            let before = format!("*a{}", i - 1);
            format!("{text}a{i}: &a{i} [{}]\n", [before.as_str(); 10].join(","))
        });
        assert_eq!(findings(&bomb).len(), 1);
    }

    #[test]
    fn nothing_is_no_document() {
        for body in ["", "\n", "# words\n", "---\n", "\u{feff}", "---\n...\n"] {
            assert!(documents(body).is_empty(), "{body:?}");
        }
    }
}
