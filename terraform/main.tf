# The whole environment of one muster cluster. Runner pools are read from the manifests that muster itself reads.

data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}
data "aws_region" "current" {}

locals {
  # `id`, which providers 5 and 6 both have: 6 deprecates `name`, and 5 has no `region`.
  region  = data.aws_region.current.id
  account = data.aws_caller_identity.current.account_id
  tags    = merge(var.tags, { "muster:cluster" = var.cluster })
  context = {
    cluster              = var.cluster
    account              = local.account
    region               = local.region
    partition            = data.aws_partition.current.partition
    dns_suffix           = data.aws_partition.current.dns_suffix
    role_path            = var.role_path
    permissions_boundary = var.permissions_boundary
    tags                 = local.tags
  }
  bucket      = coalesce(var.bucket, "${var.cluster}-muster-${local.account}-${local.region}")
  own_key     = coalesce(var.create_kms_key, var.kms_key_arn == null)
  kms_key_arn = local.own_key ? aws_kms_key.this[0].arn : var.kms_key_arn

  # A template that the pool names otherwise than the default is somebody else's.
  pools   = module.manifests.pools
  made    = { for name, pool in local.pools : name => pool if pool.template == "${var.cluster}-${name}" }
  foreign = [for name, pool in local.pools : pool.template if pool.template != "${var.cluster}-${name}"]
  # Of `pools`: these fields are the launch template's, every other one is the manifest's. (`lookup`, not `try`: that takes all that
  # is around a value for unknown when the value is known after the apply only.)
  template_fields = keys(var.pool_defaults)
  for_template    = { for name, given in var.pools : name => { for key, value in given : key => value if contains(local.template_fields, key) } }
  for_manifest    = { for name, given in var.pools : name => { for key, value in given : key => value if !contains(local.template_fields, key) } }
  settings = { for name in keys(local.made) : name => merge(
    var.pool_defaults,
    { for key, value in lookup(local.for_template, name, {}) : key => value if value != null && key != "root_volume" && key != "ami" },
    {
      ami         = merge({ id = null, ssm_parameter = null, filter = null }, lookup(lookup(local.for_template, name, {}), "ami", var.pool_defaults.ami))
      root_volume = merge(var.pool_defaults.root_volume, lookup(lookup(local.for_template, name, {}), "root_volume", {}))
    },
  ) }

  # Parameters elsewhere are read, but not made.
  own_parameters = [for name in distinct(flatten(values(module.manifests.references))) : name if startswith(name, "/muster/${var.cluster}/")]

  # Of several controllers, the one that holds the lease acts.
  lease = try(module.manifests.controller.lease, false)
  # Where the flight recorder writes, if it does.
  record = try(jsonencode(module.manifests.controller.record), "")

  listen = merge(
    { webhook = "0.0.0.0:8080", admin = length(var.controller.admin_cidrs) > 0 ? "0.0.0.0:9090" : "127.0.0.1:9090" },
    try(module.manifests.controller.listen, {}),
    # On ECS, Prometheus and people find the admin listener by this name; see `controller_url`.
    { for host in ["controller.${var.cluster}.muster.internal"] : "adminHosts" => distinct(concat([host], try(module.manifests.controller.listen.adminHosts, [])))
    if length(var.controller.admin_cidrs) > 0 && var.controller.host == "ecs" },
  )
  without_key = {
    apiVersion = "muster/v1"
    kind       = "Controller"
    metadata   = { name = var.cluster }
    spec = merge(module.manifests.controller, {
      region = local.region
      queues = module.queues.urls
      bucket = local.bucket
      listen = local.listen
      tags   = merge(var.tags, try(module.manifests.controller.tags, {}))
    })
  }
  controller = merge(local.without_key, { spec = merge(local.without_key.spec, { for key in local.kms_key_arn == null ? [] : [local.kms_key_arn] : "secretsKey" => key }) })
  # The queues' URLs, and a key's ARN, are known after the apply only.
  controller_at_plan = merge(local.without_key, { spec = merge(local.without_key.spec, {
    queues = { for queue in ["jobs", "deadLetters", "ec2Events"] : queue => "https://sqs.${local.region}.${local.context.dns_suffix}/${local.account}/${var.cluster}-${queue}" }
  }) })
}

module "manifests" {
  source    = "./modules/manifests"
  directory = var.manifests
  cluster   = var.cluster
  pools     = local.for_manifest
  apps      = var.github_apps
}

module "queues" {
  source      = "./modules/queues"
  context     = local.context
  kms_key_arn = local.kms_key_arn
  alarms      = var.alarms
}

module "storage" {
  source      = "./modules/storage"
  context     = local.context
  bucket      = local.bucket
  manifests   = merge(module.manifests.texts, { "terraform-controller.yaml" = yamlencode(local.controller) })
  parameters  = local.own_parameters
  prices      = var.prices
  kms_key_arn = local.kms_key_arn
}

module "pool" {
  source      = "./modules/pool"
  for_each    = local.made # must be known at plan: `manifests` may not name a directory that this apply makes; write such pools into `pools`
  context     = local.context
  name        = each.key
  pool        = each.value
  settings    = local.settings[each.key]
  bucket      = local.bucket
  kms_key_arn = local.kms_key_arn
}

