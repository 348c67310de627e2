"""Documented rules of the services other than EC2."""

import json
import re

SSM = "https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_{}.html"
SQS = "https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_{}.html"
SQS_QUOTAS = "https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html"
SQS_ATTRIBUTES = "https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-message-metadata.html"
S3_KEYS = "https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html"
S3_METADATA = "https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html"
S3_BUCKETS = "https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html"
S3_LIMITS = "https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html"
IAM_QUOTAS = "https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html"
LOGS = "https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html"
ALARM = "https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html"
KMS_ALIAS = "https://docs.aws.amazon.com/kms/latest/APIReference/API_CreateAlias.html"
EVENTS_QUOTAS = "https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-quota.html"
FARGATE = "https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-cpu-memory-error.html"
HEALTH = "https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_HealthCheck.html"
ELB = "https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_{}.html"
MIB = 1024 * 1024

# ----------------------------------------------------------------------------------------------------------- SSM


def put_parameter(_, said):
    page, name, value = SSM.format("PutParameter"), said.get("Name", ""), said.get("Value", "")
    if said.get("Tags") and said.get("Overwrite"):
        yield ".Tags", "stands beside Overwrite: SSM tags a parameter only when it makes one", page
    if not re.fullmatch(r"[a-zA-Z0-9_.\-/]+", name):
        yield ".Name", f"is {name!r}; letters, digits and `_.-/` are allowed", page
    if re.match(r"/?(aws|ssm)", name, re.I):
        yield ".Name", f"is {name!r}, and names that begin with aws or ssm are AWS's own", page
    if name.count("/") > 15:
        yield ".Name", f"has {name.count('/')} levels, and the most is 15", page
    most = 4096 if said.get("Tier", "Standard") == "Standard" else 8192
    if not 1 <= len(value.encode()) <= most:
        yield ".Value", f"has {len(value.encode())} bytes; the tier {said.get('Tier', 'Standard')} takes 1 to {most}", page
    if said.get("Policies") and said.get("Tier") not in ("Advanced", "Intelligent-Tiering"):
        yield ".Policies", "are there, and only the tier Advanced has them", page


# ----------------------------------------------------------------------------------------------------------- SQS

SQS_TEXT = re.compile("[\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]*")
ATTRIBUTE = re.compile(r"(?!(?:aws|amazon)\.)(?!.*\.\.)[A-Za-z0-9_\-](?:[A-Za-z0-9_.\-]{0,254}[A-Za-z0-9_\-])?", re.I)


def weight(message):
    """The size of a message as SQS counts it: the body, and the name, type and value of each attribute."""
    size = len(message.get("MessageBody", "").encode())
    for name, attribute in message.get("MessageAttributes", {}).items():
        value = attribute.get("StringValue", "").encode() or attribute.get("BinaryValue", b"")
        size += len(name.encode()) + len(attribute.get("DataType", "").encode()) + len(value)
    return size


def message(said, at=""):
    body, attributes = said.get("MessageBody", ""), said.get("MessageAttributes", {})
    if not body:
        yield f"{at}.MessageBody", "is empty; one character is the least", SQS.format("SendMessage")
    if not SQS_TEXT.fullmatch(body):
        yield f"{at}.MessageBody", "has characters that SQS refuses (control characters, surrogates)", SQS.format("SendMessage")
    if len(attributes) > 10:
        yield f"{at}.MessageAttributes", f"has {len(attributes)} attributes, and the most is 10", SQS_QUOTAS
    for name, attribute in attributes.items():
        of = f"{at}.MessageAttributes[{name!r}]"
        if not ATTRIBUTE.fullmatch(name):
            yield of, "is no name: letters, digits and `_-.`, no period at an end or twice, no `AWS.` or `Amazon.` before", SQS_ATTRIBUTES
        if not re.fullmatch(r"(String|Number|Binary)(\..{1,249})?", attribute.get("DataType", "")):
            yield f"{of}.DataType", f"is {attribute.get('DataType')!r}, and String, Number and Binary are known", SQS_ATTRIBUTES
        value = attribute.get("StringValue") or attribute.get("BinaryValue")
        if not value:
            yield of, "has an empty value", SQS_ATTRIBUTES
        if isinstance(value, str) and not SQS_TEXT.fullmatch(value):
            yield f"{of}.StringValue", "has characters that SQS refuses", SQS_ATTRIBUTES
    yield from between(said, "DelaySeconds", 0, 900, "SendMessage", at)


def between(said, name, low, high, call, at=""):
    if name in said and not low <= said[name] <= high:
        yield f"{at}.{name}", f"is {said[name]}; {low} to {high} are allowed", SQS.format(call)


def send_message(_, said):
    yield from message(said)
    if weight(said) > MIB:
        yield ".MessageBody", f"is {weight(said)} bytes with its attributes, and the most is 1 MiB", SQS.format("SendMessage")


