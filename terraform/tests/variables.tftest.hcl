# Every variable with a wrong value fails the plan.

mock_provider "aws" {
  source          = "./tests/mocks"
  override_during = plan
}

variables {
  cluster    = "prod"
  manifests  = "./tests/manifests"
  controller = { subnet_ids = ["subnet-0a"], image = "r/m:1" }
}

run "cluster" {
  command = plan
  variables {
    cluster = "Prod"
  }
  expect_failures = [var.cluster]
}

run "cluster_long" {
  command = plan
  variables {
    cluster = "a123456789012345678901234567890123"
  }
  expect_failures = [var.cluster]
}

run "manifests_missing" {
  command = plan
  variables {
    manifests = "./no-such"
  }
  expect_failures = [var.manifests]
}

run "host" {
  command = plan
  variables {
    controller = { host = "lambda", subnet_ids = ["subnet-0a"], image = "r/m:1" }
  }
  expect_failures = [var.controller]
}

run "subnets_none" {
  command = plan
  variables {
    controller = { subnet_ids = [], image = "r/m:1" }
  }
  expect_failures = [var.controller]
}

run "subnets_odd" {
  command = plan
  variables {
    controller = { subnet_ids = ["sub-1"], image = "r/m:1" }
  }
  expect_failures = [var.controller]
}

run "image_missing" {
  command = plan
  variables {
    controller = { subnet_ids = ["subnet-0a"] }
  }
  expect_failures = [var.controller]
}

run "image_without_tag" {
  command = plan
  variables {
    controller = { subnet_ids = ["subnet-0a"], image = "muster" }
  }
  expect_failures = [var.controller]
}

run "link_subnets_odd" {
  command = plan
  variables {
    controller = { subnet_ids = ["subnet-0a"], link_subnet_ids = [], image = "r/m:1" }
  }
  expect_failures = [var.controller]
}

run "pools_shape" {
  command = plan
  variables {
    pools = { linux-x64 = "m7i.large" }
  }
  expect_failures = [var.pools]
}

run "apps_shape" {
  command = plan
  variables {
    github_apps = { main = 1 }
  }
  expect_failures = [var.github_apps]
}

