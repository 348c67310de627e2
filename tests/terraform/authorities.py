"""What AWS publishes about a resource, as JSON Schema: CloudFormation's resource schemas (cfn-lint) and the APIs' inputs (botocore)."""

import functools
import json
import pathlib
from dataclasses import dataclass

import botocore.loaders
import botocore.model
import cfnlint.data.schemas
import jsonschema
import regex

SCHEMAS = pathlib.Path(cfnlint.data.schemas.__file__).parent
REGION = "eu-west-1"


@dataclass(frozen=True)
class Violation:
    path: str
    rule: str


def plain(name):
    return name.replace("_", "").lower()


# Patterns that cannot be read here: counted, and shown.
UNREADABLE = set()


def pattern(validator, wanted, instance, schema):
    # AWS writes Java's patterns, which `regex` reads and `re` does not, but for pairs of surrogates.
    if not validator.is_type(instance, "string"):
        return
    try:
        fits = regex.search(wanted.replace(r"\uD800\uDC00-\uDBFF\uDFFF", r"\U00010000-\U0010FFFF"), instance)
    except regex.error:
        UNREADABLE.add(wanted)
        return
    if not fits:
        yield jsonschema.ValidationError(f"{instance!r} does not match {wanted}")


def unordered(validator, wanted, instance, schema):
    if wanted and len({json.dumps(one, sort_keys=True) for one in instance}) < len(instance):
        yield jsonschema.ValidationError(f"{instance!r} has one twice")


Validator = jsonschema.validators.extend(jsonschema.Draft7Validator, {"pattern": pattern, "uniqueItems": unordered})


class Authority:
    """One schema, and the values of one resource at their places in it."""

    def __init__(self, schema, page):
        self.schema, self.page, self.instance = schema, page, {}

    @classmethod
    def of(cls, name):
        return cls(*(cloudformation(name) if "::" in name else operation(name)))

    def put(self, values, names, inner, unknown):
        """Puts what has a place; the attributes that had one, and how many single values that is."""
        placed, members, self.instance = set(), 0, {}
        for attribute, value in values.items():
            path = names.get(attribute, attribute)
            *parents, last = path.split(".")
            schema, into = self.resolve(self.schema), self.instance
            for parent in parents:
                if parent not in schema.get("properties", {}):
                    break
                schema = self.resolve(schema["properties"][parent])
                if "array" in types(schema):
                    schema, into = self.resolve(schema["items"]), into.setdefault(parent, [{}])[0]
                else:
                    into = into.setdefault(parent, {})
            else:
                key = self.member(schema, last)
                if key is not None:
                    into[key], count = self.convert(value, schema["properties"][key], inner, unknown)
                    placed.add(attribute)
                    members += count
        return placed, members

    def violations(self, unknown):
        known = {**self.schema, "properties": self.schema["properties"]}
        for error in Validator(known).iter_errors(self.instance):
            for leaf in leaves(error):
                # What is not known yet stands where something is required, and is judged after the apply.
                if unknown not in json.dumps(leaf.instance) or leaf.validator == "additionalProperties":
                    path = ".".join(str(step) for step in leaf.absolute_path) or "-"
                    shown = json.dumps(leaf.instance)
                    shown = shown if len(shown) <= 200 else f"{shown[:200]}..."
                    yield Violation(path, f"{leaf.message[:300]} [{leaf.validator}]; it is {shown}")

    def resolve(self, schema):
        while "$ref" in schema:
            schema = self.schema["definitions"][schema["$ref"].rsplit("/", 1)[-1]]
        return schema

    def member(self, schema, name):
        return next((key for key in schema.get("properties", {}) if plain(key) == plain(name)), None)

    def convert(self, value, schema, inner, unknown):
        """Terraform's value in the schema's form, and how many single values it has. `inner` renames members."""
        schema = self.resolve(schema)
        kinds = types(schema)
        if value == unknown:
            return value, 0
        value = shaped(value, schema, kinds, self.resolve(schema.get("items", {})))
        if isinstance(value, dict) and "properties" in schema:
            made, count = {}, 0
            for name, one in value.items():
                name = inner.get(name, name)
                key = self.member(schema, name)
                if one is None or one == [] or one == "" or (one == unknown and key is None):
                    continue
                # One that the schema has not is put there all the same: the schema refuses it.
                made[key or name], more = self.convert(one, schema["properties"][key], inner, unknown) if key else (one, 1)
                count += more
            return made, count
        if isinstance(value, list):
            both = [self.convert(one, schema.get("items", {}), inner, unknown) for one in value]
            return [one for one, _ in both], sum(count for _, count in both)
        return value, 1


