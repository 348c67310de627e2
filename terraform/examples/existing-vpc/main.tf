# A company's account: private subnets of a VPC that exists, roles under a path and within a permission boundary, the
# controller on one small machine that can be reached by Session Manager.

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
    host            = "ec2"
    subnet_ids      = ["subnet-0a1b2c3d4e5f60001", "subnet-0a1b2c3d4e5f60002"]
    binary_sha256   = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" # sha256sum muster
    session_manager = true
  }

  role_path            = "/ci/"
  permissions_boundary = "arn:aws:iam::123456789012:policy/boundary"
  tags                 = { owner = "platform" }
}

output "webhook_url" {
  value = module.muster.webhook_url
}

output "secret_commands" {
  value = module.muster.secret_commands
}
