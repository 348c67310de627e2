//! The REST side of the double: authentication, limits, faults, ETags and pages, with one function for each operation.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use warp::Filter;
use warp::http::{HeaderMap, Method, Response};
use warp::path::FullPath;

use super::openapi::Match;
use super::workflows;
use super::{APP_ID, Double, Fault, Runner, State, app_manifests, hooks, hourly_limit, key, runs, statuses, versions};
use crate::support::now_ms;

/// The most items of a page, whatever the request asks for.
const MAX_PER_PAGE: usize = 100;

pub(super) struct Answer {
    status: u16,
    body: Option<Value>,
    headers: Vec<(&'static str, String)>,
}

impl Answer {
    pub(super) fn json(status: u16, body: Value) -> Answer {
        Answer { status, body: Some(body), headers: Vec::new() }
    }

    pub(super) fn empty(status: u16) -> Answer {
        Answer { status, body: None, headers: Vec::new() }
    }

    pub(super) fn message(status: u16, message: impl Into<String>) -> Answer {
        let message: String = message.into();
        Answer::json(status, json!({ "message": message, "documentation_url": "https://docs.github.com/rest" }))
    }
}

/// A request that was read.
pub(super) struct Asked<'a> {
    found: Match<'a>,
    query: Vec<(String, String)>,
    pub(super) body: Value,
    pub(super) base: String,
}

impl Asked<'_> {
    pub(super) fn param(&self, name: &str) -> &str {
        self.found.params.get(name).map_or("", String::as_str)
    }

    pub(super) fn number(&self, name: &str) -> u64 {
        self.param(name).parse().unwrap_or(0)
    }

    fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// The scope that the path names: `org/acme`, `repo/acme/app` or `enterprise/big`.
    fn scope(&self) -> String {
        if self.found.params.contains_key("org") {
            format!("org/{}", self.param("org"))
        } else if self.found.params.contains_key("enterprise") {
            format!("enterprise/{}", self.param("enterprise"))
        } else {
            format!("repo/{}/{}", self.param("owner"), self.param("repo"))
        }
    }

    /// One page of `items`, with GitHub's Link header.
    pub(super) fn page(&self, key: &str, items: Vec<Value>) -> Answer {
        let number = |name: &str, default: usize| self.query(name).and_then(|n| n.parse().ok()).unwrap_or(default).max(1);
        let (per_page, page, total) = (number("per_page", 30).min(MAX_PER_PAGE), number("page", 1), items.len());
        let last = total.div_ceil(per_page).max(1);
        let path = self
            .found
            .params
            .iter()
            .fold(self.found.operation.template.clone(), |path, (name, value)| path.replace(&format!("{{{name}}}"), value));
        let link = |rel: &str, to: usize| format!("<{}{path}?per_page={per_page}&page={to}>; rel=\"{rel}\"", self.base);
        let mut links = Vec::new();
        if page > 1 {
            links.extend([link("prev", page - 1), link("first", 1)]);
        }
        if page < last {
            links.extend([link("next", page + 1), link("last", last)]);
        }
        let shown: Vec<Value> = items.into_iter().skip((page - 1) * per_page).take(per_page).collect();
        let mut answer = Answer::json(200, json!({ "total_count": total, key: shown }));
        if !links.is_empty() {
            answer.headers.push(("link", links.join(", ")));
        }
        answer
    }
}

/// The whole server. It is one filter, because GitHub's description knows the paths.
pub fn filter(double: Double) -> impl Filter<Extract = (Response<Bytes>,), Error = Infallible> + Clone {
    let query = warp::query::raw().or(warp::any().map(String::new)).unify();
    warp::method()
        .and(warp::path::full())
        .and(query)
        .and(warp::header::headers_cloned())
        .and(warp::body::bytes())
        .then(move |method: Method, path: FullPath, query: String, headers: HeaderMap, body: Bytes| {
            let double = double.clone();
            async move { double.serve(&method, path.as_str(), &query, &headers, &body).await }
        })
        .or_else(|_| async { Ok((Response::builder().status(500).body(Bytes::new()).expect("a plain answer"),)) })
}

