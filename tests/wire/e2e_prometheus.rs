//! A real Prometheus scrapes the running binary with the configuration of `manifests/prometheus/`. The rules pass their own
//! unit tests and can be evaluated. One alert fires for its cause, and every panel of `manifests/grafana/` has data.

use crate::support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use support::instances::Habits;
use support::scene::{Scene, linux};
use support::tools::{Port, Running, have};
use support::{eventually, ms, same, secs};

const PRICES: &str = "asOf: 2026-06-17\ncurrency: USD\nlinux:\n  m7i.large: {onDemand: 0.1, spot: 0.04}\n";

fn manifests(part: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests").join(part)
}

struct Prometheus {
    url: String,
    http: reqwest::Client,
    _running: Running,
    _port: Port,
    _dir: tempfile::TempDir,
}

impl Prometheus {
    /// Starts Prometheus with the shipped configuration. Only the target and the pace are the test's.
    fn start(target: &str) -> Prometheus {
        let dir = tempfile::tempdir().expect("a directory");
        for name in ["recording.rules.yaml", "alerts.rules.yaml"] {
            fs::copy(manifests("prometheus").join(name), dir.path().join(name)).expect("the rules can be copied");
        }
        let config = fs::read_to_string(manifests("prometheus").join("prometheus.yaml")).expect("the configuration");
        assert!(
            config.contains("127.0.0.1:9090") && config.contains("15s"),
            "the configuration has what the test changes: {config}"
        );
        let config = config.replace("127.0.0.1:9090", target).replace("15s", "1s");
        fs::write(dir.path().join("prometheus.yaml"), config).expect("it can be written");
        let port = Port::reserve();
        let address = format!("127.0.0.1:{}", port.number());
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", dir.path().join("prometheus.yaml").display()))
            .arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus starts");
        Prometheus {
            url: format!("http://{address}"),
            http: reqwest::Client::new(),
            _running: Running(child),
            _port: port,
            _dir: dir,
        }
    }

    async fn ask(&self, path: &str, query: &[(&str, &str)]) -> Result<Value, String> {
        let query = serde_urlencoded::to_string(query).expect("a query string");
        let answer = self.http.get(format!("{}/api/v1/{path}?{query}", self.url)).send().await.map_err(|e| e.to_string())?;
        let body: Value = answer.json().await.map_err(|e| e.to_string())?;
        if body["status"] == "success" { Ok(body["data"].clone()) } else { Err(format!("{path} {query}: {body}")) }
    }

    /// The values of an instant query that are numbers.
    async fn values(&self, query: &str) -> Result<Vec<f64>, String> {
        let data = self.ask("query", &[("query", query)]).await?;
        let rows = data["result"].as_array().cloned().unwrap_or_default();
        let number = |row: &Value| row["value"][1].as_str().and_then(|text| text.parse::<f64>().ok()).filter(|n| !n.is_nan());
        Ok(rows.iter().filter_map(number).collect())
    }
}

/// The queries of every panel, as Grafana would ask them for all pools and the last minute. The key is the dashboard and
/// the title.
fn panels() -> BTreeMap<String, Vec<String>> {
    let mut all = BTreeMap::new();
    for file in ["operations.json", "apis.json", "cost.json"] {
        let text = fs::read_to_string(manifests("grafana").join(file)).expect("a dashboard");
        let board: Value = serde_json::from_str(&text).expect("JSON");
        for panel in board["panels"].as_array().expect("panels") {
            let ask = |t: &Value| t["expr"].as_str().expect("a query").replace("$pool", ".*").replace("$__rate_interval", "1m");
            let queries = panel["targets"].as_array().expect("targets").iter().map(ask).collect();
            all.insert(format!("{file}: {}", panel["title"].as_str().expect("a title")), queries);
        }
    }
    all
}

