//! Runs Terraform on a copy of the repository's `terraform/`, so that nothing is written into the source tree.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::external;
use super::moto::{Moto, REGION, SECRET_ACCESS_KEY, TEST_KEY};
use super::tools::skip;

/// The longest time of any one command.
const PATIENCE: Duration = Duration::from_secs(1800);
/// The beginning of the subnet ids in the examples. moto's own ids replace them.
const EXAMPLE_SUBNET: &str = "subnet-0a1b2c3d4e5f6000";

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A copy of `terraform/`, without the rest of the repository, in which Terraform runs.
pub struct Terraform {
    dir: TempDir,
    moto: Option<String>,
}

/// The result of a command.
pub struct Said {
    /// Whether the command succeeded.
    pub ok: bool,
    /// Its standard output and standard error.
    pub text: String,
}

impl Said {
    /// The text. Panics with the text if the command failed.
    pub fn good(self, what: &str) -> String {
        assert!(self.ok, "{what} failed:\n{}", self.text);
        self.text
    }

    /// The text of a command that must fail, with the lines that Terraform wrapped joined again.
    pub fn bad(self, what: &str) -> String {
        assert!(!self.ok, "{what} went well, and must not:\n{}", self.text);
        self.text.replace(['│', '╷', '╵'], " ").split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

/// A directory `tf-plugins` near the root with the AWS provider. Some machines have one, and the others have the network.
fn mirror() -> Option<&'static Path> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    let look = |dir: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
        entries
            .filter(|path| {
                path.is_dir() && !path.is_symlink() && !["/proc", "/sys", "/dev"].map(Path::new).contains(&path.as_path())
            })
            .collect()
    };
    let find = || {
        let top = look(Path::new("/"));
        let mut level: Vec<PathBuf> = top.iter().flat_map(|dir| look(dir)).chain(top.clone()).collect();
        level.extend(look(Path::new("/usr/local/share")));
        let holds_aws = |path: &PathBuf| look(path).iter().any(|host| host.join("hashicorp/aws").is_dir());
        level.into_iter().find(|path| path.ends_with("tf-plugins") && holds_aws(path))
    };
    FOUND.get_or_init(find).as_deref()
}

impl Terraform {
    /// Makes a fresh copy. None: the test is skipped. With `CI=true` that is a failure.
    pub fn new(moto: Option<&Moto>) -> Option<Terraform> {
        let there = Command::new("terraform").arg("version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        if !there.is_ok_and(|status| status.success()) {
            skip("there is no `terraform` on the PATH; install Terraform 1.11 or newer");
            return None;
        }
        let dir = tempfile::tempdir().expect("a directory");
        // Nothing is beside the copy, as for somebody who takes the module from a registry.
        copy(&Path::new(ROOT).join("terraform"), &dir.path().join("terraform"));
        let doubles = dir.path().join("doubles");
        external::install(&doubles);
        let others = match mirror() {
            Some(path) => format!("filesystem_mirror {{\n    path = \"{}\"\n", path.display()),
            None => "direct {\n".to_owned(),
        };
        let providers = format!(
            "provider_installation {{\n  filesystem_mirror {{\n    path = \"{}\"\n    include = [\"hashicorp/external\"]\n  }}\n  \
             {others}    exclude = [\"hashicorp/external\"]\n  }}\n}}\n",
            doubles.display()
        );
        fs::write(dir.path().join("terraform.rc"), providers).expect("a file");
        Some(Terraform { dir, moto: moto.map(|moto| moto.url().to_owned()) })
    }

