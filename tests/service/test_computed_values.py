"""Values that 389 Directory Server computes, by classes of service and roles: they are no values of the entry."""

import json
import subprocess

import people
import pytest
from directories import parse_entry
from writing import TARGET_LDAP, USER, change, dn, ok, patch, replace, report, scim, send, tap, undo, undo_files, user

REAL_ONLY = "!2.16.840.1.113730.3.4.17"
ROLE = "cn=disabledrole"


def own(directory, entry, *names):
    """What an entry has of its own: {attribute in small letters: values}."""
    asked = ("-LLL", "-o", "ldif-wrap=no", "-e", REAL_ONLY, "-s", "base", "-b", entry, "(objectClass=*)", *names)
    found = parse_entry(directory.client("ldapsearch", *asked, stdout=subprocess.PIPE).stdout)
    return {name.lower(): sorted(values) for name, values in found.items()}


def shown(directory, entry, *names):
    return {name.lower(): sorted(values) for name, values in directory.values(entry, *names).items()}


@pytest.fixture
def computing(ds389):
    """A server with a role that disables, and a class of service that gives `title` its value."""
    suffix = ds389.suffix
    role, templates = f"{ROLE},{suffix}", f"cn=inactivation,{suffix}"
    definitions = [
        (role, {"objectClass": ["LdapSubEntry", "nsRoleDefinition", "nsSimpleRoleDefinition", "nsManagedRoleDefinition"], "cn": "disabledrole"}),
        (templates, {"objectClass": "nsContainer", "cn": "inactivation"}),
        (f'cn="{role}",{templates}', {"objectClass": ["extensibleObject", "costemplate", "ldapsubentry"], "cn": role, "cosPriority": "1", "nsAccountLock": "true"}),
        (f"cn=inactivation_cos,{suffix}", {"objectClass": ["LdapSubEntry", "cosSuperDefinition", "cosClassicDefinition"], "cn": "inactivation_cos",
            "cosTemplateDn": templates, "cosSpecifier": "nsrole", "cosAttribute": "nsAccountLock operational"}),
    ]  # fmt: skip
    for name, attributes in definitions:
        ds389.add(people.entry(name, **attributes))
    for name in ("h1", "h2", "h3"):
        ds389.add(people.entry(dn(ds389, name), objectClass="inetOrgPerson", uid=name, cn=name, sn=name))
    return ds389


def by_role(directory, name):
    directory.modify(f"dn: {dn(directory, name)}\nchangetype: modify\nadd: nsRoleDN\nnsRoleDN: {ROLE},{directory.suffix}\n")


def lifted(directory, name):
    directory.modify(f"dn: {dn(directory, name)}\nchangetype: modify\ndelete: nsRoleDN\n")


def give(directory, name, **attributes):
    for attribute, value in attributes.items():
        directory.modify(f"dn: {dn(directory, name)}\nchangetype: modify\nreplace: {attribute}\n{attribute}: {value}\n")


def service_class(directory, attribute, value, qualifier):
    """A class of service for all people."""
    suffix = directory.suffix
    template = f"cn=template-{attribute},{suffix}"
    directory.add(people.entry(template, objectClass=["extensibleObject", "costemplate", "ldapsubentry"], cn=f"template-{attribute}", **{attribute: value}))
    directory.add(people.entry(f"cn=cos-{attribute},ou=people,{suffix}", objectClass=["LdapSubEntry", "cosSuperDefinition", "cosPointerDefinition"],
        cn=f"cos-{attribute}", cosTemplateDn=template, cosAttribute=f"{attribute} {qualifier}"))  # fmt: skip


# Locks


def test_a_lock_of_the_accounts_own_is_kept_where_a_role_locks_it_too(computing, writing):
    by_role(computing, "h1")
    give(computing, "h1", nsAccountLock="true")
    service = writing(computing)
    path = f"/Users/{user(service, 'h1')}"
    answer = patch(service, path, replace("active", True), status=502)
    assert "undo-file" not in answer.headers and service.log(level="warning", dn=dn(computing, "h1"))
    assert own(computing, dn(computing, "h1"), "nsAccountLock") == {"nsaccountlock": [b"true"]}
    # Without one, there is nothing to take away, and the account is locked all the same.
    by_role(computing, "h2")
    patch(service, f"/Users/{user(service, 'h2')}", replace("active", True), status=502)
    lifted(computing, "h1")
    assert ok(scim(service, "GET", path)).json()["active"] is False
    patch(service, path, replace("active", True))
    assert own(computing, dn(computing, "h1"), "nsAccountLock") == {}


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
def test_a_disabled_account_gets_a_lock_of_its_own(computing, writing, method):
    by_role(computing, "h1")
    service = writing(computing)
    path = f"/Users/{user(service, 'h1')}"
    if method == "PATCH":
        answer = patch(service, path, replace("active", False))
    else:
        answer = ok(scim(service, "PUT", path, {"schemas": [USER], "userName": "h1", "name": {"familyName": "h1"}, "active": False}))
    assert answer.json()["active"] is False
    assert own(computing, dn(computing, "h1"), "nsAccountLock") == {"nsaccountlock": [b"TRUE"]}
    lifted(computing, "h1")
    assert ok(scim(service, "GET", path)).json()["active"] is False
    files = undo_files(service)
    patch(service, path, replace("active", False))
    assert undo_files(service) == files


