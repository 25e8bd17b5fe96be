"""tap-ldap before loaders that are not ours, and a tap that is not ours before target-ldap."""

import json

import duckdb
import pytest
from conftest import BIN, messages, run, venv
from ldap import SUFFIX_LDIF, entries, entry, modify, unit
from slapd import SUFFIX

PEOPLE = f"ou=people,{SUFFIX}"
SYNCPROV = {"modules": "moduleload syncprov\n", "overlays": "overlay syncprov\nsyncprov-sessionlog 1000\n"}
CHANGES = f"""dn: uid=ada,{PEOPLE}
changetype: modify
replace: mail
mail: countess@example.test

dn: uid=grace,{PEOPLE}
changetype: delete

dn: uid=edsger,{PEOPLE}
changetype: add
objectClass: inetOrgPerson
uid: edsger
cn: Edsger
sn: Test
mail: edsger@example.test

"""


def person(uid):
    """LDIF of a person."""
    return entry(f"uid={uid},{PEOPLE}", objectClass="inetOrgPerson", uid=uid, cn=uid.title(), sn="Test", mail=f"{uid}@example.test")


@pytest.fixture
def source(slapds):
    return slapds("source", SUFFIX_LDIF + unit("people") + "".join(map(person, ["ada", "grace", "linus"])), **SYNCPROV)


class Tap:
    """The tap on a server, with one stream of people, and the STATE of its last run."""

    def __init__(self, server, folder, method, **stream):
        schema = {"name": "users", "base_dn": PEOPLE, "filter": "(objectClass=person)", "attributes": ["uid", "mail"]}
        schema |= {"replication_method": method, **stream}
        self.config = server.config("tap.json", single_valued=["uid", "mail"], schemas=[schema])
        self.state = folder / "state.json"

    def into(self, *loader):
        """Runs the tap into a loader: the tap's messages; the STATE that the loader printed is the next run's."""
        state = ["--state", self.state] if self.state.exists() else []
        said = run(BIN / "tap-ldap", "--config", self.config, *state).stdout
        printed = run(*loader, input=said).stdout.splitlines()
        assert printed, "the loader printed no STATE"
        self.state.write_text(printed[-1])
        return messages(said)


BEFORE = [["ada", "ada@example.test"], ["grace", "grace@example.test"], ["linus", "linus@example.test"]]
AFTER = [["ada", "countess@example.test"], ["edsger", "edsger@example.test"], ["linus", "linus@example.test"]]


@pytest.fixture
def warehouse(postgres, tmp_path, request):
    """target-postgres with a schema of its own, and a query for its people."""
    schema = "".join(c if c.isalnum() else "_" for c in request.node.name)
    settings = {
        "host": "127.0.0.1", "port": postgres.port, "user": "postgres", "password": "", "database": "postgres",
        "default_target_schema": schema, "hard_delete": True,
    }  # fmt: skip
    config = tmp_path / "target-postgres.json"
    config.write_text(json.dumps(settings))
    loader = [venv("singer", "target-postgres"), "--config", config]
    return loader, lambda what="uid, mail": postgres.query(f"select {what} from {schema}.users order by uid, mail")


def test_full_table_into_postgres_with_a_deletion(source, tmp_path, warehouse):
    loader, rows = warehouse
    tap = Tap(source, tmp_path, "FULL_TABLE")
    said = tap.into(*loader)
    assert rows() == BEFORE and said[-2]["type"] == "ACTIVATE_VERSION"
    modify(source, CHANGES)
    tap.into(*loader)
    assert rows() == AFTER


def test_incremental_into_postgres(source, tmp_path, warehouse):
    loader, rows = warehouse
    tap = Tap(source, tmp_path, "INCREMENTAL", replication_key="modifyTimestamp")
    tap.into(*loader)
    modify(source, CHANGES)
    said = tap.into(*loader)
    # Who was deleted is not noticed by this method, and nothing comes that did not change.
    assert sorted(m["record"]["uid"] for m in said if m["type"] == "RECORD") == ["ada", "edsger"]
    assert rows() == sorted([*AFTER, ["grace", "grace@example.test"]])