run "binary" {
  command = plan
  variables {
    controller = { host = "ec2", subnet_ids = ["subnet-0a"], binary_sha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", binary = "/usr/bin/muster" }
  }
  expect_failures = [var.controller]
}

run "architecture" {
  command = plan
  variables {
    controller = { subnet_ids = ["subnet-0a"], image = "r/m:1", architecture = "amd64" }
  }
  expect_failures = [var.controller]
}

run "cpu" {
  command = plan
  variables {
    controller = { subnet_ids = ["subnet-0a"], image = "r/m:1", cpu = 300, memory = 1024 }
  }
  expect_failures = [var.controller]
}

run "memory" {
  command = plan
  variables {
    controller = { subnet_ids = ["subnet-0a"], image = "r/m:1", memory = 700 }
  }
  expect_failures = [var.controller]
}

run "memory_much" {
  command = plan
  variables {
    controller = { subnet_ids = ["subnet-0a"], image = "r/m:1", memory = 4096 }
  }
  expect_failures = [var.controller]
}

run "instance_type" {
  command = plan
  variables {
    controller = { host = "ec2", subnet_ids = ["subnet-0a"], binary_sha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", instance_type = "small" }
  }
  expect_failures = [var.controller]
}

run "replicas" {
  command = plan
  variables {
    controller = { subnet_ids = ["subnet-0a"], image = "r/m:1", webhook_replicas = 0 }
  }
  expect_failures = [var.controller]
}

run "admin_open" {
  command = plan
  variables {
    controller = { subnet_ids = ["subnet-0a"], image = "r/m:1", admin_cidrs = ["0.0.0.0/0"] }
  }
  expect_failures = [var.controller]
}

run "admin_odd" {
  command = plan
  variables {
    controller = { subnet_ids = ["subnet-0a"], image = "r/m:1", admin_cidrs = ["10.0.0.1.2/8"] }
  }
  expect_failures = [var.controller]
}

run "log" {
  command = plan
  variables {
    controller = { subnet_ids = ["subnet-0a"], image = "r/m:1", log = "info; rm" }
  }
  expect_failures = [var.controller]
}

run "environment_reserved" {
  command = plan
  variables {
    controller = { subnet_ids = ["subnet-0a"], image = "r/m:1", environment = { MUSTER_ROLE = "all" } }
  }
  expect_failures = [var.controller]
}

run "environment_name" {
  command = plan
  variables {
    controller = { subnet_ids = ["subnet-0a"], image = "r/m:1", environment = { "a b" = "c" } }
  }
  expect_failures = [var.controller]
}

run "environment_quoted" {
  command = plan
  variables {
    controller = { subnet_ids = ["subnet-0a"], image = "r/m:1", environment = { OTEL_A = "a\"b" } }
  }
  expect_failures = [var.controller]
}

run "environment_lines" {
  command = plan
  variables {
    controller = { subnet_ids = ["subnet-0a"], image = "r/m:1", environment = { OTEL_A = "a\nb" } }
  }
  expect_failures = [var.controller]
}

run "controller_policies" {
  command = plan
  variables {
    controller = { subnet_ids = ["subnet-0a"], image = "r/m:1", policy_arns = ["Admin"] }
  }
  expect_failures = [var.controller]
}

run "ingress" {
  command = plan
  variables {
    ingress = "alb"
  }
  expect_failures = [var.ingress]
}

run "foreign_roles" {
  command = plan
  variables {
    foreign_runner_role_arns = ["runner"]
  }
  expect_failures = [var.foreign_runner_role_arns]
}

run "prices" {
  command = plan
  variables {
    prices = "linux: {m7i.large: {onDemand: 0.1}}"
  }
  expect_failures = [var.prices]
}

run "bucket" {
  command = plan
  variables {
    bucket = "S3://x"
  }
  expect_failures = [var.bucket]
}

run "kms_alias" {
  command = plan
  variables {
    kms_key_arn = "alias/x"
  }
  expect_failures = [var.kms_key_arn]
}

run "kms_twice" {
  command = plan
  variables {
    kms_key_arn    = "arn:aws:kms:eu-west-1:123456789012:key/k"
    create_kms_key = true
  }
  expect_failures = [var.kms_key_arn]
}

run "alarm_actions" {
  command = plan
  variables {
    alarms = { actions = ["mail@example.com"] }
  }
  expect_failures = [var.alarms]
}

run "alarm_seconds" {
  command = plan
  variables {
    alarms = { oldest_job_seconds = 5 }
  }
  expect_failures = [var.alarms]
}

run "retention" {
  command = plan
  variables {
    log_retention_days = 42
  }
  expect_failures = [var.log_retention_days]
}

run "role_path" {
  command = plan
  variables {
    role_path = "ci"
  }
  expect_failures = [var.role_path]
}

run "boundary" {
  command = plan
  variables {
    permissions_boundary = "boundary"
  }
  expect_failures = [var.permissions_boundary]
}

run "tags" {
  command = plan
  variables {
    tags = { "aws:x" = "y" }
  }
  expect_failures = [var.tags]
}

run "ami_twice" {
  command = plan
  variables {
    pools = { linux-x64 = { ami = { id = "ami-0123456789abcdef0", ssm_parameter = "/x" } } }
  }
  expect_failures = [terraform_data.checks]
}

run "ami_odd" {
  command = plan
  variables {
    pools = { linux-x64 = { ami = { id = "image" } } }
  }
  expect_failures = [terraform_data.checks]
}

run "volume" {
  command = plan
  variables {
    pool_defaults = { root_volume = { size = 4 } }
  }
  expect_failures = [terraform_data.checks]
}

run "throughput" {
  command = plan
  variables {
    pools = { linux-x64 = { root_volume = { throughput = 1000 } } }
  }
  expect_failures = [terraform_data.checks]
}

run "security_groups" {
  command = plan
  variables {
    pool_defaults = { security_group_ids = ["default"] }
  }
  expect_failures = [terraform_data.checks]
}

run "runner_policies" {
  command = plan
  variables {
    pool_defaults = { policy_arns = ["Admin"] }
  }
  expect_failures = [var.pool_defaults]
}

run "one_pools_policies" {
  command = plan
  variables {
    pools = { linux-x64 = { policy_arns = ["Admin"] } }
  }
  expect_failures = [var.pools]
}

run "a_binary_without_a_digest" {
  command = plan
  variables {
    controller = { host = "ec2", subnet_ids = ["subnet-0a"] }
  }
  expect_failures = [var.controller]
}

run "a_short_digest" {
  command = plan
  variables {
    controller = { host = "ec2", subnet_ids = ["subnet-0a"], binary_sha256 = "e3b0c442" }
  }
  expect_failures = [var.controller]
}

run "a_shell_on_fargate" {
  command = plan
  variables {
    controller = { subnet_ids = ["subnet-0a"], image = "r/m:1", session_manager = true }
  }
  expect_failures = [var.controller]
}

run "parameters_for_the_controller" {
  command = plan
  variables {
    controller = { subnet_ids = ["subnet-0a"], image = "r/m:1", policy_arns = ["arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"] }
  }
  expect_failures = [var.controller]
}

run "parameters_for_jobs" {
  command = plan
  variables {
    pool_defaults = { policy_arns = ["arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"] }
  }
  expect_failures = [var.pool_defaults]
}

run "everything_for_jobs" {
  command = plan
  variables {
    pool_defaults = { policy_arns = ["arn:aws:iam::aws:policy/AdministratorAccess"] }
  }
  expect_failures = [var.pool_defaults]
}

run "buckets_for_one_pools_jobs" {
  command = plan
  variables {
    pools = { linux-x64 = { policy_arns = ["arn:aws:iam::123456789012:policy/mine", "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess"] } }
  }
  expect_failures = [var.pools]
}

run "parameters_in_china" {
  command = plan
  variables {
    pools = { linux-x64 = { policy_arns = ["arn:aws-cn:iam::aws:policy/service-role/AmazonEC2RoleforSSM"] } }
  }
  expect_failures = [var.pools]
}