impl Double {
    async fn serve(&self, method: &Method, path: &str, query: &str, headers: &HeaderMap, body: &[u8]) -> Response<Bytes> {
        let path = path.strip_prefix("/api/v3").unwrap_or(path); // GitHub Enterprise Server
        let Some(found) = self.api.find(method.as_str(), path) else {
            self.violate([format!("{method} {path}: GitHub has no such route (or the copied description lacks it)")]);
            return finish(Answer::message(404, "Not Found"), None);
        };
        let route = found.operation.route();
        let query: Vec<(String, String)> = serde_urlencoded::from_str(query).unwrap_or_default();
        self.violate(self.api.request_problems(&found, &query, body));
        self.violate(header_problems(headers, body).into_iter().map(|p| format!("{route}: {p}")));
        let fault = self.note_call(&route);

        let asked = Asked { found, query, body: serde_json::from_slice(body).unwrap_or_default(), base: self.url() };
        let mut answer = match &fault {
            Some(Fault::Status(status)) => Answer::message(*status, "ordered by the test"),
            Some(Fault::Swallow(_)) => Answer::message(502, "Server Error"),
            Some(Fault::SecondaryLimit(seconds)) => {
                let mut answer = Answer::message(403, "You have exceeded a secondary rate limit.");
                answer.headers.push(("retry-after", seconds.to_string()));
                answer
            }
            _ => self.answer(&asked, headers),
        };
        if let Some(Fault::Body(other)) = &fault {
            answer.body = Some(other.clone());
        }
        let problems = self.api.response_problems(asked.found.operation, answer.status, answer.body.as_ref());
        self.violate(problems.into_iter().map(|p| format!("the double's own answer: {p}")));
        match fault {
            Some(Fault::LoseAnswer) => answer = Answer::message(502, "Server Error"),
            Some(Fault::Stall(span) | Fault::Swallow(span)) => tokio::time::sleep(span).await,
            _ => {}
        }
        let window = self.account(&asked, &mut answer, method, headers);
        if let Some(scopes) = self.lock().personal.get(bearer(headers)) {
            answer.headers.push(("x-oauth-scopes", scopes.join(", ")));
        }
        finish(answer, window)
    }

    /// Counts the call, and returns the fault that was ordered for it, if there is one.
    fn note_call(&self, route: &str) -> Option<Fault> {
        let mut state = self.lock();
        *state.calls.entry(route.to_owned()).or_default() += 1;
        let rule = state.faults.iter_mut().find(|f| f.times > 0 && route.contains(&f.route))?;
        rule.times -= 1;
        Some(rule.fault.clone())
    }

    /// Applies ETags and the caller's limit. An unchanged page (304) costs nothing, and neither does a question about the
    /// rate limit.
    fn account(&self, asked: &Asked<'_>, answer: &mut Answer, method: &Method, headers: &HeaderMap) -> Option<Window> {
        if answer.status == 200 && *method == Method::GET {
            let text = answer.body.as_ref().map(Value::to_string).unwrap_or_default();
            let etag = format!("W/\"{}\"", hex::encode(Sha256::digest(text)));
            if headers.get("if-none-match").is_some_and(|seen| seen.as_bytes() == etag.as_bytes()) {
                (answer.status, answer.body) = (304, None);
            }
            answer.headers.push(("etag", etag));
        }
        let id = asked.found.operation.id.as_str();
        let account = self.account_of(by_app(id), headers)?;
        let resource = resource(id);
        let mut state = self.lock();
        let window = state.window(&account, resource);
        if answer.status != 304 && id != "rate-limit/get" {
            window.0 = window.0.saturating_sub(1);
        }
        Some((resource, *window))
    }

    /// Whose limit the caller uses: the account of the token's installation, or the user of a personal token. Empty for the
    /// App itself. None: the caller is unknown.
    fn account_of(&self, by_app: bool, headers: &HeaderMap) -> Option<String> {
        if by_app {
            return Some(String::new());
        }
        let (state, token) = (self.lock(), bearer(headers));
        if state.personal.contains_key(token) {
            return Some(PERSONAL.to_owned());
        }
        let (id, _) = state.tokens.get(token)?;
        state.installations.iter().find(|i| i.id == *id).map(|i| i.account.clone())
    }

