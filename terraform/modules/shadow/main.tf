# What `muster run --shadow` needs: a queue of its own, and a role that may read. The role changes nothing of the other system's: it
# empties its own queue, and writes its own record.

data "aws_partition" "current" {}

locals {
  s3 = "arn:${data.aws_partition.current.partition}:s3:::"
  all = jsondecode(templatefile("${path.module}/policy.json.tftpl", {
    queue            = jsonencode(aws_sqs_queue.this.arn)
    parameters       = jsonencode(length(var.parameters) > 0 ? var.parameters : null)
    manifests        = jsonencode(var.manifests == null ? null : "${local.s3}${var.manifests.bucket}/${var.manifests.prefix}/*")
    manifests_bucket = jsonencode(var.manifests == null ? null : "${local.s3}${var.manifests.bucket}")
    record           = jsonencode(var.record == null ? null : "${local.s3}${var.record.bucket}/${var.record.prefix}/*")
  }))
  # What is not used is not allowed.
  policy = jsonencode({
    Version   = local.all.Version
    Statement = [for statement in local.all.Statement : statement if statement.Resource != null]
  })
}

resource "aws_sqs_queue" "this" {
  name                       = var.name
  visibility_timeout_seconds = 300
  # While the shadow is down, nothing is lost for two weeks.
  message_retention_seconds = 14 * 86400
  sqs_managed_sse_enabled   = true
  tags                      = var.tags
}

data "aws_iam_policy_document" "queue" {
  statement {
    sid       = "TLSOnly"
    effect    = "Deny"
    actions   = ["sqs:*"]
    resources = [aws_sqs_queue.this.arn]
    principals {
      type        = "*"
      identifiers = ["*"]
    }
    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }
  dynamic "statement" {
    for_each = aws_cloudwatch_event_rule.this
    content {
      sid       = "EventBridge"
      actions   = ["sqs:SendMessage"]
      resources = [aws_sqs_queue.this.arn]
      principals {
        type        = "Service"
        identifiers = ["events.amazonaws.com"]
      }
      condition {
        test     = "ArnEquals"
        variable = "aws:SourceArn"
        values   = [statement.value.arn]
      }
    }
  }
}

resource "aws_sqs_queue_policy" "this" {
  queue_url = aws_sqs_queue.this.url
  policy    = data.aws_iam_policy_document.queue.json
}

resource "aws_cloudwatch_event_rule" "this" {
  count          = var.event_bus == null ? 0 : 1
  name           = var.name
  description    = "The jobs of another system, for a shadow of muster"
  event_bus_name = var.event_bus
  event_pattern  = jsonencode({ detail-type = ["workflow_job"] })
  tags           = var.tags
}

resource "aws_cloudwatch_event_target" "this" {
  count          = var.event_bus == null ? 0 : 1
  rule           = aws_cloudwatch_event_rule.this[0].name
  event_bus_name = var.event_bus
  arn            = aws_sqs_queue.this.arn
}

resource "aws_iam_role" "this" {
  name = var.name
  assume_role_policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Action = "sts:AssumeRole", Principal = { Service = var.trusted_service } }]
  })
  tags = var.tags
}

resource "aws_iam_role_policy" "this" {
  name   = "shadow"
  role   = aws_iam_role.this.name
  policy = local.policy
}
