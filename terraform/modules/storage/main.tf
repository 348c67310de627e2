# The bucket (runner binaries, manifests) and the parameters that the GitHub Apps' secrets are put in.

variable "context" {
  description = "Cluster, partition and tags."
  type        = object({ cluster = string, partition = string, tags = map(string) })
}

variable "bucket" {
  description = "The bucket's name."
  type        = string
}

variable "manifests" {
  description = "Manifests by file name."
  type        = map(string)
}

variable "prices" {
  description = "The price list, or null."
  type        = string
}

variable "parameters" {
  description = "SSM parameters to make."
  type        = set(string)
}

variable "kms_key_arn" {
  description = "A customer KMS key, or null."
  type        = string
}

resource "aws_s3_bucket" "this" {
  bucket = var.bucket
  # GitHub has the binaries, and you have the manifests. The record of usage is nowhere else: copy `usage/` before a destroy.
  force_destroy = true
  tags          = var.context.tags
}

resource "aws_s3_bucket_versioning" "this" {
  bucket = aws_s3_bucket.this.id
  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "this" {
  bucket = aws_s3_bucket.this.id
  rule {
    bucket_key_enabled = var.kms_key_arn != null
    apply_server_side_encryption_by_default {
      sse_algorithm     = var.kms_key_arn == null ? "AES256" : "aws:kms"
      kms_master_key_id = var.kms_key_arn
    }
  }
}

resource "aws_s3_bucket_public_access_block" "this" {
  bucket                  = aws_s3_bucket.this.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "this" {
  bucket = aws_s3_bucket.this.id
  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "this" {
  bucket = aws_s3_bucket.this.id
  rule {
    id     = "old-versions"
    status = "Enabled"
    filter {}
    noncurrent_version_expiration {
      noncurrent_days = 30
    }
    expiration {
      expired_object_delete_marker = true
    }
    abort_incomplete_multipart_upload {
      days_after_initiation = 2
    }
  }
  # `muster cost` looks back over a year.
  rule {
    id     = "old-usage"
    status = "Enabled"
    filter {
      prefix = "usage/"
    }
    expiration {
      days = 400
    }
  }
  # `muster replay` looks back over two weeks.
  rule {
    id     = "old-record"
    status = "Enabled"
    filter {
      prefix = "record/"
    }
    expiration {
      days = 14
    }
  }
}

resource "aws_s3_bucket_policy" "this" {
  bucket = aws_s3_bucket.this.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "TLSOnly"
      Effect    = "Deny"
      Principal = "*"
      Action    = "s3:*"
      Resource  = ["arn:${var.context.partition}:s3:::${var.bucket}", "arn:${var.context.partition}:s3:::${var.bucket}/*"]
      Condition = { Bool = { "aws:SecureTransport" = "false" } }
    }]
  })
  depends_on = [aws_s3_bucket_public_access_block.this]
}

resource "aws_s3_object" "manifest" {
  for_each     = toset(nonsensitive(keys(var.manifests)))
  bucket       = aws_s3_bucket.this.id
  key          = "manifests/${each.value}"
  content      = var.manifests[each.value]
  content_type = "application/yaml"
  tags         = { "muster:cluster" = var.context.cluster } # S3 takes ten
  depends_on   = [aws_s3_bucket_versioning.this, aws_s3_bucket_server_side_encryption_configuration.this]
}

resource "aws_s3_object" "prices" {
  count        = var.prices == null ? 0 : 1
  bucket       = aws_s3_bucket.this.id
  key          = "prices.yaml"
  content      = var.prices
  content_type = "application/yaml"
  tags         = { "muster:cluster" = var.context.cluster }
  depends_on   = [aws_s3_bucket_versioning.this, aws_s3_bucket_server_side_encryption_configuration.this]
}

# Write-only: neither this value nor the real one ever gets into the state. Nobody knows it, so nobody can sign with it.
resource "aws_ssm_parameter" "secret" {
  for_each         = var.parameters
  name             = each.value
  description      = "A secret of muster or its GitHub App; fill it with aws ssm put-parameter"
  type             = "SecureString"
  key_id           = var.kms_key_arn
  value_wo         = "not filled yet: ${uuid()}"
  value_wo_version = 1
  tags             = var.context.tags

  lifecycle {
    # An update would send an empty value along.
    ignore_changes = [description, key_id]
  }
}

output "bucket" {
  description = "The bucket's name."
  value       = aws_s3_bucket.this.id
}

output "prices" {
  description = "Where muster reads the price list; null if there is no list."
  value       = var.prices == null ? null : "s3://${aws_s3_bucket.this.id}/${aws_s3_object.prices[0].key}"
}

output "manifests" {
  description = "Where muster reads its manifests."
  value       = "s3://${aws_s3_bucket.this.id}/manifests"
  depends_on  = [aws_s3_object.manifest]
}
