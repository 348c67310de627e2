# A price list as of an apply, for a controller whose role may not read prices itself: module "muster" { prices = module.prices.list }.

variable "types" {
  description = "Instance types by operating system: the output `instance_types` of the root module."
  type        = map(set(string))

  validation {
    condition     = length(setsubtract(keys(var.types), ["linux", "windows"])) == 0
    error_message = "types: write linux and windows, such as { linux = [\"m7i.large\"] }."
  }
}

variable "spot_zone" {
  description = "The availability zone whose spot prices are read, such as eu-west-1a. The zone must offer all the types. null: on-demand prices only."
  type        = string
  default     = null
}

data "aws_region" "current" {}

locals {
  pairs = merge([for os, types in var.types : { for type in types : "${os} ${type}" => { os = os, type = type } }]...)
  # The names of the systems in the price list, and in EC2's history of spot prices.
  systems = { linux = { list = "Linux", spot = "Linux/UNIX" }, windows = { list = "Windows", spot = "Windows" } }

  products  = { for pair, product in data.aws_pricing_product.this : pair => jsondecode(product.result) }
  dimension = { for pair, product in local.products : pair => values(values(product.terms.OnDemand)[0].priceDimensions)[0] }
  dates     = sort([for product in values(local.products) : substr(product.publicationDate, 0, 10)])
  currency  = sort(flatten([for one in values(local.dimension) : keys(one.pricePerUnit)]))
}

data "aws_pricing_product" "this" {
  for_each     = local.pairs
  provider     = aws.pricing
  service_code = "AmazonEC2"

  dynamic "filters" {
    for_each = {
      instanceType    = each.value.type
      regionCode      = data.aws_region.current.id
      operatingSystem = local.systems[each.value.os].list
      # A shared machine that runs, with no software but the system.
      tenancy        = "Shared"
      capacitystatus = "Used"
      preInstalledSw = "NA"
      licenseModel   = "No License required"
    }
    content {
      field = filters.key
      value = filters.value
    }
  }
}

data "aws_ec2_spot_price" "this" {
  for_each          = var.spot_zone == null ? {} : local.pairs
  instance_type     = each.value.type
  availability_zone = var.spot_zone

  filter {
    name   = "product-description"
    values = [local.systems[each.value.os].spot]
  }
}

output "list" {
  description = "The price list as YAML, for the input `prices` of the root module. Its date is the date of AWS's list, not of the apply."
  value = yamlencode(merge(
    { asOf = try(local.dates[length(local.dates) - 1], ""), currency = try(local.currency[0], "") },
    { for os, types in var.types : os => { for type in types : type => merge(
      { onDemand = tonumber(values(local.dimension["${os} ${type}"].pricePerUnit)[0]) },
      { for price in var.spot_zone == null ? [] : [data.aws_ec2_spot_price.this["${os} ${type}"].spot_price] : "spot" => tonumber(price) },
    ) } },
  ))

  precondition {
    condition     = length(distinct(local.currency)) == 1
    error_message = "prices: the list has prices in ${length(distinct(local.currency)) == 0 ? "no currency: write types" : join(" and ", distinct(local.currency))}."
  }
}
