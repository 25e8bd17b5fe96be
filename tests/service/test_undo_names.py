"""An undo gives names in groups back only with the entry that they belong to, and leaves none behind."""

import json
import time

import pytest
from conftest import run
from test_memberships import add_group, members
from test_whole_writes import all_of, grouped
from writing import PATCH, TARGET_LDAP, dn, new, ok, patch, replace, scim, undo, user


def left_alone(directory, answer, tmp_path, code=4):
    return undo(directory, tmp_path / "undo" / answer.headers["undo-file"], tmp_path, code=code)


@pytest.mark.parametrize("same", [True, False], ids=["same values", "other values"])
@pytest.mark.parametrize("how", ["delete", "rename"])
def test_an_undo_gives_no_rights_to_the_next_owner_of_a_name(openldap, writing, tmp_path, how, same):
    service = writing(openldap)
    grouped(openldap, service)
    path = f"/Users/{user(service, 'vera')}"
    done = ok(scim(service, "DELETE", path), 204) if how == "delete" else patch(service, path, replace("userName", "vera2"))
    new(service, "vera", **({} if same else {"title": "another"}))
    before = all_of(openldap)
    for _ in range(2):
        left_alone(openldap, done, tmp_path)
        assert all_of(openldap) == before
    if how == "rename":
        # Once the name is free again, both come back together.
        ok(scim(service, "DELETE", f"/Users/{user(service, 'vera')}"), 204)
        left_alone(openldap, done, tmp_path, code=0)
        assert dn(openldap, "vera") in members(openldap, "chiefs") & members(openldap, "boss", "roles")


@pytest.mark.parametrize("next_owner", ["made", "made later", "renamed", "nobody"])
def test_an_undo_of_a_group_gives_nothing_to_another_entry_of_the_name(openldap, writing, tmp_path, next_owner):
    service = writing(openldap)
    grouped(openldap, service)
    body = {"schemas": [PATCH], "Operations": [{"op": "remove", "path": f'members[value eq "{user(service, "vera")}"]'}]}
    group = ok(scim(service, "GET", '/Groups?filter=displayName eq "chiefs"')).json()["Resources"][0]["id"]
    removed = ok(scim(service, "PATCH", f"/Groups/{group}", body))
    openldap.modify(f"dn: cn=boss,ou=roles,{openldap.suffix}\nchangetype: modify\ndelete: member\nmember: {dn(openldap, 'vera')}\n")
    gone = ok(scim(service, "DELETE", f"/Users/{user(service, 'vera')}"), 204)
    if next_owner == "renamed":
        patch(service, f"/Users/{user(service, 'eve')}", replace("userName", "vera"))
    elif next_owner != "nobody":
        time.sleep(1.1 if next_owner == "made later" else 0)
        new(service, "vera")
    before = all_of(openldap)
    left_alone(openldap, removed, tmp_path)
    assert all_of(openldap) == before
    if next_owner == "nobody":
        # It is the same entry, though an undo gives it another identifier.
        left_alone(openldap, gone, tmp_path, code=0)
        left_alone(openldap, removed, tmp_path, code=0)
        assert dn(openldap, "vera") in members(openldap, "chiefs")


@pytest.mark.parametrize("first", ["made", "added"])
def test_an_undo_of_an_addition_leaves_no_name_in_groups(openldap, writing, tmp_path, first):
    service = writing(openldap)
    before = all_of(openldap)
    made = new(service, "vera")
    group = ok(scim(service, "GET", '/Groups?filter=displayName eq "staff"')).json()["Resources"][0]["id"]
    added = patch(service, f"/Groups/{group}", {"op": "add", "path": "members", "value": [{"value": made.json()["id"]}]})
    for answer in (made, added) if first == "made" else (added, made):
        left_alone(openldap, answer, tmp_path, code=0)
        assert dn(openldap, "vera") not in members(openldap, "staff")
    assert all_of(openldap) == before


def test_an_undo_of_an_addition_leaves_the_last_member_of_a_group(openldap, writing, tmp_path):
    service = writing(openldap)
    made = new(service, "vera")
    add_group(openldap, "only", dn(openldap, "vera"))
    before = all_of(openldap)
    said = left_alone(openldap, made, tmp_path)
    assert "cn=only" in said.stderr and all_of(openldap) == before


def test_an_undo_of_a_rename_is_followed_by_groups_that_got_the_new_name_later(openldap, writing, tmp_path):
    service = writing(openldap)
    new(service, "vera")
    renamed = patch(service, f"/Users/{user(service, 'vera')}", replace("userName", "vera2"))
    add_group(openldap, "chiefs", dn(openldap, "vera2"), dn(openldap, "ada"))
    left_alone(openldap, renamed, tmp_path, code=0)
    assert members(openldap, "chiefs") == {dn(openldap, "vera"), dn(openldap, "ada")}


def test_a_run_of_target_ldap_that_deletes_a_member_gives_nothing_to_the_next_one(openldap, writing, tmp_path):
    """The group's record takes the name out: the run, not the service, has made both changes."""
    service = writing(openldap)
    grouped(openldap, service)
    ou = f"ou=roles,{openldap.suffix}"
    settings = {
        "server_url": openldap.url, "bind_dn": openldap.admin, "bind_password": openldap.admin_password,
        "undo_file": str(tmp_path / "run.ldif"), "mapping_rules": {"all": {"object_classes": ["groupOfNames"]}, "people": {}},
    }
    config = tmp_path / "run.json"
    config.write_text(json.dumps(settings))
    config.chmod(0o600)
    texts = {"type": ["null", "array", "string"], "items": {"type": "string"}}
    schema = {"properties": {"dn": {"type": "string"}, "_sdc_deleted_at": texts, "member": texts, "cn": texts}}
    lines = [
        {"type": "SCHEMA", "stream": "all", "key_properties": ["dn"], "schema": schema},
        {"type": "RECORD", "stream": "all", "record": {"dn": f"cn=boss,{ou}", "cn": ["boss"], "member": [dn(openldap, "ada")]}},
        {"type": "RECORD", "stream": "all", "record": {"dn": dn(openldap, "vera"), "_sdc_deleted_at": "2026-01-01T00:00:00Z"}},
    ]
    run(TARGET_LDAP, "--config", config, input="".join(json.dumps(line) + "\n" for line in lines))
    openldap.modify(f"dn: cn=chiefs,ou=groups,{openldap.suffix}\nchangetype: modify\ndelete: member\nmember: {dn(openldap, 'vera')}\n")
    new(service, "vera", title="another")
    before = all_of(openldap)
    undo(openldap, tmp_path / "run.ldif", tmp_path, code=4)
    assert all_of(openldap) == before
