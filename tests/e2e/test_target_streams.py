"""The input streams that the Singer SDK tests targets with, through target-ldap into a real directory.

Each has to do what the SDK says a target does with it. The rule for all of them is `"*"`: a generic class, and the properties' attributes.
"""

import functools
import json
import pathlib

import pytest
from conftest import BIN, ROOT, messages, run, venv
from ldap import SUFFIX_LDIF, entries, unit
from slapd import SUFFIX

BASE = f"ou=singer,{SUFFIX}"
# Property: attribute. A property that is an object has none: a directory's values are not nested.
MAPPING = {
    "id": "singerId", "metric": "singerMetric", "name": "singerName", "email": "singerEmail", "optional": "singerOptional",
    "fruits": "singerFruits", "strings": "singerStrings", "a1": "singerA1", "a2": "singerA2", "a3": "singerA3", "a5": "singerA5",
    "a6": "singerA6", "user_id": "singerUserId", "location_id": "singerLocationId", "age": "singerMetric",
}  # fmt: skip


def rule(key="id", **more):
    """A rule like `"*"`, for a stream whose key is called otherwise, or that shares its keys with another stream."""
    mapping = {key: "singerId", **{p: a for p, a in MAPPING.items() if a != "singerId"}}
    where = more.pop("ou", None)
    template = f"singerId={{{key}}}" + (f",ou={where},{BASE}" if where else "")
    return {"dn_template": template, "object_classes": ["singerRecord"], "attribute_mapping": {**mapping, **more}}


RULES = {
    "*": rule(),
    "TestCamelcase": rule("Id", clientName="singerClientName"),
    "test:SpecialChars!in?attributes": rule("_id"),
    "ForecastingTypeToCategory": rule("Id", IsDeleted="singerIsDeleted", CreatedDate="singerCreated", DisplayPosition="singerPosition"),
    "test_strings": rule(ou="strings", info="singerInfo"),
    "test_strings_in_objects": rule(ou="objects"),
    "test_strings_in_arrays": rule(ou="arrays"),
    # Records that are one object, without a key: all the rule can give them is one name.
    **{
        f"test_object_schema_{which}_properties": {"dn_template": f"singerId=store,{BASE}", "object_classes": ["singerRecord"], "attribute_mapping": {}}
        for which in ("with", "no")
    },
    "test_users": rule(ou="users"),
    "test_locations": rule(ou="locations"),
    "test_user_in_location": rule(ou="both"),
}


@functools.cache
def streams():
    """The folder of the SDK's input streams."""
    say = "import singer_sdk.testing.target_test_streams as t; print(t.__path__[0])"
    return pathlib.Path(run(venv("singer", "python"), "-c", say).stdout.strip())


def text(name):
    """One of them."""
    return (streams() / f"{name}.singer").read_text()


@pytest.fixture
def server(slapds):
    schema = ROOT / "tests" / "e2e" / "singer.schema"
    return slapds("slapd", SUFFIX_LDIF + unit("singer"), modules=f"include {schema}\n")


@pytest.fixture
def load(server):
    """Loads a stream of the SDK: what the target said, and then what lies below the base, by RDN."""

    def load(name, code=0, **settings):
        config = server.config("target.json", default_base_dn=BASE, base_dn=None, mapping_rules=RULES, **settings)
        done = run(BIN / "target-ldap", "--config", config, "--input", streams() / f"{name}.singer", code=code)
        found = entries(server, BASE, "(objectClass=singerRecord)")
        return done, {dn.removesuffix("," + BASE): {a: v for a, v in e.items() if a != "objectClass"} for dn, e in found.items()}

    return load


def records(found, attribute):
    """{id: the attribute's values} of what was found, whatever the entries' names."""
    return {e["singerId"][0]: e.get(attribute) for e in found.values()}


