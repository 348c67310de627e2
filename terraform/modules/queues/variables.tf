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
  description = "A customer KMS key. null: SQS encrypts with its own key."
  type        = string
}

variable "alarms" {
  description = "The SNS topics that alarms are sent to, and after how many seconds of a job's waiting the alarm fires."
  type        = object({ actions = list(string), oldest_job_seconds = number })
}
