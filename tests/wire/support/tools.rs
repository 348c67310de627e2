//! What the tests need of the machine: programs that it may lack, processes that must end, and ports that must stay
//! reserved.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::net::{TcpListener, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

/// Says that the running test cannot run here. `why` names what is missing and how to install it. libtest has no word for
/// this, and hides the output of a test that passes. So the line also goes to the file that `MUSTER_SKIPPED` names, with
/// which `make test` ends. With `CI=true`, a skip is a failure.
pub fn skip(why: &str) {
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{why} (CI=true: a skip is a failure)");
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    eprintln!("SKIPPED {test}: {why}");
    if let Some(path) = std::env::var_os("MUSTER_SKIPPED") {
        // Each line is one write, because other tests append to the file at the same time.
        let opened = OpenOptions::new().create(true).append(true).open(&path);
        let written = opened.and_then(|mut file| file.write_all(format!("{test}\t{why}\n").as_bytes()));
        written.unwrap_or_else(|e| panic!("writing MUSTER_SKIPPED={}: {e}", path.display()));
    }
}

/// Why most black-box tests are skipped where there is no Python.
pub const NO_VENV: &str =
    "there is no .venv, in which moto plays AWS; `make setup` makes it and says what it lacks (Python 3.11 or newer)";

/// Whether `program` can run. If not, the test is reported as skipped, which is a failure with `CI=true`.
pub fn have(program: &str, package: &str) -> bool {
    let found =
        Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success());
    if !found {
        skip(&format!("there is no `{program}`; install {package} (on Debian: apt-get install {package})"));
    }
    found
}

/// A process that ends with the test.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// A TCP port of the loopback that no other test and no other program takes while this value lives.
///
/// A port that was free a moment ago may be another server's now. So these ports are below the ephemeral range of every
/// system, from which ports are given out unasked (Linux: from 32768, macOS: from 49152). A UDP socket with the same number
/// reserves each of them. A TCP server can listen on the port, and a second test that wants the number sees that it is
/// taken.
pub struct Port {
    number: u16,
    _reserved: UdpSocket,
}

impl Port {
    const FIRST: u16 = 20_000;
    const COUNT: u16 = 12_000;

    /// Reserves a port.
    pub fn reserve() -> Port {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        // Processes that start at the same time begin their search at different numbers.
        let start = u16::try_from(std::process::id() * 61 % u32::from(Port::COUNT)).expect("below COUNT");
        for _ in 0..Port::COUNT {
            let offset = u32::from(start) + u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
            let number = Port::FIRST + u16::try_from(offset % u32::from(Port::COUNT)).expect("below COUNT");
            let Ok(reserved) = UdpSocket::bind(("127.0.0.1", number)) else { continue };
            if TcpListener::bind(("127.0.0.1", number)).is_ok() {
                return Port { number, _reserved: reserved };
            }
        }
        panic!("none of {} ports from {} on is free", Port::COUNT, Port::FIRST)
    }

    pub fn number(&self) -> u16 {
        self.number
    }
}

/// An address at which nobody listens while this value lives. The socket is bound, so nobody else can have the port. It
/// does not listen, so the system refuses each connection.
pub struct DeadPort(tokio::net::TcpSocket);

impl DeadPort {
    /// Binds a port.
    pub fn bind() -> DeadPort {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.bind(([127, 0, 0, 1], 0).into()).expect("a port on the loopback");
        DeadPort(socket)
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> std::net::SocketAddr {
        self.0.local_addr().expect("a bound socket has an address")
    }
}
