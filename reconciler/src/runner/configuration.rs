//! Whether a runner's configuration was minted, and whether it may still lie in SSM.

use super::{Act, Runner};
use crate::time::Time;

/// Whether a runner's configuration was minted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Configured {
    /// Not that we know.
    #[default]
    No,
    /// Our last try failed, and may have left a registration that no secret belongs to: it has to make way.
    ///
    /// Decision 0010, row 11.
    Unsure,
    /// A registration or a secret says so; a predecessor did it, perhaps only by half.
    Seen,
    /// Yes; this process did it, or the runner came online.
    Yes(Time),
}

/// What was tried to configure a runner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tried {
    /// Nothing: its turn never came.
    Never,
    /// It was tried, and nobody ever minted a configuration.
    InVain,
    /// It has a configuration, or may have one.
    Perhaps,
}

/// A runner's configuration.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Configuration {
    minted: Configured,
    /// This process tried.
    tried: bool,
    /// The configuration may lie in SSM as a secret.
    secret: bool,
}

impl Configuration {
    /// Another source says that there is one.
    pub(super) fn seen(&mut self) {
        if self.minted == Configured::No {
            self.minted = Configured::Seen;
        }
    }

    /// It lies ready since `now`.
    pub(super) fn ready(&mut self, now: Time) {
        (self.minted, self.secret) = (Configured::Yes(now), true);
    }

    /// The runner came online, so it has read the secret.
    pub(super) fn used(&mut self, now: Time) {
        self.secret = false;
        if !matches!(self.minted, Configured::Yes(_)) {
            self.minted = Configured::Yes(now);
        }
    }
}

impl Runner {
    /// Whether its configuration was minted.
    pub fn configured(&self) -> Configured {
        self.configuration.minted
    }

    /// Whether its configuration was minted, as far as anybody knows.
    pub fn is_configured(&self) -> bool {
        matches!(self.configured(), Configured::Seen | Configured::Yes(_))
    }

    /// What was tried to configure it.
    pub fn tried(&self) -> Tried {
        match (self.never_configured(), self.configuration.tried) {
            (true, false) => Tried::Never,
            (true, true) => Tried::InVain,
            (false, _) => Tried::Perhaps,
        }
    }

    /// It is about to be configured.
    pub fn configuration_begins(&mut self) {
        self.effect_begins(Act::Configure);
        self.configuration.tried = true;
    }

    /// Whether its configuration may lie in SSM.
    pub fn has_secret(&self) -> bool {
        self.configuration.secret
    }

    /// A try to configure it may have left a registration at GitHub.
    pub fn configuration_unsure(&mut self) {
        self.configuration.minted = Configured::Unsure;
    }

    /// A sweep of the secrets shows its own: somebody configured it.
    pub fn secret_shown(&mut self) {
        self.configuration.secret = true;
        self.configuration.seen();
    }

    /// A complete sweep of the secrets that began at `began` does not show its own.
    pub(crate) fn secret_missed(&mut self, began: Time) {
        let since = matches!(self.configured(), Configured::Yes(at) if at >= began);
        if !since && !self.effect_under_way() {
            self.configuration.secret = false;
        }
    }

    /// Its secret was deleted.
    pub(crate) fn secret_deleted(&mut self) {
        self.configuration.secret = false;
    }
}
