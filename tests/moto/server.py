"""moto with the semantics and the faults that it lacks, for muster's black-box tests.

moto never fails, and ignores ClientToken. This wrapper is in front of moto's own server application, in the same process.
So the real AWS SDK uses a real wire, and meets:

- CreateFleet with ClientToken. The same token and request get the first answer again, and nothing is launched. The same
  token with another request is refused with IdempotentParameterMismatch, as EC2 does.
- faults that a test orders: throttling, 5xx, insufficient capacity (for all, for some, or by offering), slow answers,
  and answers that are lost before or after the call took effect.
- eventual consistency: DescribeInstances does not show instances for a while after their launch.
- the reasons of spot's terminations, and of instances that end themselves.
- unfinished multipart uploads that are as old as the test says. moto's own are all from 2010.
- prices (prices.py).
- what Terraform needs (gaps.py), and IAM for callers with a role's session (roles.py).
- a judge (judge/), which compares each call and each answer with AWS's own models. The test asks for the verdict.
- SQS without moto's races between threads, which lose messages or deliver them twice. Long polls do not outlive their
  caller, because a killed controller's poll must not swallow messages. A test can end all visibility timeouts at once.

The server listens on 127.0.0.1, and prints `listening on PORT`. Control endpoints begin with `/_`; see `CONTROL` at the end.
"""

import argparse
import hashlib
import io
import json
import re
import select
import socket
import threading
import time
from fnmatch import fnmatchcase
from urllib.parse import parse_qsl, urlencode
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from moto.core import DEFAULT_ACCOUNT_ID
from moto.ec2.models import ec2_backends
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from moto.sqs.models import sqs_backends
from moto.ssm.models import ssm_backends
from werkzeug.serving import make_server
from werkzeug.wrappers import Request, Response

import gaps
import prices
import roles
import world
from judge import Judge

EC2_NS = "http://ec2.amazonaws.com/doc/2016-11-15"
INSTANCE_ID = re.compile(r"\bi-[0-9a-f]{8,17}\b")
OVERRIDE = re.compile(r"^LaunchTemplateConfigs\.(\d+)\.Overrides\.(\d+)\.(\w+)$")
# The key of the tests, and of the stand-in for the instances.
TEST_KEY = "AKIATEST"
CALLS_KEPT = 100_000
# The judge does not look into larger objects.
JUDGED_BYTES = 1 << 16
POLL_S = 0.2
MOTO_UPLOADS_BEGUN = "2010-11-10T20:48:33.000Z"

ElementTree.register_namespace("", EC2_NS)


