//! What the service manager is told: that the process is ready, that it is stopping, and that it is alive as long as its loops
//! turn.
//!
//! systemd's protocol is one datagram of text to the socket that `NOTIFY_SOCKET` names.
//! <https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html>
//!
//! With `WatchdogSec=`, systemd restarts a service that has not said `WATCHDOG=1` for that long. `WATCHDOG_USEC` tells the
//! service this time.
//! <https://www.freedesktop.org/software/systemd/man/latest/sd_watchdog_enabled.html>

use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::Duration;

use muster_operations::environment::{self, NotText};
use muster_operations::liveness::Liveness;
use tokio_util::sync::CancellationToken;

/// The service manager, if one is listening.
#[derive(Debug)]
pub struct Supervisor {
    socket: Option<UnixDatagram>,
    /// How often the service manager is told that the process is alive. None: it does not want to be told.
    every: Option<Duration>,
}

/// A variable whose value cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadVariable {
    /// The value is not a number.
    #[error("{name} is `{value}`, which is no number; systemd sets it, so unset it where there is no systemd")]
    NotANumber {
        /// The name of the variable.
        name: &'static str,
        /// The value of the variable.
        value: String,
    },
    /// The value is not UTF-8.
    #[error(transparent)]
    NotText(#[from] NotText),
}

impl Supervisor {
    /// Reads the environment of this process.
    ///
    /// # Errors
    /// See [`Supervisor::from_vars`]. A variable that is not UTF-8 is an error, too.
    pub fn from_env() -> Result<Supervisor, BadVariable> {
        for name in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"] {
            environment::read(name)?;
        }
        Supervisor::from_vars(|name| environment::read(name).ok().flatten(), std::process::id())
    }

    /// Reads the variables that systemd sets. `pid` is the id of this process.
    ///
    /// # Errors
    /// When a variable that should be a number is none. If nobody listens at the socket, there is only a warning: a container may
    /// have inherited the variable from the machine around it.
    pub fn from_vars(var: impl Fn(&str) -> Option<String>, pid: u32) -> Result<Supervisor, BadVariable> {
        let var = |name| var(name).filter(|value| !value.is_empty());
        let number = |name| match var(name) {
            None => Ok(None),
            Some(value) => value.parse::<u64>().map(Some).map_err(|_| BadVariable::NotANumber { name, value }),
        };
        // A value with another process's id was inherited from that process.
        let ours = number("WATCHDOG_PID")?.is_none_or(|of| of == u64::from(pid));
        let within = number("WATCHDOG_USEC")?.filter(|usec| ours && *usec > 0);
        let socket = var("NOTIFY_SOCKET").and_then(|place| match connect(&place) {
            Ok(socket) => Some(socket),
            Err(error) => {
                tracing::warn!(place, %error, "nobody listens at NOTIFY_SOCKET, so the service manager is told nothing");
                None
            }
        });
        // systemd's page asks for half of the time.
        Ok(Supervisor { every: within.filter(|_| socket.is_some()).map(|usec| Duration::from_micros(usec) / 2), socket })
    }

    /// Says that the process takes webhooks and reconciles from now on.
    pub fn ready(&self) {
        self.say("READY=1");
    }

    /// Says that the process is stopping.
    pub fn stopping(&self) {
        self.say("STOPPING=1");
    }

    /// Says that the process is alive, if all of its loops turn.
    fn look(&self, liveness: &Liveness) {
        match liveness.check() {
            Ok(()) => self.say("WATCHDOG=1"),
            Err(stuck) => tracing::error!("{stuck}; the service manager is not told that this process is alive"),
        }
    }

    /// Says regularly that the process is alive, as long as it is, until `stop` is cancelled.
    pub async fn watch(&self, liveness: &Liveness, stop: &CancellationToken) {
        let Some(every) = self.every else { return stop.cancelled().await };
        loop {
            self.look(liveness);
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(every) => {}
            }
        }
    }

    fn say(&self, what: &str) {
        let Some(socket) = &self.socket else { return };
        // A full queue would block, so the error is only logged. The next message says the same.
        if let Err(error) = socket.send(what.as_bytes()) {
            tracing::warn!(what, %error, "failed to tell the service manager");
        }
    }
}

