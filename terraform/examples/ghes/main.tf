# GitHub Enterprise Server, for a whole enterprise: its API's address is in the GitHubToken's manifest. Its runners' archive comes by the bucket, so
# instances need no way to github.com.

terraform {
  required_version = ">= 1.11"
}

provider "aws" {
  region = "eu-west-1"
}

module "muster" {
  source    = "../.."
  cluster   = "prod"
  manifests = "${path.module}/manifests"

  controller = {
    subnet_ids = ["subnet-0a1b2c3d4e5f60001", "subnet-0a1b2c3d4e5f60002"]
    image      = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/muster:0.1.0"
  }
}

output "webhook_url" {
  value = module.muster.webhook_url
}

output "secret_commands" {
  value = module.muster.secret_commands
}
