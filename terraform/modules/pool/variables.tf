variable "context" {
  description = "Cluster, account, region, partition, role path, permission boundary and tags: the same for all pools."
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

variable "name" {
  description = "The pool's name."
  type        = string
}

variable "pool" {
  description = "The pool, as modules/manifests read it."
  type        = any
}

variable "settings" {
  description = "What a launch template has beyond the manifest: `pools` and `pool_defaults` of the root module."
  type        = any
}

variable "bucket" {
  description = "The bucket of runner binaries."
  type        = string
}

variable "kms_key_arn" {
  description = "The customer KMS key that the bucket is encrypted with, or null."
  type        = string
}
