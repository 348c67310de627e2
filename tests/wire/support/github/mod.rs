//! A double of GitHub, as far as muster needs it. It is a warp server that keeps installations, runners and jobs, gives
//! queued jobs to matching runners, and signs and sends the webhooks. GitHub's own description ([`openapi`]) judges every
//! request and answer. When anything did not conform to it, dropping the double fails the test.

pub mod app_manifests;
pub mod hooks;
pub mod key;
pub mod openapi;
mod routes;
mod runs;
mod statuses;
mod versions;
pub mod workflows;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::{Value, json};

use super::now_ms;
use hooks::Hooks;
use key::Key;
use openapi::Api;

pub const APP_ID: u64 = 4711;
/// The resources that GitHub counts separately. <https://docs.github.com/en/rest/rate-limit/rate-limit>
pub const RESOURCES: [&str; 2] = ["core", "actions_runner_registration"];

/// How many requests an hour GitHub grants an installation.
pub fn hourly_limit(resource: &str) -> u32 {
    if resource == "core" { 5_000 } else { 10_000 }
}

/// What GitHub does instead of its usual answer, when a test orders it.
#[derive(Clone, Debug)]
pub enum Fault {
    /// GitHub does nothing, and answers with this status.
    Status(u16),
    /// GitHub does what was asked, but answers only after this long.
    Stall(Duration),
    /// GitHub does nothing, and does not answer for this long, as if the request had been lost.
    Swallow(Duration),
    /// GitHub does what was asked, and then answers 502.
    LoseAnswer,
    /// GitHub does nothing, and answers 403 with this `retry-after`, in seconds.
    SecondaryLimit(u32),
    /// GitHub answers with this body. It proves that the judge catches wrong answers.
    Body(Value),
}

#[derive(Clone, Debug)]
struct FaultRule {
    route: String,
    times: u32,
    fault: Fault,
}

#[derive(Clone, Debug)]
pub struct Group {
    pub id: u64,
    /// The name, such as `Default`.
    pub name: String,
    /// The repositories that the group admits, as `OWNER/NAME`. None: all.
    pub selected: Option<Vec<String>>,
    /// Whether the group admits public repositories.
    pub public: bool,
}

impl Group {
    fn open(id: u64, name: &str) -> Group {
        Group { id, name: name.into(), selected: None, public: false }
    }
}

/// A registration of a runner.
#[derive(Clone, Debug)]
pub struct Runner {
    pub id: u64,
    /// The scope where it is registered: `org/acme`, `repo/acme/app` or `enterprise/big`.
    pub scope: String,
    pub name: String,
    pub labels: Vec<String>,
    /// The id of its runner group.
    pub group: u64,
    /// Whether the runner is connected.
    pub online: bool,
    /// Whether the runner takes one job and is then removed.
    pub ephemeral: bool,
    /// The job that runs on it.
    pub job: Option<u64>,
}

#[derive(Clone, Debug)]
pub struct Job {
    pub id: u64,
    /// The id of the workflow run.
    pub run: u64,
    /// The repository, as `OWNER/NAME`.
    pub repo: String,
    /// The job's `runs-on`.
    pub labels: Vec<String>,
    /// `queued`, `in_progress` or `completed`.
    pub status: String,
    /// The conclusion. None: the job is not completed.
    pub conclusion: Option<String>,
    /// The id and the name of the runner that took it.
    pub runner: Option<(u64, String)>,
    /// Whether a concurrency group, or something like it, holds the job back. It is queued then, but no runner gets it.
    pub held: bool,
    /// The attempt of the run that it belongs to: 1 for the first.
    pub attempt: u32,
    /// Whether a later attempt of the run has a job in its place.
    pub replaced: bool,
    /// When it was queued, taken and completed, in milliseconds since 1970.
    pub at_ms: [u64; 3],
}

#[derive(Debug)]
struct Installation {
    id: u64,
    /// `org`, or `repo` for a repository of a user or an organisation. GitHub has no Apps that manage an enterprise's
    /// runners.
    kind: &'static str,
    account: String,
}

/// What the App asks for, and what the accounts have granted.
#[derive(Clone, Debug)]
pub struct App {
    /// The permissions that the App asks for.
    pub permissions: Value,
    /// The events that the App hears of.
    pub events: Vec<&'static str>,
    /// The permissions of its installations. An owner accepts new permissions later than the App asks for them.
    pub granted: Value,
    /// The configuration of its webhook. None: it has no webhook.
    pub hook: Option<Value>,
    /// Whether its installations are suspended.
    pub suspended: bool,
}

