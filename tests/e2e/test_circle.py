"""A directory into DuckDB, dbt over it, and back into a second directory, run by Meltano."""

import os
import shutil

import pytest
from conftest import BIN, MELTANO, ROOT, run, venv
from ldap import SUFFIX_LDIF, entries, entry, modify, unit
from slapd import PASSWORD, SUFFIX

SYNCPROV = {"modules": "moduleload syncprov\n", "overlays": "overlay syncprov\nsyncprov-sessionlog 1000\n"}
PEOPLE, GROUPS, IMPORTED = f"ou=people,{SUFFIX}", f"ou=groups,{SUFFIX}", f"ou=imported,{SUFFIX}"


def person(uid, mail, **more):
    """LDIF of a person of the source."""
    attributes = {"uid": uid, "cn": f"{uid.title()} Test", "sn": "Test", "mail": mail, **more}
    return entry(f"uid={uid},{PEOPLE}", objectClass="inetOrgPerson", **attributes)


SOURCE = (
    SUFFIX_LDIF + unit("people") + unit("groups")
    + person("ada", "Ada@Example.Test", departmentNumber="42", description="not taken along")
    + person("grace", "grace@example.test", departmentNumber="R&D")
    + person("linus", "linus@example.test")
    + person("margaret", "margaret@example.test", departmentNumber="7")
    + entry(f"uid=nomail,{PEOPLE}", objectClass="inetOrgPerson", uid="nomail", cn="No Mail", sn="Mail")
    + entry(f"cn=devs,{GROUPS}", objectClass="groupOfNames", cn="devs", description="Writes things",
            member=[f"UID=Ada,{PEOPLE}", f"uid=linus,{PEOPLE}", f"uid=nomail,{PEOPLE}"])
    + entry(f"cn=ghosts,{GROUPS}", objectClass="groupOfNames", cn="ghosts", member=f"uid=nobody,{PEOPLE}")
)  # fmt: skip

CHANGES = f"""dn: uid=ada,{PEOPLE}
changetype: modify
replace: mail
mail: Countess@Example.Test
-
replace: departmentNumber
departmentNumber: 43

dn: uid=linus,{PEOPLE}
changetype: delete

dn: uid=grace,{PEOPLE}
changetype: modrdn
newrdn: uid=hopper
deleteoldrdn: 1

dn: uid=margaret,{PEOPLE}
changetype: modify
delete: mail

dn: uid=nomail,{PEOPLE}
changetype: modify
add: mail
mail: now@example.test

dn: uid=edsger,{PEOPLE}
changetype: add
objectClass: inetOrgPerson
uid: edsger
cn: Edsger Test
sn: Test
mail: edsger@example.test

dn: cn=devs,{GROUPS}
changetype: modify
delete: member
member: uid=linus,{PEOPLE}
-
add: member
member: uid=hopper,{PEOPLE}

dn: cn=ghosts,{GROUPS}
changetype: delete

"""


def user(uid, cn, mail, sn="Test", department=None):
    """A person of the destination, as it has to be."""
    found = {"objectClass": ["inetOrgPerson"], "uid": [uid], "cn": [cn], "sn": [sn], "mail": [mail]}
    return f"uid={uid},ou=users,{IMPORTED}", {**found, **({"departmentNumber": [department]} if department else {})}


def group(cn, description, *uids):
    """A group of the destination, as it has to be."""
    members = sorted(f"uid={uid},ou=users,{IMPORTED}" for uid in uids)
    return f"cn={cn},ou=groups,{IMPORTED}", {
        "objectClass": ["groupOfNames"], "cn": [cn], "description": [description], "member": members,
    }  # fmt: skip


UNITS = [(IMPORTED, "imported"), (f"ou=users,{IMPORTED}", "users"), (f"ou=groups,{IMPORTED}", "groups")]
EXPECTED_UNITS = {dn: {"objectClass": ["organizationalUnit"], "ou": [ou]} for dn, ou in UNITS}


@pytest.fixture
def project(tmp_path):
    """The Meltano project, with the executables it names."""
    project = tmp_path / "project"
    shutil.copytree(ROOT / "tests" / "e2e" / "circle", project)
    ignored = shutil.ignore_patterns("target", "dbt_packages", "logs", "package-lock.yml", "integration_tests")
    shutil.copytree(ROOT / "dbt", project / "ldap-package", ignore=ignored)
    (project / "bin").mkdir()
    for program in (BIN / "tap-ldap", BIN / "target-ldap", venv("dbt", "dbt"), venv("singer", "target-duckdb")):
        (project / "bin" / program.name).symlink_to(program)
    return project


def test_there_and_back_twice(slapds, project):
    source = slapds("source", SOURCE, **SYNCPROV)
    destination = slapds("destination", SUFFIX_LDIF)
    environment = {
        **os.environ, "SOURCE_URL": source.url, "DESTINATION_URL": destination.url, "LDAP_PASSWORD": PASSWORD,
        "HOME": str(project / "home"), "NO_COLOR": "1", "MELTANO_SEND_ANONYMOUS_USAGE_STATS": "false",
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
    }  # fmt: skip

    def circle():
        steps = ["tap-ldap", "target-duckdb", "dbt:build", "dbt:sync", "tap-singer-file", "target-ldap"]
        run(MELTANO, "run", *steps, cwd=project, env=environment)
        return entries(destination, IMPORTED)

    run(MELTANO, "invoke", "dbt:deps", cwd=project, env=environment)
    assert circle() == EXPECTED_UNITS | dict([
        user("ada", "Ada Test", "ada@example.test", department="42"),
        user("grace", "Grace Test", "grace@example.test"),
        user("linus", "Linus Test", "linus@example.test"),
        user("margaret", "Margaret Test", "margaret@example.test", department="7"),
        group("devs", "Writes things", "ada", "linus"),
    ])  # fmt: skip

    modify(source, CHANGES)
    changed = EXPECTED_UNITS | dict([
        user("ada", "Ada Test", "countess@example.test", department="43"),
        user("hopper", "Grace Test", "grace@example.test"),
        user("nomail", "No Mail", "now@example.test", sn="Mail"),
        user("edsger", "Edsger Test", "edsger@example.test"),
        group("devs", "Writes things", "ada", "nomail", "hopper"),
    ])  # fmt: skip
    assert circle() == changed

    # Nothing changed: nothing is written.
    before = entries(destination, IMPORTED, "(objectClass=*)", "modifyTimestamp", "entryCSN")
    assert circle() == changed
    assert entries(destination, IMPORTED, "(objectClass=*)", "modifyTimestamp", "entryCSN") == before
