"""Compares every call that reaches moto, and every answer, with AWS's own models (botocore's) and documented rules.

moto takes what AWS would refuse, and answers what AWS would not. So a test could pass, and the first real call fail. A process of
its own judges, so that the server stays fast. The server sends it each call, and asks for the verdict at the end. The judge also
notes what each call needs of IAM (needs.py), which tests/iam/ evaluates by the policies.
"""

import json
import multiprocessing
import os
import queue
import re
import threading
from types import SimpleNamespace
from xml.etree import ElementTree

from . import needs

PAGE = "https://docs.aws.amazon.com/goto/WebAPI/{}/{}"
# The errors with which AWS may refuse any operation.
# https://docs.aws.amazon.com/IAM/latest/APIReference/CommonErrors.html
COMMON_ERRORS = {
    "AccessDenied", "AccessDeniedException", "ExpiredTokenException", "IncompleteSignature", "InternalFailure", "InternalServerError",
    "NotAuthorized", "OptInRequired", "RequestExpired", "ServiceUnavailable", "ThrottlingException", "UnauthorizedOperation",
    "UnrecognizedClientException", "ValidationError", "ValidationException",
}
# The model of S3 lists only few of the errors that S3 has.
# https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
S3_ERRORS = {
    "AccessDenied", "BadDigest", "BucketAlreadyExists", "BucketAlreadyOwnedByYou", "BucketNotEmpty", "ConditionalRequestConflict",
    "EntityTooLarge", "EntityTooSmall", "InternalError", "InvalidArgument", "InvalidPart", "InvalidPartOrder", "InvalidRange",
    "InvalidRequest", "MalformedXML", "MethodNotAllowed", "NoSuchBucket", "NoSuchBucketPolicy", "NoSuchCORSConfiguration", "NoSuchKey",
    "NoSuchLifecycleConfiguration", "NoSuchPublicAccessBlockConfiguration", "NoSuchTagSet", "NoSuchUpload", "NoSuchWebsiteConfiguration", "ObjectLockConfigurationNotFoundError",
    "OwnershipControlsNotFoundError", "PreconditionFailed", "ReplicationConfigurationNotFoundError",
    "ServerSideEncryptionConfigurationNotFoundError", "SignatureDoesNotMatch", "SlowDown",
}
# Tests set the stage with this key. Terraform uses it, too.
UNJUDGED = {"", "AKIATEST"}
VERDICT_S = 120
CLEAN_KEPT = 100_000
REQUEST_ID = re.compile(rb"<requestId>[^<]*</requestId>", re.I)


