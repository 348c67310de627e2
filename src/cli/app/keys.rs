//! Where the App's keys land: in the files that the manifests name, or in files from which two commands move them to where the
//! manifests say. A file has the mode 0600, is never overwritten, and no key is printed.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use muster_operations::config;
use muster_reconciler::manifest::{ManifestReading, SecretRef, load_for_people};
use secrecy::{ExposeSecret as _, SecretString};

use super::made::MadeApp;
use super::wish::chosen;
use super::{AppDetails, NO_APP};
use crate::cli::fault::CliError;

/// A secret on its way: the file that it is written to, and where the manifests want it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeyPlace {
    pub file: PathBuf,
    pub wanted: Option<SecretRef>,
}

/// Where both secrets land, and which manifest learns the App's id.
#[derive(Clone, Debug)]
pub(super) struct KeyPlaces {
    pub key: KeyPlace,
    pub webhook_secret: KeyPlace,
    /// The directory of the manifests and the name of the GitHubApp in it.
    pub manifest: Option<(PathBuf, String)>,
    /// Whether the directory is one of the Terraform module.
    pub terraform: bool,
    region: Option<String>,
    cluster: Option<String>,
}

impl KeyPlaces {
    /// The places, if nothing is in the way. This is asked before the App is made, because GitHub shows a key only once.
    pub fn new(details: &AppDetails, read: Option<&ManifestReading>, keys: &Path) -> Result<KeyPlaces, CliError> {
        let app = read.map(|read| chosen(details, read)).transpose()?;
        let name = app.map_or("muster", |(name, _)| name);
        let place = |wanted: Option<SecretRef>, ending: &str| {
            let file = match (&wanted, &details.manifests) {
                (Some(SecretRef::File(path)), Some(dir)) => dir.join(path),
                _ => keys.strip_prefix(".").unwrap_or(keys).join(format!("{name}.{ending}")),
            };
            KeyPlace { file, wanted }
        };
        let places = KeyPlaces {
            key: place(app.map(|(_, app)| app.spec.private_key.clone()), "private-key.pem"),
            webhook_secret: place(app.and_then(|(_, app)| app.spec.webhook_secrets.first().cloned()), "webhook-secret"),
            manifest: details.manifests.clone().zip(app.map(|(name, _)| name.to_owned())),
            terraform: read.is_some_and(|read| read.assumed),
            region: read.and_then(|read| read.spec.controller.spec.region.clone()),
            cluster: details.cluster.clone(),
        };
        if let Some((name, app)) = app.filter(|(_, app)| app.spec.app_id != NO_APP) {
            let id = app.spec.app_id;
            return Err(CliError::Usage(format!(
                "GitHubApp `{name}` has an App already, {id}; for another App add another GitHubApp, or write appId: {NO_APP}"
            )));
        }
        for file in [&places.key.file, &places.webhook_secret.file] {
            if file.symlink_metadata().is_ok() {
                return Err(CliError::Config(format!("{} exists, and is not overwritten; move it away", file.display())));
            }
            let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            if !folder.is_dir() {
                return Err(CliError::Config(format!(
                    "{} is no directory, and a key has to be written there; make it",
                    folder.display()
                )));
            }
        }
        Ok(places)
    }

    /// Writes both secrets, and the App's id into its manifest. Ok(false): the id has to be written by hand.
    pub fn keep(&self, made: &MadeApp) -> anyhow::Result<bool> {
        let lost = || {
            let settings = &made.settings;
            format!(
                "App {} was made, but its keys were not kept; generate a private key and set a webhook secret at {settings}",
                made.id
            )
        };
        write(&self.key.file, &made.key).with_context(lost)?;
        write(&self.webhook_secret.file, &made.webhook_secret).with_context(lost)?;
        let Some((dir, name)) = &self.manifest else { return Ok(false) };
        Ok(self.learn(dir, name, made.id).is_some())
    }

