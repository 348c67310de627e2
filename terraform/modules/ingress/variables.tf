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

variable "mode" {
  description = "service: deliveries go to muster's webhook role. direct: raw deliveries go to the jobs queue."
  type        = string
}

variable "target" {
  description = "service: the ARN of the Cloud Map service or the listener that muster's webhook role answers behind."
  type        = string
}

variable "link" {
  description = "service: the VPC link's subnets, and whether somebody has chosen them for the link. If not, subnets in zones without VPC links are left out."
  type        = object({ subnet_ids = list(string), chosen = bool })
}

variable "security_group_id" {
  description = "service: the VPC link's security group."
  type        = string
}

variable "jobs" {
  description = "direct: the jobs queue."
  type        = object({ url = string, arn = string })
}

variable "kms_key_arn" {
  description = "A customer KMS key, or null."
  type        = string
}

variable "log_retention_days" {
  description = "For how many days the access log is kept; 0: for ever."
  type        = number
}
