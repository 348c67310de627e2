//! The compiled binary as a child process: its manifests, its listeners, its end, and its log.

use std::fs::{self, File};
use std::io::{Seek as _, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use hmac::{Hmac, Mac as _};
use serde_json::Value;
use sha2::Sha256;
use tempfile::TempDir;

use super::github::key::{self, Key};
use super::github::{APP_ID, Double};
use super::moto::{MUSTER_KEY, Moto, OPERATOR_KEY, SECRET_ACCESS_KEY, World, env};
pub use super::pool::Pool;
use super::tools::Port;
use super::{PATIENCE, eventually, secs};

/// The secret that signs the webhooks.
pub const WEBHOOK_SECRET: &str = "it's-a-test-webhook-secret";
/// The token for orders.
pub const ADMIN_TOKEN: &str = "it's-a-test-admin-token";
/// The name of the App in the manifests.
pub const APP: &str = "main";
/// The name of the GitHubToken in the manifests.
pub const TOKEN: &str = "of-enterprise";

/// The seal that muster's webhook gives a message while `secret` is the App's first secret: an HMAC, with a key by HKDF
/// (RFC 5869).
pub fn seal(secret: &str, body: &str) -> String {
    let mac = |key: &[u8], parts: &[&[u8]]| {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
        parts.iter().for_each(|part| mac.update(part));
        mac.finalize().into_bytes()
    };
    let extracted = mac(&[0; 32], &[secret.as_bytes()]);
    let key = mac(&extracted, &[b"muster: seal of a job queue message, version 1", &[1]]);
    format!("v1={}", hex::encode(mac(&key, &[body.as_bytes()])))
}

fn app_yaml(github: &Double, name: &str, webhook_secret: &str) -> String {
    format!(
        "apiVersion: muster/v1\nkind: GitHubApp\nmetadata:\n  name: {name}\nspec:\n  appId: {APP_ID}\n  \
         privateKey: file:app.pem\n  webhookSecrets: [{webhook_secret}]\n  apiUrl: {}\n",
        github.url()
    )
}

/// The binary, whether it runs or not. Dropping it kills the process. A failing test prints the end of the log.
pub struct Muster {
    dir: TempDir,
    child: Option<Child>,
    env: Vec<(String, String)>,
    args: Vec<String>,
    world: World,
    http: reqwest::Client,
    webhook_port: Port,
    admin_port: Port,
}

/// The binary under test: the one that was just compiled, or the one that `MUSTER_TEST_BINARY` names, such as an installed
/// one.
fn binary() -> PathBuf {
    std::env::var_os("MUSTER_TEST_BINARY").map_or_else(|| env!("CARGO_BIN_EXE_muster").into(), PathBuf::from)
}

impl Muster {
    /// Writes the manifests, and sends the double's webhooks to the binary. The binary does not run yet.
    pub fn prepare(moto: &Moto, github: &Double, world: &World, pools: &[Pool]) -> Muster {
        let dir = tempfile::tempdir().expect("a directory can be made");
        let (webhook_port, admin_port) = (Port::reserve(), Port::reserve());
        let mut env = env(moto.url(), MUSTER_KEY);
        env.push(("MUSTER_TEST_WEBHOOK_SECRET".into(), WEBHOOK_SECRET.into()));
        env.push(("MUSTER_TOKEN".into(), ADMIN_TOKEN.into()));
        env.push(("MUSTER_CONTROLLER".into(), format!("http://127.0.0.1:{}", admin_port.number())));
        // Everything is logged, because the tests look for secrets in the log.
        env.push(("MUSTER_LOG".into(), std::env::var("MUSTER_TEST_LOG").unwrap_or_else(|_| "trace".into())));
        let muster = Muster {
            env,
            args: Vec::new(),
            child: None,
            world: world.clone(),
            http: reqwest::Client::new(),
            webhook_port,
            admin_port,
            dir,
        };
        fs::create_dir(muster.manifests()).expect("a directory can be made");
        fs::write(muster.manifests().join("app.pem"), key::private_key_pem(Key::First)).expect("the key can be written");
        muster.write("controller.yaml", &muster.controller_yaml());
        muster.write("github.yaml", &app_yaml(github, APP, "env:MUSTER_TEST_WEBHOOK_SECRET"));
        pools.iter().for_each(|pool| muster.write_pool(pool));
        github.send_webhooks_to(&muster.webhook_url(), WEBHOOK_SECRET);
        muster
    }

    /// Calls [`Muster::prepare`], [`Muster::spawn`] and [`Muster::ready`].
    pub async fn start(moto: &Moto, github: &Double, world: &World, pools: &[Pool]) -> Muster {
        let mut muster = Muster::prepare(moto, github, world, pools);
        muster.spawn();
        muster.ready().await;
        muster
    }

    fn controller_yaml(&self) -> String {
        let World { cluster, jobs, dead_letters, ec2_events, bucket, .. } = &self.world;
        format!(
            "apiVersion: muster/v1\nkind: Controller\nmetadata:\n  name: {cluster}\nspec:\n  region: {}\n  \
             queues: {{jobs: '{jobs}', deadLetters: '{dead_letters}', ec2Events: '{ec2_events}'}}\n  bucket: {bucket}\n  sync: {{every: 0s}}\n  \
             listen: {{webhook: '127.0.0.1:{}', admin: '127.0.0.1:{}', adminToken: 'env:MUSTER_TOKEN'}}\n  \
             intervals: {{instances: 300ms, runners: 500ms, secrets: 2s, plan: 1s, deliveries: 10m, settle: 500ms}}\n  \
             limits: {{ssmPutPerSecond: 200, jitPerMinute: 6000, createFleetPerSecond: 5}}\n",
            super::moto::REGION,
            self.webhook_port.number(),
            self.admin_port.number(),
        )
    }

    /// The directory of the manifests.
    pub fn manifests(&self) -> PathBuf {
        self.dir.path().join("manifests")
    }

    /// Writes or replaces a file among the manifests.
    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.manifests().join(name), text).expect("a manifest can be written");
    }

    /// Writes the manifest of one more GitHubApp, and the file with its webhook secret. The double plays one App, so the id and the key
    /// are those of [`APP`].
    pub fn write_app(&self, github: &Double, name: &str, webhook_secret: &str) {
        let secret = format!("{name}-secret");
        self.write(&secret, webhook_secret);
        self.write(&format!("{name}.yaml"), &app_yaml(github, name, &format!("file:{secret}")));
    }

    /// Writes or replaces the manifest of a GitHubToken, and the file with the token.
    pub fn write_token(&self, github: &Double, token: &str) {
        self.write("token", token);
        self.write(
            "token.yaml",
            &format!(
                "apiVersion: muster/v1\nkind: GitHubToken\nmetadata:\n  name: {TOKEN}\nspec:\n  token: file:token\n  \
                 webhookSecrets: [env:MUSTER_TEST_WEBHOOK_SECRET]\n  apiUrl: {}\n",
                github.url()
            ),
        );
    }

    /// Writes or replaces a pool's manifest.
    pub fn write_pool(&self, pool: &Pool) {
        self.write(&format!("pool-{}.yaml", pool.name()), &pool.yaml(&self.world));
    }

    /// Removes a pool's manifest.
    pub fn remove_pool(&self, pool: &Pool) {
        fs::remove_file(self.manifests().join(format!("pool-{}.yaml", pool.name()))).expect("the pool has a manifest");
    }

    /// Adds arguments to `muster run`, such as `--role webhook`.
    pub fn args(&mut self, args: &[&str]) {
        self.args.extend(args.iter().map(|&a| a.to_owned()));
    }

    /// Starts the process, and does not wait until it is ready.
    pub fn spawn(&mut self) {
        assert!(self.child.is_none(), "muster runs already");
        let log = File::options().create(true).append(true).open(self.log_path()).expect("the log can be opened");
        let copy = log.try_clone().expect("a handle can be copied");
        let child = Command::new(binary())
            .arg("run")
            .arg("--manifests")
            .arg(self.manifests())
            .args(&self.args)
            .envs(self.env.iter().cloned())
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(copy)
            .spawn()
            .expect("the binary starts");
        self.child = Some(child);
    }

    /// Waits until `/readyz` answers 200. Fails at once if the process ends.
    pub async fn ready(&mut self) {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.as_mut().and_then(|c| c.try_wait().expect("the process can be asked")) {
                panic!("muster ended with {status} before it was ready:\n{}", self.logs());
            }
            if self.status("/readyz").await == 200 {
                return;
            }
            assert!(start.elapsed() < secs(30) * PATIENCE, "muster was not ready:\n{}", self.logs());
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }

    /// Changes a piece of the Controller's manifest, which must exist.
    pub fn change_controller(&self, from: &str, to: &str) {
        let path = self.manifests().join("controller.yaml");
        let text = fs::read_to_string(&path).expect("the manifest is there");
        assert!(text.contains(from), "`{from}` is not in:\n{text}");
        fs::write(path, text.replacen(from, to, 1)).expect("a manifest can be written");
    }

    /// Sets a variable of the process's environment.
    pub fn set_env(&mut self, name: &str, value: &str) {
        self.env.retain(|(known, _)| known != name);
        self.env.push((name.into(), value.into()));
    }

    /// The environment of a subcommand. Subcommands that only look are an operator's, who has other permissions.
    fn env_of(&self, args: &[&str]) -> Vec<(String, String)> {
        let looks = matches!(args.first(), Some(&("cost" | "doctor" | "plan" | "replay" | "validate")));
        let key = |(name, value): &(String, String)| match &**name {
            "AWS_ACCESS_KEY_ID" if looks && value == MUSTER_KEY => (name.clone(), OPERATOR_KEY.to_owned()),
            _ => (name.clone(), value.clone()),
        };
        // What a command says is compared with what it should say.
        self.env.iter().filter(|(name, _)| name != "MUSTER_LOG").map(key).collect()
    }

    /// Starts a subcommand. It is killed when the value is dropped.
    pub fn start_command(&self, args: &[&str]) -> tokio::process::Child {
        let mut command = tokio::process::Command::new(binary());
        command.args(args).envs(self.env_of(args)).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.kill_on_drop(true).spawn().expect("the binary starts")
    }

    /// Runs a subcommand that asks questions. `input` is what the user types. Returns the exit code, standard output and
    /// standard error.
    pub async fn command_with_input(&self, args: &[&str], input: &str) -> (i32, String, String) {
        let mut typed = tempfile::tempfile().expect("a file can be made");
        typed.write_all(input.as_bytes()).and_then(|()| typed.rewind()).expect("a file can be written");
        let mut command = tokio::process::Command::new(binary());
        command.args(args).envs(self.env_of(args)).stdin(typed).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.kill_on_drop(true).spawn().expect("the binary starts");
        Muster::outcome(child).await
    }

    /// Waits until a subcommand ends. Returns the exit code, standard output and standard error.
    pub async fn outcome(child: tokio::process::Child) -> (i32, String, String) {
        let output = tokio::time::timeout(secs(300), child.wait_with_output()).await.expect("it ends within five minutes");
        let output = output.expect("its output can be read");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
    }

    /// Runs a subcommand to its end. Returns the exit code, standard output and standard error.
    pub async fn command(&self, args: &[&str]) -> (i32, String, String) {
        let run = tokio::process::Command::new(binary()).args(args).envs(self.env_of(args)).stdin(Stdio::null()).output();
        let output = tokio::time::timeout(secs(60) * PATIENCE, run).await.expect("it ends").expect("the binary starts");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
    }

    /// Sends SIGKILL. For muster, this is as if the machine died.
    pub fn kill9(&mut self) {
        let mut child = self.child.take().expect("muster runs");
        child.kill().expect("the process can be killed");
        child.wait().expect("the process can be waited for");
    }

    /// Sends SIGTERM, and returns the status of the process's end.
    pub async fn terminate(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("muster runs");
        let sent = Command::new("kill").arg("-TERM").arg(child.id().to_string()).status().expect("kill exists");
        assert!(sent.success(), "SIGTERM could not be sent");
        eventually(secs(30), "muster ends after SIGTERM", || {
            let ended = child.try_wait().expect("the process can be asked");
            async move { ended.ok_or_else(|| "it still runs".to_owned()) }
        })
        .await
    }

    /// Starts the process again on the same ports, after [`Muster::kill9`] or [`Muster::terminate`].
    pub async fn restart(&mut self) {
        self.spawn();
        self.ready().await;
    }

    /// The id of the process.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("muster runs").id()
    }

    /// Whether the process runs.
    pub fn runs(&mut self) -> bool {
        self.child.as_mut().is_some_and(|c| c.try_wait().expect("the process can be asked").is_none())
    }

    /// The resident memory in kB (on Linux).
    pub fn resident_kb(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.as_ref()?.id())).ok()?;
        status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?.split_whitespace().next()?.parse().ok()
    }

    // ------------------------------------------------------------------------------------------- what it says

    /// The URL of the webhook, such as `http://127.0.0.1:PORT/webhook`.
    pub fn webhook_url(&self) -> String {
        format!("http://127.0.0.1:{}/webhook", self.webhook_port.number())
    }

    /// A URL of the admin listener.
    pub fn admin_url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.admin_port.number())
    }

    /// The status of a page of the admin listener; 0 if there is no answer.
    pub async fn status(&self, path: &str) -> u16 {
        let request = self.http.get(self.admin_url(path)).timeout(secs(5));
        request.send().await.map_or(0, |answer| answer.status().as_u16())
    }

    /// The JSON with which the admin listener answers 503.
    pub async fn refusal(&self, path: &str) -> Value {
        let answer = self.http.get(self.admin_url(path)).timeout(secs(10)).send().await.expect("an answer");
        assert_eq!(answer.status().as_u16(), 503, "{path}");
        answer.json().await.expect("JSON")
    }

    pub async fn get(&self, path: &str) -> String {
        let request = self.http.get(self.admin_url(path)).timeout(secs(10));
        let answer = request.send().await.unwrap_or_else(|e| panic!("{path}: {e}\n{}", self.logs()));
        assert_eq!(answer.status().as_u16(), 200, "{path}");
        answer.text().await.expect("the page is text")
    }

    /// A page of the admin listener, as text.
    pub async fn page(&self, path: &str) -> String {
        self.get(path).await
    }

    /// The items of `/api/v1/pools`, `jobs` or `runners`.
    pub async fn api(&self, what: &str) -> Vec<Value> {
        let text = self.get(&format!("/api/v1/{what}")).await;
        let mut said: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{what}: {e} in {text}"));
        match said["items"].take() {
            Value::Array(items) => items,
            other => panic!("{what}: `items` is {other}"),
        }
    }

    /// The text of `/metrics`.
    pub async fn metrics(&self) -> String {
        self.get("/metrics").await
    }

    /// The sum of a metric over all label sets that contain `labels`, such as `outcome="ok"`; 0 if there are none.
    pub async fn metric(&self, name: &str, labels: &str) -> f64 {
        let line = |l: &str| {
            let rest = l.strip_prefix(name)?;
            (rest.starts_with(['{', ' ']) && rest.contains(labels)).then(|| rest.rsplit(' ').next()?.parse::<f64>().ok())?
        };
        self.metrics().await.lines().filter_map(line).sum()
    }

    /// Waits until [`Muster::metric`] is `wanted`.
    ///
    /// muster counts a call after it has read the answer. So a test that saw the call at the other end may be ahead of the
    /// count.
    pub async fn metric_becomes(&self, name: &str, labels: &str, wanted: f64) {
        let what = format!("{name}{{{labels}}} is {wanted}");
        super::eventually(super::secs(30), &what, || async { super::same(self.metric(name, labels).await, wanted) }).await;
    }

    fn log_path(&self) -> PathBuf {
        self.dir.path().join("muster.log")
    }

    /// The log of all processes so far.
    pub fn logs(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Panics if any of these texts was logged.
    pub fn assert_never_logged(&self, secrets: &[impl AsRef<str>]) {
        let logs = self.logs();
        for secret in secrets.iter().map(AsRef::as_ref).filter(|s| !s.is_empty()) {
            let found = logs.lines().find(|line| line.contains(secret));
            assert!(found.is_none(), "a secret or a body was logged: {}", found.unwrap_or_default());
        }
    }

    /// Panics if a credential was logged, if not everything was logged, or if a line has a key twice.
    pub fn assert_no_secrets_logged(&self, github: &Double) {
        self.assert_never_logged(&secrets(github));
        let logs = self.logs();
        let everything = logs.contains(r#""level":"TRACE""#) || std::env::var_os("MUSTER_TEST_LOG").is_some();
        assert!(everything, "nothing was logged at `trace`, so this says nothing of secrets");
        for line in logs.lines() {
            let Ok(LogKeys(mut keys)) = serde_json::from_str(line) else { continue };
            let all = keys.len();
            keys.sort();
            keys.dedup();
            assert_eq!(keys.len(), all, "a key stands twice in this line, and a reader keeps one of the two: {line}");
        }
    }
}

/// The keys of a line of the log, as often as they stand there.
struct LogKeys(Vec<String>);

impl<'de> serde::Deserialize<'de> for LogKeys {
    fn deserialize<D: serde::Deserializer<'de>>(line: D) -> Result<LogKeys, D::Error> {
        struct Line;
        impl<'de> serde::de::Visitor<'de> for Line {
            type Value = LogKeys;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<LogKeys, A::Error> {
                let mut keys = Vec::new();
                while let Some((key, serde::de::IgnoredAny)) = map.next_entry::<String, _>()? {
                    keys.push(key);
                }
                Ok(LogKeys(keys))
            }
        }
        line.deserialize_map(Line)
    }
}

/// Every credential of a scene: the double's tokens and key, the webhook secret, the token for orders, and the AWS secret.
pub fn secrets(github: &Double) -> Vec<String> {
    let ours = [WEBHOOK_SECRET, SECRET_ACCESS_KEY, ADMIN_TOKEN].map(str::to_owned);
    github.secrets().into_iter().chain(ours).filter(|secret| !secret.is_empty()).collect()
}

impl Drop for Muster {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().ok();
            child.wait().ok();
        }
        if std::thread::panicking() {
            let logs = self.logs();
            let test = std::thread::current().name().unwrap_or("test").to_owned();
            let kept = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{test}.log"));
            fs::write(&kept, &logs).ok();
            let lines: Vec<&str> = logs.lines().collect();
            let end = lines[lines.len().saturating_sub(20)..].join("\n");
            eprintln!("---- the end of muster's log; all of it: {} ----\n{end}\n----", kept.display());
        }
    }
}
