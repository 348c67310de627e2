variable "context" {
  description = "Cluster, account, region, partition, its DNS suffix, role path, permission boundary and tags: the same for all pools."
  type = object({
    cluster              = string
    account              = string
    region               = string
    partition            = string
    dns_suffix           = string
    role_path            = string
    permissions_boundary = string
    tags                 = map(string)
  })
}

variable "name" {
  description = "The pool's name."
  type        = string
}

variable "pool" {
  description = "The pool, as modules/manifests has read it."
  type        = any
}

variable "settings" {
  description = "What a launch template has beyond the manifest: `pools` and `pool_defaults` of the root module."
  type = object({
    ami = object({
      id            = optional(string)
      ssm_parameter = optional(string)
      filter        = optional(object({ name = string, owners = list(string) }))
    })
    root_volume                 = object({ size = number, iops = number, throughput = number, kms_key_arn = optional(string) })
    associate_public_ip_address = bool
    security_group_ids          = list(string)
    policy_arns                 = list(string)
    session_manager             = bool
    detailed_monitoring         = bool
  })
}

variable "bucket" {
  description = "The bucket of runner binaries."
  type        = string
}

variable "kms_key_arn" {
  description = "The customer KMS key of the bucket and of the instances' secrets, or null."
  type        = string
}
