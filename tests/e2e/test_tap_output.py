"""tap-ldap's output under the checks of the Singer SDK and of singer-check-tap."""

import json
import types
import warnings

import pytest
from conftest import BIN, ROOT, messages, run, venv
from ldap import SUFFIX_LDIF, entry, unit
from singer_sdk.testing.config import SuiteConfig
from singer_sdk.testing.suites import tap_stream_attribute_tests, tap_stream_tests, tap_tests
from slapd import SUFFIX

PEOPLE = f"ou=people,{SUFFIX}"
# Values of each type that the tap knows; tests/fixtures/test.schema has the attributes.
TREE = SUFFIX_LDIF + unit("people") + "".join(
    entry(f"uid=person{i},{PEOPLE}", objectClass=["inetOrgPerson", "extensibleObject"], uid=f"person{i}", cn=[f"Person {i}", "Also"],
          sn="Test", testFlag=["TRUE", "FALSE"][i % 2], testCount=10**30 + i, testWhen=f"2026112410000{i}Z",
          testUuid=f"11111111-0000-0000-0000-00000000000{i}", jpegPhoto="bytes")
    for i in range(3)
)  # fmt: skip


@pytest.fixture
def server(slapds):
    schema = ROOT / "tests" / "fixtures" / "test.schema"
    return slapds("slapd", TREE, modules=f"include {schema}\nmoduleload syncprov\n", overlays="overlay syncprov\n")


def output(server, tmp_path, method):
    """The catalog, and what a sync says with one replication method for all streams."""
    config = server.config("tap.json")
    catalog = json.loads(run(BIN / "tap-ldap", "--config", config, "--discover").stdout)
    for stream in catalog["streams"]:
        stream["metadata"][0]["metadata"]["replication-method"] = method
        for node in stream["metadata"]:
            node["metadata"]["selected"] = True
    path = tmp_path / "catalog.json"
    path.write_text(json.dumps(catalog))
    return catalog, messages(run(BIN / "tap-ldap", "--config", config, "--catalog", path).stdout)


@pytest.mark.parametrize("method", ["FULL_TABLE", "INCREMENTAL", "LOG_BASED"])
def test_the_sdks_checks_of_a_tap(server, tmp_path, method):
    catalog, said = output(server, tmp_path, method)
    schemas = {m["stream"]: m for m in said if m["type"] == "SCHEMA"}
    assert set(schemas) == {s["stream"] for s in catalog["streams"]} >= {"people", "organizational_units"}
    # The SDK's checks ask a runner and a stream for this much.
    config = SuiteConfig(ignore_no_records_for_streams=["example"])
    runner = types.SimpleNamespace(
        state_messages=[m["value"] for m in said if m["type"] == "STATE"],
        records={name: [m["record"] for m in said if m["type"] == "RECORD" and m["stream"] == name] for name in schemas},
        new_tap=lambda: None,
    )
    final = next(t for t in tap_tests.tests if t.name == "valid_final_state")
    final().run(config, None, runner)
    checked = set()
    for name, message in schemas.items():
        stream = types.SimpleNamespace(
            name=name, schema=message["schema"], primary_keys=message["key_properties"],
            stream_maps=[types.SimpleNamespace(transformed_schema=message["schema"])],
        )  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that an attribute has no value in these few entries is no fault
            for check in tap_stream_tests.tests:
                if check.name != "returns_record" or runner.records[name]:
                    check().run(config, None, runner, stream)
                    checked.add(check.name)
            for property_name, schema in message["schema"]["properties"].items():
                for check in tap_stream_attribute_tests.tests:
                    if check.evaluate(stream, property_name, schema):
                        check().run(config, None, runner, stream, property_name)
                        checked.add(check.name)
    assert checked >= {t.name for t in tap_stream_tests.tests} | {"is_datetime", "is_boolean", "is_integer"}, checked
    people = runner.records["people"]
    assert len(people) == 3 and all(isinstance(p["testFlag"], bool) for p in people)


def test_the_command_line(server):
    config = server.config("tap.json")
    for arguments in (["--version"], ["--about"], ["--about", "--format=json"], ["--config", config, "--test"]):
        assert run(BIN / "tap-ldap", *arguments).stdout
    about = json.loads(run(BIN / "tap-ldap", "--about", "--format=json").stdout)
    assert {"name", "description", "version", "capabilities", "settings"} <= set(about)


def test_singer_check_tap(server, tmp_path):
    # Once without and once with the STATE that came. It reads in a thread that it does not wait for when the tap has ended: this tap
    # ends its output some time before itself.
    config, tap = server.config("tap.json"), tmp_path / "tap"
    tap.write_text(f'#!/bin/sh\n"{BIN / "tap-ldap"}" "$@"\ncode=$?\nexec >&-\nsleep 3\nexit $code\n')
    tap.chmod(0o755)
    done = run(venv("jsonl", "singer-check-tap"), "--tap", tap, "--config", config, cwd=tmp_path)
    assert done.stdout.count("The output is valid.") == 2, done.stdout
    assert "Now re-running tap with state" in done.stdout and "people" in done.stdout
