# What a plan holds, without any cloud: `terraform test` in terraform/.

mock_provider "aws" {
  source          = "./tests/mocks"
  override_during = plan
}

variables {
  cluster    = "prod"
  manifests  = "./tests/manifests"
  controller = { subnet_ids = ["subnet-0a"], image = "registry.example/muster:1" }
}

run "instances" {
  command = plan

  module {
    source = "./modules/pool"
  }

  variables {
    context = { cluster = "prod", account = "123456789012", region = "eu-west-1", partition = "aws", dns_suffix = "amazonaws.com", role_path = "/ci/", permissions_boundary = "arn:aws:iam::123456789012:policy/b", tags = { team = "ci" } }
    name    = "linux-x64"
    pool = {
      os        = "linux", arch = "x64", template = "prod-linux-x64", subnets = ["subnet-0a", "subnet-0b"]
      bootstrap = { version = "latest", unchecked = false, user = "runner", sudo = false, docker = true, work = "_work", started = "", completed = "", pre = "echo 'it'\\''s'", post = "", http = "", https = "", none = [], stages = false }
      seconds   = { maxLifetime = 86400, bootDeadline = 300 }
    }
    settings = {
      ami                         = { id = null, ssm_parameter = null, filter = null }
      root_volume                 = { size = 50, iops = 4000, throughput = 250, kms_key_arn = null }
      associate_public_ip_address = false, security_group_ids = ["sg-1"], session_manager = false, policy_arns = [], detailed_monitoring = false
    }
    bucket      = "bucket"
    kms_key_arn = null
  }

  assert {
    condition     = aws_launch_template.this.instance_initiated_shutdown_behavior == "terminate"
    error_message = "an instance that shuts down must be gone"
  }
  assert {
    condition     = aws_launch_template.this.metadata_options[0].http_tokens == "required" && aws_launch_template.this.metadata_options[0].instance_metadata_tags == "enabled" && aws_launch_template.this.metadata_options[0].http_put_response_hop_limit == 1
    error_message = "IMDSv2 only, with tags, and out of containers' reach"
  }
  assert {
    condition     = one(aws_launch_template.this.block_device_mappings[0].ebs).encrypted == "true" && one(aws_launch_template.this.block_device_mappings[0].ebs).volume_type == "gp3" && one(aws_launch_template.this.block_device_mappings[0].ebs).iops == 4000 && one(aws_launch_template.this.block_device_mappings[0].ebs).throughput == 250
    error_message = "an encrypted gp3 volume as asked for"
  }
  assert {
    condition     = aws_launch_template.this.network_interfaces[0].associate_public_ip_address == "false"
    error_message = "no public address"
  }
  assert {
    condition     = length(aws_vpc_security_group_egress_rule.this) == 2 && length(aws_security_group.this.tags) > 2
    error_message = "everything out, nothing in"
  }
  assert {
    condition     = aws_iam_role.this.path == "/ci/" && aws_iam_role.this.permissions_boundary == "arn:aws:iam::123456789012:policy/b" && aws_iam_instance_profile.this.path == "/ci/"
    error_message = "path and boundary"
  }
}

run "queues" {
  command = plan

  module {
    source = "./modules/queues"
  }

  variables {
    context     = { cluster = "prod", account = "123456789012", region = "eu-west-1", partition = "aws", tags = {} }
    kms_key_arn = null
    alarms      = { actions = ["arn:aws:sns:eu-west-1:123456789012:x"], oldest_job_seconds = 900 }
  }

  assert {
    condition     = alltrue([for q in concat(values(aws_sqs_queue.this), values(aws_sqs_queue.dead)) : q.sqs_managed_sse_enabled && jsondecode(q.policy).Statement[0].Condition.Bool["aws:SecureTransport"] == "false" && jsondecode(q.policy).Statement[0].Effect == "Deny"])
    error_message = "every queue is encrypted, and refuses what comes without TLS"
  }
  assert {
    condition     = aws_sqs_queue.this["jobs"].visibility_timeout_seconds == 120 && aws_sqs_queue.this["jobs"].message_retention_seconds >= 86400
    error_message = "a job waits a day"
  }
  assert {
    condition     = length(jsondecode(aws_sqs_queue.this["jobs"].policy).Statement) == 1 && length(jsondecode(aws_sqs_queue.this["ec2-events"].policy).Statement) == 2
    error_message = "EventBridge sends to one queue only"
  }
  assert {
    condition     = aws_cloudwatch_metric_alarm.age["jobs"].threshold == 900 && alltrue([for a in concat(values(aws_cloudwatch_metric_alarm.age), values(aws_cloudwatch_metric_alarm.dead)) : length(a.alarm_actions) == 1])
    error_message = "alarms as asked for"
  }
  assert {
    condition     = toset([for r in aws_cloudwatch_event_rule.this : jsondecode(r.event_pattern)["detail-type"][0]]) == toset(["EC2 Spot Instance Interruption Warning", "EC2 Instance Rebalance Recommendation", "EC2 Instance State-change Notification"])
    error_message = "EC2's three notifications"
  }
}

