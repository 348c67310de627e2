"""What a call needs of IAM: actions, each on a resource, with the request's context. tests/iam/ evaluates them by the policies.

The Service Authorization Reference says which action works on which resource, and which condition keys a request carries.
https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html
"""

ACCOUNT = "123456789012"
# A resource that is being made has no id yet. Any id of its kind stands for it.
NEW = {
    "fleet": "fleet-00000000-0000-0000-0000-000000000000", "instance": "i-00000000000000000", "volume": "vol-00000000000000000",
    "network-interface": "eni-00000000000000000", "spot-instances-request": "sir-00000000",
}


# The customer's key of queues, bucket and secrets. tests/wire/support/iam.rs has it, too.
KEY = f"arn:aws:kms:eu-west-1:{ACCOUNT}:key/11111111-2222-3333-4444-555555555555"
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-key-management.html#sqs-what-permissions-for-sse
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html
# https://docs.aws.amazon.com/kms/latest/developerguide/services-parameter-store.html: kms:Encrypt up to 4 KB, kms:GenerateDataKey above.
OF_KEY = {
    "sqs:SendMessage": ("kms:GenerateDataKey", "kms:Decrypt"), "sqs:ReceiveMessage": ("kms:Decrypt",), "s3:GetObject": ("kms:Decrypt",),
    "s3:PutObject": ("kms:GenerateDataKey", "kms:Decrypt"), "ssm:GetParameter": ("kms:Decrypt",), "ssm:PutParameter": ("kms:Encrypt", "kms:GenerateDataKey"),
}


class Unknown(Exception):
    """This file does not say what this call needs."""


def tagged(prefix, tags):
    return {f"{prefix}/{key}": value for key, value in tags.items()}


def asked(tags):
    """The context of a request that carries tags."""
    return {**tagged("aws:RequestTag", tags), "aws:TagKeys": list(tags)} if tags else {}


def pairs(tags):
    return {tag["Key"]: tag.get("Value", "") for tag in tags}


