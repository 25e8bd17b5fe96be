"""The dbt package: its own tests on DuckDB and PostgreSQL, and what flext_ldap_sync writes."""

import json
import os
import shutil

import pytest
from conftest import ROOT, messages, run, venv

SYNC = ["run-operation", "flext_ldap_sync"]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of the package with its tests, so that nothing is written into the sources."""
    package = tmp_path_factory.mktemp("dbt") / "dbt"
    ignored = shutil.ignore_patterns("target", "dbt_packages", "logs", "package-lock.yml")
    shutil.copytree(ROOT / "dbt", package, ignore=ignored)
    return package / "integration_tests"


@pytest.fixture(scope="module", params=["duckdb", "postgres"])
def dbt(request, project):
    """Runs dbt in the project, for one kind of database; everything is built and tested there first."""
    environment = {"DBT_SEND_ANONYMOUS_USAGE_STATS": "false", "DBT_TARGET": request.param, "NO_COLOR": "1"}
    if request.param == "postgres":
        environment["LDAP_TEST_PGPORT"] = str(request.getfixturevalue("postgres").port)

    def dbt(*arguments, **options):
        target = [] if arguments[0] == "deps" else ["--target", request.param]
        return run(venv("dbt", "dbt"), "--quiet", *arguments, *target, cwd=project, env={**os.environ, **environment}, **options)

    dbt.kind, dbt.project = request.param, project
    dbt("deps")
    dbt("build", "--select", "raw_users", "raw_groups")
    dbt("build", "--exclude", "raw_users", "raw_groups")
    return dbt


def test_names_and_models(dbt):
    # The fixture has built and tested all; here only that it did.
    results = json.loads((dbt.project / "target" / "run_results.json").read_text())["results"]
    passed = {r["unique_id"].split(".")[2] for r in results if r["status"] == "pass"}
    assert {"groups_have_members", "names_are_parsed", "names_compare", "models_are_normalised", "the_list_is_there"} <= passed, passed


def test_groups_without_a_member_column_fail(dbt):
    """As loaded with the columns of a tap where `member` was not selected: the models are empty, and a test says so."""
    models = ["build", "--select", "stg_ldap__groups", "ldap_memberships", "groups_have_members"]
    try:
        failed = dbt(*models, "--vars", "{ldap_groups_table: raw_users}", code=1)
        results = json.loads((dbt.project / "target" / "run_results.json").read_text())["results"]
        status = {r["unique_id"].split(".")[2]: r["status"] for r in results}
        assert status["ldap_memberships"] == "success" and status["groups_have_members"] == "fail", failed.stdout
    finally:
        dbt(*models)


def test_a_model_becomes_singer_messages(dbt):
    printed = dbt(*SYNC, "--args", "{model: write_back, stream: people}").stdout
    schema, ada, gone, version, state = messages(printed)
    types = {name: p["type"][1] for name, p in schema["schema"]["properties"].items()}
    assert types["departmentNumber"] == "integer" and types["mail"] == "array" and types["locked"] == "boolean", types
    assert (schema["stream"], schema["key_properties"]) == ("people", ["dn"])
    assert ada["record"] == {
        "dn": "uid=ada,ou=people,dc=example,dc=com",
        "cn": "O'Brien \"Ada\" \\ \né",
        "mail": ["a", "b,c", 'd"e'],
        "departmentNumber": 42,
        "locked": True,
        "ratio": 1.5,
        "seen": "2026-11-24T10:00:00.250000Z",
        "changed": "2026-11-24T08:00:00.000000Z",
        "born": "2026-11-24",
        "photo": "AP8=",
        "extra": {"a": [1]},
        "_sdc_deleted_at": None,
    }
    assert gone["record"]["_sdc_deleted_at"] == "2026-11-24T11:00:00.000000Z"
    assert version == {"type": "ACTIVATE_VERSION", "stream": "people", "version": ada["version"]}
    assert state["value"] == {"bookmarks": {"people": {"version": ada["version"]}}}


def test_several_models_in_one_file(dbt, tmp_path):
    path = tmp_path / "it's.singer"
    wanted = json.dumps({
        "model": ["ldap_groups", {"model": "write_back", "stream": "people", "key": ["dn", "cn"], "activate_version": False}],
        "path": str(path),
    })
    if dbt.kind == "postgres":
        refused = dbt(*SYNC, "--args", wanted, code=1)
        assert "`path` is for DuckDB" in refused.stdout + refused.stderr
        return
    dbt(*SYNC, "--args", wanted)
    kinds = [(m["type"], m.get("stream")) for m in messages(path.read_text())]
    assert kinds == [
        ("SCHEMA", "ldap_groups"), *[("RECORD", "ldap_groups")] * 3, ("ACTIVATE_VERSION", "ldap_groups"),
        ("SCHEMA", "people"), *[("RECORD", "people")] * 2, ("STATE", None),
    ]  # fmt: skip


@pytest.mark.parametrize("dbt", ["duckdb"], indirect=True)
def test_a_hook_writes_when_all_succeeded(dbt, tmp_path):
    path = tmp_path / "sync.singer"
    settings = {"sync_path": str(path), "with_failure": True}
    failed = dbt("build", "--select", "write_back", "fails", "--vars", json.dumps(settings), code=1)
    assert not path.exists(), failed.stdout
    dbt("build", "--select", "write_back", "--vars", json.dumps(settings))
    assert len(messages(path.read_text())) == 5


@pytest.mark.parametrize("dbt", ["duckdb"], indirect=True)
@pytest.mark.parametrize("arguments, said", [
    ("{model: nope}", "no model is called nope"),
    ("{model: write_back, key: foo}", "has no column foo; it has dn, cn"),
    ("{model: [write_back, write_back]}", "two models have the same stream"),
])  # fmt: skip
def test_mistakes_are_named(dbt, arguments, said):
    done = dbt(*SYNC, "--args", arguments, code=1)
    assert said in done.stdout + done.stderr