impl Default for App {
    fn default() -> App {
        let permissions = json!({ "organization_self_hosted_runners": "write", "actions": "read" });
        let hook = json!({
            "url": "https://ci.example.com/webhook", "content_type": "json", "insecure_ssl": "0", "secret": "********",
        });
        App { granted: permissions.clone(), permissions, events: vec!["workflow_job"], hook: Some(hook), suspended: false }
    }
}

#[derive(Default)]
struct State {
    installations: Vec<Installation>,
    /// The installation of each token, and the end of the token's life in milliseconds since 1970.
    tokens: BTreeMap<String, (u64, u64)>,
    /// Personal access tokens (classic), with their scopes.
    personal: BTreeMap<String, Vec<&'static str>>,
    /// The slug of the enterprise that all organisations belong to.
    enterprise: Option<String>,
    /// The only key that may sign JWTs.
    key: Key,
    groups: BTreeMap<String, Vec<Group>>,
    runners: BTreeMap<u64, Runner>,
    jobs: BTreeMap<u64, Job>,
    /// How many requests are left, and when the hour ends (in seconds since 1970), by account and resource. The account of
    /// the App itself is empty.
    windows: BTreeMap<(String, &'static str), (u32, u64)>,
    next_id: u64,
    calls: BTreeMap<String, u64>,
    faults: Vec<FaultRule>,
    violations: Vec<String>,
    lie_about_busy: bool,
    hidden: BTreeSet<u64>,
    killed: Vec<u64>,
    minted: Vec<String>,
    hooks: Hooks,
    workflows: workflows::Workflows,
    /// Every status that was written on a commit: the repository, the commit and GitHub's answer.
    statuses: Vec<(String, String, Value)>,
    app: App,
    versions: versions::Versions,
    /// The manifests of Apps that somebody has made and nobody has fetched, by their code, each with the owner.
    manifests: BTreeMap<String, (String, Value)>,
}

impl State {
    fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// The window in which a request counts. It is full again when its hour is over.
    fn window(&mut self, account: &str, resource: &'static str) -> &mut (u32, u64) {
        let now_s = now_ms() / 1000;
        let full = (hourly_limit(resource), now_s + 3600);
        let window = self.windows.entry((account.to_lowercase(), resource)).or_insert(full);
        if now_s >= window.1 {
            *window = full;
        }
        window
    }
}

/// A handle to the double. It may be cloned freely.
#[derive(Clone)]
pub struct Double {
    addr: SocketAddr,
    api: Arc<Api>,
    state: Arc<Mutex<State>>,
}

/// The running double. Dropping it ends it, and fails the test if GitHub's description was violated.
pub struct GitHub {
    double: Double,
    server: tokio::task::JoinHandle<()>,
}

impl Deref for GitHub {
    type Target = Double;
    fn deref(&self) -> &Double {
        &self.double
    }
}

impl Drop for GitHub {
    fn drop(&mut self) {
        self.server.abort();
        if !std::thread::panicking() {
            self.assert_clean();
        }
    }
}

impl GitHub {
    /// Starts a double whose App is installed in the organisation `acme`.
    pub async fn start() -> GitHub {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port on the loopback");
        let addr = listener.local_addr().expect("a bound listener has an address");
        let double = Double { addr, api: Arc::new(Api::load()), state: Arc::default() };
        double.lock().next_id = 1000;
        double.install("org", "acme");
        let server = tokio::spawn(warp::serve(routes::filter(double.clone())).incoming(listener).run());
        GitHub { double, server }
    }
}

impl Double {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    // --------------------------------------------------------------------------------------------- the world

    /// Installs the App on an account. `kind` is `org`, or `repo` for an `owner`. The runner groups are `Default` and
    /// `big`.
    pub fn install(&self, kind: &'static str, account: &str) -> u64 {
        let mut state = self.lock();
        let id = state.id();
        state.installations.push(Installation { id, kind, account: account.to_owned() });
        let groups = ["Default", "big"].map(|name| Group::open(state.id(), name));
        state.groups.insert(format!("{kind}/{account}"), groups.into());
        id
    }

