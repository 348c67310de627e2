output "target" {
  description = "The ARN of the Cloud Map service or the listener that the webhook role answers behind; null with direct ingress."
  value       = try(aws_service_discovery_service.this["webhook"].arn, aws_lb_listener.this[0].arn, null)
}

output "admin_url" {
  description = "The admin listener within the VPC; null without admin_cidrs, or on a machine."
  value       = contains(local.named, "controller") ? "http://controller.${aws_service_discovery_private_dns_namespace.this[0].name}:${var.network.admin_port}" : null
}

output "link_security_group_id" {
  description = "The VPC link's security group; null with direct ingress."
  value       = try(aws_security_group.link[0].id, null)
}

output "role_arns" {
  description = "muster's roles by name."
  value       = { for role, made in aws_iam_role.this : role => made.arn }
}

output "policy_arns" {
  description = "The policies for people: `operator` and `doctor`."
  value       = { for name, made in aws_iam_policy.this : name => made.arn }
}

output "policies" {
  description = "What muster's roles may do, as JSON; `operator` and `doctor` are for people."
  value       = merge(local.policies, local.roles)
}
