//! The second judge: whether the policies that Terraform renders allow the calls that were made, conditions included. moto
//! tells what each call needs (`tests/moto/judge/needs.py`), and an evaluator that others wrote says whether it is allowed
//! (`tests/iam/`).

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, OnceLock};

use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::sync::OnceCell;

use super::moto::{INSTANCE_KEY, MUSTER_KEY, Moto, OPERATOR_KEY};
use super::terraform::Terraform;
use super::tools::skip;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// The names that stand in the rendered policies for a test's own cluster and pools.
const CLUSTER: &str = "judged";
const POOL: &str = "stand-in";
/// The customer's key of the second rendering. `tests/moto/judge/needs.py` has it, too.
const KEY: &str = "arn:aws:kms:eu-west-1:123456789012:key/11111111-2222-3333-4444-555555555555";

/// Why calls are not judged by the policies.
pub const NO_EVALUATOR: &str =
    "calls are not held against IAM's policies: that needs Node.js 20 or newer with npm, `make setup`, and Terraform";

/// One permission that a call needs.
#[derive(Clone, Debug, Deserialize)]
pub struct Need {
    /// The access key of the caller.
    pub caller: String,
    /// The policies of the caller's session, as they were created in moto. None: the caller has no session.
    pub policies: Option<Vec<Value>>,
    /// The call, such as `ec2.CreateFleet`.
    pub call: String,
    /// The question to the evaluator.
    #[serde(flatten)]
    pub request: Request,
}

/// A question to IAM.
#[derive(Clone, Debug, Deserialize, serde::Serialize)]
pub struct Request {
    /// The action, such as `ec2:RunInstances`.
    pub action: String,
    /// The ARN of the resource.
    pub resource: String,
    /// The condition keys, each with its value in this request.
    pub context: Value,
}

/// The policies by role, for one world: without a customer's key, and with one.
#[derive(Clone, Debug)]
pub struct Policies {
    plain: Value,
    with_key: Value,
}

/// The policies that Terraform rendered, with stand-ins for cluster, pool and subnet.
#[derive(Clone, Debug, Deserialize, serde::Serialize)]
struct Rendered {
    subnet: String,
    plain: Value,
    with_key: Value,
}

// -------------------------------------------------------------------------------------------------------- policies

impl Policies {
    /// The policies for a cluster with these pools and subnets. None: Terraform or node is missing, which was reported.
    pub async fn of(cluster: &str, pools: &[String], subnets: &[String]) -> Option<Policies> {
        static RENDERED: OnceCell<Option<Rendered>> = OnceCell::const_new();
        evaluator()?;
        let rendered = RENDERED.get_or_init(|| async { Box::pin(rendered()).await }).await.as_ref()?;
        let settle = |policies: &Value| -> Value {
            let mut settled: Value =
                serde_json::from_str(&policies.to_string().replace(CLUSTER, cluster)).expect("a name needs no escape");
            for statement in settled.as_object_mut().expect("roles").values_mut().flat_map(statements) {
                let field = if statement["Resource"].is_null() { "NotResource" } else { "Resource" };
                let resources = expand(&statement[field], &rendered.subnet, subnets);
                statement[field] = expand(&resources, POOL, pools);
            }
            settled
        };
        Some(Policies { plain: settle(&rendered.plain), with_key: settle(&rendered.with_key) })
    }

    /// The policy of a role, such as `controller` or `runner`.
    pub fn role(&self, role: &str, key: bool) -> &Value {
        let name = if role == "runner" { format!("runner {POOL}") } else { role.to_owned() };
        let policies = if key { &self.with_key } else { &self.plain };
        policies.get(&name).unwrap_or_else(|| panic!("Terraform renders no policy `{name}`"))
    }
}

fn statements(policy: &mut Value) -> impl Iterator<Item = &mut Value> {
    policy["Statement"].as_array_mut().expect("statements").iter_mut()
}

/// Replaces each resource that contains the stand-in by one resource for each real name.
fn expand(resources: &Value, stand_in: &str, real: &[String]) -> Value {
    let one = [resources.clone()];
    let all = resources.as_array().map_or(&one[..], Vec::as_slice).iter().filter_map(Value::as_str);
    let expanded = all.flat_map(|resource| -> Vec<Value> {
        if resource.contains(stand_in) {
            real.iter().map(|name| resource.replace(stand_in, name).into()).collect()
        } else {
            vec![resource.into()]
        }
    });
    expanded.collect()
}