    /// All organisations belong to this enterprise from now on. Its runner groups are `Default` and `big`.
    pub fn found_enterprise(&self, slug: &str) {
        let mut state = self.lock();
        let groups = ["Default", "big"].map(|name| Group::open(state.id(), name));
        state.groups.insert(format!("enterprise/{slug}"), groups.into());
        state.enterprise = Some(slug.to_owned());
    }

    /// Makes a personal access token (classic) with these scopes. Its user owns everything.
    pub fn make_token(&self, scopes: &[&'static str]) -> String {
        let mut state = self.lock();
        let token = format!("ghp_{:036}", state.id());
        state.personal.insert(token.clone(), scopes.to_vec());
        state.minted.push(token.clone());
        token
    }

    /// The token is no longer valid.
    pub fn revoke_token(&self, token: &str) {
        self.lock().personal.remove(token);
    }

    pub fn app(&self, change: impl FnOnce(&mut App)) {
        change(&mut self.lock().app);
    }

    /// Adds a runner group to a scope such as `org/acme`.
    pub fn add_group(&self, scope: &str, name: &str) -> u64 {
        let mut state = self.lock();
        let id = state.id();
        state.groups.entry(scope.into()).or_default().push(Group::open(id, name));
        id
    }

    /// Changes what a runner group admits, as an administrator may.
    pub fn change_group(&self, scope: &str, name: &str, change: impl FnOnce(&mut Group)) {
        let mut state = self.lock();
        change(state.groups.get_mut(scope).and_then(|all| all.iter_mut().find(|g| g.name == name)).expect("a group"));
    }

    /// Removes a runner group, as an administrator may.
    pub fn remove_group(&self, scope: &str, name: &str) {
        self.lock().groups.entry(scope.into()).or_default().retain(|g| g.name != name);
    }

    /// Adds a registration that muster did not make.
    pub fn register(&self, scope: &str, name: &str, labels: &[&str], online: bool) -> u64 {
        let mut state = self.lock();
        let id = state.id();
        let labels = labels.iter().map(|&l| l.to_owned()).collect();
        let group = state.groups.get(scope).and_then(|g| g.first()).map_or(1, |g| g.id);
        let runner = Runner { id, scope: scope.into(), name: name.into(), labels, group, online, ephemeral: false, job: None };
        state.runners.insert(id, runner);
        drop(state);
        self.assign();
        id
    }

    /// Removes a registration that muster did not make.
    pub fn unregister(&self, id: u64) {
        self.lock().runners.remove(&id);
    }

    /// Does what `config.sh --url URL --token TOKEN --replace` does: adds a reusable runner, which is still offline. None:
    /// GitHub refuses it.
    pub fn register_with_token(&self, settings: &Value) -> Option<u64> {
        let url = settings["url"].as_str()?.split_once("://")?.1.split_once('/')?.1.to_owned();
        let scope = match url.split('/').collect::<Vec<_>>()[..] {
            ["enterprises", name] => format!("enterprise/{name}"),
            [org] => format!("org/{org}"),
            [owner, name] => format!("repo/{owner}/{name}"),
            _ => return None,
        };
        if !self.lock().minted.iter().any(|token| settings["token"] == **token) {
            return None;
        }
        let name = settings["name"].as_str()?;
        let labels: Vec<&str> = settings["labels"].as_array()?.iter().filter_map(Value::as_str).collect();
        self.lock().runners.retain(|_, r| r.scope != scope || r.name != name);
        Some(self.register(&scope, name, &labels, false))
    }

    pub fn runners(&self) -> Vec<Runner> {
        self.lock().runners.values().cloned().collect()
    }

    pub fn jobs(&self) -> Vec<Job> {
        self.lock().jobs.values().cloned().collect()
    }

    pub fn job(&self, id: u64) -> Job {
        self.lock().jobs.get(&id).expect("the job exists").clone()
    }

    // ------------------------------------------------------------------------------------------------- jobs

    /// Queues a job with a run of its own, and sends its `queued` webhook.
    pub fn queue_job(&self, repo: &str, labels: &[&str]) -> u64 {
        let id = self.queue_job_silently(repo, labels);
        self.send_event(id, "queued");
        self.assign();
        id
    }

    /// Queues a job that GitHub holds back (concurrency group, max-parallel). The webhook is sent, and no runner gets the
    /// job.
    pub fn queue_held_job(&self, repo: &str, labels: &[&str]) -> u64 {
        let id = self.queue_job_silently(repo, labels);
        self.lock().jobs.get_mut(&id).expect("just made").held = true;
        self.send_event(id, "queued");
        id
    }

    /// GitHub stops holding a job back.
    pub fn release_job(&self, id: u64) {
        self.lock().jobs.get_mut(&id).expect("the job exists").held = false;
        self.assign();
    }

    /// Queues a job without a webhook, as if the delivery were lost. A runner gets it at the next [`Double::assign`].
    pub fn queue_job_silently(&self, repo: &str, labels: &[&str]) -> u64 {
        let mut state = self.lock();
        let (id, run) = (state.id(), state.id());
        let job = Job {
            id,
            run,
            repo: repo.into(),
            labels: labels.iter().map(|&l| l.to_owned()).collect(),
            status: "queued".into(),
            conclusion: None,
            runner: None,
            held: false,
            attempt: 1,
            replaced: false,
            at_ms: [now_ms(), 0, 0],
        };
        state.jobs.insert(id, job);
        id
    }

    /// Gives queued jobs to idle online runners whose labels and scope match. The newest runner gets the oldest job, so
    /// that nobody can rely on a pairing. Sends `in_progress`.
    pub fn assign(&self) {
        loop {
            let mut state = self.lock();
            let idle: Vec<&Runner> = state.runners.values().rev().filter(|r| r.online && r.job.is_none()).collect();
            let queued = state.jobs.values().filter(|j| j.status == "queued" && !j.held);
            let pair = queued.filter_map(|j| Some((j.id, idle.iter().find(|r| fits(j, r) && admits(&state, j, r))?.id))).next();
            let Some((job, runner)) = pair else { return };
            let Some(taker) = state.runners.get_mut(&runner) else { return };
            taker.job = Some(job);
            let name = taker.name.clone();
            let Some(taken) = state.jobs.get_mut(&job) else { return };
            (taken.status, taken.runner, taken.at_ms[1]) = ("in_progress".into(), Some((runner, name)), now_ms());
            drop(state);
            self.send_event(job, "in_progress");
        }
    }

    /// Ends a job, and with it the registration of an ephemeral runner. Sends `completed`.
    pub fn finish_job(&self, id: u64, conclusion: &str) {
        let mut state = self.lock();
        let job = state.jobs.get_mut(&id).expect("the job exists");
        if job.status == "completed" {
            return;
        }
        (job.status, job.conclusion, job.at_ms[2]) = ("completed".into(), Some(conclusion.into()), now_ms());
        if let Some((runner, _)) = job.runner
            && let Some(taker) = state.runners.get_mut(&runner)
        {
            taker.job = None;
            if taker.ephemeral {
                state.runners.remove(&runner);
            }
        }
        drop(state);
        self.send_event(id, "completed");
        self.assign();
    }

    pub fn cancel_job(&self, id: u64) {
        self.finish_job(id, "cancelled");
    }

    // ---------------------------------------------------------------------------------------------- the runner

    /// The runner connects. False: its registration is gone.
    pub fn runner_online(&self, id: u64) -> bool {
        let known = self.lock().runners.get_mut(&id).map(|r| r.online = true).is_some();
        self.assign();
        known
    }

    /// The runner disconnects. Its job fails, which GitHub notices minutes later.
    pub fn runner_gone(&self, id: u64) {
        let mut state = self.lock();
        let Some(runner) = state.runners.get_mut(&id) else { return };
        runner.online = false;
        let Some(job) = runner.job else { return };
        state.killed.push(job);
        drop(state);
        self.finish_job(job, "failure");
    }

    /// The job of a runner. Err: its registration is gone.
    pub fn job_of(&self, runner: u64) -> Result<Option<u64>, ()> {
        self.lock().runners.get(&runner).map(|r| r.job).ok_or(())
    }

    // ----------------------------------------------------------------------------------------- misbehaviour

    /// The next `times` calls whose route contains `route` go wrong. A route is for example `POST
    /// /orgs/{org}/actions/runners/generate-jitconfig`.
    pub fn fail(&self, route: &str, times: u32, fault: Fault) {
        self.lock().faults.push(FaultRule { route: route.into(), times, fault });
    }

    /// From now on, no ordered fault happens any more.
    pub fn heal(&self) {
        let mut state = self.lock();
        state.faults.clear();
        state.hidden.clear();
        state.lie_about_busy = false;
    }

    /// Each installation has `remaining` requests of each resource left, until `reset_in_s` seconds from now.
    pub fn set_limit(&self, remaining: u32, reset_in_s: u64) {
        let accounts: Vec<String> = self.lock().installations.iter().map(|i| i.account.clone()).collect();
        for account in accounts {
            RESOURCES.iter().for_each(|resource| self.set_limit_of(&account, resource, remaining, reset_in_s));
        }
    }

    /// One account's installation has `remaining` requests of one resource left, until `reset_in_s` seconds from now.
    pub fn set_limit_of(&self, account: &str, resource: &'static str, remaining: u32, reset_in_s: u64) {
        *self.lock().window(account, resource) = (remaining, now_ms() / 1000 + reset_in_s);
    }

    /// GitHub says `busy: false` while a job runs. DELETE of such a runner then succeeds, and the job fails
    /// (actions/runner#4422).
    pub fn lie_about_busy(&self, lie: bool) {
        self.lock().lie_about_busy = lie;
    }

    /// The runner is missing in the lists, although it exists.
    pub fn hide_runner(&self, id: u64) {
        self.lock().hidden.insert(id);
    }

    /// Replaces the App's key. The first key and all tokens that were made with it are no longer valid. Returns the new key
    /// in PEM.
    pub fn replace_key(&self) -> String {
        self.lock().key = Key::Second;
        self.expire_tokens();
        key::private_key_pem(Key::Second)
    }

    pub fn expire_tokens(&self) {
        self.lock().tokens.clear();
    }

    // ------------------------------------------------------------------------------------------- what was seen

    /// How many calls each route got.
    pub fn calls(&self) -> BTreeMap<String, u64> {
        self.lock().calls.clone()
    }

    /// How many calls the routes that contain `part` got.
    pub fn calls_of(&self, part: &str) -> u64 {
        self.lock().calls.iter().filter(|(route, _)| route.contains(part)).map(|(_, n)| n).sum()
    }

    /// How many requests the installation on `acme` has left, without those for configurations.
    pub fn remaining(&self) -> u32 {
        self.lock().window("acme", "core").0
    }

    /// Jobs that failed because their runner disconnected.
    pub fn killed(&self) -> Vec<u64> {
        self.lock().killed.clone()
    }

    /// Every secret that was handed out: installation tokens, JIT configurations, registration tokens, and the key.
    pub fn secrets(&self) -> Vec<String> {
        let mut all = self.lock().minted.clone();
        let pems = [Key::First, self.lock().key].map(key::private_key_pem);
        all.extend(pems.iter().flat_map(|pem| pem.lines()).filter(|l| !l.starts_with('-')).map(str::to_owned));
        all
    }

    fn violate(&self, problems: impl IntoIterator<Item = String>) {
        self.lock().violations.extend(problems);
    }

    /// Takes the violations away. For tests that provoke them.
    pub fn take_violations(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().violations)
    }

    /// Panics if a request or an answer did not conform to GitHub's description.
    pub fn assert_clean(&self) {
        let violations = self.lock().violations.clone();
        assert!(violations.is_empty(), "GitHub's description was violated:\n  {}", violations.join("\n  "));
    }
}

/// Whether the runner's group admits the job's repository.
fn admits(state: &State, job: &Job, runner: &Runner) -> bool {
    let group = state.groups.get(&runner.scope).and_then(|all| all.iter().find(|g| g.id == runner.group));
    group.and_then(|g| g.selected.as_ref()).is_none_or(|selected| selected.contains(&job.repo))
}

/// Whether GitHub would give `job` to `runner`. The runner must have the job's labels, in upper or lower case, and the
/// job's repository must be in the runner's scope.
fn fits(job: &Job, runner: &Runner) -> bool {
    let owner = job.repo.split('/').next().unwrap_or_default();
    let in_scope = match runner.scope.split_once('/') {
        Some(("org", name)) => name.eq_ignore_ascii_case(owner),
        Some(("repo", name)) => name.eq_ignore_ascii_case(&job.repo),
        _ => true,
    };
    in_scope && job.labels.iter().all(|l| runner.labels.iter().any(|r| r.eq_ignore_ascii_case(l)))
}
