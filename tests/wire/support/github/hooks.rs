//! The webhooks: GitHub's own example payloads with the ids and names of our jobs, which the double signs and sends.

use std::collections::BTreeMap;
use std::time::Duration;

use hmac::{Hmac, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::task::JoinHandle;

use super::routes::rfc3339;
use super::{Double, Job};

/// How deliveries are sent. By default, each is sent once and at once, and the events of a job are sent in their order.
#[derive(Default)]
pub struct Hooks {
    /// The receiver's URL, and the secret. None: nothing is sent.
    pub target: Option<(String, String)>,
    /// How many more times each delivery is sent.
    pub copies: u32,
    /// The wait before each delivery.
    pub delay: Duration,
    /// Actions (`queued`, `in_progress`, `completed`) whose deliveries are never sent.
    pub dropped: Vec<&'static str>,
    /// Whether deliveries are held back until [`Double::release_held`].
    pub hold: bool,
    held: Vec<Delivery>,
    pub(super) sent: Vec<Sent>,
    last: BTreeMap<u64, JoinHandle<()>>,
    next_delivery: u64,
}

/// A delivery that is signed and ready to be sent.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The id of the job.
    pub job: u64,
    /// The action, such as `queued`.
    pub action: String,
    /// The header `X-GitHub-Delivery`.
    pub id: String,
    /// The body, as it is signed.
    pub body: Vec<u8>,
}

/// A delivery that was sent, with its result.
#[derive(Clone, Debug)]
pub struct Sent {
    pub delivery: Delivery,
    /// The status of the receiver's answer; 0 if there was none.
    pub status: u16,
    /// When the delivery was sent, in milliseconds since 1970.
    pub at_ms: u64,
}

/// The header `X-Hub-Signature-256` for a body.
pub fn sign(secret: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes a key of any length");
    mac.update(body);
    format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
}

/// Makes the request of a webhook as GitHub makes it. `signature` None: there is no such header. Returns the status; 0 if
/// there was no answer.
pub async fn post(url: &str, event: &str, delivery: &str, signature: Option<&str>, body: Vec<u8>) -> u16 {
    let mut request = reqwest::Client::new()
        .post(url)
        .timeout(Duration::from_secs(10)) // GitHub's own patience
        .header("content-type", "application/json")
        .header("user-agent", "GitHub-Hookshot/0000000")
        .header("x-github-event", event)
        .header("x-github-delivery", delivery);
    if let Some(signature) = signature {
        request = request.header("x-hub-signature-256", signature);
    }
    request.body(body).send().await.map_or(0, |answer| answer.status().as_u16())
}

/// GitHub's example of a `workflow_job` payload, with the facts of this job.
pub fn payload(job: &Job, action: &str, installation: u64) -> Value {
    let text = match action {
        "queued" => include_str!("../../../github/payloads/workflow_job.queued.1.json"),
        "waiting" => include_str!("../../../github/payloads/workflow_job.waiting.1.json"),
        "in_progress" => include_str!("../../../github/payloads/workflow_job.in_progress.3.json"),
        "completed" => include_str!("../../../github/payloads/workflow_job.completed.1.json"),
        _ => panic!("GitHub sends no workflow_job.{action}"),
    };
    let mut payload: Value = serde_json::from_str(text).expect("the payloads are JSON");
    let (owner, name) = job.repo.split_once('/').expect("OWNER/NAME");
    let said = &mut payload["workflow_job"];
    said["id"] = json!(job.id);
    (said["run_id"], said["run_attempt"]) = (json!(job.run), json!(job.attempt));
    said["labels"] = json!(job.labels);
    said["status"] = json!(action);
    let began = if job.at_ms[1] == 0 { job.at_ms[0] } else { job.at_ms[1] };
    (said["created_at"], said["started_at"]) = (json!(rfc3339(job.at_ms[0])), json!(rfc3339(began)));
    said["conclusion"] = if action == "completed" { json!(job.conclusion) } else { Value::Null };
    let taken = job.runner.as_ref().filter(|_| action == "in_progress" || action == "completed");
    said["runner_id"] = json!(taken.map(|(id, _)| id));
    said["runner_name"] = json!(taken.map(|(_, name)| name));
    said["runner_group_id"] = json!(taken.map(|_| 1));
    said["runner_group_name"] = json!(taken.map(|_| "Default"));
    payload["repository"]["name"] = json!(name);
    payload["repository"]["full_name"] = json!(job.repo);
    payload["repository"]["owner"]["login"] = json!(owner);
    // An App in an organisation always hears the organisation's name. Some of the examples are of a user's repository.
    let mut organization: Value = serde_json::from_str(include_str!("../../../github/payloads/workflow_job.completed.1.json"))
        .map(|mut example: Value| example["organization"].take())
        .expect("the payloads are JSON");
    organization["login"] = json!(owner);
    payload["organization"] = organization;
    payload["installation"] = json!({ "id": installation, "node_id": "MDIzOkludGVncmF0aW9uSW5zdGFsbGF0aW9uMzQ1Njk5Ng==" });
    payload
}