class Verdict:
    """What the judge has seen so far."""

    def __init__(self):
        self.calls, self.members, self.violations = 0, 0, {}
        self.clean = {}  # messages that were judged and are right, with their number of members
        self.by, self.needs = {}, {}  # the number of calls of each caller, and what they need, without repetitions

    def hear(self, said):
        call = SimpleNamespace(**said)
        try:
            self.judge(call)
        except Exception as error:  # a judge that failed has not judged, and that must be seen
            self.blame(call, "request", "", f"could not be judged: {type(error).__name__}: {error}", "tests/moto/judge")
        self.calls += 1

    def judge(self, call):
        from . import models, rules, shapes, wire  # here, so that the server itself need not load them

        try:
            operation, in_path = models.find(call)
        except models.Unknown as unknown:
            return self.blame(call, "request", "", f"is unknown: {unknown}", "botocore")
        call.op = operation.name
        page = PAGE.format(operation.service_model.metadata.get("uid", call.service), operation.name)

        def tell(side):
            return lambda path, rule: self.blame(call, side, path, rule, page)

        def asked():
            values = wire.request(operation, call, in_path, tell("request"))
            if operation.input_shape and values is not wire.BAD:
                self.check(shapes, operation.input_shape, values, tell("request"))
                for path, rule, source in rules.of(call, operation, values):
                    self.blame(call, "request", path, rule, source)
            # The test that sees a refusal of roles.py knows about it.
            if values is not wire.BAD and call.caller not in UNJUDGED and not call.refused:
                self.note_needs(call, values)

        def answered():
            values = wire.answer(operation, call, call.answer_headers, call.answer, tell("answer"))
            if operation.output_shape and values is not wire.BAD:
                self.check(shapes, operation.output_shape, values, tell("answer"))

        self.by[call.caller] = self.by.get(call.caller, 0) + 1
        self.once(call, (page, call.caller, call.body, str(call.zones), str(call.world), call.refused), asked)
        if call.status is None or call.ordered:
            return None
        if call.status >= 300:
            return self.refusal(call, operation, page)
        return self.once(call, (page, REQUEST_ID.sub(b"", call.answer)), answered)

    def once(self, call, what, judge):
        """Polls repeat the same message. A message that was found right is counted, and not judged anew."""
        if call.protocol == "rest":  # half of the message is in its headers
            return judge()
        key = hash(what)
        if key in self.clean:
            self.members += self.clean[key]
            return None
        members, violations = self.members, sum(self.violations.values())
        judge()
        if sum(self.violations.values()) == violations and len(self.clean) < CLEAN_KEPT:
            self.clean[key] = self.members - members
        return None

    def check(self, shapes, shape, values, tell):
        checker = shapes.Checker(tell)
        checker.check(shape, values)
        self.members += checker.members

    def note_needs(self, call, values):
        try:
            found = needs.Needs(call, values).all()
        except needs.Unknown as unknown:
            return self.blame(call, "request", "", str(unknown), "tests/moto/judge/needs.py")
        who = {"caller": call.caller, "policies": call.world.get("policies")}
        for action, resource, context in found:
            need = {**who, "call": f"{call.service}.{call.op}", "action": action, "resource": resource, "context": context}
            self.needs[json.dumps(need, sort_keys=True)] = need
        return None

    def refusal(self, call, operation, page):
        """An error must have an error's form, and be one of the operation's errors, where the model lists them."""
        try:
            code = refused_with(call)
        except (ValueError, ElementTree.ParseError):
            code = None
        if code is None:
            if call.method != "HEAD" and call.answer:
                text = call.answer[:120].decode(errors="replace")
                self.blame(call, "answer", "", f"is {call.status} and no error of AWS: {text!r}", page)
            return
        listed = {name for shape in operation.error_shapes for name in (shape.name, shape.error_code)}
        if call.service == "s3":
            listed = S3_ERRORS
        if listed and code not in listed | COMMON_ERRORS:
            self.blame(call, "answer", ".Error.Code", f"is {code!r}, which {operation.name} does not know", page)

    def blame(self, call, side, path, rule, page):
        from . import allowed

        if allowed.reason(call, side, path, rule):
            return
        text = f"{call.service}.{call.op} by {call.caller or 'nobody'}: the {side}{'' if not path else ' ' + path.lstrip('.')} {rule}; see {page}"
        self.violations[text] = self.violations.get(text, 0) + 1

    def said(self):
        told = [text if count == 1 else f"{text} ({count} times)" for text, count in self.violations.items()]
        return {"calls": self.calls, "members": self.members, "violations": told, "by": self.by, "needs": list(self.needs.values())}


def refused_with(call):
    if call.protocol == "json" or call.answer_headers.get("content-type", "").startswith("application/json"):
        said = json.loads(call.answer)
        code = call.answer_headers.get("x-amzn-errortype") or said.get("__type") or said.get("code")
        return code.rpartition("#")[2].partition(":")[0] if code else None
    root = ElementTree.fromstring(call.answer)
    return next((part.text for part in root.iter() if part.tag.rpartition("}")[2] == "Code"), None)


def serve(pipe):
    """The judging process. It judges what it hears until the server ends."""
    os.nice(5)
    verdict = Verdict()
    while True:
        try:
            said = pipe.recv()
        except EOFError:
            return
        if said == "verdict":
            pipe.send(verdict.said())
        elif said == "forget":
            verdict.violations = {}
            verdict.needs = {}
            verdict.clean = {}
        else:
            verdict.hear(said)


class Judge:
    """The server's side of the judge. A thread of its own writes, so that no answer waits for the judge."""

    def __init__(self):
        context = multiprocessing.get_context("fork")
        self.pipe, theirs = context.Pipe()

        def run():
            self.pipe.close()  # otherwise the judge would not notice the end of the server
            serve(theirs)

        context.Process(target=run, daemon=True).start()
        theirs.close()
        self.waiting, self.answers = queue.SimpleQueue(), threading.Lock()
        threading.Thread(target=self.write, daemon=True).start()

    def write(self):
        while True:
            self.pipe.send(self.waiting.get())

    def hear(self, call):
        self.waiting.put(call)

    def verdict(self, forget=False):
        """All calls, members and violations so far. With `forget`, the violations are forgotten afterwards."""
        with self.answers:
            self.waiting.put("verdict")
            if not self.pipe.poll(VERDICT_S):
                return {"calls": 0, "members": 0, "violations": [f"the judge gave no verdict within {VERDICT_S} s"]}
            said = self.pipe.recv()
            if forget:
                self.waiting.put("forget")
            return said
