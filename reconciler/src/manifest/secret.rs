//! References to secrets. Manifests are kept in version control, so a secret itself must never be in one. If somebody writes a
//! secret by mistake, no error message may repeat it, because messages get into logs.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a secret is kept: `ssm:/path`, `file:path` or `env:NAME`. It is never the secret itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SecretRef {
    /// An SSM SecureString parameter, by its full name (`/path/name`).
    Ssm(String),
    /// A file. A relative path begins at the directory of the manifests.
    File(String),
    /// An environment variable of muster's process.
    Env(String),
}

impl Default for SecretRef {
    /// A reference that is not written yet. It is empty, and validation refuses it.
    fn default() -> Self {
        SecretRef::Env(String::new())
    }
}

impl SecretRef {
    /// Whether no reference is written.
    pub fn is_empty(&self) -> bool {
        let (SecretRef::Ssm(place) | SecretRef::File(place) | SecretRef::Env(place)) = self;
        place.is_empty()
    }
}

const WANTED: &str = "write a reference, never the secret: ssm:/path, file:path or env:NAME";

impl FromStr for SecretRef {
    type Err = &'static str;

    /// Reads a reference. The error never contains the text, because the text may be the secret.
    fn from_str(text: &str) -> Result<SecretRef, &'static str> {
        let word = |s: &str, more: &str| !s.is_empty() && s.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c));
        match text.split_once(':') {
            Some(("ssm", name)) if name.starts_with('/') && !name.ends_with('/') && word(name, "/._-") && name.len() <= 1011 => {
                Ok(SecretRef::Ssm(name.to_owned()))
            }
            Some(("ssm", _)) => Err("an ssm: reference is a parameter's full name, such as ssm:/muster/main/private-key"),
            Some(("file", path)) if !path.is_empty() && !path.contains(['\n', '\0']) => Ok(SecretRef::File(path.to_owned())),
            Some(("env", name)) if word(name, "_") && !name.starts_with(|c: char| c.is_ascii_digit()) => {
                Ok(SecretRef::Env(name.to_owned()))
            }
            Some(("env", _)) => Err("an env: reference is a variable's name, such as env:MUSTER_PRIVATE_KEY"),
            _ => Err(WANTED),
        }
    }
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SecretRef::Ssm(name) => write!(f, "ssm:{name}"),
            SecretRef::File(path) => write!(f, "file:{path}"),
            SecretRef::Env(name) => write!(f, "env:{name}"),
        }
    }
}

impl Serialize for SecretRef {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SecretRef {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for SecretRef {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "SecretRef".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": "^(ssm:/[A-Za-z0-9/._-]*[A-Za-z0-9._-]|file:.+|env:[A-Za-z_][A-Za-z0-9_]*)$"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_read_as_they_are_written() {
        for text in ["ssm:/muster/main/private-key", "file:keys/app.pem", "file:/run/secrets/key", "env:MUSTER_KEY"] {
            assert_eq!(text.parse::<SecretRef>().expect(text).to_string(), text);
        }
    }

    #[test]
    fn a_literal_secret_is_refused_and_never_repeated() {
        let pem = "-----BEGIN RSA PRIVATE KEY-----\nMIIhunter2\n-----END RSA PRIVATE KEY-----";
        for bad in
            [pem, "hunter2", "hunter2:x", "env:hunter2-x", "env:2hunter2", "ssm:hunter2", "ssm:/hunter2/", "file:", "env:", ""]
        {
            let error = bad.parse::<SecretRef>().expect_err(bad);
            assert!(!error.contains("hunter2"), "{error}");
        }
        assert!(pem.parse::<SecretRef>().expect_err("a key").contains("never the secret"));
    }
}
