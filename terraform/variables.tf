variable "cluster" {
  description = "The cluster's name. It is part of the name of every resource and every runner, and the value of the tag `muster:cluster`. A change of it replaces everything. IAM's names hold in all regions, so two clusters of one account need two names even in two regions."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$", var.cluster))
    error_message = "cluster: write 1 to 32 lower-case letters, digits and `-`, beginning and ending with a letter or digit, such as \"prod\"."
  }
}

variable "manifests" {
  description = "Directory of muster's manifests: GitHubApps and RunnerPools, and a Controller if you change its defaults (Terraform writes its name, region, queues and bucket). The directory must exist at plan. Leave it out if `pools` and `github_apps` say everything."
  type        = string
  default     = null

  validation {
    condition     = var.manifests == null || length(fileset(coalesce(var.manifests, "."), "*.{yaml,yml}")) > 0
    error_message = "manifests: that directory is not there or holds no *.yaml; write a path such as \"$${path.module}/manifests\". What this same apply would write there is not there at plan: put it into pools."
  }
}

variable "controller" {
  description = <<-EOT
    What muster itself runs on.
    - `host`: `ecs` (Fargate, default) or `ec2` (one small machine under systemd, in an auto scaling group of one).
    - `subnet_ids`: the subnets that muster runs in. From there, muster must reach AWS and GitHub on port 443.
    - `link_subnet_ids`: with the ingress `service`: the subnets in which API Gateway's VPC link ends, in the same VPC. Some zones have no VPC links (such as use1-az3, euw3-az2, usw1-az2). Default: those of `subnet_ids` whose zone has them.
    - `image`: ecs: the container image (see `Dockerfile`), in your registry. A digest (`NAME@sha256:...`) lets nobody who may push there change what runs.
    - `binary`: ec2: `s3://BUCKET/KEY` of the binary; default `bin/muster-ARCHITECTURE` in the module's bucket.
    - `binary_sha256`: ec2: the SHA-256 of the binary, as `sha256sum` prints it. Required: the machine runs no other binary.
    - `architecture`: `arm64` (default) or `x64`.
    - `cpu`, `memory`: ecs: Fargate units and MiB; 256 and 512 by default.
    - `instance_type`: ec2: default `t4g.micro`, or `t3.micro` on x64.
    - `assign_public_ip`: false by default; true in a public subnet without NAT.
    - `webhook_replicas`: ecs with the ingress `service`: 1 to 10, 2 by default.
    - `admin_cidrs`: the address ranges that may reach the metrics and the live page; none by default. Whoever is in one of them sees everything,
      unless `listen.viewToken` of the Controller names a token for looking.
      Write the operators' own range, such as a VPN's. No subnet of a pool may be in it, because every job could then look; the plan refuses that.
    - `log`: the filter of the log; `info` by default.
    - `environment`: more variables for muster's process, such as OTEL_EXPORTER_OTLP_ENDPOINT (on port 443, because muster may reach no other port).
      Write no secrets here, because the plan shows the values.
    - `session_manager`: ec2: lets Session Manager open a shell and tunnels to the machine; false by default.
    - `policy_arns`: further managed policies for its roles; none by default. Policies of AWS's that read parameters, secrets or every bucket are refused.
  EOT
  type = object({
    host             = optional(string, "ecs")
    subnet_ids       = list(string)
    link_subnet_ids  = optional(list(string))
    image            = optional(string)
    binary           = optional(string)
    binary_sha256    = optional(string)
    architecture     = optional(string, "arm64")
    cpu              = optional(number, 256)
    memory           = optional(number, 512)
    instance_type    = optional(string)
    assign_public_ip = optional(bool, false)
    webhook_replicas = optional(number, 2)
    admin_cidrs      = optional(list(string), [])
    log              = optional(string, "info")
    environment      = optional(map(string), {})
    session_manager  = optional(bool, false)
    policy_arns      = optional(list(string), [])
  })

  validation {
    condition     = alltrue([for name in keys(var.controller.environment) : can(regex("^[A-Z_][A-Z0-9_]*$", name)) && !contains(["AWS_REGION", "MUSTER_LISTEN_DIGEST", "MUSTER_LOG", "MUSTER_MANIFESTS", "MUSTER_ROLE"], name)])
    error_message = "controller.environment: write names such as OTEL_EXPORTER_OTLP_ENDPOINT; AWS_REGION, MUSTER_LOG (controller.log), MUSTER_MANIFESTS and MUSTER_ROLE are set by the module."
  }
  validation {
    condition     = alltrue([for value in values(var.controller.environment) : can(regex("^[^[:cntrl:]\"'\\\\]*$", value))])
    error_message = "controller.environment: values are single lines without quotes and backslashes."
  }

  validation {
    condition     = contains(["ecs", "ec2"], var.controller.host)
    error_message = "controller.host: write \"ecs\" or \"ec2\"."
  }
  validation {
    condition     = length(var.controller.subnet_ids) > 0 && alltrue([for id in var.controller.subnet_ids : can(regex("^subnet-[0-9a-f]+$", id))])
    error_message = "controller.subnet_ids: write one subnet's id or more, such as [\"subnet-0123456789abcdef0\"]."
  }
  validation {
    condition     = length(coalesce(var.controller.link_subnet_ids, ["subnet-0"])) > 0 && alltrue([for id in coalesce(var.controller.link_subnet_ids, ["subnet-0"]) : can(regex("^subnet-[0-9a-f]+$", id))])
    error_message = "controller.link_subnet_ids: write one subnet's id or more, such as [\"subnet-0123456789abcdef0\"], or leave it out."
  }
  validation {
    condition     = var.controller.host != "ecs" || can(regex("^[^\\s/]+(/[^\\s/]+)*[:@][^\\s/]+$", var.controller.image))
    error_message = "controller.image: with host = \"ecs\" write an image with a tag or digest, such as \"123456789012.dkr.ecr.eu-west-1.amazonaws.com/muster:0.1.0\"; the README says how to build it."
  }
  validation {
    condition     = can(regex("^s3://[a-z0-9.-]+/.+$", coalesce(var.controller.binary, "s3://b/k")))
    error_message = "controller.binary: write s3://BUCKET/KEY, or leave it out."
  }
  validation {
    condition     = contains(["arm64", "x64"], var.controller.architecture)
    error_message = "controller.architecture: write \"arm64\" or \"x64\"."
  }
  validation {
    condition     = contains([256, 512, 1024, 2048, 4096], var.controller.cpu)
    error_message = "controller.cpu: write 256, 512, 1024, 2048 or 4096 (Fargate CPU units)."
  }
  validation {
    condition     = var.controller.memory >= 2 * var.controller.cpu && var.controller.memory <= 8 * var.controller.cpu && contains([512], var.controller.memory) || var.controller.memory % 1024 == 0 && var.controller.memory >= 2 * var.controller.cpu && var.controller.memory <= 8 * var.controller.cpu
    error_message = "controller.memory: Fargate takes 2 to 8 MiB for each CPU unit, in steps of 1024 (or 512 with cpu = 256); write 512, 1024 or 2048 with cpu = 256."
  }
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]*\\.[a-z0-9-]+$", coalesce(var.controller.instance_type, "t4g.micro")))
    error_message = "controller.instance_type: write an instance type, such as \"t4g.micro\"."
  }
  validation {
    condition     = var.controller.webhook_replicas >= 1 && var.controller.webhook_replicas <= 10 && floor(var.controller.webhook_replicas) == var.controller.webhook_replicas
    error_message = "controller.webhook_replicas: write a whole number from 1 to 10."
  }
  validation {
    condition     = alltrue([for cidr in var.controller.admin_cidrs : can(cidrhost(cidr, 0)) && !strcontains(cidr, ":") && cidr != "0.0.0.0/0"])
    error_message = "controller.admin_cidrs: write the operators' private IPv4 ranges, such as a VPN's [\"10.200.0.0/24\"]; never 0.0.0.0/0, and no range with a pool's subnet in it, for whoever reaches the listener may look, unless listen.viewToken of the Controller names a token."
  }
  validation {
    condition     = can(regex("^[A-Za-z0-9_:=,]+$", var.controller.log))
    error_message = "controller.log: write a filter, such as \"info\" or \"info,muster=debug\"."
  }
  validation {
    condition     = alltrue([for arn in var.controller.policy_arns : can(regex("^arn:[^:]+:iam::[^:]*:policy/.+$", arn))])
    error_message = "controller.policy_arns: write managed policies' ARNs, such as [\"arn:aws:iam::123456789012:policy/NAME\"]."
  }
  validation {
    condition     = alltrue([for arn in var.controller.policy_arns : !contains(keys(local.grants), try(regex("[^:]*:[^:]*$", arn), ""))])
    error_message = "controller.policy_arns: muster's role needs no such policy: ${join("; ", [for arn in var.controller.policy_arns : "${arn} lets it ${local.grants[regex("[^:]*:[^:]*$", arn)]}" if contains(keys(local.grants), try(regex("[^:]*:[^:]*$", arn), ""))])}. For a shell on the machine (host = \"ec2\"), write session_manager = true. For anything else, give a policy of your own that names the resources."
  }
  validation {
    condition     = !var.controller.session_manager || var.controller.host == "ec2"
    error_message = "controller.session_manager: a task on Fargate has no shell; leave it out, or write host = \"ec2\"."
  }
  validation {
    condition     = can(regex("^[0-9a-f]{64}$", var.controller.binary_sha256)) || var.controller.binary_sha256 == null && var.controller.host != "ec2"
    error_message = "controller.binary_sha256: with host = \"ec2\" write the SHA-256 of the binary, 64 hexadecimal digits in small letters, as `sha256sum muster` prints it. The machine runs no other binary."
  }
}