class Call:
    """One AWS request, as seen from outside: service, operation, caller and body."""

    def __init__(self, environ):
        self.environ = environ
        credential = re.search(
            r"Credential=([^/,]+)/[^/]+/([^/]+)/([^/,]+)/", environ.get("HTTP_AUTHORIZATION", "")
        )
        self.caller, self.region, self.service = credential.groups() if credential else ("", "", "")
        target = environ.get("HTTP_X_AMZ_TARGET", "")
        self.json = bool(target)
        self.body, self.form, self.refused = b"", {}, False
        self.op = target.rpartition(".")[2]
        self.protocol = "json" if target else "rest"
        if self.service == "s3":
            self.op = f"{environ['REQUEST_METHOD']} object"
            if 0 < int(environ.get("CONTENT_LENGTH") or 0) <= JUDGED_BYTES:
                self.set_body(Request(environ).get_data())
            return
        self.set_body(Request(environ).get_data())
        if "HTTP_SMITHY_PROTOCOL" in environ:
            self.op, self.protocol = environ["PATH_INFO"].rpartition("/")[2], "cbor"
        elif not self.json:
            form = environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded")
            self.form = dict(parse_qsl(self.body.decode(), keep_blank_values=True)) if form else {}
            self.op = self.form.get("Action", environ["REQUEST_METHOD"] + " " + environ["PATH_INFO"])
            self.protocol = "query" if "Action" in self.form else "rest"

    def set_body(self, body):
        self.body = body
        self.environ["wsgi.input"] = io.BytesIO(body)
        self.environ["CONTENT_LENGTH"] = str(len(body))

    def set_form(self, form):
        self.form = form
        self.set_body(urlencode(form).encode())

    def for_judge(self, fault):
        """What the judge hears of the request. It is read before moto is asked, because a fault may change the call."""
        path, _, query = self.environ.get("RAW_URI", self.environ["PATH_INFO"]).partition("?")
        headers = {key[5:].replace("_", "-").lower(): value for key, value in self.environ.items() if key.startswith("HTTP_")}
        subnets = ec2_backends[DEFAULT_ACCOUNT_ID][self.region].subnets if self.op == "CreateFleet" else {}
        return {
            "service": self.service, "op": self.op, "caller": self.caller, "protocol": self.protocol, "form": self.form,
            "method": self.environ["REQUEST_METHOD"], "path": path, "query": query, "headers": headers, "body": self.body,
            "region": self.region, "world": world.of(self),
            "zones": {subnet: zone for zone, kept in subnets.items() for subnet in kept},
            "ordered": bool(fault) and fault.get("kind") not in ("capacity", "slow"),
        }

    def market(self):
        """The market of a CreateFleet: spot or on-demand."""
        return self.form.get("TargetCapacitySpecification.DefaultTargetCapacityType", "on-demand")

    def matches(self, fault):
        names = (self.op, f"{self.service}:{self.op}")
        return (
            any(fnmatchcase(name, fault["op"]) for name in names)
            and (not fault.get("match") or fault["match"] in self.body.decode(errors="replace"))
            and (not fault.get("caller") or fault["caller"] == self.caller)
            and (not fault.get("market") or fault["market"] == self.market())
        )


def error(call, status, code, message):
    """An error answer in the protocol of the call: EC2's XML or AWS JSON."""
    if call.json:
        body = json.dumps({"__type": f"com.amazonaws.{call.service}#{code}", "message": message})
        return Response(body, status, {"x-amzn-errortype": code}, content_type="application/x-amz-json-1.0")
    body = (
        f"<?xml version='1.0' encoding='UTF-8'?><Response><Errors><Error><Code>{escape(code)}</Code><Message>{escape(message)}"
        "</Message></Error></Errors><RequestID>00000000-0000-0000-0000-000000000000</RequestID></Response>"
    )
    return Response(body, status, content_type="text/xml;charset=UTF-8")


def error_of_s3(status, code, message):
    body = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>{message}</Message></Error>'
    return Response(body, status, content_type="application/xml")


def fell_over(error):
    return Response(f"moto fell over: {type(error).__name__}: {error}", 500, content_type="text/plain")


def fault_answer(call, fault):
    """The answer that a fault gives instead of moto's."""
    kind = fault.get("kind")
    if kind == "throttled":
        if call.json:
            return error(call, 400, "ThrottlingException", "Rate exceeded")
        return error(call, 503, "RequestLimitExceeded", "Request limit exceeded.")
    if kind == "unavailable":
        code = "ServiceUnavailable" if call.json else "Unavailable"
        return error(call, 503, code, "The service is unavailable. Please try again shortly.")
    if kind == "error":
        return error(call, fault.get("status", 400), fault["code"], fault.get("message", fault["code"]))
    return Response(fault.get("body", ""), fault.get("status", 500), content_type=fault.get("content_type", "text/plain"))


def offerings(form):
    """The overrides of a CreateFleet: {(config, override): {"InstanceType": .., "SubnetId": ..}}."""
    found = {}
    for key, value in form.items():
        if at := OVERRIDE.match(key):
            found.setdefault((int(at[1]), int(at[2])), {})[at[3]] = value
    return found


