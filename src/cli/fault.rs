//! The kinds of errors of a command. Each kind has its own exit code, so that a script can tell them apart.

use muster_operations::client::ClientError;
use muster_reconciler::manifest::Problems;

/// The exit code when the command line cannot work.
pub(super) const USAGE: u8 = 2;

/// An error of a kind that scripts may want to tell apart.
#[derive(Debug, thiserror::Error)]
pub(super) enum CliError {
    /// The command line cannot work.
    #[error("{0}")]
    Usage(String),
    /// There is no such job, runner or pool.
    #[error("{0}")]
    Unknown(String),
    /// There is no token, the token is wrong, or the controller takes no orders.
    #[error("{0}; give it by MUSTER_TOKEN or --token-file")]
    Denied(String),
    /// There is no token for looking, or the token is wrong.
    #[error("{0}; give it by MUSTER_VIEW_TOKEN")]
    Unseen(String),
    /// No controller answers.
    #[error("{0}; is `muster run` up? Name its admin listener with --controller or MUSTER_CONTROLLER")]
    Down(String),
    /// A setting, a file or a manifest is wrong.
    #[error("{0}")]
    Config(String),
}

impl CliError {
    /// The error of a request that only looks.
    pub(super) fn of_look(error: ClientError) -> CliError {
        match CliError::from(error) {
            CliError::Denied(said) => CliError::Unseen(said),
            other => other,
        }
    }

    const fn code(&self) -> u8 {
        match self {
            CliError::Usage(_) => USAGE,
            CliError::Unknown(_) => 3,
            CliError::Denied(_) | CliError::Unseen(_) => 4,
            CliError::Down(_) => 5,
            CliError::Config(_) => CONFIG,
        }
    }
}

const CONFIG: u8 = 6;

/// What each exit code means, for the manual pages. docs/cli.md has the same table.
pub(super) const CODES: [(u8, &str); 7] = [
    (0, "Done."),
    (1, "The command failed, or found what it looks for: a problem in a file, a pool that no job matches, a check that failed."),
    (USAGE, "The command line cannot work: an unknown flag or kind, or no such file or directory."),
    (3, "The controller knows no such job, runner or pool."),
    (4, "There is no token, or it is wrong."),
    (5, "No controller answers."),
    (CONFIG, "A setting or a manifest is wrong or cannot be read."),
];

/// The exit code for an error. An error of no known kind has 1.
pub(super) fn code(error: &anyhow::Error) -> u8 {
    if let Some(fault) = error.chain().find_map(|e| e.downcast_ref::<CliError>()) {
        return fault.code();
    }
    if error.chain().any(|e| e.is::<Problems>()) { CONFIG } else { 1 }
}

impl From<ClientError> for CliError {
    fn from(error: ClientError) -> CliError {
        match &error {
            ClientError::Address(_)
            | ClientError::Ecs(_)
            | ClientError::NoTls(_)
            | ClientError::NoAuthorities(..)
            | ClientError::Token => CliError::Config(error.to_string()),
            ClientError::Connect(..) | ClientError::Slow(..) | ClientError::Broken(..) => CliError::Down(error.to_string()),
            ClientError::Status { status, said, .. } => match status.as_u16() {
                404 => CliError::Unknown(said.clone()),
                401 => CliError::Denied(said.clone()),
                // The mistake is in the controller's settings, not in the command.
                403 => CliError::Config(said.clone()),
                503 => CliError::Down(said.clone()),
                _ => CliError::Config(error.to_string()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn every_kind_has_its_code_however_deep_it_lies() {
        let deep = |fault: CliError| code(&Err::<(), _>(fault).context("one").context("two").expect_err("an error"));
        let all = [CliError::Usage, CliError::Unknown, CliError::Denied, CliError::Down, CliError::Config];
        assert_eq!(all.map(|kind| deep(kind("x".into()))), [2, 3, 4, 5, 6]);
        assert_eq!(code(&anyhow::anyhow!("anything")), 1);
        assert_eq!(code(&anyhow::Error::from(Problems(Vec::new())).context("reading")), 6);
    }
}
