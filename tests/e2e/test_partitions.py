"""A directory in partitions, each a job of Dagster with its own STATE."""

import json

import pytest
from conftest import BIN, ROOT, run, venv
from ldap import SUFFIX_LDIF, entry, modify, unit
from slapd import ADMIN, PASSWORD, SUFFIX

PEOPLE = 60
UNITS = ["emea", "apac", "americas"]


def person(i):
    """LDIF of a person, in one of the units."""
    ou = UNITS[i % len(UNITS)]
    return entry(f"uid=p{i},ou={ou},{SUFFIX}", objectClass="inetOrgPerson", uid=f"p{i}", cn=f"P {i}", sn="P", employeeNumber=i)


@pytest.fixture
def source(slapds):
    ldif = SUFFIX_LDIF + "".join(map(unit, UNITS)) + "".join(map(person, range(PEOPLE)))
    return slapds("source", ldif, modules="moduleload syncprov\n", overlays="overlay syncprov\nsyncprov-sessionlog 1000\n")


class Partitions:
    """A plan's file, and its runs."""

    def __init__(self, folder, source, postgres, how, schema, **more):
        loader = folder / "target-postgres.json"
        settings = {"host": "127.0.0.1", "port": postgres.port, "user": "postgres", "password": "", "database": "postgres"}
        loader.write_text(json.dumps({**settings, "default_target_schema": schema, "process_activate_version_messages": False}))
        self.plan, self.state = folder / "plan.json", folder / "state"
        stream = {"name": "users", "base_dn": SUFFIX, "filter": "(objectClass=person)", "attributes": ["uid"]}
        self.plan.write_text(json.dumps({
            "tap": [str(BIN / "tap-ldap")],
            "tap_config": {"server_url": source.url, "bind_dn": ADMIN, "bind_password": PASSWORD, "base_dn": SUFFIX, "single_valued": ["uid"]},
            "loader": [str(venv("singer", "target-postgres")), "--config", str(loader)],
            "state_dir": str(self.state),
            "stream": {**stream, "replication_method": "LOG_BASED"},
            "partitions": how,
            "retry_seconds": 0.1,
            **more,
        }))  # fmt: skip

    def run(self, *names, code=0):
        """Runs partitions, all without names: what became of each."""
        done = run(venv("dagster", "python"), ROOT / "orchestrate" / "dagster" / "run.py", self.plan, *names, code=code)
        return {said.pop("partition"): said for said in map(json.loads, done.stdout.splitlines())}


def test_ranges_of_an_id_that_never_changes(source, postgres, tmp_path):
    partitions = Partitions(tmp_path, source, postgres, {"uuid_ranges": 2, "same_stream": True}, "by_range")
    first = partitions.run()
    assert set(first) == {"range_000", "range_001"} and all(said["ok"] for said in first.values()), first
    # Each entry is in one partition, and none in two.
    assert sum(said["records"] for said in first.values()) == PEOPLE
    assert postgres.query("select count(*), count(distinct uid) from by_range.users") == [[str(PEOPLE)] * 2]
    assert len({path.read_text() for path in partitions.state.glob("*.json")}) == 2

    modify(source, f"dn: uid=p0,ou=emea,{SUFFIX}\nchangetype: modify\nreplace: sn\nsn: Changed\n\n"
                   f"dn: uid=p1,ou=apac,{SUFFIX}\nchangetype: modrdn\nnewrdn: uid=moved\ndeleteoldrdn: 1\nnewsuperior: ou=emea,{SUFFIX}\n")  # fmt: skip
    second = partitions.run()
    assert all(said["ok"] and said["resumed"] for said in second.values()), second
    # What changed, and what moved: its old name's deletion, then the record with the new one.
    assert sum(said["records"] for said in second.values()) == 3
    # A server's log tells every partition of what changed in the others.
    assert postgres.query("select count(*) from by_range.users where _sdc_deleted_at is not null") == [["0"]]
    assert postgres.query("select count(*) from by_range.users") == [[str(PEOPLE)]]
    assert postgres.query("select dn from by_range.users where uid = 'moved'") == [[f"uid=moved,ou=emea,{SUFFIX}"]]


def test_containers_are_streams_of_their_own(source, postgres, tmp_path):
    how = {"containers": [f"ou={ou},{SUFFIX}" for ou in UNITS]}
    done = Partitions(tmp_path, source, postgres, how, "by_container").run("emea", "apac")
    assert {name: said["records"] for name, said in done.items()} == {"emea": PEOPLE // 3, "apac": PEOPLE // 3}
    assert postgres.query("select count(*) from by_container.users_emea") == [[str(PEOPLE // 3)]]


def test_a_failure_is_retried_and_no_other_partitions_business(source, postgres, tmp_path):
    partitions = Partitions(tmp_path, source, postgres, {"attribute": "entryCSN", "bounds": ["20200101000000.000000Z#000000#000#000000"]}, "faulty", retries=1)
    # A loader that fails the first time it is started in a run, for the partition with records; and always, once it is told so.
    plan = json.loads(partitions.plan.read_text())
    broken, tried = tmp_path / "broken", tmp_path / "tried"
    script = tmp_path / "loader.sh"
    command = " ".join(f"'{part}'" for part in plan["loader"])
    script.write_text(f"#!/bin/sh\nset -e\ninput=$(cat)\ncase $input in *'\"RECORD\"'*)\n[ ! -e {broken} ] && [ -e {tried} ] || {{ touch {tried}; exit 1; }} ;;\nesac\nprintf '%s\\n' \"$input\" | {command}\n")
    script.chmod(0o755)
    partitions.plan.write_text(json.dumps({**plan, "loader": [str(script)]}))
    first = partitions.run()
    assert {n: (s["ok"], s["retries"]) for n, s in first.items()} == {"range_000": (True, 0), "range_001": (True, 1)}, first
    assert first["range_001"]["records"] == PEOPLE

    before = (partitions.state / "range_001.json").read_text()
    broken.touch()
    modify(source, f"dn: uid=p0,ou=emea,{SUFFIX}\nchangetype: modify\nreplace: sn\nsn: Changed\n")
    second = partitions.run(code=1)
    assert {n: s["ok"] for n, s in second.items()} == {"range_000": True, "range_001": False}
    # What failed begins again where it was.
    assert (partitions.state / "range_001.json").read_text() == before
    broken.unlink()
    assert partitions.run("range_001")["range_001"]["records"] == 1


def test_a_mistake_is_not_retried(source, postgres, tmp_path):
    partitions = Partitions(tmp_path, source, postgres, {"uuid_ranges": 1}, "mistake", tap_config={"server_url": "nonsense"})
    assert partitions.run(code=1) == {"range_000": {"ok": False, "retries": 0}}
