terraform {
  required_version = ">= 1.11"

  required_providers {
    external = {
      source  = "hashicorp/external"
      version = ">= 2.3, < 3"
    }
  }
}
