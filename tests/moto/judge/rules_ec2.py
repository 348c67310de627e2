"""EC2's documented rules."""

import base64
import html
import re
from functools import cache

EC2 = "https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_{}.html"
GUIDE = "https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/{}.html"
DESCRIPTION = re.compile(r"[a-zA-Z0-9 ._\-:/()#,@\[\]+=&;{}!$*]*")
METADATA_TAG = re.compile(r"[a-zA-Z0-9+\-=.,_:@]+")
DUPLICATE_POOLS = "https://github.com/aws-samples/aws-plugin-for-slurm/issues/19"


def description(at, text, page):
    if not DESCRIPTION.fullmatch(text):
        bad = sorted(set(DESCRIPTION.sub("", text)))
        yield at, f"is {text!r}, and {', '.join(map(repr, bad))} is not among `a-zA-Z0-9. _-:/()#,@[]+=&;{{}}!$*`", page
    if len(text) > 255:
        yield at, f"has {len(text)} characters, and the most is 255", page


def security_group(_, said):
    page = EC2.format("CreateSecurityGroup")
    yield from description(".Description", said.get("Description", ""), page)
    yield from description(".GroupName", said.get("GroupName", ""), page)
    if said.get("GroupName", "").startswith("sg-"):
        yield ".GroupName", "begins with `sg-`, which is for ids", page


RULE_TARGETS = {"IpRanges": "IpRange", "Ipv6Ranges": "Ipv6Range", "PrefixListIds": "PrefixListId", "UserIdGroupPairs": "UserIdGroupPair"}


def security_group_rule(_, said):
    for n, permission in enumerate(said.get("IpPermissions", [])):
        for name, page in RULE_TARGETS.items():
            for m, target in enumerate(permission.get(name, [])):
                at = f".IpPermissions[{n}].{name}[{m}].Description"
                yield from description(at, target.get("Description", ""), EC2.format(page))
    for n, rule in enumerate(said.get("SecurityGroupRules", [])):
        text = rule.get("SecurityGroupRule", {}).get("Description", "")
        yield from description(f".SecurityGroupRules[{n}].SecurityGroupRule.Description", text, EC2.format("SecurityGroupRuleRequest"))


def client_token(call, said):
    token = said.get("ClientToken", "")
    if len(token) > 64 or not token.isascii():
        page = "https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-idempotency.html"
        yield ".ClientToken", f"has {len(token)} characters; 64 of ASCII are allowed", page


def user_data(at, text):
    page = GUIDE.format("user-data")
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError:
        yield at, "is not base64", page
        return
    if len(raw) > 16 * 1024:
        yield at, f"has {len(raw)} bytes before base64, and the most is 16 KB", page


def metadata_tags(at, options, specifications):
    """Tags that an instance reads in its metadata admit fewer characters."""
    if options.get("InstanceMetadataTags") != "enabled":
        return
    for specification in specifications:
        for tag in specification.get("Tags", []) if specification.get("ResourceType") == "instance" else []:
            key = tag.get("Key", "")
            if not METADATA_TAG.fullmatch(key) or key in (".", "..", "_index"):
                yield at, f"has the tag {key!r}, which metadata cannot show", GUIDE.format("work-with-tags-in-IMDS")


def launch(_, said):
    yield from user_data(".UserData", said.get("UserData", ""))
    yield from metadata_tags(".MetadataOptions", said.get("MetadataOptions", {}), said.get("TagSpecifications", []))
    if said.get("MinCount", 1) > said.get("MaxCount", 1):
        yield ".MinCount", "is more than MaxCount", EC2.format("RunInstances")
    if said.get("NetworkInterfaces") and (said.get("SecurityGroupIds") or said.get("SubnetId")):
        yield ".NetworkInterfaces", "stands beside SubnetId or SecurityGroupIds, which belong into it", EC2.format("RunInstances")


def launch_template(_, said):
    data = said.get("LaunchTemplateData", {})
    yield from user_data(".LaunchTemplateData.UserData", data.get("UserData", ""))
    tags = data.get("TagSpecifications", [])
    yield from metadata_tags(".LaunchTemplateData.MetadataOptions", data.get("MetadataOptions", {}), tags)
    if data.get("NetworkInterfaces") and data.get("SecurityGroupIds"):
        page = EC2.format("RequestLaunchTemplateData")
        yield ".LaunchTemplateData.NetworkInterfaces", "stands beside SecurityGroupIds, which belong into it", page


