output "template" {
  description = "The launch template."
  value       = { id = aws_launch_template.this.id, arn = aws_launch_template.this.arn, name = aws_launch_template.this.name }
}

output "role_arn" {
  description = "The ARN of the instances' role; it is known before the role exists."
  value       = "arn:${var.context.partition}:iam::${var.context.account}:role${var.context.role_path}${local.name}-runner"
}

output "policy" {
  description = "What the instances may do, as JSON."
  value       = local.policy
}

output "security_group_id" {
  description = "The instances' security group."
  value       = aws_security_group.this.id
}
