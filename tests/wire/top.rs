//! `muster top` on a terminal of its own, by its keys, against the demo. `script` makes the terminal.

use crate::support;

use std::cell::RefCell;
use std::io::{Read as _, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};

use support::demo::demo;
use support::tools::have;
use support::{eventually, same, secs};

struct Terminal {
    child: RefCell<Child>,
    keys: ChildStdin,
    seen: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    fn start(url: &str) -> Terminal {
        let command = format!("stty rows 40 cols 160; exec {} top --controller {url}", env!("CARGO_BIN_EXE_muster"));
        let mut script = Command::new("script");
        script.args(["--quiet", "--return", "--flush", "--command", &command, "/dev/null"]).env("TERM", "xterm-256color");
        let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("script starts");
        let (keys, mut out) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let kept = seen.clone();
        std::thread::spawn(move || {
            let mut part = [0; 4096];
            while let Ok(n @ 1..) = out.read(&mut part) {
                kept.lock().expect("no panic").extend_from_slice(&part[..n]);
            }
        });
        Terminal { child: RefCell::new(child), keys, seen }
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).and_then(|()| self.keys.flush()).expect("it is read");
    }

    fn all(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().expect("no panic")).into_owned()
    }

    /// The newest whole picture, by lines. The chosen row begins with `>`, and all other ink is left out.
    fn lines(&self) -> Vec<String> {
        let all = self.all();
        let frame = all.split("\x1b[H").filter(|frame| frame.contains("\x1b[J")).last().unwrap_or_default().to_owned();
        let frame = frame.split("\x1b[J").next().unwrap_or_default();
        frame.split("\r\n").map(plain).collect()
    }

    /// Waits for a picture of which this is true, and returns it.
    async fn shows(&self, what: &str, is: impl Fn(&[String]) -> bool) -> Vec<String> {
        eventually(secs(20), what, || async {
            let lines = self.lines();
            if is(&lines) { Ok(lines) } else { Err(lines.join("\n")) }
        })
        .await
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.child.get_mut().kill().ok();
        self.child.get_mut().wait().ok();
    }
}

fn plain(line: &str) -> String {
    let mut text = String::new();
    for (nth, part) in line.split("\x1b[").enumerate() {
        let (order, rest) =
            if nth == 0 { ("", part) } else { part.split_at(part.find(char::is_alphabetic).map_or(0, |at| at + 1)) };
        if order.trim_end_matches('m').split(';').any(|one| one == "7") && text.is_empty() {
            text.push('>');
        }
        text += rest;
    }
    text.trim_end().to_owned()
}

fn last(lines: &[String]) -> &str {
    lines.last().map_or("", String::as_str)
}

/// The line of the chosen row.
fn chosen(lines: &[String]) -> Option<usize> {
    lines.iter().position(|line| line.starts_with('>'))
}

#[tokio::test]
async fn the_keys_of_top_choose_search_explain_and_quit() {
    if !have("script", "bsdutils") || !have("stty", "coreutils") {
        return;
    }
    let demo = demo().await;
    demo.first("jobs", |job| job["state"] == "in_progress").await;
    let mut top = Terminal::start(&demo.url);
    let has = |lines: &[String], name: &str| lines.iter().any(|line| line.trim_start_matches('>').starts_with(name));
    let first = top
        .shows("all pools are drawn, and the first row is chosen", |lines| {
            last(lines) == "? keys" && has(lines, "warm ") && has(lines, "linux-x64 ") && chosen(lines).is_some()
        })
        .await;
    let at = chosen(&first).expect("a row");
    top.press("?");
    top.shows("the keys are told", |lines| last(lines).starts_with("q quit   arrows or j k choose")).await;
    top.press("?");

    top.press("\x1b[B");
    top.shows("an arrow moves the choice down", |lines| chosen(lines) == Some(at + 1)).await;
    top.press("\x1b[A");
    top.shows("and up again", |lines| chosen(lines) == Some(at)).await;

    top.press("p");
    top.shows("one pool is left", |lines| {
        last(lines) == "pool linux-arm64   esc all"
            && has(lines, "linux-arm64 ")
            && !has(lines, "linux-x64 ")
            && !has(lines, "warm ")
    })
    .await;
    top.press("pp");
    top.shows("the next pools", |lines| last(lines) == "pool warm   esc all" && !has(lines, "linux-arm64 ")).await;
    top.press("p");
    top.shows("all pools again", |lines| last(lines) == "? keys" && has(lines, "linux-arm64 ")).await;

    // A `q` and a `p` that are searched for are text.
    top.press("/qp");
    top.shows("what is typed is shown", |lines| last(lines) == "/qp   esc all" && !has(lines, "warm ")).await;
    top.press("\x7f\x7fLINUX-X64\r");
    top.shows("rows with the text are left", |lines| {
        last(lines) == "/LINUX-X64   esc all" && has(lines, "linux-x64 ") && !has(lines, "warm ")
    })
    .await;

    top.press("\r");
    top.shows("enter explains the chosen row, a pool", |lines| {
        last(lines) == "arrows scroll   any other key goes back" && lines.first().is_some_and(|line| line.contains("linux-x64"))
    })
    .await;
    top.press("x");
    top.shows("another key goes back", |lines| last(lines) == "/LINUX-X64   esc all").await;
    top.press("\x1b");
    top.shows("escape shows all", |lines| last(lines) == "? keys" && has(lines, "warm ")).await;

    top.press("q");
    eventually(secs(20), "q ends it", || async {
        let ended = top.child.borrow_mut().try_wait().map_err(|e| e.to_string())?;
        same(ended.and_then(|status| status.code()), Some(0))
    })
    .await;
    let all = top.all();
    assert!(all.contains("\x1b[?1049h") && all.ends_with("\x1b[?25h\x1b[?1049l"), "the terminal is as it was before");
}
