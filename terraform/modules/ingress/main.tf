# The way in for GitHub's webhooks: POST /webhook, over TLS that API Gateway ends.

locals {
  c       = var.context
  service = var.mode == "service"
  # The headers that muster verifies a raw delivery by, as message attributes of the same names. SQS takes no empty
  # attribute, so a delivery without a signature is refused here already.
  attributes = { for name in ["X-Hub-Signature-256", "X-GitHub-Event", "Content-Type"] : name => {
    DataType = "String", StringValue = "$${request.header.${lower(name)}}"
  } }
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      [{ Sid = "Send", Effect = "Allow", Action = "sqs:SendMessage", Resource = var.jobs.arn }],
      [for key in var.kms_key_arn == null ? [] : [var.kms_key_arn] : {
        Sid       = "Key"
        Effect    = "Allow"
        Action    = ["kms:Decrypt", "kms:GenerateDataKey"]
        Resource  = key
        Condition = { StringEquals = { "kms:ViaService" = "sqs.${local.c.region}.${local.c.dns_suffix}" } }
      }],
    )
  })
}

resource "aws_apigatewayv2_api" "this" {
  name          = "${local.c.cluster}-webhook"
  description   = "GitHub's webhooks for muster"
  protocol_type = "HTTP"
  tags          = local.c.tags
}

resource "aws_iam_role" "this" {
  count                = local.service ? 0 : 1
  name                 = "${local.c.cluster}-webhook-gateway"
  description          = "API Gateway puts GitHub's deliveries on muster's jobs queue"
  path                 = local.c.role_path
  permissions_boundary = local.c.permissions_boundary
  tags                 = local.c.tags
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect = "Allow"
      Action = "sts:AssumeRole"
      # No aws:SourceAccount: API Gateway does not send it with this call. The role can put messages on one queue.
      Principal = { Service = "apigateway.amazonaws.com" }
    }]
  })
}

resource "aws_iam_role_policy" "this" {
  count  = local.service ? 0 : 1
  name   = "muster"
  role   = aws_iam_role.this[0].name
  policy = local.policy
}

resource "aws_apigatewayv2_integration" "this" {
  api_id                 = aws_apigatewayv2_api.this.id
  payload_format_version = "1.0"
  timeout_milliseconds   = 10000 # GitHub's own patience

  integration_type   = local.service ? "HTTP_PROXY" : "AWS_PROXY"
  integration_method = local.service ? "POST" : null
  integration_uri    = local.service ? var.target : null
  connection_type    = local.service ? "VPC_LINK" : null
  connection_id      = local.service ? aws_apigatewayv2_vpc_link.this[0].id : null

  integration_subtype = local.service ? null : "SQS-SendMessage"
  credentials_arn     = local.service ? null : aws_iam_role.this[0].arn
  request_parameters = local.service ? null : {
    QueueUrl          = var.jobs.url
    MessageBody       = "$request.body"
    MessageAttributes = jsonencode(local.attributes)
  }
}

resource "aws_apigatewayv2_route" "this" {
  api_id    = aws_apigatewayv2_api.this.id
  route_key = "POST /webhook"
  target    = "integrations/${aws_apigatewayv2_integration.this.id}"
}

resource "aws_cloudwatch_log_group" "this" {
  name              = "/muster/${local.c.cluster}/webhook-access"
  retention_in_days = var.log_retention_days
  kms_key_id        = var.kms_key_arn
  tags              = local.c.tags
}

resource "aws_apigatewayv2_stage" "this" {
  api_id      = aws_apigatewayv2_api.this.id
  name        = "$default"
  auto_deploy = true
  tags        = local.c.tags

  default_route_settings {
    throttling_burst_limit = 1000
    throttling_rate_limit  = 500
  }

  access_log_settings {
    destination_arn = aws_cloudwatch_log_group.this.arn
    format = jsonencode({
      at       = "$context.requestTime"
      status   = "$context.status"
      ms       = "$context.responseLatency"
      bytes    = "$context.responseLength"
      from     = "$context.identity.sourceIp"
      delivery = "$context.requestId"
      error    = "$context.integrationErrorMessage"
    })
  }
}

output "url" {
  description = "The webhook URL for the GitHub App."
  value       = "${aws_apigatewayv2_api.this.api_endpoint}/webhook"
}

output "policy" {
  description = "What API Gateway may do (direct), as JSON."
  value       = local.service ? null : local.policy
}