    fn answer(&self, asked: &Asked<'_>, headers: &HeaderMap) -> Answer {
        let id = asked.found.operation.id.as_str();
        if let Some(refusal) = self.refusal(id, &asked.scope(), headers) {
            return refusal;
        }
        let mut state = self.lock();
        match id.split_once('/').map_or(id, |(_, name)| name) {
            "get-authenticated" => Answer::json(200, app(&state.app)),
            "create-from-manifest" => app_manifests::convert(&mut state, asked),
            "get-webhook-config-for-app" => match &state.app.hook {
                Some(hook) => Answer::json(200, hook.clone()),
                None => Answer::message(404, "Not Found"),
            },
            "list-installations" => {
                let all = state.installations.iter().map(|i| installation(i, &state.app, &asked.base)).collect();
                Answer::json(200, Value::Array(all))
            }
            "get-installation" => found_installation(&state, asked, |i| i.id == asked.number("installation_id")),
            "get-org-installation" => {
                found_installation(&state, asked, |i| i.kind == "org" && i.account.eq_ignore_ascii_case(asked.param("org")))
            }
            "get-repo-installation" => {
                found_installation(&state, asked, |i| i.account.eq_ignore_ascii_case(asked.param("owner")))
            }
            "create-installation-access-token" => create_token(&mut state, asked),
            "list-webhook-deliveries" => deliveries(&state, asked),
            "redeliver-webhook-delivery" => {
                let nth = usize::try_from(asked.number("delivery_id")).unwrap_or(0);
                let Some(sent) = nth.checked_sub(1).and_then(|n| state.hooks.sent.get(n)) else {
                    return Answer::message(404, "Not Found");
                };
                let delivery = sent.delivery.clone();
                drop(state);
                self.deliver(delivery);
                Answer::json(202, json!({}))
            }
            "get" => {
                drop(state);
                self.rate_limit(headers)
            }
            "list-self-hosted-runner-groups-for-org" | "list-self-hosted-runner-groups-for-enterprise" => {
                let groups = state.groups.get(&asked.scope()).cloned().unwrap_or_default();
                let default = groups.first().map(|g| g.id);
                asked.page("runner_groups", groups.iter().map(|g| group(g, default, asked)).collect())
            }
            "list-repo-access-to-self-hosted-runner-group-in-org" => {
                let selected = found_group(&state, asked).and_then(|g| g.selected.clone()).unwrap_or_default();
                asked.page("repositories", selected.iter().map(|repo| hooks::minimal_repository(repo)).collect())
            }
            "get-runner-version-deprecation-for-org"
            | "get-runner-version-deprecation-for-repo"
            | "get-runner-version-deprecation-for-enterprise" => versions::ends(&state, asked),
            "list-self-hosted-runners-for-org"
            | "list-self-hosted-runners-for-repo"
            | "list-self-hosted-runners-for-enterprise" => {
                let shown = |r: &&Runner| {
                    r.scope.eq_ignore_ascii_case(&asked.scope())
                        && !state.hidden.contains(&r.id)
                        && asked.query("name").is_none_or(|name| name == r.name)
                };
                asked.page("runners", state.runners.values().filter(shown).map(|r| runner(r, &state)).collect())
            }
            "get-self-hosted-runner-for-org" | "get-self-hosted-runner-for-repo" | "get-self-hosted-runner-for-enterprise" => {
                match state.runners.get(&asked.number("runner_id")) {
                    Some(r) => Answer::json(200, runner(r, &state)),
                    None => Answer::message(404, "Not Found"),
                }
            }
            "delete-self-hosted-runner-from-org"
            | "delete-self-hosted-runner-from-repo"
            | "delete-self-hosted-runner-from-enterprise" => delete_runner(&mut state, asked.number("runner_id")),
            "generate-runner-jitconfig-for-org"
            | "generate-runner-jitconfig-for-repo"
            | "generate-runner-jitconfig-for-enterprise" => generate_jitconfig(&mut state, asked),
            "create-registration-token-for-org"
            | "create-registration-token-for-repo"
            | "create-registration-token-for-enterprise" => {
                let token = format!("ATESTREGISTRATION{:020}", state.id());
                state.minted.push(token.clone());
                Answer::json(201, json!({ "token": token, "expires_at": rfc3339(now_ms() + 3_600_000) }))
            }
            "get-job-for-workflow-run" => match state.jobs.get(&asked.number("job_id")) {
                Some(j) if j.repo.eq_ignore_ascii_case(&format!("{}/{}", asked.param("owner"), asked.param("repo"))) => {
                    Answer::json(200, runs::job(j, &state, &asked.base))
                }
                _ => Answer::message(404, "Not Found"),
            },
            "get-workflow" => workflows::get(&state, asked),
            "list-jobs-for-workflow-run" => runs::jobs_of_run(&state, asked),
            "get-workflow-run" => runs::get(&state, asked),
            "create-workflow-dispatch" => {
                drop(state);
                self.dispatch(asked)
            }
            "create-commit-status" => statuses::create(&mut state, asked),
            "cancel-workflow-run" => {
                drop(state);
                self.cancel(asked)
            }
            "re-run-job-for-workflow-run" | "re-run-workflow-failed-jobs" => {
                drop(state);
                self.rerun(asked)
            }
            other => {
                state.violations.push(format!("the double does not play {other} ({})", asked.found.operation.route()));
                Answer::message(404, "Not Found")
            }
        }
    }

