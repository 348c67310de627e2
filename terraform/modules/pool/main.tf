# What one pool's instances are launched from.

locals {
  windows = var.pool.os == "windows"
  name    = "${var.context.cluster}-${var.name}"
  ami     = var.settings.ami
  # Amazon's own images; an apply takes the newest.
  images = {
    linux-x64   = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64"
    linux-arm64 = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-arm64"
    windows-x64 = "/aws/service/ami-windows-latest/Windows_Server-2022-English-Full-Base"
  }
  by_filter    = local.ami.filter != null
  by_parameter = local.ami.id == null && !local.by_filter
  tags         = merge(var.context.tags, { "muster:cluster" = var.context.cluster, "muster:pool" = var.name })
}

data "aws_subnet" "this" {
  # By place, not by id: an id may be known after the apply only.
  for_each = { for place, id in var.pool.subnets : tostring(place) => id } # how many subnets a pool has must be known at plan
  id       = each.value

  lifecycle {
    postcondition {
      condition     = !var.settings.associate_public_ip_address || self.ipv6_native == false
      error_message = "Pool ${var.name}: ${each.value} has no IPv4, so no public address; set associate_public_ip_address = false."
    }
  }
}

data "aws_ssm_parameter" "image" {
  count = local.by_parameter ? 1 : 0
  name  = coalesce(local.ami.ssm_parameter, local.images["${var.pool.os}-${var.pool.arch}"])
}

data "aws_ami" "this" {
  most_recent = true
  owners      = local.by_filter ? local.ami.filter.owners : null

  dynamic "filter" {
    for_each = local.by_filter ? { name = [local.ami.filter.name] } : { image-id = [local.by_parameter ? data.aws_ssm_parameter.image[0].insecure_value : local.ami.id] }
    content {
      name   = filter.key
      values = filter.value
    }
  }

  lifecycle {
    postcondition {
      condition     = self.architecture == (var.pool.arch == "arm64" ? "arm64" : "x86_64")
      error_message = "Pool ${var.name}: the image ${self.id} is ${self.architecture}, but the pool's architecture is ${var.pool.arch}; name another in pools[\"${var.name}\"].ami."
    }
  }
}

resource "aws_security_group" "this" {
  name        = "${local.name}-runner"
  description = "Instances of the muster pool ${var.name}: everything out, nothing in"
  vpc_id      = values(data.aws_subnet.this)[0].vpc_id
  tags        = merge(local.tags, { Name = "${local.name}-runner" })

  lifecycle {
    precondition {
      condition     = length(distinct(values(data.aws_subnet.this)[*].vpc_id)) == 1
      error_message = "Pool ${var.name}: its subnets are in several VPCs; write subnets of one, for a security group is of one VPC."
    }
    precondition {
      condition     = length(distinct(values(data.aws_subnet.this)[*].availability_zone)) == length(data.aws_subnet.this)
      error_message = "Pool ${var.name}: two of its subnets are in one availability zone, which CreateFleet refuses; write one for each zone."
    }
  }
}

resource "aws_vpc_security_group_egress_rule" "this" {
  for_each          = { ipv4 = "0.0.0.0/0", ipv6 = "::/0" }
  security_group_id = aws_security_group.this.id
  description       = "jobs go where they like (${each.key})"
  ip_protocol       = "-1"
  cidr_ipv4         = each.key == "ipv4" ? each.value : null
  cidr_ipv6         = each.key == "ipv6" ? each.value : null
  tags              = local.tags
}

resource "aws_launch_template" "this" {
  name                                 = var.pool.template
  description                          = "muster's instances of pool ${var.name}"
  update_default_version               = true
  image_id                             = data.aws_ami.this.id
  instance_initiated_shutdown_behavior = "terminate"
  user_data                            = local.user_data
  tags                                 = local.tags

  iam_instance_profile {
    arn = aws_iam_instance_profile.this.arn
  }

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
    instance_metadata_tags      = "enabled"
  }

  monitoring {
    enabled = var.settings.detailed_monitoring
  }

  network_interfaces {
    device_index                = 0
    associate_public_ip_address = var.settings.associate_public_ip_address
    delete_on_termination       = true
    security_groups             = concat([aws_security_group.this.id], var.settings.security_group_ids)
  }

  block_device_mappings {
    device_name = data.aws_ami.this.root_device_name
    ebs {
      volume_type           = "gp3"
      volume_size           = var.settings.root_volume.size
      iops                  = var.settings.root_volume.iops
      throughput            = var.settings.root_volume.throughput
      encrypted             = true
      kms_key_id            = var.settings.root_volume.kms_key_arn
      delete_on_termination = true
    }
  }

  lifecycle {
    precondition {
      # EC2 takes 16 KB, counted before base64.
      condition     = length(local.user_data) * 3 / 4 <= 16384
      error_message = "Pool ${var.name}: the user data is larger than EC2's 16 KB; move preInstall and postInstall into the image."
    }
  }
}
