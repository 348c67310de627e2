# Who may do what: keys, shells, and who may reach the admin listener.

mock_provider "aws" {
  source          = "./tests/mocks"
  override_during = plan
}

variables {
  cluster    = "prod"
  manifests  = "./tests/manifests"
  controller = { subnet_ids = ["subnet-0a"], image = "registry.example/muster:1" }
}

run "a_key_of_the_clusters_own" {
  command = plan

  assert {
    condition     = output.kms_key_arn == "arn:aws:kms:eu-west-1:123456789012:key/made" && alltrue([for command in output.secret_commands : strcontains(command, " --key-id arn:aws:kms:eu-west-1:123456789012:key/made ")])
    error_message = "a customer key is the default, and the secrets are put under it"
  }
  assert {
    condition     = anytrue([for s in jsondecode(output.policies["controller"]).Statement : contains(s.Action, "kms:Encrypt") && s.Condition.StringLike["kms:EncryptionContext:PARAMETER_ARN"] == "arn:aws:ssm:eu-west-1:123456789012:parameter/muster/prod/runners/*" if s.Sid == "SecretsKey"])
    error_message = "the controller puts the instances' secrets under it"
  }
  assert {
    condition     = anytrue([for s in jsondecode(output.policies["runner linux-x64"]).Statement : s.Condition.StringLike["kms:EncryptionContext:PARAMETER_ARN"] == "arn:aws:ssm:eu-west-1:123456789012:parameter/muster/prod/runners/*" && s.Action == "kms:Decrypt" if s.Sid == "SecretKey"])
    error_message = "and an instance reads its own from under it"
  }
}

run "no_key" {
  command = plan
  variables {
    create_kms_key = false
  }
  assert {
    condition     = output.kms_key_arn == null && !anytrue([for role, policy in output.policies : strcontains(policy, "kms:")])
    error_message = "who wants no key has none"
  }
}

run "another_key" {
  command = plan
  variables {
    kms_key_arn = "arn:aws:kms:eu-west-1:123456789012:key/k"
  }
  assert {
    condition     = output.kms_key_arn == "arn:aws:kms:eu-west-1:123456789012:key/k" && length(aws_kms_key.this) == 0
    error_message = "a key that is there takes the place of the one that is made"
  }
}

