# The price list that an apply can take along, without any cloud.

mock_provider "aws" {
  source          = "../../tests/mocks"
  override_during = plan
}

mock_provider "aws" {
  alias           = "pricing"
  source          = "../../tests/mocks"
  override_during = plan
}

run "a_price_list_as_of_an_apply" {
  command = plan

  providers = {
    aws         = aws
    aws.pricing = aws.pricing
  }

  variables {
    types     = { linux = ["m7i.large"], windows = ["m7i.xlarge"] }
    spot_zone = "eu-west-1a"
  }

  assert {
    condition     = jsonencode(yamldecode(output.list)) == jsonencode({ asOf = "2026-11-20", currency = "USD", linux = { "m7i.large" = { onDemand = 0.1071, spot = 0.0412 } }, windows = { "m7i.xlarge" = { onDemand = 0.1071, spot = 0.0412 } } })
    error_message = "in the form of muster's price lists"
  }
}
