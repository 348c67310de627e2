"""Prints what exists in the moto at a URL, one name on each line. All that the Terraform module makes must be gone after a destroy."""

import sys

import boto3

URL, REGION = sys.argv[1], "eu-west-1"

# The service, the call, the list in its answer, and the name in the list's items.
KINDS = [
    ("sqs", "list_queues", "QueueUrls", None),
    ("s3", "list_buckets", "Buckets", "Name"),
    ("iam", "list_roles", "Roles", "RoleName"),
    ("iam", "list_instance_profiles", "InstanceProfiles", "InstanceProfileName"),
    ("ec2", "describe_launch_templates", "LaunchTemplates", "LaunchTemplateName"),
    ("ec2", "describe_security_groups", "SecurityGroups", "GroupName"),
    ("logs", "describe_log_groups", "logGroups", "logGroupName"),
    ("apigatewayv2", "get_apis", "Items", "Name"),
    ("apigatewayv2", "get_vpc_links", "Items", "Name"),
    ("events", "list_rules", "Rules", "Name"),
    ("cloudwatch", "describe_alarms", "MetricAlarms", "AlarmName"),
    ("servicediscovery", "list_namespaces", "Namespaces", "Name"),
    ("servicediscovery", "list_services", "Services", "Name"),
    ("kms", "list_aliases", "Aliases", "AliasName"),
    ("autoscaling", "describe_auto_scaling_groups", "AutoScalingGroups", "AutoScalingGroupName"),
    ("elbv2", "describe_load_balancers", "LoadBalancers", "LoadBalancerName"),
    ("elbv2", "describe_target_groups", "TargetGroups", "TargetGroupName"),
    ("ssm", "describe_parameters", "Parameters", "Name"),
]



def connect(service):
    return boto3.client(service, region_name=REGION, endpoint_url=URL, aws_access_key_id="AKIATEST", aws_secret_access_key="x")


# A deleted cluster stays in the list.
ecs = connect("ecs")
for cluster in ecs.describe_clusters(clusters=ecs.list_clusters()["clusterArns"])["clusters"]:
    if cluster["status"] != "INACTIVE":
        print("ecs cluster", cluster["clusterName"])

for service, call, items, name in KINDS:
    client = connect(service)
    for item in getattr(client, call)().get(items, []):
        print(service, call, item[name] if name else item)
