output "queue_url" {
  description = "For the manifest of the shadow's Controller: spec.queues.jobs."
  value       = aws_sqs_queue.this.url
}

output "role_arn" {
  description = "The role that the shadow runs with."
  value       = aws_iam_role.this.arn
}
