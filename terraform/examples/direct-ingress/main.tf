# Nothing runs but the controller: API Gateway puts deliveries on the queue, and the controller verifies their signatures.

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
  ingress   = "direct"

  # A public subnet without NAT: addresses of their own, and still nothing comes in.
  controller = {
    subnet_ids       = ["subnet-0a1b2c3d4e5f60001"]
    image            = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/muster:0.1.0"
    assign_public_ip = true
  }

  pool_defaults = {
    associate_public_ip_address = true
  }
}

output "webhook_url" {
  value = module.muster.webhook_url
}

output "secret_commands" {
  value = module.muster.secret_commands
}