def capacity_error(call, offering, code):
    template = call.form.get("LaunchTemplateConfigs.1.LaunchTemplateSpecification.LaunchTemplateName", "")
    return (
        f"<item><launchTemplateAndOverrides><launchTemplateSpecification><launchTemplateName>{escape(template)}"
        "</launchTemplateName></launchTemplateSpecification><overrides>"
        f"<instanceType>{escape(offering.get('InstanceType', ''))}</instanceType>"
        f"<subnetId>{escape(offering.get('SubnetId', ''))}</subnetId></overrides></launchTemplateAndOverrides>"
        f"<lifecycle>{call.market()}</lifecycle><errorCode>{code}</errorCode>"
        f"<errorMessage>We currently do not have sufficient capacity in the Availability Zone you requested.</errorMessage></item>"
    )


def hung_up(call, answer):
    """Whether the caller broke off in the middle of a body that was not read before. Then nobody hears the answer, which is a page of werkzeug's HTML."""
    unread = not call.body and int(call.environ.get("CONTENT_LENGTH") or 0) > JUDGED_BYTES
    return unread and answer is not None and answer.status_code == 400 and answer.mimetype == "text/html"


def for_judge(answer):
    """What the judge hears of an answer. The status is None if the answer was lost."""
    if answer is None:
        return {"status": None, "answer_headers": {}, "answer": b""}
    headers = {key.lower(): value for key, value in answer.headers.items()}
    body = answer.get_data()
    kept = body if "xml" in headers.get("content-type", "") or len(body) <= JUDGED_BYTES else b""
    return {"status": answer.status_code, "answer_headers": headers, "answer": kept}


def shut_down(call):
    """The stand-in for the instances ends one by TerminateInstances. A real instance shuts itself down, and EC2 says so."""
    backend = ec2_backends[DEFAULT_ACCOUNT_ID][call.region]
    for field, value in call.form.items():
        if field.startswith("InstanceId."):
            reason = backend.get_instance(value).state_reason
            reason.code = "Client.InstanceInitiatedShutdown"
            reason.message = "Client.InstanceInitiatedShutdown: Instance initiated shutdown"


