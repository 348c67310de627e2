//! `muster demo` as a child process: the real controller, the real page, and a simulated world.

use std::process::{Command, Stdio};

use serde_json::Value;

use super::tools::{Port, Running};
use super::{eventually, secs};

/// A demo that runs until the end of the test.
pub struct Demo {
    /// The address of the live page, without a slash at its end.
    pub url: String,
    running: Running,
    _port: Port,
}

/// Starts a demo, and waits until it answers.
pub async fn demo() -> Demo {
    let port = Port::reserve();
    let mut command = Command::new(env!("CARGO_BIN_EXE_muster"));
    command.args(["demo", "--port", &port.number().to_string(), "--speed", "20"]).stdout(Stdio::null()).stderr(Stdio::null());
    let running = Running(command.spawn().expect("the binary starts"));
    let url = format!("http://127.0.0.1:{}", port.number());
    eventually(secs(20), "the demo answers", || async {
        reqwest::get(format!("{url}/healthz")).await.map(drop).map_err(|e| e.to_string())
    })
    .await;
    Demo { url, running, _port: port }
}

impl Demo {
    /// Ends it, so that nobody answers any more.
    pub fn end(&mut self) {
        self.running.0.kill().expect("it can be ended");
    }

    /// Waits until the API's list `what` has an item of which this is true, and returns the item.
    pub async fn first(&self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        eventually(secs(120), &format!("the list of {what} has the item"), || async {
            let answer = reqwest::get(format!("{}/api/v1/{what}", self.url)).await.map_err(|e| e.to_string())?;
            let list: Value = answer.json().await.map_err(|e| e.to_string())?;
            let found = list["items"].as_array().and_then(|items| items.iter().find(|item| is(item)).cloned());
            found.ok_or_else(|| list.to_string().chars().take(500).collect::<String>())
        })
        .await
    }
}
