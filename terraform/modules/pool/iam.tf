# What an instance may do: read and delete its own secret, read its runner, and, if its pool wants that, tell on itself how long its
# start took and be reached by Session Manager. The Deny statements hold whatever `policy_arns` allows.

locals {
  parameters = "arn:${var.context.partition}:ssm:${var.context.region}:${var.context.account}:parameter"
  secrets    = "${local.parameters}/muster/${var.context.cluster}/runners/*"
  runners    = "arn:${var.context.partition}:s3:::${var.bucket}/runners/${var.pool.os}-${var.pool.arch}/*"
  instance   = "arn:${var.context.partition}:ec2:${var.context.region}:${var.context.account}:instance"
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat([
      {
        # muster tags each secret with its instance's ARN.
        Sid       = "OwnSecret"
        Effect    = "Allow"
        Action    = ["ssm:GetParameter", "ssm:DeleteParameter"]
        Resource  = local.secrets
        Condition = { StringEquals = { "ssm:resourceTag/muster:instance-arn" = "$${ec2:SourceInstanceARN}" } }
      },
      {
        Sid      = "Runner"
        Effect   = "Allow"
        Action   = "s3:GetObject"
        Resource = local.runners
      },
      ], local.denied, [for given in [var.settings.session_manager] : {
        # A shell and a tunnel, and nothing else; AmazonSSMManagedInstanceCore would add ssm:GetParameter on every parameter.
        # https://docs.aws.amazon.com/systems-manager/latest/userguide/getting-started-create-iam-instance-profile.html
        Sid      = "SessionManager"
        Effect   = "Allow"
        Action   = concat(["ssm:UpdateInstanceInformation"], [for act in ["Create", "Open"] : "ssmmessages:${act}ControlChannel"], [for act in ["Create", "Open"] : "ssmmessages:${act}DataChannel"])
        Resource = "*"
        } if given], [for stages in [var.pool.bootstrap.stages] : {
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
        }], [for key in var.kms_key_arn == null ? [] : [var.kms_key_arn] : {
        # SSM tells KMS which parameter it decrypts, so this opens no other secret under the same key. That the parameter is the instance's
        # own is OwnSecret's to say: no variable of IAM's holds the bare instance id that the parameter's name ends with.
        # https://docs.aws.amazon.com/kms/latest/developerguide/services-parameter-store.html
        Sid      = "SecretKey"
        Effect   = "Allow"
        Action   = "kms:Decrypt"
        Resource = key
        Condition = {
          StringEquals = { "kms:ViaService" = "ssm.${var.context.region}.${var.context.dns_suffix}" }
          StringLike   = { "kms:EncryptionContext:PARAMETER_ARN" = local.secrets }
        }
    }])
  })

  reads = ["ssm:GetParameter*", "ssm:DeleteParameter*"]
  denied = [
    { Sid = "NoOtherParameters", Effect = "Deny", Action = local.reads, NotResource = local.secrets },
    # A negated condition also holds where the tag is missing.
    # https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html
    { Sid = "NoOthersSecrets", Effect = "Deny", Action = local.reads, Resource = local.secrets, Condition = { StringNotEquals = { "ssm:resourceTag/muster:instance-arn" = "$${ec2:SourceInstanceARN}" } } },
    # With another tag, another's secret would count as the instance's own.
    { Sid = "NoChangedParameters", Effect = "Deny", Action = [for act in ["PutParameter", "LabelParameterVersion", "UnlabelParameterVersion", "AddTagsToResource", "RemoveTagsFromResource"] : "ssm:${act}"], Resource = "${local.parameters}/*" },
    # The bucket also holds the manifests, other instances' runners, and with `host = "ec2"` the program that the controller runs.
    { Sid = "NoChangedBucket", Effect = "Deny", NotAction = "s3:GetObject", Resource = ["arn:${var.context.partition}:s3:::${var.bucket}", "arn:${var.context.partition}:s3:::${var.bucket}/*"] },
    # The controller's role reads the App's key. Whoever may pass it to a task or a machine has it.
    { Sid = "NoRolesOfMuster", Effect = "Deny", Action = ["iam:*", "sts:AssumeRole"], Resource = "arn:${var.context.partition}:iam::${var.context.account}:role${var.context.role_path}${var.context.cluster}-*" },
    # A shell in muster's task has the controller's role.
    { Sid = "NoTasksOfMuster", Effect = "Deny", Action = "ecs:*", Resource = [for kind in ["cluster", "service", "task"] : "arn:${var.context.partition}:ecs:${var.context.region}:${var.context.account}:${kind}/${var.context.cluster}-muster*"] },
    # muster and its instances believe these tags. `muster:stages` tells times, and what an instance says against itself.
    { Sid = "NoTagsOfMuster", Effect = "Deny", Action = ["ec2:CreateTags", "ec2:DeleteTags"], Resource = "${local.instance}/*", Condition = { "ForAnyValue:StringLike" = { "aws:TagKeys" = ["muster:*"] }, "ForAnyValue:StringNotEquals" = { "aws:TagKeys" = ["muster:stages"] } } },
    { Sid = "NoOthersStages", Effect = "Deny", Action = ["ec2:CreateTags", "ec2:DeleteTags"], Resource = "${local.instance}/*", Condition = { "ForAnyValue:StringEquals" = { "aws:TagKeys" = ["muster:stages"] }, ArnNotEquals = { "ec2:SourceInstanceARN" = "${local.instance}/$${ec2:InstanceID}" } } },
    # Their user data is what the next instance of a pool, or muster's own machine, runs as root.
    { Sid = "NoChangedInstances", Effect = "Deny", Action = ["ec2:ModifyInstanceAttribute", "ec2:ModifyLaunchTemplate", "ec2:CreateLaunchTemplateVersion"], Resource = "*", Condition = { StringEquals = { "aws:ResourceTag/muster:cluster" = var.context.cluster } } },
    { Sid = "NoChangedMachine", Effect = "Deny", Action = "ec2:ModifyInstanceAttribute", Resource = "${local.instance}/*", Condition = { StringEquals = { "aws:ResourceTag/muster:controller" = var.context.cluster } } },
  ]
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
