//! A Linux instance without the virtual machine. A chosen shell runs `terraform/bootstrap/linux.sh` itself, against moto, a
//! metadata service of its own, and a stand-in for the runner. A test controls the stand-in by files in a directory.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use muster_cloud::aws_sdk_s3::primitives::ByteStream;
use muster_cloud::{aws_sdk_s3, aws_sdk_ssm};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use super::downloads::{Release, Releases};
use super::imds::Imds;
use super::moto::{Moto, REGION, TEST_KEY, World, instance_key, sdk};
use super::tools::skip;
use super::{PATIENCE, eventually, secs};

/// The boot script.
pub const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/terraform/bootstrap/linux.sh");
/// The version of the stand-in runner, wherever it comes from.
pub const VERSION: &str = "2.330.0";
/// A JIT configuration, with every character that base64 has.
pub const JIT: &str = "eyJkdW1teSI6Imppd+/0IGNvbmZpZ3VyYXRpb24ifQ==";

/// The stand-in's `run.sh`. It notes its environment and its process, treats the listener's exit code as the real one and
/// its helper do, and waits for Docker as they do. With `slow`, it takes 3 s to start the listener. With `linger`, it takes
/// 15 s to leave after the listener.
/// <https://github.com/actions/runner/blob/main/src/Misc/layoutroot/run-helper.sh.template>
const RUN: &str = include_str!("../../stand-in/run.sh");

/// The stand-in's `config.sh`.
const CONFIG: &str = include_str!("../../stand-in/config.sh");

/// The stand-in's listener, which obeys these files:
/// - `leave` has an exit code with which it leaves at once, and `words` what it says before;
/// - `crash` has an exit code with which it leaves after it has listened, and after `words`;
/// - `job` brings a job, which ends with `finish`, and has no worker while `no-worker` exists;
/// - `stubborn` makes it ignore SIGTERM.
const LISTENER: &str = include_str!("../../stand-in/listener.sh");

const WORKER: &str = include_str!("../../stand-in/worker.sh");

/// The stand-in runner's archive.
pub fn archive() -> Bytes {
    let dir = tempfile::tempdir().expect("a directory");
    let runner = dir.path().join("runner");
    fs::create_dir_all(runner.join("bin")).expect("a directory");
    for (name, text) in [("run.sh", RUN), ("config.sh", CONFIG), ("listener.sh", LISTENER), ("worker.sh", WORKER)] {
        let path = runner.join(name);
        fs::write(&path, text).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("permissions");
    }
    // The boot script knows a process by the name of its file, so the copies of the shell have these names.
    for name in ["Runner.Listener", "Runner.Worker"] {
        fs::copy("/bin/sh", runner.join("bin").join(name)).expect("a copy of the shell");
    }
    let packed = dir.path().join("runner.tar.gz");
    let status = Command::new("tar").arg("-czf").arg(&packed).arg("-C").arg(&runner).arg(".").status().expect("tar runs");
    assert!(status.success(), "tar packs the stand-in");
    fs::read(packed).expect("what tar packed").into()
}

/// The script in the form in which it is sent: without the lines that are only a comment.
pub fn without_comments(script: &str) -> String {
    script.lines().filter(|line| !line.trim_start().starts_with('#')).map(|line| format!("{line}\n")).collect()
}

/// SHA-256, in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Whether the shell exists. In CI it must.
pub fn has(program: &str) -> bool {
    let found = Command::new(program).args(["-c", ":"]).stdin(Stdio::null()).status().is_ok_and(|status| status.success());
    if !found {
        skip(&format!("there is no `{program}`; install {program}"));
    }
    found
}

/// The place where instances are launched: moto with a world, and a bucket with the stand-in runner.
pub struct Site {
    pub moto: Moto,
    /// The world in moto.
    pub world: World,
    /// The archive of the stand-in runner.
    pub archive: Bytes,
}

impl Site {
    /// Starts a site. None: the test is skipped (see [`Moto::start`]).
    pub async fn start() -> Option<Site> {
        let moto = Moto::start().await?;
        let world = moto.create_world("c1", &[]).await;
        Some(Site::of(moto, world).await)
    }

