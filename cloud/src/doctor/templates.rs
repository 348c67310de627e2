//! Whether the launch templates exist, and whether their instances can do their work and end when it is done.
//! `terraform/modules/pool` makes such templates.
//! <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeLaunchTemplateVersions.html>

use aws_sdk_ec2::types::{
    LaunchTemplateHttpTokensState, LaunchTemplateInstanceMetadataTagsState, LaunchTemplateVersion, ShutdownBehavior,
};
use muster_reconciler::manifest::{Architecture, RunnerPool};

use super::finding::{Complaints, Finding};
use super::look::Look;

/// The parts of a launch template that matter here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template {
    pub version: i64,
    pub image: Option<String>,
    /// Whether the template lists network interfaces. If it does, a request must not name a subnet beside them.
    pub interfaces: bool,
    profile: bool,
    tokens: bool,
    /// How many hops the answers of the metadata service go, as the template says.
    hops: Option<i32>,
    tags: bool,
    terminates: bool,
}

impl Template {
    fn of(said: &LaunchTemplateVersion) -> Option<Template> {
        let data = said.launch_template_data()?;
        let metadata = data.metadata_options();
        let tokens = metadata.and_then(|options| options.http_tokens());
        let tags = metadata.and_then(|options| options.instance_metadata_tags());
        Some(Template {
            version: said.version_number().unwrap_or(0),
            image: data.image_id().map(str::to_owned),
            interfaces: !data.network_interfaces().is_empty(),
            profile: data.iam_instance_profile().is_some(),
            tokens: tokens == Some(&LaunchTemplateHttpTokensState::Required),
            hops: metadata.and_then(|options| options.http_put_response_hop_limit()),
            tags: tags == Some(&LaunchTemplateInstanceMetadataTagsState::Enabled),
            terminates: data.instance_initiated_shutdown_behavior() == Some(&ShutdownBehavior::Terminate),
        })
    }
}

/// How a look at a pool's launch template ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TemplateLook {
    /// The template exists.
    There(Template),
    /// There is no such template.
    Missing,
    /// AWS's answer does not say whether the template exists.
    Unknown,
}

/// Checks the launch template of a pool, and its image.
pub(super) async fn check(look: &Look, pool: &RunnerPool, cluster: &str) -> (TemplateLook, Vec<Finding>) {
    let name = pool.launch_template(cluster);
    let check = format!("launch template {}", pool.metadata.name);
    let call = look.ec2.describe_launch_template_versions().launch_template_name(&name).versions("$Default");
    let what = format!("look at launch template {name}");
    let next = "make it (`terraform apply`), or correct spec.instance.launchTemplate";
    let missing = |seen: &str| (TemplateLook::Missing, vec![Finding::failed(&check, seen, next)]);
    let template = match look.probe.call("ec2.DescribeLaunchTemplateVersions", &what, call.send()).await {
        Ok(answer) => match answer.launch_template_versions().first().and_then(Template::of) {
            Some(template) => template,
            None => return missing(&format!("{name} has no default version")),
        },
        Err(error) if error.code.contains("NotFound") => return missing(&format!("there is no launch template {name}")),
        Err(error) => {
            let finding = Finding::look_failed(&check, &error, "ec2:DescribeLaunchTemplateVersions", next);
            return (TemplateLook::Unknown, vec![finding]);
        }
    };
    let mut found = vec![judge(&check, &name, &template)];
    if let Some(image) = &template.image {
        found.push(check_image(look, pool, image).await);
    }
    (TemplateLook::There(template), found)
}

