//! What may go wrong, by name: each kind of bad luck that the world knows, and how likely each is.
//!
//! A kind is only a name and a rate; when one strikes is decided in [`crate::luck`], what it does in the module that
//! asks. So a run's bad luck is a list of names and numbers: it can be written down, replayed and shrunk.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

macro_rules! faults {
    ($($(#[$doc:meta])* $name:ident: $word:literal, $most:literal;)*) => {
        /// One kind of bad luck. Its rate is the probability, 0..=1, of each decision on it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Fault {
            $($(#[$doc])* $name,)*
        }

        impl Fault {
            /// All of them.
            pub const ALL: &[Fault] = &[$(Fault::$name),*];

            /// The word used in scenarios and reports.
            pub const fn as_str(self) -> &'static str {
                match self { $(Fault::$name => $word,)* }
            }

            /// The highest rate that a swarm draws.
            pub const fn most(self) -> f64 {
                match self { $(Fault::$name => $most,)* }
            }
        }
    };
}

faults! {
    /// An API call is refused (throttled or 5xx) and does nothing.
    Refused: "refused", 0.2;
    /// An API call is never answered; half of these took effect.
    Unanswered: "unanswered", 0.1;
    /// A sweep fails after some of its pages.
    PartialSweep: "partial_sweep", 0.2;
    /// EC2 and SSM throttle most calls for some minutes; decided twice a minute, like all spells.
    AwsThrottling: "aws_throttling", 0.05;
    /// GitHub answers most calls with 5xx for some minutes.
    GitHubErrors: "github_errors", 0.05;
    /// All of GitHub is down for some minutes: API, webhooks, runners' connections.
    GitHubOutage: "github_outage", 0.04;
    /// GitHub's secondary limit: nothing for this App until `retry-after`.
    SecondaryLimit: "secondary_limit", 0.02;
    /// One member of a batch fails.
    BatchMember: "batch_member", 0.2;
    /// An offering has no capacity for five minutes.
    NoCapacity: "no_capacity", 0.6;
    /// An offering has only a few instances left for five minutes.
    LittleCapacity: "little_capacity", 0.5;
    /// A whole market is closed to us for five minutes (an account's limit).
    MarketClosed: "market_closed", 0.1;
    /// A spot instance is taken back within 20 minutes, perhaps while it boots.
    Interruption: "interruption", 0.4;
    /// An interruption comes without its warning.
    Unwarned: "unwarned", 1.0;
    /// An EventBridge message is lost.
    NotifyLoss: "notify_loss", 1.0;
    /// An EventBridge message is minutes late.
    NotifyLate: "notify_late", 0.5;
    /// A box ends itself while it boots.
    BootFailure: "boot_failure", 0.3;
    /// A box hangs while it boots, and costs money for ever.
    BootHang: "boot_hang", 0.2;
    /// A box boots three to fifteen times slower.
    BootSlow: "boot_slow", 0.3;
    /// A box may not read its secret, and ends itself.
    FetchFailure: "fetch_failure", 0.2;
    /// A box has read (and deleted) its secret, cannot register, and ends itself.
    RegisterFailure: "register_failure", 0.2;
    /// A box has read (and deleted) its secret, hangs, and stays.
    RegisterHang: "register_hang", 0.15;
    /// A box hangs some time after it came online, with or without a job, and stays.
    OnlineHang: "online_hang", 0.15;
    /// A box sees its drain tag minutes late.
    LateDrain: "late_drain", 0.5;
    /// A box takes its job, but neither heeds a drain nor ends itself.
    Deaf: "deaf", 0.3;
    /// A webhook is lost: GitHub notes that it could not deliver it.
    WebhookLoss: "webhook_loss", 0.3;
    /// A webhook comes twice.
    WebhookTwice: "webhook_twice", 0.5;
    /// A webhook is minutes late, and so out of order.
    WebhookLate: "webhook_late", 0.4;
    /// A message becomes visible up to 15 minutes after it was sent.
    SendDelay: "send_delay", 0.2;
    /// SQS delivers a message again while it is held.
    Redelivered: "redelivered", 0.3;
    /// GitHub says `busy: false` of a runner for up to a minute after its job began, and lets it be deleted.
    BusyLie: "busy_lie", 1.0;
    /// The same in the middle of a job, for up to twelve minutes.
    BusyLieMidJob: "busy_lie_mid_job", 0.7;
    /// The list changes while its pages are read: one row comes twice, another not at all.
    ShiftedPage: "shifted_page", 0.3;
    /// A registration of a box's name exists already.
    NameConflict: "name_conflict", 0.3;
    /// GitHub refuses whatever a pool's boxes are to be configured with for some minutes: its group or a label is gone.
    PoolRefused: "pool_refused", 0.1;
    /// GitHub says 404 of a job that exists.
    CheckNotFound: "check_not_found", 0.5;
    /// Rows are missing from a runner list.
    MissingRow: "missing_row", 0.3;
    /// A job is taken by a runner that is none of ours.
    Foreign: "foreign", 0.3;
    /// A queued job is cancelled before long.
    Cancelled: "cancelled", 0.3;
    /// GitHub leaves a job queued (a concurrency group) for 5 to 40 minutes.
    Held: "held", 0.2;
    /// GitHub makes a job wait (an environment's approval) for 5 to 40 minutes, and says so when asked.
    Waiting: "waiting", 0.2;
    /// A job that ended is run again, with a new id, in the same run.
    Rerun: "rerun", 0.3;
    /// GitHub gives a job to a runner that dies before it begins: the job stays queued.
    AssignedInVain: "assigned_in_vain", 0.2;
    /// The controller's process is told to stop, and started anew.
    CleanStop: "clean_stop", 0.05;
    /// The controller's process is killed.
    Crash: "crash", 0.08;
    /// Spot announces an end that never comes.
    FalseWarning: "false_warning", 0.5;
    /// EC2 accepts a termination and does nothing.
    TerminateIgnored: "terminate_ignored", 0.2;
    /// Somebody else has used up what GitHub admits of the App in an hour: an answer says that nothing is left.
    PrimaryLimit: "primary_limit", 0.01;
    /// A zone lacks an instance type, for good.
    NotOffered: "not_offered", 0.15;
    /// A subnet has no free addresses for five minutes.
    SubnetFull: "subnet_full", 0.1;
    /// CreateFleet gives up after three offerings, and says of the others that it could not fulfil them.
    Untried: "untried", 0.7;
    /// EC2 refuses a launch, or some of its offerings, with any code that it documents, or with one that nobody knows.
    OddRefusal: "odd_refusal", 0.08;
}

/// How many kinds there are.
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

/// How likely each kind is; zero unless said.
#[derive(Clone, Debug, PartialEq)]
pub struct Rates([f64; KINDS]);

impl Default for Rates {
    fn default() -> Self {
        Rates([0.0; KINDS])
    }
}

impl Rates {
    /// These, and no others.
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

    /// The kinds that can happen at all.
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