#[test]
fn the_rules_pass_their_unit_tests_and_each_runbook_exists() {
    if !have("promtool", "prometheus") {
        return;
    }
    for args in [vec!["check", "rules", "recording.rules.yaml", "alerts.rules.yaml"], vec!["test", "rules", "tests.yaml"]] {
        let output = Command::new("promtool").args(&args).current_dir(manifests("prometheus")).output().expect("promtool runs");
        assert!(
            output.status.success(),
            "promtool {args:?}: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let rules = fs::read_to_string(manifests("prometheus").join("alerts.rules.yaml")).expect("the alerts");
    let runbooks = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/runbooks.md")).expect("the runbooks");
    let headings: Vec<String> =
        runbooks.lines().filter_map(|l| l.strip_prefix("## ")).map(|h| h.to_lowercase().replace(' ', "-")).collect();
    let links: Vec<&str> =
        rules.lines().filter_map(|l| l.trim().strip_prefix("runbook_url: ")?.split_once('#')).map(|(_, a)| a).collect();
    assert_eq!(links.len(), rules.matches("- alert: ").count(), "every alert has a runbook");
    let missing: Vec<&&str> = links.iter().filter(|anchor| !headings.iter().any(|h| h == *anchor)).collect();
    assert!(missing.is_empty(), "no runbook for {missing:?}");
}

#[tokio::test]
async fn prometheus_scrapes_the_rules_evaluate_and_every_panel_has_data() {
    if !have("prometheus", "prometheus") {
        return;
    }
    let Some(mut scene) = Scene::prepare(&[linux()], Habits { job: ms(800), ..Habits::default() }).await else { return };
    let dir = tempfile::tempdir().expect("a directory");
    let prices = dir.path().join("prices.yaml");
    fs::write(&prices, PRICES).expect("a file");
    scene.muster.args(&["--prices", prices.to_str().expect("UTF-8")]);
    scene.moto.fault(serde_json::json!({ "op": "CreateFleet", "kind": "capacity", "market": "spot", "times": 1 })).await;
    scene.muster.spawn();
    scene.muster.ready().await;
    let target = scene.muster.admin_url("").trim_start_matches("http://").to_owned();
    let prometheus = Prometheus::start(&target);
    eventually(secs(30), "muster is scraped", || async { same(prometheus.values("up{job=\"muster\"}").await?, vec![1.0]) }).await;

    // Jobs come until every panel shows something, because a rate needs two scrapes with a change between them.
    let panels = panels();
    assert!(panels.len() > 30, "all dashboards were read: {}", panels.len());
    eventually(secs(90), "every panel's queries return data", || async {
        scene.queue_jobs(1);
        tokio::time::sleep(secs(2)).await;
        let mut empty = Vec::new();
        for (title, queries) in &panels {
            for query in queries {
                if prometheus.values(query).await?.is_empty() {
                    empty.push(format!("{title}: {query}"));
                }
            }
        }
        same(empty, Vec::new())
    })
    .await;
    println!("{} panels, {} queries: all have data", panels.len(), panels.values().map(Vec::len).sum::<usize>());

    scene.moto.send(&scene.world.jobs, "nobody can read this").await;
    eventually(secs(30), "the dead letter's alert fires", || async {
        let alerts = prometheus.ask("alerts", &[]).await?;
        let firing = |a: &Value| a["labels"]["alertname"] == "MusterDeadLetters" && a["state"] == "firing";
        let found = alerts["alerts"].as_array().is_some_and(|all| all.iter().any(firing));
        if found { Ok(()) } else { Err(alerts.to_string()) }
    })
    .await;
    let groups = prometheus.ask("rules", &[]).await.expect("an answer");
    let rules: Vec<&Value> =
        groups["groups"].as_array().expect("groups").iter().flat_map(|g| g["rules"].as_array().expect("rules")).collect();
    let unwell: Vec<&&Value> = rules.iter().filter(|r| r["health"] != "ok").collect();
    assert!(rules.len() > 15 && unwell.is_empty(), "{unwell:?}");
    let critical = rules.iter().filter(|r| r["labels"]["severity"] == "critical" && r["state"] == "firing").count();
    assert_eq!(critical, 0, "nothing critical fires in a healthy world");
    let coverage = prometheus.values("muster_cost_coverage_ratio").await.expect("an answer");
    assert!(coverage.iter().all(|share| (0.0..=1.0).contains(share)) && !coverage.is_empty(), "{coverage:?}");
}
