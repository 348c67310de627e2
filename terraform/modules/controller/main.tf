# muster itself: one controller, and in the ingress mode `service` its webhook.

locals {
  on_ec2   = var.settings.host == "ec2"
  services = toset(concat(["controller"], var.ingress == "service" ? ["webhook"] : []))
  name     = "${local.c.cluster}-muster"
  environment = merge(var.settings.environment, {
    AWS_REGION           = local.c.region
    MUSTER_LISTEN_DIGEST = var.listen_digest # read by nobody
    MUSTER_LOG           = var.settings.log
    MUSTER_MANIFESTS     = var.manifests
  }, { for list in var.prices == null ? [] : [var.prices] : "MUSTER_FALLBACK_PRICES" => list })
}

locals {
  # Two ranges overlap if they are one range once both are as wide as the wider one.
  overlaps = { for admin in var.settings.admin_cidrs : admin => [for cidr in var.pools.cidrs : cidr if length(distinct(
    [for range in [admin, cidr] : cidrhost("${split("/", range)[0]}/${min(split("/", admin)[1], split("/", cidr)[1])}", 0)]
  )) == 1] }
}

resource "aws_security_group" "this" {
  name        = local.name
  description = "muster: HTTPS out"
  vpc_id      = var.network.vpc_id
  tags        = merge(local.c.tags, { Name = local.name })
}

resource "aws_vpc_security_group_egress_rule" "https" {
  for_each          = { ipv4 = "0.0.0.0/0", ipv6 = "::/0" }
  security_group_id = aws_security_group.this.id
  description       = "AWS and GitHub (${each.key})"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
  cidr_ipv4         = each.key == "ipv4" ? each.value : null
  cidr_ipv6         = each.key == "ipv6" ? each.value : null
  tags              = local.c.tags
}

resource "aws_vpc_security_group_ingress_rule" "admin" {
  for_each          = toset(var.settings.admin_cidrs)
  security_group_id = aws_security_group.this.id
  description       = "metrics and live page"
  ip_protocol       = "tcp"
  from_port         = var.network.admin_port
  to_port           = var.network.admin_port
  cidr_ipv4         = each.value
  tags              = local.c.tags

  lifecycle {
    precondition {
      condition     = length(local.overlaps[each.value]) == 0
      error_message = "controller.admin_cidrs: instances of pools are in ${each.value} (their subnets have ${join(", ", local.overlaps[each.value])}), so every job could reach the listener. Write the operators' own range, such as a VPN's, or use other subnets for the pools."
    }
  }
}

# API Gateway's side of the VPC link.
resource "aws_security_group" "link" {
  count       = var.ingress == "service" ? 1 : 0
  name        = "${local.name}-link"
  description = "API Gateway to the webhook of muster"
  vpc_id      = var.network.vpc_id
  tags        = merge(local.c.tags, { Name = "${local.name}-link" })
}

resource "aws_vpc_security_group_egress_rule" "link" {
  count                        = var.ingress == "service" ? 1 : 0
  security_group_id            = aws_security_group.link[0].id
  description                  = "to the webhook of muster"
  ip_protocol                  = "tcp"
  from_port                    = var.network.webhook_port
  to_port                      = var.network.webhook_port
  referenced_security_group_id = aws_security_group.this.id
  tags                         = local.c.tags
}

resource "aws_vpc_security_group_ingress_rule" "webhook" {
  count                        = var.ingress == "service" ? 1 : 0
  security_group_id            = aws_security_group.this.id
  description                  = "webhooks from API Gateway"
  ip_protocol                  = "tcp"
  from_port                    = var.network.webhook_port
  to_port                      = var.network.webhook_port
  referenced_security_group_id = aws_security_group.link[0].id
  tags                         = local.c.tags
}
