//! What a command is about, as people type or paste it, and what to say of a pool that does not exist.

use anyhow::Context as _;
use clap_complete::engine::ArgValueCompleter;
use muster_operations::subject::{Subject, SubjectKind};
use muster_reconciler::view::PoolView;

use super::ask::{ControllerUrl, Items};
use super::complete;
use super::fault::CliError;

/// From this likeness on (0 to 1, by Jaro), a name may be what a slip was meant to be.
const ALIKE: f64 = 0.75;
/// A name that is less like the slip than the nearest one by this much is not offered.
const LESS_ALIKE: f64 = 0.1;
/// How many names an error offers.
const OFFERED: usize = 3;

/// One job, runner or pool.
#[derive(Debug, clap::Args)]
pub(super) struct Pasted {
    /// job/ID, runner/INSTANCE-ID or pool/NAME (also `job ID`); or the id or name alone, a runner's whole name, or the address
    /// of a job's page at GitHub.
    #[arg(required = true, num_args = 1..=2, value_name = "WHAT", add = ArgValueCompleter::new(complete::subjects))]
    what: Vec<String>,
}

impl Pasted {
    /// What was meant.
    pub(super) fn subject(&self) -> Result<Subject, CliError> {
        self.what.join("/").parse().map_err(CliError::Usage)
    }
}

/// The name of a pool, typed with or without `pool/` before it.
pub(super) fn pool_name(typed: &str) -> Result<String, String> {
    let name = match typed.split_once('/') {
        Some((word, name)) if SubjectKind::of_word(word) == Some(SubjectKind::Pool) => name,
        _ => typed,
    };
    SubjectKind::Pool.subject(name).map(|_| name.to_owned())
}

/// Checks that the controller knows a pool of this name. Otherwise a slip would look like a pool without jobs.
pub(super) async fn check_pool(ask: &ControllerUrl, name: &str) -> anyhow::Result<()> {
    let names = pool_names(ask).await?;
    if names.iter().any(|known| known == name) { Ok(()) } else { Err(no_pool(name, &names).into()) }
}

/// Adds the nearest names to the error that there is no such pool. Any other error stays as it is.
pub(super) async fn explain_unknown(ask: &ControllerUrl, subject: &Subject, error: anyhow::Error) -> anyhow::Error {
    match subject {
        Subject::Pool(name) if matches!(error.downcast_ref(), Some(CliError::Unknown(_))) => match pool_names(ask).await {
            Ok(names) if !names.contains(name) => no_pool(name, &names).into(),
            _ => error,
        },
        _ => error,
    }
}

async fn pool_names(ask: &ControllerUrl) -> anyhow::Result<Vec<String>> {
    let pools: Items<PoolView> = ask.get("pools?limit=100000").await.context("failed to ask for the names of the pools")?;
    Ok(pools.items.into_iter().map(|pool| pool.name).collect())
}

/// The error that there is no pool of this name.
pub(super) fn no_pool(name: &str, names: &[String]) -> CliError {
    CliError::Unknown(match (nearest(name, names.iter().map(String::as_str)), names) {
        (_, []) => format!("there is no pool `{name}`, because the running controller has no pool at all"),
        (near, _) if !near.is_empty() => format!("there is no pool `{name}`; did you mean {}?", near.join(" or ")),
        (_, few) if few.len() <= 20 => format!("there is no pool `{name}`; the pools are {}", few.join(", ")),
        (_, many) => format!("there is no pool `{name}`; `muster get pools` lists all {}", many.len()),
    })
}

/// The names that come nearest to a slip, the nearest first.
pub(super) fn nearest<'a>(slip: &str, names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let slip = slip.to_lowercase();
    let likeness = |name: &str| {
        let name = name.to_lowercase();
        let holds = slip.len() >= 3 && name.contains(&slip) || name.len() >= 3 && slip.contains(&name);
        if holds { 1.0 } else { strsim::jaro(&slip, &name) }
    };
    let mut near: Vec<(f64, &str)> =
        names.into_iter().map(|name| (likeness(name), name)).filter(|(like, _)| *like >= ALIKE).collect();
    near.sort_by(|(a, x), (b, y)| b.total_cmp(a).then(x.cmp(y)));
    let best = near.first().map_or(0.0, |(like, _)| *like);
    near.into_iter().take_while(|(like, _)| best - like <= LESS_ALIKE).map(|(_, name)| name).take(OFFERED).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pasted(words: &[&str]) -> Result<Subject, CliError> {
        Pasted { what: words.iter().map(|word| (*word).to_owned()).collect() }.subject()
    }

    #[test]
    fn two_words_are_a_kind_and_an_id() {
        assert_eq!(pasted(&["job", "1331"]).expect("a job"), Subject::Job(1331));
        assert_eq!(pasted(&["Pools", "linux"]).expect("a pool"), Subject::Pool("linux".into()));
        assert_eq!(pasted(&["1331"]).expect("a job"), Subject::Job(1331));
        for bad in [&["1331", "1332"][..], &["jbo", "1"], &["job", "x"]] {
            assert!(matches!(pasted(bad), Err(CliError::Usage(_))), "{bad:?}");
        }
    }

    #[test]
    fn a_slip_in_a_pools_name_is_told_with_the_nearest_names() {
        let names = ["linux-arm64", "linux-x64", "windows-x64"].map(str::to_owned);
        let said = |name: &str| no_pool(name, &names).to_string();
        assert_eq!(said("linx-x64"), "there is no pool `linx-x64`; did you mean linux-x64?");
        assert_eq!(said("linx"), "there is no pool `linx`; did you mean linux-x64 or linux-arm64?");
        assert_eq!(said("arm64"), "there is no pool `arm64`; did you mean linux-arm64?");
        assert_eq!(said("gpu"), "there is no pool `gpu`; the pools are linux-arm64, linux-x64, windows-x64");
        assert!(no_pool("x", &[]).to_string().contains("no pool at all"));
        assert_eq!(pool_name("pool/linux"), Ok("linux".into()));
        assert_eq!(pool_name("linux"), Ok("linux".into()));
        assert!(pool_name("job/1").is_err());
    }
}
