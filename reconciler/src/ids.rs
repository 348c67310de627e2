//! The names of things. Each is a type of its own, so an instance's id can never pass for a pool's name.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::serial::perhaps_text;

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as plain text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl Default for $name {
            fn default() -> Self {
                $name("".into())
            }
        }
        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                $name(text.into())
            }
        }
        impl From<String> for $name {
            fn from(text: String) -> Self {
                $name(text.into())
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(&self.0)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                String::deserialize(d).map($name::from)
            }
        }
        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                String::json_schema(generator)
            }
        }
    };
}

text_id! {
    /// A RunnerPool's `metadata.name`. The name has no dot (see [`RunnerName`]).
    PoolName
}
text_id! {
    /// The `metadata.name` of a GitHubApp or a GitHubToken. No App has the name of a token.
    AppName
}
text_id! {
    /// An EC2 instance's id, such as `i-0123456789abcdef0`.
    InstanceId
}
text_id! {
    /// The ClientToken of a launch, and the value of the instance's `muster:intent` tag. EC2 launches at most one fleet for one
    /// intent.
    Intent
}

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number_id! {
    /// GitHub's `workflow_job.id`.
    JobId
}
number_id! {
    /// GitHub's `workflow_job.run_id`.
    RunId
}
number_id! {
    /// GitHub's id of a registered runner.
    RunnerId
}
number_id! {
    /// GitHub's id of one attempt to deliver a webhook.
    DeliveryId
}
number_id! {
    /// The number of an effect of this process. The outcome has the same number.
    EffectId
}
number_id! {
    /// The number of an SQS message that this process holds. `ingest` gives the same number to every delivery of a message.
    MessageId
}

/// A runner's name at GitHub: `<cluster>.<pool>.<instance-id>`. Neither the cluster's nor the pool's name has a dot, so two
/// clusters in one organisation never mistake each other's runners for their own. GitHub admits 64 characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunnerName {
    /// The cluster: the name of the `Controller` manifest.
    pub cluster: String,
    /// The pool that the runner was launched for.
    pub pool: PoolName,
    /// The instance of the runner.
    pub instance: InstanceId,
}

impl RunnerName {
    /// GitHub's limit on a runner's name, in characters.
    pub const MAX_LEN: usize = 64;

    /// Parses a name. None: the name is not one of `cluster`'s, so the runner belongs to somebody else.
    pub fn parse_ours(name: &str, cluster: &str) -> Option<RunnerName> {
        let mut parts = name.split('.');
        let (ours, pool, instance, end) = (parts.next()?, parts.next()?, parts.next()?, parts.next());
        (ours == cluster && !pool.is_empty() && instance.starts_with("i-") && end.is_none()).then(|| RunnerName {
            cluster: cluster.to_owned(),
            pool: pool.into(),
            instance: instance.into(),
        })
    }
}

impl fmt::Display for RunnerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.cluster, self.pool, self.instance)
    }
}

/// Where runners register: `org/NAME`, `repo/OWNER/NAME` or `enterprise/NAME`. GitHub compares these names without regard to
/// case, and so does muster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// All repositories of an organisation.
    Org(Arc<str>),
    /// One repository: owner and name.
    Repo(Arc<str>, Arc<str>),
    /// All organisations of an enterprise, by the enterprise's slug.
    Enterprise(Arc<str>),
}

impl Default for Scope {
    fn default() -> Self {
        Scope::Org("".into())
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scope::Org(name) => write!(f, "org/{name}"),
            Scope::Repo(owner, name) => write!(f, "repo/{owner}/{name}"),
            Scope::Enterprise(name) => write!(f, "enterprise/{name}"),
        }
    }
}

