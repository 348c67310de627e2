//! The boot script of a Linux instance, run for real by dash and by bash, one of which is `/bin/sh` on most images. The
//! tests show how it becomes a runner, and that it ends the instance with the right reason, whatever happens.

use crate::support;

mod end;
mod install;
mod machine;
mod runner;
mod secret;
mod start;

use std::sync::Arc;

use support::linux::{LinuxInstance, Site, has};

/// Launches one instance for each shell, and runs the case on both at the same time.
async fn on_each_shell<F: AsyncFn(LinuxInstance)>(case: F) {
    let Some(site) = Site::start().await else { return };
    let site = Arc::new(site);
    let play = async |shell| {
        if has(shell) {
            case(LinuxInstance::launch(&site, shell).await).await;
        }
    };
    tokio::join!(play("dash"), play("bash"));
}

/// An instance that has booted, and whose runner listens.
async fn listening(mut b: LinuxInstance) -> LinuxInstance {
    b.boot();
    b.listens().await;
    b
}

/// An instance whose runner has a job.
async fn working(b: LinuxInstance) -> LinuxInstance {
    let b = listening(b).await;
    b.tell("job", "");
    b.hears("working").await;
    b
}
