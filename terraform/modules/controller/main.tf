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