def batch(call, said):
    page, entries = SQS.format(call.op), said.get("Entries", [])
    if not 1 <= len(entries) <= 10:
        yield ".Entries", f"has {len(entries)} entries; 1 to 10 are allowed", page
    ids = [entry.get("Id", "") for entry in entries]
    if len(set(ids)) != len(ids):
        yield ".Entries", "has an Id twice", page
    for one in ids:
        if not re.fullmatch(r"[A-Za-z0-9_\-]{1,80}", one):
            yield ".Entries", f"has the Id {one!r}; 80 letters, digits, `-` and `_` are allowed", SQS_QUOTAS


def send_batch(call, said):
    yield from batch(call, said)
    for n, entry in enumerate(said.get("Entries", [])):
        yield from message(entry, f".Entries[{n}]")
    if (total := sum(map(weight, said.get("Entries", [])))) > MIB:
        yield ".Entries", f"weigh {total} bytes, and the most is 1 MiB for all of a batch", SQS.format("SendMessageBatch")


def receive(_, said):
    yield from between(said, "MaxNumberOfMessages", 1, 10, "ReceiveMessage")
    yield from between(said, "WaitTimeSeconds", 0, 20, "ReceiveMessage")
    yield from between(said, "VisibilityTimeout", 0, 43200, "ReceiveMessage")


def visibility(_, said):
    yield from between(said, "VisibilityTimeout", 0, 43200, "ChangeMessageVisibility")


def visibility_batch(call, said):
    yield from batch(call, said)
    for n, entry in enumerate(said.get("Entries", [])):
        yield from between(entry, "VisibilityTimeout", 0, 43200, "ChangeMessageVisibilityBatch", f".Entries[{n}]")


QUEUE_RANGES = {
    "DelaySeconds": (0, 900), "MaximumMessageSize": (1024, MIB), "MessageRetentionPeriod": (60, 1209600),
    "ReceiveMessageWaitTimeSeconds": (0, 20), "VisibilityTimeout": (0, 43200), "KmsDataKeyReusePeriodSeconds": (60, 86400),
}


def queue(call, said):
    page = SQS.format(call.op)
    if call.op == "CreateQueue" and not re.fullmatch(r"[A-Za-z0-9_\-]{1,80}|[A-Za-z0-9_\-]{1,75}\.fifo", said.get("QueueName", "")):
        yield ".QueueName", f"is {said.get('QueueName')!r}; 80 letters, digits, `-` and `_` are allowed", page
    for name, value in said.get("Attributes", {}).items():
        at = f".Attributes[{name!r}]"
        if name in QUEUE_RANGES and not (value.isdigit() and QUEUE_RANGES[name][0] <= int(value) <= QUEUE_RANGES[name][1]):
            yield at, "is {!r}; {} to {} are allowed".format(value, *QUEUE_RANGES[name]), page
        if name == "RedrivePolicy" and value and not 1 <= int(json.loads(value).get("maxReceiveCount", 0)) <= 1000:
            yield at, "has a maxReceiveCount outside of 1 to 1,000", page


# ------------------------------------------------------------------------------------------------------------ S3


def s3_object(_, said):
    if not 1 <= len(said.get("Key", "").encode()) <= 1024:
        yield ".Key", f"has {len(said['Key'].encode())} bytes, and the most is 1,024", S3_KEYS
    size = sum(len(name.encode()) + len(value.encode()) for name, value in said.get("Metadata", {}).items())
    if size > 2048:
        yield ".Metadata", f"has {size} bytes, and the most is 2 KB", S3_METADATA
    if not 1 <= said.get("PartNumber", 1) <= 10_000:
        yield ".PartNumber", f"is {said['PartNumber']}; 1 to 10,000 are allowed", S3_LIMITS


def bucket(_, said):
    name = said.get("Bucket", "")
    plain = re.fullmatch(r"[a-z0-9][a-z0-9.\-]{1,61}[a-z0-9]", name) and ".." not in name
    if not plain or re.fullmatch(r"[\d.]+", name) or name.startswith(("xn--", "sthree-", "amzn-s3-demo-")) or name.endswith(("-s3alias", "--ol-s3")):
        yield ".Bucket", f"is {name!r}, which is no name for a bucket", S3_BUCKETS


# --------------------------------------------------------------------------------------- what Terraform makes


def policy_size(member, most, what):
    def rule(_, said):
        size = len(re.sub(r"\s", "", said.get(member, "")))
        if size > most:
            yield f".{member}", f"has {size} characters beside white space, and {what} has {most} at most", IAM_QUOTAS

    return rule


RETENTION = {1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653}


def retention(_, said):
    if said.get("retentionInDays") not in RETENTION:
        yield ".retentionInDays", f"is {said.get('retentionInDays')}, which is none of {sorted(RETENTION)}", LOGS


