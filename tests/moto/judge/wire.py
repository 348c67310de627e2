"""Decodes what crosses the wire into values of a model's shape. A member that the shape does not have, or that has another type, is reported."""

import base64
import binascii
import json
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from urllib.parse import parse_qsl
from xml.etree import ElementTree

from botocore.parsers import RpcV2CBORParser

from .models import ADDED_BY_SDKS

BAD = object()
NUMBERS = {"integer": int, "long": int, "float": float, "double": float}


class Reader:
    """Decodes one request or answer. `tell(path, rule)` hears of what differs from the model."""

    def __init__(self, tell):
        self.tell = tell

    # ---------------------------------------------------------------------------------------------------- scalars

    def text(self, shape, said, path):
        """A scalar that is written as text in a form, in XML or in a header."""
        kind = shape.type_name
        try:
            if kind in NUMBERS:
                return NUMBERS[kind](said)
            if kind == "boolean":
                return {"true": True, "false": False, "True": True, "False": False}[said]
            if kind == "blob":
                return base64.b64decode(said, validate=True)
            if kind == "timestamp":
                return moment(said)
        except (ValueError, KeyError, binascii.Error):
            self.tell(path, f"is {said!r}, which is no {kind}")
            return BAD
        return said

    # ------------------------------------------------------------------------------------------------------- JSON

    def json(self, shape, said, path):
        kind = shape.type_name
        if said is None:
            return BAD  # as if it were not there
        if kind == "structure":
            if shape.is_document_type:
                return said
            if not isinstance(said, dict):
                return self.not_a(shape, said, path)
            names = {member.serialization.get("name", name): (name, member) for name, member in shape.members.items()}
            return self.members(names, said, path, self.json, ignored={"__type"})
        if kind == "list":
            if not isinstance(said, list):
                return self.not_a(shape, said, path)
            return [self.json(shape.member, item, f"{path}[{n}]") for n, item in enumerate(said)]
        if kind == "map":
            if not isinstance(said, dict):
                return self.not_a(shape, said, path)
            return {key: self.json(shape.value, value, f"{path}[{key!r}]") for key, value in said.items()}
        wanted = {"string": str, "character": str, "blob": str, "boolean": bool}.get(kind, (int, float, str))
        wrong = not isinstance(said, wanted) or isinstance(said, bool) and kind != "boolean"
        if wrong or kind in NUMBERS and (isinstance(said, str) or NUMBERS[kind] is int and said != int(said)):
            return self.not_a(shape, said, path)
        if kind in NUMBERS:
            return NUMBERS[kind](said)
        return self.text(shape, said, path) if kind in ("blob", "timestamp") else said

    def not_a(self, shape, said, path):
        self.tell(path, f"is {str(said)[:60]!r}, which is no {shape.type_name}")
        return BAD

    def members(self, names, said, path, read, ignored=()):
        values = {}
        for key, value in said.items():
            if key in ignored:
                continue
            if key not in names:
                self.tell(f"{path}.{key}", "is no member that the model knows")
                continue
            name, member = names[key]
            value = read(member, value, f"{path}.{name}")
            if value is not BAD:
                values[name] = value
        return values

    # ------------------------------------------------------------------------------------- forms: EC2's and query

    def form(self, shape, form, ec2):
        tree = {}
        for key, value in form.items():
            if key in ("Action", "Version"):
                continue
            node = tree
            for part in key.split("."):
                node = node.setdefault(part, {})
            node[""] = value
        self.ec2 = ec2
        return self.branch(shape, tree, "") if shape else self.members({}, tree, "", self.branch)

    def form_name(self, member, default):
        said = member.serialization
        if not self.ec2:
            return said.get("name", default)
        if "queryName" in said:
            return said["queryName"]
        return said["name"][0].upper() + said["name"][1:] if "name" in said else default

    def branch(self, shape, node, path):
        kind = shape.type_name
        if kind == "structure":
            names = {self.form_name(member, name): (name, member) for name, member in shape.members.items()}
            for name, member in shape.members.items():  # a flattened list of the query protocol has the name of its items
                item = member.type_name == "list" and not self.ec2 and member.serialization.get("flattened")
                if item and "name" in member.member.serialization:
                    names[member.member.serialization["name"]] = (name, member)
            return self.members(names, {key: value for key, value in node.items() if key}, path, self.branch)
        if kind in ("list", "map"):
            if node.get("") == "":
                return [] if kind == "list" else {}
            if not (self.ec2 or shape.serialization.get("flattened")):
                step = shape.member.serialization.get("name", "member") if kind == "list" else "entry"
                if set(node) != {step}:
                    self.tell(path, f"has {sorted(node)} where a query has `{step}`")
                    return BAD
                node = node[step]
            if not all(key.isdigit() for key in node):
                self.tell(path, f"has {sorted(node)} where items are numbered")
                return BAD
            items = [node[key] for key in sorted(node, key=int)]
            if kind == "list":
                return [self.branch(shape.member, item, f"{path}[{n}]") for n, item in enumerate(items)]
            key, value = shape.key.serialization.get("name", "key"), shape.value.serialization.get("name", "value")
            return {item[key][""]: self.branch(shape.value, item[value], f"{path}[{item[key]['']!r}]") for item in items}
        if "" not in node or len(node) > 1:
            return self.not_a(shape, node, path)
        return self.text(shape, node[""], path)

    # -------------------------------------------------------------------------------------------------------- XML

    def xml(self, shape, element, path):
        kind = shape.type_name
        if kind == "structure":
            return self.xml_members(shape, element, path)
        if kind == "list":
            name = shape.member.serialization.get("name", "member")
            for child in element:
                if tag(child) != name:
                    self.tell(path, f"has an item `{tag(child)}` where the model has `{name}`")
            return [self.xml(shape.member, child, f"{path}[{n}]") for n, child in enumerate(element)]
        if kind == "map":
            key, value = shape.key.serialization.get("name", "key"), shape.value.serialization.get("name", "value")
            pairs = [{tag(part): part for part in entry} for entry in element]
            return {pair[key].text: self.xml(shape.value, pair[value], path) for pair in pairs}
        return self.text(shape, element.text or "", path)

    def xml_members(self, shape, element, path, ignored=()):
        values, children = {}, {}
        for child in element:
            children.setdefault(tag(child), []).append(child)
        for name, member in shape.members.items():
            wire, at = member.serialization.get("name", name), f"{path}.{name}"
            if member.serialization.get("xmlAttribute"):
                said = {tag_of(key): value for key, value in element.attrib.items()}.get(wire.rpartition(":")[2])
                if said is not None:
                    values[name] = said
                continue
            if member.serialization.get("location"):
                continue
            flat = member.type_name in ("list", "map") and member.serialization.get("flattened")
            if flat and member.type_name == "list":
                wire = member.member.serialization.get("name", wire)
            found = children.pop(wire, None)
            if found is None:
                continue
            if flat and member.type_name == "list":
                value = [self.xml(member.member, child, f"{at}[{n}]") for n, child in enumerate(found)]
            else:
                if len(found) > 1:
                    self.tell(at, f"is there {len(found)} times")
                value = self.xml(member, found[0], at)
            if value is not BAD:
                values[name] = value
        for name in children:
            if name not in ignored:
                self.tell(f"{path}.{name}", "is no member that the model knows")
        return values


