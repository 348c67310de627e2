# What muster may do, from the calls that cloud/src/aws/ makes, and for the operator those that cloud/src/doctor/ makes beside.
# tests/wire/terraform_policies.rs compares.

locals {
  c = var.context
  # In China EC2 is also `ec2.amazonaws.com.cn`: as in Karpenter's controller policy.
  ec2_names  = distinct(["ec2.amazonaws.com", "ec2.${local.c.dns_suffix}"])
  ec2        = "arn:${local.c.partition}:ec2:${local.c.region}:${local.c.account}"
  image      = "arn:${local.c.partition}:ec2:${local.c.region}:"
  secrets    = "${local.at_ssm}/muster/${local.c.cluster}/runners/*"
  paused     = "${local.at_ssm}/muster/${local.c.cluster}/paused"
  at_ssm     = "arn:${local.c.partition}:ssm:${local.c.region}:${local.c.account}:parameter"
  parameters = { for kind, names in var.parameters : kind => [for name in names : "${local.at_ssm}${name}"] }
  bucket     = "arn:${local.c.partition}:s3:::${var.bucket}"
  asked      = { StringEquals = { "aws:RequestTag/muster:cluster" = local.c.cluster } }
  ours       = { StringEquals = { "aws:ResourceTag/muster:cluster" = local.c.cluster } }

  # Both roles read the manifests, and the webhook secrets.
  manifests = [
    { Sid = "Manifests", Effect = "Allow", Action = "s3:GetObject", Resource = "${local.bucket}/manifests/*" },
    { Sid = "ListManifests", Effect = "Allow", Action = "s3:ListBucket", Resource = local.bucket },
  ]
  webhook_secrets = { Sid = "WebhookSecrets", Effect = "Allow", Action = "ssm:GetParameter", Resource = local.parameters.webhooks }
  # Every process of muster asks for the token for looking.
  views   = [for names in [local.parameters.views] : { Sid = "ViewToken", Effect = "Allow", Action = "ssm:GetParameter", Resource = names } if length(names) > 0]
  reading = concat(local.manifests, [local.webhook_secrets], local.views)
  tokens  = [for names in [local.parameters.tokens] : { Sid = "AdminToken", Effect = "Allow", Action = "ssm:GetParameter", Resource = names } if length(names) > 0]
  keys    = { Sid = "AppKeys", Effect = "Allow", Action = "ssm:GetParameter", Resource = local.parameters.keys }
  key = [for key in var.kms_key_arn == null ? [] : [var.kms_key_arn] : {
    Sid       = "Key"
    Effect    = "Allow"
    Action    = ["kms:Decrypt", "kms:GenerateDataKey"]
    Resource  = key
    Condition = { StringEquals = { "kms:ViaService" = [for service in ["s3", "sqs"] : "${service}.${local.c.region}.${local.c.dns_suffix}"] } }
  }]
  # SSM tells KMS which parameter it decrypts or encrypts. A parameter of up to 4 KB needs kms:Encrypt, a larger one kms:GenerateDataKey.
  # https://docs.aws.amazon.com/kms/latest/developerguide/services-parameter-store.html
  of_ssm = { for use, arns in {
    webhook    = concat(local.parameters.webhooks, local.parameters.views)
    doctor     = concat(local.parameters.webhooks, local.parameters.keys)
    controller = flatten(values(local.parameters))
    } : use => [for key in var.kms_key_arn == null ? [] : [var.kms_key_arn] : {
      Sid       = "ParameterKey"
      Effect    = "Allow"
      Action    = "kms:Decrypt"
      Resource  = key
      Condition = { StringEquals = { "kms:ViaService" = local.ssm, "kms:EncryptionContext:PARAMETER_ARN" = arns } }
  }] }
  ssm = "ssm.${local.c.region}.${local.c.dns_suffix}"
  secrets_key = [for key in var.kms_key_arn == null ? [] : [var.kms_key_arn] : {
    Sid       = "SecretsKey"
    Effect    = "Allow"
    Action    = ["kms:Encrypt", "kms:GenerateDataKey"]
    Resource  = key
    Condition = { StringEquals = { "kms:ViaService" = local.ssm }, StringLike = { "kms:EncryptionContext:PARAMETER_ARN" = local.secrets } }
  }]
  send = { Sid = "SendJobs", Effect = "Allow", Action = "sqs:SendMessage", Resource = var.queues.jobs }

  # A disk under a customer's key: EC2 uses it in the name of whoever launches.
  # https://docs.aws.amazon.com/ebs/latest/userguide/ebs-encryption-requirements.html
  volume_keys = [for keys in [var.pools.volume_keys] : {
    Sid       = "VolumeKeys"
    Effect    = "Allow"
    Action    = ["kms:CreateGrant", "kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKeyWithoutPlaintext", "kms:ReEncryptFrom", "kms:ReEncryptTo"]
    Resource  = keys
    Condition = { StringEquals = { "kms:ViaService" = "ec2.${local.c.region}.${local.c.dns_suffix}" } }
  } if length(keys) > 0]

  prices = [for list in var.prices == null ? [] : [var.prices] : { Sid = "PriceList", Effect = "Allow", Action = "s3:GetObject", Resource = "${local.bucket}/prices.yaml" }]

  controlling = concat(local.volume_keys, local.tokens, local.prices, local.of_ssm.controller, local.secrets_key, [
    local.keys,
    # What a launch makes bears the cluster's tag; what it uses is the pools' own.
    { Sid = "Launch", Effect = "Allow", Action = ["ec2:CreateFleet", "ec2:RunInstances"], Resource = [for kind in ["fleet", "instance", "volume"] : "${local.ec2}:${kind}/*"], Condition = local.asked },
    { Sid = "LaunchTemplates", Effect = "Allow", Action = ["ec2:CreateFleet", "ec2:RunInstances"], Resource = "${local.ec2}:launch-template/*", Condition = local.ours },
    {
      Sid      = "LaunchWith"
      Effect   = "Allow"
      Action   = ["ec2:CreateFleet", "ec2:RunInstances"]
      Resource = concat([for id in var.pools.subnets : "${local.ec2}:subnet/${id}"], [for kind in ["network-interface", "security-group", "spot-instances-request"] : "${local.ec2}:${kind}/*"], [for kind in ["image", "snapshot"] : "${local.image}:${kind}/*"])
    },
    { Sid = "TagOnLaunch", Effect = "Allow", Action = "ec2:CreateTags", Resource = [for kind in ["fleet", "instance", "volume"] : "${local.ec2}:${kind}/*"], Condition = { StringEquals = merge(local.asked.StringEquals, { "ec2:CreateAction" = ["CreateFleet", "RunInstances"] }) } },
    { Sid = "Drain", Effect = "Allow", Action = "ec2:CreateTags", Resource = "${local.ec2}:instance/*", Condition = merge(local.ours, { "ForAllValues:StringEquals" = { "aws:TagKeys" = ["muster:drain"] }, Null = { "aws:TagKeys" = "false" } }) },
    { Sid = "End", Effect = "Allow", Action = ["ec2:TerminateInstances", "ec2:GetConsoleOutput"], Resource = "${local.ec2}:instance/*", Condition = local.ours },
    { Sid = "Sweep", Effect = "Allow", Action = ["ec2:DescribeInstances", "ssm:DescribeParameters"], Resource = "*" },
    # Prices of the pools' types, once a day. None of the three knows resources or conditions.
    { Sid = "Prices", Effect = "Allow", Action = ["ec2:DescribeSpotPriceHistory", "ec2:DescribeSubnets", "pricing:GetProducts"], Resource = "*" },
    { Sid = "PassRole", Effect = "Allow", Action = "iam:PassRole", Resource = var.pools.role_arns, Condition = { StringEquals = { "iam:PassedToService" = local.ec2_names } } },
    { Sid = "Receive", Effect = "Allow", Action = ["sqs:ReceiveMessage", "sqs:DeleteMessage"], Resource = [var.queues.jobs, var.queues.ec2Events] },
    { Sid = "Hold", Effect = "Allow", Action = "sqs:ChangeMessageVisibility", Resource = var.queues.jobs },
    { Sid = "PutAside", Effect = "Allow", Action = "sqs:SendMessage", Resource = var.queues.deadLetters },
    { Sid = "Secrets", Effect = "Allow", Action = ["ssm:PutParameter", "ssm:AddTagsToResource", "ssm:DeleteParameters"], Resource = local.secrets },
    { Sid = "Pauses", Effect = "Allow", Action = ["ssm:GetParametersByPath", "ssm:PutParameter", "ssm:DeleteParameters"], Resource = [local.paused, "${local.paused}/*"] },
    { Sid = "Measure", Effect = "Allow", Action = "sqs:GetQueueAttributes", Resource = [var.queues.jobs, var.queues.ec2Events, var.queues.deadLetters] },
    { Sid = "Binaries", Effect = "Allow", Action = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"], Resource = "${local.bucket}/runners/*" },
    # Who used the instances, and what the pools did. A new process reads what those before it wrote; people read it by `muster cost`.
    { Sid = "Usage", Effect = "Allow", Action = ["s3:GetObject", "s3:PutObject"], Resource = "${local.bucket}/usage/${local.c.cluster}/*" },
    # Which controller acts, with spec.lease.
    { Sid = "Lease", Effect = "Allow", Action = ["s3:GetObject", "s3:PutObject"], Resource = "${local.bucket}/lease/${local.c.cluster}/*" },
    # The flight recorder, with spec.record. Only people read it, by `muster replay`.
    { Sid = "Record", Effect = "Allow", Action = "s3:PutObject", Resource = "${local.bucket}/record/${local.c.cluster}/*" },
    { Sid = "Uploads", Effect = "Allow", Action = "s3:ListBucketMultipartUploads", Resource = local.bucket },
  ])

  policies = { for role, statements in {
    controller = concat(local.reading, local.key, local.controlling)
    webhook    = concat(local.reading, local.key, local.of_ssm.webhook, [local.send])
    # For a person who runs `muster doctor`, `muster cost` or `muster replay`: they look, change nothing, and read no secret.
    operator = concat(local.manifests, [for s in local.key : merge(s, { Action = "kms:Decrypt", Condition = { StringEquals = { "kms:ViaService" = "s3.${local.c.region}.${local.c.dns_suffix}" } } })], [
      { Sid = "Look", Effect = "Allow", Action = ["ec2:DescribeInstances", "ssm:DescribeParameters"], Resource = "*" },
      { Sid = "Doctor", Effect = "Allow", Action = ["ec2:DescribeImages", "ec2:DescribeInstanceTypeOfferings", "ec2:DescribeInstanceTypes", "ec2:DescribeLaunchTemplateVersions", "ec2:DescribeSubnets", "servicequotas:GetServiceQuota"], Resource = "*" },
      { Sid = "ReadRecords", Effect = "Allow", Action = "s3:GetObject", Resource = ["${local.bucket}/usage/${local.c.cluster}/*", "${local.bucket}/record/${local.c.cluster}/*"] },
      { Sid = "Paused", Effect = "Allow", Action = "ssm:GetParametersByPath", Resource = [local.paused, "${local.paused}/*"] },
      { Sid = "Depth", Effect = "Allow", Action = "sqs:GetQueueAttributes", Resource = [var.queues.jobs, var.queues.ec2Events, var.queues.deadLetters] },
    ])
    # What doctor's checks of GitHub, and `muster plan`, need beside it. Who has this has the App.
    doctor = concat([local.keys, local.webhook_secrets], local.of_ssm.doctor)
  } : role => jsonencode({ Version = "2012-10-17", Statement = statements }) }

  # One machine runs both roles; of two services each has its own.
  both  = jsonencode({ Version = "2012-10-17", Statement = concat(local.reading, local.key, local.controlling, var.ingress == "service" ? [local.send] : [], local.binary, local.shell) })
  roles = { for role in local.on_ec2 ? ["controller"] : local.services : role => local.on_ec2 ? local.both : local.policies[role] }
}

resource "aws_iam_role" "this" {
  for_each             = local.roles
  name                 = "${local.c.cluster}-${each.key}"
  description          = "muster's ${each.key}"
  path                 = local.c.role_path
  permissions_boundary = local.c.permissions_boundary
  tags                 = local.c.tags
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = local.on_ec2 ? "ec2.amazonaws.com" : "ecs-tasks.amazonaws.com" }
      Condition = local.on_ec2 ? {} : { StringEquals = { "aws:SourceAccount" = local.c.account } }
    }]
  })
}

resource "aws_iam_role_policy" "this" {
  for_each = local.roles
  name     = "muster"
  role     = aws_iam_role.this[each.key].name
  policy   = each.value
}

# For people. The module attaches neither.
resource "aws_iam_policy" "this" {
  for_each    = { operator = "muster doctor and muster cost: looks, changes nothing, reads no secret", doctor = "muster plan and all of muster doctor: reads the GitHub App's private key and webhook secrets" }
  name        = "${local.c.cluster}-${each.key}"
  description = each.value
  path        = local.c.role_path
  policy      = local.policies[each.key]
  tags        = local.c.tags
}

resource "aws_iam_role_policy_attachment" "this" {
  for_each   = { for pair in setproduct(keys(local.roles), var.settings.policy_arns) : "${pair[0]} ${pair[1]}" => pair }
  role       = aws_iam_role.this[each.value[0]].name
  policy_arn = each.value[1]
}
