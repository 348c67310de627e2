"""Rules that AWS documents and that its models lack. Each rule is a function of a call's input, and yields (member, rule, page)."""

import re

from . import rules_ec2, rules_others

TAGS = "https://docs.aws.amazon.com/tag-editor/latest/userguide/best-practices-and-strats.html"
TAGS_EC2 = "https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_Tag.html"
TAG_TEXT = re.compile(r"[\w\s.:/=+\-@]*")


def tags_in(value, path=""):
    """Every list of tags. It has items with a key and a value, or is a map with the name tags."""
    if isinstance(value, dict):
        for name, said in value.items():
            at = f"{path}.{name}"
            if name.lower() in ("tags", "taglist") and isinstance(said, list) and all(isinstance(tag, dict) for tag in said):
                lower = [{key.lower().removeprefix("tag"): text for key, text in tag.items()} for tag in said]  # KMS has TagKey
                yield at, [(tag.get("key", ""), tag.get("value") or "") for tag in lower]
            elif name.lower() == "tags" and isinstance(said, dict):
                yield at, list(said.items())
            else:
                yield from tags_in(said, at)
    elif isinstance(value, list):
        for n, item in enumerate(value):
            yield from tags_in(item, f"{path}[{n}]")


def tags(call, said):
    page, longest = (TAGS_EC2, 127) if call.service == "ec2" else (TAGS, 128)
    for at, pairs in tags_in(said):
        keys = [key for key, _ in pairs]
        for key in {key for key in keys if keys.count(key) > 1}:
            yield at, f"has the key {key!r} twice", page
        if len(pairs) > 50:
            yield at, f"has {len(pairs)} tags, and a resource has 50 at most", page
        for key, value in pairs:
            if not 1 <= len(key) <= longest:
                yield at, f"has a key of {len(key)} characters; 1 to {longest} are allowed", page
            if key.lower().startswith("aws:"):
                yield at, f"has the key {key!r}, and `aws:` is AWS's own", page
            if len(value) > 256:
                yield at, f"has a value of {len(value)} characters under {key!r}; 256 are allowed", page
            # EC2 takes any character. Most other services take only these.
            if call.service != "ec2" and not (TAG_TEXT.fullmatch(key) and TAG_TEXT.fullmatch(value)):
                yield at, f"has {key!r}: {value!r}; letters, digits, spaces and `_.:/=+-@` are allowed", page


def of(call, operation, said):
    """All violations of documented rules in one request."""
    for rule in (tags, *rules_ec2.RULES.get((call.service, call.op), ()), *rules_others.RULES.get((call.service, call.op), ())):
        yield from rule(call, said)
    if call.service == "ec2":
        yield from rules_ec2.filters(operation, said)
        yield from rules_ec2.client_token(call, said)
