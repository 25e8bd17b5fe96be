#!/usr/bin/env python3
"""Holds a plugin definition to Meltano Hub's schemas: check_definition.py SCHEMA DEFINITION.

Prints what is wrong, a line each, and ends with 1; prints nothing when all is well. Runs in Meltano's Python environment.
"""

import json
import sys
from pathlib import Path

import yaml
from jsonschema import Draft7Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT7

ROOT = Path(__file__).parent / "hub"
# Where the schemas are, as far as references among them go. Nothing is ever fetched.
BASE = "https://hub.invalid/"


def resource(path: Path) -> Resource:
    schema = json.loads(path.read_text())
    # Its own name is not where it is, and references would be looked for there.
    schema.pop("$id", None)
    return Resource.from_contents(schema, default_specification=DRAFT7)


def main(schema: str, definition: str) -> int:
    paths = ROOT.glob("*/*.schema.json")
    registry = Registry().with_resources((BASE + path.relative_to(ROOT).as_posix(), resource(path)) for path in paths)
    top = {"$ref": BASE + schema}
    document = yaml.safe_load(Path(definition).read_text())
    wrong = list(Draft7Validator(top, registry=registry).iter_errors(document))
    for error in wrong:
        print(f"{error.json_path}: {error.message}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
