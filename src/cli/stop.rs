//! How a command learns that it should end.

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;

/// A token that is cancelled by Ctrl-C or by the signal with which a service manager stops a process (SIGTERM). The signals are
/// caught as soon as this returns, so call it before the command says that it runs: until then, a signal kills the process.
///
/// # Errors
/// The operating system refuses to say when a signal comes.
pub(super) fn on_signal() -> anyhow::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let told = stop.clone();
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut term = signal(SignalKind::terminate()).context("failed to listen for SIGTERM")?;
        let mut int = signal(SignalKind::interrupt()).context("failed to listen for SIGINT")?;
        tokio::spawn(async move {
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
            }
            tracing::info!("told to stop");
            told.cancel();
        });
    }
    #[cfg(windows)]
    {
        let mut pressed = tokio::signal::windows::ctrl_c().context("failed to listen for Ctrl-C")?;
        tokio::spawn(async move {
            if pressed.recv().await.is_some() {
                told.cancel();
            }
        });
    }
    Ok(stop)
}