run "storage" {
  command = plan

  module {
    source = "./modules/storage"
  }

  variables {
    context     = { cluster = "prod", partition = "aws", tags = {} }
    bucket      = "bucket"
    manifests   = { "a.yaml" = "kind: Controller" }
    parameters  = ["/muster/prod/key"]
    prices      = "asOf: 2026-11-29"
    kms_key_arn = "arn:aws:kms:eu-west-1:123456789012:key/k"
  }

  assert {
    condition     = aws_s3_bucket_public_access_block.this.block_public_acls && aws_s3_bucket_public_access_block.this.block_public_policy && aws_s3_bucket_public_access_block.this.ignore_public_acls && aws_s3_bucket_public_access_block.this.restrict_public_buckets
    error_message = "never public"
  }
  assert {
    condition     = jsondecode(aws_s3_bucket_policy.this.policy).Statement[0].Condition.Bool["aws:SecureTransport"] == "false" && aws_s3_bucket_versioning.this.versioning_configuration[0].status == "Enabled"
    error_message = "TLS only, versioned"
  }
  assert {
    condition     = aws_ssm_parameter.secret["/muster/prod/key"].type == "SecureString" && aws_ssm_parameter.secret["/muster/prod/key"].key_id == "arn:aws:kms:eu-west-1:123456789012:key/k"
    error_message = "secrets are SecureStrings under the customer's key"
  }
  assert {
    condition     = aws_s3_object.manifest["a.yaml"].key == "manifests/a.yaml"
    error_message = "manifests lie where muster looks for them"
  }
}

run "direct_ingress" {
  command = plan

  module {
    source = "./modules/ingress"
  }

  variables {
    context            = { cluster = "prod", account = "123456789012", region = "eu-west-1", partition = "aws", dns_suffix = "amazonaws.com", role_path = "/", permissions_boundary = null, tags = {} }
    mode               = "direct"
    target             = null
    link               = { subnet_ids = [], chosen = false }
    security_group_id  = null
    jobs               = { url = "https://sqs/jobs", arn = "arn:aws:sqs:eu-west-1:123456789012:prod-jobs" }
    kms_key_arn        = null
    log_retention_days = 30
  }

  assert {
    condition     = aws_apigatewayv2_integration.this.integration_subtype == "SQS-SendMessage" && aws_apigatewayv2_integration.this.request_parameters.MessageBody == "$request.body"
    error_message = "the raw delivery goes onto the queue"
  }
  assert {
    condition     = { for name, a in jsondecode(aws_apigatewayv2_integration.this.request_parameters.MessageAttributes) : name => a.StringValue } == { "X-Hub-Signature-256" = "$${request.header.x-hub-signature-256}", "X-GitHub-Event" = "$${request.header.x-github-event}", "Content-Type" = "$${request.header.content-type}" }
    error_message = "with the headers that it is verified by"
  }
  assert {
    condition     = length(aws_apigatewayv2_vpc_link.this) == 0 && jsondecode(aws_iam_role_policy.this[0].policy).Statement[0].Action == "sqs:SendMessage"
    error_message = "API Gateway may send to that queue, and needs no way into the VPC"
  }
}

run "a_link_in_zones_that_have_it" {
  command = plan

  module {
    source = "./modules/ingress"
  }

  variables {
    context            = { cluster = "prod", account = "123456789012", region = "us-east-1", partition = "aws", dns_suffix = "amazonaws.com", role_path = "/", permissions_boundary = null, tags = {} }
    mode               = "service"
    target             = "arn:aws:servicediscovery:us-east-1:123456789012:service/srv-1"
    link               = { subnet_ids = ["subnet-0a", "subnet-0b"], chosen = false }
    security_group_id  = "sg-1"
    jobs               = { url = "https://sqs/jobs", arn = "arn:aws:sqs:us-east-1:123456789012:prod-jobs" }
    kms_key_arn        = null
    log_retention_days = 30
  }

  override_data {
    target = data.aws_subnet.link["0"]
    values = { id = "subnet-0a", availability_zone_id = "use1-az3" }
  }
  override_data {
    target = data.aws_subnet.link["1"]
    values = { id = "subnet-0b", availability_zone_id = "use1-az1" }
  }

  assert {
    condition     = aws_apigatewayv2_vpc_link.this[0].subnet_ids == toset(["subnet-0b"])
    error_message = "use1-az3 has no VPC links"
  }
}

