"""AWS's own models, as botocore ships them. Finds the operation of a request on the wire."""

import re
from functools import cache
from urllib.parse import parse_qsl, unquote

from botocore.loaders import Loader
from botocore.model import ServiceModel

# The name of a service in a signature, and its names in botocore, where the two differ. Where two services share a name, the version
# in the query tells them apart.
BY_SIGNING_NAME = {
    "apigateway": ["apigatewayv2"],
    "application-autoscaling": ["application-autoscaling"],
    "elasticloadbalancing": ["elbv2", "elb"],
    "monitoring": ["cloudwatch"],
    "servicequotas": ["service-quotas"],
}
# Static parts of an address that SDKs add for themselves.
ADDED_BY_SDKS = {"x-id"}

_loader = Loader()


@cache
def service(name):
    return ServiceModel(_loader.load_service_model(name, "service-2"), service_name=name)


@cache
def known():
    return set(_loader.list_available_services("service-2"))


class Unknown(Exception):
    """No model has this request."""


def find(call):
    """The operation of a request, and the values in its address: (OperationModel, {name: text})."""
    names = [name for name in BY_SIGNING_NAME.get(call.service, [call.service]) if name in known()]
    if not names:
        raise Unknown(f"botocore has no service that signs as `{call.service}`")
    for name in names:
        model = service(name)
        if found := _in(model, call):
            return found
    raise Unknown(f"{names[0]} has no operation `{call.op}`")


def _in(model, call):
    if call.form and call.form.get("Version") not in (None, model.api_version):
        return None
    if call.protocol in ("json", "query", "cbor"):
        return (model.operation_model(call.op), {}) if call.op in model.operation_names else None
    return _by_address(model, call)


@cache
def _addresses(model_name):
    """The method of each operation, its address as a pattern, and the fixed part of its query."""
    found = []
    for operation in map(service(model_name).operation_model, service(model_name).operation_names):
        path, _, query = operation.http["requestUri"].partition("?")
        parts = re.split(r"(\{[^}]+\})", path)
        names = [part.strip("{+}") for part in parts if part.startswith("{")]
        pattern = "".join("(.+)" if "+}" in part else "([^/]+)" if part.startswith("{") else re.escape(part) for part in parts)
        shape = operation.input_shape
        bound = [shape.members[name].serialization for name in (shape.required_members if shape else ())]
        needed = {(said["location"], said["name"].lower() if said["location"] == "header" else said["name"])
                  for said in bound if said.get("location") in ("querystring", "header")}
        fixed = parse_qsl(query, keep_blank_values=True)
        found.append((operation, operation.http["method"], re.compile(pattern), names, fixed, needed))
    return found


def _by_address(model, call):
    """The most specific operation with this address. Several of S3's operations differ only in their query and their headers."""
    best, best_rank = None, None
    # When the bucket is in the path, SDKs add a slash at the end of its address.
    path = re.sub(r"^(/[^/]+)/$", r"\1", call.path) if call.service == "s3" else call.path
    pairs = parse_qsl(call.query, keep_blank_values=True)
    there = {("querystring", name) for name, _ in pairs} | {("header", name) for name in call.headers}
    for operation, method, pattern, names, fixed, needed in _addresses(model.service_name):
        at = pattern.fullmatch(path) if method == call.method else None
        if not at or any(pair not in pairs for pair in fixed) or not needed <= there:
            continue
        rank = (len(fixed), len(needed), not operation.deprecated)
        if best_rank is None or rank > best_rank:
            best, best_rank = (operation, dict(zip(names, map(unquote, at.groups())))), rank
    return best