variable "ingress" {
  description = "How GitHub's webhooks come in. `service`: through API Gateway and a VPC link to muster's webhook role, which verifies and routes a delivery before it queues anything. `direct`: API Gateway puts raw deliveries on the queue, and the controller verifies them. With `direct` nothing else runs, and anybody who knows the URL can fill the queue."
  type        = string
  default     = "service"

  validation {
    condition     = contains(["service", "direct"], var.ingress)
    error_message = "ingress: write \"service\" or \"direct\"."
  }
}

variable "pool_defaults" {
  description = <<-EOT
    What the launch template of every pool has beyond the pool's manifest. `pools` changes it for one pool.
    - `ami`: one of `id`, `ssm_parameter` (a parameter that holds an AMI's id) and `filter` (name pattern and owners; the newest image is taken). Default: Amazon's newest AL2023, or Windows Server 2022. Each plan looks the image up again. A Linux image needs curl 7.86 or newer, and tar.
    - `root_volume`: gp3, encrypted: `size` in GiB (8 to 16384; default 50), `iops` (3000 to 16000; default 3000), `throughput` in MiB/s (125 to 1000; default 125), `kms_key_arn` (default: the account's key for EBS; the policy of any other key must let this account and AWSServiceRoleForEC2Spot use the key).
    - `associate_public_ip_address`: false by default; true in a public subnet without NAT.
    - `security_group_ids`: security groups besides the pool's own.
    - `session_manager`: lets Session Manager open a shell into the instances; false by default. The image must have the SSM agent, as Amazon's have.
    - `policy_arns`: further managed policies for the instances' role. Every job can use them. Policies of AWS's that read parameters, secrets or every bucket are refused.
    - `detailed_monitoring`: false by default.
  EOT
  type = object({
    ami = optional(object({
      id            = optional(string)
      ssm_parameter = optional(string)
      filter        = optional(object({ name = string, owners = list(string) }))
    }), {})
    root_volume = optional(object({
      size        = optional(number, 50)
      iops        = optional(number, 3000)
      throughput  = optional(number, 125)
      kms_key_arn = optional(string)
    }), {})
    associate_public_ip_address = optional(bool, false)
    security_group_ids          = optional(list(string), [])
    session_manager             = optional(bool, false)
    policy_arns                 = optional(list(string), [])
    detailed_monitoring         = optional(bool, false)
  })
  default = {}

  validation {
    condition     = alltrue([for arn in var.pool_defaults.policy_arns : can(regex("^arn:[^:]+:iam::[^:]*:policy/.+$", arn))])
    error_message = "pool_defaults: write policy_arns such as [\"arn:aws:iam::123456789012:policy/NAME\"]."
  }
  validation {
    condition     = alltrue([for arn in var.pool_defaults.policy_arns : !contains(keys(local.grants), try(regex("[^:]*:[^:]*$", arn), ""))])
    error_message = "pool_defaults.policy_arns: every job of a pool has the role's permissions: ${join("; ", [for arn in var.pool_defaults.policy_arns : "${arn} lets it ${local.grants[regex("[^:]*:[^:]*$", arn)]}" if contains(keys(local.grants), try(regex("[^:]*:[^:]*$", arn), ""))])}. For a shell into the instances, write session_manager = true. For anything else, give a policy of your own that names the resources which every job may use."
  }
}

variable "pools" {
  description = <<-EOT
    Pools by name, for values that Terraform knows, such as `{ linux = { instance = { subnets = module.vpc.private_subnets } } }`. Each pool takes the fields of a RunnerPool's `spec` (docs/manifests.md) and those of `pool_defaults`.
    For a pool that is also in `manifests`, these fields replace the directory's; a pool that is not there is made. A value may become known only at the apply. The pools' names and the number of subnets must be known at plan.
  EOT
  type        = any
  default     = {}

  validation {
    condition     = can(keys(var.pools)) && alltrue([for pool in try(values(var.pools), []) : can(keys(pool))])
    error_message = "pools: write pools by their names, such as { linux = { capacity = { max = 20 } } }."
  }
  validation {
    condition     = alltrue([for arn in flatten([for pool in try(values(var.pools), []) : try(coalesce(pool.policy_arns), [])]) : can(regex("^arn:[^:]+:iam::[^:]*:policy/.+$", arn))])
    error_message = "pools: write policy_arns such as [\"arn:aws:iam::123456789012:policy/NAME\"]."
  }
  validation {
    condition     = alltrue([for arn in flatten([for pool in try(values(var.pools), []) : try(coalesce(pool.policy_arns), [])]) : !contains(keys(local.grants), try(regex("[^:]*:[^:]*$", arn), ""))])
    error_message = "pools: policy_arns: every job of a pool has the role's permissions: ${join("; ", [for arn in flatten([for pool in try(values(var.pools), []) : try(coalesce(pool.policy_arns), [])]) : "${arn} lets it ${local.grants[regex("[^:]*:[^:]*$", arn)]}" if contains(keys(local.grants), try(regex("[^:]*:[^:]*$", arn), ""))])}. For a shell into the instances, write session_manager = true. For anything else, give a policy of your own that names the resources which every job may use."
  }
}

variable "github_apps" {
  description = "GitHubApps by name, if they are not written in `manifests`: the fields of a GitHubApp's `spec`."
  type        = any
  default     = {}

  validation {
    condition     = can(keys(var.github_apps)) && alltrue([for app in try(values(var.github_apps), []) : can(keys(app))])
    error_message = "github_apps: write Apps by their names, such as { main = { appId = 123456, privateKey = \"ssm:...\", webhookSecrets = [\"ssm:...\"] } }."
  }
}

variable "foreign_runner_role_arns" {
  description = "ARNs of the instance roles in launch templates that a pool names by `instance.launchTemplate` and that this module does not make. The controller may pass these roles. Tag such a template `muster:cluster`."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for arn in var.foreign_runner_role_arns : can(regex("^arn:[^:]+:iam::[0-9]{12}:role/.+$", arn))])
    error_message = "foreign_runner_role_arns: write roles' ARNs, such as [\"arn:aws:iam::123456789012:role/runner\"]."
  }
}

