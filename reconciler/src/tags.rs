//! The tags that muster puts on AWS resources. Each name is written here once. Terraform's policies and the instance's script use
//! the same names.

/// The cluster that owns the resource. Sweeps filter by this tag, and muster never touches a resource without it.
pub const CLUSTER: &str = "muster:cluster";
/// The pool that an instance was launched for.
pub const POOL: &str = "muster:pool";
/// The intent of the launch (CreateFleet's ClientToken) that an instance came from.
pub const INTENT: &str = "muster:intent";
/// The list in which an instance registers, as `APP/SCOPE`. Its jobs are seen there, even if its pool names another list by now.
pub const LIST: &str = "muster:list";
/// The pool's `maxLifetime` when the instance was launched, in seconds. It counts once the pool is in no manifest any more.
pub const MAX_LIFETIME: &str = "muster:max-lifetime";
/// The release of the runner program that an instance installs, with the SHA-256 of its archive; see
/// [`RunnerRelease::as_tag`](crate::release::RunnerRelease::as_tag). No tag: the controller knew no release, and the instance finds one.
pub const RELEASE: &str = "muster:release";
/// Asks the instance to take no more jobs and to end itself. The value says why.
pub const DRAIN: &str = "muster:drain";
/// When an instance reached each stage of its boot: `script=1700000000000,secret=...,unpacked=...,listener=...`, Unix time in ms.
/// The instance tags itself.
pub const STAGES: &str = "muster:stages";
/// On a JIT secret: the ARN of the only instance that IAM lets read and delete the secret.
pub const INSTANCE_ARN: &str = "muster:instance-arn";
