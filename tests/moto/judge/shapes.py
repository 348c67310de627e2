"""Compares values with the shapes of AWS's models: what is required, lengths, ranges, patterns and words."""

from functools import cache

import regex

from .wire import BAD


@cache
def compiled(pattern):
    """A pattern as AWS writes it, in Java's form. None: Python cannot compile it."""
    try:
        return regex.compile(pattern, regex.V1 if "&&" in pattern else 0)
    except regex.error:
        return None


class Checker:
    """Walks a value along its shape. `tell(path, rule)` hears of each violation, and `members` counts what was compared."""

    def __init__(self, tell):
        self.tell, self.members = tell, 0

    def check(self, shape, value, path=""):
        self.members += 1
        kind = shape.type_name
        if kind == "structure":
            if getattr(shape, "is_document_type", False):
                return
            for name in shape.required_members:
                if name not in value:
                    self.tell(f"{path}.{name}", "is missing, and required")
            if getattr(shape, "is_tagged_union", False) and len(value) != 1:
                self.tell(path, f"is a choice of one member, and has {len(value)}")
            for name, said in value.items():
                self.check(shape.members[name], said, f"{path}.{name}")
        elif kind == "list":
            self.limits(shape, len(value), path, "items")
            for n, item in enumerate(value):
                if item is not BAD:
                    self.check(shape.member, item, f"{path}[{n}]")
        elif kind == "map":
            self.limits(shape, len(value), path, "entries")
            for key, item in value.items():
                self.check(shape.key, key, f"{path}[{key!r}]")
                if item is not BAD:
                    self.check(shape.value, item, f"{path}[{key!r}]")
        elif kind in ("integer", "long", "float", "double"):
            self.limits(shape, value, path, "")
        elif kind == "blob":
            self.limits(shape, len(value), path, "bytes")
        elif kind == "string" and isinstance(value, str):
            self.string(shape, value, path)

    def limits(self, shape, size, path, unit):
        low, high = shape.metadata.get("min"), shape.metadata.get("max")
        if low is not None and size < low:
            self.tell(path, f"has {size} {unit}, and the least is {low}" if unit else f"is {size}, and the least is {low}")
        if high is not None and size > high:
            self.tell(path, f"has {size} {unit}, and the most is {high}" if unit else f"is {size}, and the most is {high}")

    def string(self, shape, value, path):
        self.limits(shape, len(value), path, "characters")
        if shape.enum and value not in shape.enum:
            self.tell(path, f"is {value!r}, which is none of the {len(shape.enum)} words of {shape.name}")
        pattern = shape.metadata.get("pattern")
        if pattern and (found := compiled(pattern)) and not found.fullmatch(value):
            self.tell(path, f"is {value[:120]!r}, which does not fit {pattern}")