# Where instances are, also those of somebody else's launch templates: none may reach the admin listener.
data "aws_subnet" "pools" {
  # By place, not by id: an id may be known after the apply only.
  for_each = length(var.controller.admin_cidrs) == 0 ? {} : merge([for name, pool in local.pools : { for place, id in pool.subnets : "${name} ${place}" => id }]...)
  id       = each.value
}

data "aws_subnet" "controller" {
  id = var.controller.subnet_ids[0]
}

module "controller" {
  source  = "./modules/controller"
  context = local.context
  settings = merge(var.controller, {
    instance_type = coalesce(var.controller.instance_type, var.controller.architecture == "arm64" ? "t4g.micro" : "t3.micro")
  })
  ingress = var.ingress
  # Every other change of the manifests is taken over by the running processes; these need new ones.
  listen_digest = substr(sha256("${jsonencode(local.listen)}${local.lease ? "lease" : ""}${local.record}"), 0, 12)
  lease         = local.lease
  network = {
    vpc_id       = data.aws_subnet.controller.vpc_id
    webhook_port = tonumber(regex("[0-9]+$", local.listen.webhook))
    admin_port   = tonumber(regex("[0-9]+$", local.listen.admin))
  }
  queues    = module.queues.arns
  bucket    = local.bucket
  manifests = module.storage.manifests
  prices    = module.storage.prices
  pools = {
    role_arns   = concat([for pool in module.pool : pool.role_arn], var.foreign_runner_role_arns)
    subnets     = distinct(flatten([for pool in local.pools : pool.subnets]))
    cidrs       = distinct(compact(values(data.aws_subnet.pools)[*].cidr_block)) # a subnet of IPv6 only has none
    volume_keys = distinct([for s in local.settings : s.root_volume.kms_key_arn if s.root_volume.kms_key_arn != null])
  }
  parameters         = module.manifests.references
  kms_key_arn        = local.kms_key_arn
  log_retention_days = var.log_retention_days
}

module "ingress" {
  source  = "./modules/ingress"
  context = local.context
  mode    = var.ingress
  target  = module.controller.target
  link = {
    subnet_ids = coalesce(var.controller.link_subnet_ids, var.controller.subnet_ids)
    chosen     = var.controller.link_subnet_ids != null
  }
  security_group_id  = module.controller.link_security_group_id
  jobs               = { url = module.queues.urls.jobs, arn = module.queues.arns.jobs }
  kms_key_arn        = local.kms_key_arn
  log_retention_days = var.log_retention_days
}

# Spot instances need this role in the account. EC2 Fleet has one of its own, which an instant fleet does not require:
# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-fleet-prerequisites.html#ec2-fleet-service-linked-role
resource "aws_iam_service_linked_role" "spot" {
  count            = var.create_spot_service_linked_role ? 1 : 0
  aws_service_name = "spot.amazonaws.com"
  description      = "EC2 spot, for muster"
  tags             = local.tags
}

# What variables say of the pools' launch templates.
resource "terraform_data" "checks" {
  lifecycle {
    precondition {
      condition     = alltrue([for s in local.settings : length([for one in [s.ami.id, s.ami.ssm_parameter, s.ami.filter] : one if one != null]) <= 1])
      error_message = "pools, pool_defaults: ami takes one of id, ssm_parameter and filter."
    }
    precondition {
      condition     = alltrue([for s in local.settings : can(regex("^ami-[0-9a-f]+$", coalesce(s.ami.id, "ami-0"))) && startswith(coalesce(s.ami.ssm_parameter, "/"), "/")])
      error_message = "pools, pool_defaults: write ami.id such as \"ami-0123456789abcdef0\", and ami.ssm_parameter by its full name, such as \"/ci/image\"."
    }
    precondition {
      condition     = alltrue([for s in local.settings : s.root_volume.size >= 8 && s.root_volume.size <= 16384 && s.root_volume.iops >= 3000 && s.root_volume.iops <= 16000 && s.root_volume.throughput >= 125 && s.root_volume.throughput <= 1000])
      error_message = "pools, pool_defaults: root_volume takes a size of 8 to 16384 GiB, 3000 to 16000 iops and a throughput of 125 to 1000 MiB/s."
    }
    precondition {
      condition     = alltrue([for s in local.settings : s.root_volume.throughput <= s.root_volume.iops / 4])
      error_message = "pools, pool_defaults: gp3 gives at most 0.25 MiB/s for each of its iops; raise root_volume.iops to four times the throughput."
    }
    precondition {
      condition     = alltrue(flatten([for s in local.settings : [for id in s.security_group_ids : can(regex("^sg-[0-9a-f]+$", id))]]))
      error_message = "pools, pool_defaults: write security_group_ids such as [\"sg-0123456789abcdef0\"]."
    }
    precondition {
      condition     = length(local.foreign) == 0 || length(var.foreign_runner_role_arns) > 0
      error_message = "foreign_runner_role_arns: the launch templates ${join(", ", local.foreign)} are not made here; write the ARNs of their roles, or leave instance.launchTemplate out."
    }
  }
}
