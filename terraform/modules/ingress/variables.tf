variable "context" {
  description = "Cluster, account, region, partition, role path, permission boundary and tags."
  type = object({
    cluster              = string
    account              = string
    region               = string
    partition            = string
    role_path            = string
    permissions_boundary = string
    tags                 = map(string)
  })
}

variable "mode" {
  description = "service: to muster's webhook role. direct: raw deliveries onto the jobs queue."
  type        = string
}

variable "target" {
  description = "service: the ARN of the Cloud Map service or the listener that muster's webhook role answers behind."
  type        = string
}

variable "subnet_ids" {
  description = "service: the VPC link's subnets."
  type        = list(string)
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
  description = "How long the access log is kept."
  type        = number
}