variable "prices" {
  description = "A price list as YAML (docs/simulate.md, Prices). The controller uses it for prices that it cannot read from AWS. The role that the module makes can read AWS's prices, so most clusters need no list."
  type        = string
  default     = null

  validation {
    condition     = can(regex("^[0-9]{4}-[0-9]{2}-[0-9]{2}", yamldecode(coalesce(var.prices, "asOf: 2026-01-01")).asOf))
    error_message = "prices: write a price list with the fields asOf (a day such as 2026-11-29), currency and linux or windows; docs/simulate.md shows one."
  }
}

variable "bucket" {
  description = "The name of the bucket that the module makes. Default: `CLUSTER-muster-ACCOUNT-REGION`."
  type        = string
  default     = null

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", coalesce(var.bucket, "default")))
    error_message = "bucket: write a bare name of 3 to 63 lower-case letters, digits, `-` and `.`, or leave it out."
  }
}

variable "create_kms_key" {
  description = "Makes a customer KMS key for the queues, the bucket, the logs, the GitHub App's secrets and the instances' own. Default: true, unless `kms_key_arn` names a key. The key costs about 1 USD a month, and a price for each request. With `false` and no `kms_key_arn`, the account's key `aws/ssm` encrypts the secrets: whoever in the account may read a parameter may then decrypt it."
  type        = bool
  default     = null
}