def tag_of(name):
    return name.rpartition("}")[2]


def tag(element):
    return tag_of(element.tag)


def moment(said):
    if isinstance(said, (int, float)):
        return datetime.fromtimestamp(said, timezone.utc)
    try:
        return datetime.fromisoformat(said.replace("Z", "+00:00"))
    except ValueError:
        pass
    try:
        return datetime.fromtimestamp(float(said), timezone.utc)
    except ValueError:
        return parsedate_to_datetime(said)


# ------------------------------------------------------------------------------------------------- whole messages


def headers_of(shape, headers, reader, values):
    """Members that travel in headers."""
    for name, member in shape.members.items():
        where, wire = member.serialization.get("location"), member.serialization.get("name", name).lower()
        if where == "headers":
            values[name] = {key[len(wire):]: value for key, value in headers.items() if key.startswith(wire)}
        elif where == "header" and headers.get(wire):
            value = headers[wire]
            read = [part.strip() for part in value.split(",")] if member.type_name == "list" else reader.text(member, value, f".{name}")
            if read is not BAD:
                values[name] = read


def payload(shape, body, reader, values, protocol):
    """Members that travel in the body, of the REST protocols."""
    bound = shape.serialization.get("payload")
    target = shape.members[bound] if bound else shape
    at = f".{bound}" if bound else ""
    if bound and target.type_name not in ("structure", "list"):
        if body and not target.serialization.get("streaming"):
            values[bound] = body if target.type_name == "blob" else body.decode()
        elif body or target.type_name == "blob":
            values[bound] = body
        return
    if not body:
        return
    if protocol == "rest-json":
        said = json.loads(body)
        elsewhere = {name for name, member in shape.members.items() if member.serialization.get("location")}
        read = reader.json(target, said, at)
        if not bound and isinstance(read, dict):
            for name in elsewhere & set(read):
                reader.tell(f".{name}", "is in the body, where the model has it elsewhere")
    else:
        root = ElementTree.fromstring(body)
        read = reader.xml(target, root, at)
    if read is BAD:
        return
    if bound:
        values[bound] = read
    else:
        values.update(read)


