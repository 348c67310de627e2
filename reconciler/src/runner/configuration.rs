//! Whether a runner's configuration was minted, and whether it may still lie in SSM.

use super::{Act, Runner};
use crate::time::Time;

/// Whether a runner's configuration was minted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Configured {
    /// Nobody minted one, as far as we know.
    #[default]
    No,
    /// Our last try failed, and may have left a registration that no secret belongs to. The next try replaces that registration.
    ///
    /// Decision 0010, row 11.
    Unsure,
    /// A registration or a secret shows that a predecessor minted one. The predecessor may have died before it handed the
    /// configuration over.
    Seen,
    /// At this time, this process minted one, or the runner came online.
    Yes(Time),
}

/// What was tried to configure a runner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tried {
    /// Nothing, because the runner's turn never came.
    Never,
    /// This process tried, and as far as anybody knows it handed no configuration over.
    InVain,
    /// The runner has a configuration, or may have one.
    Perhaps,
}

/// A runner's configuration.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Configuration {
    minted: Configured,
    /// Whether this process tried to configure the runner.
    tried: bool,
    /// The configuration may lie in SSM as a secret.
    secret: bool,
}

impl Configuration {
    /// Another source shows that there is a configuration.
    pub(super) fn seen(&mut self) {
        if self.minted == Configured::No {
            self.minted = Configured::Seen;
        }
    }

    /// The configuration is ready since `now`.
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
    /// Whether the configuration was minted, and how this process knows.
    pub fn configured(&self) -> Configured {
        self.configuration.minted
    }

    /// Whether the configuration was minted, as far as anybody knows. False while this is unsure.
    pub fn is_configured(&self) -> bool {
        matches!(self.configured(), Configured::Seen | Configured::Yes(_))
    }

    /// What was tried to configure the runner.
    pub fn tried(&self) -> Tried {
        match (self.never_configured(), self.configuration.tried) {
            (true, false) => Tried::Never,
            (true, true) => Tried::InVain,
            (false, _) if self.configured() == Configured::Unsure && !self.was_online() => Tried::InVain,
            (false, _) => Tried::Perhaps,
        }
    }

    /// The runner is about to be configured.
    pub fn configuration_begins(&mut self) {
        self.effect_begins(Act::Configure);
        self.configuration.tried = true;
    }

    /// Whether the configuration may lie in SSM as a secret.
    pub fn has_secret(&self) -> bool {
        self.configuration.secret
    }

    /// A try to configure the runner may have left a registration at GitHub.
    pub fn configuration_unsure(&mut self) {
        self.configuration.minted = Configured::Unsure;
    }

    /// A sweep of the secrets shows the runner's secret, so somebody has configured the runner.
    pub fn secret_shown(&mut self) {
        self.configuration.secret = true;
        self.configuration.seen();
    }

    /// A complete sweep of the secrets that began at `began` does not show the runner's secret.
    pub(crate) fn secret_missed(&mut self, began: Time) {
        let since = matches!(self.configured(), Configured::Yes(at) if at >= began);
        if !since && !self.effect_under_way() {
            self.configuration.secret = false;
        }
    }

    /// The runner's secret was deleted.
    pub(crate) fn secret_deleted(&mut self) {
        self.configuration.secret = false;
    }
}