fn judge(check: &str, name: &str, template: &Template) -> Finding {
    let mut marks = Complaints::default();
    marks.fact(format!("{name}, version {}", template.version));
    if !template.tags {
        let seen =
            format!("{name} does not show tags in the instance's metadata, where the boot script reads its cluster and pool");
        marks.warn(seen, "set metadata_options.instance_metadata_tags to enabled");
    }
    if !template.tokens {
        let seen = format!("{name} admits IMDSv1, by which a job may get at the instance's credentials more easily");
        marks.warn(seen, "set metadata_options.http_tokens to required");
    }
    if template.hops != Some(1) {
        // https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/configuring-instance-metadata-options.html
        let is = match template.hops {
            Some(hops) => format!("is {hops}"),
            None => "is not set, and 2 by default on Amazon Linux 2023".to_owned(),
        };
        let seen = format!("{name}'s metadata hop limit {is}: containers reach the instance's credentials");
        marks.warn(seen, "set metadata_options.http_put_response_hop_limit to 1");
    }
    if !template.terminates {
        let seen = format!("{name} lets an instance that shuts down stop instead of ending: it stays, and counts against max");
        marks.warn(seen, "set instance_initiated_shutdown_behavior to terminate");
    }
    if !template.profile {
        let seen = format!("{name} gives the instance no instance profile, without which it cannot read its own secret");
        marks.warn(seen, "set iam_instance_profile");
    }
    if template.image.is_none() {
        marks.fail(format!("{name} names no image"), "set image_id");
    }
    marks.finding(check)
}

async fn check_image(look: &Look, pool: &RunnerPool, image: &str) -> Finding {
    let check = format!("image {}", pool.metadata.name);
    if !image.starts_with("ami-") {
        return Finding::unchecked(check, format!("{image} is looked up by EC2 at each launch"), "nothing, if instances start");
    }
    let call = look.ec2.describe_images().image_ids(image);
    match look.probe.call("ec2.DescribeImages", &format!("look at image {image}"), call.send()).await {
        Ok(answer) => {
            let found = answer.images().first();
            judge_image(
                check,
                image,
                found.and_then(|found| Some(found.architecture()?.as_str())),
                pool.spec.instance.architecture,
            )
        }
        Err(error) if error.code.contains("NotFound") => judge_image(check, image, None, pool.spec.instance.architecture),
        Err(error) => Finding::look_failed(check, &error, "ec2:DescribeImages", "name another image"),
    }
}

fn judge_image(check: String, image: &str, is: Option<&str>, wanted: Architecture) -> Finding {
    let wanted = match wanted {
        Architecture::X64 => "x86_64",
        Architecture::Arm64 => "arm64",
    };
    match is {
        None => {
            let next = "put an image that exists (and that this account may use) into the launch template: `terraform apply` looks up the newest";
            Finding::failed(check, format!("there is no image {image}"), next)
        }
        Some(is) if is != wanted => {
            let next = "put an image of the pool's architecture into the launch template, or correct spec.instance.architecture";
            Finding::failed(check, format!("{image} is {is}, the pool is {wanted}"), next)
        }
        Some(is) => Finding::ok(check, format!("{image}, {is}")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;

    #[test]
    fn a_template_is_held_to_what_an_instance_needs() {
        let good = Template {
            version: 3,
            image: Some("ami-1".into()),
            interfaces: true,
            profile: true,
            tokens: true,
            hops: Some(1),
            tags: true,
            terminates: true,
        };
        assert_eq!(judge("t", "c1-linux", &good), Finding::ok("t", "c1-linux, version 3"));
        for (template, verdict, word) in [
            (Template { tokens: false, ..good.clone() }, Verdict::Warning, "http_tokens"),
            (Template { hops: Some(2), ..good.clone() }, Verdict::Warning, "http_put_response_hop_limit"),
            (Template { hops: None, ..good.clone() }, Verdict::Warning, "http_put_response_hop_limit"),
            (Template { tags: false, ..good.clone() }, Verdict::Warning, "instance_metadata_tags"),
            (Template { terminates: false, ..good.clone() }, Verdict::Warning, "terminate"),
            (Template { profile: false, ..good.clone() }, Verdict::Warning, "iam_instance_profile"),
            (Template { image: None, ..good }, Verdict::Failed, "image_id"),
        ] {
            let found = judge("t", "c1-linux", &template);
            assert!(found.verdict == verdict && found.next.as_deref().is_some_and(|next| next.contains(word)), "{found:?}");
        }
    }

    #[test]
    fn an_image_is_of_the_pools_architecture() {
        let of = |is, wanted| judge_image("i".into(), "ami-1", is, wanted).verdict;
        assert_eq!(of(Some("x86_64"), Architecture::X64), Verdict::Ok);
        assert_eq!(of(Some("x86_64"), Architecture::Arm64), Verdict::Failed);
        assert_eq!(of(None, Architecture::Arm64), Verdict::Failed);
    }
}
