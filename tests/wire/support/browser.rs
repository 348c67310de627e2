//! A headless Chromium. It is driven by the W3C WebDriver protocol, and by Chromium's DevTools protocol for what WebDriver
//! cannot do.
//! <https://www.w3.org/TR/webdriver2/>, <https://chromedevtools.github.io/devtools-protocol/>

use std::path::PathBuf;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::tools::{Port, Running, have, skip};
use super::{eventually, secs};

/// One browser with one window.
pub struct Browser {
    session: String,
    http: reqwest::Client,
    _driver: Running,
    _port: Port,
}

/// A judge of accessibility that others wrote.
/// <https://github.com/dequelabs/axe-core>
pub struct Axe(String);

impl Axe {
    /// None: it is not installed, so the test is skipped.
    pub fn read() -> Option<Axe> {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/page/node_modules/axe-core/axe.min.js");
        let text = std::fs::read_to_string(path).ok();
        if text.is_none() {
            skip("there is no tests/page/node_modules, in which axe is; `make setup` installs it (it needs nodejs and npm)");
        }
        text.map(Axe)
    }
}

impl Browser {
    /// Starts a browser. None: the machine has none, so the test is skipped.
    pub async fn start() -> Option<Browser> {
        if !have("chromedriver", "chromium chromium-driver") || !have("chromium", "chromium chromium-driver") {
            return None;
        }
        let port = Port::reserve();
        let mut command = Command::new("chromedriver");
        command.arg(format!("--port={}", port.number())).stdout(Stdio::null()).stderr(Stdio::null());
        let driver = Running(command.spawn().expect("chromedriver starts"));
        let (http, url) = (reqwest::Client::new(), format!("http://127.0.0.1:{}", port.number()));
        eventually(secs(20), "chromedriver answers", || async {
            let answer = http.get(format!("{url}/status")).send().await;
            answer.map(drop).map_err(|e| e.to_string())
        })
        .await;
        // The sandbox needs a user namespace, which containers do not have. Only our own page is opened.
        let args = [
            "--headless=new",
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--disable-gpu",
            "--no-first-run",
            "--disable-component-update",
        ];
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": {"args": args},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }}});
        let made: Value =
            http.post(format!("{url}/session")).json(&wanted).send().await.expect("an answer").json().await.expect("JSON");
        let id = made["value"]["sessionId"].as_str().unwrap_or_else(|| panic!("no session: {made}")).to_owned();
        Some(Browser { session: format!("{url}/session/{id}"), http, _driver: driver, _port: port })
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        let answer = self.http.post(format!("{}/{path}", self.session)).json(&body).send().await.expect("chromedriver answers");
        let mut said: Value = answer.json().await.expect("JSON");
        assert!(said["value"]["error"].is_null(), "{path} {body}: {said}");
        said["value"].take()
    }

    /// Opens a page.
    pub async fn open(&self, url: &str) {
        self.post("url", json!({ "url": url })).await;
    }

    /// The value of a JavaScript expression.
    pub async fn eval(&self, expression: &str) -> Value {
        self.post("execute/sync", json!({ "script": format!("return {expression}"), "args": [] })).await
    }

    /// A DevTools command.
    pub async fn devtools(&self, command: &str, params: Value) -> Value {
        self.post("goog/cdp/execute", json!({ "cmd": command, "params": params })).await
    }

    /// The value of a JavaScript expression, or what its promise comes to. The page's own policy for scripts does not apply.
    pub async fn run(&self, expression: &str) -> Value {
        let params = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let mut said = self.devtools("Runtime.evaluate", params).await;
        assert!(said["exceptionDetails"].is_null(), "{said}");
        said["result"]["value"].take()
    }

    /// What axe finds wrong with the page as it is: each rule with the elements that break it.
    /// <https://github.com/dequelabs/axe-core/blob/develop/doc/API.md>
    pub async fn judged(&self, axe: &Axe) -> Vec<String> {
        if self.run("typeof axe").await == "undefined" {
            self.run(&format!("{}; 1", axe.0)).await;
        }
        let asked = "axe.run(document, { resultTypes: ['violations'] }).then(r => r.violations.map(v => v.id + ': ' + v.help + ' at ' + \
                     v.nodes.map(n => n.target.join(' ') + ' (' + (n.any[0]?.message ?? '') + ')').slice(0, 5).join('; ')))";
        serde_json::from_value(self.run(asked).await).expect("a list of texts")
    }

    /// Opens another tab, as a person does who types an address there, and goes on in it.
    pub async fn tab(&self) {
        let made = self.post("window/new", json!({ "type": "tab" })).await;
        self.post("window", json!({ "handle": made["handle"] })).await;
    }

    /// Everything that was logged since the last call: by `browser` (the console) or by `performance` (the network).
    pub async fn log(&self, kind: &str) -> Vec<Value> {
        self.post("se/log", json!({ "type": kind })).await.as_array().cloned().unwrap_or_default()
    }

    /// Shows pages in the scheme `light` or `dark`, with this width and height.
    pub async fn look(&self, scheme: &str, width: u32, height: u32) {
        let phone = width < 600;
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone });
        self.devtools("Emulation.setDeviceMetricsOverride", metrics).await;
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.devtools("Emulation.setEmulatedMedia", features).await;
    }

    /// Keeps a picture of the whole page among the build's temporary files, and returns its path.
    pub async fn keep(&self, name: &str) -> PathBuf {
        let shot = self.devtools("Page.captureScreenshot", json!({ "captureBeyondViewport": true })).await;
        let bytes = BASE64_STANDARD.decode(shot["data"].as_str().expect("a picture")).expect("base64");
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::write(&path, bytes).expect("it can be written");
        path
    }

    /// Ends the session, and the browser with it.
    pub async fn end(self) {
        self.http.delete(&self.session).send().await.ok();
    }
}
