output "template" {
  description = "The launch template."
  value       = { id = aws_launch_template.this.id, arn = aws_launch_template.this.arn, name = aws_launch_template.this.name }
}

output "role_arn" {
  description = "The boxes' role."
  value       = aws_iam_role.this.arn
}

output "policy" {
  description = "What the boxes may do, as JSON."
  value       = local.policy
}

output "security_group_id" {
  description = "The boxes' security group."
  value       = aws_security_group.this.id
}
