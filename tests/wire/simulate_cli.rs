//! `muster simulate`, as a user runs it. It needs no AWS, no GitHub, and not the feature `live`.
//!
//! The expected outputs change with every change of the simulator or of a decision. When the new outputs are right, write
//! them with `MUSTER_BLESS=1 cargo test --no-default-features --test wire simulate_cli`.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use html5ever::tendril::TendrilSink;
use markup5ever_rcdom::{Handle, NodeData, RcDom};
use serde_json::Value;

const FIXTURES: &str = "tests/fixtures/simulate";

/// Runs the command at the repository's root, so that the paths in messages are the same everywhere.
fn simulate(args: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_muster"));
    command.current_dir(env!("CARGO_MANIFEST_DIR")).arg("simulate");
    command.args(args.split_whitespace().map(|a| a.replace("FIX", FIXTURES))).output().expect("the binary runs")
}

fn good(args: &str) -> String {
    let output = simulate(args);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stderr(&output), "");
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Compares a text with the file, or writes the file.
fn expect(file: &str, said: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(FIXTURES).join(file);
    if std::env::var_os("MUSTER_BLESS").is_some() {
        fs::write(&path, said).expect("the fixture is written");
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    for (nth, (is, should)) in said.lines().zip(expected.lines()).enumerate() {
        assert_eq!(is, should, "{file}:{}: if the new output is right, run again with MUSTER_BLESS=1", nth + 1);
    }
    assert_eq!(said.lines().count(), expected.lines().count(), "{file}: MUSTER_BLESS=1 writes it");
}

#[test]
fn the_table_says_what_was_asked() {
    let table = good("FIX/pools --trace FIX/trace.csv --prices FIX/prices.yaml");
    expect("expected.txt", &table);
    for words in
        ["A model, not a forecast", "such as [self-hosted, linux, gpu]", "without a price: windows m7i.xlarge", "ASSUMED"]
    {
        assert!(table.contains(words), "{words}: {table}");
    }
}

#[test]
fn json_is_the_same_value() {
    let json = good("FIX/pools --trace FIX/trace.csv --prices FIX/prices.yaml -o json");
    expect("expected.json", &json.replace(env!("CARGO_PKG_VERSION"), "VERSION"));
    let value: Value = serde_json::from_str(&json).expect("JSON");
    let total = &value["runs"][0]["total"];
    assert_eq!((&total["jobs"], &total["unstarted"]), (&Value::from(11), &Value::from(0)));
    assert_eq!(value["runs"][0]["unrouted"][0]["jobs"], 1);
    let coverage = value["runs"][0]["cost"]["coverage"].as_f64().expect("a share");
    assert!(coverage > 0.5 && coverage < 1.0, "the Windows pool has no price: {coverage}");
}

#[test]
fn two_directories_stand_side_by_side_over_the_same_jobs() {
    let table = good("FIX/pools --trace FIX/trace.csv --prices FIX/prices.yaml --compare FIX/other --weather calm");
    expect("expected-compare.txt", &table);
    assert!(table.contains("SIDE BY SIDE: A is tests/fixtures/simulate/pools, B is tests/fixtures/simulate/other"), "{table}");
}

#[test]
fn a_seed_is_an_answer_and_another_seed_another() {
    let json = |seed: u32| good(&format!("FIX/pools --trace FIX/trace.csv -o json --seed {seed}"));
    assert_eq!(json(1), json(1));
    assert_ne!(json(1), json(2));
}

#[test]
fn json_lines_and_csv_have_the_same_answer() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("trace.jsonl");
    let csv = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(FIXTURES).join("trace.csv")).expect("the trace");
    let line = |text: &str| {
        let cells: Vec<&str> = text.split(',').collect();
        let labels: Vec<&str> = cells[2].split(';').collect();
        let mut job = serde_json::json!({"queued_at": cells[0], "duration": cells[1], "labels": labels});
        if !cells[3].is_empty() {
            job["repo"] = cells[3].into();
        }
        job.to_string()
    };
    let lines: Vec<String> = csv.lines().skip(2).map(line).collect();
    fs::write(&path, lines.join("\n")).expect("a file");
    let runs = |json: String| serde_json::from_str::<Value>(&json).expect("JSON")["runs"].clone();
    let from_lines = good(&format!("FIX/pools --trace {} -o json", path.display()));
    assert_eq!(runs(from_lines), runs(good("FIX/pools --trace FIX/trace.csv -o json")));
}

