//! `muster validate s3://BUCKET/PREFIX`: the manifests where a controller reads them, judged by whoever may only look.

use crate::support;

use support::github::GitHub;
use support::moto::Moto;
use support::muster::Muster;
use support::scene::{CLUSTER, linux};

#[test]
fn the_list_of_instance_types_is_that_of_the_pinned_botocore() {
    let python = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/python");
    if !python.exists() {
        return support::tools::skip(support::tools::NO_VENV);
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/instance_types.py");
    let output = std::process::Command::new(python).args([script, "--check"]).output().expect("Python runs");
    assert!(output.status.success(), "{output:?}");
}

#[tokio::test]
async fn the_manifests_of_a_bucket_are_judged_like_those_of_a_directory() {
    let Some(moto) = Moto::start().await else { return };
    let world = moto.create_world(CLUSTER, &["linux"]).await;
    let github = GitHub::start().await;
    let muster = Muster::prepare(&moto, &github, &world, &[linux()]);
    let bucket = &world.bucket;
    let put = async |key: &str, text: String| {
        let put = moto.s3.put_object().bucket(bucket).key(key).body(text.into_bytes().into());
        put.send().await.expect("moto stores an object");
    };
    for file in std::fs::read_dir(muster.manifests()).expect("a directory").flatten() {
        let (name, path) = (file.file_name().into_string().expect("UTF-8"), file.path());
        if path.extension().is_some_and(|ending| ending == "yaml") {
            put(&format!("manifests/{name}"), std::fs::read_to_string(path).expect("a manifest")).await;
        }
    }
    let place = format!("s3://{bucket}/manifests");
    let dir = muster.manifests().display().to_string();
    let (of_dir, of_bucket) =
        (muster.command(&["validate", &dir]).await, muster.command(&["validate", &format!("{place}/")]).await);
    assert_eq!(of_bucket.0, 0, "{of_bucket:?}");
    assert!(of_bucket.1.contains("RunnerPool linux:"), "{of_bucket:?}");
    assert_eq!(of_dir.1, of_bucket.1);

    put("manifests/more.yaml", linux().yaml(&world).replace("name: linux", "name: more").replace("max: 100", "max: -1")).await;
    let (code, _, said) = muster.command(&["validate", &place]).await;
    assert!(code == 1 && said.contains("more.yaml:") && said.contains("max"), "{code}: {said}");
    // In a pull request, and beside another directory, the object is named in full.
    let (code, said, _) = muster.command(&["validate", &place, "-o", "github"]).await;
    assert!(code == 1 && said.contains(&format!("file=s3%3A//{bucket}/manifests/more.yaml")), "{code}: {said}");

    for (place, wanted, part) in [
        (format!("s3://{bucket}/nothing"), 6, "holds no *.yaml or *.yml".to_owned()),
        (format!("{place}/more.yaml"), 2, format!("write {place}")),
        ("s3://".to_owned(), 6, "names no bucket".to_owned()),
    ] {
        let (code, out, said) = muster.command(&["validate", &place]).await;
        assert!(code == wanted && out.is_empty() && said.contains(&part), "{place}: {code}: {out}{said}");
    }
}
