//! Everything that can go wrong, by name, with a rate for each.
//!
//! A fault is only a name and a rate. [`crate::luck`] decides when it strikes, and the module that asks decides what it
//! does. So the faults of a run are a list of names and numbers, which can be written down, replayed and shrunk.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

macro_rules! faults {
    ($($(#[$doc:meta])* $name:ident: $word:literal, $most:literal;)*) => {
        /// One kind of fault. Its rate is the probability, 0 to 1, of each decision whether it strikes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Fault {
            $($(#[$doc])* $name,)*
        }

        impl Fault {
            /// In the order of their declaration.
            pub const ALL: &[Fault] = &[$(Fault::$name),*];

            /// The word in scenarios and reports.
            pub const fn as_str(self) -> &'static str {
                match self { $(Fault::$name => $word,)* }
            }

            /// The highest rate that a swarm draws for the fault.
            pub const fn most(self) -> f64 {
                match self { $(Fault::$name => $most,)* }
            }
        }
    };
}

faults! {
    /// An API call is refused (throttled, or 5xx) and does nothing.
    Refused: "refused", 0.2;
    /// An API call is never answered. Half of these calls take effect.
    Unanswered: "unanswered", 0.1;
    /// A sweep fails after some of its pages.
    PartialSweep: "partial_sweep", 0.2;
    /// EC2 and SSM throttle most calls for some minutes. Decided every 30 s, like all spells.
    AwsThrottling: "aws_throttling", 0.05;
    /// GitHub answers most calls with 5xx for some minutes.
    GitHubErrors: "github_errors", 0.05;
    /// All of GitHub is down for some minutes: API, webhooks, runners' connections.
    GitHubOutage: "github_outage", 0.04;
    /// GitHub's secondary rate limit: no call of this App is admitted until `retry-after`.
    SecondaryLimit: "secondary_limit", 0.02;
    /// One instance of a batch call fails.
    BatchMember: "batch_member", 0.2;
    /// An offering has no capacity for five minutes.
    NoCapacity: "no_capacity", 0.6;
    /// An offering has only a few instances left for five minutes.
    LittleCapacity: "little_capacity", 0.5;
    /// The account's quota of some families on one market is used up for five minutes.
    MarketClosed: "market_closed", 0.1;
    /// EC2 takes a spot instance back within 20 minutes, perhaps while it boots.
    Interruption: "interruption", 0.4;
    /// An interruption comes without its warning.
    Unwarned: "unwarned", 1.0;
    /// An EventBridge message is lost.
    NotifyLoss: "notify_loss", 1.0;
    /// An EventBridge message is minutes late.
    NotifyLate: "notify_late", 0.5;
    /// An instance ends itself while it boots.
    BootFailure: "boot_failure", 0.3;
    /// An instance hangs while it boots, and costs money until somebody ends it.
    BootHang: "boot_hang", 0.2;
    /// An instance boots three to fifteen times slower.
    BootSlow: "boot_slow", 0.3;
    /// An instance may not read its secret, and ends itself.
    FetchFailure: "fetch_failure", 0.2;
    /// An instance has read and deleted its secret, cannot register, and ends itself.
    RegisterFailure: "register_failure", 0.2;
    /// An instance has read and deleted its secret, and hangs.
    RegisterHang: "register_hang", 0.15;
    /// An instance hangs some time after its runner came online, with or without a job.
    OnlineHang: "online_hang", 0.15;
    /// An instance sees its drain tag minutes late.
    LateDrain: "late_drain", 0.5;
    /// An instance takes its job, but neither obeys a drain nor ends itself.
    Deaf: "deaf", 0.3;
    /// A webhook is lost. GitHub records that it could not deliver the webhook.
    WebhookLoss: "webhook_loss", 0.3;
    /// A webhook comes twice.
    WebhookTwice: "webhook_twice", 0.5;
    /// A webhook is minutes late, and so out of order.
    WebhookLate: "webhook_late", 0.4;
    /// A message becomes visible up to 15 minutes after it was sent.
    SendDelay: "send_delay", 0.2;
    /// SQS delivers a message again while it is held.
    Redelivered: "redelivered", 0.3;
    /// GitHub says `busy: false` of a runner for up to a minute after the start of its job, and lets the runner be deleted.
    BusyLie: "busy_lie", 1.0;
    /// GitHub says `busy: false` of a runner in the middle of its job, for up to twelve minutes.
    BusyLieMidJob: "busy_lie_mid_job", 0.7;
    /// A list changes while its pages are read: one row comes twice, or another is left out.
    ShiftedPage: "shifted_page", 0.3;
    /// GitHub has a registration with the name of an instance already.
    NameConflict: "name_conflict", 0.3;
    /// GitHub refuses all configurations of a pool for some minutes, because the group or a label is gone.
    PoolRefused: "pool_refused", 0.1;
    /// GitHub answers 404 about a job that exists.
    CheckNotFound: "check_not_found", 0.5;
    /// Rows are missing from a list of runners.
    MissingRow: "missing_row", 0.3;
    /// A runner that is not ours takes a job.
    Foreign: "foreign", 0.3;
    /// A queued job is cancelled before long.
    Cancelled: "cancelled", 0.3;
    /// GitHub leaves a job queued, because of a concurrency group, for 5 to 40 minutes.
    Held: "held", 0.2;
    /// GitHub makes a job wait, for an environment's approval, for 5 minutes to 3 hours, and says so when asked. Most such jobs are
    /// told of as `queued`, as `waiting`, and after the approval as `queued` again.
    Waiting: "waiting", 0.2;
    /// A job that has ended is run again, with a new id, in the same run.
    Rerun: "rerun", 0.3;
    /// GitHub gives a job to a runner that dies before the job begins. The job stays queued.
    AssignedInVain: "assigned_in_vain", 0.2;
    /// The controller is told to stop, and a new process starts.
    CleanStop: "clean_stop", 0.05;
    /// The controller is killed, and a new process starts.
    Crash: "crash", 0.08;
    /// EC2 announces a spot interruption that never comes.
    FalseWarning: "false_warning", 0.5;
    /// EC2 accepts a termination and does nothing.
    TerminateIgnored: "terminate_ignored", 0.2;
    /// Somebody else has used up the App's hourly rate limit, so an answer says that nothing is left.
    PrimaryLimit: "primary_limit", 0.01;
    /// A zone lacks an instance type for the whole run.
    NotOffered: "not_offered", 0.15;
    /// A subnet has no free addresses for five minutes.
    SubnetFull: "subnet_full", 0.1;
    /// CreateFleet gives up after three offerings, and says of the others that it could not fulfil them.
    Untried: "untried", 0.7;
    /// EC2 refuses a launch, or some of its offerings, with any code that it documents, or with an unknown one.
    OddRefusal: "odd_refusal", 0.08;
    /// GitHub answers 503 to all that one App asks, for some minutes.
    AppErrors: "app_errors", 0.04;
    /// A list shows all its runners offline. The next one does not.
    AllOffline: "all_offline", 0.05;
    /// A running job fails by itself, or somebody cancels it.
    OwnEnd: "own_end", 0.4;
    /// The runner's worker crashes under a job. The instance ends itself in order, and says so where its pool has `reportStages`.
    WorkerCrash: "worker_crash", 0.15;
    /// The instance's disk is full under a job. The instance ends itself in order, and says so where its pool has `reportStages`.
    DiskFull: "disk_full", 0.15;
    /// With several controllers: a process is stopped with a call in its hand, and goes on later with that call.
    Stopped: "stopped", 0.1;
    /// With several controllers: S3 answers a read or a write of the lease up to 12 s late.
    LeaseSlow: "lease_slow", 0.2;
    /// With several controllers: a read or a write of the lease has no answer. Half of these writes take effect.
    LeaseLost: "lease_lost", 0.2;
    /// With several controllers: S3 refuses a read or a write of the lease.
    LeaseRefused: "lease_refused", 0.2;
}

/// The number of kinds.
pub(super) const KINDS: usize = Fault::ALL.len();

impl Fault {
    pub(super) const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Fault {
    type Err = String;
    fn from_str(text: &str) -> Result<Fault, String> {
        Fault::ALL.iter().find(|f| f.as_str() == text).copied().ok_or_else(|| format!("`{text}` is not a fault"))
    }
}

/// The rate of each kind of fault; zero, unless it was set.
#[derive(Clone, Debug, PartialEq)]
pub struct Rates([f64; KINDS]);

impl Default for Rates {
    fn default() -> Self {
        Rates([0.0; KINDS])
    }
}

impl Rates {
    /// These rates. All other kinds have the rate zero.
    pub fn of(rates: impl IntoIterator<Item = (Fault, f64)>) -> Rates {
        let mut all = Rates::default();
        for (fault, rate) in rates {
            all.set(fault, rate);
        }
        all
    }

    /// The rate of one kind.
    pub fn get(&self, fault: Fault) -> f64 {
        self.0[fault.index()]
    }

    /// Sets the rate of one kind.
    pub fn set(&mut self, fault: Fault, rate: f64) {
        self.0[fault.index()] = rate;
    }

    /// The kinds whose rate is not zero.
    pub fn present(&self) -> impl Iterator<Item = (Fault, f64)> {
        Fault::ALL.iter().map(|f| (*f, self.get(*f))).filter(|(_, rate)| *rate > 0.0)
    }
}

impl Serialize for Rates {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_map(self.present().map(|(f, rate)| (f.as_str(), rate)))
    }
}

impl<'de> Deserialize<'de> for Rates {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let mut rates = Rates::default();
        for (name, rate) in BTreeMap::<String, f64>::deserialize(d)? {
            rates.set(name.parse().map_err(serde::de::Error::custom)?, rate);
        }
        Ok(rates)
    }
}
