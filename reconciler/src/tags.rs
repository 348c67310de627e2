//! The tags that muster puts on AWS resources. Each name stands here once; Terraform's policies and the boot script use the same.

/// The cluster that owns the resource. A sweep asks for it; nothing without it is ever touched.
pub const CLUSTER: &str = "muster:cluster";
/// The pool that an instance was launched for.
pub const POOL: &str = "muster:pool";
/// The launch intent (CreateFleet's ClientToken) that an instance came from.
pub const INTENT: &str = "muster:intent";
/// The list of runners that an instance registers in, `APP/SCOPE`: where its job would be seen, whatever its pool says by now.
pub const LIST: &str = "muster:list";
/// Asks the instance to take no more jobs and to end itself; the value says why.
pub const DRAIN: &str = "muster:drain";
/// When an instance reached each stage of its boot: `script=1700000000000,secret=...,unpacked=...,listener=...`, Unix time in ms.
/// The instance puts it on itself.
pub const STAGES: &str = "muster:stages";
/// On a JIT secret: the ARN of the one instance that IAM lets read and delete it.
pub const INSTANCE_ARN: &str = "muster:instance-arn";
