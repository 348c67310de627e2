"""What moto lacks for Terraform. Applied by server.py before it serves.

- SQS knows no RedriveAllowPolicy: kept as an attribute, and nothing is done with it. A change of other attributes took a
  queue's policy away.
- A bucket's policy is stored, but not asked: moto knows no conditions, so a policy that denies what comes without TLS would
  deny everything.
- A delete marker in a versioned bucket cannot be disposed of, which makes `terraform destroy` try for ever.
"""

from moto.iam.access_control import PermissionResult
from moto.s3.models import FakeBucket, FakeDeleteMarker
from moto.sqs.models import Queue


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
