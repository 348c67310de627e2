"""What IAM's conditions need to know when a call comes: its caller's instance, and the tags of what it names. All of it is from moto's memory."""

import json
import re
from urllib.parse import unquote

from moto.core import DEFAULT_ACCOUNT_ID
from moto.ec2.models import ec2_backends
from moto.iam.access_control import create_access_key
from moto.ssm.models import ssm_backends

# The key of an instance ends in the instance's id: see `instance_key` in tests/wire/support/moto.rs.
INSTANCE_KEY = re.compile(r"AKIAINSTANCE([0-9a-f]{8,17})")
INSTANCE = re.compile(r"\bi-[0-9a-f]{8,17}\b")
TEMPLATE = re.compile(r"LaunchTemplate(?:Configs\.\d+\.LaunchTemplateSpecification)?\.LaunchTemplate(Name|Id)")


def of(call):
    """For tests/moto/judge/needs.py."""
    world, ec2 = {}, ec2_backends[DEFAULT_ACCOUNT_ID][call.region] if call.region else None
    if instance := INSTANCE_KEY.fullmatch(call.caller):
        world["source"] = f"i-{instance[1]}"
    if policies := of_session(call):
        world["policies"] = policies
    if call.service == "ec2" and call.op in ("TerminateInstances", "GetConsoleOutput", "CreateTags"):
        named = set(INSTANCE.findall(call.body.decode()))
        world["tags"] = {one: tags_of(ec2, one) for one in named if one in instances(ec2)}
    if call.service == "ec2" and call.op in ("CreateFleet", "RunInstances"):
        named = [template(ec2, at[1], name) for key, name in call.form.items() if (at := TEMPLATE.fullmatch(key))]
        world["templates"] = [one for one in named if one]
    if call.service == "ssm" and call.op in ("GetParameter", "PutParameter", "DeleteParameter", "DeleteParameters"):
        said, ssm = json.loads(call.body), ssm_backends[DEFAULT_ACCOUNT_ID][call.region]
        names = [name for name in said.get("Names", [said.get("Name")]) if name in ssm._parameters and ssm._parameters[name]]
        world["parameters"] = {name: dict(ssm._resource_tags["Parameter"][name]) for name in names}
    return world


def instances(ec2):
    return {instance.id: instance for reservation in list(ec2.reservations.values()) for instance in list(reservation.instances)}


def tags_of(ec2, instance):
    return dict(ec2.tags.get(instance, {}))


def template(ec2, by, name):
    """What a launch from a template needs besides what its request names. None: moto has no such template."""
    try:
        found = ec2.get_launch_template_by_name(name) if by == "Name" else ec2.get_launch_template(name)
    except Exception:
        return None
    data = found.default_version().data
    interfaces = data.get("NetworkInterfaces") or [{}]
    profile = data.get("IamInstanceProfile", {})
    profile = profile.get("Name") or profile.get("Arn", "").rpartition("/")[2]
    return {
        "id": found.id,
        "tags": {tag["key"]: tag["value"] for tag in found.get_tags()},
        "image": data.get("ImageId", "ami-00000000"),
        "groups": data.get("SecurityGroupIds") or interfaces[0].get("Groups") or [],
        # Terraform gives an instance profile the name of its role.
        "role": f"arn:aws:iam::{DEFAULT_ACCOUNT_ID}:role/{profile}" if profile else None,
    }


def of_session(call):
    """The policies of a role's session, as they are in moto. None: the caller has no session."""
    token = call.environ.get("HTTP_X_AMZ_SECURITY_TOKEN")
    if not token or not call.caller.startswith("ASIA"):
        return None
    session = create_access_key(DEFAULT_ACCOUNT_ID, "aws", call.caller, {"X-Amz-Security-Token": token})
    return [json.loads(unquote(policy)) if isinstance(policy, str) else policy for policy in session.collect_policies()]