variable "kms_key_arn" {
  description = "The ARN of an existing customer KMS key, in place of the one that the module makes. Its policy must let events.amazonaws.com and logs.REGION.amazonaws.com use it. If this apply makes the key, write `create_kms_key = false` as well."
  type        = string
  default     = null

  validation {
    condition     = can(regex("^arn:[^:]+:kms:[^:]+:[0-9]{12}:key/.+$", coalesce(var.kms_key_arn, "arn:aws:kms:r:123456789012:key/k")))
    error_message = "kms_key_arn: write a key's ARN, such as \"arn:aws:kms:eu-west-1:123456789012:key/...\"; not an alias."
  }
  validation {
    condition     = var.kms_key_arn == null || !coalesce(var.create_kms_key, false)
    error_message = "kms_key_arn: with create_kms_key = true one is made; leave out one of the two."
  }
}

variable "alarms" {
  description = "`actions`: the ARNs of SNS topics that alarms are sent to; none by default. `oldest_job_seconds`: after a job has waited this many seconds (60 to 86400; default 1800), the alarm on the jobs queue fires. A full pool makes the alarm fire, too."
  type = object({
    actions            = optional(list(string), [])
    oldest_job_seconds = optional(number, 1800)
  })
  default = {}

  validation {
    condition     = alltrue([for arn in var.alarms.actions : startswith(arn, "arn:")])
    error_message = "alarms.actions: write ARNs, such as an SNS topic's."
  }
  validation {
    condition     = var.alarms.oldest_job_seconds >= 60 && var.alarms.oldest_job_seconds <= 86400
    error_message = "alarms.oldest_job_seconds: write 60 to 86400."
  }
}

