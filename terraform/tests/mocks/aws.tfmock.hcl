mock_data "aws_caller_identity" {
  defaults = { account_id = "123456789012" }
}
mock_data "aws_partition" {
  defaults = { partition = "aws", dns_suffix = "amazonaws.com" }
}
mock_data "aws_region" {
  defaults = { id = "eu-west-1", name = "eu-west-1" }
}
mock_data "aws_service_principal" {
  defaults = { id = "logs.eu-west-1.amazonaws.com" }
}
mock_data "aws_subnet" {
  defaults = { vpc_id = "vpc-1", cidr_block = "10.0.1.0/24", ipv6_native = false, availability_zone_id = "euw1-az1" }
}
mock_data "aws_ssm_parameter" {
  defaults = { insecure_value = "ami-0123456789abcdef0" }
}
mock_data "aws_ami" {
  defaults = { id = "ami-0123456789abcdef0", architecture = "x86_64", root_device_name = "/dev/xvda" }
}
mock_data "aws_pricing_product" {
  defaults = { result = "{\"product\":{\"sku\":\"ABC\"},\"publicationDate\":\"2026-11-20T18:01:31Z\",\"terms\":{\"OnDemand\":{\"ABC.JRTCKXETXF\":{\"priceDimensions\":{\"ABC.JRTCKXETXF.6YS6EN2CT7\":{\"unit\":\"Hrs\",\"pricePerUnit\":{\"USD\":\"0.1071000000\"}}}}}}}" }
}
mock_data "aws_ec2_spot_price" {
  defaults = { spot_price = "0.041200" }
}
mock_resource "aws_kms_key" {
  defaults = { arn = "arn:aws:kms:eu-west-1:123456789012:key/made", key_id = "made" }
}
