# CloudWatch Logs' name differs by partition; the provider knows it.
data "aws_service_principal" "logs" {
  service_name = "logs"
}

resource "aws_kms_key" "this" {
  count                   = local.own_key ? 1 : 0 # must be known at plan: with a kms_key_arn that this apply makes, write create_kms_key = false
  description             = "muster ${var.cluster}: queues, bucket, logs, and the secrets of the GitHub App and the instances"
  enable_key_rotation     = true
  deletion_window_in_days = 7
  tags                    = local.tags
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "Account"
        Effect    = "Allow"
        Principal = { AWS = "arn:${local.context.partition}:iam::${local.account}:root" }
        Action    = "kms:*"
        Resource  = "*"
      },
      {
        Sid       = "EventBridge"
        Effect    = "Allow"
        Principal = { Service = "events.amazonaws.com" }
        # No aws:SourceAccount, as in SQS's own example: without it the notifications would be lost without a word.
        Action   = ["kms:Decrypt", "kms:GenerateDataKey"]
        Resource = "*"
      },
      {
        Sid       = "Logs"
        Effect    = "Allow"
        Principal = { Service = data.aws_service_principal.logs.id }
        Action    = ["kms:Encrypt*", "kms:Decrypt*", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:Describe*"]
        Resource  = "*"
        Condition = { ArnLike = { "kms:EncryptionContext:aws:logs:arn" = "arn:${local.context.partition}:logs:${local.region}:${local.account}:log-group:/muster/${var.cluster}/*" } }
      },
    ]
  })
}

resource "aws_kms_alias" "this" {
  count         = local.own_key ? 1 : 0
  name          = "alias/muster-${var.cluster}"
  target_key_id = aws_kms_key.this[0].key_id
}