#[test]
fn the_documented_workload_works_with_the_documented_manifests() {
    let body =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(FIXTURES).join("workload.yaml")).expect("a workload");
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("w.yaml");
    // One busy hour of the day is enough.
    fs::write(&path, body.replacen("T00:00:00Z", "T09:00:00Z", 1).replacen("length: 1d", "length: 1h", 1)).expect("a file");
    let table = good(&format!("manifests --workload {} --weather calm", path.display()));
    assert!(table.contains("linux-arm64") && table.contains("windows-x64"), "{table}");
}

#[test]
fn all_that_is_wrong_with_all_files_is_told_at_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = |name: &str, body: &str| {
        fs::write(dir.path().join(name), body).expect("a file");
        dir.path().join(name).display().to_string()
    };
    let pools = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(FIXTURES).join("pools/pools.yaml")).expect("pools");
    file("pools.yaml", &pools.replace("max: 3", "max: -3"));
    let trace = file("t.csv", "queued_at,duration,labels\nsoon,5m,x\n0,never,x\n");
    let prices = file("p.txt", "asOf: yesterday\ncurrency: USD\nlinux: {m5.large: {spot: -1}}\n");
    let world = file("w.txt", "world: {interruption: 3}\n");
    let at = dir.path().display().to_string();
    let output = simulate(&format!("{at} --trace {trace} --workload {world} --prices {prices}"));
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), &[][..]), "{}", stderr(&output));
    let said = stderr(&output);
    for line in [
        format!("{at}/pools.yaml:5: spec.github.app: no GitHubApp is named main"),
        format!("{at}/pools.yaml:7: spec.capacity.max: expected a whole number"),
        format!("{trace}:2: queued_at: `soon` is no time; write RFC 3339"),
        format!("{trace}:3: duration: `never` is no duration"),
        format!("{prices}:1: asOf: required: write the day"),
        format!("{prices}:3: linux.m5.large.spot: no price of an hour"),
        format!("{world}:1: world.interruption: 3 is no share"),
    ] {
        assert!(said.lines().any(|l| l.starts_with(&line)), "{line} is not among:\n{said}");
    }
}

#[test]
fn wrong_usage_and_what_cannot_be_read_or_written_say_so() {
    for (args, code, words) in [
        ("FIX/pools", 2, "--trace <FILE>"),
        ("no/such/dir --trace FIX/trace.csv", 2, "no/such/dir is no directory"),
        ("FIX/pools --trace FIX/trace.csv --compare no/such/dir", 2, "no/such/dir is no directory"),
        ("FIX/pools --trace FIX/trace.csv --weather snow", 2, "calm, mild, rough"),
        ("FIX/pools --trace no-such.csv", 1, "cannot read no-such.csv"),
        ("FIX/pools --trace FIX/trace.csv --html no/such/dir/x.html", 1, "cannot write the report no/such/dir/x.html"),
        ("FIX/pools --trace FIX/trace.csv --html FIX/pools", 1, "it is a directory"),
        ("FIX/pools --trace FIX/trace.csv --workload FIX/workload.yaml", 1, "the jobs come from the trace"),
    ] {
        let output = simulate(args);
        assert_eq!(output.status.code(), Some(code), "{args}: {}", stderr(&output));
        assert!(stderr(&output).contains(words), "{args}: {}", stderr(&output));
    }
}