/// The rendered policies. They are kept in a file that is named by what they were made of, so Terraform runs once for all
/// tests.
async fn rendered() -> Option<Rendered> {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("policies-{}.json", fingerprint()));
    if let Some(kept) = fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok()) {
        return Some(kept);
    }
    let moto = Moto::start().await?;
    let seen = moto.ec2.describe_subnets().send().await.expect("moto lists its subnets");
    let subnet = seen.subnets()[0].subnet_id().expect("an id").to_owned();
    let terraform = Terraform::new(Some(&moto))?;
    let made = tokio::task::spawn_blocking(move || plan(&terraform, &subnet)).await.expect("Terraform plans");
    let draft = path.with_extension(std::process::id().to_string());
    fs::write(&draft, serde_json::to_vec(&made).expect("JSON")).expect("a file");
    fs::rename(draft, path).expect("a file");
    Some(made)
}

fn fingerprint() -> String {
    fn feed(hash: &mut Sha256, path: &Path) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() && !name.starts_with(".terraform") {
            let mut inside: Vec<PathBuf> = fs::read_dir(path).expect("a folder").flatten().map(|entry| entry.path()).collect();
            inside.sort();
            inside.iter().for_each(|path| feed(hash, path));
        } else if path.is_file() {
            hash.update(path.to_string_lossy().as_bytes());
            hash.update(fs::read(path).expect("a file"));
        }
    }
    let mut hash = Sha256::new();
    for part in ["terraform", "tests/wire/support/iam.rs"] {
        feed(&mut hash, &Path::new(ROOT).join(part));
    }
    hex::encode(hash.finalize())
}

fn plan(terraform: &Terraform, subnet: &str) -> Rendered {
    let call = |name: &str, more: &str| {
        format!(
            "module \"{name}\" {{\n  source = \"../terraform\"\n  cluster = \"{CLUSTER}\"\n  manifests = \"${{path.module}}/manifests\"\n  \
             controller = {{ subnet_ids = [\"{subnet}\"], image = \"registry.example/muster:1\" }}\n  {more}\n}}\n\
             output \"{name}\" {{ value = module.{name}.policies }}\n"
        )
    };
    let main = call("plain", "create_kms_key = false") + &call("with_key", &format!("kms_key_arn = \"{KEY}\""));
    terraform.write("stage/main.tf", &main);
    terraform.write(
        "stage/manifests/app.yaml",
        &format!(
            "apiVersion: muster/v1\nkind: GitHubApp\nmetadata: {{name: main}}\nspec:\n  appId: 1\n  privateKey: ssm:/muster/{CLUSTER}/key\n  \
             webhookSecrets: [ssm:/muster/{CLUSTER}/secret]\n"
        ),
    );
    terraform.write(
        "stage/manifests/controller.yaml",
        &format!(
            "apiVersion: muster/v1\nkind: Controller\nmetadata: {{name: {CLUSTER}}}\nspec:\n  \
             queues: {{jobs: 'https://sqs.eu-west-1.amazonaws.com/123456789012/{CLUSTER}-jobs'}}\n  \
             listen: {{adminToken: 'ssm:/muster/{CLUSTER}/admin-token'}}\n"
        ),
    );
    terraform.write(
        "stage/manifests/pool.yaml",
        &format!(
            "apiVersion: muster/v1\nkind: RunnerPool\nmetadata: {{name: {POOL}}}\nspec:\n  github: {{app: main, scope: org/acme}}\n  \
             labels: [linux]\n  bootstrap: {{reportStages: true}}\n  instance: {{types: [m7i.large], subnets: [{subnet}]}}\n"
        ),
    );
    terraform.init("stage");
    let outputs = terraform.plan("stage")["planned_values"]["outputs"].take();
    let policies = |name: &str| -> Value {
        let rendered = outputs[name]["value"].as_object().expect("policies that are known at plan").iter();
        let parsed = |text: &Value| serde_json::from_str::<Value>(text.as_str().expect("a policy")).expect("JSON");
        rendered.map(|(role, text)| (role.clone(), parsed(text))).collect()
    };
    Rendered { subnet: subnet.to_owned(), plain: policies("plain"), with_key: policies("with_key") }
}