    /// A site of a moto and a world that exist.
    pub async fn of(moto: Moto, world: World) -> Site {
        let site = Site { moto, world, archive: archive() };
        for version in ["latest", VERSION] {
            site.store(version, site.archive.clone(), &sha256(&site.archive)).await;
        }
        site
    }

    /// Puts an archive into the bucket, with this digest in its metadata.
    pub async fn store(&self, version: &str, archive: Bytes, sha256: &str) {
        let s3 = aws_sdk_s3::Client::new(&sdk(self.moto.url(), TEST_KEY).await);
        let put = s3
            .put_object()
            .bucket(&self.world.bucket)
            .key(format!("runners/linux-x64/{version}.tar.gz"))
            .body(ByteStream::from(archive))
            .metadata("sha256", sha256)
            .metadata("version", VERSION);
        put.send().await.expect("moto takes an object");
    }
}

/// One instance.
pub struct LinuxInstance {
    /// The site where it was launched.
    pub site: Arc<Site>,
    pub imds: Imds,
    /// The releases of the runner at GitHub.
    pub releases: Releases,
    /// The id of the instance.
    pub id: String,
    /// The access key of its role.
    pub key: String,
    shell: &'static str,
    dir: TempDir,
    settings: BTreeMap<&'static str, String>,
    preamble: String,
    child: Option<Child>,
}

impl LinuxInstance {
    /// Launches an instance whose secret is ready. It has not booted yet.
    pub async fn launch(site: &Arc<Site>, shell: &'static str) -> LinuxInstance {
        let run = site.moto.ec2.run_instances().image_id("ami-12c6146b").min_count(1).max_count(1);
        let made = run.send().await.expect("moto launches an instance");
        let id = made.instances().first().and_then(|i| i.instance_id()).expect("an instance has an id").to_owned();
        let launched = LinuxInstance::of(site, id, shell, &[("muster:cluster", "c1"), ("muster:pool", "linux")]).await;
        launched.secret(JIT).await;
        launched
    }

    /// Takes an instance that somebody else launched, with its tags. It has not booted yet.
    pub async fn of(site: &Arc<Site>, id: String, shell: &'static str, tags: &[(&str, &str)]) -> LinuxInstance {
        let key = instance_key(&id);
        let imds = Imds::start(&id, &key, tags).await;
        let sha256 = sha256(&site.archive);
        let release = Release { version: VERSION.into(), archive: site.archive.clone(), sha256 };
        let releases = Releases::start(release).await;
        let dir = tempfile::tempdir().expect("a directory");
        for name in ["control", "tools", "sudoers.d"] {
            fs::create_dir(dir.path().join(name)).expect("a directory");
        }
        let path = |name: &str| dir.path().join(name).display().to_string();
        let settings = BTreeMap::from([
            ("MUSTER_BUCKET", site.world.bucket.clone()),
            ("MUSTER_USER", whoami()),
            ("MUSTER_WATCH", "1".into()),
            ("MUSTER_BOOT_DEADLINE", "60".into()),
            ("MUSTER_HOME", path("home")),
            ("MUSTER_STATE", path("state")),
            ("MUSTER_CONSOLE", path("console")),
            ("MUSTER_CLOUD", path("cloud")),
            ("MUSTER_END", format!("echo ended >>'{}'", path("ended"))),
            ("MUSTER_IMDS", imds.url()),
            ("MUSTER_GITHUB", releases.url()),
            ("MUSTER_GITHUB_API", releases.url()),
            ("AWS_ENDPOINT_URL", site.moto.url().to_owned()),
            ("MUSTER_UNIT", String::new()),
            ("MUSTER_SYSRQ", path("sysrq")),
            ("MUSTER_SUDOERS", path("sudoers.d")),
            ("TEST_CONTROL", path("control")),
            ("PATH", format!("{}:{}", path("tools"), std::env::var("PATH").expect("a path"))),
            ("no_proxy", "127.0.0.1".into()),
        ]);
        let site = site.clone();
        let made = LinuxInstance { site, imds, releases, id, key, shell, dir, settings, preamble: String::new(), child: None };
        // Programs that control a machine must not control the one that runs the tests.
        for name in ["systemctl", "service", "systemd-run", "shutdown", "poweroff", "halt"] {
            made.stub(name, "exit 1");
        }
        made
    }