#[test]
fn a_trace_that_can_be_misread_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("trace");
    for (body, says) in [
        ("# ours\nqueued_at,duration,labels\n0,60,\"linux\n1,60,linux\n2,60,linux\n", ":3: a quote is not closed on its line"),
        ("queued_at,duration,labels,repo,Repo\n0,60,x,acme/a,acme/b\n", ":1: repo: `repo` and `Repo` name this field"),
        ("{\"queued_at\":0,\"duration\":60,\"Duration\":9,\"labels\":[\"x\"]}\n", ":1: duration: `duration` and `Duration` name"),
        (
            "[{\"queued_at\":0,\"duration\":60,\"labels\":[\"x\"]}]\n",
            ":1: a JSON array; a trace is JSON lines, one object a line",
        ),
    ] {
        fs::write(&path, body).expect("a trace");
        let output = simulate(&format!("FIX/pools --trace {}", path.display()));
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), &[][..]), "{body}");
        assert!(stderr(&output).starts_with(&format!("{}{says}", path.display())), "{body}: {}", stderr(&output));
        assert_eq!(stderr(&output).lines().count(), 1, "{body}: {}", stderr(&output));
    }
}

#[test]
fn interruptions_and_reruns_are_told_by_every_printer() {
    let dir = tempfile::tempdir().expect("a directory");
    let (world, report) = (dir.path().join("w.yaml"), dir.path().join("r.html"));
    fs::write(&world, "world: {interruption: 1, unwarned: 1, rerunLostAfter: 5m}\n").expect("a workload");
    let args = format!("FIX/pools --compare FIX/other --trace FIX/trace.csv --workload {}", world.display());
    let json: Value = serde_json::from_str(&good(&format!("{args} -o json"))).expect("JSON");
    let of = |run: usize, figure: &str| json["runs"][run].pointer(figure).and_then(Value::as_u64).expect("a figure");
    let compared = |figure: &str| {
        let row = json["comparison"].as_array().expect("rows").iter().find(|c| c["figure"] == figure).expect(figure);
        [&row["a"], &row["b"]].map(|x| x.as_f64().expect("a number") as u64)
    };
    assert!(of(0, "/total/takenBack") > 0 && of(0, "/reruns") > 0, "{json}");
    assert_eq!(compared("instances that spot took back"), [of(0, "/total/takenBack"), of(1, "/total/takenBack")]);
    assert_eq!(compared("lost jobs queued again"), [of(0, "/reruns"), of(1, "/reruns")]);
    let table = good(&format!("{args} --html {}", report.display()));
    let page = fs::read_to_string(report).expect("the report");
    let (taken_back, lost, again) = (of(0, "/total/takenBack"), of(0, "/total/lost"), of(0, "/reruns"));
    for said in [
        format!("instances that spot took back: {taken_back} of "),
        format!("jobs lost with their instance: {lost}, "),
        format!("{again} were queued again"),
        "instances that spot took back".into(),
        "lost jobs queued again".into(),
    ] {
        assert!(table.to_lowercase().contains(&said) && page.to_lowercase().contains(&said), "{said}: {table}");
    }
    let calm = good("FIX/pools --trace FIX/trace.csv --weather calm");
    assert!(calm.contains("instances that spot took back: 0 of "), "{calm}");
}

#[test]
fn files_that_cannot_be_read_hide_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = |name: &str| dir.path().join(name).display().to_string();
    fs::create_dir(path("empty")).expect("a directory");
    fs::create_dir(path("latin")).expect("a directory");
    for name in ["latin/a.yaml", "latin/b.yaml", "trace.csv"] {
        fs::write(path(name), b"name: caf\xe9").expect("a file");
    }
    fs::write(path("w.yaml"), "world: {interruption: 3}\n").expect("a file");
    let (pools, other, trace, world) = (path("empty"), path("latin"), path("trace.csv"), path("w.yaml"));
    let args =
        format!("{pools} --compare {other} --trace {trace} --workload {world} --prices no-such.yaml --html no/such/x.html");
    let output = simulate(&args);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let said = stderr(&output);
    for line in [
        format!("{pools} holds no *.yaml or *.yml; put the manifests there"),
        format!("cannot read the manifest {other}/a.yaml: "),
        format!("cannot read the manifest {other}/b.yaml: "),
        format!("cannot read {trace}: "),
        format!("{world}:1: world.interruption: 3 is no share"),
        "cannot read no-such.yaml: ".into(),
        "cannot write the report no/such/x.html; name another file: ".into(),
    ] {
        assert!(said.lines().any(|l| l.starts_with(&line)), "{line} is not among:\n{said}");
    }
    assert_eq!(said.lines().count(), 7, "{said}");
}