def test_log_based_into_postgres(source, tmp_path, warehouse):
    loader, rows = warehouse
    tap = Tap(source, tmp_path, "LOG_BASED")
    tap.into(*loader)
    modify(source, CHANGES)
    said = tap.into(*loader)
    gone = [m["record"] for m in said if m["type"] == "RECORD" and m["record"]["_sdc_deleted_at"]]
    assert len(gone) == 1 and len([m for m in said if m["type"] == "RECORD"]) == 3
    there = rows("uid, mail, _sdc_deleted_at is null")
    assert [row[:2] for row in there if row[2] == "t"] == AFTER
    assert [row[2] for row in there].count("f") == 1


def test_into_jsonl(source, tmp_path):
    config = tmp_path / "target-jsonl.json"
    config.write_text(json.dumps({"destination_path": str(tmp_path), "do_timestamp_file": False}))
    said = Tap(source, tmp_path, "FULL_TABLE").into(venv("jsonl", "target-jsonl"), "--config", config)
    loaded = messages((tmp_path / "users.jsonl").read_text())
    assert loaded == [m["record"] for m in said if m["type"] == "RECORD"] and len(loaded) == 3


def test_log_based_into_duckdb(source, tmp_path):
    config, database = tmp_path / "target-duckdb.json", tmp_path / "warehouse.duckdb"
    settings = {"path": str(database), "default_target_schema": "ldap", "add_metadata_columns": True, "hard_delete": True}
    config.write_text(json.dumps(settings))
    loader = [venv("singer", "target-duckdb"), "--config", config]
    tap = Tap(source, tmp_path, "LOG_BASED")

    def rows():
        with duckdb.connect(str(database)) as warehouse:
            return [list(row) for row in warehouse.execute("select uid, mail from ldap.users order by uid").fetchall()]

    tap.into(*loader)
    assert rows() == BEFORE
    modify(source, CHANGES)
    tap.into(*loader)
    assert rows() == AFTER


def test_a_csv_file_into_the_directory(slapds, tmp_path):
    """The guide's way from a list of staff to accounts, with a tap of the SDK."""
    people = tmp_path / "people.csv"
    people.write_text('id,login,first,last,mail\n7,ada,Ada,Lovelace,ada@example.test\n8,,Grace,Hopper,grace@example.test\n9,"o,brien",Úna,O\'Brien,una@example.test\n')
    tap = tmp_path / "tap.json"
    tap.write_text(json.dumps({"files": [{"path": str(people), "format": "csv", "table_name": "people", "primary_keys": ["id"]}]}))
    server = slapds("slapd", SUFFIX_LDIF)
    rule = {
        "dn_template": "uid={login},ou=people,dc=example,dc=test", "object_classes": ["inetOrgPerson"],
        "attribute_mapping": {"login": "uid", "last": "sn", "first": "givenName", "mail": "mail", "id": "employeeNumber"},
        "values": {"cn": "{first} {last}"},
    }  # fmt: skip
    rejects = tmp_path / "rejects.jsonl"
    target = server.config("target.json", base_dn=None, mapping_rules={"people": rule}, on_error="skip", reject_file=str(rejects))
    said = run(venv("tap", "tap-spreadsheets"), "--config", tap).stdout
    done = run(BIN / "target-ldap", "--config", target, input=said, code=4)
    found = entries(server, PEOPLE, "(objectClass=person)", "cn", "employeeNumber")
    assert found == {
        f"uid=ada,{PEOPLE}": {"cn": ["Ada Lovelace"], "employeeNumber": ["7"]},
        f"uid=o\\2Cbrien,{PEOPLE}": {"cn": ["Úna O'Brien"], "employeeNumber": ["9"]},
    }, done.stderr
    # Who has no login is put aside, with the reason.
    rejected = [m for m in messages(rejects.read_text()) if m["type"] == "REJECT"]
    assert len(rejected) == 1 and "login" in rejected[0]["reason"], rejected