    /// Why the caller may not make this call: wrong credentials, another installation, or the primary limit. None: the
    /// caller may.
    fn refusal(&self, operation: &str, scope: &str, headers: &HeaderMap) -> Option<Answer> {
        let token = bearer(headers);
        // The code is all that the caller has.
        if operation == "apps/create-from-manifest" {
            return None;
        }
        if by_app(operation) {
            let valid = self.lock().key;
            let problem = key::jwt_problem(token, APP_ID, valid)?;
            return Some(Answer::message(401, format!("A JSON web token could not be decoded: {problem}")));
        }
        if let Some(answer) = self.personal_refusal(operation, token) {
            return answer;
        }
        let mut state = self.lock();
        // GitHub answers so wherever the App is installed.
        let known = state.tokens.get(token).is_some_and(|(_, ends)| *ends > now_ms());
        if known && of_enterprise(operation) {
            return Some(Answer::message(403, "Resource not accessible by integration"));
        }
        let Some((id, _)) = state.tokens.get(token).filter(|(_, ends)| *ends > now_ms()) else {
            return Some(Answer::message(401, "Bad credentials"));
        };
        let owner = scope.split('/').nth(1).unwrap_or_default();
        let holds = |i: &super::Installation| i.id == *id && (owner.is_empty() || i.account.eq_ignore_ascii_case(owner));
        let Some(account) = state.installations.iter().find(|i| holds(i)).map(|i| i.account.clone()) else {
            return Some(Answer::message(404, "Not Found"));
        };
        if operation != "rate-limit/get" && state.window(&account, resource(operation)).0 == 0 {
            return Some(Answer::message(403, "API rate limit exceeded for installation."));
        }
        None
    }

    /// Why a personal access token may not make this call; its scopes decide. None: the token is no personal access token.
    fn personal_refusal(&self, operation: &str, token: &str) -> Option<Option<Answer>> {
        let mut state = self.lock();
        let scopes = state.personal.get(token)?;
        let may = match operation {
            "rate-limit/get" => return Some(None),
            _ if of_enterprise(operation) => scopes.contains(&"manage_runners:enterprise"),
            "actions/get-job-for-workflow-run" => scopes.contains(&"repo"),
            _ => false,
        };
        Some(if !may && of_enterprise(operation) {
            Some(Answer::message(403, "Must have admin rights to Enterprise."))
        } else if !may {
            Some(Answer::message(404, "Not Found"))
        } else if state.window(PERSONAL, resource(operation)).0 == 0 {
            Some(Answer::message(403, "API rate limit exceeded for user ID 1."))
        } else {
            None
        })
    }

    fn rate_limit(&self, headers: &HeaderMap) -> Answer {
        let account = self.account_of(false, headers).unwrap_or_default();
        let mut state = self.lock();
        let mut said = |resource: &'static str| {
            let (limit, (remaining, reset)) = (hourly_limit(resource), *state.window(&account, resource));
            json!({ "limit": limit, "remaining": remaining, "reset": reset, "used": limit.saturating_sub(remaining) })
        };
        let (core, registration) = (said("core"), said("actions_runner_registration"));
        let resources = json!({ "core": core, "search": core, "actions_runner_registration": registration });
        Answer::json(200, json!({ "resources": resources, "rate": core }))
    }
}