/// A repository as lists show it.
pub(super) fn minimal_repository(repo: &str) -> Value {
    let mut said: Value = serde_json::from_str(include_str!("../../../github/payloads/workflow_job.completed.1.json"))
        .map(|mut example: Value| example["repository"].take())
        .expect("the payloads are JSON");
    let (owner, name) = repo.split_once('/').expect("OWNER/NAME");
    (said["name"], said["full_name"], said["owner"]["login"]) = (json!(name), json!(repo), json!(owner));
    said
}

impl Double {
    /// Webhooks go to this URL from now on.
    pub fn send_webhooks_to(&self, url: &str, secret: &str) {
        self.lock().hooks.target = Some((url.into(), secret.into()));
    }

    /// Changes how deliveries go.
    pub fn hooks(&self, change: impl FnOnce(&mut Hooks)) {
        change(&mut self.lock().hooks);
    }

    /// Sends one event of a job, whether or not the job is in that state. A test may want late and reordered events.
    pub fn send_event(&self, job: u64, action: &str) {
        let mut state = self.lock();
        let installation = state.installations.first().map_or(1, |i| i.id);
        let Some(mut said) = state.jobs.get(&job).map(|j| payload(j, action, installation)) else { return };
        if let Some(slug) = &state.enterprise {
            said["enterprise"] = json!({
                "id": 1, "slug": slug, "name": slug, "node_id": "E_1", "html_url": format!("https://github.com/enterprises/{slug}"),
                "avatar_url": "https://avatars.githubusercontent.com/b/1?v=4",
                "created_at": "2020-01-01T00:00:00Z", "updated_at": "2020-01-01T00:00:00Z",
            });
        }
        let problems = self.api.payload_problems(&format!("webhook-workflow-job-{}", action.replace('_', "-")), &said);
        state.violations.extend(problems);
        state.hooks.next_delivery += 1;
        let id = format!("00000000-0000-4000-8000-{:012x}", state.hooks.next_delivery);
        let delivery = Delivery { job, action: action.into(), id, body: said.to_string().into_bytes() };
        if state.hooks.dropped.contains(&action) {
            return;
        }
        if state.hooks.hold {
            state.hooks.held.push(delivery);
            return;
        }
        drop(state);
        self.deliver(delivery);
    }

    /// Sends a delivery after the earlier deliveries of the same job.
    pub(super) fn deliver(&self, delivery: Delivery) {
        let mut state = self.lock();
        let Some((url, secret)) = state.hooks.target.clone() else { return };
        let (copies, delay) = (state.hooks.copies, state.hooks.delay);
        let before = state.hooks.last.remove(&delivery.job);
        let (double, job) = (self.clone(), delivery.job);
        let task = tokio::spawn(async move {
            if let Some(before) = before {
                before.await.ok();
            }
            tokio::time::sleep(delay).await;
            for _ in 0..=copies {
                let signature = sign(&secret, &delivery.body);
                let at_ms = crate::support::now_ms();
                let status = post(&url, "workflow_job", &delivery.id, Some(&signature), delivery.body.clone()).await;
                double.lock().hooks.sent.push(Sent { delivery: delivery.clone(), status, at_ms });
            }
        });
        state.hooks.last.insert(job, task);
    }

    /// Sends the held deliveries one after the other, in their order or reversed. From now on, no delivery is held.
    pub async fn release_held(&self, reversed: bool) {
        let mut held = {
            let mut state = self.lock();
            state.hooks.hold = false;
            std::mem::take(&mut state.hooks.held)
        };
        if reversed {
            held.reverse();
        }
        for delivery in held {
            let job = delivery.job;
            self.deliver(delivery);
            let task = self.lock().hooks.last.remove(&job);
            if let Some(task) = task {
                task.await.ok();
            }
        }
    }

    /// Sends again all deliveries that had no answer or a 5xx, as muster or an operator may ask GitHub to. Returns how
    /// many.
    pub fn redeliver_failed(&self) -> usize {
        let failed: Vec<Delivery> = {
            let mut state = self.lock();
            let (failed, sent) =
                std::mem::take(&mut state.hooks.sent).into_iter().partition(|s| s.status == 0 || s.status >= 500);
            state.hooks.sent = sent;
            Vec::from_iter(failed.into_iter().map(|s: Sent| s.delivery))
        };
        let count = failed.len();
        failed.into_iter().for_each(|d| self.deliver(d));
        count
    }

    /// All deliveries that were sent, with their results.
    pub fn sent(&self) -> Vec<Sent> {
        self.lock().hooks.sent.clone()
    }
}
