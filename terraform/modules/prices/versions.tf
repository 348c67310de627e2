terraform {
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.100, < 7"
      # AWS's price list answers in a few regions only, such as us-east-1.
      # https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/using-price-list-query-api.html
      configuration_aliases = [aws.pricing]
    }
  }
}