def types(schema):
    kinds = schema.get("type", [])
    return [kinds] if isinstance(kinds, str) else kinds


def shaped(value, schema, kinds, item):
    """Terraform has blocks as lists, mappings for lists of keys and values, JSON as text, numbers and booleans as text, or the reverse."""
    if isinstance(value, str) and value[:1] in "{[" and {"object", "array"} & set(kinds):
        return json.loads(value)
    if isinstance(value, list) and "object" in kinds:
        assert len(value) <= 1, value
        return value[0] if value else {}
    if isinstance(value, list) and kinds == ["string"]:
        return ",".join(value)
    if isinstance(value, dict) and "array" in kinds:
        pair = sorted(item.get("properties", {}), key=lambda name: name.lower().endswith("value"))
        if len(pair) == 2 and pair[1].lower().endswith("value"):
            return [dict(zip(pair, one)) for one in value.items()]
        return [value]
    if isinstance(value, str) and "array" in kinds:
        return [value]
    if isinstance(value, bool) and {"ENABLED", "DISABLED"} <= set(schema.get("enum", [])):
        return "ENABLED" if value else "DISABLED"
    if value in ("true", "false") and "boolean" in kinds:
        return value == "true"
    if isinstance(value, (int, float)) and not isinstance(value, bool) and "string" in kinds:
        return str(value)
    if isinstance(value, str) and {"integer", "number"} & set(kinds) and regex.fullmatch("-?[0-9]+", value):
        return int(value)
    return value


def leaves(error):
    """The errors that say something: of alternatives, those of the one that nearly fits."""
    if not error.context:
        yield error
        return
    best = min({e.schema_path[0] for e in error.context}, key=lambda n: sum(1 for e in error.context if e.schema_path[0] == n))
    for inner in error.context:
        if inner.schema_path[0] == best:
            yield from leaves(inner)


@functools.cache
def cloudformation(name):
    file = json.loads((SCHEMAS / "providers" / f"{REGION}.json").read_text())[name]
    schema = json.loads((SCHEMAS / "resources" / f"{file}.json").read_text())
    page = f"https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-{'-'.join(name.lower().split('::')[1:])}.html"
    return schema, page


@functools.cache
def operation(name):
    service, call = name.split(".")
    model = botocore.model.ServiceModel(botocore.loaders.Loader().load_service_model(service, "service-2"), service)
    definitions = {}
    top = of_shape(model.operation_model(call).input_shape, definitions)
    schema = {**definitions[top["$ref"].rsplit("/", 1)[-1]], "definitions": definitions}
    return schema, f"https://docs.aws.amazon.com/cli/latest/reference/{service}/, operation {call}"


def of_shape(shape, definitions):
    """botocore's shape as JSON Schema. Required members are CloudFormation's matter: one resource may need several calls."""
    kind, more = shape.type_name, shape.metadata
    if kind == "structure":
        if shape.name not in definitions:
            definitions[shape.name] = {"type": "object", "properties": {}, "additionalProperties": False}
            definitions[shape.name]["properties"] = {key: of_shape(member, definitions) for key, member in shape.members.items()}
        return {"$ref": f"#/definitions/{shape.name}"}
    if kind == "list":
        return {"type": "array", "items": of_shape(shape.member, definitions), **bounds(more, "Items")}
    if kind == "map":
        return {"type": "object", "additionalProperties": of_shape(shape.value, definitions)}
    if kind == "string":
        made = {"type": "string", **bounds(more, "Length")}
        if more.get("enum"):
            made["enum"] = more["enum"]
        if more.get("pattern"):
            made["pattern"] = f"^(?:{more['pattern']})$"
        return made
    if kind in ("integer", "long"):
        return {"type": "integer", **{key: value for key, value in {"minimum": more.get("min"), "maximum": more.get("max")}.items() if value is not None}}
    return {"boolean": {"type": "boolean"}, "double": {"type": "number"}, "float": {"type": "number"}}.get(kind, {})


def bounds(more, what):
    return {f"{low}{what}": more[low] for low in ("min", "max") if low in more}