#[test]
fn a_run_that_fails_leaves_the_old_report() {
    let dir = tempfile::tempdir().expect("a directory");
    let report = dir.path().join("report.html");
    fs::write(&report, "last week's").expect("a report");
    for args in ["--trace no-such.csv", "--trace FIX/prices.yaml", "--trace FIX/trace.csv --prices FIX/trace.csv"] {
        let output = simulate(&format!("FIX/pools {args} --html {}", report.display()));
        assert_eq!(output.status.code(), Some(1), "{args}: {}", stderr(&output));
        assert_eq!(fs::read_to_string(&report).expect("the report"), "last week's", "{args}");
    }
    assert_eq!(fs::read_dir(dir.path()).expect("the directory").count(), 1, "there is no other file beside the report");
    // A report that did not exist before does not exist now.
    let output = simulate(&format!("FIX/pools --trace no-such.csv --html {}", dir.path().join("new.html").display()));
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert_eq!(fs::read_dir(dir.path()).expect("the directory").count(), 1);
}

#[test]
fn a_file_that_is_read_is_no_place_for_the_report() {
    let dir = tempfile::tempdir().expect("a directory");
    let at = |name: &str| dir.path().join(name);
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join(FIXTURES);
    for sub in ["pools", "other"] {
        fs::create_dir(at(sub)).expect("a directory");
    }
    for name in ["trace.csv", "prices.yaml", "pools/cluster.yaml", "pools/pools.yaml", "other/cluster.yaml", "other/pools.yaml"] {
        fs::copy(fixtures.join(name), at(name)).expect("a copy");
    }
    fs::write(at("w.yaml"), "world: {interruption: 0.1}\n").expect("a file");
    std::os::unix::fs::symlink(at("trace.csv"), at("link.html")).expect("a link");
    fs::hard_link(at("prices.yaml"), at("hard.html")).expect("a link");
    let d = dir.path().display();
    let all = format!("{d}/pools --compare {d}/other --trace {d}/trace.csv --workload {d}/w.yaml --prices {d}/prices.yaml");
    for (report, input) in [
        ("trace.csv", "trace.csv"),
        ("pools/../trace.csv", "trace.csv"),
        ("link.html", "trace.csv"),
        ("prices.yaml", "prices.yaml"),
        ("hard.html", "prices.yaml"),
        ("w.yaml", "w.yaml"),
        ("pools/pools.yaml", "pools/pools.yaml"),
        ("other/cluster.yaml", "other/cluster.yaml"),
    ] {
        let before = fs::read(at(input)).expect("the input");
        let output = simulate(&format!("{all} --html {d}/{report}"));
        assert_eq!(output.status.code(), Some(1), "{report}: {}", stderr(&output));
        let said = format!("the report {d}/{report} would replace {d}/{input}, which is read; name another file\n");
        assert_eq!(stderr(&output), said);
        assert_eq!(fs::read(at(input)).expect("the input"), before, "{report}");
    }
    // The report may be beside the manifests, and a link to a report stays a link.
    fs::write(at("old.html"), "last week's").expect("a report");
    fs::remove_file(at("link.html")).expect("no link");
    std::os::unix::fs::symlink(at("old.html"), at("link.html")).expect("a link");
    for report in ["pools/report.html", "link.html"] {
        good(&format!("{all} --html {d}/{report}"));
        assert!(fs::read_to_string(at(report)).expect("the report").contains("How long jobs wait"), "{report}");
    }
    assert!(at("link.html").is_symlink() && fs::read_to_string(at("old.html")).expect("the report").contains("How long"));
}

