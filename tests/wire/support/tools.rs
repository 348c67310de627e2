//! Programs that the tests need and the machine may not have: skipped with a word, unless CI says that a skip is a failure.

use std::process::{Child, Command, Stdio};

/// Whether `program` can be run; if not, says so, and fails where `CI=true`.
pub fn have(program: &str, package: &str) -> bool {
    let found =
        Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success());
    if !found {
        let message = format!("SKIPPED: there is no `{program}`; on Debian: apt-get install {package}");
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{message} (CI=true: a skip is a failure)");
        eprintln!("{message}");
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

/// A port that nobody has now.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port on the loopback");
    listener.local_addr().expect("a bound listener has an address").port()
}