    /// Writes the App's id into its manifest. None: nothing was changed, because the text has another form than usual.
    fn learn(&self, dir: &Path, name: &str, id: u64) -> Option<()> {
        let mut texts = config::read_dir(dir).ok()?;
        let old = load_for_people(&texts, self.cluster.as_deref()).ok()?.spec;
        let (at, body) = texts.iter().enumerate().find_map(|(at, text)| Some((at, with_id(&text.body, name, id)?)))?;
        texts[at].body = body;
        // The proof that this line, and nothing else, was changed.
        let mut new = load_for_people(&texts, self.cluster.as_deref()).ok()?.spec;
        let app = new.apps.values_mut().find(|app| app.metadata.name.as_str() == name && app.spec.app_id == id)?;
        app.spec.app_id = NO_APP;
        if new.apps != old.apps || new.pools != old.pools || new.tokens != old.tokens || new.controller != old.controller {
            return None;
        }
        fs::write(dir.join(&texts[at].file), &texts[at].body).ok()
    }

    /// The commands that move the secrets into SSM. Empty: nothing has to be moved there.
    pub fn commands(&self) -> Vec<String> {
        let region = self.region.as_ref().map_or_else(String::new, |region| format!(" --region {region}"));
        let command = |place: &KeyPlace| match &place.wanted {
            Some(SecretRef::Ssm(name)) => Some(format!(
                "aws ssm put-parameter{region} --overwrite --type SecureString --name {name} --value {}",
                shell_word(&format!("file://{}", place.file.display()))
            )),
            Some(SecretRef::Env(name)) => {
                Some(format!("export {name}=\"$(cat {})\"", shell_word(&place.file.display().to_string())))
            }
            _ => None,
        };
        [&self.key, &self.webhook_secret].into_iter().filter_map(command).collect()
    }

    /// The files that are of no use once their secrets have been moved.
    pub fn in_between(&self) -> Vec<String> {
        let moved = |place: &&KeyPlace| matches!(place.wanted, Some(SecretRef::Ssm(_)));
        [&self.key, &self.webhook_secret]
            .into_iter()
            .filter(moved)
            .map(|place| shell_word(&place.file.display().to_string()))
            .collect()
    }
}

