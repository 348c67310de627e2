# Jobs, EC2's notifications, and what nobody could read of either.

locals {
  c    = var.context
  arn  = "arn:${local.c.partition}:sqs:${local.c.region}:${local.c.account}:${local.c.cluster}"
  dead = { jobs = "dead-letters", ec2-events = "ec2-events-dead-letters" }
  policy = { for name in concat(keys(local.dead), values(local.dead)) : name => jsonencode({
    Version = "2012-10-17"
    Statement = concat([{
      Sid       = "TLSOnly"
      Effect    = "Deny"
      Principal = "*"
      Action    = "sqs:*"
      Resource  = "${local.arn}-${name}"
      Condition = { Bool = { "aws:SecureTransport" = "false" } }
      }], name == "ec2-events" ? [{
      Sid       = "EventBridge"
      Effect    = "Allow"
      Principal = { Service = "events.amazonaws.com" }
      Action    = "sqs:SendMessage"
      Resource  = "${local.arn}-${name}"
      Condition = { ArnEquals = { "aws:SourceArn" = [for rule in keys(local.rules) : "arn:${local.c.partition}:events:${local.c.region}:${local.c.account}:rule/${local.c.cluster}-${rule}"] } }
    }] : [])
  }) }
  rules = {
    spot-interruption = "EC2 Spot Instance Interruption Warning"
    rebalance         = "EC2 Instance Rebalance Recommendation"
    state-change      = "EC2 Instance State-change Notification"
  }
}

resource "aws_sqs_queue" "dead" {
  for_each                  = local.dead
  name                      = "${local.c.cluster}-${each.value}"
  message_retention_seconds = 14 * 86400
  sqs_managed_sse_enabled   = var.kms_key_arn == null ? true : null
  kms_master_key_id         = var.kms_key_arn
  policy                    = local.policy[each.value]
  tags                      = local.c.tags
  redrive_allow_policy = jsonencode({
    redrivePermission = "byQueue"
    sourceQueueArns   = ["${local.arn}-${each.key}"]
  })
}

resource "aws_sqs_queue" "this" {
  for_each                   = local.dead
  name                       = "${local.c.cluster}-${each.key}"
  visibility_timeout_seconds = each.key == "jobs" ? 120 : 30
  # A job waits a day at GitHub; a notification of an hour ago is no news.
  message_retention_seconds = each.key == "jobs" ? 2 * 86400 : 3600
  receive_wait_time_seconds = 20
  sqs_managed_sse_enabled   = var.kms_key_arn == null ? true : null
  kms_master_key_id         = var.kms_key_arn
  policy                    = local.policy[each.key]
  tags                      = local.c.tags
  # Each restart of the controller receives every waiting job once more. muster itself puts aside what it cannot read.
  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.dead[each.key].arn
    maxReceiveCount     = each.key == "jobs" ? 1000 : 10
  })
}

resource "aws_cloudwatch_event_rule" "this" {
  for_each      = local.rules
  name          = "${local.c.cluster}-${each.key}"
  description   = "${each.value}, for muster"
  event_pattern = jsonencode({ source = ["aws.ec2"], detail-type = [each.value] })
  tags          = local.c.tags
}

resource "aws_cloudwatch_event_target" "this" {
  for_each = local.rules
  rule     = aws_cloudwatch_event_rule.this[each.key].name
  arn      = aws_sqs_queue.this["ec2-events"].arn
}

resource "aws_cloudwatch_metric_alarm" "age" {
  for_each            = { jobs = var.alarms.oldest_job_seconds, ec2-events = 300 }
  alarm_name          = "${local.c.cluster}-${each.key}-oldest"
  alarm_description   = each.key == "jobs" ? "A job has waited for ${each.value} s: ask muster explain job/ID" : "A message of EC2 has waited for ${each.value} s: does the controller run?"
  namespace           = "AWS/SQS"
  metric_name         = "ApproximateAgeOfOldestMessage"
  dimensions          = { QueueName = aws_sqs_queue.this[each.key].name }
  statistic           = "Maximum"
  period              = 60
  evaluation_periods  = 3
  comparison_operator = "GreaterThanThreshold"
  threshold           = each.value
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarms.actions
  ok_actions          = var.alarms.actions
  tags                = local.c.tags
}

resource "aws_cloudwatch_metric_alarm" "dead" {
  for_each            = local.dead
  alarm_name          = "${local.c.cluster}-${each.value}"
  alarm_description   = "Messages in ${each.key} that nobody could read"
  namespace           = "AWS/SQS"
  metric_name         = "ApproximateNumberOfMessagesVisible"
  dimensions          = { QueueName = aws_sqs_queue.dead[each.key].name }
  statistic           = "Maximum"
  period              = 60
  evaluation_periods  = 1
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarms.actions
  ok_actions          = var.alarms.actions
  tags                = local.c.tags
}
