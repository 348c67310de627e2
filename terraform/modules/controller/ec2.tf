# One machine in a group of one, which replaces it: muster under systemd, both roles in one process.

locals {
  host   = local.on_ec2 ? 1 : 0
  listen = local.on_ec2 && var.ingress == "service" ? 1 : 0
  source = coalesce(var.settings.binary, "s3://${var.bucket}/bin/muster-${var.settings.architecture}")
  binary = [{ Sid = "Binary", Effect = "Allow", Action = "s3:GetObject", Resource = "arn:${local.c.partition}:s3:::${trimprefix(local.source, "s3://")}" }]
  # https://docs.aws.amazon.com/systems-manager/latest/userguide/getting-started-create-iam-instance-profile.html
  shell = [for given in [var.settings.session_manager] : {
    Sid      = "SessionManager"
    Effect   = "Allow"
    Action   = concat(["ssm:UpdateInstanceInformation"], [for act in ["Create", "Open"] : "ssmmessages:${act}ControlChannel"], [for act in ["Create", "Open"] : "ssmmessages:${act}DataChannel"])
    Resource = "*"
  } if given]
  boot = <<-EOT
    #!/bin/sh
    set -eu
    # The binary may come after the machine: two hours. Whoever may write the bucket may not choose what runs here.
    wanted='${coalesce(var.settings.binary_sha256, "none")}'
    said=
    fetch() {
      rm -f /usr/local/bin/muster.new
      aws s3 cp --region ${local.c.region} '${local.source}' /usr/local/bin/muster.new || return 1
      found=$(sha256sum /usr/local/bin/muster.new | cut -d ' ' -f 1)
      [ "$found" = "$wanted" ] && return 0
      [ "$found" = "$said" ] || echo "muster: not started: ${local.source} has the SHA-256 $found, but controller.binary_sha256 is $wanted. Copy the right binary there, or correct controller.binary_sha256 and apply. This machine looks again every 10 s, for two hours."
      said=$found
      return 1
    }
    tries=0
    until fetch; do
      tries=$((tries + 1))
      [ $tries -lt 720 ] || { echo "muster: not started: no right binary came within two hours. Copy it, then end this machine: another one starts."; exit 1; }
      sleep 10
    done
    chmod 755 /usr/local/bin/muster.new
    mv /usr/local/bin/muster.new /usr/local/bin/muster
    mkdir -p /etc/muster
    cat >/etc/muster/environment <<'END'
    ${join("\n", [for name, value in merge(local.environment, { MUSTER_ROLE = var.ingress == "service" ? "all" : "controller" }) : "${name}=${value}"])}
    END
    cat >/etc/systemd/system/muster.service <<'END'
    ${indent(4, file("${path.module}/muster.service"))}
    END
    systemctl daemon-reload
    systemctl enable --now muster
  EOT
}

data "aws_ssm_parameter" "image" {
  count = local.host
  name  = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-${var.settings.architecture == "arm64" ? "arm64" : "x86_64"}"
}

resource "aws_iam_instance_profile" "this" {
  count = local.host
  name  = local.name
  path  = local.c.role_path
  role  = aws_iam_role.this["controller"].name
  tags  = local.c.tags
}

resource "aws_launch_template" "this" {
  count                  = local.host
  name                   = local.name
  description            = "muster's controller"
  update_default_version = true
  image_id               = data.aws_ssm_parameter.image[0].insecure_value
  instance_type          = var.settings.instance_type
  user_data              = base64encode(local.boot)
  tags                   = local.c.tags

  iam_instance_profile {
    arn = aws_iam_instance_profile.this[0].arn
  }

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  network_interfaces {
    device_index                = 0
    associate_public_ip_address = var.settings.assign_public_ip
    delete_on_termination       = true
    security_groups             = [aws_security_group.this.id]
  }

  block_device_mappings {
    device_name = "/dev/xvda"
    ebs {
      volume_type           = "gp3"
      volume_size           = 8
      encrypted             = true
      delete_on_termination = true
    }
  }

  tag_specifications {
    resource_type = "volume"
    tags          = merge(local.c.tags, { Name = local.name, "muster:controller" = local.c.cluster })
  }
}

resource "aws_autoscaling_group" "this" {
  count               = local.host
  name                = local.name
  min_size            = 0
  max_size            = 1 # never two controllers
  desired_capacity    = 1
  vpc_zone_identifier = var.settings.subnet_ids
  target_group_arns   = aws_lb_target_group.this[*].arn
  # systemd's watchdog restarts a process that hangs. A machine whose webhook does not come back is replaced by the load
  # balancer's verdict; not before the two hours that its boot may wait for the binary are over.
  health_check_type         = local.listen == 1 ? "ELB" : "EC2"
  health_check_grace_period = local.listen == 1 ? 7500 : 120
  wait_for_capacity_timeout = "0"

  launch_template {
    id      = aws_launch_template.this[0].id
    version = aws_launch_template.this[0].latest_version
  }

  instance_refresh {
    strategy = "Rolling"
    preferences {
      min_healthy_percentage = 0
      instance_warmup        = 120 # not the grace period, its default
    }
  }

  dynamic "tag" {
    # Not muster:cluster: what bears that tag is a runner. By muster:controller the pools' roles are denied this machine.
    for_each = merge({ for key, value in local.c.tags : key => value if key != "muster:cluster" }, { Name = local.name, "muster:controller" = local.c.cluster })
    content {
      key                 = tag.key
      value               = tag.value
      propagate_at_launch = true
    }
  }

  depends_on = [aws_iam_role_policy.this]
}

# API Gateway reaches a machine through a load balancer only.
resource "aws_lb" "this" {
  count                            = local.listen
  name                             = "${substr(local.c.cluster, 0, 20)}-muster"
  internal                         = true
  load_balancer_type               = "network"
  subnets                          = var.settings.subnet_ids
  security_groups                  = [aws_security_group.balancer[0].id]
  enable_cross_zone_load_balancing = true
  tags                             = local.c.tags
}

resource "aws_security_group" "balancer" {
  count       = local.listen
  name        = "${local.name}-balancer"
  description = "From the VPC link of API Gateway to the webhook of muster"
  vpc_id      = var.network.vpc_id
  tags        = merge(local.c.tags, { Name = "${local.name}-balancer" })
}

resource "aws_vpc_security_group_ingress_rule" "balancer" {
  count                        = local.listen
  security_group_id            = aws_security_group.balancer[0].id
  description                  = "webhooks from API Gateway"
  ip_protocol                  = "tcp"
  from_port                    = var.network.webhook_port
  to_port                      = var.network.webhook_port
  referenced_security_group_id = aws_security_group.link[0].id
  tags                         = local.c.tags
}

resource "aws_vpc_security_group_egress_rule" "balancer" {
  count                        = local.listen
  security_group_id            = aws_security_group.balancer[0].id
  description                  = "to the webhook of muster"
  ip_protocol                  = "tcp"
  from_port                    = var.network.webhook_port
  to_port                      = var.network.webhook_port
  referenced_security_group_id = aws_security_group.this.id
  tags                         = local.c.tags
}

resource "aws_vpc_security_group_egress_rule" "link_to_balancer" {
  count                        = local.listen
  security_group_id            = aws_security_group.link[0].id
  description                  = "to the load balancer"
  ip_protocol                  = "tcp"
  from_port                    = var.network.webhook_port
  to_port                      = var.network.webhook_port
  referenced_security_group_id = aws_security_group.balancer[0].id
  tags                         = local.c.tags
}

resource "aws_vpc_security_group_ingress_rule" "from_balancer" {
  count                        = local.listen
  security_group_id            = aws_security_group.this.id
  description                  = "webhooks and health checks from the load balancer"
  ip_protocol                  = "tcp"
  from_port                    = var.network.webhook_port
  to_port                      = var.network.webhook_port
  referenced_security_group_id = aws_security_group.balancer[0].id
  tags                         = local.c.tags
}

resource "aws_lb_target_group" "this" {
  count       = local.listen
  name        = "${substr(local.c.cluster, 0, 20)}-muster"
  port        = var.network.webhook_port
  protocol    = "TCP"
  vpc_id      = var.network.vpc_id
  target_type = "instance"
  tags        = local.c.tags

  health_check {
    protocol = "HTTP"
    path     = "/healthz"
    interval = 10
  }
}

resource "aws_lb_listener" "this" {
  count             = local.listen
  load_balancer_arn = aws_lb.this[0].arn
  port              = var.network.webhook_port
  protocol          = "TCP"
  tags              = local.c.tags

  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.this[0].arn
  }
}
