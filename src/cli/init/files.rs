//! The files that `muster init` writes. They are those of terraform/examples/minimal, with the answers in them; a test compares.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Component, Path, PathBuf};

use anyhow::Context as _;
use muster_reconciler::manifest::{GitHubAppSpec, Text};

use super::answers::ClusterWish;
use crate::cli::app::NO_APP;

/// The folder of the manifests.
pub(super) const MANIFESTS: &str = "manifests";
/// All files.
pub(super) const NAMES: [&str; 3] = ["main.tf", "manifests/github-app.yaml", "manifests/linux.yaml"];

/// The manifests.
pub(super) fn manifests(wish: &ClusterWish) -> [Text; 2] {
    let file = |name: &str, body| Text { file: format!("{MANIFESTS}/{name}"), body };
    [file("github-app.yaml", github_app(wish)), file("linux.yaml", pool(wish))]
}

/// Writes all files, and overwrites none.
pub(super) fn write(dir: &Path, wish: &ClusterWish) -> anyhow::Result<()> {
    let manifests_dir = dir.join(MANIFESTS);
    fs::create_dir_all(&manifests_dir).with_context(|| format!("failed to make the directory {}", manifests_dir.display()))?;
    let root = dir.canonicalize().with_context(|| format!("failed to find the directory {}", dir.display()))?;
    let root = Text { file: "main.tf".into(), body: terraform(wish, &way(&root, &wish.module)) };
    for Text { file, body } in manifests(wish).into_iter().chain([root]) {
        let path = dir.join(file);
        let written =
            OpenOptions::new().write(true).create_new(true).open(&path).and_then(|mut file| file.write_all(body.as_bytes()));
        written.with_context(|| format!("failed to write {}", path.display()))?;
    }
    Ok(())
}

fn github_app(ClusterWish { cluster, api, .. }: &ClusterWish) -> String {
    // github.com's own address is the default.
    let api = if api == &GitHubAppSpec::default().api_url { String::new() } else { format!("  apiUrl: {api}\n") };
    format!(
        "apiVersion: muster/v1
kind: GitHubApp
metadata:
  name: main
spec:
  appId: {NO_APP}
  privateKey: ssm:/muster/{cluster}/github-app/main/private-key
  webhookSecrets:
    - ssm:/muster/{cluster}/github-app/main/webhook-secret
{api}"
    )
}

fn pool(ClusterWish { scope, subnets, .. }: &ClusterWish) -> String {
    let subnets = subnets.join(", ");
    format!(
        "apiVersion: muster/v1
kind: RunnerPool
metadata:
  name: linux-x64
spec:
  github:
    app: main
    scope: {scope}
  labels: [self-hosted, linux, x64]
  capacity:
    max: 10
  instance:
    types: [m7i.large, m7a.large, m6i.large, m6a.large]
    subnets: [{subnets}]
  bootstrap:
    # What the runner and most jobs need and AL2023 lacks. An image of your own that has it starts faster.
    preInstall: dnf install -y --setopt=install_weak_deps=False docker git jq libicu
"
    )
}

/// A Terraform root. The image has no default, because none is published: Terraform asks for it.
fn terraform(wish: &ClusterWish, module: &Path) -> String {
    let ClusterWish { region, subnets, cluster, .. } = wish;
    let source = quoted(&module.display().to_string());
    let subnets: Vec<String> = subnets.iter().map(|one| quoted(one)).collect();
    format!(
        "# Written by `muster init`. `source` is a copy of muster's repository, because the module is not published yet.
provider \"aws\" {{ region = {region} }}

module \"muster\" {{
  source     = {source}
  cluster    = {cluster}
  manifests  = \"${{path.module}}/{MANIFESTS}\"
  controller = {{ subnet_ids = [{subnets}], image = var.image }}
}}

variable \"image\" {{ type = string }} # muster's image in your registry, such as 123456789012.dkr.ecr.REGION.amazonaws.com/muster:0.1.0
output \"webhook_url\" {{ value = module.muster.webhook_url }}
output \"secret_commands\" {{ value = module.muster.secret_commands }}
",
        region = quoted(region),
        cluster = quoted(cluster),
        subnets = subnets.join(", "),
    )
}

/// A text as Terraform's language quotes it.
/// <https://developer.hashicorp.com/terraform/language/expressions/strings>
fn quoted(text: &str) -> String {
    let inside = text.replace('\\', "\\\\").replace('"', "\\\"").replace("${", "$${").replace("%{", "%%{");
    format!("\"{inside}\"")
}

/// The way from one folder to another, as Terraform wants a local source: it begins with `./` or `../`.
/// <https://developer.hashicorp.com/terraform/language/modules/sources#local-paths>
fn way(from: &Path, to: &Path) -> PathBuf {
    let shared = from.components().zip(to.components()).take_while(|(a, b)| a == b).count();
    let up = from.components().count() - shared;
    let begin: PathBuf = if up == 0 { PathBuf::from(".") } else { std::iter::repeat_n(Component::ParentDir, up).collect() };
    to.components().skip(shared).fold(begin, |way, part| way.join(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish() -> ClusterWish {
        ClusterWish {
            scope: "org/acme".into(),
            api: "https://api.github.com".into(),
            region: "eu-west-1".into(),
            subnets: vec!["subnet-0a1b2c3d4e5f60001".into(), "subnet-0a1b2c3d4e5f60002".into()],
            cluster: "prod".into(),
            module: "/src/muster/terraform".into(),
        }
    }

    #[test]
    fn the_manifests_are_those_of_the_minimal_example() {
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("terraform/examples/minimal");
        for Text { file, body } in manifests(&wish()) {
            let written = fs::read_to_string(example.join(&file)).expect("an example");
            assert_eq!(body.replace(&format!("appId: {NO_APP}"), "appId: 123456"), written, "{file}");
        }
    }

    #[test]
    fn the_terraform_root_has_ten_lines() {
        let text = terraform(&wish(), Path::new("../muster/terraform"));
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).count();
        assert_eq!(lines, 10, "{text}");
        assert!(text.contains("image = var.image"), "{text}");
    }

    #[test]
    fn a_folder_may_bear_any_name() {
        assert_eq!(quoted(r#"a"b\c${d}%{e}"#), r#""a\"b\\c$${d}%%{e}""#);
    }

    #[test]
    fn the_way_to_the_module_is_a_local_source() {
        for (from, to, wanted) in [
            ("/home/me/my-cluster", "/src/muster/terraform", "../../../src/muster/terraform"),
            ("/src/muster/my-cluster", "/src/muster/terraform", "../terraform"),
            ("/src/muster", "/src/muster/terraform", "./terraform"),
        ] {
            assert_eq!(way(Path::new(from), Path::new(to)), Path::new(wanted), "{from}");
        }
    }

    #[test]
    fn a_file_that_exists_is_not_overwritten() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("main.tf"), "mine").expect("a file");
        let error = format!("{:#}", write(dir.path(), &wish()).expect_err("main.tf exists"));
        assert!(error.contains("main.tf"), "{error}");
        assert_eq!(fs::read_to_string(dir.path().join("main.tf")).expect("it is there"), "mine");
    }
}