class Server:
    """The WSGI application. All its state is behind one lock. moto itself is called without this lock."""

    def __init__(self, judge):
        self.judge = judge
        self.moto = DomainDispatcherApplication(create_backend_app)
        self.lock = threading.Lock()
        self.fleets_lock = threading.Lock()
        self.queues = threading.Condition()
        self.parameters = threading.Lock()
        self.objects = {}  # a lock for each object's path
        self.reset()

    def reset(self):
        self.faults, self.calls, self.fleets, self.launched_at, self.lag_s = [], [], {}, {}, 0.0
        self.uploads_age_s = 0

    # ------------------------------------------------------------------------------------------------ AWS

    def __call__(self, environ, start_response):
        if environ["PATH_INFO"].startswith("/_"):
            return self.control(Request(environ))(environ, start_response)
        call = Call(environ)
        record = {"op": call.op, "service": call.service, "caller": call.caller, "at_ms": time.time() * 1e3, "status": None}
        if call.op == "CreateFleet":
            record["count"] = int(call.form.get("TargetCapacitySpecification.TotalTargetCapacity", 0))
            record["token"] = call.form.get("ClientToken")
            record["market"] = call.market()
        with self.lock:
            if len(self.calls) < CALLS_KEPT:
                self.calls.append(record)
            fault = next((f for f in self.faults if f["times"] != 0 and call.matches(f)), None)
            if fault and fault["times"] > 0:
                fault["times"] -= 1
        judged = call.for_judge(fault)
        answer = self.answer(call, fault)
        record["status"] = answer.status_code if answer else 0
        heard = None if hung_up(call, answer) else answer
        self.judge.hear({**judged, **for_judge(heard), "refused": call.refused})
        if answer is None:
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            raise ConnectionResetError("the answer was ordered to be lost")
        return answer(environ, start_response)

    def answer(self, call, fault):
        """The answer, or None to drop the connection."""
        fault = fault or {}
        delay_s = fault.get("delay_ms", 0) / 1e3
        if not fault.get("after_effect"):
            time.sleep(delay_s)
            if fault.get("kind") == "lost":
                return None
            if fault.get("kind") not in (None, "capacity", "slow"):
                return fault_answer(call, fault)
        answer = self.perform(call, fault if fault.get("kind") == "capacity" else None)
        if not fault.get("after_effect"):
            return answer
        time.sleep(delay_s)
        if fault.get("kind") == "lost":
            return None
        return answer if fault.get("kind") in ("slow", "capacity") else fault_answer(call, fault)

    def perform(self, call, capacity):
        if why := roles.refused(call):
            call.refused = True
            return error(call, 403, "UnauthorizedOperation" if call.service == "ec2" else "AccessDeniedException", why)
        if call.op == "CreateFleet":
            return self.create_fleet(call, capacity)
        if call.service == "sqs":
            return self.sqs(call)
        if call.service == "ssm":
            with self.parameters:  # moto fails when it reads its parameters while another thread changes them
                return self.ask_moto(call)
        if call.service == "s3" and "uploadId=" not in call.environ.get("QUERY_STRING", ""):
            with self.lock:
                one_object = self.objects.setdefault(call.environ["PATH_INFO"], threading.Lock())
            with one_object:  # moto fails when another thread writes an object anew, because it closes the object's file
                return self.s3(call)
        if call.service == "pricing":
            return prices.products(call)
        if call.op == "DescribeSpotPriceHistory":
            return prices.spot(call)
        answer = self.ask_moto(call)
        if call.op == "RunInstances":
            self.note_launches(answer)
        if call.op == "TerminateInstances" and call.caller == TEST_KEY:
            shut_down(call)
        if call.op == "DescribeInstances" and self.lag_s:
            return self.without_recent(answer)
        return answer

    def s3(self, call):
        answer = self.ask_moto(call)
        if b"<ListMultipartUploadsResult" in answer.get_data()[:500]:
            begun = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(time.time() - self.uploads_age_s))
            answer.set_data(answer.get_data(as_text=True).replace(MOTO_UPLOADS_BEGUN, begun))
        return answer

    def ask_moto(self, call):
        try:
            return Response.from_app(self.moto, call.environ, buffered=True)
        except KeyError as error:
            # This part came after its upload was aborted. moto fails then, and S3 answers like this.
            if call.service == "s3" and "uploadId=" in call.environ.get("QUERY_STRING", ""):
                return error_of_s3(404, "NoSuchUpload", "The specified upload does not exist.")
            return fell_over(error)
        except Exception as error:  # mostly, moto lacks something; the judge sees that this is no answer of AWS
            return fell_over(error)

    def sqs(self, call):
        """Makes one SQS call at a time. A long poll waits outside of moto, and ends with its caller."""
        said = json.loads(call.body or b"{}")
        end = time.monotonic() + (said.pop("WaitTimeSeconds", 0) if call.op == "ReceiveMessage" else 0)
        caller = call.environ["werkzeug.socket"]
        with self.queues:
            while True:
                if call.op == "ReceiveMessage":
                    if select.select([caller], [], [], 0)[0] and not caller.recv(1, socket.MSG_PEEK):
                        return None
                    call.set_body(json.dumps({**said, "WaitTimeSeconds": 0}).encode())
                answer = self.ask_moto(call)
                left_s = end - time.monotonic()
                if left_s <= 0 or answer.status_code != 200 or json.loads(answer.get_data()).get("Messages"):
                    self.queues.notify_all()
                    return answer
                self.queues.wait(min(left_s, POLL_S))

    def note_launches(self, answer):
        now = time.monotonic()
        with self.lock:
            self.launched_at.update({instance: now for instance in INSTANCE_ID.findall(answer.get_data(as_text=True))})

    def create_fleet(self, call, capacity):
        token = call.form.get("ClientToken")
        said = hashlib.sha256(urlencode(sorted(call.form.items())).encode()).hexdigest()
        with self.fleets_lock:  # one at a time, so that a retry waits for the call that it repeats
            if token in self.fleets:
                before, answer = self.fleets[token]
                if before != said:
                    return error(
                        call, 400, "IdempotentParameterMismatch",
                        "The parameters of this request are not those of the first request with this ClientToken.",
                    )
                return answer
            answer = self.limited_fleet(call, capacity) if capacity else self.ask_moto(call)
            self.note_launches(answer)
            if token and answer.status_code == 200:
                self.fleets[token] = (said, answer)
            return answer

    def limited_fleet(self, call, capacity):
        """A fleet of which only a part is launched: at most `only` instances, and none of the offerings in `unavailable`."""
        code = capacity.get("code", "InsufficientInstanceCapacity")
        out = capacity.get("unavailable")
        every = offerings(call.form)
        wanted = int(call.form["TargetCapacitySpecification.TotalTargetCapacity"])

        def is_out(offering):
            return any(
                o.get("type", offering.get("InstanceType")) == offering.get("InstanceType")
                and o.get("subnet", offering.get("SubnetId")) == offering.get("SubnetId")
                for o in out
            )

        refused = {at: o for at, o in every.items() if out is None or is_out(o)}
        default = wanted if out is not None else 0
        count = min(wanted, capacity.get("only", default))
        if out is not None and len(refused) == len(every):
            count = 0
        errors = "".join(capacity_error(call, offering, code) for offering in refused.values())
        if count == 0:
            return Response(
                f'<?xml version="1.0" encoding="UTF-8"?><CreateFleetResponse xmlns="{EC2_NS}">'
                "<requestId>00000000-0000-0000-0000-000000000000</requestId>"
                "<fleetId>fleet-00000000-0000-0000-0000-000000000000</fleetId><fleetInstanceSet/>"
                f"<errorSet>{errors}</errorSet></CreateFleetResponse>",
                content_type="text/xml;charset=UTF-8",
            )
        form = {k: v for k, v in call.form.items() if not OVERRIDE.match(k)}
        left = every if out is None else {at: o for at, o in every.items() if at not in refused}
        for number, offering in enumerate(left.values(), 1):
            form.update({f"LaunchTemplateConfigs.1.Overrides.{number}.{k}": v for k, v in offering.items()})
        form["TargetCapacitySpecification.TotalTargetCapacity"] = str(count)
        call.set_form(form)
        answer = self.ask_moto(call)
        text = re.sub(r"<errorSet\s*/>|<errorSet>.*?</errorSet>", "", answer.get_data(as_text=True), flags=re.S)
        if errors:
            text = text.replace("</CreateFleetResponse>", f"<errorSet>{errors}</errorSet></CreateFleetResponse>")
        answer.set_data(text)
        return answer

    def without_recent(self, answer):
        since = time.monotonic() - self.lag_s
        with self.lock:
            recent = {instance for instance, at in self.launched_at.items() if at > since}
        if not recent or answer.status_code != 200:
            return answer
        tree = ElementTree.fromstring(answer.get_data())
        for reservations in tree.iter(f"{{{EC2_NS}}}reservationSet"):
            for reservation in list(reservations):
                instances = reservation.find(f"{{{EC2_NS}}}instancesSet")
                for item in list(instances):
                    if item.findtext(f"{{{EC2_NS}}}instanceId") in recent:
                        instances.remove(item)
                if not len(instances):
                    reservations.remove(reservation)
        answer.set_data(ElementTree.tostring(tree, encoding="unicode"))
        return answer

    # -------------------------------------------------------------------------------------------- control

    def control(self, request):
        handler = CONTROL.get((request.method, request.path))
        if handler is None:
            return Response(f"no control endpoint {request.method} {request.path}\n", 404)
        said = json.loads(request.get_data() or b"{}")
        return Response(json.dumps(handler(self, said)), content_type="application/json")

    def add_fault(self, said):
        with self.lock:
            self.faults.append({"times": 1, **said})
        return {}

    def clear_faults(self, _):
        with self.lock:
            self.faults = []
        return {}

    def set_lag(self, said):
        self.lag_s = said["ms"] / 1e3
        return {}

    def set_uploads_age(self, said):
        self.uploads_age_s = said["s"]
        return {}

    def list_calls(self, _):
        with self.lock:
            return {"calls": list(self.calls)}

    def reset_calls(self, _):
        with self.lock:
            self.calls = []
        return {}

    def state(self, said):
        """Instances, SSM parameters and queues from moto's memory. This is cheap, and counts as no AWS call."""
        region = said["region"]
        instances = [
            {
                "id": instance.id,
                "state": instance._state.name,
                "instance_type": instance.instance_type,
                "subnet": instance.subnet_id,
                "market": "spot" if instance.lifecycle == "spot" else "on-demand",
                "tags": {tag["key"]: tag["value"] for tag in instance.get_tags()},
            }
            for reservation in list(ec2_backends[DEFAULT_ACCOUNT_ID][region].reservations.values())
            for instance in list(reservation.instances)
        ]
        parameters = ssm_backends[DEFAULT_ACCOUNT_ID][region]._parameters
        names = ["/" + name.lstrip("/") for name, versions in list(parameters.items()) if versions]
        queues = {
            name: {"messages": len(queue._messages), "in_flight": sum(not m.visible for m in queue._messages)}
            for name, queue in list(sqs_backends[DEFAULT_ACCOUNT_ID][region].queues.items())
        }
        return {"instances": instances, "parameters": names, "queues": queues}

    def end_visibility(self, said):
        """Ends all visibility timeouts now, so that the messages of a killed controller come back."""
        with self.queues:
            for queue in sqs_backends[DEFAULT_ACCOUNT_ID][said["region"]].queues.values():
                for message in queue._messages:
                    message.visible_at = 0
            self.queues.notify_all()
        return {}

    def interrupt(self, said):
        """Takes a spot instance back: it is terminated, with spot's own reason. The test sends the warning itself."""
        backend = ec2_backends[DEFAULT_ACCOUNT_ID][said["region"]]
        instance = backend.get_instance(said["instance"])
        backend.terminate_instances([instance.id])
        instance._reason = "Server.SpotInstanceTermination"
        instance.state_reason.code = "Server.SpotInstanceTermination"
        instance.state_reason.message = "Server.SpotInstanceTermination: Spot instance termination"
        return {}


