//! Deliberate defects, each a mistake that a controller like this has made somewhere. The simulator must catch every one of
//! them (`simulator/tests/defects.rs`): a proof that nothing can fail is none. They exist only with the feature `defects`; without it
//! [`has`] is a constant `false` and nothing of them is compiled.

/// One mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// Terminate a runner on a single `busy: false` of GitHub's list.
    TerminateOnIdleFlag,
    /// A box that never registers stays supply for ever.
    SupplyForEver,
    /// Retry a launch with a new ClientToken.
    ForgetToken,
    /// Delete a job's message as soon as it was received.
    DeleteOnReceipt,
    /// Take the pages of a sweep that broke off for the whole.
    PartialPages,
    /// Launch before EC2 was seen, and before a predecessor's launches must be visible.
    LaunchUnseen,
    /// Take one missing row for a box that is gone.
    MissingIsGone,
    /// Leave launches without an answer out of the count.
    IgnoreInFlight,
    /// Never delete a secret.
    KeepSecrets,
    /// Try again at once what failed.
    NoBackoff,
    /// Let a late `queued` revive a job that is over.
    ReviveJobs,
    /// Forget the waiting jobs of a pool whose launch failed.
    DropDemand,
    /// End a drained box at its deadline, whatever is known of it.
    EndAtDrainDeadline,
    /// Never delete a registration.
    KeepRegistrations,
    /// Take the instance of any event for one of ours.
    AdoptStrangers,
    /// Ask again with the same ClientToken for something else.
    ChangedRetry,
    /// Call as often as there is something to call for.
    IgnoreBudgets,
    /// Let the order of a sweep's rows matter.
    RowOrder,
    /// Never delete a message.
    KeepMessages,
}

impl Defect {
    /// All of them.
    pub const ALL: [Defect; 19] = [
        Defect::TerminateOnIdleFlag,
        Defect::SupplyForEver,
        Defect::ForgetToken,
        Defect::DeleteOnReceipt,
        Defect::PartialPages,
        Defect::LaunchUnseen,
        Defect::MissingIsGone,
        Defect::IgnoreInFlight,
        Defect::KeepSecrets,
        Defect::NoBackoff,
        Defect::ReviveJobs,
        Defect::DropDemand,
        Defect::EndAtDrainDeadline,
        Defect::KeepRegistrations,
        Defect::AdoptStrangers,
        Defect::ChangedRetry,
        Defect::IgnoreBudgets,
        Defect::RowOrder,
        Defect::KeepMessages,
    ];
}

#[cfg(feature = "defects")]
thread_local! {
    static ACTIVE: std::cell::Cell<Option<Defect>> = const { std::cell::Cell::new(None) };
}

/// Whether this thread's controllers have the defect.
#[cfg(feature = "defects")]
pub fn has(defect: Defect) -> bool {
    ACTIVE.get() == Some(defect)
}

/// Without the feature nobody has a defect.
#[cfg(not(feature = "defects"))]
pub const fn has(_: Defect) -> bool {
    false
}

/// Gives this thread's controllers the defect, or none.
#[cfg(feature = "defects")]
pub fn set(defect: Option<Defect>) {
    ACTIVE.set(defect);
}
