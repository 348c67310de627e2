"""What an instance meets: the metadata service, moto, and the user data that Terraform renders."""

import base64
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import boto3
from botocore.config import Config

ROOT = Path(__file__).resolve().parents[2]
REGION = "eu-west-1"
ACCOUNT = "123456789012"
BUCKET = "muster-c1"
ADDRESS = "169.254.169.15"
MAC = "02:00:00:00:00:01"
# This looks like a JIT configuration.
SECRET = base64.b64encode(b'{".runner":"e30=",".credentials":"e30="}').decode()


class Metadata:
    """IMDSv2 and nothing older, as cloud-init's Ec2 datasource and the boot script use it. `paths` has everything below /latest/.

    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-categories.html
    """

    def __init__(self, instance, user_data):
        self.tokens, self.asked = set(), []
        document = {"instanceId": instance, "region": REGION, "availabilityZone": REGION + "a", "version": "2017-09-30",
                    "accountId": ACCOUNT, "architecture": "x86_64", "imageId": "ami-12c6146b", "instanceType": "c7a.large",
                    "privateIp": ADDRESS, "pendingTime": "2026-01-01T00:00:00Z"}
        keys = {"Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": "AKIAINSTANCE", "SecretAccessKey": "secret",
                "Token": "FwoGZXIvYXdzEDUMMYSESSION//+==", "Expiration": "2099-01-01T00:00:00Z"}
        name = f"ip-{ADDRESS.replace('.', '-')}.{REGION}.compute.internal"
        nic = f"meta-data/network/interfaces/macs/{MAC}/"
        self.paths = {
            "user-data": user_data,
            "dynamic/instance-identity/document": json.dumps(document, indent=2),
            "meta-data/ami-id": "ami-12c6146b", "meta-data/ami-launch-index": "0", "meta-data/hostname": name,
            "meta-data/local-hostname": name, "meta-data/local-ipv4": ADDRESS, "meta-data/mac": MAC,
            "meta-data/instance-action": "none", "meta-data/instance-id": instance, "meta-data/instance-life-cycle": "spot",
            "meta-data/instance-type": "c7a.large", "meta-data/reservation-id": "r-1", "meta-data/security-groups": "default",
            "meta-data/services/domain": "amazonaws.com", "meta-data/services/partition": "aws", "meta-data/profile": "default-hvm",
            "meta-data/placement/availability-zone": REGION + "a", "meta-data/placement/region": REGION,
            "meta-data/iam/security-credentials/instance": json.dumps(keys, indent=2),
            nic + "device-number": "0", nic + "interface-id": "eni-1", nic + "local-ipv4s": ADDRESS, nic + "mac": MAC,
            nic + "owner-id": ACCOUNT, nic + "subnet-id": "subnet-1", nic + "vpc-id": "vpc-1",
            nic + "subnet-ipv4-cidr-block": "169.254.169.0/24", nic + "vpc-ipv4-cidr-block": "169.254.169.0/24",
            nic + "vpc-ipv4-cidr-blocks": "169.254.169.0/24",
        }
        self.tag("muster:cluster", "c1")
        self.tag("muster:pool", "linux")
        double = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def answer(self):
                status, body = double.respond(self.command, self.path, self.headers)
                raw = body if isinstance(body, bytes) else body.encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            do_GET = do_PUT = answer

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def tag(self, name, value):
        self.paths["meta-data/tags/instance/" + name] = value

    def spot_notice(self, time):
        self.paths["meta-data/spot/instance-action"] = json.dumps({"action": "terminate", "time": time})

    def respond(self, method, path, headers):
        self.asked.append(path)
        if method == "PUT" and path == "/latest/api/token":
            ttl = headers.get("X-aws-ec2-metadata-token-ttl-seconds", "")
            if not (ttl.isdigit() and 1 <= int(ttl) <= 21600):
                return 400, ""
            token = f"AQAEA-token-{len(self.tokens)}=="
            self.tokens.add(token)
            return 200, token
        if headers.get("X-aws-ec2-metadata-token") not in self.tokens:
            return 401, ""
        version, _, path = path.lstrip("/").partition("/")
        if version != "latest" and not re.fullmatch(r"20\d\d-\d\d-\d\d", version):
            return 404, ""
        if path in self.paths:
            return 200, self.paths[path]
        head = path.rstrip("/") + "/" if path else ""
        below = {p[len(head):].partition("/")[0] + ("/" if "/" in p[len(head):] else "") for p in self.paths if p.startswith(head)}
        return (200, "\n".join(sorted(below))) if below else (404, "")

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def runner_archive(shell):
    """The runner's stand-in, as tests/wire/support/linux.rs packs it. `shell` is a shell that runs in the machine."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1) as tar:
        def add(name, data):
            info = tarfile.TarInfo("./" + name)
            info.size, info.mode = len(data), 0o755
            tar.addfile(info, io.BytesIO(data))

        for name in ("run.sh", "config.sh", "listener.sh", "worker.sh"):
            add(name, (ROOT / "tests/stand-in" / name).read_bytes())
        for name in ("Runner.Listener", "Runner.Worker"):
            add("bin/" + name, shell.read_bytes())
    return packed.getvalue()


class Aws:
    """moto, with the runner in its bucket."""

    def __init__(self, archive):
        self.process = subprocess.Popen([sys.executable, str(ROOT / "tests/moto/server.py")], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline().removeprefix("listening on "))
        with_keys = {"region_name": REGION, "endpoint_url": f"http://127.0.0.1:{self.port}", "aws_access_key_id": "AKIATEST",
                     "aws_secret_access_key": "secret"}
        self.ssm = boto3.client("ssm", **with_keys)
        s3 = boto3.client("s3", config=Config(s3={"addressing_style": "path"}), **with_keys)
        s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
        s3.put_object(Bucket=BUCKET, Key="runners/linux-x64/latest.tar.gz", Body=archive,
                      Metadata={"sha256": hashlib.sha256(archive).hexdigest(), "version": "2.330.0"})

    def put_secret(self, instance):
        self.ssm.put_parameter(Name=f"/muster/c1/runners/{instance}", Value=SECRET, Type="SecureString", Overwrite=True)

    def secrets(self):
        return [p["Name"] for p in self.ssm.describe_parameters()["Parameters"]]

    def close(self):
        self.process.terminate()
        self.process.wait(10)


# The root module that asks the project's own modules `manifests` and `pool` for a pool's user data. Of `pool`, only the file that
# renders is taken, because the rest needs AWS.
ASK = """
module "manifests" {
  source    = "./modules/manifests"
  directory = "${path.module}/pools"
  cluster   = "c1"
  pools     = {}
  apps      = {}
}
module "rendered" {
  source = "./modules/rendered"
  pool   = module.manifests.pools["linux"]
  bucket = "BUCKET"
}
output "user_data" {
  value = module.rendered.user_data
}
"""
APP = """apiVersion: muster/v1
kind: GitHubApp
metadata: {name: main}
spec: {appId: 1, privateKey: "ssm:/muster/c1/key", webhookSecrets: ["ssm:/muster/c1/webhook"]}
"""


def user_data(pools):
    """The user data of each pool, by name, rendered by Terraform. `pools` is {name: {bootstrap: .., runner: ..}}."""
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        shutil.copytree(ROOT / "terraform/modules/manifests", root / "modules/manifests")
        shutil.copytree(ROOT / "terraform/bootstrap", root / "bootstrap")
        rendered = root / "modules/rendered"
        rendered.mkdir()
        shutil.copy(ROOT / "terraform/modules/pool/user_data.tf", rendered)
        (rendered / "given.tf").write_text(
            'locals { windows = false }\nvariable "pool" { type = any }\nvariable "bucket" { type = string }\noutput "user_data" { value = local.user_data }\n')
        (root / "main.tf").write_text(ASK.replace("BUCKET", BUCKET))
        (root / "pools").mkdir()

        def terraform(*words):
            done = subprocess.run(["terraform", f"-chdir={root}", *words], capture_output=True, text=True, stdin=subprocess.DEVNULL,
                                  env={**os.environ, "CHECKPOINT_DISABLE": "1"})
            if done.returncode:
                raise RuntimeError(f"terraform {words[0]}: {done.stderr}{done.stdout}")
            return done.stdout

        made = {}
        for name, spec in pools.items():
            document = {"apiVersion": "muster/v1", "kind": "RunnerPool", "metadata": {"name": "linux"}, "spec": {
                "github": {"app": "main", "scope": "org/acme"}, "labels": ["self-hosted", "linux"],
                "instance": {"types": ["c7a.large"], "subnets": ["subnet-1"]}, **spec}}
            (root / "pools/all.yaml").write_text(APP + "---\n" + json.dumps(document) + "\n")
            if not made:
                terraform("init", "-input=false")
            terraform("apply", "-auto-approve", "-input=false")
            made[name] = base64.b64decode(json.loads(terraform("output", "-json"))["user_data"]["value"])
        return made
