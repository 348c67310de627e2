//! GitHub, as far as muster meets it: a warp server that keeps installations, runners and jobs, hands queued jobs to
//! matching runners, and signs and sends the webhooks. Every request and answer is judged by GitHub's own description
//! ([`openapi`]); dropping the double fails the test when anything did not conform.

pub mod hooks;
pub mod key;
pub mod openapi;
mod routes;
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

/// The App's id.
pub const APP_ID: u64 = 4711;
/// GitHub counts these apart. <https://docs.github.com/en/rest/rate-limit/rate-limit>
pub const RESOURCES: [&str; 2] = ["core", "actions_runner_registration"];

/// So many requests an hour GitHub grants an installation.
pub fn hourly_limit(resource: &str) -> u32 {
    if resource == "core" { 5_000 } else { 10_000 }
}

/// What a test may order GitHub to do instead of answering as usual.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Answer with this status, doing nothing.
    Status(u16),
    /// Do it, but answer only after this long.
    Stall(Duration),
    /// Do nothing, and say nothing for this long: the request never got anywhere.
    Swallow(Duration),
    /// Do it, then answer 502.
    LoseAnswer,
    /// 403 with `retry-after`, in seconds; nothing is done.
    SecondaryLimit(u32),
    /// Answer with this body in place of the real one: for the proof that the judge bites.
    Body(Value),
}

#[derive(Clone, Debug)]
struct FaultRule {
    route: String,
    times: u32,
    fault: Fault,
}

/// A runner group.
#[derive(Clone, Debug)]
pub struct Group {
    /// GitHub's id.
    pub id: u64,
    /// Such as `Default`.
    pub name: String,
}

/// A registration.
#[derive(Clone, Debug)]
pub struct Runner {
    /// GitHub's id.
    pub id: u64,
    /// Where it is registered: `org/acme`, `repo/acme/app`, `enterprise/big`.
    pub scope: String,
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: Vec<String>,
    /// Its runner group.
    pub group: u64,
    /// Connected.
    pub online: bool,
    /// Takes one job and is removed then.
    pub ephemeral: bool,
    /// The job that it runs.
    pub job: Option<u64>,
}

/// A job.
#[derive(Clone, Debug)]
pub struct Job {
    /// GitHub's id.
    pub id: u64,
    /// Its run.
    pub run: u64,
    /// `OWNER/NAME`.
    pub repo: String,
    /// `runs-on`.
    pub labels: Vec<String>,
    /// `queued`, `in_progress` or `completed`.
    pub status: String,
    /// How it ended.
    pub conclusion: Option<String>,
    /// Who took it: id and name.
    pub runner: Option<(u64, String)>,
    /// Held back by a concurrency group or the like: queued, but given to nobody.
    pub held: bool,
    /// When it was queued, taken and completed; Unix time in milliseconds.
    pub at_ms: [u64; 3],
}

#[derive(Debug)]
struct Installation {
    id: u64,
    /// `org`; `repo`: its owner is a user or an organisation alike. GitHub has no Apps that reach an enterprise's runners.
    kind: &'static str,
    account: String,
}

/// What the App says of itself, and what the accounts granted it.
#[derive(Clone, Debug)]
pub struct App {
    /// What it asks for.
    pub permissions: Value,
    /// The events that it is told of.
    pub events: Vec<&'static str>,
    /// What its installations have; an owner accepts new permissions later.
    pub granted: Value,
    /// Its webhook's configuration; None: it has none.
    pub hook: Option<Value>,
    /// Its installations are suspended.
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
    /// Token -> installation, end of life in ms.
    tokens: BTreeMap<String, (u64, u64)>,
    /// Personal access tokens (classic), and what each may.
    personal: BTreeMap<String, Vec<&'static str>>,
    /// The enterprise that all organisations belong to: its slug.
    enterprise: Option<String>,
    /// The one key that JWTs may be signed with.
    key: Key,
    groups: BTreeMap<String, Vec<Group>>,
    runners: BTreeMap<u64, Runner>,
    jobs: BTreeMap<u64, Job>,
    /// Requests left, and when the hour is over (Unix time in seconds), by account (that of the App itself is empty) and resource.
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
    app: App,
}

impl State {
    fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// The window that a request is counted in; full again when its hour is over.
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

/// A handle on the double: clone it freely.
#[derive(Clone)]
pub struct Double {
    addr: SocketAddr,
    api: Arc<Api>,
    state: Arc<Mutex<State>>,
}

/// The running double; dropping it ends it and fails the test if GitHub's description was violated.
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
    /// Starts with the App installed in the organisation `acme`.
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

