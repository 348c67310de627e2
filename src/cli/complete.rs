//! What the shell completes beyond commands and flags: pools, jobs and runners. The running controller is asked, and a
//! controller that does not answer at once completes nothing.

use std::ffi::OsStr;
use std::time::Duration;

use clap_complete::engine::CompletionCandidate;
use muster_operations::client;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::ask::{self, Items, block_on};

/// How long a key press may wait for the controller.
const PATIENCE: Duration = Duration::from_millis(800);
/// How many names of a kind are offered.
const MOST: usize = 500;

/// The names of the pools.
pub(super) fn pools(typed: &OsStr) -> Vec<CompletionCandidate> {
    offered(typed, names("pools", "name").into_iter())
}

/// Pools, jobs and runners, as `kind/id`. The ids of a kind are asked for when the kind is typed.
pub(super) fn subjects(typed: &OsStr) -> Vec<CompletionCandidate> {
    offered(typed, subjects_for(&typed.to_string_lossy()).into_iter())
}

/// What `muster get` lists: kinds, and then things.
pub(super) fn lists(typed: &OsStr) -> Vec<CompletionCandidate> {
    let kinds = ["pools", "jobs", "runners", "prices", "all"].map(str::to_owned);
    offered(typed, kinds.into_iter().chain(subjects_for(&typed.to_string_lossy())))
}

fn subjects_for(typed: &str) -> Vec<String> {
    let kinds = [("pool", "pools", "name"), ("job", "jobs", "id"), ("runner", "runners", "instance")];
    let of_kind = |(kind, list, key): (&str, &str, &str)| match typed.starts_with(&format!("{kind}/")) {
        true => names(list, key).into_iter().map(|name| format!("{kind}/{name}")).collect(),
        false => vec![format!("{kind}/")],
    };
    kinds.into_iter().flat_map(of_kind).collect()
}

fn offered(typed: &OsStr, all: impl Iterator<Item = String>) -> Vec<CompletionCandidate> {
    let typed = typed.to_string_lossy();
    all.filter(|name| name.starts_with(&*typed)).map(CompletionCandidate::new).collect()
}

/// The names in a list of the API. Empty: no controller answers in time.
fn names(list: &str, key: &str) -> Vec<String> {
    let words: Vec<String> = std::env::args().collect();
    let asked: anyhow::Result<Items<Value>> = block_on(look(&address(&words), list));
    let name = |item: &Value| match &item[key] {
        Value::String(name) => name.clone(),
        other => other.to_string(),
    };
    let names = asked.map(|answer| answer.items.iter().map(name).collect::<Vec<_>>()).unwrap_or_default();
    // Whatever else a server may answer must not reach the command line.
    let plain = |name: &String| name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    names.into_iter().filter(plain).take(MOST).collect()
}

async fn look<T: DeserializeOwned>(typed: &str, list: &str) -> anyhow::Result<T> {
    let place = client::typed_address(typed)?;
    // Nobody is there to read a warning, so the token does not leave this machine in clear.
    let token = if client::in_clear(&place) { None } else { ask::view_token()? };
    let body = client::get(&format!("{place}/api/v1/{list}?limit={MOST}"), token.as_ref(), PATIENCE).await?;
    Ok(serde_json::from_slice(&body)?)
}

/// The controller that the command line names, so far as it is typed; or the variable; or the default.
fn address(words: &[String]) -> String {
    let flag = "--controller";
    let after = words.iter().position(|word| word == flag).and_then(|at| words.get(at + 1));
    let joined = || words.iter().find_map(|word| word.strip_prefix(flag)?.strip_prefix('='));
    let set = || std::env::var(ask::VARIABLE).ok();
    after.map(String::as_str).or_else(joined).map(str::to_owned).or_else(set).unwrap_or_else(|| ask::DEFAULT.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_controller_of_the_half_typed_line_is_asked() {
        let of = |line: &str| address(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(of("muster -- muster get --controller localhost:1 po"), "localhost:1");
        assert_eq!(of("muster -- muster get --controller=https://m po"), "https://m");
    }

    #[test]
    fn kinds_are_offered_without_a_controller() {
        let offered = |typed: &str| -> Vec<String> {
            lists(OsStr::new(typed)).iter().map(|one| one.get_value().to_string_lossy().into_owned()).collect()
        };
        assert_eq!(offered("po"), ["pools", "pool/"]);
        assert_eq!(offered("a"), ["all"]);
    }
}