/// A word that a POSIX shell takes as it is.
fn shell_word(text: &str) -> String {
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-:@%+=,".contains(c));
    if plain && !text.is_empty() { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

fn write(path: &Path, secret: &SecretString) -> anyhow::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options.open(path).and_then(|mut file| {
        file.write_all(secret.expose_secret().as_bytes())?;
        file.sync_all()
    });
    written.with_context(|| format!("failed to write {}", path.display()))
}

/// The text with this id in the GitHubApp of this name. None: there is no such line.
fn with_id(body: &str, name: &str, id: u64) -> Option<String> {
    let lines: Vec<&str> = body.split_inclusive('\n').collect();
    let mut begin = 0;
    for document in lines.split_inclusive(|line| line.trim_end() == "---") {
        let says = |wanted: &str| document.iter().any(|line| line.split(" #").next().unwrap_or_default().trim() == wanted);
        let placeholder = format!("appId: {NO_APP}");
        let at = document.iter().position(|line| line.split(" #").next().unwrap_or_default().trim() == placeholder);
        if let Some(at) = at.filter(|_| says("kind: GitHubApp") && says(&format!("name: {name}"))) {
            let changed = lines[begin + at].replacen(&placeholder, &format!("appId: {id}"), 1);
            return Some([&lines[..begin + at], &[changed.as_str()], &lines[begin + at + 1..]].concat().concat());
        }
        begin += document.len();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::wish::tests::details;
    use super::*;

    const APP: &str = "apiVersion: muster/v1
kind: GitHubApp
metadata:
  name: main
spec:
  appId: 1
  privateKey: KEY
  webhookSecrets: [SECRET]
";

    fn made() -> MadeApp {
        MadeApp {
            id: 4712,
            name: "muster-acme".into(),
            page: "https://github.com/apps/muster-acme".into(),
            settings: "https://github.com/organizations/acme/settings/apps/muster-acme".into(),
            install: "https://github.com/apps/muster-acme/installations/new".into(),
            key: "hunter2".into(),
            webhook_secret: "hunter3".into(),
            own_secret: false,
        }
    }

    /// A directory with the manifest, and its places.
    fn places(key: &str, secret: &str) -> (tempfile::TempDir, Result<KeyPlaces, CliError>) {
        let dir = tempfile::tempdir().expect("a directory");
        let manifests = dir.path().join("manifests");
        fs::create_dir(&manifests).expect("a directory");
        fs::write(manifests.join("app.yaml"), APP.replace("KEY", key).replace("SECRET", secret)).expect("a manifest");
        let details = AppDetails { manifests: Some(manifests), ..details(Some("acme")) };
        let read = details.read().expect("valid manifests");
        let places = KeyPlaces::new(&details, read.as_ref(), dir.path());
        (dir, places)
    }

    #[cfg(unix)]
    #[test]
    fn keys_are_readable_by_their_owner_alone_and_the_manifest_learns_the_id() {
        use std::os::unix::fs::PermissionsExt as _;
        let (dir, places) = places("ssm:/muster/prod/key", "ssm:/muster/prod/secret");
        let places = places.expect("places");
        assert!(places.keep(&made()).expect("kept"));
        for (name, secret) in [("main.private-key.pem", "hunter2"), ("main.webhook-secret", "hunter3")] {
            let file = dir.path().join(name);
            assert_eq!(fs::read_to_string(&file).expect("a file"), secret);
            assert_eq!(file.metadata().expect("a file").permissions().mode() & 0o777, 0o600, "{name}");
        }
        let text = fs::read_to_string(dir.path().join("manifests/app.yaml")).expect("the manifest");
        assert!(text.contains("  appId: 4712\n") && text.lines().count() == APP.lines().count(), "{text}");
        let commands = places.commands();
        let file = format!("--name /muster/prod/key --value file://{}", dir.path().join("main.private-key.pem").display());
        assert!(commands.len() == 2 && commands[0].ends_with(&file) && !commands[0].contains("hunter"), "{commands:?}");
        assert_eq!(places.in_between().len(), 2);
        let error = format!("{:#}", places.keep(&made()).expect_err("the files are there"));
        assert!(error.contains("generate a private key") && !error.contains("hunter"), "{error}");
    }

    #[test]
    fn a_file_of_the_manifests_is_where_the_key_lands_at_once() {
        let (dir, places) = places("file:../key.pem", "env:MUSTER_SECRET");
        let places = places.expect("places");
        assert_eq!(places.key.file, dir.path().join("manifests/../key.pem"));
        assert!(places.keep(&made()).expect("kept"));
        assert_eq!(fs::read_to_string(dir.path().join("key.pem")).expect("the key"), "hunter2");
        assert!(places.commands()[0].starts_with("export MUSTER_SECRET=\"$(cat "), "{:?}", places.commands());
        assert!(places.in_between().is_empty());
    }

    #[test]
    fn what_is_in_the_way_is_told_before_the_app_is_made() {
        let (_dir, missing) = places("file:no/such/key.pem", "env:SECRET");
        assert!(missing.is_err_and(|error| error.to_string().contains("manifests/no/such is no directory")));
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("muster.private-key.pem"), "mine").expect("a file");
        let taken = KeyPlaces::new(&details(Some("acme")), None, dir.path()).expect_err("it exists").to_string();
        assert!(taken.contains("muster.private-key.pem exists"), "{taken}");
    }

    #[test]
    fn only_the_placeholder_of_the_right_app_is_replaced() {
        let two = format!("{}---\n{APP}# appId: 1\n", APP.replace("main", "other"));
        let changed = with_id(&two, "main", 7).expect("a line");
        assert_eq!(changed, format!("{}---\n{}# appId: 1\n", APP.replace("main", "other"), APP.replace("appId: 1", "appId: 7")));
        assert_eq!(with_id(&APP.replace("appId: 1", "appId: 12"), "main", 7), None);
        assert_eq!(with_id("spec: {appId: 1}\n", "main", 7), None);
        let noted = with_id(&APP.replace("appId: 1", "appId: 1 # soon"), "main", 7).expect("a line");
        assert!(noted.contains("appId: 7 # soon"), "{noted}");
    }

    #[test]
    fn a_shell_takes_any_file_as_one_word() {
        assert_eq!(shell_word("file:///a/b.pem"), "file:///a/b.pem");
        assert_eq!(shell_word("a b'c"), r"'a b'\''c'");
    }
}
