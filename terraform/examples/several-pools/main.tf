# Linux on both architectures and Windows, each pool with an image and a disk of its own; alarms to an SNS topic.

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
    # The operators' VPN. No subnet of a pool may be in it: every job could look then.
    admin_cidrs = ["10.200.0.0/24"]
  }

  pool_defaults = {
    root_volume = { size = 80, iops = 6000, throughput = 500 }
  }

  pools = {
    # The newest of your own images.
    linux-arm64 = {
      ami = { filter = { name = "al2023-ami-2023*-arm64", owners = ["amazon"] } }
    }
    windows-x64 = {
      ami         = { filter = { name = "Windows_Server-2022-English-Full-Base-*", owners = ["amazon"] } }
      root_volume = { size = 120 }
    }
  }

  alarms = {
    actions            = ["arn:aws:sns:eu-west-1:123456789012:on-call"]
    oldest_job_seconds = 900
  }

  tags = { cost-centre = "ci" }
}

output "webhook_url" {
  value = module.muster.webhook_url
}

output "secret_commands" {
  value = module.muster.secret_commands
}