class Needs:
    """The needs of one call. `call.world` has what the server knew when the call came; see tests/moto/world.py."""

    def __init__(self, call, said):
        self.call, self.said, self.world = call, said, call.world

    def arn(self, service, resource):
        return f"arn:aws:{service}:{self.call.region}:{ACCOUNT}:{resource}"

    def ec2_arn(self, kind, name):
        owner = "" if kind in ("image", "snapshot") else ACCOUNT
        return f"arn:aws:ec2:{self.call.region}:{owner}:{kind}/{name}"

    def all(self):
        """The needs, as triples of action, resource and context."""
        if self.said.get("DryRun"):
            return []  # a dry run asks for a permission that may be missing
        service, op = self.call.service, self.call.op
        own = getattr(self, f"{service}_{op}", None) or getattr(self, service, None)
        needs = own() if own else self.anything()
        mine = {"aws:SecureTransport": "true", "aws:RequestedRegion": self.call.region, **self.source()}
        needs += [need for action, resource, _ in needs for need in self.of_key(action, resource)]
        return [(action, resource, {**mine, **context}) for action, resource, context in needs]

    def of_key(self, action, resource):
        """What an action needs where a customer's key encrypts the data. A pause is no secret, and parameters elsewhere are others'."""
        service = action.partition(":")[0]
        secret = ":parameter/muster/" in resource and "/paused" not in resource
        if self.call.op == "HeadObject" or (service == "ssm" and not secret):
            return []
        context = {"kms:ViaService": f"{service}.{self.call.region}.amazonaws.com"}
        if service == "ssm":
            context["kms:EncryptionContext:PARAMETER_ARN"] = resource
        return [(one, KEY, context) for one in OF_KEY.get(action, ())]

    def source(self):
        return {"ec2:SourceInstanceARN": self.ec2_arn("instance", self.world["source"])} if self.world.get("source") else {}

    def anything(self):
        """A call that only reads is allowed on all resources, or on none."""
        if not self.call.op.startswith(("Describe", "Get", "List")):
            raise Unknown(f"what {self.call.service}.{self.call.op} needs of IAM is not said in tests/moto/judge/needs.py")
        return [(f"{self.call.service}:{self.call.op}", "*", {})]

    def sts_GetCallerIdentity(self):
        return []  # needs no permission

    # ----------------------------------------------------------------------------------------------------- EC2

    def changed(self, action, ids, more=lambda _: {}):
        """An action on instances that exist. EC2 says of other instances that it does not know them."""
        tags = self.world.get("tags", {})
        return [
            (action, self.ec2_arn("instance", one), {**tagged("aws:ResourceTag", tags[one]), **tagged("ec2:ResourceTag", tags[one]), "ec2:InstanceID": one, **more(one)})
            for one in ids if one in tags
        ]

    def ec2_TerminateInstances(self):
        return self.changed("ec2:TerminateInstances", self.said["InstanceIds"])

    def ec2_GetConsoleOutput(self):
        return self.changed("ec2:GetConsoleOutput", [self.said["InstanceId"]])

    def ec2_CreateTags(self):
        context = asked(pairs(self.said["Tags"]))
        return self.changed("ec2:CreateTags", self.said["Resources"], lambda _: context)

    def ec2_CreateFleet(self):
        """A fleet of type instant launches with RunInstances in its caller's name.
        https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-fleet-prerequisites.html"""
        target = self.said["TargetCapacitySpecification"]
        spot = target.get("DefaultTargetCapacityType") == "spot"
        offered = [override for config in self.said["LaunchTemplateConfigs"] for override in config.get("Overrides", [])]
        subnets = [override["SubnetId"] for override in offered if "SubnetId" in override]
        launch = self.launch(subnets, spot)
        # The reference lists these resources of RunInstances for CreateFleet, too.
        listed = ("instance/", "volume/", "subnet/", "launch-template/", "image/")
        launched = [need for need in launch if need[0] == "ec2:RunInstances" and need[1].split(":", 5)[5].startswith(listed)]
        fleet = [("ec2:CreateFleet", resource, context) for _, resource, context in launched]
        return [*fleet, ("ec2:CreateFleet", self.ec2_arn("fleet", NEW["fleet"]), self.of_kind("fleet")), *launch, *self.tags_at_launch()]

    def ec2_RunInstances(self):
        subnets = [self.said["SubnetId"]] if "SubnetId" in self.said else []
        return [*self.launch(subnets, "InstanceMarketOptions" in self.said), *self.tags_at_launch()]

    def of_kind(self, kind):
        found = {}
        for specification in self.said.get("TagSpecifications", []):
            if specification.get("ResourceType") == kind:
                found.update(pairs(specification["Tags"]))
        return asked(found)

    def launch(self, subnets, spot):
        """https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ExamplePolicies_EC2.html#iam-example-runinstances"""
        action, needs = "ec2:RunInstances", []
        for kind in ("instance", "volume", "network-interface", *(["spot-instances-request"] if spot else [])):
            needs.append((action, self.ec2_arn(kind, NEW[kind]), self.of_kind(kind)))
        needs += [(action, self.ec2_arn("subnet", subnet), {}) for subnet in dict.fromkeys(subnets)]
        for template in self.world.get("templates", []):
            needs.append((action, self.ec2_arn("launch-template", template["id"]), tagged("aws:ResourceTag", template["tags"])))
            needs += [(action, self.ec2_arn("image", template["image"]), {}), (action, self.ec2_arn("snapshot", "snap-00000000000000000"), {})]
            needs += [(action, self.ec2_arn("security-group", group), {}) for group in template["groups"] or ["sg-00000000000000000"]]
            if template["role"]:
                needs.append(("iam:PassRole", template["role"], {"iam:PassedToService": "ec2.amazonaws.com"}))
        return needs

    def tags_at_launch(self):
        """No document says whether EC2 names CreateFleet or RunInstances for the tags of a fleet's instances, so both must be allowed."""
        needs = []
        for specification in self.said.get("TagSpecifications", []):
            kind = specification["ResourceType"]
            makers = [self.call.op] if kind == "fleet" else sorted({self.call.op, "RunInstances"})
            for maker in makers:
                context = {**asked(pairs(specification["Tags"])), "ec2:CreateAction": maker}
                needs.append(("ec2:CreateTags", self.ec2_arn(kind, NEW[kind]), context))
        return needs

    # ----------------------------------------------------------------------------------------------------- SSM

    def parameter(self, action, name):
        tags = self.world.get("parameters", {}).get(name)
        if tags is None and self.world.get("source"):
            return []  # an instance asks before its secret exists, is refused, and asks again
        context = {**tagged("aws:ResourceTag", tags or {}), **tagged("ssm:resourceTag", tags or {})}
        return [(action, self.arn("ssm", f"parameter/{name.lstrip('/')}"), context)]

    def ssm_DescribeParameters(self):
        return [("ssm:DescribeParameters", "*", {})]

    def ssm_GetParametersByPath(self):
        return [("ssm:GetParametersByPath", self.arn("ssm", f"parameter/{self.said['Path'].strip('/')}"), {})]

    def ssm_PutParameter(self):
        needs = self.parameter("ssm:PutParameter", self.said["Name"])
        if self.said.get("Tags"):
            context = asked(pairs(self.said["Tags"]))
            needs = [(*needs[0][:2], {**needs[0][2], **context}), ("ssm:AddTagsToResource", needs[0][1], context)]
        return needs

    def ssm(self):
        names = self.said.get("Names") or [self.said.get("Name") or self.said["ResourceId"]]
        return [need for name in names for need in self.parameter(f"ssm:{self.call.op}", name)]

    # ------------------------------------------------------------------------------------------- SQS, S3, quotas

    def sqs(self):
        queue = self.said["QueueUrl"].rpartition("/")[2]
        return [(f"sqs:{self.call.op.removesuffix('Batch')}", self.arn("sqs", queue), {})]

    def servicequotas(self):
        return [(f"servicequotas:{self.call.op}", self.arn("servicequotas", f"{self.said['ServiceCode']}/{self.said['QuotaCode']}"), {})]

    def s3(self):
        bucket = f"arn:aws:s3:::{self.said['Bucket']}"
        thing, op = f"{bucket}/{self.said.get('Key', '')}", self.call.op
        if op in ("ListObjectsV2", "ListObjects", "HeadBucket"):
            return [("s3:ListBucket", bucket, {"s3:prefix": self.said["Prefix"]} if "Prefix" in self.said else {})]
        if op == "ListMultipartUploads":
            return [("s3:ListBucketMultipartUploads", bucket, {})]
        if op in ("PutObject", "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"):
            return [("s3:PutObject", thing, {})]
        if op == "CopyObject":
            return [("s3:PutObject", thing, {}), ("s3:GetObject", f"arn:aws:s3:::{self.said['CopySource'].lstrip('/')}", {})]
        names = {"GetObject": "GetObject", "HeadObject": "GetObject", "DeleteObject": "DeleteObject", "AbortMultipartUpload": "AbortMultipartUpload"}
        if op not in names:
            return self.anything()
        return [(f"s3:{names[op]}", thing, {})]