    /// Puts a program of the test's own into the instance's PATH. It notes its call in `tools.log`, and then does what
    /// `text` says.
    pub fn stub(&self, name: &str, text: &str) {
        let path = self.path("tools").join(name);
        let log = self.path("tools.log");
        fs::write(&path, format!("#!/bin/sh\necho {name} \"$@\" >>'{}'\n{text}\n", log.display())).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("permissions");
    }

    /// Puts shell text in front of the script.
    pub fn preamble(&mut self, text: &str) {
        self.preamble = format!("{text}\n");
    }

    /// The shell that runs the script.
    pub fn shell(&self) -> &'static str {
        self.shell
    }

    /// Writes another secret.
    pub async fn secret(&self, value: &str) {
        let put = self.site.moto.ssm.put_parameter().name(self.secret_name()).value(value);
        let put = put.r#type(aws_sdk_ssm::types::ParameterType::SecureString);
        let arn = format!("arn:aws:ec2:{REGION}:123456789012:instance/{}", self.id);
        let owner = aws_sdk_ssm::types::Tag::builder().key("muster:instance-arn").value(arn).build().expect("a tag");
        // muster tags a secret when it makes one, and not when it overwrites one.
        let put = if self.has_secret().await { put.overwrite(true) } else { put.tags(owner) };
        put.send().await.expect("moto stores a secret");
    }

    /// Removes the secret, as if muster had not written it yet.
    pub async fn no_secret(&self) {
        self.site.moto.ssm.delete_parameter().name(self.secret_name()).send().await.expect("moto deletes a secret");
    }

    /// The name of the secret in SSM.
    pub fn secret_name(&self) -> String {
        format!("/muster/c1/runners/{}", self.id)
    }

    /// Whether the secret still exists.
    pub async fn has_secret(&self) -> bool {
        self.site.moto.secrets().await.contains(&self.secret_name())
    }

    /// Changes a setting, before [`LinuxInstance::boot`].
    pub fn set(&mut self, name: &'static str, value: impl ToString) {
        self.settings.insert(name, value.to_string());
    }

    /// Puts another release at GitHub, before [`LinuxInstance::boot`].
    pub async fn release(&mut self, release: Release) {
        self.releases = Releases::start(release).await;
        for name in ["MUSTER_GITHUB", "MUSTER_GITHUB_API"] {
            self.set(name, self.releases.url());
        }
    }

    /// A path in the instance's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The text of one of the instance's files. Empty if there is none.
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// Tells the stand-in runner something; see [`LISTENER`].
    pub fn tell(&self, word: &str, text: &str) {
        // The file appears with its whole text, or not at all.
        let draft = self.path(&format!("control/.{word}"));
        fs::write(&draft, text).expect("a file");
        fs::rename(draft, self.path("control").join(word)).expect("a file");
    }

    /// Whether the stand-in runner has said this word.
    pub fn heard(&self, word: &str) -> bool {
        self.path("control").join(word).exists()
    }

    /// Runs the user data that Terraform would make.
    pub fn boot(&mut self) {
        self.boot_to(fs::File::create(self.path("stdout")).expect("a file"));
    }

    /// Runs the user data, with its output to another file.
    pub fn boot_to(&mut self, output: impl Into<OwnedFd>) {
        fs::remove_file(self.path("ended")).ok();
        let mut user_data = String::from("#!/bin/sh\n");
        let mut command = Command::new(self.shell);
        if self.shell == "bash" {
            command.arg("--posix"); // as where bash is /bin/sh
        }
        for (name, value) in &self.settings {
            if name.starts_with("MUSTER_") || *name == "AWS_ENDPOINT_URL" {
                user_data += &format!("{name}='{}'\n", value.replace('\'', r"'\''"));
            } else {
                command.env(name, value);
            }
        }
        user_data += &self.preamble;
        user_data += &without_comments(&fs::read_to_string(SCRIPT).expect("the script"));
        fs::write(self.path("user-data"), user_data).expect("a file");
        command.arg(self.path("user-data"));
        self.run(command, output.into());
    }

    /// Runs the script that the first boot left for later boots.
    pub fn boot_again(&mut self, script: &Path) {
        fs::remove_file(self.path("ended")).ok();
        let output = fs::File::create(self.path("stdout")).expect("a file");
        self.run(Command::new(script), output.into());
    }

    fn run(&mut self, mut command: Command, output: OwnedFd) {
        command.stdin(Stdio::null()).stdout(output.try_clone().expect("a descriptor")).stderr(output);
        for name in ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
            command.env_remove(name);
        }
        // Variables of the test run itself, such as `make test` sets, do not exist on an instance.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("MUSTER_")) {
            command.env_remove(name);
        }
        // The shell gets a process group of its own, so that everything in it can be ended.
        self.child = Some(command.process_group(0).spawn().expect("the shell starts"));
    }

    /// The id of the script's process.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("the instance was booted").id()
    }

    /// Waits until the console has these words.
    pub async fn says(&self, words: &str, within: Duration) {
        eventually(within, &format!("the console of {} says `{words}`", self.shell), || async {
            if self.read("console").contains(words) { Ok(()) } else { Err(self.story()) }
        })
        .await;
    }

    /// Waits until the runner listens.
    pub async fn listens(&self) {
        self.says("stage listener", secs(40)).await;
    }

    /// Waits until the stand-in runner says this word.
    pub async fn hears(&self, word: &str) {
        eventually(secs(20), &format!("the runner says `{word}`"), || async {
            if self.heard(word) { Ok(()) } else { Err(self.story()) }
        })
        .await;
    }

    /// Sends a signal to the script.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()).status().expect("kill runs");
        assert!(status.success(), "the script runs");
    }

    /// Waits until the first process has left, whatever else goes on. `idle` is as for [`eventually`].
    pub async fn exits(&mut self, idle: Duration) {
        let mut child = self.child.take().expect("the instance was booted");
        let deadline = std::time::Instant::now() + idle * PATIENCE;
        while child.try_wait().expect("a child can be waited for").is_none() && std::time::Instant::now() < deadline {
            tokio::time::sleep(super::ms(40)).await;
        }
        let left = child.try_wait().expect("a child can be waited for");
        self.child = Some(child);
        assert!(left.is_some_and(|status| status.success()), "{}: {left:?}\n{}", self.shell, self.story());
    }

    /// Waits until the instance has ended itself, and returns the only reason that it gave. `idle` is as for
    /// [`eventually`].
    pub async fn ends(&mut self, idle: Duration) -> String {
        let mut child = self.child.take().expect("the instance was booted");
        let deadline = std::time::Instant::now() + idle * PATIENCE;
        while child.try_wait().expect("a child can be waited for").is_none() {
            if std::time::Instant::now() > deadline {
                let story = self.story();
                self.child = Some(child);
                panic!("{}: no end within {idle:?} x {PATIENCE}\n{story}", self.shell);
            }
            tokio::time::sleep(super::ms(40)).await;
        }
        self.child = Some(child);
        assert_eq!(self.read("ended"), "ended\n", "the instance ended once\n{}", self.story());
        let console = self.read("console");
        let mut reasons = console.lines().filter_map(|line| line.strip_prefix("muster: ended: "));
        let reason = reasons.next_back().unwrap_or_default().to_owned();
        assert!(self.read("stdout").ends_with(&format!("muster: ended: {reason}\n")), "the last line says why\n{}", self.story());
        reason
    }

    /// Everything that is known of the instance, for a failed test.
    pub fn story(&self) -> String {
        let parts = ["stdout", "state/log", "state/errors", "state/preparing", "tools.log"]
            .map(|name| format!("--- {name}\n{}", self.read(name)));
        format!("{} ran:\n{}", self.shell, parts.concat())
    }

    /// The calls that the instance made at AWS.
    pub async fn calls(&self) -> Vec<String> {
        self.site.moto.calls_by(&self.key).await.into_iter().map(|call| call.op).collect()
    }

    /// The instance's processes: the directory of each in /proc, and its parent.
    fn processes(&self) -> Vec<(PathBuf, String)> {
        let group = self.pid().to_string();
        let all = fs::read_dir("/proc").expect("a Linux").filter_map(Result::ok);
        let ours = all.filter_map(|entry| {
            let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            // After the name, which may contain anything, come the state, the parent and the group.
            let mut rest = stat.rsplit_once(") ")?.1.split(' ').skip(1);
            let parent = rest.next()?.to_owned();
            (rest.next() == Some(&group)).then(|| (entry.path(), parent))
        });
        ours.collect()
    }

    /// The command lines of the instance's processes.
    pub fn command_lines(&self) -> Vec<String> {
        let ours = self.processes().into_iter();
        ours.filter_map(|(dir, _)| Some(fs::read_to_string(dir.join("cmdline")).ok()?.replace('\0', " "))).collect()
    }

    /// The instance's processes that have this text in their memory, outside the process `apart` and its descendants.
    pub fn holders(&self, text: &str, apart: Option<&str>) -> Vec<String> {
        let processes = self.processes();
        let parents: BTreeMap<&str, &str> = processes.iter().map(|(dir, parent)| (pid_of(dir), &**parent)).collect();
        let is_apart = |dir: &Path| {
            let mut pid = Some(pid_of(dir));
            (0..processes.len()).any(|_| {
                let found = pid.is_some() && pid == apart;
                pid = pid.and_then(|pid| parents.get(pid).copied());
                found
            })
        };
        let holders = processes.iter().filter(|(dir, _)| !is_apart(dir) && has_in_memory(dir, text.as_bytes()));
        holders
            .map(|(dir, _)| {
                format!("{}: {}", pid_of(dir), fs::read_to_string(dir.join("cmdline")).unwrap_or_default().replace('\0', " "))
            })
            .collect()
    }
}

