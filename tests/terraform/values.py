"""Holds what Terraform would send against what AWS publishes, where Terraform's own provider does not look.

    values.py FILE...    plans or states, as `terraform show -json` prints them

Each attribute of each resource is put at its place in two things that AWS publishes: CloudFormation's schema of that resource, as
cfn-lint ships it, and the input of the API's operation, as botocore has it. Both know lengths, patterns, enumerations and required
members. What both leave out and a page says is in `rules.py`. An attribute that has no place must be named in `places.py`, with its reason;
so must a kind of resource.

Prints one line for each violation (file, address, attribute, rule, page), then the sums. Exits with 1 if there is any violation.
"""

import json
import sys

from authorities import UNREADABLE, Authority, Violation
from places import LEFT_EVERYWHERE, PLACES, UNMAPPED
from rules import RULES

UNKNOWN = "(known after apply)"


def resources(document):
    """(address, type, values) of everything that is managed; what only an apply tells has UNKNOWN for its value."""
    top = document.get("planned_values") or document["values"]
    applied = "values" in document
    later = {c["address"]: c["change"].get("after_unknown") for c in document.get("resource_changes", [])}

    def walk(module):
        for r in module.get("resources", []):
            if r["mode"] == "managed":
                values = marked(r["values"], later.get(r["address"]) or {})
                yield r["address"], r["type"], given(values) if applied else values
        for child in module.get("child_modules", []):
            yield from walk(child)

    return walk(top["root_module"])


def marked(value, unknown):
    if unknown is True:
        return UNKNOWN
    if isinstance(unknown, dict) and isinstance(value, dict):
        return {key: marked(value.get(key), unknown.get(key, False)) for key in {*value, *unknown}}
    if isinstance(unknown, list) and isinstance(value, list):
        return [marked(v, u) for v, u in zip(value, unknown + [False] * len(value))]
    return value


def given(value):
    """A state has zeros and falsehoods for what nobody wrote."""
    if isinstance(value, dict):
        return {key: given(one) for key, one in value.items() if one not in (0, False, None)}
    return [given(one) for one in value] if isinstance(value, list) else value


def is_set(value):
    return value is not None and value != [] and value != {} and value != ""


class Judge:
    def __init__(self):
        self.resources = self.attributes = self.held = 0
        self.types, self.listed, self.violations = set(), set(), []

    def judge(self, file, address, kind, values):
        def complain(attribute, rule, page):
            self.violations.append(f"{file}: {address}: {attribute}: {rule} ({page})")

        self.resources += 1
        self.types.add(kind)
        values = {name: value for name, value in values.items() if is_set(value)}
        self.attributes += len(values)
        for rule in RULES:
            if kind in rule.kinds or rule.kinds == "*":
                for attribute, value in rule.values(values):
                    self.held += 1
                    if value != UNKNOWN and not rule.holds(value):
                        complain(attribute, f"{rule.text}; it is {value!r}", rule.page)
        if kind in UNMAPPED:
            self.listed.add(kind)
            return
        if kind not in PLACES:
            return complain("-", "tests/terraform/places.py does not know this kind of resource", "give its place, or a reason")
        place = PLACES[kind]
        values = {name: value for name, value in values.items() if name not in place.left}
        nowhere = set(values) - set(LEFT_EVERYWHERE)
        for authority in map(Authority.of, place.authorities):
            placed, members = authority.put(values, place.names, place.inner, UNKNOWN)
            nowhere -= placed
            self.held += members
            for found in authority.violations(UNKNOWN):
                assert isinstance(found, Violation)
                complain(found.path, found.rule, authority.page)
        for name in sorted(nowhere):
            if values[name] != UNKNOWN:
                complain(name, "no authority has a place for it", "tests/terraform/places.py: give its place, or a reason")


def main(files):
    judge = Judge()
    for file in files:
        with open(file, encoding="utf-8") as opened:
            for address, kind, values in resources(json.load(opened)):
                judge.judge(file.rsplit("/", 2)[-2], address, kind, values)
    for violation in sorted(set(judge.violations)):
        print(violation)
    mapped = judge.types - judge.listed
    print(
        f"{judge.resources} resources of {len(mapped)} kinds, {judge.attributes} attributes, {judge.held} values held;"
        f" {len(judge.listed)} kinds by no authority: {', '.join(sorted(judge.listed))}"
    )
    if UNREADABLE:
        print(f"{len(UNREADABLE)} patterns that cannot be read: {' '.join(sorted(UNREADABLE))}")
    for name, unused in {"places": set(PLACES) - judge.types, "unmapped": set(UNMAPPED) - judge.types}.items():
        if unused:
            print(f"{name} that nothing needs: {', '.join(sorted(unused))}")
    return 1 if judge.violations else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
