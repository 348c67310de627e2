# A company's account: private subnets of a VPC that exists, roles under a path and within a permission boundary, a customer
# KMS key, the controller on one small machine that can be reached by Session Manager.

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
    host        = "ec2"
    subnet_ids  = ["subnet-0a1b2c3d4e5f60001", "subnet-0a1b2c3d4e5f60002"]
    policy_arns = ["arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"]
  }

  role_path            = "/ci/"
  permissions_boundary = "arn:aws:iam::123456789012:policy/boundary"
  create_kms_key       = true
  tags                 = { owner = "platform" }
}

output "webhook_url" {
  value = module.muster.webhook_url
}

output "secret_commands" {
  value = module.muster.secret_commands
}