/// The resource that a call counts against, with the requests left there and the end of the hour.
type Window = (&'static str, (u32, u64));

/// The name under which all personal access tokens share a limit.
pub(super) const PERSONAL: &str = "a user";

/// GitHub: "does not work with GitHub App user access tokens, GitHub App installation access tokens, or fine-grained personal
/// access tokens". <https://docs.github.com/en/enterprise-cloud@latest/rest/actions/self-hosted-runners>
fn of_enterprise(operation: &str) -> bool {
    operation.starts_with("enterprise-admin/") || operation.ends_with("-for-enterprise")
}

/// The resource of a call. GitHub counts the configurations of runners separately.
fn resource(operation: &str) -> &'static str {
    let configures = ["generate-runner-jitconfig", "create-registration-token"].iter().any(|part| operation.contains(part));
    if configures { "actions_runner_registration" } else { "core" }
}

fn bearer(headers: &HeaderMap) -> &str {
    let given = headers.get("authorization").and_then(|h| h.to_str().ok()).unwrap_or_default();
    given.strip_prefix("Bearer ").or_else(|| given.strip_prefix("token ")).unwrap_or_default()
}

/// Whether the App makes this call as itself, by a JWT. It then counts against no installation.
fn by_app(operation: &str) -> bool {
    operation.starts_with("apps/") && operation != "apps/list-repos-accessible-to-installation"
}

fn header_problems(headers: &HeaderMap, body: &[u8]) -> Vec<String> {
    let text = |name: &str| headers.get(name).and_then(|h| h.to_str().ok()).unwrap_or_default().to_owned();
    let mut problems = Vec::new();
    if text("user-agent").is_empty() {
        problems.push("GitHub refuses requests without a User-Agent".into());
    }
    if !text("accept").is_empty() && !text("accept").contains("json") && !text("accept").contains("*/*") {
        problems.push(format!("Accept `{}` does not take JSON", text("accept")));
    }
    if !body.is_empty() && !text("content-type").starts_with("application/json") {
        problems.push(format!("Content-Type is `{}`, want application/json", text("content-type")));
    }
    problems
}

fn finish(answer: Answer, window: Option<Window>) -> Response<Bytes> {
    let body = answer.body.as_ref().map(Value::to_string).unwrap_or_default();
    let mut response = Response::builder().status(answer.status);
    if answer.body.is_some() {
        response = response.header("content-type", "application/json; charset=utf-8");
    }
    for (name, value) in answer.headers {
        response = response.header(name, value);
    }
    if let Some((resource, (remaining, reset_at_s))) = window {
        response = response
            .header("x-ratelimit-limit", hourly_limit(resource))
            .header("x-ratelimit-remaining", remaining)
            .header("x-ratelimit-used", hourly_limit(resource).saturating_sub(remaining))
            .header("x-ratelimit-reset", reset_at_s)
            .header("x-ratelimit-resource", resource);
    }
    response.body(Bytes::from(body)).expect("the headers are plain text")
}

// ------------------------------------------------------------------------------------------------ operations

/// The attempts to deliver, newest first, page by page. A cursor is the id of the last attempt shown.
fn deliveries(state: &State, asked: &Asked<'_>) -> Answer {
    let failed = |status: u16| !(200..300).contains(&status);
    let before = asked.query("cursor").and_then(|c| c.parse().ok()).unwrap_or(usize::MAX);
    let per_page = asked.query("per_page").and_then(|n| n.parse().ok()).unwrap_or(30).min(MAX_PER_PAGE);
    let wanted = |s: &hooks::Sent| match asked.query("status") {
        Some("failure") => failed(s.status),
        Some("success") => !failed(s.status),
        _ => true,
    };
    let mut rows: Vec<(usize, &hooks::Sent)> = state.hooks.sent.iter().enumerate().map(|(n, s)| (n + 1, s)).collect();
    rows.retain(|(id, s)| *id < before && wanted(s));
    rows.reverse();
    let more = rows.len() > per_page;
    rows.truncate(per_page);
    let row = |(id, s): &(usize, &hooks::Sent)| {
        let redelivery = state.hooks.sent[..id - 1].iter().any(|earlier| earlier.delivery.id == s.delivery.id);
        json!({
            "id": id, "guid": s.delivery.id, "delivered_at": rfc3339(s.at_ms), "redelivery": redelivery, "duration": 0.1,
            "status": if failed(s.status) { "failed to connect to host" } else { "OK" },
            "status_code": if s.status == 0 { 502 } else { s.status },
            "event": "workflow_job", "action": s.delivery.action, "installation_id": 1, "repository_id": 1,
        })
    };
    let mut answer = Answer::json(200, rows.iter().map(row).collect());
    if let Some((last, _)) = rows.last().filter(|_| more) {
        let next = format!("<{}/app/hook/deliveries?per_page={per_page}&cursor={last}>; rel=\"next\"", asked.base);
        answer.headers.push(("link", next));
    }
    answer
}

