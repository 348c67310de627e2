# What an instance may do: read and delete its own secret, read its runner, and, if its pool wants that, tell on itself how long its
# start took.

locals {
  instance = "arn:${var.context.partition}:ec2:${var.context.region}:${var.context.account}:instance"
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat([
      {
        # muster tags each secret with its instance's ARN.
        Sid       = "OwnSecret"
        Effect    = "Allow"
        Action    = ["ssm:GetParameter", "ssm:DeleteParameter"]
        Resource  = "arn:${var.context.partition}:ssm:${var.context.region}:${var.context.account}:parameter/muster/${var.context.cluster}/runners/*"
        Condition = { StringEquals = { "ssm:resourceTag/muster:instance-arn" = "$${ec2:SourceInstanceARN}" } }
      },
      {
        Sid      = "Runner"
        Effect   = "Allow"
        Action   = "s3:GetObject"
        Resource = "arn:${var.context.partition}:s3:::${var.bucket}/runners/${var.pool.os}-${var.pool.arch}/*"
      },
      ], [for stages in [var.pool.bootstrap.stages] : {
        # ec2:SourceInstanceARN is the instance whose credentials these are, ec2:InstanceID the one that is to be tagged. AWS
        # compares them so in its own managed policies:
        # https://docs.aws.amazon.com/aws-managed-policy/latest/reference/AWSEC2VssSnapshotPolicy.html
        Sid      = "OwnStages"
        Effect   = "Allow"
        Action   = "ec2:CreateTags"
        Resource = "${local.instance}/*"
        Condition = {
          ArnEquals                   = { "ec2:SourceInstanceARN" = "${local.instance}/$${ec2:InstanceID}" }
          "ForAllValues:StringEquals" = { "aws:TagKeys" = ["muster:stages"] }
          Null                        = { "aws:TagKeys" = "false" }
        }
        } if stages], [for key in var.kms_key_arn == null ? [] : [var.kms_key_arn] : {
        Sid       = "RunnerKey"
        Effect    = "Allow"
        Action    = "kms:Decrypt"
        Resource  = key
        Condition = { StringEquals = { "kms:ViaService" = "s3.${var.context.region}.${var.context.dns_suffix}" } }
    }])
  })
}

resource "aws_iam_role" "this" {
  name                 = "${local.name}-runner"
  description          = "muster's instances of pool ${var.name}"
  path                 = var.context.role_path
  permissions_boundary = var.context.permissions_boundary
  tags                 = local.tags
  assume_role_policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Action = "sts:AssumeRole", Principal = { Service = "ec2.amazonaws.com" } }]
  })
}

resource "aws_iam_role_policy" "this" {
  name   = "muster"
  role   = aws_iam_role.this.name
  policy = local.policy
}

resource "aws_iam_role_policy_attachment" "this" {
  for_each   = toset(var.settings.policy_arns)
  role       = aws_iam_role.this.name
  policy_arn = each.value
}

resource "aws_iam_instance_profile" "this" {
  name = "${local.name}-runner"
  path = var.context.role_path
  role = aws_iam_role.this.name
  tags = local.tags
}
