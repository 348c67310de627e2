//! Pools, and whole clusters, that are written in HCL with Terraform's values, even those that only an apply tells.

use crate::support;

use std::fs;

use saphyr::LoadableYamlNode as _;
use serde_json::Value;
use support::moto::Moto;
use support::terraform::{Terraform, resources};

use super::terraform::muster;

/// A root module that makes its subnets itself, and passes them, and more, to pools. One pool is also in the directory.
const COMPUTED: &str = r#"
data "aws_vpc" "this" { default = true }
data "aws_availability_zones" "this" { state = "available" }
resource "aws_subnet" "this" {
  count             = 2
  vpc_id            = data.aws_vpc.this.id
  cidr_block        = cidrsubnet(data.aws_vpc.this.cidr_block, 8, 200 + count.index)
  availability_zone = data.aws_availability_zones.this.names[count.index]
}
resource "aws_security_group" "jobs" {
  name   = "jobs"
  vpc_id = data.aws_vpc.this.id
}
module "muster" {
  source     = "../terraform"
  cluster    = "prod"
  manifests  = "${path.module}/manifests"
  controller = { subnet_ids = aws_subnet.this[*].id, image = "registry.example/muster:1" }
  pools = {
    linux = { instance = { subnets = aws_subnet.this[*].id }, capacity = { max = 7 }, security_group_ids = [aws_security_group.jobs.id] }
    arm = {
      github      = { app = "main", scope = "org/acme" }
      labels      = ["arm"]
      instance    = { architecture = "arm64", types = ["m7g.large"], subnets = aws_subnet.this[*].id }
      root_volume = { size = 100 }
    }
    plain = { root_volume = { size = 60 } }
  }
}
module "validate" {
  source        = "../terraform/modules/validate"
  muster_binary = "MUSTER"
  manifests     = module.muster.manifest_texts
}
output "manifests" { value = module.muster.manifests }
"#;

fn computed() -> String {
    COMPUTED.replace("\"MUSTER\"", &format!("{:?}", env!("CARGO_BIN_EXE_muster")))
}

/// The App and two pools. Only HCL has the subnets of the first pool.
const IN_PART: &str = "apiVersion: muster/v1
kind: GitHubApp
metadata: {name: main}
spec: {appId: 1, privateKey: ssm:/muster/prod/key, webhookSecrets: [ssm:/muster/prod/secret]}
---
apiVersion: muster/v1
kind: RunnerPool
metadata: {name: linux}
spec:
  github: {app: main, scope: org/acme}
  labels: [linux]
  capacity: {max: 5, idle: 1}
  instance: {types: [m7i.large]}
";

fn plain_pool(subnet: &str) -> String {
    format!(
        "apiVersion: muster/v1\nkind: RunnerPool\nmetadata: {{name: plain}}\nspec:\n  github: {{app: main, scope: org/acme}}\n  \
         labels: [plain]\n  instance: {{types: [m7i.large], subnets: [{subnet}]}}\n"
    )
}

fn field<'a, 'b>(yaml: &'a saphyr::Yaml<'b>, path: &[&str]) -> Option<&'a saphyr::Yaml<'b>> {
    path.iter().try_fold(yaml, |at, key| at.as_mapping_get(key))
}

#[tokio::test]
async fn pools_take_the_values_of_terraform_even_those_that_only_an_apply_tells() {
    let Some(moto) = Moto::start().await else { return };
    let Some(terraform) = Terraform::new(Some(&moto)) else { return };
    let seen = moto.ec2.describe_subnets().send().await.expect("moto lists its subnets");
    let plain = plain_pool(seen.subnets()[0].subnet_id().expect("an id"));
    terraform.write("stage/main.tf", &computed());
    terraform.write("stage/manifests/all.yaml", IN_PART);
    terraform.write("stage/manifests/plain.yaml", &plain);
    let (uploaded, terraform) = tokio::task::spawn_blocking(move || {
        terraform.init("stage");
        let plan = terraform.plan("stage");
        let planned = resources(&plan);
        let disk = |pool: &str| {
            let template = &planned[&format!("module.muster.module.pool[\"{pool}\"].aws_launch_template.this")];
            template["block_device_mappings"][0]["ebs"][0]["volume_size"].as_u64()
        };
        assert_eq!((disk("arm"), disk("linux"), disk("plain")), (Some(100), Some(50), Some(60)), "what is known is planned");
        terraform.run("stage", &["apply", "-auto-approve", "plan"]).good("the apply");
        let state: Value =
            serde_json::from_str(&fs::read_to_string(terraform.path("stage/terraform.tfstate")).expect("a state")).expect("JSON");
        let objects = state["resources"].as_array().expect("resources").iter().filter(|r| r["type"] == "aws_s3_object");
        let objects = objects.flat_map(|r| r["instances"].as_array().cloned().unwrap_or_default());
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let texts: Vec<(String, String)> =
            objects.map(|o| (text(&o["attributes"]["key"]), text(&o["attributes"]["content"]))).collect();
        (texts, terraform)
    })
    .await
    .expect("no panic");

    // muster takes the manifests that the controller reads for valid, with the values that were computed.
    for (key, text) in &uploaded {
        terraform.write(&format!("uploaded/{}", key.trim_start_matches("manifests/")), text);
    }
    let (ok, said) = muster(&["validate", terraform.path("uploaded").to_str().expect("UTF-8")]);
    assert!(ok, "{said}\n{uploaded:#?}");
    let text = |file: &str| &uploaded.iter().find(|(key, _)| key == &format!("manifests/{file}")).expect("a manifest").1;
    let pool = |file: &str| {
        let pool = saphyr::Yaml::load_from_str(text(file)).expect("YAML").remove(0);
        let capacity = |name: &str| field(&pool, &["spec", "capacity", name]).and_then(saphyr::Yaml::as_integer);
        let subnets = field(&pool, &["spec", "instance", "subnets"]).and_then(saphyr::Yaml::as_sequence).map_or(0, Vec::len);
        (capacity("max"), capacity("idle"), subnets)
    };
    assert_eq!(pool("terraform-runnerpool-linux.yaml"), (Some(7), Some(1), 2), "the manifest is changed only where HCL says so");
    assert_eq!(pool("terraform-runnerpool-arm.yaml"), (None, None, 2));
    assert_eq!(*text("plain.yaml"), plain, "a pool with another disk only stays as it was written");
    assert!(!text("all.yaml").contains("RunnerPool"), "no pool is there twice: {}", text("all.yaml"));

    the_plan_names_what_is_wrong(terraform).await;
}