fn found_installation(state: &State, asked: &Asked<'_>, wanted: impl Fn(&super::Installation) -> bool) -> Answer {
    match state.installations.iter().find(|i| wanted(i)) {
        Some(found) => Answer::json(200, installation(found, &state.app, &asked.base)),
        None => Answer::message(404, "Not Found"),
    }
}

fn create_token(state: &mut State, asked: &Asked<'_>) -> Answer {
    let id = asked.number("installation_id");
    if !state.installations.iter().any(|i| i.id == id) {
        return Answer::message(404, "Not Found");
    }
    if state.app.suspended {
        return Answer::message(403, "This installation has been suspended");
    }
    let token = format!("ghs_{:036}", state.id());
    let ends = now_ms() + Duration::from_secs(3600).as_millis() as u64;
    state.tokens.insert(token.clone(), (id, ends));
    state.minted.push(token.clone());
    Answer::json(201, json!({ "token": token, "expires_at": rfc3339(ends), "permissions": {}, "repository_selection": "all" }))
}

fn generate_jitconfig(state: &mut State, asked: &Asked<'_>) -> Answer {
    let scope = asked.scope();
    let (Some(name), Some(group), Some(labels)) =
        (asked.body["name"].as_str(), asked.body["runner_group_id"].as_u64(), asked.body["labels"].as_array())
    else {
        return Answer::message(422, "Invalid request. Name, runner_group_id and labels are needed.");
    };
    if name.is_empty() || name.len() > 64 {
        return Answer::message(422, "name is not between 1 and 64 characters long");
    }
    if !scope.starts_with("repo/") && !state.groups.get(&scope).is_some_and(|groups| groups.iter().any(|g| g.id == group)) {
        return Answer::message(404, "Not Found");
    }
    if state.runners.values().any(|r| r.scope.eq_ignore_ascii_case(&scope) && r.name == name) {
        return Answer::message(409, "Already exists - A runner with the name already exists.");
    }
    let id = state.id();
    let labels = labels.iter().filter_map(|l| l.as_str().map(str::to_owned)).collect();
    let made = Runner { id, scope, name: name.into(), labels, group, online: false, ephemeral: true, job: None };
    let body = json!({ "runner": runner(&made, state), "encoded_jit_config": jit_config(&made) });
    state.minted.push(jit_config(&made));
    state.runners.insert(id, made);
    Answer::json(201, body)
}

/// The JIT configuration of an instance. muster cannot read it. The stand-in for the instance reads the runner's id in it.
fn jit_config(runner: &Runner) -> String {
    BASE64_STANDARD
        .encode(json!({ "runner_id": runner.id, "name": runner.name, "secret": format!("JIT{:020}", runner.id) }).to_string())
}

fn delete_runner(state: &mut State, id: u64) -> Answer {
    let Some(found) = state.runners.get(&id) else { return Answer::message(404, "Not Found") };
    match found.job {
        Some(_) if !state.lie_about_busy => {
            let message = format!("Bad request - Runner \"{}\" is still running a job\"", found.name);
            return Answer::message(422, message);
        }
        Some(job) => state.killed.push(job),
        None => {}
    }
    state.runners.remove(&id);
    Answer::empty(204)
}

// --------------------------------------------------------------------------------------------------- objects