/// Connects to a socket, which is given as a path, or on Linux as `@` and an abstract name.
fn connect(place: &str) -> std::io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    match place.strip_prefix('@') {
        #[cfg(target_os = "linux")]
        Some(name) => {
            use std::os::linux::net::SocketAddrExt as _;
            socket.connect_addr(&std::os::unix::net::SocketAddr::from_abstract_name(name)?)?;
        }
        #[cfg(not(target_os = "linux"))]
        Some(_) => return Err(std::io::ErrorKind::Unsupported.into()),
        None => socket.connect(PathBuf::from(place))?,
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use muster_operations::liveness::Pulse;

    use super::*;

    /// The socket of a service manager, and a supervisor that knows it.
    fn pair(more: &[(&str, &str)]) -> (UnixDatagram, Result<Supervisor, BadVariable>, tempfile::TempDir) {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("notify");
        let manager = UnixDatagram::bind(&path).expect("a socket");
        manager.set_nonblocking(true).expect("settable");
        let place = path.to_str().expect("text").to_owned();
        let vars: Vec<(&str, &str)> = [("NOTIFY_SOCKET", place.as_str())].into_iter().chain(more.iter().copied()).collect();
        let supervisor =
            Supervisor::from_vars(|name| vars.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()), 7);
        (manager, supervisor, dir)
    }

    fn heard(manager: &UnixDatagram) -> Vec<String> {
        let mut words = Vec::new();
        let mut buffer = [0; 64];
        while let Ok(read) = manager.recv(&mut buffer) {
            words.push(String::from_utf8_lossy(&buffer[..read]).into_owned());
        }
        words
    }

    #[tokio::test(start_paused = true)]
    async fn the_watchdog_hears_nothing_of_a_loop_that_is_stuck() {
        let (manager, supervisor, _dir) = pair(&[("WATCHDOG_USEC", "30000000"), ("WATCHDOG_PID", "7")]);
        let supervisor = supervisor.expect("right");
        assert_eq!(supervisor.every, Some(Duration::from_secs(15)));
        let pulse = Pulse::start();
        let liveness = Liveness::new(Duration::from_secs(30)).with("the core", pulse.clone());
        supervisor.ready();
        supervisor.look(&liveness);
        assert_eq!(heard(&manager), ["READY=1", "WATCHDOG=1"]);
        tokio::time::advance(Duration::from_secs(30)).await;
        supervisor.look(&liveness);
        assert_eq!(heard(&manager), Vec::<String>::new(), "stuck");
        pulse.beat();
        supervisor.look(&liveness);
        supervisor.stopping();
        assert_eq!(heard(&manager), ["WATCHDOG=1", "STOPPING=1"]);
    }

    #[test]
    fn without_a_watchdog_or_with_another_process_s_none_is_told() {
        for more in [vec![], vec![("WATCHDOG_USEC", "0")], vec![("WATCHDOG_USEC", "30000000"), ("WATCHDOG_PID", "8")]] {
            assert_eq!(pair(&more).1.expect("right").every, None, "{more:?}");
        }
        let none = Supervisor::from_vars(|_| None, 7).expect("right");
        none.ready();
        assert!(none.socket.is_none() && none.every.is_none());
    }

    #[test]
    fn what_makes_no_sense_says_what_to_do() {
        for (name, value) in [("WATCHDOG_USEC", "30s"), ("WATCHDOG_PID", "me"), ("WATCHDOG_USEC", "-1")] {
            let error = pair(&[(name, value)]).1.expect_err("nonsense").to_string();
            assert!(
                error.starts_with(&format!("{name} is `{value}`, which is no number")) && error.contains("unset it"),
                "{error}"
            );
        }
        let deaf = Supervisor::from_vars(|name| (name == "NOTIFY_SOCKET").then(|| "/nonexistent/notify".to_owned()), 7);
        assert!(deaf.expect("warned of").socket.is_none());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_abstract_socket_is_reached_too() {
        use std::os::linux::net::SocketAddrExt as _;
        let name = format!("muster-test-{}", std::process::id());
        let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).expect("a name");
        let manager = UnixDatagram::bind_addr(&address).expect("a socket");
        let place = format!("@{name}");
        Supervisor::from_vars(|key| (key == "NOTIFY_SOCKET").then(|| place.clone()), 7).expect("right").ready();
        manager.set_nonblocking(true).expect("settable");
        assert_eq!(heard(&manager), ["READY=1"]);
    }
}