#[test]
fn a_report_is_a_file_like_any_other_or_goes_to_a_device() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().expect("a directory");
    let mode = |name: &str| fs::metadata(dir.path().join(name)).expect("a file").permissions().mode() & 0o777;
    fs::write(dir.path().join("any"), "").expect("a file");
    fs::write(dir.path().join("old.html"), "").expect("a file");
    fs::set_permissions(dir.path().join("old.html"), fs::Permissions::from_mode(0o640)).expect("a mode");
    for name in ["new.html", "old.html"] {
        good(&format!("FIX/pools --trace FIX/trace.csv --html {}", dir.path().join(name).display()));
    }
    assert_eq!((mode("new.html"), mode("old.html")), (mode("any"), 0o640));
    let both = good("FIX/pools --trace FIX/trace.csv --html /dev/stdout");
    assert!(both.contains("How long jobs wait") && both.contains("QUEUE WAIT"), "{both}");
}

#[test]
fn the_reference_names_every_field() {
    let reference = include_str!("../../docs/simulate.md");
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("w.yaml");
    let mut named = 0;
    // An unknown field is answered with all known ones.
    for body in
        ["zzz: 1", "world: {zzz: 1}", "kinds: [{zzz: 1}]", "kinds: [{rates: [{zzz: 1}]}]", "kinds: [{duration: {zzz: 1}}]"]
    {
        fs::write(&path, body).expect("a file");
        let said = stderr(&simulate(&format!("FIX/pools --workload {}", path.display())));
        let line = said.lines().find(|l| l.contains("unknown field")).unwrap_or_else(|| panic!("{body}: {said}"));
        for field in line.split('`').skip(1).step_by(2) {
            let written = [format!("`{field}`"), format!(".{field}`"), format!("{field}: ")];
            assert!(written.iter().any(|w| reference.contains(w)), "docs/simulate.md does not name {field} ({body})");
            named += 1;
        }
    }
    assert!(named > 30, "{named}");
}

#[test]
fn the_report_is_one_page_that_refers_to_nothing_outside() {
    for more in ["", "--compare FIX/other", "--prices FIX/prices.yaml --compare FIX/pools --weather rough"] {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("report.html");
        good(&format!("FIX/pools --trace FIX/trace.csv --html {} {more}", path.display()));
        let page = fs::read_to_string(&path).expect("the report");
        let dom = html5ever::parse_document(RcDom::default(), Default::default()).one(page.as_str());
        assert_eq!(dom.errors.borrow().as_slice(), [""; 0], "the page is well-formed");
        let mut seen = Seen::default();
        seen.look(&dom.document);
        // Each plot has two sizes. Each run has its waits and its instances, and there are the distribution and the cost.
        let runs = if more.contains("compare") { 2 } else { 1 };
        assert_eq!(seen.plots, 2 * (2 * runs + 2), "{more}");
        assert_eq!(seen.references, ["data:,"], "only the empty icon");
        assert!(!seen.scripts, "no script");
        for word in ["://", "url(", "@import", "file:"] {
            assert!(!page.contains(word), "`{word}` in the page");
        }
        for word in ["How long jobs wait", "What instances do", "Estimated cost", "What is assumed", "prefers-color-scheme: dark"]
        {
            assert!(page.contains(word), "`{word}` is not in the page");
        }
    }
}

#[derive(Default)]
struct Seen {
    references: Vec<String>,
    plots: usize,
    scripts: bool,
}

impl Seen {
    fn look(&mut self, node: &Handle) {
        if let NodeData::Element { name, attrs, .. } = &node.data {
            self.plots += usize::from(&*name.local == "svg");
            self.scripts |= &*name.local == "script";
            for attr in attrs.borrow().iter() {
                let refers = ["src", "href", "srcset", "action", "data", "poster", "formaction"].contains(&&*attr.name.local);
                if refers {
                    self.references.push(attr.value.to_string());
                }
                assert!(!attr.name.local.starts_with("on"), "an event handler: {}", attr.name.local);
            }
        }
        node.children.borrow().iter().for_each(|child| self.look(child));
    }
}