pub(super) fn rfc3339(at_ms: u64) -> String {
    let at = i64::try_from(at_ms).ok().and_then(chrono::DateTime::from_timestamp_millis).expect("the year is sane");
    at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

fn runner(r: &Runner, state: &State) -> Value {
    let label = |(n, name): (usize, &String)| json!({ "id": n + 1, "name": name, "type": "custom" });
    json!({
        "id": r.id,
        "runner_group_id": r.group,
        "name": r.name,
        "os": "linux",
        "status": if r.online { "online" } else { "offline" },
        "busy": r.job.is_some() && !state.lie_about_busy,
        "ephemeral": r.ephemeral,
        "version": versions::of_runner(state, r.online),
        "labels": r.labels.iter().enumerate().map(label).collect::<Vec<_>>(),
    })
}

fn found_group<'a>(state: &'a State, asked: &Asked<'_>) -> Option<&'a super::Group> {
    state.groups.get(&asked.scope())?.iter().find(|g| g.id == asked.number("runner_group_id"))
}

fn group(g: &super::Group, default: Option<u64>, asked: &Asked<'_>) -> Value {
    let mut said = json!({
        "id": g.id,
        "name": g.name,
        "visibility": if g.selected.is_some() { "selected" } else { "all" },
        "default": default == Some(g.id),
        "runners_url": format!("{}/runner-groups/{}/runners", asked.base, g.id),
        "allows_public_repositories": g.public,
    });
    if asked.scope().starts_with("org/") {
        said["inherited"] = json!(false);
    }
    said
}

fn account(login: &str, kind: &str) -> Value {
    let urls = [
        "followers_url",
        "following_url",
        "gists_url",
        "starred_url",
        "subscriptions_url",
        "organizations_url",
        "repos_url",
        "events_url",
        "received_events_url",
        "avatar_url",
        "html_url",
        "url",
    ];
    let mut said: BTreeMap<&str, Value> = urls.iter().map(|&u| (u, json!(format!("https://github.com/{login}")))).collect();
    said.extend([
        ("login", json!(login)),
        ("id", json!(1)),
        ("node_id", json!("MDQ6VXNlcjE=")),
        ("gravatar_id", json!("")),
        ("type", json!(kind)),
        ("site_admin", json!(false)),
    ]);
    json!(said)
}

pub(super) fn app(app: &super::App) -> Value {
    json!({
        "id": APP_ID,
        "slug": "muster-test",
        "node_id": "MDExOkludGVncmF0aW9uMQ==",
        "owner": account("acme", "Organization"),
        "name": "muster test",
        "description": null,
        "external_url": "https://example.com",
        "html_url": "https://github.com/apps/muster-test",
        "created_at": "2024-01-01T00:00:00Z",
        "updated_at": "2024-01-01T00:00:00Z",
        "permissions": app.permissions,
        "events": app.events,
    })
}

fn installation(i: &super::Installation, app: &super::App, base: &str) -> Value {
    let target = "Organization";
    // The description of the list demands an account that is a user and an enterprise at once (`allOf`). The single
    // installation has `anyOf` there. This is a flaw of the description, and an account with the fields of both satisfies
    // it.
    let mut who = account(&i.account, target);
    for (name, value) in [
        ("name", i.account.as_str()),
        ("slug", &i.account),
        ("created_at", "2024-01-01T00:00:00Z"),
        ("updated_at", "2024-01-01T00:00:00Z"),
    ] {
        who[name] = json!(value);
    }
    json!({
        "id": i.id,
        "app_id": APP_ID,
        "app_slug": "muster-test",
        "target_id": 1,
        "target_type": target,
        "account": who,
        "single_file_name": null,
        "repository_selection": "all",
        "access_tokens_url": format!("{base}/app/installations/{}/access_tokens", i.id),
        "html_url": format!("https://github.com/organizations/{}/settings/installations/{}", i.account, i.id),
        "repositories_url": format!("{base}/installation/repositories"),
        "events": app.events,
        "permissions": app.granted,
        "created_at": "2024-01-01T00:00:00Z",
        "updated_at": "2024-01-01T00:00:00Z",
        "suspended_by": null,
        "suspended_at": app.suspended.then_some("2026-01-01T00:00:00Z"),
    })
}
