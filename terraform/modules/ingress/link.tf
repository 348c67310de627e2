# API Gateway's way into the VPC. Some availability zones have no VPC links, and a link with a subnet there is refused.

locals {
  # By the zone's id, which means the same zone in every account; a region that is missing here is not checked.
  # https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-vpc-links-v2.html "Availability by Region", read in November 2026
  zones = {
    ap-east-1      = ["ape1-az2", "ape1-az3"]
    ap-northeast-1 = ["apne1-az1", "apne1-az2", "apne1-az4"]
    ap-northeast-2 = ["apne2-az1", "apne2-az2", "apne2-az3"]
    ap-south-1     = ["aps1-az1", "aps1-az2", "aps1-az3"]
    ap-southeast-1 = ["apse1-az1", "apse1-az2", "apse1-az3"]
    ap-southeast-2 = ["apse2-az1", "apse2-az2", "apse2-az3"]
    ca-central-1   = ["cac1-az1", "cac1-az2"]
    eu-central-1   = ["euc1-az1", "euc1-az2", "euc1-az3"]
    eu-north-1     = ["eun1-az1", "eun1-az2", "eun1-az3"]
    eu-south-2     = ["eus2-az1", "eus2-az2", "eus2-az3"]
    eu-west-1      = ["euw1-az1", "euw1-az2", "euw1-az3"]
    eu-west-2      = ["euw2-az1", "euw2-az2", "euw2-az3"]
    eu-west-3      = ["euw3-az1", "euw3-az3"]
    me-south-1     = ["mes1-az1", "mes1-az2", "mes1-az3"]
    sa-east-1      = ["sae1-az1", "sae1-az2", "sae1-az3"]
    us-east-1      = ["use1-az1", "use1-az2", "use1-az4", "use1-az5", "use1-az6"]
    us-east-2      = ["use2-az1", "use2-az2", "use2-az3"]
    us-gov-west-1  = ["usgw1-az1", "usgw1-az2", "usgw1-az3"]
    us-west-1      = ["usw1-az1", "usw1-az3"]
    us-west-2      = ["usw2-az1", "usw2-az2", "usw2-az3", "usw2-az4"]
  }
  checked = contains(keys(local.zones), local.c.region)
  lacking = [for subnet in values(data.aws_subnet.link) : "${subnet.id} (${subnet.availability_zone_id})" if local.checked && !contains(lookup(local.zones, local.c.region, []), subnet.availability_zone_id)]
  usable  = [for subnet in values(data.aws_subnet.link) : subnet.id if !local.checked || contains(lookup(local.zones, local.c.region, []), subnet.availability_zone_id)]
}

data "aws_subnet" "link" {
  # By place, not by id: an id may be known after the apply only.
  for_each = local.service ? { for place, id in var.link.subnet_ids : tostring(place) => id } : {} # the number of subnets must be known at plan
  id       = each.value
}

resource "aws_apigatewayv2_vpc_link" "this" {
  count              = local.service ? 1 : 0
  name               = "${local.c.cluster}-webhook"
  subnet_ids         = var.link.chosen ? var.link.subnet_ids : local.usable
  security_group_ids = [var.security_group_id]
  tags               = local.c.tags

  lifecycle {
    # A link cannot be changed, and the integration holds on to it.
    create_before_destroy = true

    precondition {
      condition     = var.link.chosen ? length(local.lacking) == 0 : length(local.usable) > 0
      error_message = "controller.${var.link.chosen ? "link_subnet_ids" : "subnet_ids"}: API Gateway has no VPC links in the zone of ${join(", ", local.lacking)}; in controller.link_subnet_ids write subnets of the same VPC in ${join(", ", lookup(local.zones, local.c.region, []))}, or set ingress = \"direct\"."
    }
  }
}