    /// A path in the copy, such as `terraform/examples/minimal`.
    pub fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    /// Writes a file, and makes its directory.
    pub fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("a file is in a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    }

    /// Runs `terraform ARGS` in a directory of the copy.
    pub fn run(&self, folder: &str, args: &[&str]) -> Said {
        let log = self.path("output");
        let output = fs::File::create(&log).expect("a file");
        let mut command = Command::new("nice");
        command.arg("terraform").args(args).arg("-no-color").current_dir(self.path(folder)).stdin(Stdio::null());
        command.stdout(output.try_clone().expect("a handle")).stderr(output);
        command.env("TF_CLI_CONFIG_FILE", self.path("terraform.rc")).env("TF_IN_AUTOMATION", "1").env("CHECKPOINT_DISABLE", "1");
        // The stand-in for `external` speaks without TLS.
        command.env("TF_DISABLE_PLUGIN_TLS", "1");
        command
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("AWS_CONFIG_FILE", "/dev/null")
            .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null");
        command.env("AWS_ACCESS_KEY_ID", TEST_KEY).env("AWS_SECRET_ACCESS_KEY", SECRET_ACCESS_KEY).env("AWS_REGION", REGION);
        // Nothing listens at this address, so a call to AWS fails.
        command
            .env("AWS_ENDPOINT_URL", self.moto.as_deref().unwrap_or("http://127.0.0.1:9"))
            .env("AWS_S3_USE_PATH_STYLE", "true");
        let mut child = command.spawn().expect("terraform starts");
        let began = Instant::now();
        let status = loop {
            match child.try_wait().expect("the process can be asked") {
                Some(status) => break status,
                None if began.elapsed() > PATIENCE => {
                    // `nice` has become Terraform, and Terraform ends its provider.
                    child.kill().ok();
                    child.wait().expect("the process can be waited for");
                    panic!("terraform {args:?} took longer than {PATIENCE:?}:\n{}", fs::read_to_string(&log).unwrap_or_default());
                }
                None => std::thread::sleep(Duration::from_millis(50)),
            }
        };
        let mut text = String::new();
        fs::File::open(&log).expect("the output").read_to_string(&mut text).expect("UTF-8");
        Said { ok: status.success(), text }
    }

    /// Runs `terraform init`, after which the copy is ready for other commands.
    pub fn init(&self, folder: &str) {
        self.run(folder, &["init", "-input=false", "-backend=false"]).good("terraform init");
    }

    /// Makes a plan, and returns it as JSON.
    pub fn plan(&self, folder: &str) -> Value {
        self.run(folder, &["plan", "-input=false", "-out=plan"]).good(&format!("the plan of {folder}"));
        serde_json::from_str(&self.run(folder, &["show", "-json", "plan"]).good("terraform show")).expect("JSON")
    }

    /// The outputs after an apply.
    pub fn outputs(&self, folder: &str) -> Value {
        let all: Value = serde_json::from_str(&self.run(folder, &["output", "-json"]).good("terraform output")).expect("JSON");
        all.as_object().expect("outputs").iter().map(|(name, output)| (name.clone(), output["value"].clone())).collect()
    }

    /// Replaces the subnets and the Windows that an example names by moto's, and makes its provider reach moto.
    pub fn settle_example(&self, name: &str, subnets: &[String]) -> String {
        let folder = format!("terraform/examples/{name}");
        let mut files = vec![self.path(&folder).join("main.tf")];
        files.extend(fs::read_dir(self.path(&folder).join("manifests")).expect("manifests").flatten().map(|entry| entry.path()));
        for file in files {
            let mut text = fs::read_to_string(&file).expect("a file");
            for (n, subnet) in subnets.iter().enumerate() {
                text = text.replace(&format!("{EXAMPLE_SUBNET}{}", n + 1), subnet);
            }
            fs::write(&file, text.replace("Windows_Server-2022-", "Windows_Server-2016-")).expect("a file");
        }
        folder
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder").flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        match name.to_string_lossy() {
            name if name.starts_with(".terraform") => {}
            _ if path.is_dir() => copy(&path, &to.join(name)),
            _ => drop(fs::copy(&path, to.join(name)).expect("a file")),
        }
    }
}

/// All resources of a plan's JSON, by address.
pub fn resources(plan: &Value) -> std::collections::BTreeMap<String, Value> {
    fn walk(module: &Value, found: &mut std::collections::BTreeMap<String, Value>) {
        for resource in module["resources"].as_array().into_iter().flatten().filter(|r| r["mode"] == "managed") {
            found.insert(resource["address"].as_str().unwrap_or_default().to_owned(), resource["values"].clone());
        }
        module["child_modules"].as_array().into_iter().flatten().for_each(|child| walk(child, found));
    }
    let mut found = std::collections::BTreeMap::new();
    walk(&plan["planned_values"]["root_module"], &mut found);
    found
}

/// Checks by AWS's own schemas that every value of these plans and states is admitted (tests/terraform/values.py). Prints
/// what was checked by what, and panics with each violation. Returns how many resources and values there were.
pub fn aws_admits<'a>(files: impl Iterator<Item = &'a Path>) -> (u32, u32) {
    let root = Path::new(ROOT);
    let output = Command::new("nice")
        .arg(root.join(".venv/bin/python"))
        .arg(root.join("tests/terraform/values.py"))
        .args(files)
        .output()
        .expect("python");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    println!("{said}");
    let number = |before: &str| {
        let words: Vec<&str> = said.split_whitespace().collect();
        let at = words.iter().position(|word| *word == before).expect("a sum");
        words[at - 1].parse().expect("a number")
    };
    (number("resources"), number("values"))
}
