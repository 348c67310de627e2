# Fargate: a service for each role.

locals {
  on_ecs = local.on_ec2 ? toset([]) : local.services
}

resource "aws_ecs_cluster" "this" {
  count = local.on_ec2 ? 0 : 1
  name  = local.name
  tags  = local.c.tags

  setting {
    name  = "containerInsights"
    value = "disabled" # muster tells its own metrics, and these are paid by the task
  }
}

resource "aws_cloudwatch_log_group" "this" {
  for_each          = local.on_ecs
  name              = "/muster/${local.c.cluster}/${each.key}"
  retention_in_days = var.log_retention_days
  kms_key_id        = var.kms_key_arn
  tags              = local.c.tags
}

# What Fargate itself needs before muster runs: the image, and a place for its log.
resource "aws_iam_role" "execution" {
  count                = local.on_ec2 ? 0 : 1
  name                 = "${local.c.cluster}-muster-start"
  description          = "Fargate starts muster"
  path                 = local.c.role_path
  permissions_boundary = local.c.permissions_boundary
  tags                 = local.c.tags
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "ecs-tasks.amazonaws.com" }
      Condition = { StringEquals = { "aws:SourceAccount" = local.c.account } }
    }]
  })
}

locals {
  # The account, region and name of an image in ECR; no other registry's.
  registries = try(regexall("^([0-9]{12})\\.dkr\\.ecr\\.([a-z0-9-]+)\\.${replace(local.c.dns_suffix, ".", "\\.")}/([^:@]+)", var.settings.image), [])
}

resource "aws_iam_role_policy" "execution" {
  count = local.on_ec2 ? 0 : 1
  name  = "start"
  role  = aws_iam_role.execution[0].name
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      [{ Sid = "Log", Effect = "Allow", Action = ["logs:CreateLogStream", "logs:PutLogEvents"], Resource = [for group in aws_cloudwatch_log_group.this : "${group.arn}:*"] }],
      [for r in local.registries : { Sid = "Registry", Effect = "Allow", Action = "ecr:GetAuthorizationToken", Resource = "*" }],
      [for r in local.registries : { Sid = "Image", Effect = "Allow", Action = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"], Resource = "arn:${local.c.partition}:ecr:${r[1]}:${r[0]}:repository/${r[2]}" }],
    )
  })
}

resource "aws_ecs_task_definition" "this" {
  for_each                 = local.on_ecs
  family                   = "${local.c.cluster}-${each.key}"
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = var.settings.cpu
  memory                   = var.settings.memory
  task_role_arn            = aws_iam_role.this[each.key].arn
  execution_role_arn       = aws_iam_role.execution[0].arn
  tags                     = local.c.tags

  runtime_platform {
    operating_system_family = "LINUX"
    cpu_architecture        = var.settings.architecture == "arm64" ? "ARM64" : "X86_64"
  }

  container_definitions = jsonencode([{
    name                   = "muster"
    image                  = var.settings.image
    essential              = true
    command                = ["run"]
    user                   = "65532:65532"
    readonlyRootFilesystem = true
    linuxParameters        = { capabilities = { drop = ["ALL"] }, initProcessEnabled = false }
    stopTimeout            = 30
    # muster asks its own /healthz: the image holds no other program. One that has stopped turning is replaced. The
    # start reads each secret, and SSM may be slow.
    healthCheck  = { command = ["CMD", "/muster", "health", "--controller", "http://127.0.0.1:${var.network.admin_port}"], interval = 30, timeout = 10, retries = 3, startPeriod = 300 }
    environment  = [for name, value in merge(local.environment, { MUSTER_ROLE = each.key }) : { name = name, value = value }]
    portMappings = each.key == "webhook" ? [{ containerPort = var.network.webhook_port, hostPort = var.network.webhook_port, protocol = "tcp" }] : []
    logConfiguration = {
      logDriver = "awslogs"
      options = {
        awslogs-group         = aws_cloudwatch_log_group.this[each.key].name
        awslogs-region        = local.c.region
        awslogs-stream-prefix = each.key
      }
    }
  }])
}

# Names for tasks, whose addresses change with each deployment. API Gateway finds the webhook's: it reads addresses and ports from
# Cloud Map, so no load balancer is paid for. People and Prometheus find the controller's, if it listens for them.
locals {
  named = setintersection(local.on_ecs, concat(["webhook"], length(var.settings.admin_cidrs) > 0 ? ["controller"] : []))
}

resource "aws_service_discovery_private_dns_namespace" "this" {
  count       = length(local.named) > 0 ? 1 : 0
  name        = "${local.c.cluster}.muster.internal"
  description = "muster's services"
  vpc         = var.network.vpc_id
  tags        = local.c.tags
}

resource "aws_service_discovery_service" "this" {
  for_each    = local.named
  name        = each.key
  description = "muster's ${each.key}"
  tags        = local.c.tags

  dns_config {
    namespace_id = aws_service_discovery_private_dns_namespace.this[0].id
    dns_records {
      type = each.key == "webhook" ? "SRV" : "A"
      ttl  = 10
    }
  }
}

resource "aws_ecs_service" "this" {
  for_each                = local.on_ecs
  name                    = each.key
  cluster                 = aws_ecs_cluster.this[0].id
  task_definition         = aws_ecs_task_definition.this[each.key].arn
  launch_type             = "FARGATE"
  platform_version        = "LATEST"
  desired_count           = each.key == "webhook" ? var.settings.webhook_replicas : var.lease ? 2 : 1
  enable_ecs_managed_tags = true
  propagate_tags          = "SERVICE"
  # Without a lease there are never two controllers.
  availability_zone_rebalancing      = each.key == "webhook" || var.lease ? "ENABLED" : "DISABLED"
  deployment_maximum_percent         = each.key == "webhook" || var.lease ? 200 : 100
  deployment_minimum_healthy_percent = each.key == "webhook" || var.lease ? 100 : 0
  tags                               = local.c.tags

  network_configuration {
    subnets          = var.settings.subnet_ids
    security_groups  = [aws_security_group.this.id]
    assign_public_ip = var.settings.assign_public_ip
  }

  dynamic "service_registries" {
    for_each = contains(local.named, each.key) ? [aws_service_discovery_service.this[each.key].arn] : []
    content {
      registry_arn = service_registries.value
      # Of a port only an SRV record knows.
      container_name = each.key == "webhook" ? "muster" : null
      container_port = each.key == "webhook" ? var.network.webhook_port : null
    }
  }

  depends_on = [aws_iam_role_policy.this, aws_iam_role_policy.execution]
}