def fleet(call, said):
    target = said.get("TargetCapacitySpecification", {}).get("TotalTargetCapacity", 0)
    if not 1 <= target <= 10_000:
        yield ".TargetCapacitySpecification.TotalTargetCapacity", f"is {target}; 1 to 10,000 are allowed", GUIDE.format("fleet-quotas")
    if said.get("Type") == "instant":
        yield from instant_fleet(call, said)
    for n, specification in enumerate(said.get("TagSpecifications", [])):
        kind = specification.get("ResourceType")
        allowed = ("fleet", "instance", "volume", "network-interface", "spot-instances-request")
        if kind not in (allowed if said.get("Type") == "instant" else ("fleet",)):
            page = EC2.format("CreateFleet")
            yield f".TagSpecifications[{n}].ResourceType", f"is {kind!r}, which a fleet of this type does not tag", page


def instant_fleet(call, said):
    for name in ("ExcessCapacityTerminationPolicy", "ReplaceUnhealthyInstances", "ValidFrom", "ValidUntil", "TerminateInstancesWithExpiration"):
        if name in said:
            yield f".{name}", "is there, and a fleet of type instant knows none", EC2.format("CreateFleet")
    seen = {}
    for n, config in enumerate(said.get("LaunchTemplateConfigs", [])):
        for m, override in enumerate(config.get("Overrides", [])):
            at, subnet = f".LaunchTemplateConfigs[{n}].Overrides[{m}]", override.get("SubnetId", "")
            if "," in subnet:
                page = EC2.format("FleetLaunchTemplateOverridesRequest")
                yield f"{at}.SubnetId", "names several subnets; a request of type instant can have only one", page
            # A capacity pool is a type in a zone. Two subnets of one zone name it twice, and EC2 answers InvalidFleetConfig, "The fleet
            # configuration contains duplicate instance pools."
            zone = override.get("AvailabilityZone") or call.zones.get(subnet, subnet)
            pool = (override.get("InstanceType"), zone)
            if pool in seen:
                yield at, f"is {pool[0]} in {pool[1]} again, as {seen[pool]} is: duplicate instance pools", DUPLICATE_POOLS
            seen[pool] = at


def at_most(member, most):
    def rule(call, said):
        if len(said.get(member, [])) > most:
            yield f".{member}", f"has {len(said[member])} items, and the most is {most}", EC2.format(call.op)

    return rule


def pages(call, said):
    if "MaxResults" in said and said.get("InstanceIds"):
        yield ".MaxResults", "stands beside InstanceIds", EC2.format(call.op)
    if not 5 <= said.get("MaxResults", 5) <= 1000:
        yield ".MaxResults", f"is {said['MaxResults']}; 5 to 1000 are allowed", EC2.format(call.op)


# Older spellings that EC2 still takes and that the models no longer list, with the page that says so. Terraform's provider sends them.
FILTERS_OF_OLD = {"DescribeVpcs": {"isDefault"}}  # https://docs.aws.amazon.com/vpc/latest/userguide/work-with-default-vpc.html


@cache
def filter_names(shape_name, documentation):
    return [html.unescape(name) for name in re.findall(r"<li>\s*<p>\s*<code>([^<]+)</code>", documentation)]


def filters(operation, said):
    """The prose of the model lists the names of filters."""
    if not said.get("Filters") or operation.input_shape is None:
        return
    shape = operation.input_shape.members["Filters"]
    names = filter_names(operation.name, shape.documentation)
    fixed = {name for name in names if "&lt;" not in name and "<" not in name} | FILTERS_OF_OLD.get(operation.name, set())
    for n, one in enumerate(said["Filters"]):
        name = one.get("Name", "")
        if names and name not in fixed and not name.startswith("tag:"):
            yield f".Filters[{n}].Name", f"is {name!r}, which {operation.name} does not know", EC2.format(operation.name)
        if len(one.get("Values", [])) > 200:
            yield f".Filters[{n}].Values", f"has {len(one['Values'])} values, and the most is 200", GUIDE.format("Using_Filtering")


RULES = {
    ("ec2", "CreateSecurityGroup"): (security_group,),
    **{("ec2", f"{verb}SecurityGroup{way}"): (security_group_rule,) for verb in ("Authorize", "Revoke") for way in ("Ingress", "Egress")},
    ("ec2", "ModifySecurityGroupRules"): (security_group_rule,),
    ("ec2", "UpdateSecurityGroupRuleDescriptionsIngress"): (security_group_rule,),
    ("ec2", "RunInstances"): (launch,),
    ("ec2", "CreateLaunchTemplate"): (launch_template,),
    ("ec2", "CreateLaunchTemplateVersion"): (launch_template,),
    ("ec2", "CreateFleet"): (fleet,),
    ("ec2", "CreateTags"): (at_most("Resources", 1000),),
    ("ec2", "DeleteTags"): (at_most("Resources", 1000),),
    ("ec2", "TerminateInstances"): (at_most("InstanceIds", 1000),),
    ("ec2", "DescribeInstances"): (pages,),
}