impl Drop for LinuxInstance {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // The group has only the instance's own processes.
            Command::new("kill").args(["-KILL", "--", &format!("-{}", child.id())]).stderr(Stdio::null()).status().ok();
            child.kill().ok();
            child.wait().ok();
        }
    }
}

fn pid_of(dir: &Path) -> &str {
    dir.file_name().and_then(|name| name.to_str()).expect("a number")
}

/// Whether a process, by its directory in /proc, has these bytes in its memory. A dead process has no memory.
/// <https://man7.org/linux/man-pages/man5/proc_pid_mem.5.html>
fn has_in_memory(dir: &Path, bytes: &[u8]) -> bool {
    let maps = fs::read_to_string(dir.join("maps")).unwrap_or_default();
    let Ok(memory) = fs::File::open(dir.join("mem")) else { return false };
    let writable = maps.lines().filter(|line| line.split(' ').nth(1).is_some_and(|may| may.starts_with("rw")));
    let ranges = writable.filter_map(|line| {
        let (from, to) = line.split(' ').next()?.split_once('-')?;
        Some((u64::from_str_radix(from, 16).ok()?, u64::from_str_radix(to, 16).ok()?))
    });
    ranges.into_iter().any(|(from, to)| {
        let mut content = vec![0; usize::try_from(to - from).expect("a length")];
        // What belongs to the kernel ([vvar]) cannot be read.
        let read = memory.read_exact_at(&mut content, from).is_ok();
        read && content.windows(bytes.len()).any(|window| window == bytes)
    })
}

fn whoami() -> String {
    let output = Command::new("id").arg("-un").output().expect("id runs");
    String::from_utf8(output.stdout).expect("UTF-8").trim().to_owned()
}
