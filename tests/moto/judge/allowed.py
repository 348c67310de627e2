"""Answers of moto that differ from AWS's and that no test of ours relies on, and calls that are wrong on purpose. Each has its reason."""

from fnmatch import fnmatchcase

# (side, service.operation, member, rule, reason). Wildcards are allowed.
ALLOWED = [
    ("answer", "ec2.*", "*.Platform", "is 'windows'*", "AWS too answers in small letters, as API_Instance.html says; its model has Windows"),
    ("answer", "ec2.DescribeInstanceTypes", "*.SupportedFeatures*", "is 'metal-compatibility'*", "moto's data is AWS's own, and newer than the model"),
    ("answer", "ssm.DeleteParameters", "*Parameters", "has 0 items*", "AWS too answers with an empty list; the least is one in requests only"),
    ("answer", "s3.GetBucketRequestPayment", "*", "is no member that the model knows", "moto lists the bucket instead; only Terraform's refresh asks"),
    ("answer", "servicediscovery.GetNamespace", "Namespace.UpdateDate", "is no member*", "one member too many, which nobody reads"),
]


def reason(call, side, path, rule):
    """Why a violation is allowed. None: it is not."""
    name = f"{call.service}.{call.op}"
    for of_side, of_call, of_path, of_rule, why in ALLOWED:
        if of_side == side and fnmatchcase(name, of_call) and fnmatchcase(path.lstrip("."), of_path) and fnmatchcase(rule, of_rule):
            return why
    return None