/// This also holds for subnets that are not known yet. Terraform reports what it cannot build from, and muster reports the
/// rest.
async fn the_plan_names_what_is_wrong(terraform: Terraform) {
    let refused = move || {
        let refusal = |from: &str, to: &str| {
            assert!(COMPUTED.contains(from), "{from}");
            terraform.write("bad/main.tf", &computed().replacen(from, to, 1));
            terraform.write("bad/manifests/all.yaml", IN_PART);
            terraform.write("bad/manifests/plain.yaml", &plain_pool("subnet-1"));
            terraform.init("bad");
            terraform.run("bad", &["plan"]).bad(to)
        };
        let said = refusal("labels      = [\"arm\"]", "lables      = [\"arm\"]");
        assert!(
            said.contains("terraform-runnerpool-arm.yaml:")
                && said.contains("spec.lables: unknown field; did you mean `labels`?"),
            "{said}"
        );
        let said = refusal("capacity = { max = 7 }", "capacity = { max = 0 }");
        assert!(
            said.contains("terraform-runnerpool-linux.yaml:") && said.contains("spec.capacity.idle: idle is 1 but max is 0"),
            "{said}"
        );
        let said = refusal("plain = {", "other = {");
        assert!(
            said.contains("pools[\"other\"]: RunnerPool other: spec.instance.subnets: is missing; write a list of"),
            "{said}"
        );
        let said = refusal("architecture = \"arm64\"", "architecture = \"arm\"");
        assert!(said.contains("pools[\"arm\"]: RunnerPool arm: spec.instance.architecture: write x64 or arm64"), "{said}");
        let said = refusal("\"${path.module}/manifests\"", "\"${path.module}/${aws_security_group.jobs.id}\"");
        assert!(
            said.contains("`manifests` may not name a directory that this apply makes; write such pools into `pools`"),
            "{said}"
        );
        let said = refusal("\"${path.module}/manifests\"", "\"${path.module}/not-yet\"");
        assert!(said.contains("What this same apply would write there is not there at plan: put it into pools."), "{said}");
    };
    tokio::task::spawn_blocking(refused).await.expect("no panic");
}

#[tokio::test]
async fn a_cluster_can_be_written_in_hcl_alone() {
    let Some(moto) = Moto::start().await else { return };
    let Some(terraform) = Terraform::new(Some(&moto)) else { return };
    let call = computed()
        .replace("  manifests  = \"${path.module}/manifests\"\n", "")
        .replace("plain = { root_volume = { size = 60 } }", "")
        .replace("linux = {", "linux = { github = { app = \"main\", scope = \"org/acme\" }, labels = [\"linux\"],")
        .replace("subnets = aws_subnet.this[*].id }, capacity", "types = [\"m7i.large\"], subnets = aws_subnet.this[*].id }, capacity")
        .replace("  pools = {", "  github_apps = { main = { appId = 1, privateKey = \"ssm:/muster/prod/key\", webhookSecrets = [\"ssm:/muster/prod/secret\"] } }\n  pools = {");
    terraform.write("stage/main.tf", &call);
    let planned = tokio::task::spawn_blocking(move || {
        terraform.init("stage");
        resources(&terraform.plan("stage"))
    })
    .await
    .expect("no panic");
    let keys: Vec<&str> =
        planned.keys().filter_map(|address| address.split_once("aws_s3_object.manifest[")).map(|(_, key)| key).collect();
    let files = ["controller", "githubapp-main", "runnerpool-arm", "runnerpool-linux"];
    assert_eq!(keys, files.map(|file| format!("\"terraform-{file}.yaml\"]")));
}
