"""Rules that AWS writes in words only: neither CloudFormation's schemas nor the APIs' models have them."""

import base64
import json
from dataclasses import dataclass
from typing import Callable

import regex

EC2_TEXT = regex.compile(r"[a-zA-Z0-9. _\-:/()#,@\[\]+=&;{}!$*]{0,255}")
TAG_KEY = regex.compile(r"(?!aws:)[\p{L}\p{Z}\p{N}_.:/=+\-@]{1,128}", regex.IGNORECASE)
TAG_VALUE = regex.compile(r"[\p{L}\p{Z}\p{N}_.:/=+\-@]{0,256}")


@dataclass(frozen=True)
class Rule:
    kinds: object
    attributes: tuple
    text: str
    page: str
    holds: Callable

    def values(self, values):
        return [(name, values[name]) for name in self.attributes if name in values]


SECURITY_GROUPS = ("aws_security_group", "aws_vpc_security_group_egress_rule", "aws_vpc_security_group_ingress_rule")


def matches(pattern):
    return lambda value: pattern.fullmatch(value) is not None


def tagged(tags):
    return len(tags) <= 50 and all(TAG_KEY.fullmatch(key) and TAG_VALUE.fullmatch(value) for key, value in tags.items())


def small_policy(text):
    return len(json.dumps(json.loads(text), separators=(",", ":"))) <= 10240


RULES = [
    Rule(
        SECURITY_GROUPS,
        ("description", "name"),
        "at most 255 of a-z, A-Z, 0-9, spaces and ._-:/()#,@[]+=&;{}!$*",
        "https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateSecurityGroup.html, .../API_IpRange.html",
        matches(EC2_TEXT),
    ),
    Rule(
        ("aws_security_group",),
        ("name",),
        "a security group's name does not begin with sg-",
        "https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateSecurityGroup.html",
        lambda name: not name.startswith("sg-"),
    ),
    Rule(
        "*",
        ("tags",),
        "at most 50 tags; a key has 1 to 128 and a value 0 to 256 letters, digits, spaces and _.:/=+-@, no key begins with aws:",
        "https://docs.aws.amazon.com/tag-editor/latest/userguide/best-practices-and-strats.html",
        tagged,
    ),
    Rule(
        ("aws_s3_object",),
        ("tags",),
        "an object has ten tags at most",
        "https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-tagging.html",
        lambda tags: len(tags) <= 10,
    ),
    Rule(
        ("aws_launch_template",),
        ("user_data",),
        "user data has 16,384 bytes at most before it is encoded",
        "https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/user-data.html",
        lambda text: len(base64.b64decode(text)) <= 16384,
    ),
    Rule(
        ("aws_iam_role_policy",),
        ("policy",),
        "a role's inline policies have 10,240 characters at most",
        "https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html",
        small_policy,
    ),
    Rule(
        ("aws_lb", "aws_lb_target_group"),
        ("name",),
        "1 to 32 letters, digits and hyphens, neither the first nor the last a hyphen, and not internal-...",
        "https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateLoadBalancer.html",
        matches(regex.compile(r"(?!internal-)[a-zA-Z0-9]([a-zA-Z0-9-]{0,30}[a-zA-Z0-9])?")),
    ),
    Rule(
        ("aws_sqs_queue",),
        ("name",),
        "1 to 80 letters, digits, hyphens and underscores",
        "https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_CreateQueue.html",
        matches(regex.compile(r"[A-Za-z0-9_-]{1,80}")),
    ),
]
