output "webhook_url" {
  description = "For the GitHub App: its webhook URL."
  value       = module.ingress.url
}

output "controller_url" {
  description = "For MUSTER_CONTROLLER and Prometheus: the URL of the admin listener within the VPC. Null without admin_cidrs, or with host = \"ec2\"."
  value       = module.controller.admin_url
}

output "manifests" {
  description = "For `muster run --manifests`: where Terraform put the manifests."
  value       = module.storage.manifests
}

output "manifest_texts" {
  description = "For `modules/validate`: the manifests by file as they are uploaded. Stand-ins replace the queues' URLs and the subnets of `pools`, because these may not exist before the apply."
  value       = merge(module.manifests.texts_at_plan, { "terraform-controller.yaml" = yamlencode(local.controller_at_plan) })
}

output "region" {
  description = "For AWS_REGION."
  value       = local.region
}

output "secret_commands" {
  description = "The command that fills each secret; run each once. file://PATH is the private key's file from GitHub, or a file that holds the webhook secret, the personal access token or the admin token without a line break."
  value       = [for name in local.own_parameters : "aws ssm put-parameter --region ${local.region} --overwrite --type SecureString${local.kms_key_arn == null ? "" : " --key-id ${local.kms_key_arn}"} --name ${name} --value file://PATH"]
}

output "secret_parameters" {
  description = "The SSM parameters that wait for the secrets of GitHubApps and GitHubTokens and for the admin token."
  value       = local.own_parameters
}

output "bucket" {
  description = "The bucket of runner binaries and manifests."
  value       = module.storage.bucket
}

output "queues" {
  description = "Queue URLs."
  value       = module.queues.urls
}

output "launch_templates" {
  description = "The launch template of each pool."
  value       = { for name, pool in module.pool : name => pool.template }
}

output "instance_types" {
  description = "The pools' instance types by operating system, for `modules/prices`."
  value       = { for os in distinct([for pool in local.pools : pool.os]) : os => distinct(flatten([for pool in local.pools : pool.types if pool.os == os])) }
}

output "role_arns" {
  description = "muster's roles and the pools' instances' roles."
  value       = merge(module.controller.role_arns, { for name, pool in module.pool : "runner ${name}" => pool.role_arn })
}

output "operator_policy_arn" {
  description = "For people who run `muster doctor` or `muster cost`: looks, changes nothing, and reads no secret. doctor's checks of GitHub then say that they cannot read the App's secrets."
  value       = module.controller.policy_arns["operator"]
}

output "doctor_policy_arn" {
  description = "For the few who run `muster plan`, or more checks of `muster doctor`, beside `operator_policy_arn`: reads the GitHub App's private key and the webhook secrets, and not the tokens of the admin listener. Who has it can do at GitHub whatever the App can, so give it to nobody for good."
  value       = module.controller.policy_arns["doctor"]
}

output "policies" {
  description = "What each role may do, as JSON, and the policies for people, `operator` and `doctor`. The module attaches these two to nobody."
  value       = merge(module.controller.policies, { for name, pool in module.pool : "runner ${name}" => pool.policy })
}

output "security_group_ids" {
  description = "The security group of each pool's instances."
  value       = { for name, pool in module.pool : name => pool.security_group_id }
}

output "kms_key_arn" {
  description = "The customer KMS key; null with create_kms_key = false and without kms_key_arn."
  value       = local.kms_key_arn
}