def test_a_lock_behind_what_is_shown_is_taken_off(computing, writing):
    service_class(computing, "nsAccountLock", "false", "operational")
    give(computing, "h1", nsAccountLock="true")
    service = writing(computing)
    path = f"/Users/{user(service, 'h1')}"
    assert ok(scim(service, "GET", path)).json()["active"] is True
    assert patch(service, path, replace("active", True)).json()["active"] is True
    assert own(computing, dn(computing, "h1"), "nsAccountLock") == {}
    # A lock that nobody would see is no lock.
    patch(service, path, replace("active", False), status=502)
    assert own(computing, dn(computing, "h1"), "nsAccountLock") == {}


# Attributes


def test_a_value_behind_a_computed_one_is_not_changed_by_what_is_refused(computing, writing):
    service_class(computing, "title", "Company Title", "override")
    give(computing, "h1", title="Real Title")
    service = writing(computing)
    entry, path = dn(computing, "h1"), f"/Users/{user(service, 'h1')}"
    assert ok(scim(service, "GET", path)).json()["title"] == "Company Title"
    answer = patch(service, path, replace("title", "Boss"), status=502)
    assert "undo-file" not in answer.headers and service.log(level="warning", dn=entry, attribute="title")
    assert own(computing, entry, "title") == {"title": [b"Real Title"]}
    files = undo_files(service)
    # The removal is done once the entry has none of its own, and the undo gives that one back.
    patch(service, path, {"op": "remove", "path": "title"})
    assert own(computing, entry, "title") == {} and shown(computing, entry, "title") == {"title": [b"Company Title"]}
    (file,) = set(undo_files(service)) - set(files)
    undo(computing, file, service.folder)
    assert own(computing, entry, "title") == {"title": [b"Real Title"]}


def test_clients_that_do_not_send_what_is_computed(computing, writing):
    service_class(computing, "telephoneNumber", "+1 555 0000", "default")
    service = writing(computing)
    entry, path = dn(computing, "h1"), f"/Users/{user(service, 'h1')}"
    body = {"schemas": [USER], "userName": "h1", "name": {"familyName": "New"}}
    ok(scim(service, "PUT", path, body))
    assert own(computing, entry, "sn", "telephoneNumber") == {"sn": [b"New"]}
    # What was shown is not what the entry has: a client that sends it back does not make it so.
    whole = ok(scim(service, "GET", path)).json()
    assert whole["phoneNumbers"][0]["value"] == "+1 555 0000"
    ok(scim(service, "PUT", path, {**whole, "displayName": "H"}))
    assert own(computing, entry, "telephoneNumber") == {}
    # A value of its own comes, and goes.
    before = undo_files(service)
    patch(service, path, {"op": "replace", "path": "phoneNumbers", "value": [{"type": "work", "value": "+1 555 0001"}]})
    assert own(computing, entry, "telephoneNumber") == {"telephonenumber": [b"+1 555 0001"]}
    (file,) = set(undo_files(service)) - set(before)
    undo(computing, file, service.folder)
    assert own(computing, entry, "telephoneNumber") == {}
    patch(service, path, {"op": "replace", "path": "phoneNumbers", "value": [{"type": "work", "value": "+1 555 0001"}]})
    patch(service, path, {"op": "remove", "path": 'phoneNumbers[type eq "work"]'})
    assert own(computing, entry, "telephoneNumber") == {}


def test_the_undo_of_a_deletion_has_the_entrys_own_values(computing, writing):
    service_class(computing, "title", "Company Title", "default")
    by_role(computing, "h1")
    service = writing(computing)
    entry = dn(computing, "h1")
    before = own(computing, entry, "*", "nsAccountLock", "nsRoleDN")
    ok(scim(service, "DELETE", f"/Users/{user(service, 'h1')}"), 204)
    (file,) = undo_files(service)
    assert b"Company Title" not in file.read_bytes()
    undo(computing, file, service.folder)
    assert own(computing, entry, "*", "nsAccountLock", "nsRoleDN") == before
    assert shown(computing, entry, "title", "nsAccountLock") == {"title": [b"Company Title"], "nsaccountlock": [b"true"]}


