variable "context" {
  description = "Cluster, account, region, partition and tags."
  type = object({
    cluster   = string
    account   = string
    region    = string
    partition = string
    tags      = map(string)
  })
}

variable "kms_key_arn" {
  description = "A customer KMS key, or null: SQS encrypts with its own."
  type        = string
}

variable "alarms" {
  description = "Who is told, and how long a job may wait before that."
  type        = object({ actions = list(string), oldest_job_seconds = number })
}