run "a_shell_for_those_who_want_one" {
  command = plan
  variables {
    pools      = { linux-x64 = { session_manager = true } }
    controller = { host = "ec2", subnet_ids = ["subnet-0a"], binary_sha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", session_manager = true }
  }
  assert {
    condition = alltrue([for role in ["runner linux-x64", "controller"] : one([for s in jsondecode(output.policies[role]).Statement : toset(s.Action) if s.Sid == "SessionManager"]) == toset([
      "ssm:UpdateInstanceInformation", "ssmmessages:CreateControlChannel", "ssmmessages:CreateDataChannel", "ssmmessages:OpenControlChannel", "ssmmessages:OpenDataChannel",
    ])])
    error_message = "what AWS's page for Session Manager names, and no parameter"
  }
}

run "no_shell_by_default" {
  command = plan
  assert {
    condition     = !anytrue([for role, policy in output.policies : strcontains(policy, "ssmmessages:")])
    error_message = "nobody has a shell who did not ask for one"
  }
}

run "admin_ranges_with_a_pool_in_them" {
  command = plan

  module {
    source = "./modules/controller"
  }

  variables {
    settings = {
      host          = "ecs", subnet_ids = ["subnet-0a"], image = "r/m:1", binary = null, binary_sha256 = null, architecture = "arm64", cpu = 256, memory = 512
      instance_type = "t4g.micro", assign_public_ip = false, webhook_replicas = 1, admin_cidrs = ["10.0.0.0/16"], log = "info", session_manager = false, policy_arns = [], environment = {}
    }
    ingress            = "direct"
    context            = { cluster = "prod", account = "123456789012", region = "eu-west-1", partition = "aws", dns_suffix = "amazonaws.com", role_path = "/", permissions_boundary = null, tags = {} }
    listen_digest      = "0123456789ab"
    network            = { vpc_id = "vpc-0a", webhook_port = 8080, admin_port = 9090 }
    queues             = { jobs = "arn:aws:sqs:eu-west-1:123456789012:j", deadLetters = "arn:aws:sqs:eu-west-1:123456789012:d", ec2Events = "arn:aws:sqs:eu-west-1:123456789012:e" }
    bucket             = "bucket"
    manifests          = "s3://bucket/manifests"
    prices             = null
    pools              = { role_arns = [], subnets = ["subnet-0a"], cidrs = ["10.0.1.0/24", "10.0.2.0/24"], volume_keys = [] }
    parameters         = { keys = ["/muster/prod/key"], webhooks = ["/muster/prod/webhook"], tokens = [] }
    kms_key_arn        = null
    log_retention_days = 30
  }

  expect_failures = [aws_vpc_security_group_ingress_rule.admin]
}

run "admin_ranges_in_a_pools_subnet" {
  command = plan

  module {
    source = "./modules/controller"
  }

  variables {
    settings = {
      host          = "ecs", subnet_ids = ["subnet-0a"], image = "r/m:1", binary = null, binary_sha256 = null, architecture = "arm64", cpu = 256, memory = 512
      instance_type = "t4g.micro", assign_public_ip = false, webhook_replicas = 1, admin_cidrs = ["10.200.0.0/24", "10.0.2.128/25"], log = "info", session_manager = false, policy_arns = [], environment = {}
    }
    ingress            = "direct"
    context            = { cluster = "prod", account = "123456789012", region = "eu-west-1", partition = "aws", dns_suffix = "amazonaws.com", role_path = "/", permissions_boundary = null, tags = {} }
    listen_digest      = "0123456789ab"
    network            = { vpc_id = "vpc-0a", webhook_port = 8080, admin_port = 9090 }
    queues             = { jobs = "arn:aws:sqs:eu-west-1:123456789012:j", deadLetters = "arn:aws:sqs:eu-west-1:123456789012:d", ec2Events = "arn:aws:sqs:eu-west-1:123456789012:e" }
    bucket             = "bucket"
    manifests          = "s3://bucket/manifests"
    prices             = null
    pools              = { role_arns = [], subnets = ["subnet-0a"], cidrs = ["10.0.1.0/24", "10.0.2.0/24"], volume_keys = [] }
    parameters         = { keys = ["/muster/prod/key"], webhooks = ["/muster/prod/webhook"], tokens = [] }
    kms_key_arn        = null
    log_retention_days = 30
  }

  expect_failures = [aws_vpc_security_group_ingress_rule.admin]
}

run "admin_ranges_of_operators" {
  command = plan

  module {
    source = "./modules/controller"
  }

  variables {
    settings = {
      host          = "ecs", subnet_ids = ["subnet-0a"], image = "r/m:1", binary = null, binary_sha256 = null, architecture = "arm64", cpu = 256, memory = 512
      instance_type = "t4g.micro", assign_public_ip = false, webhook_replicas = 1, admin_cidrs = ["10.0.3.0/24", "10.200.0.0/16"], log = "info", session_manager = false, policy_arns = [], environment = {}
    }
    ingress            = "direct"
    context            = { cluster = "prod", account = "123456789012", region = "eu-west-1", partition = "aws", dns_suffix = "amazonaws.com", role_path = "/", permissions_boundary = null, tags = {} }
    listen_digest      = "0123456789ab"
    network            = { vpc_id = "vpc-0a", webhook_port = 8080, admin_port = 9090 }
    queues             = { jobs = "arn:aws:sqs:eu-west-1:123456789012:j", deadLetters = "arn:aws:sqs:eu-west-1:123456789012:d", ec2Events = "arn:aws:sqs:eu-west-1:123456789012:e" }
    bucket             = "bucket"
    manifests          = "s3://bucket/manifests"
    prices             = null
    pools              = { role_arns = [], subnets = ["subnet-0a"], cidrs = ["10.0.1.0/24", "10.0.2.0/24"], volume_keys = [] }
    parameters         = { keys = ["/muster/prod/key"], webhooks = ["/muster/prod/webhook"], tokens = [] }
    kms_key_arn        = null
    log_retention_days = 30
  }

  assert {
    condition     = length(aws_vpc_security_group_ingress_rule.admin) == 2
    error_message = "ranges in which no pool is are admitted"
  }
}

run "the_admin_listener_answers_to_the_name_that_terraform_gives_it" {
  command = plan
  variables {
    controller = { subnet_ids = ["subnet-0a"], image = "registry.example/muster:1", admin_cidrs = ["10.200.0.0/24"] }
  }

  assert {
    condition     = contains(yamldecode(output.manifest_texts["terraform-controller.yaml"]).spec.listen.adminHosts, "controller.prod.muster.internal")
    error_message = "a request for another name is answered 421"
  }
}