def request(operation, call, in_path, tell):
    """The input of an operation."""
    reader, shape = Reader(tell), operation.input_shape
    if call.protocol == "query":
        return reader.form(shape, call.form, ec2=operation.service_model.metadata["protocol"] == "ec2")
    if call.protocol == "json":
        return reader.json(shape, json.loads(call.body or b"{}"), "") if shape else {}
    if call.protocol == "cbor":
        return cbor(shape, call.body)
    values = {}
    if shape is None:
        return values
    pairs = {}
    for key, value in parse_qsl(call.query, keep_blank_values=True):
        pairs.setdefault(key, []).append(value)
    fixed = operation.http["requestUri"].partition("?")[2]
    known = ADDED_BY_SDKS | {part.partition("=")[0] for part in fixed.split("&")}
    for name, member in shape.members.items():
        where, wire = member.serialization.get("location"), member.serialization.get("name", name)
        if where == "uri":
            values[name] = reader.text(member, in_path.get(wire, ""), f".{name}")
        elif where == "querystring" and member.type_name == "map":
            values[name] = {key: value[0] for key, value in pairs.items() if key not in known}
            known |= set(pairs)
        elif where == "querystring":
            known.add(wire)
            if wire in pairs:
                said = pairs[wire]
                read = said if member.type_name == "list" else reader.text(member, said[0], f".{name}")
                if read is not BAD:
                    values[name] = read
    for key in set(pairs) - known:
        tell(f"?{key}", "is no parameter that the model knows")
    headers_of(shape, call.headers, reader, values)
    payload(shape, call.body, reader, values, operation.service_model.metadata["protocol"])
    return values


def cbor(shape, body):
    """CBOR has types of its own, so botocore's reader takes only what the shape names."""
    if shape is None or not body:
        return {}
    parser = RpcV2CBORParser()
    return parser._parse_shape(shape, parser.parse_data_item(parser.get_peekable_stream_from_bytes(body)))


def answer(operation, call, headers, body, tell):
    """The output of an operation."""
    reader, shape = Reader(tell), operation.output_shape
    protocol = operation.service_model.metadata["protocol"]
    if shape is None:
        return {}
    if call.protocol == "json":
        return reader.json(shape, json.loads(body or b"{}"), "")
    if call.protocol == "cbor":
        return cbor(shape, body)
    if call.protocol == "query":
        root = ElementTree.fromstring(body)
        if protocol == "ec2":
            return reader.xml_members(shape, root, "", ignored={"requestId"})
        if wrapper := shape.serialization.get("resultWrapper"):
            root = next((child for child in root if tag(child) == wrapper), None)
            if root is None:
                tell("", f"has no `{wrapper}`")
                return {}
        return reader.xml_members(shape, root, "", ignored={"ResponseMetadata"})
    values = {}
    headers_of(shape, headers, reader, values)
    if call.method != "HEAD":
        payload(shape, body, reader, values, protocol)
    return values
