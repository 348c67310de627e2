//! What a shadow writes down: `muster run --shadow` writes these lines, and `muster shadow report` reads them. Each line is one JSON
//! object. The parts that hold the lines have the names and the form of a flight record's: [`record`](crate::record).
//!
//! The lines say what was heard and seen of the fleet of somebody else. What muster would have done is not in them: the report computes
//! it anew, because only then all lengths of jobs are known.

use std::collections::BTreeMap;

use muster_reconciler::effect::JobSighting;
use muster_reconciler::event::JobEvent;
use muster_reconciler::ids::InstanceId;
use muster_reconciler::market::Market;
use muster_reconciler::time::Time;
use serde::{Deserialize, Serialize};

/// The form of the lines. A release reads no newer form than its own.
pub const FORMAT: u32 = 1;

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShadowLine {
    /// When the shadow heard or saw it.
    pub at: Time,
    /// What it heard or saw.
    #[serde(flatten)]
    pub seen: ShadowSeen,
}

/// What a shadow hears and sees.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "camelCase")]
pub enum ShadowSeen {
    /// A shadow began to watch.
    #[serde(rename_all = "camelCase")]
    Began {
        /// The form of the lines.
        format: u32,
        /// The version of muster.
        version: String,
        /// What it looks at besides events.
        looks: ShadowLooks,
    },
    /// An event of a job.
    #[serde(rename_all = "camelCase")]
    Job {
        /// The event.
        event: JobEvent,
        /// When the job ended, by GitHub's clock. None: the job is not over, or the message did not tell.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ended: Option<Time>,
    },
    /// GitHub's answer about a job that the shadow asked for.
    Asked(JobSighting),
    /// A look at EC2: the instances that changed since the look before. Every instance is in the first look of a process.
    Boxes {
        /// The instances.
        changed: Vec<BoxSeen>,
    },
    /// A look at one of GitHub's lists: the runners that changed since the look before.
    Runners {
        /// The list, as `APP/SCOPE`.
        list: String,
        /// The runners by name, each with its state. None: the runner is no longer in the list.
        changed: BTreeMap<String, Option<RunnerState>>,
    },
    /// A look failed, or a message could not be read.
    Failed {
        /// What was attempted, and why it failed.
        why: String,
    },
    /// The shadow ended in order.
    Ended,
}

/// What a shadow looks at besides events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShadowLooks {
    /// Instances at EC2.
    pub boxes: bool,
    /// Lists of runners and jobs at GitHub.
    pub github: bool,
}

/// An instance of the other fleet, as EC2 shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BoxSeen {
    /// The id.
    pub id: InstanceId,
    /// The instance type.
    pub instance_type: String,
    /// Spot or on-demand.
    pub market: Market,
    /// Whether it runs Windows, which has other prices.
    #[serde(default)]
    pub windows: bool,
    /// When EC2 launched it.
    pub launched_at: Time,
    /// Whether it is pending or running.
    pub up: bool,
    /// When it ended, as EC2 tells to the second. None: it has not, or EC2 did not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Time>,
    /// EC2's reason for its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The state of a runner in GitHub's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RunnerState {
    /// It is not connected.
    Offline,
    /// It is connected and has no job.
    Idle,
    /// It has a job.
    Busy,
}

impl ShadowLine {
    /// The line as text, without its end.
    pub fn write(&self) -> String {
        // Numbers, texts and maps with keys of text can always be written.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads a line.
    ///
    /// # Errors
    /// When the text is no line of a shadow, or has a form that is newer than this release.
    pub fn read(text: &str) -> Result<ShadowLine, String> {
        let line: ShadowLine = serde_json::from_str(text).map_err(|e| format!("it is no line of a shadow: {e}"))?;
        match &line.seen {
            ShadowSeen::Began { format, version, .. } if *format > FORMAT => {
                Err(format!("muster {version} wrote it in a newer form; take muster {version} or newer"))
            }
            _ => Ok(line),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_as_it_was_written_and_a_newer_form_is_refused() {
        let began = |format| ShadowLine {
            at: Time::from_millis(5),
            seen: ShadowSeen::Began { format, version: "7.0.0".into(), looks: ShadowLooks { boxes: true, github: false } },
        };
        let changed = [("a".to_owned(), Some(RunnerState::Busy)), ("b".to_owned(), None)].into();
        let runners = ShadowSeen::Runners { list: "main/org/acme".into(), changed };
        for line in [began(FORMAT), ShadowLine { at: Time::ZERO, seen: runners }] {
            assert_eq!(ShadowLine::read(&line.write()), Ok(line));
        }
        assert!(ShadowLine::read(&began(9).write()).is_err_and(|why| why.ends_with("take muster 7.0.0 or newer")));
        assert!(ShadowLine::read("{\"at\":1}").is_err());
    }
}
