variable "name" {
  description = "The name of the shadow's queue and role, such as muster-shadow."
  type        = string
}

variable "event_bus" {
  description = "The name of an event bus that has the other system's workflow_job events, as terraform-aws-github-runner with eventbridge. The shadow then needs --bus. null: something else fills the queue, such as an API Gateway of muster's module."
  type        = string
  default     = null
}

variable "parameters" {
  description = "The ARNs of the SSM parameters with the private key of a GitHub App that may read only, and its webhook secret."
  type        = list(string)
  default     = []
}

variable "record" {
  description = "Where the shadow writes what it sees: a bucket and a prefix. null: a directory of its machine."
  type        = object({ bucket = string, prefix = string })
  default     = null
}

variable "manifests" {
  description = "Where the shadow reads its manifests: a bucket and a prefix. null: a directory of its machine."
  type        = object({ bucket = string, prefix = string })
  default     = null
}

variable "trusted_service" {
  description = "The service that runs the shadow."
  type        = string
  default     = "ecs-tasks.amazonaws.com"
}

variable "tags" {
  description = "Tags for everything here."
  type        = map(string)
  default     = {}
}