def alarm(_, said):
    period = said.get("Period")
    if period is None:
        return
    if period not in (10, 20, 30) and (period % 60 or period < 60):
        yield ".Period", f"is {period}; 10, 20, 30 and multiples of 60 are allowed", ALARM
    total, most = period * said.get("EvaluationPeriods", 1), 604_800 if period >= 3600 else 86_400
    if total > most:
        yield ".EvaluationPeriods", f"times Period is {total} s, and the most is {most}", ALARM
    if said.get("DatapointsToAlarm", 0) > said.get("EvaluationPeriods", 1):
        yield ".DatapointsToAlarm", "is more than EvaluationPeriods", ALARM


def alias(_, said):
    name = said.get("AliasName", "")
    if not name.startswith("alias/") or name.startswith("alias/aws/"):
        yield ".AliasName", f"is {name!r}; it begins with alias/, and not with alias/aws/", KMS_ALIAS


def event_rule(_, said):
    if len(said.get("EventPattern", "")) > 2048:
        yield ".EventPattern", f"has {len(said['EventPattern'])} characters, and the most is 2,048", EVENTS_QUOTAS


def event_targets(_, said):
    if len(said.get("Targets", [])) > 5:
        yield ".Targets", f"has {len(said['Targets'])} targets, and a rule has 5 at most", EVENTS_QUOTAS


GIB = 1024
FARGATE_MEMORY = {
    256: (512, 1 * GIB, 2 * GIB), 512: range(1 * GIB, 4 * GIB + 1, GIB), 1024: range(2 * GIB, 8 * GIB + 1, GIB),
    2048: range(4 * GIB, 16 * GIB + 1, GIB), 4096: range(8 * GIB, 30 * GIB + 1, GIB),
    8192: range(16 * GIB, 60 * GIB + 1, 4 * GIB), 16384: range(32 * GIB, 120 * GIB + 1, 8 * GIB),
}
HEALTH_RANGES = {"interval": (5, 300), "timeout": (2, 60), "retries": (1, 10), "startPeriod": (0, 300)}


def task_definition(_, said):
    if "FARGATE" in said.get("requiresCompatibilities", []):
        cpu, memory = int(said.get("cpu", 0)), int(said.get("memory", 0))
        if memory not in FARGATE_MEMORY.get(cpu, ()):
            yield ".memory", f"is {memory} MiB with {cpu} CPU units, which Fargate does not have", FARGATE
    for n, container in enumerate(said.get("containerDefinitions", [])):
        for name, (low, high) in HEALTH_RANGES.items():
            value = container.get("healthCheck", {}).get(name, low)
            if not low <= value <= high:
                yield f".containerDefinitions[{n}].healthCheck.{name}", f"is {value}; {low} to {high} are allowed", HEALTH


def load_balancer(call, said):
    name = said.get("Name", "")
    if not re.fullmatch(r"(?!internal-)[A-Za-z0-9](?:[A-Za-z0-9\-]{0,30}[A-Za-z0-9])?", name):
        yield ".Name", f"is {name!r}; 32 letters, digits and hyphens are allowed, not at an end", ELB.format(call.op)


RULES = {
    ("ssm", "PutParameter"): (put_parameter,),
    ("sqs", "SendMessage"): (send_message,),
    ("sqs", "SendMessageBatch"): (send_batch,),
    ("sqs", "DeleteMessageBatch"): (batch,),
    ("sqs", "ReceiveMessage"): (receive,),
    ("sqs", "ChangeMessageVisibility"): (visibility,),
    ("sqs", "ChangeMessageVisibilityBatch"): (visibility_batch,),
    ("sqs", "CreateQueue"): (queue,),
    ("sqs", "SetQueueAttributes"): (queue,),
    **{("s3", op): (s3_object,) for op in ("PutObject", "GetObject", "UploadPart", "CreateMultipartUpload", "CopyObject", "DeleteObject")},
    ("s3", "CreateBucket"): (bucket,),
    ("iam", "PutRolePolicy"): (policy_size("PolicyDocument", 10_240, "a role's own policies"),),
    ("iam", "CreatePolicy"): (policy_size("PolicyDocument", 6_144, "a managed policy"),),
    ("iam", "CreateRole"): (policy_size("AssumeRolePolicyDocument", 2_048, "a trust policy"),),
    ("logs", "PutRetentionPolicy"): (retention,),
    ("monitoring", "PutMetricAlarm"): (alarm,),
    ("kms", "CreateAlias"): (alias,),
    ("events", "PutRule"): (event_rule,),
    ("events", "PutTargets"): (event_targets,),
    ("ecs", "RegisterTaskDefinition"): (task_definition,),
    ("elasticloadbalancing", "CreateLoadBalancer"): (load_balancer,),
    ("elasticloadbalancing", "CreateTargetGroup"): (load_balancer,),
}
