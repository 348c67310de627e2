//! Reads documents into types. serde finds one error at a time. So each error is noted with its field and line, the value that
//! caused it is pruned, and the document is read again. In this way one call finds every structural error of a document.
//!
//! No message repeats a value that was not understood. Where a reference is wanted, somebody may have written the secret itself.

use std::fmt;

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{self, Deserialize, Expected, IntoDeserializer, Unexpected, Visitor};
use serde_path_to_error::Segment;

use super::yaml::{Data, Flaw, Node, join};

/// The most findings in one document. More would not help the reader.
const MOST_FINDINGS: usize = 100;

/// Reads `T` from a node, as far as this is possible. A bad value is noted and pruned, and its field has its default.
pub(super) fn read<T: for<'de> Deserialize<'de> + Default>(node: &mut Node, findings: &mut Vec<Flaw>) -> T {
    let before = findings.len();
    for _ in 0..MOST_FINDINGS {
        let (path, message) = match serde_path_to_error::deserialize::<_, T>(&*node) {
            Ok(value) => return value,
            Err(error) => (error.path().clone(), error.into_inner().0),
        };
        let (line, path) = prune(node, &mut path.iter(), String::new());
        // A field whose value was pruned is missing, and was told already.
        let missing = message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`'));
        let told = missing.is_some_and(|field| findings[before..].iter().any(|known| known.path == join(&path, field)));
        if !told {
            findings.push(Flaw { line, path, message, ..Flaw::default() });
        }
        if matches!(node.data, Data::Pruned) {
            return T::default();
        }
    }
    node.data = Data::Pruned;
    findings.push(Flaw {
        line: node.line,
        path: String::new(),
        message: format!("more than {MOST_FINDINGS} errors; mend these first"),
        ..Flaw::default()
    });
    T::default()
}

/// Prunes the node that the path leads to, or the last node on the way that exists. Returns its line and its path as written.
fn prune<'a>(node: &mut Node, path: &mut impl Iterator<Item = &'a Segment>, shown: String) -> (usize, String) {
    if let Some(segment) = path.next()
        && let Some((child, shown)) = step(node, segment, &shown)
    {
        return prune(child, path, shown);
    }
    node.data = Data::Pruned;
    (node.line, shown)
}

/// Takes one step down. serde's index counts only the list items that serde was given. The path counts all items that are
/// written.
fn step<'n>(node: &'n mut Node, segment: &Segment, shown: &str) -> Option<(&'n mut Node, String)> {
    match (&mut node.data, segment) {
        (Data::List(items), Segment::Seq { index }) => {
            let mut live = items.iter_mut().enumerate().filter(|(_, item)| !matches!(item.data, Data::Pruned));
            live.nth(*index).map(|(written, item)| (item, format!("{shown}[{written}]")))
        }
        (Data::Map(entries), Segment::Map { key }) => {
            entries.iter_mut().find(|(name, _)| name == key).map(|(name, value)| (value, join(shown, name)))
        }
        _ => None,
    }
}

fn alive(items: &[Node]) -> impl Iterator<Item = &Node> {
    items.iter().filter(|item| !matches!(item.data, Data::Pruned))
}

/// An error type of our own for serde, so that the messages are our own, too.
#[derive(Debug)]
pub(super) struct Misread(String);

impl fmt::Display for Misread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Misread {}

impl de::Error for Misread {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Misread(message.to_string())
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let wanted = expected.to_string();
        let found = match found {
            Unexpected::Unit | Unexpected::Option => "nothing; write a value or leave the field out",
            Unexpected::Bool(_) if wanted.contains("string") => "true or false; put it in quotes",
            Unexpected::Bool(_) => "true or false",
            Unexpected::Unsigned(_) | Unexpected::Signed(_) | Unexpected::Float(_) if wanted.contains("string") => {
                "a number; put it in quotes"
            }
            Unexpected::Unsigned(_) | Unexpected::Signed(_) => "a number",
            Unexpected::Float(_) => "a number with a fraction",
            Unexpected::Seq => "a list",
            Unexpected::Map => "a mapping",
            Unexpected::Str(text) if wanted == "a boolean" && BOOLEANS.iter().any(|word| text.eq_ignore_ascii_case(word)) => {
                "text; write it as true or false, without quotes"
            }
            Unexpected::Str(text) if text.parse::<f64>().is_ok() && plain(&wanted).contains("number") => {
                "a number in quotes; write it without"
            }
            _ => "text",
        };
        Misread(format!("expected {}, found {found}", plain(&wanted)))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let found = match found {
            Unexpected::Unsigned(n) => n.to_string(),
            Unexpected::Signed(n) => n.to_string(),
            Unexpected::Float(n) => n.to_string(),
            _ => "something else".into(),
        };
        Misread(format!("expected {}, found {found}", plain(&expected.to_string())))
    }

    fn unknown_variant(written: &str, expected: &'static [&'static str]) -> Self {
        match expected.iter().find(|known| near(written, known)) {
            Some(known) => Misread(format!("unknown value; did you mean `{known}`? Known here: {}", listed(expected))),
            None => Misread(format!("unknown value, expected one of {}", listed(expected))),
        }
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        match expected.iter().find(|known| near(field, known)) {
            Some(known) => Misread(format!("unknown field; did you mean `{known}`? Known here: {}", listed(expected))),
            None => Misread(format!("unknown field, expected one of {}", listed(expected))),
        }
    }
}

/// The words that other YAML parsers take for true and false. saphyr reads YAML 1.2, in which they are text.
const BOOLEANS: [&str; 6] = ["yes", "no", "on", "off", "true", "false"];

fn listed(words: &[&str]) -> String {
    words.iter().map(|w| format!("`{w}`")).collect::<Vec<_>>().join(", ")
}

/// serde's name for a type, in words for users.
fn plain(expected: &str) -> String {
    match expected {
        "u32" => "a whole number from 0 to 4294967295".into(),
        "u64" => "a whole number, 0 or more".into(),
        "f64" => "a number".into(),
        "a boolean" => "true or false".into(),
        "a string" | "str" => "text".into(),
        "a sequence" => "a list".into(),
        "a map" => "a mapping".into(),
        _ if expected.starts_with("struct ") => "a mapping".into(),
        _ => expected.into(),
    }
}

/// Whether two names differ only by a slip: in case, or by one letter that is missing, added, replaced, or swapped with the next.
pub(super) fn near(a: &str, b: &str) -> bool {
    let (a, b): (Vec<char>, Vec<char>) = (a.to_lowercase().chars().collect(), b.to_lowercase().chars().collect());
    let head = a.iter().zip(&b).take_while(|(x, y)| x == y).count();
    let tail = a[head..].iter().rev().zip(b[head..].iter().rev()).take_while(|(x, y)| x == y).count();
    let (a, b) = (&a[head..a.len() - tail], &b[head..b.len() - tail]);
    (a.len() <= 1 && b.len() <= 1) || (a.len() == 2 && b.len() == 2 && a[0] == b[1] && a[1] == b[0])
}

impl<'de> IntoDeserializer<'de, Misread> for &'de Node {
    type Deserializer = Self;
    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> de::Deserializer<'de> for &'de Node {
    type Error = Misread;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misread> {
        match &self.data {
            Data::Null | Data::Pruned => visitor.visit_unit(),
            Data::Bool(b) => visitor.visit_bool(*b),
            Data::Int(i) => match u64::try_from(*i) {
                Ok(positive) => visitor.visit_u64(positive),
                Err(_) => visitor.visit_i64(*i),
            },
            Data::Float(f) => visitor.visit_f64(*f),
            Data::Text(text) => visitor.visit_borrowed_str(text),
            Data::List(items) => visitor.visit_seq(SeqDeserializer::new(alive(items))),
            Data::Map(entries) => {
                let live = entries.iter().filter(|(_, value)| !matches!(value.data, Data::Pruned));
                visitor.visit_map(MapDeserializer::new(live.map(|(name, value)| (name.as_str(), value))))
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misread> {
        match self.data {
            Data::Null | Data::Pruned => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misread> {
        match &self.data {
            Data::Text(text) => visitor.visit_enum(text.as_str().into_deserializer()),
            _ => Err(Misread(format!("expected one of {}", listed(variants)))),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Misread> {
        visitor.visit_newtype_struct(self)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier ignored_any
    }
}