impl FromStr for Scope {
    type Err = String;
    fn from_str(text: &str) -> Result<Scope, String> {
        let word = |s: &str| !s.is_empty() && s.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
        match text.split('/').collect::<Vec<_>>()[..] {
            ["org", name] if word(name) => Ok(Scope::Org(name.into())),
            ["repo", owner, name] if word(owner) && word(name) => Ok(Scope::Repo(owner.into(), name.into())),
            ["enterprise", name] if word(name) => Ok(Scope::Enterprise(name.into())),
            _ => Err(format!("`{text}` is not a scope: write org/NAME, repo/OWNER/NAME or enterprise/NAME")),
        }
    }
}

impl Serialize for Scope {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Scope {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Scope {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Scope".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "pattern": "^(org/[^/]+|repo/[^/]+/[^/]+|enterprise/[^/]+)$"})
    }
}

/// One list of runners at GitHub: the runners that an App sees at a scope.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ListId {
    /// The GitHubApp or GitHubToken whose credentials are used.
    pub app: AppName,
    /// The scope at which the runners register.
    pub scope: Scope,
}

impl ListId {
    /// The list as the value of a tag: `APP/SCOPE`, such as `main/org/acme`.
    pub fn as_tag(&self) -> String {
        format!("{}/{}", self.app, self.scope)
    }

    /// Reads the value of such a tag. None: the value has another form.
    pub fn parse_tag(value: &str) -> Option<ListId> {
        let (app, scope) = value.split_once('/')?;
        Some(ListId { app: app.into(), scope: scope.parse().ok()? })
    }
}

/// The one whose rate limit at GitHub a request counts against. GitHub keeps one limit for each installation of an App, one for
/// the App itself (for its requests by JWT), and one for the user of a token.
/// <https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api>
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Payer {
    /// The name of the GitHubApp or GitHubToken.
    pub app: AppName,
    /// The account that the App is installed on, in lower case. None: the App itself, or a token.
    #[serde(with = "perhaps_text")]
    pub account: Option<Arc<str>>,
}

impl Payer {
    /// The payer of an App's own requests, or of a token's.
    pub fn itself(app: &AppName) -> Payer {
        Payer { app: app.clone(), account: None }
    }

    /// The payer of an App's requests as its installation on an account. GitHub compares accounts without regard to case.
    pub fn installation(app: &AppName, account: &str) -> Payer {
        Payer { app: app.clone(), account: Some(account.to_lowercase().into()) }
    }
}

impl fmt::Display for Payer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.account {
            Some(account) => write!(f, "{} on {account}", self.app),
            None => write!(f, "{}", self.app),
        }
    }
}

impl ListId {
    /// The payer of requests about this list. Only a token reaches an enterprise, and a token has one limit for everything.
    pub fn payer(&self) -> Payer {
        match &self.scope {
            Scope::Org(owner) | Scope::Repo(owner, _) => Payer::installation(&self.app, owner),
            Scope::Enterprise(_) => Payer::itself(&self.app),
        }
    }
}

impl fmt::Display for ListId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.scope, self.app)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_our_own_cluster_are_ours() {
        let ours = RunnerName::parse_ours("prod.linux.i-0abc", "prod").expect("ours");
        assert_eq!((ours.pool.as_str(), ours.instance.as_str()), ("linux", "i-0abc"));
        assert_eq!(ours.to_string(), "prod.linux.i-0abc");
        for foreign in ["prod2.linux.i-0abc", "prod.linux.i-0abc.x", "prod.linux", "prod.linux.laptop", "prod..i-0abc", "laptop"]
        {
            assert_eq!(RunnerName::parse_ours(foreign, "prod"), None, "{foreign}");
        }
    }

    #[test]
    fn scopes_read_as_they_are_written() {
        for text in ["org/acme", "repo/acme/app.web", "enterprise/big-co"] {
            assert_eq!(text.parse::<Scope>().expect(text).to_string(), text);
        }
        for bad in ["acme", "org/", "org/a/b", "repo/a", "team/x", "org/a b", ""] {
            assert!(bad.parse::<Scope>().is_err(), "{bad}");
        }
    }
}
