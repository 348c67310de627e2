//! A reason for programs: its word and its fields. The sentence is beside it.

use serde::{Deserialize, Serialize};

use super::{Blocked, EventReason, JobReason, LaunchReason, PoolReason, Standing, StepReason};

/// A reason's `reasonWord` and `reasonFields`. A reason of this process is typed, and becomes JSON only when somebody reads it. A
/// reason of another process is not typed, because that process may be newer and know more words.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Code {
    /// Why something is done to a runner.
    #[serde(skip_deserializing)]
    Step(StepReason),
    /// Why instances are launched.
    #[serde(skip_deserializing)]
    Launch(LaunchReason),
    /// Why a runner is in its phase.
    #[serde(skip_deserializing)]
    Runner(Standing),
    /// Why a pool launches nothing, or less than it wants.
    #[serde(skip_deserializing)]
    Blocked(Blocked),
    /// Why a pool has as many runners as it has.
    #[serde(skip_deserializing)]
    Pool(PoolReason),
    /// Why a job is where it is.
    #[serde(skip_deserializing)]
    Job(JobReason),
    /// Why or how something happened.
    #[serde(skip_deserializing)]
    Event(EventReason),
    /// A reason that another process told.
    Read(ToldReason),
}

/// A reason as another process tells it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ToldReason {
    /// The word. Empty: the other process is older than these words.
    pub reason_word: String,
    /// The fields of the reason, by name.
    #[serde(skip_serializing_if = "serde_json::Map::is_empty")]
    pub reason_fields: serde_json::Map<String, serde_json::Value>,
}

impl Default for Code {
    fn default() -> Code {
        Code::Read(ToldReason::default())
    }
}

impl Code {
    /// The reason's word.
    pub fn word(&self) -> &str {
        match self {
            Code::Step(why) => why.word(),
            Code::Launch(why) => why.word(),
            Code::Runner(why) => why.word(),
            Code::Blocked(why) => why.word(),
            Code::Pool(why) => why.word(),
            Code::Job(why) => why.word(),
            Code::Event(why) => why.word(),
            Code::Read(read) => &read.reason_word,
        }
    }

    /// A field of a reason that another process told, if the field is text.
    pub fn read_text(&self, field: &str) -> Option<&str> {
        match self {
            Code::Read(read) => read.reason_fields.get(field)?.as_str(),
            _ => None,
        }
    }
}

impl From<JobReason> for Code {
    fn from(why: JobReason) -> Code {
        match why {
            JobReason::Blocked { blocked, .. } => Code::Blocked(blocked),
            other => Code::Job(other),
        }
    }
}

impl From<PoolReason> for Code {
    fn from(why: PoolReason) -> Code {
        match why {
            PoolReason::Blocked(blocked) => Code::Blocked(blocked),
            other => Code::Pool(other),
        }
    }
}

impl From<EventReason> for Code {
    fn from(why: EventReason) -> Code {
        match why {
            EventReason::Step(step) => Code::Step(step),
            other => Code::Event(other),
        }
    }
}