CONTROL = {
    # op: a name or service:name, wildcards allowed. times: how often, -1 for ever, 1 if absent. delay_ms. after_effect: moto
    # carries it out first. match: text in the body. caller: access key. market: spot or on-demand (CreateFleet).
    # kind: throttled; unavailable; error {code, status, message}; lost (connection dropped); slow (delay only);
    # capacity {only: at most so many, unavailable: [{type, subnet}], code}: all offerings, if none is named;
    # absent: {status, body, content_type} as given.
    ("POST", "/_fault"): Server.add_fault,
    ("POST", "/_fault/clear"): Server.clear_faults,
    ("POST", "/_lag"): Server.set_lag,
    ("POST", "/_uploads_age"): Server.set_uploads_age,
    ("GET", "/_calls"): Server.list_calls,
    ("POST", "/_calls/reset"): Server.reset_calls,
    ("POST", "/_state"): Server.state,
    ("POST", "/_visible"): Server.end_visibility,
    ("POST", "/_interrupt"): Server.interrupt,
    # forget: the violations so far are not reported again.
    ("POST", "/_verdict"): lambda server, said: server.judge.verdict(said.get("forget", False)),
    ("GET", "/_ready"): lambda server, said: {},
}


class Handler(MotoRequestHandler):
    """Sends an answer at once instead of waiting for a full packet, and logs nothing."""

    disable_nagle_algorithm = True

    def log_request(self, *_):
        pass


def main():
    judge = Judge()  # first: it forks
    gaps.close()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-p", "--port", type=int, default=0, help="0 (the default) takes a free one")
    server = make_server("127.0.0.1", parser.parse_args().port, Server(judge), threaded=True, request_handler=Handler)
    print(f"listening on {server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
