//! Statuses on commits. <https://docs.github.com/en/rest/commits/statuses>

use serde_json::{Value, json};

use super::routes::{Answer, Asked, rfc3339};
use super::workflows::repo;
use super::{Double, State};
use crate::support::now_ms;

/// The longest description that GitHub takes, in characters.
const DESCRIPTION: usize = 140;

impl Double {
    /// The states and sentences of all statuses that were written on commits of a repository, the oldest first.
    pub fn statuses(&self, repo: &str) -> Vec<(String, String)> {
        let text = |status: &Value, name: &str| status[name].as_str().unwrap_or_default().to_owned();
        let state = self.lock();
        let of_repo = state.statuses.iter().filter(|(of, ..)| of == repo);
        of_repo.map(|(_, _, status)| (text(status, "state"), text(status, "description"))).collect()
    }
}

/// Writes a status. GitHub shows the newest one of each context.
pub(super) fn create(state: &mut State, asked: &Asked<'_>) -> Answer {
    if state.app.granted["statuses"] != "write" {
        return Answer::message(403, "Resource not accessible by integration");
    }
    let (repo, sha) = (repo(asked), asked.param("sha").to_owned());
    let text = |name: &str| asked.body[name].as_str().unwrap_or_default().to_owned();
    if text("description").chars().count() > DESCRIPTION {
        return Answer::message(422, "description is too long (maximum is 140 characters)");
    }
    let (at, id) = (rfc3339(now_ms()), state.id());
    let status = json!({
        "url": format!("{}/repos/{repo}/statuses/{sha}", asked.base), "avatar_url": Value::Null, "id": id, "node_id": "SC_kwDO",
        "state": text("state"), "description": text("description"), "target_url": text("target_url"), "context": text("context"),
        "created_at": at, "updated_at": at, "creator": Value::Null,
    });
    state.statuses.push((repo, sha, status.clone()));
    Answer::json(201, status)
}
