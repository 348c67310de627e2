"""Where Terraform's attributes stand in what AWS publishes. A name that is the same but for its spelling needs no word here."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Place:
    authorities: tuple
    names: dict = field(default_factory=dict)
    """Terraform's name -> the authority's, dots between levels."""
    left: dict = field(default_factory=dict)
    """Attributes without a place, and why."""
    inner: dict = field(default_factory=dict)
    """The same for members of blocks, whatever block they are in."""


# Of every kind.
LEFT_EVERYWHERE = {
    "id": "the answer's",
    "arn": "the answer's",
    "tags_all": "tags, and those of the provider",
    "owner_id": "the answer's",
    "force_destroy": "Terraform's own",
    "skip_destroy": "Terraform's own",
    "timeouts": "Terraform's own",
    "region": "the provider's",
}

BUCKET = ("AWS::S3::Bucket",)
BUCKET_LEFT = {"expected_bucket_owner": "not sent"}

PLACES = {
    "aws_apigatewayv2_api": Place(("AWS::ApiGatewayV2::Api", "apigatewayv2.CreateApi"), {}, {"api_endpoint": "the answer's", "execution_arn": "the answer's"}),
    "aws_apigatewayv2_integration": Place(("AWS::ApiGatewayV2::Integration", "apigatewayv2.CreateIntegration"), {"timeout_milliseconds": "TimeoutInMillis"}, {"integration_response_selection_expression": "the answer's"}),
    "aws_apigatewayv2_route": Place(("AWS::ApiGatewayV2::Route", "apigatewayv2.CreateRoute")),
    "aws_apigatewayv2_stage": Place(
        ("AWS::ApiGatewayV2::Stage", "apigatewayv2.CreateStage"),
        {"name": "StageName"},
        {"execution_arn": "the answer's", "invoke_url": "the answer's"},
    ),
    "aws_apigatewayv2_vpc_link": Place(("AWS::ApiGatewayV2::VpcLink", "apigatewayv2.CreateVpcLink")),
    "aws_autoscaling_group": Place(
        ("AWS::AutoScaling::AutoScalingGroup", "autoscaling.CreateAutoScalingGroup"),
        {"name": "AutoScalingGroupName", "tag": "Tags", "vpc_zone_identifier": "VPCZoneIdentifier", "target_group_arns": "TargetGroupARNs", "protect_from_scale_in": "NewInstancesProtectedFromScaleIn"},
        {
            "force_delete": "Terraform's own",
            "force_delete_warm_pool": "Terraform's own",
            "ignore_failed_scaling_activities": "Terraform's own",
            "wait_for_capacity_timeout": "Terraform's own",
            "metrics_granularity": "sent with enabled_metrics only",
            "instance_refresh": "Terraform starts one after a change",
            "predicted_capacity": "the answer's",
            "warm_pool_size": "the answer's",
        },
        {"id": "LaunchTemplateId", "name": "LaunchTemplateName"},
    ),
    "aws_cloudwatch_event_rule": Place(("AWS::Events::Rule", "events.PutRule"), {"state": "State"}, {"is_enabled": "as state"}),
    "aws_cloudwatch_event_target": Place(("events.PutTargets",), {"arn": "Targets.Arn", "target_id": "Targets.Id"}),
    "aws_cloudwatch_log_group": Place(("AWS::Logs::LogGroup", "logs.CreateLogGroup"), {"name": "LogGroupName"}),
    "aws_cloudwatch_metric_alarm": Place(("AWS::CloudWatch::Alarm", "cloudwatch.PutMetricAlarm"), {"ok_actions": "OKActions"}, {"evaluate_low_sample_count_percentiles": "the answer's"}),
    "aws_ecs_cluster": Place(("AWS::ECS::Cluster", "ecs.CreateCluster"), {"name": "ClusterName", "setting": "ClusterSettings"}),
    "aws_ecs_service": Place(
        ("AWS::ECS::Service", "ecs.CreateService"),
        {"name": "ServiceName", "network_configuration": "NetworkConfiguration.AwsvpcConfiguration", "deployment_maximum_percent": "DeploymentConfiguration.MaximumPercent", "deployment_minimum_healthy_percent": "DeploymentConfiguration.MinimumHealthyPercent", "enable_ecs_managed_tags": "EnableECSManagedTags"},
        {"wait_for_steady_state": "Terraform's own", "iam_role": "the answer's", "triggers": "Terraform's own", "deployment_controller": "the default"},
    ),
    "aws_ecs_task_definition": Place(
        ("AWS::ECS::TaskDefinition", "ecs.RegisterTaskDefinition"), {}, {"track_latest": "Terraform's own", "revision": "the answer's", "arn_without_revision": "the answer's"}
    ),
    "aws_iam_instance_profile": Place(("AWS::IAM::InstanceProfile", "iam.CreateInstanceProfile"), {"name": "InstanceProfileName", "role": "Roles"}, {"create_date": "the answer's", "unique_id": "the answer's"}),
    "aws_iam_policy": Place(
        ("AWS::IAM::ManagedPolicy", "iam.CreatePolicy"),
        {"name": "ManagedPolicyName", "policy": "PolicyDocument"},
        {"name_prefix": "not sent", "attachment_count": "the answer's", "policy_id": "the answer's", "tags": "sent by iam.CreatePolicy alone; held by the rule for tags", "delay_after_policy_creation_in_ms": "Terraform's own"},
    ),
    "aws_iam_role": Place(
        ("AWS::IAM::Role", "iam.CreateRole"),
        {"name": "RoleName", "assume_role_policy": "AssumeRolePolicyDocument"},
        {"force_detach_policies": "Terraform's own", "create_date": "the answer's", "unique_id": "the answer's", "managed_policy_arns": "the answer's", "inline_policy": "the answer's", "name_prefix": "not sent"},
    ),
    "aws_iam_role_policy": Place(("AWS::IAM::RolePolicy", "iam.PutRolePolicy"), {"name": "PolicyName", "policy": "PolicyDocument", "role": "RoleName"}, {"name_prefix": "not sent"}),
    "aws_iam_role_policy_attachment": Place(("iam.AttachRolePolicy",), {"role": "RoleName"}),
    "aws_iam_service_linked_role": Place(("AWS::IAM::ServiceLinkedRole", "iam.CreateServiceLinkedRole"), {"aws_service_name": "AWSServiceName"}, {"tags": "sent by a call of their own", "create_date": "the answer's", "name": "the answer's", "path": "the answer's", "unique_id": "the answer's"}),
    "aws_kms_alias": Place(("AWS::KMS::Alias", "kms.CreateAlias"), {"name": "AliasName", "target_key_id": "TargetKeyId"}, {"target_key_arn": "the answer's", "name_prefix": "not sent"}),
    "aws_kms_key": Place(
        ("AWS::KMS::Key", "kms.CreateKey"),
        {"policy": "KeyPolicy", "deletion_window_in_days": "PendingWindowInDays", "customer_master_key_spec": "KeySpec", "is_enabled": "Enabled"},
        {"key_id": "the answer's", "rotation_period_in_days": "the answer's"},
    ),
    "aws_launch_template": Place(
        ("AWS::EC2::LaunchTemplate", "ec2.CreateLaunchTemplate"),
        {
            "name": "LaunchTemplateName",
            "description": "VersionDescription",
            **{name: f"LaunchTemplateData.{name.title().replace('_', '')}" for name in ("block_device_mappings", "iam_instance_profile", "image_id", "instance_initiated_shutdown_behavior", "instance_type", "metadata_options", "monitoring", "network_interfaces", "user_data")},
            "tag_specifications": "LaunchTemplateData.TagSpecifications",
        },
        {
            "tags": "held by the rule for tags; sent as TagSpecifications of the template",
            "update_default_version": "Terraform's own",
            "default_version": "the answer's",
            "latest_version": "the answer's",
            "name_prefix": "not sent",
        },
        {"security_groups": "Groups"},
    ),
    "aws_lb": Place(
        ("AWS::ElasticLoadBalancingV2::LoadBalancer", "elbv2.CreateLoadBalancer"),
        {"load_balancer_type": "Type"},
        {
            **{name: "one of the attributes that Terraform's provider writes itself" for name in ("dns_record_client_routing_policy", "enable_cross_zone_load_balancing", "enable_deletion_protection", "enable_zonal_shift", "enforce_security_group_inbound_rules_on_private_link_traffic")},
            "internal": "sent as Scheme",
            **{name: "the answer's" for name in ("arn_suffix", "dns_name", "subnet_mapping", "vpc_id", "zone_id", "secondary_ips_auto_assigned_per_subnet", "access_logs", "connection_logs", "minimum_load_balancer_capacity")},
        },
    ),
    "aws_lb_listener": Place(("AWS::ElasticLoadBalancingV2::Listener", "elbv2.CreateListener"), {"default_action": "DefaultActions"}, {"mutual_authentication": "the answer's", "tcp_idle_timeout_seconds": "the answer's"}),
    "aws_lb_target_group": Place(
        ("AWS::ElasticLoadBalancingV2::TargetGroup", "elbv2.CreateTargetGroup"),
        {},
        {
            "health_check": "named otherwise, member by member; the provider holds them to the same bounds",
            **{name: "one of the attributes that Terraform's provider writes itself" for name in ("deregistration_delay", "lambda_multi_value_headers_enabled", "proxy_protocol_v2", "slow_start")},
            **{name: "the answer's" for name in ("arn_suffix", "load_balancer_arns", "stickiness", "target_failover", "target_group_health", "target_health_state", "connection_termination", "preserve_client_ip", "load_balancing_algorithm_type", "load_balancing_anomaly_mitigation", "load_balancing_cross_zone_enabled")},
        },
    ),
    "aws_s3_bucket": Place((*BUCKET, "s3.CreateBucket"), {"bucket": "BucketName"}, {**{name: "the answer's" for name in ("bucket_domain_name", "bucket_regional_domain_name", "hosted_zone_id", "request_payer", "grant", "versioning", "server_side_encryption_configuration", "policy", "lifecycle_rule")}}),
    "aws_s3_bucket_lifecycle_configuration": Place(
        ("s3.PutBucketLifecycleConfiguration",),
        {"rule": "LifecycleConfiguration.Rules"},
        {},
        {"id": "ID"},
    ),
    "aws_s3_bucket_ownership_controls": Place(BUCKET, {"bucket": "BucketName", "rule": "OwnershipControls.Rules"}),
    "aws_s3_bucket_policy": Place(("AWS::S3::BucketPolicy", "s3.PutBucketPolicy"), {"policy": "PolicyDocument"}),
    "aws_s3_bucket_public_access_block": Place(BUCKET, {"bucket": "BucketName", **{name: f"PublicAccessBlockConfiguration.{name.title().replace('_', '')}" for name in ("block_public_acls", "block_public_policy", "ignore_public_acls", "restrict_public_buckets")}}),
    "aws_s3_bucket_server_side_encryption_configuration": Place(BUCKET, {"bucket": "BucketName", "rule": "BucketEncryption.ServerSideEncryptionConfiguration"}, BUCKET_LEFT, {"apply_server_side_encryption_by_default": "ServerSideEncryptionByDefault", "kms_master_key_id": "KMSMasterKeyID"}),
    "aws_s3_bucket_versioning": Place(BUCKET, {"bucket": "BucketName", "versioning_configuration": "VersioningConfiguration"}, BUCKET_LEFT),
    "aws_s3_object": Place(
        ("s3.PutObject",),
        {"kms_key_id": "SSEKMSKeyId"},
        {"content": "the body", "tags": "held by the rule for tags; sent as one text", **{name: "the answer's" for name in ("etag", "version_id", "checksum_crc64nvme", "checksum_crc32", "checksum_crc32c", "checksum_sha1", "checksum_sha256")}},
    ),
    "aws_security_group": Place(("AWS::EC2::SecurityGroup", "ec2.CreateSecurityGroup"), {"description": "GroupDescription", "name": "GroupName"}, {"revoke_rules_on_delete": "Terraform's own", "egress": "rules of their own", "ingress": "rules of their own", "name_prefix": "not sent"}),
    "aws_service_discovery_private_dns_namespace": Place(("AWS::ServiceDiscovery::PrivateDnsNamespace", "servicediscovery.CreatePrivateDnsNamespace"), {}, {"hosted_zone": "the answer's", "arn": "the answer's, and moto's ids are longer than AWS's"}),
    "aws_service_discovery_service": Place(("AWS::ServiceDiscovery::Service", "servicediscovery.CreateService")),
    "aws_sqs_queue": Place(
        ("AWS::SQS::Queue",),
        {"name": "QueueName", "visibility_timeout_seconds": "VisibilityTimeout", "message_retention_seconds": "MessageRetentionPeriod", "max_message_size": "MaximumMessageSize", "receive_wait_time_seconds": "ReceiveMessageWaitTimeSeconds", "kms_master_key_id": "KmsMasterKeyId"},
        {"kms_data_key_reuse_period_seconds": "the provider's zero: the module never sets it", "policy": "CloudFormation has it as AWS::SQS::QueuePolicy", "url": "the answer's", "fifo_queue": "sent if true", "content_based_deduplication": "sent if true", "deduplication_scope": "the answer's", "fifo_throughput_limit": "the answer's", "name_prefix": "not sent"},
    ),
    "aws_ssm_parameter": Place(("ssm.PutParameter",), {"key_id": "KeyId"}, {"value_wo_version": "Terraform's own", "has_value_wo": "Terraform's own", "version": "the answer's", "insecure_value": "the answer's", "value": "the answer's", "value_wo": "never shown"}),
    "aws_vpc_security_group_egress_rule": Place(("AWS::EC2::SecurityGroupEgress",), {"cidr_ipv4": "CidrIp", "cidr_ipv6": "CidrIpv6", "security_group_id": "GroupId", "referenced_security_group_id": "DestinationSecurityGroupId"}, {"security_group_rule_id": "the answer's", "tags": "held by the rule for tags"}),
    "aws_vpc_security_group_ingress_rule": Place(("AWS::EC2::SecurityGroupIngress",), {"cidr_ipv4": "CidrIp", "cidr_ipv6": "CidrIpv6", "security_group_id": "GroupId", "referenced_security_group_id": "SourceSecurityGroupId"}, {"security_group_rule_id": "the answer's", "tags": "held by the rule for tags"}),
}

# Kinds that no authority knows, and why.
UNMAPPED = {
    "terraform_data": "Terraform's own: nothing is sent",
}