variable "log_retention_days" {
  description = "For how many days logs are kept; 0: for ever."
  type        = number
  default     = 365

  validation {
    condition     = contains([0, 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_retention_days)
    error_message = "log_retention_days: write what CloudWatch takes: 0, 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288 or 3653."
  }
}

variable "role_path" {
  description = "Path of all roles and instance profiles."
  type        = string
  default     = "/"

  validation {
    condition     = can(regex("^/([!-~]+/)?$", var.role_path))
    error_message = "role_path: begin and end with a slash, such as \"/ci/\"."
  }
}

variable "permissions_boundary" {
  description = "ARN of the permission boundary of all roles."
  type        = string
  default     = null

  validation {
    condition     = can(regex("^arn:[^:]+:iam::([0-9]{12}|aws):policy/.+$", coalesce(var.permissions_boundary, "arn:aws:iam::aws:policy/p")))
    error_message = "permissions_boundary: write a policy's ARN, such as \"arn:aws:iam::123456789012:policy/boundary\"."
  }
}

variable "create_spot_service_linked_role" {
  description = "Makes the service-linked role that spot needs. Set this once in an account that has never used spot. The apply fails if the role exists."
  type        = bool
  default     = false
}

variable "tags" {
  description = "Tags for every resource, besides `muster:cluster`; at most 40."
  type        = map(string)
  default     = {}

  validation {
    condition     = length(var.tags) <= 40 && alltrue([for key, value in var.tags : can(regex("^[A-Za-z0-9+=.,_:@-]{1,128}$", key)) && !can(regex("^(?i)(aws|muster):", key)) && !contains([".", "..", "_index"], key) && length(value) <= 256])
    error_message = "tags: 40 at most; a key has 1 to 128 letters, digits and +-=.,_:@ (instances read their tags from the metadata service, which takes no others) and does not begin with aws: or muster:; a value has 256 characters at most."
  }
}
