//! The result of the judge of `tests/moto/judge/`: whether the calls of a test, and the answers to them, are what AWS's
//! models and documents say.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde::Deserialize;

use super::iam::{self, Need, Policies};

/// How long the judge may take. It gives up a little earlier itself, and says so.
const WITHIN: Duration = Duration::from_secs(150);

/// What was judged, and what is wrong. Each violation names the call, the member, the rule and its page.
#[derive(Debug, Default, Deserialize)]
pub struct Verdict {
    /// How many calls were judged, each with its answer.
    pub calls: u64,
    /// How many members of requests and answers were compared with a model.
    pub members: u64,
    /// The violations, in words.
    pub violations: Vec<String>,
    /// What the calls need of IAM, without repetitions.
    #[serde(default)]
    pub needs: Vec<Need>,
}

/// The verdict of the moto that listens on this port.
pub fn of(port: u16) -> Verdict {
    let said = ask(port).and_then(|text| serde_json::from_str(&text).map_err(io::Error::other));
    said.unwrap_or_else(|e| Verdict { violations: vec![format!("the judge could not be asked: {e}")], ..Verdict::default() })
}

/// Asks without a runtime, because the runtime may be gone when the values of a test are dropped.
fn ask(port: u16) -> io::Result<String> {
    let mut connection = TcpStream::connect(("127.0.0.1", port))?;
    connection.set_read_timeout(Some(WITHIN))?;
    connection.write_all(b"POST /_verdict HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}")?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
    body.ok_or_else(|| io::Error::other(format!("no answer: {answer:?}")))
}

impl Verdict {
    /// Writes down the figures, and fails the test that caused a violation. A test that fails already only prints the
    /// violations.
    pub fn pronounce(self, policies: Option<&Policies>) {
        let Verdict { calls, members, mut violations, needs } = self;
        let told = |violations: &[String]| {
            format!("AWS would not have it so ({calls} calls, {members} members judged):\n{}", violations.join("\n"))
        };
        if std::thread::panicking() {
            if !violations.is_empty() {
                eprintln!("{}", told(&violations));
            }
            return;
        }
        let (evaluated, refused) = iam::judge(&needs, policies);
        figures(&[
            ("calls held against AWS's models", calls),
            ("members held against AWS's models", members),
            ("permissions held against IAM's policies", evaluated),
        ]);
        violations.extend(refused);
        assert!(violations.is_empty(), "{}", told(&violations));
    }
}

/// Adds to the figures in the file that `MUSTER_FIGURES` names. `make test` ends with their sums.
pub fn figures(counted: &[(&str, u64)]) {
    let lines: String = counted.iter().map(|(what, count)| format!("{what}\t{count}\n")).collect();
    print!("{lines}");
    if let Some(path) = std::env::var_os("MUSTER_FIGURES") {
        // This is one write, because other tests append to the file at the same time.
        let file = File::options().create(true).append(true).open(path);
        file.and_then(|mut file| file.write_all(lines.as_bytes())).expect("the file that MUSTER_FIGURES names can be written");
    }
}