def test_an_import_plans_with_the_entrys_own_values(computing, writing):
    service_class(computing, "title", "Company Title", "default")
    service = writing(computing)
    entry = dn(computing, "h1")
    result = report(send(service, people.entry(entry, objectClass="inetOrgPerson", uid="h1", cn="h1", sn="h1", title="Company Title")))
    assert result["modified"] == 1 and own(computing, entry, "title") == {"title": [b"Company Title"]}
    # What is written and not seen is counted.
    service_class(computing, "l", "Everywhere", "override")
    result = report(send(service, change(entry, "changetype: modify", "replace: l", "l: Here")))
    assert result["modified"] == 1 and result["shown_otherwise"] == {"l": 1}
    result = report(send(service, people.entry(dn(computing, "h2"), objectClass="inetOrgPerson", uid="h2", cn="h2", sn="h2", l="Here")))
    assert result["modified"] == 1 and result["shown_otherwise"] == {"l": 1}
    result = report(send(service, change(entry, "changetype: delete")))
    assert result["deleted"] == 1


# target-ldap


def target(directory, folder, *records, code=0):
    rule = {
        "dn_template": f"uid={{uid}},ou=people,{directory.suffix}", "object_classes": ["inetOrgPerson"],
        "attribute_mapping": {"uid": "uid", "title": "title"}, "accounts": {"enabled": "employed"},
    }  # fmt: skip
    settings = {"server_url": directory.url, "bind_dn": directory.admin, "bind_password": directory.admin_password,
        "mapping_rules": {"users": rule}, "undo_file": str(folder / "undo.ldif")}  # fmt: skip
    config = folder / "target.json"
    config.write_text(json.dumps(settings))
    config.chmod(0o600)
    properties = {"uid": {"type": "string"}, "title": {}, "employed": {}}
    lines = [{"type": "SCHEMA", "stream": "users", "key_properties": ["uid"], "schema": {"type": "object", "properties": properties}}]
    lines += [{"type": "RECORD", "stream": "users", "record": record} for record in records]
    text = "\n".join(json.dumps(line) for line in lines) + "\n"
    done = subprocess.run([TARGET_LDAP, "--config", config, "--log-format", "json"], input=text.encode(), capture_output=True)
    assert done.returncode == code, done.stderr.decode()
    (folder / "undo.ldif").unlink(missing_ok=True)
    found = [json.loads(line) for line in done.stderr.decode().splitlines() if line.startswith("{")]
    return {(line.get("dn"), line.get("attribute")) for line in found if line.get("level", "").lower().startswith("warn")}


def test_the_target_writes_what_the_entry_has_and_says_what_is_shown(computing, tmp_path):
    service_class(computing, "title", "Company Title", "override")
    by_role(computing, "h1")
    by_role(computing, "h2")
    give(computing, "h1", nsAccountLock="true")
    give(computing, "h3", title="Own")
    entries = {name: dn(computing, name) for name in ("h1", "h2", "h3")}
    records = [{"uid": "h1", "employed": True}, {"uid": "h2", "employed": False}, {"uid": "h3", "title": "Boss", "employed": True}]
    expected = {(entries["h1"], "nsAccountLock"), (entries["h3"], "title")}
    # The second run finds nothing to do, and does not keep quiet about it.
    for _ in range(2):
        assert expected <= target(computing, tmp_path, *records)
        assert own(computing, entries["h1"], "nsAccountLock") == {}
        assert own(computing, entries["h2"], "nsAccountLock") == {"nsaccountlock": [b"TRUE"]}
        assert own(computing, entries["h3"], "title") == {"title": [b"Boss"]}
    # A removal has nothing to remove.
    target(computing, tmp_path, {"uid": "h1", "title": None, "employed": True})
    lifted(computing, "h1")
    lifted(computing, "h2")
    assert (entries["h1"], "nsAccountLock") not in target(computing, tmp_path, *records)
    assert shown(computing, entries["h2"], "nsAccountLock") == {"nsaccountlock": [b"TRUE"]}


# tap-ldap


def tapped(directory, folder, **more):
    """The records of the people, and the warnings as (stream, attribute)."""
    settings = {"server_url": directory.url, "bind_dn": directory.admin, "bind_password": directory.admin_password,
        "schemas": [{"name": "users", "base_dn": f"ou=people,{directory.suffix}", "filter": "(uid=h1)", "attributes": ["uid", "title"],
            "replication_method": "INCREMENTAL", "replication_key": "modifyTimestamp"}], **more}  # fmt: skip
    lines, warnings = tap(settings, folder)
    return [line["record"] for line in lines if line["type"] == "RECORD"], {(line.get("stream"), line.get("attribute")) for line in warnings}


def test_the_tap_reads_what_is_shown_or_what_the_entry_has(computing, tmp_path):
    service_class(computing, "title", "Company Title", "default")
    (record,), warned = tapped(computing, tmp_path)
    assert record["title"] in ("Company Title", ["Company Title"]) and ("users", "title") in warned
    (record,), warned = tapped(computing, tmp_path, own_values=True)
    assert record.get("title") is None and ("users", "title") not in warned


def test_an_export_has_the_entrys_own_values(computing, services):
    service_class(computing, "title", "Company Title", "default")
    service = services(computing)
    answer = service.request("GET", "/api/v1/ldap/export", "all", params={"filter": "(uid=h1)"})
    assert answer.status_code == 200 and "uid: h1" in answer.text and "itle" not in answer.text