run "a_link_that_was_put_where_there_is_none" {
  command = plan

  module {
    source = "./modules/ingress"
  }

  variables {
    context            = { cluster = "prod", account = "123456789012", region = "us-east-1", partition = "aws", dns_suffix = "amazonaws.com", role_path = "/", permissions_boundary = null, tags = {} }
    mode               = "service"
    target             = "arn:aws:servicediscovery:us-east-1:123456789012:service/srv-1"
    link               = { subnet_ids = ["subnet-0a", "subnet-0b"], chosen = true }
    security_group_id  = "sg-1"
    jobs               = { url = "https://sqs/jobs", arn = "arn:aws:sqs:us-east-1:123456789012:prod-jobs" }
    kms_key_arn        = null
    log_retention_days = 30
  }

  override_data {
    target = data.aws_subnet.link["0"]
    values = { id = "subnet-0a", availability_zone_id = "use1-az3" }
  }
  override_data {
    target = data.aws_subnet.link["1"]
    values = { id = "subnet-0b", availability_zone_id = "use1-az1" }
  }

  expect_failures = [aws_apigatewayv2_vpc_link.this]
}

run "a_link_where_no_subnet_has_it" {
  command = plan

  module {
    source = "./modules/ingress"
  }

  variables {
    context            = { cluster = "prod", account = "123456789012", region = "us-east-1", partition = "aws", dns_suffix = "amazonaws.com", role_path = "/", permissions_boundary = null, tags = {} }
    mode               = "service"
    target             = "arn:aws:servicediscovery:us-east-1:123456789012:service/srv-1"
    link               = { subnet_ids = ["subnet-0a"], chosen = false }
    security_group_id  = "sg-1"
    jobs               = { url = "https://sqs/jobs", arn = "arn:aws:sqs:us-east-1:123456789012:prod-jobs" }
    kms_key_arn        = null
    log_retention_days = 30
  }

  override_data {
    target = data.aws_subnet.link["0"]
    values = { id = "subnet-0a", availability_zone_id = "use1-az3" }
  }

  expect_failures = [aws_apigatewayv2_vpc_link.this]
}

run "fargate" {
  command = plan

  assert {
    condition     = length(output.secret_commands) == 2 && keys(output.launch_templates) == ["linux-x64"]
    error_message = "outputs"
  }
  assert {
    condition     = output.policies["webhook"] != output.policies["controller"]
    error_message = "each role has rights of its own"
  }
}

run "a_disk_under_a_customers_key" {
  command = plan
  variables {
    pools = { linux-x64 = { root_volume = { kms_key_arn = "arn:aws:kms:eu-west-1:123456789012:key/disk" } } }
  }
  assert {
    condition     = anytrue([for s in jsondecode(output.policies["controller"]).Statement : contains(flatten([s.Action]), "kms:CreateGrant") && s.Resource == ["arn:aws:kms:eu-west-1:123456789012:key/disk"] if s.Sid == "VolumeKeys"])
    error_message = "who launches may use the key, and no other"
  }
}

