"""What a 389 Directory Server writes for its replicas (db2ldif -r), and what replication leaves in conflict."""

import people
import pytest
from directories import wait_until
from test_configuration import about
from test_memberships import add_group, members
from writing import change, dn, numbers, report, send, tap

V, D = "vucsn-660c4965000000010000", "vdcsn-660c4965000000020000"
MARKS = [f"member;{V};{D};deleted", f"member;{V}", "title;adcsn-660c4965000000010000;vucsn-660c4965000000010000", "title;deleted", "title;mdcsn-660c4965000000010000;deletedattribute"]


def told(settings, folder):
    """What the tap logs as warnings."""
    return "\n".join(line["message"] for line in tap(settings, folder)[1])


def exported(directory):
    """A group that eve was taken out of, a person, and a deleted person."""
    suffix = directory.suffix
    return "\n".join([
        "version: 1", "",
        f"dn: cn=chiefs,ou=groups,{suffix}", "objectClass: groupOfNames", f"cn;{V};mdcsn-660c4965000000010000: chiefs",
        f"member;{V}: {dn(directory, 'ada')}", f"member;{V};{D};deleted: {dn(directory, 'eve')}", "",
        f"dn: {dn(directory, 'new')}", f"objectClass;{V}: top", f"objectClass;{V}: inetOrgPerson", f"uid;{V};mdcsn-660c4965000000010000: new",
        "cn: New", f"sn;adcsn-660c4965000000010000;{V}: Now", f"sn;{V};{D};deleted: Then", f"mail;adcsn-660c4965000000010000;{V}: new@example.com", "",
        f"dn: nsuniqueid=5f5f0b0a-0a0b11ee-8000a000-00000000,{dn(directory, 'gone')}", "objectClass: top", "objectClass: inetOrgPerson",
        "objectClass: nsTombstone", "uid: gone", "cn: Gone", "sn: Gone", "nsParentUniqueId: 5f5f0b0a-0a0b11ee-8000a000-00000001", "", "",
    ])  # fmt: skip


def test_what_an_export_marks_as_deleted_is_left_out(directory, writing):
    add_group(directory, "chiefs", dn(directory, "ada"))
    service = writing(directory)
    plan = report(send(service, exported(directory), dry_run=True, accept="application/json"))
    result = report(send(service, exported(directory)))
    left_out = {"line": 3, "deleted_values": 2, "deleted_entries": 1}
    assert plan["replication_state"] == result["replication_state"] == left_out
    assert result["complete"] and result["records"] == 2 and result["rejects"] == []
    assert members(directory, "chiefs") == {dn(directory, "ada").lower()}
    assert numbers(plan) == numbers(result) == {"added": 1, "modified": 0, "renamed": 0, "deleted": 0, "unchanged": 1, "rejected": 0}
    found = directory.values(dn(directory, "new"), "*")
    assert (found["sn"], found["mail"]) == ([b"Now"], [b"new@example.com"]) and not any(";" in name for name in found)
    assert service.log(deleted_values=2, deleted_entries=1)
    # A file without it says nothing of it.
    assert "replication_state" not in report(send(service, people.entry(dn(directory, "plain"), objectClass="inetOrgPerson", uid="plain", cn="p", sn="p")))


@pytest.mark.parametrize("name", MARKS)
def test_change_records_have_no_replication_state(directory, writing, name):
    add_group(directory, "chiefs", dn(directory, "ada"))
    service = writing(directory)
    is_member = name.startswith("member")
    entry = f"cn=chiefs,ou=groups,{directory.suffix}" if is_member else dn(directory, "ada")
    value = dn(directory, "eve") if is_member else "x"
    for kind in ("add", "replace"):
        result = report(send(service, change(entry, "changetype: modify", f"{kind}: {name}", f"{name}: {value}")))
        (reject,) = result["rejects"]
        assert (reject["attribute"], result["modified"]) == (name, 0)
    added = change(dn(directory, "other"), "changetype: add", "objectClass: inetOrgPerson", "uid: other", "cn: o", "sn: o", f"{name}: {value}")
    assert report(send(service, added))["added"] == 0


# Conflicts


def test_conflicts_of_active_directory_are_named(samba, writing, tmp_path):
    suffix = samba.suffix
    for unit in ("people", "groups"):
        samba.modify(f"dn: OU={unit},{suffix}\nchangetype: add\nobjectClass: organizationalUnit\n")
    twin = f"CN=Foo Bar\\0ACNF:5f5f0b0a-0a0b-4c4c-8d8d-0123456789ab,OU=people,{suffix}"
    for entry, name in ((f"CN=Foo Bar,OU=people,{suffix}", "foo"), (twin, "$DUPLICATE-1234")):
        samba.add(people.entry(entry, objectClass="user", sAMAccountName=name))
    service = writing(
        samba, server_url=samba.tls_url, tls_ca_file=samba.ca, bind_dn=samba.admin, bind_password=samba.admin_password,
        users={"base_dn": f"OU=people,{suffix}"}, groups={"base_dn": f"OU=groups,{suffix}"}, roles=[],
    )  # fmt: skip
    (finding,) = [c for c in about(service, "doctor", "--format", "json")[1]["checks"] if c["name"] == "conflicts"]
    assert finding["result"] == "warning" and "CNF:" in finding["detail"] and "1 entries" in finding["detail"]
    assert wait_until(lambda: [line for line in service.log(level="warning") if "CNF:" in line["message"]], what="the warning")
    settings = {"server_url": samba.tls_url, "tls_ca_file": samba.ca, "bind_dn": samba.admin, "bind_password": samba.admin_password,
        "schemas": [{"name": "users", "base_dn": f"OU=people,{suffix}", "filter": "(objectClass=user)", "attributes": ["cn"]}]}  # fmt: skip
    assert "CNF:" in told(settings, tmp_path)


def test_conflicts_in_a_file_are_named(tmp_path):
    file = tmp_path / "export.ldif"
    person = people.entry("uid=a,ou=people,dc=x", objectClass="inetOrgPerson", uid="a", cn="a", sn="a", nsds5ReplConflict="namingConflict (ADD) uid=a,ou=people,dc=x")
    file.write_text("dn: dc=x\nobjectClass: domain\ndc: x\n\ndn: ou=people,dc=x\nobjectClass: organizationalUnit\nou: people\n\n" + person)
    assert "nsds5ReplConflict" in told({"server_url": f"ldif:{file}", "schemas": [{"name": "users", "base_dn": "dc=x", "filter": "(uid=*)", "attributes": ["uid"]}]}, tmp_path)
