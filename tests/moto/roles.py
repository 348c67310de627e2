"""IAM for roles. A caller with a role's session (AssumeRole) may do what the role's policies list, on the resources that they
list, and nothing else. Plain access keys may do everything.

moto keeps roles, sessions and policies, and matches statements. Its own enforcement takes an API's name for the action's, gives
most resources as `*`, and knows few conditions. So this module finds the action and the resource of the calls that muster
makes. Conditions are left out here. tests/iam/ evaluates them after the run (see judge/needs.py).
"""

import json
from urllib.parse import parse_qs, unquote

from moto.core import DEFAULT_ACCOUNT_ID
from moto.iam.access_control import IAMPolicyStatement, PermissionResult, create_access_key


def s3_actions(call):
    query = parse_qs(call.environ.get("QUERY_STRING", ""), keep_blank_values=True)
    bucket, _, key = unquote(call.environ["PATH_INFO"]).lstrip("/").partition("/")
    arn = f"arn:aws:s3:::{bucket}" + (f"/{key}" if key else "")
    if not key:
        return [("s3:ListBucketMultipartUploads" if "uploads" in query else "s3:ListBucket", arn)]
    method = call.environ["REQUEST_METHOD"]
    if method == "DELETE":
        return [("s3:AbortMultipartUpload" if "uploadId" in query else "s3:DeleteObject", arn)]
    if method in ("GET", "HEAD"):
        return [("s3:GetObject", arn)]
    source = call.environ.get("HTTP_X_AMZ_COPY_SOURCE")
    return [("s3:PutObject", arn)] + ([("s3:GetObject", f"arn:aws:s3:::{unquote(source).lstrip('/')}")] if source else [])


def actions(call):
    """What a call needs: actions, each with its resource. The resource is None if the request does not tell it."""
    if call.service == "s3":
        return s3_actions(call)
    here = f"{call.region}:{DEFAULT_ACCOUNT_ID}"
    if call.service == "sqs":
        queue = json.loads(call.body)["QueueUrl"].rpartition("/")[2]
        return [(f"sqs:{call.op.removesuffix('Batch')}", f"arn:aws:sqs:{here}:{queue}")]
    if call.service == "ssm" and call.op != "DescribeParameters":
        said = json.loads(call.body)
        names = [f"arn:aws:ssm:{here}:parameter/{name.lstrip('/')}" for name in said.get("Names", [said.get("Name") or said.get("Path")])]
        more = ["ssm:AddTagsToResource"] if said.get("Tags") else []
        return [(action, name) for action in [f"ssm:{call.op}", *more] for name in names]
    launches = {"CreateFleet": ["ec2:RunInstances", "ec2:CreateTags", "iam:PassRole"], "RunInstances": ["ec2:CreateTags", "iam:PassRole"]}
    more = launches.get(call.op, [])
    return [(action, None) for action in [f"{call.service}:{call.op}", *more]]


def permits(statement, action, resource):
    statement = {key: value for key, value in statement.items() if key != "Condition"}
    if resource is None:
        statement["Resource"], resource = "*", "*"
    return IAMPolicyStatement(statement).is_action_permitted(action, resource) == PermissionResult.PERMITTED


def refused(call):
    """Why a role's session may not make this call. None: it may, or the caller is no role."""
    token = call.environ.get("HTTP_X_AMZ_SECURITY_TOKEN")
    # The keys of sessions begin with ASIA. tests/wire/bootstrap invents other keys, which have a token, too.
    if not token or call.service == "sts" or not call.caller.startswith("ASIA"):
        return None
    session = create_access_key(DEFAULT_ACCOUNT_ID, "aws", call.caller, {"X-Amz-Security-Token": token})
    policies = [json.loads(policy) if isinstance(policy, str) else policy for policy in session.collect_policies()]
    statements = [statement for policy in policies for statement in policy["Statement"]]
    for action, resource in actions(call):
        if not any(permits(statement, action, resource) for statement in statements):
            return f"{session.arn} is not authorized to perform: {action} on resource: {resource or '*'}"
    return None