// ------------------------------------------------------------------------------------------------------- evaluator

/// The evaluator's process. All tests share one, which ends when its standard input does.
struct Evaluator {
    _child: Child,
    asks: ChildStdin,
    says: BufReader<ChildStdout>,
}

/// The evaluator. None: it cannot run here, which is reported once. With `CI=true` that is a failure.
fn evaluator() -> Option<&'static Mutex<Evaluator>> {
    static RUNS: OnceLock<Option<Mutex<Evaluator>>> = OnceLock::new();
    let start = || {
        let folder = Path::new(ROOT).join("tests/iam");
        let there = folder.join("node_modules/@cloud-copilot/iam-simulate").is_dir();
        let mut command = Command::new("node");
        command.arg("evaluate.mjs").current_dir(&folder).stdin(Stdio::piped()).stdout(Stdio::piped());
        let child = if there { command.spawn().ok() } else { None };
        let Some(mut child) = child else {
            skip(NO_EVALUATOR);
            return None;
        };
        let (asks, says) = (child.stdin.take().expect("piped"), BufReader::new(child.stdout.take().expect("piped")));
        Some(Mutex::new(Evaluator { _child: child, asks, says }))
    };
    RUNS.get_or_init(start).as_ref()
}

/// Why the policies refuse each request; None where they allow it. The whole answer is None if there is no evaluator.
pub fn refusals(policies: &[&Value], requests: &[&Request]) -> Option<Vec<Option<String>>> {
    let mut evaluator = evaluator()?.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    writeln!(evaluator.asks, "{}", json!({ "policies": policies, "requests": requests })).expect("the evaluator listens");
    let mut line = String::new();
    evaluator.says.read_line(&mut line).expect("the evaluator answers");
    let said: Vec<Option<String>> = serde_json::from_str(&line).expect("the evaluator's answer is readable");
    assert_eq!(said.len(), requests.len());
    Some(said)
}

// --------------------------------------------------------------------------------------------------------- verdict

/// The role whose policies apply to a call, and these policies. None: the caller may do everything.
fn held_against<'a>(need: &'a Need, policies: Option<&'a Policies>, key: bool) -> Option<(&'static str, Vec<&'a Value>)> {
    if let Some(own) = &need.policies {
        return (!key).then(|| ("the session's role", own.iter().collect()));
    }
    let policies = policies?;
    match &*need.caller {
        // One process has both roles, as on a machine of its own.
        MUSTER_KEY => Some(("controller and webhook", vec![policies.role("controller", key), policies.role("webhook", key)])),
        OPERATOR_KEY => Some(("operator and doctor", vec![policies.role("operator", key), policies.role("doctor", key)])),
        caller if caller.starts_with(INSTANCE_KEY) => Some(("runner", vec![policies.role("runner", key)])),
        _ => None,
    }
}

/// How many needs were evaluated, and which calls the policies do not allow.
pub fn judge(needs: &[Need], policies: Option<&Policies>) -> (u64, Vec<String>) {
    let (mut evaluated, mut violations) = (0, Vec::new());
    for key in [false, true] {
        let mut by_role: BTreeMap<String, (&str, Vec<&Value>, Vec<&Need>)> = BTreeMap::new();
        for need in needs.iter().filter(|need| key || !need.request.action.starts_with("kms:")) {
            if let Some((role, policies)) = held_against(need, policies, key) {
                by_role.entry(format!("{role} {}", need.caller)).or_insert_with(|| (role, policies, Vec::new())).2.push(need);
            }
        }
        for (role, policies, needs) in by_role.into_values() {
            let requests: Vec<&Request> = needs.iter().map(|need| &need.request).collect();
            let Some(answers) = refusals(&policies, &requests) else { return (0, Vec::new()) };
            evaluated += answers.len() as u64;
            let refused = needs.iter().zip(answers).filter_map(|(need, refusal)| Some((need, refusal?)));
            violations.extend(refused.map(|(need, why)| {
                let Request { action, resource, context } = &need.request;
                format!(
                    "{} by {}: the policy of {role} refuses {action} on {resource} with {context}: {why}",
                    need.call, need.caller
                )
            }));
        }
    }
    violations.sort();
    violations.dedup(); // what is refused with a key is refused without one
    (evaluated, violations)
}
