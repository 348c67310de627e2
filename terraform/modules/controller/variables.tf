variable "context" {
  description = "Cluster, account, region, partition, its DNS suffix, role path, permission boundary and tags."
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

variable "settings" {
  description = "`controller` of the root module."
  type        = any
}

variable "ingress" {
  description = "`ingress` of the root module."
  type        = string
}

variable "listen_digest" {
  description = "A text that changes when the Controller's `listen`, `lease` or `record` changes. The processes are then replaced."
  type        = string
}

variable "lease" {
  description = "Whether the Controller has a lease. Two controllers run then, and one of them acts."
  type        = bool
  default     = false
}

variable "network" {
  description = "The VPC that muster runs in, and the ports of the Controller's listen addresses."
  type        = object({ vpc_id = string, webhook_port = number, admin_port = number })
}

variable "queues" {
  description = "Queue ARNs."
  type        = object({ jobs = string, deadLetters = string, ec2Events = string })
}

variable "bucket" {
  description = "The bucket's name."
  type        = string
}

variable "manifests" {
  description = "Where muster reads its manifests: an s3:// URL."
  type        = string
}

variable "prices" {
  description = "Where muster reads a price list: an s3:// URL, or null."
  type        = string
}

variable "pools" {
  description = "What the controller uses in launches: the instances' roles and subnets, with the subnets' IPv4 ranges, and the customer KMS keys of their disks."
  type        = object({ role_arns = list(string), subnets = list(string), cidrs = list(string), volume_keys = list(string) })
}

variable "parameters" {
  description = "SSM parameters that the manifests refer to."
  type        = object({ keys = list(string), webhooks = list(string), tokens = list(string), views = optional(list(string), []) })
}

variable "kms_key_arn" {
  description = "A customer KMS key, or null."
  type        = string
}

variable "log_retention_days" {
  description = "For how many days logs are kept; 0: for ever."
  type        = number
}
