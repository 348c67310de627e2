"""What moto lacks for Terraform and for `muster doctor`. server.py applies this before it serves.

- SQS knows no RedriveAllowPolicy. Here it is kept as an attribute, without any effect. A change of other attributes also
  removed a queue's policy.
- A bucket's policy is stored, but not applied. moto knows no conditions, so a policy that denies calls without TLS would
  deny everything.
- Service Quotas knows only the quotas of VPC. The quotas of EC2's vCPUs are added, 640 each.
- A delete marker in a versioned bucket cannot be deleted, so `terraform destroy` would try for ever.
"""

from moto.iam.access_control import PermissionResult
from moto.s3.models import FakeBucket, FakeDeleteMarker
from moto.servicequotas.models import ServiceQuotasBackend
from moto.sqs.models import Queue

VCPU_QUOTAS = {"L-34B43A08": "All Standard Spot Instance Requests", "L-1216C47A": "Running On-Demand Standard instances"}


def close():
    Queue.BASE_ATTRIBUTES = [*Queue.BASE_ATTRIBUTES, "RedriveAllowPolicy"]
    Queue.redrive_allow_policy = None
    set_attributes = Queue._set_attributes

    def keep_policy(self, said, now=None):
        said = {key: value for key, value in said.items() if key != "RedriveAllowPolicy" or value}
        set_attributes(self, {"Policy": getattr(self, "policy", None), **said}, now)

    Queue._set_attributes = keep_policy
    FakeBucket.get_permission = lambda self, action, resource: PermissionResult.NEUTRAL
    FakeDeleteMarker.dispose = lambda self, garbage=False: None
    get_service_quota = ServiceQuotasBackend.get_service_quota

    def with_vcpus(self, service_code, quota_code):
        if service_code == "ec2" and quota_code in VCPU_QUOTAS:
            return {"ServiceCode": "ec2", "QuotaCode": quota_code, "QuotaName": VCPU_QUOTAS[quota_code], "Value": 640.0}
        return get_service_quota(self, service_code, quota_code)

    ServiceQuotasBackend.get_service_quota = with_vcpus