run "one_machine" {
  command = plan
  variables {
    controller = { host = "ec2", subnet_ids = ["subnet-0a"], binary_sha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" }
    ingress    = "direct"
  }
  assert {
    condition     = contains(keys(output.role_arns), "controller") && !contains(keys(output.role_arns), "webhook")
    error_message = "one machine has one role"
  }
}

run "two_controllers_with_a_lease" {
  command = plan

  module {
    source = "./modules/controller"
  }

  variables {
    settings = {
      host          = "ecs", subnet_ids = ["subnet-0a"], image = "r/m:1", binary = null, binary_sha256 = null, architecture = "arm64", cpu = 256, memory = 512
      instance_type = "t4g.micro", assign_public_ip = false, webhook_replicas = 1, admin_cidrs = [], log = "info", session_manager = false, policy_arns = []
      environment   = { OTEL_EXPORTER_OTLP_ENDPOINT = "https://otlp.example" }
    }
    ingress            = "service"
    context            = { cluster = "prod", account = "123456789012", region = "eu-west-1", partition = "aws", dns_suffix = "amazonaws.com", role_path = "/", permissions_boundary = null, tags = {} }
    lease              = true
    listen_digest      = "0123456789ab"
    network            = { vpc_id = "vpc-0a", webhook_port = 8080, admin_port = 9090 }
    queues             = { jobs = "arn:aws:sqs:eu-west-1:123456789012:j", deadLetters = "arn:aws:sqs:eu-west-1:123456789012:d", ec2Events = "arn:aws:sqs:eu-west-1:123456789012:e" }
    bucket             = "bucket"
    manifests          = "s3://bucket/manifests"
    prices             = "s3://bucket/prices.yaml"
    pools              = { role_arns = [], subnets = ["subnet-0a"], cidrs = ["172.16.0.0/20"], volume_keys = [] }
    parameters         = { keys = ["/muster/prod/key"], webhooks = ["/muster/prod/webhook"], tokens = [] }
    kms_key_arn        = null
    log_retention_days = 30
  }

  assert {
    condition     = aws_ecs_service.this["controller"].desired_count == 2 && aws_ecs_service.this["controller"].deployment_minimum_healthy_percent == 100
    error_message = "one acts and one stands by, also during a deployment"
  }
}

run "environment_on_ecs" {
  command = plan

  module {
    source = "./modules/controller"
  }

  variables {
    settings = {
      host          = "ecs", subnet_ids = ["subnet-0a"], image = "r/m:1", binary = null, binary_sha256 = null, architecture = "arm64", cpu = 256, memory = 512
      instance_type = "t4g.micro", assign_public_ip = false, webhook_replicas = 1, admin_cidrs = [], log = "info", session_manager = false, policy_arns = []
      environment   = { OTEL_EXPORTER_OTLP_ENDPOINT = "https://otlp.example" }
    }
    ingress            = "service"
    context            = { cluster = "prod", account = "123456789012", region = "eu-west-1", partition = "aws", dns_suffix = "amazonaws.com", role_path = "/", permissions_boundary = null, tags = {} }
    listen_digest      = "0123456789ab"
    network            = { vpc_id = "vpc-0a", webhook_port = 8080, admin_port = 9090 }
    queues             = { jobs = "arn:aws:sqs:eu-west-1:123456789012:j", deadLetters = "arn:aws:sqs:eu-west-1:123456789012:d", ec2Events = "arn:aws:sqs:eu-west-1:123456789012:e" }
    bucket             = "bucket"
    manifests          = "s3://bucket/manifests"
    prices             = "s3://bucket/prices.yaml"
    pools              = { role_arns = [], subnets = ["subnet-0a"], cidrs = ["172.16.0.0/20"], volume_keys = [] }
    parameters         = { keys = ["/muster/prod/key"], webhooks = ["/muster/prod/webhook"], tokens = [] }
    kms_key_arn        = null
    log_retention_days = 30
  }

  assert {
    condition     = aws_ecs_service.this["controller"].desired_count == 1 && aws_ecs_service.this["controller"].deployment_maximum_percent == 100
    error_message = "without a lease there are never two controllers"
  }
  assert {
    condition     = alltrue([for task in aws_ecs_task_definition.this : jsondecode(task.container_definitions)[0].healthCheck.command == ["CMD", "/muster", "health", "--controller", "http://127.0.0.1:9090"]])
    error_message = "Fargate asks each process whether it is alive"
  }
  assert {
    condition     = keys(aws_service_discovery_service.this) == ["webhook"] && output.admin_url == null
    error_message = "nobody may reach the controller, so it has no name"
  }
  assert {
    condition     = alltrue([for task in aws_ecs_task_definition.this : jsonencode({ for e in jsondecode(task.container_definitions)[0].environment : e.name => e.value if e.name != "MUSTER_ROLE" }) == jsonencode({ AWS_REGION = "eu-west-1", MUSTER_LISTEN_DIGEST = "0123456789ab", MUSTER_FALLBACK_PRICES = "s3://bucket/prices.yaml", MUSTER_LOG = "info", MUSTER_MANIFESTS = "s3://bucket/manifests", OTEL_EXPORTER_OTLP_ENDPOINT = "https://otlp.example" })])
    error_message = "both tasks have the variables; a new listen address makes new tasks"
  }
}

run "a_name_for_the_controller_in_china" {
  command = plan

  module {
    source = "./modules/controller"
  }

  variables {
    settings = {
      host          = "ecs", subnet_ids = ["subnet-0a"], image = "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn/m:1", binary = null, binary_sha256 = null, architecture = "arm64", cpu = 256, memory = 512
      instance_type = "t4g.micro", assign_public_ip = false, webhook_replicas = 1, admin_cidrs = ["10.0.0.0/8"], log = "info", session_manager = false, policy_arns = [], environment = {}
    }
    ingress            = "direct"
    context            = { cluster = "prod", account = "123456789012", region = "cn-north-1", partition = "aws-cn", dns_suffix = "amazonaws.com.cn", role_path = "/", permissions_boundary = null, tags = {} }
    listen_digest      = "0123456789ab"
    network            = { vpc_id = "vpc-0a", webhook_port = 8080, admin_port = 9091 }
    queues             = { jobs = "arn:aws-cn:sqs:cn-north-1:123456789012:j", deadLetters = "arn:aws-cn:sqs:cn-north-1:123456789012:d", ec2Events = "arn:aws-cn:sqs:cn-north-1:123456789012:e" }
    bucket             = "bucket"
    manifests          = "s3://bucket/manifests"
    prices             = "s3://bucket/prices.yaml"
    pools              = { role_arns = ["arn:aws-cn:iam::123456789012:role/r"], subnets = ["subnet-0a"], cidrs = ["172.16.0.0/20"], volume_keys = [] }
    parameters         = { keys = ["/muster/prod/key"], webhooks = ["/muster/prod/webhook"], tokens = [] }
    kms_key_arn        = "arn:aws-cn:kms:cn-north-1:123456789012:key/k"
    log_retention_days = 30
  }

  assert {
    condition     = aws_service_discovery_service.this["controller"].dns_config[0].dns_records[0].type == "A" && output.admin_url == "http://controller.prod.muster.internal:9091"
    error_message = "the controller's address changes with each deployment, its name does not"
  }
  assert {
    condition     = alltrue([for s in jsondecode(output.policies["controller"]).Statement : contains(s.Condition.StringEquals["iam:PassedToService"], "ec2.amazonaws.com.cn") if s.Sid == "PassRole"])
    error_message = "EC2's name in China"
  }
  assert {
    condition     = alltrue([for s in jsondecode(output.policies["controller"]).Statement : alltrue([for name in s.Condition.StringEquals["kms:ViaService"] : endswith(name, ".cn-north-1.amazonaws.com.cn")]) if s.Sid == "Key"])
    error_message = "KMS knows services by the partition's suffix"
  }
}

run "environment_on_ec2" {
  command = plan

  module {
    source = "./modules/controller"
  }

  variables {
    settings = {
      host          = "ec2", subnet_ids = ["subnet-0a"], image = "r/m:1", binary = null, binary_sha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", architecture = "arm64", cpu = 256, memory = 512
      instance_type = "t4g.micro", assign_public_ip = false, webhook_replicas = 1, admin_cidrs = [], log = "info", session_manager = false, policy_arns = []
      environment   = { OTEL_EXPORTER_OTLP_ENDPOINT = "https://otlp.example" }
    }
    ingress            = "direct"
    context            = { cluster = "prod", account = "123456789012", region = "eu-west-1", partition = "aws", dns_suffix = "amazonaws.com", role_path = "/", permissions_boundary = null, tags = {} }
    listen_digest      = "0123456789ab"
    network            = { vpc_id = "vpc-0a", webhook_port = 8080, admin_port = 9090 }
    queues             = { jobs = "arn:aws:sqs:eu-west-1:123456789012:j", deadLetters = "arn:aws:sqs:eu-west-1:123456789012:d", ec2Events = "arn:aws:sqs:eu-west-1:123456789012:e" }
    bucket             = "bucket"
    manifests          = "s3://bucket/manifests"
    prices             = "s3://bucket/prices.yaml"
    pools              = { role_arns = [], subnets = ["subnet-0a"], cidrs = ["172.16.0.0/20"], volume_keys = [] }
    parameters         = { keys = ["/muster/prod/key"], webhooks = ["/muster/prod/webhook"], tokens = [] }
    kms_key_arn        = null
    log_retention_days = 30
  }

  assert {
    condition     = strcontains(base64decode(aws_launch_template.this[0].user_data), "<<'END'\nAWS_REGION=eu-west-1\nMUSTER_FALLBACK_PRICES=s3://bucket/prices.yaml\nMUSTER_LISTEN_DIGEST=0123456789ab\nMUSTER_LOG=info\nMUSTER_MANIFESTS=s3://bucket/manifests\nMUSTER_ROLE=controller\nOTEL_EXPORTER_OTLP_ENDPOINT=https://otlp.example\nEND\n")
    error_message = "the machine has the variables; a new listen address makes a new machine"
  }
}