    /// Installs the App: kind `org` or `repo` (account `owner`). Groups: `Default` and `big`.
    pub fn install(&self, kind: &'static str, account: &str) -> u64 {
        let mut state = self.lock();
        let id = state.id();
        state.installations.push(Installation { id, kind, account: account.to_owned() });
        let groups = ["Default", "big"].map(|name| Group { id: state.id(), name: name.into() });
        state.groups.insert(format!("{kind}/{account}"), groups.into());
        id
    }

    /// All organisations belong to this enterprise. Groups: `Default` and `big`.
    pub fn found_enterprise(&self, slug: &str) {
        let mut state = self.lock();
        let groups = ["Default", "big"].map(|name| Group { id: state.id(), name: name.into() });
        state.groups.insert(format!("enterprise/{slug}"), groups.into());
        state.enterprise = Some(slug.to_owned());
    }

    /// An owner of everything makes a personal access token (classic) with these scopes.
    pub fn make_token(&self, scopes: &[&'static str]) -> String {
        let mut state = self.lock();
        let token = format!("ghp_{:036}", state.id());
        state.personal.insert(token.clone(), scopes.to_vec());
        state.minted.push(token.clone());
        token
    }

    /// The token is good for nothing any more.
    pub fn revoke_token(&self, token: &str) {
        self.lock().personal.remove(token);
    }

    /// Changes the App.
    pub fn app(&self, change: impl FnOnce(&mut App)) {
        change(&mut self.lock().app);
    }

    /// Adds a runner group to a scope such as `org/acme`.
    pub fn add_group(&self, scope: &str, name: &str) -> u64 {
        let mut state = self.lock();
        let id = state.id();
        state.groups.entry(scope.into()).or_default().push(Group { id, name: name.into() });
        id
    }

    /// Removes a runner group, as an administrator may.
    pub fn remove_group(&self, scope: &str, name: &str) {
        self.lock().groups.entry(scope.into()).or_default().retain(|g| g.name != name);
    }

    /// A registration that muster did not make.
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

    /// What `config.sh --url URL --token TOKEN --replace` does: a reusable runner, offline yet. None: refused.
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

    /// All registrations.
    pub fn runners(&self) -> Vec<Runner> {
        self.lock().runners.values().cloned().collect()
    }

    /// All jobs.
    pub fn jobs(&self) -> Vec<Job> {
        self.lock().jobs.values().cloned().collect()
    }

    /// One job.
    pub fn job(&self, id: u64) -> Job {
        self.lock().jobs.get(&id).expect("the job exists").clone()
    }

    // ------------------------------------------------------------------------------------------------- jobs

    /// Queues a job (a run of its own) and sends its `queued` webhook.
    pub fn queue_job(&self, repo: &str, labels: &[&str]) -> u64 {
        let id = self.queue_job_silently(repo, labels);
        self.send_event(id, "queued");
        self.assign();
        id
    }

    /// Queues a job that GitHub holds back (concurrency group, max-parallel): the webhook is sent, no runner gets it.
    pub fn queue_held_job(&self, repo: &str, labels: &[&str]) -> u64 {
        let id = self.queue_job_silently(repo, labels);
        self.lock().jobs.get_mut(&id).expect("just made").held = true;
        self.send_event(id, "queued");
        id
    }

    /// Lets a held job go.
    pub fn release_job(&self, id: u64) {
        self.lock().jobs.get_mut(&id).expect("the job exists").held = false;
        self.assign();
    }

    /// Queues a job without a webhook, as when the delivery is lost. Runners get it with the next [`Double::assign`].
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
            at_ms: [now_ms(), 0, 0],
        };
        state.jobs.insert(id, job);
        id
    }

    /// Hands queued jobs to idle online runners: any job to any runner whose labels and scope fit; the newest runner
    /// gets the oldest job, so that nobody can rely on a pairing. Sends `in_progress`.
    pub fn assign(&self) {
        loop {
            let mut state = self.lock();
            let idle: Vec<&Runner> = state.runners.values().rev().filter(|r| r.online && r.job.is_none()).collect();
            let queued = state.jobs.values().filter(|j| j.status == "queued" && !j.held);
            let pair = queued.filter_map(|j| Some((j.id, idle.iter().find(|r| fits(j, r))?.id))).next();
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

    /// The job ends; an ephemeral runner's registration ends with it. Sends `completed`.
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

    /// Somebody cancels the job.
    pub fn cancel_job(&self, id: u64) {
        self.finish_job(id, "cancelled");
    }

    // ---------------------------------------------------------------------------------------------- the box

    /// The runner connects. False: its registration is gone.
    pub fn runner_online(&self, id: u64) -> bool {
        let known = self.lock().runners.get_mut(&id).map(|r| r.online = true).is_some();
        self.assign();
        known
    }

    /// The runner disconnects. A job that it was running dies with it (GitHub calls that a failure, minutes later).
    pub fn runner_gone(&self, id: u64) {
        let mut state = self.lock();
        let Some(runner) = state.runners.get_mut(&id) else { return };
        runner.online = false;
        let Some(job) = runner.job else { return };
        state.killed.push(job);
        drop(state);
        self.finish_job(job, "failure");
    }

    /// The job that a runner has. Err: its registration is gone.
    pub fn job_of(&self, runner: u64) -> Result<Option<u64>, ()> {
        self.lock().runners.get(&runner).map(|r| r.job).ok_or(())
    }

    // ----------------------------------------------------------------------------------------- misbehaviour

    /// The next `times` calls whose route (`POST /orgs/{org}/actions/runners/generate-jitconfig`) holds `route` go wrong.
    pub fn fail(&self, route: &str, times: u32, fault: Fault) {
        self.lock().faults.push(FaultRule { route: route.into(), times, fault });
    }

    /// All is well again.
    pub fn heal(&self) {
        let mut state = self.lock();
        state.faults.clear();
        state.hidden.clear();
        state.lie_about_busy = false;
    }

    /// So many requests of either resource are left to each installation, until so many seconds from now.
    pub fn set_limit(&self, remaining: u32, reset_in_s: u64) {
        let accounts: Vec<String> = self.lock().installations.iter().map(|i| i.account.clone()).collect();
        for account in accounts {
            RESOURCES.iter().for_each(|resource| self.set_limit_of(&account, resource, remaining, reset_in_s));
        }
    }

    /// The same, to one account's installation and of one resource.
    pub fn set_limit_of(&self, account: &str, resource: &'static str, remaining: u32, reset_in_s: u64) {
        *self.lock().window(account, resource) = (remaining, now_ms() / 1000 + reset_in_s);
    }

    /// `busy` reads false while a job runs, and DELETE of such a runner succeeds and kills the job (actions/runner#4422).
    pub fn lie_about_busy(&self, lie: bool) {
        self.lock().lie_about_busy = lie;
    }

    /// The runner is missing from lists, though it exists.
    pub fn hide_runner(&self, id: u64) {
        self.lock().hidden.insert(id);
    }

    /// The App's key is replaced: the first is good for nothing any more, nor are the tokens made with it. The new one, as PEM.
    pub fn replace_key(&self) -> String {
        self.lock().key = Key::Second;
        self.expire_tokens();
        key::private_key_pem(Key::Second)
    }

    /// All installation tokens end now.
    pub fn expire_tokens(&self) {
        self.lock().tokens.clear();
    }

    // ------------------------------------------------------------------------------------------- what was seen

    /// Calls by route.
    pub fn calls(&self) -> BTreeMap<String, u64> {
        self.lock().calls.clone()
    }

    /// Calls of the routes that hold `part`.
    pub fn calls_of(&self, part: &str) -> u64 {
        self.lock().calls.iter().filter(|(route, _)| route.contains(part)).map(|(_, n)| n).sum()
    }

    /// Requests left to the installation on `acme`, configurations aside.
    pub fn remaining(&self) -> u32 {
        self.lock().window("acme", "core").0
    }

    /// Jobs that died because their runner did.
    pub fn killed(&self) -> Vec<u64> {
        self.lock().killed.clone()
    }

    /// Everything secret that was handed out: installation tokens, JIT configurations, registration tokens, the key.
    pub fn secrets(&self) -> Vec<String> {
        let mut all = self.lock().minted.clone();
        let pems = [Key::First, self.lock().key].map(key::private_key_pem);
        all.extend(pems.iter().flat_map(|pem| pem.lines()).filter(|l| !l.starts_with('-')).map(str::to_owned));
        all
    }

    fn violate(&self, problems: impl IntoIterator<Item = String>) {
        self.lock().violations.extend(problems);
    }

    /// Takes the violations away, for tests that provoke them.
    pub fn take_violations(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().violations)
    }

    /// Panics when a request or an answer did not conform to GitHub's description.
    pub fn assert_clean(&self) {
        let violations = self.lock().violations.clone();
        assert!(violations.is_empty(), "GitHub's description was violated:\n  {}", violations.join("\n  "));
    }
}

/// Whether GitHub would give `job` to `runner`: its labels are the runner's, without regard to case, and its repository
/// lies in the runner's scope.
fn fits(job: &Job, runner: &Runner) -> bool {
    let owner = job.repo.split('/').next().unwrap_or_default();
    let in_scope = match runner.scope.split_once('/') {
        Some(("org", name)) => name.eq_ignore_ascii_case(owner),
        Some(("repo", name)) => name.eq_ignore_ascii_case(&job.repo),
        _ => true,
    };
    in_scope && job.labels.iter().all(|l| runner.labels.iter().any(|r| r.eq_ignore_ascii_case(l)))
}
