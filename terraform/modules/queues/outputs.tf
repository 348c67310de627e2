output "urls" {
  description = "Queue URLs, as a Controller's spec.queues."
  value = {
    jobs        = aws_sqs_queue.this["jobs"].url
    deadLetters = aws_sqs_queue.dead["jobs"].url
    ec2Events   = aws_sqs_queue.this["ec2-events"].url
  }
}

output "arns" {
  description = "Queue ARNs, known before the queues exist."
  value = {
    jobs        = "${local.arn}-jobs"
    deadLetters = "${local.arn}-dead-letters"
    ec2Events   = "${local.arn}-ec2-events"
  }
}

output "policies" {
  description = "The queues' own policies, as JSON."
  value       = local.policy
}