# What must load, and what an attribute must have afterwards, by id.
LOADS = {
    "array_data": ("singerFruits", {
        "1": ["apple", "orange", "pear"], "2": ["apple", "banana"], "3": ["pear"], "4": ["apple", "banana", "orange", "pear"]}),
    "camelcase": ("singerClientName", {"1": ["Gitter Windows Desktop App"], "2": ["Gitter iOS App"]}),
    "camelcase_complex_schema": ("singerCreated", {}),
    "duplicate_records": ("singerMetric", {"1": ["100"], "2": ["20"]}),
    "multiple_state_messages": ("singerMetric", {str(i): [str(110 * i)] for i in range(1, 6)} | {"6": ["600"]}),
    "no_primary_keys": ("singerMetric", {"1": ["11"], "2": ["22"], "3": ["33"]}),
    "no_primary_keys_append": ("singerMetric", {str(i): [str(101 * i)] for i in range(1, 6)}),
    "optional_attributes": ("singerOptional", {"1": ["This is optional"], "2": None, "3": ["Also optional"], "4": None}),
    "pk_updates": ("singerEmail", {"1": ["alice@example.com"], "2": ["bob@example.com"]}),
    "record_missing_fields": ("singerOptional", {"1": ["now you see me"], "2": None}),
    # Nothing but an object: no more than a name that the rule gives.
    "schema_no_properties": ("singerId", {"store": ["store"]}),
    "schema_updates": ("singerA6", {"1": None, "2": None, "3": None, "4": None, "5": ["985"], "6": ["341"]}),
    "special_chars_in_attributes": ("singerId", {"a2e98886": ["a2e98886"]}),
}  # fmt: skip

# What must fail, and what is said.
FAILS = {
    "invalid_schema": "line 1, stream `test_invalid_schema`: the SCHEMA has no `properties`",
    "record_before_schema": "line 1, stream `test_record_before_schema`: a RECORD came before the stream's SCHEMA",
    "record_missing_key_property": "the record lacks its key property `id`",
    "record_missing_required_property": 'line 2, stream `test_record_missing_required_property`: the record: "id" is a required property',
}

# Tests of their own, below.
OTHERS = {"encoded_string_data", "user_location_data", "user_location_upsert_data"}


def test_every_stream_of_the_sdk_is_here():
    assert {p.stem for p in streams().glob("*.singer")} == {*LOADS, *FAILS, *OTHERS}


@pytest.mark.parametrize("name", LOADS)
def test_loads(load, name):
    attribute, expected = LOADS[name]
    done, found = load(name)
    assert records(found, attribute) == expected
    # The last STATE is printed, and only that.
    states = [json.loads(line)["value"] for line in text(name).splitlines() if '"STATE"' in line]
    assert [json.loads(line) for line in done.stdout.splitlines()][-1:] == [s for s in states[-1:] if s]


@pytest.mark.parametrize("name", FAILS)
def test_fails(load, name):
    done, found = load(name, code=1)
    assert FAILS[name] in done.stderr and not done.stdout and not found


def test_texts_of_all_kinds(load):
    _, found = load("encoded_string_data")
    wanted = [m["record"] for m in messages(text("encoded_string_data")) if m["type"] == "RECORD"]
    infos = {str(r["id"]): [r["info"]] for r in wanted if isinstance(r.get("info"), str)}
    lists = {str(r["id"]): sorted(r["strings"]) for r in wanted if "strings" in r}
    assert len(infos) == 11 and len(lists) == 6
    assert records({n: e for n, e in found.items() if n.endswith("ou=strings")}, "singerInfo") == infos
    assert records({n: e for n, e in found.items() if n.endswith("ou=arrays")}, "singerStrings") == lists
    # Their values are objects, which a directory does not have: the entries have no more than their names.
    assert sum(n.endswith("ou=objects") for n in found) == 11


def test_records_come_again_changed(load):
    load("user_location_data")
    _, found = load("user_location_upsert_data")
    users, locations = ({n: e for n, e in found.items() if n.endswith(f"ou={ou}")} for ou in ("users", "locations"))
    names = {"1": "Johny", "2": "George", "3": "Jacob", "4": "Josh", "5": "Jim", "8": "Thomas", "12": "Paul", "13": "Mary"}
    assert records(users, "singerName") == {i: [n] for i, n in names.items()}
    towns = {"1": "Philly", "2": "NY", "3": "San Francisco", "6": "Colorado", "8": "Boston"}
    assert records(locations, "singerName") == {i: [n] for i, n in towns.items()}
