"""The placeholder of groups without members (`empty_group`): an entry of its name would have the rights of each of them."""

import people
import pytest
from test_configuration import about
from test_memberships import add_group, members
from test_scim import start
from writing import GROUP, PATCH, change, dn, report, send

NOBODY = people.group_dn("nobody")


def group(name, *ids):
    return {"schemas": [GROUP], "displayName": name, "members": [{"value": id} for id in ids]}


def test_its_name_is_given_to_no_entry(services, openldap):
    scim = start(services, openldap)
    eve = scim.user("eve")
    other = scim("POST", "/Groups", group("other", eve), status=201)["id"]
    assert "placeholder" in scim("POST", "/Groups", group("nobody", eve), status=403)["detail"]
    rename = {"op": "replace", "path": "displayName", "value": "Nobody"}
    scim("PATCH", f"/Groups/{other}", {"schemas": [PATCH], "Operations": [rename]}, status=403)
    scim("PUT", f"/Groups/{other}", group("nobody", eve), status=403)
    entry = people.entry(NOBODY, objectClass="groupOfNames", cn="nobody", member=people.EVE.dn())
    sub = f"ou=sub,ou=groups,{people.SUFFIX}"
    openldap.add(people.entry(sub, objectClass="organizationalUnit", ou="sub") + people.entry(f"cn=nobody,{sub}", objectClass="device", cn="nobody"))
    for text in (
        entry,
        entry.replace("\n", "\nchangetype: add\n", 1),
        change(people.group_dn("other"), "changetype: modrdn", "newrdn: cn=nobody", "deleteoldrdn: 1"),
        change(f"cn=nobody,{sub}", "changetype: modrdn", "newrdn: cn=nobody", "deleteoldrdn: 1", f"newsuperior: ou=groups,{people.SUFFIX}"),
    ):
        answer = report(send(scim.service, text))
        assert [reject["code"] for reject in answer["rejects"]] == ["protected"], answer
    assert openldap.values(people.group_dn("other"), "cn")["cn"] == [b"other"]


def test_a_name_of_ones_own_and_an_entry_that_moves_with_another(services, openldap):
    place = f"ou=special,ou=groups,{people.SUFFIX}"
    rule = {"groups": {"empty_group": f"cn=none,{place}"}}
    scim = start(services, openldap, write={"mapping_rules": rule, "max_deletes": 10, "undo_dir": "undo"})
    temporary = f"ou=temporary,ou=groups,{people.SUFFIX}"
    openldap.add(people.entry(temporary, objectClass="organizationalUnit", ou="temporary") + people.entry(f"cn=none,{temporary}", objectClass="device", cn="none"))
    answer = report(send(scim.service, change(temporary, "changetype: modrdn", "newrdn: ou=special", "deleteoldrdn: 1")))
    assert [reject["code"] for reject in answer["rejects"]] == ["protected"], answer


@pytest.fixture
def taken(services, openldap):
    """A directory in which an entry has the name."""
    add_group(openldap, "nobody", people.EVE.dn())
    add_group(openldap, "only", people.ADA.dn())
    scim = start(services, openldap, roles=[{"role": "only", "groups": [people.group_dn("only")]}])
    return scim


@pytest.mark.parametrize("way", ["replace", "remove", "put", "user"])
def test_a_group_is_not_emptied_if_an_entry_has_the_name(taken, openldap, way):
    scim, path, ada = taken, f"/Groups/{taken.group('only')}", taken.user("ada")
    if way == "user":
        error = scim("DELETE", f"/Users/{ada}", status=409)
    elif way == "put":
        error = scim("PUT", path, group("only"), status=409)
    else:
        operation = {"op": "replace", "path": "members", "value": []} if way == "replace" else {"op": "remove", "path": f'members[value eq "{ada}"]'}
        error = scim("PATCH", path, {"schemas": [PATCH], "Operations": [operation]}, status=409)
    assert people.group_dn("nobody") in error["detail"] or people.group_dn("only") in error["detail"]
    assert members(openldap, "only") == {dn(openldap, "ada")}
    assert scim.service.login("eve", people.EVE.password).json()["user"]["roles"] == []


def test_a_new_group_without_members_if_an_entry_has_the_name(taken, openldap):
    taken("POST", "/Groups", {"schemas": [GROUP], "displayName": "new"}, status=409)
    code, report, _ = about(taken.service, "--test")
    assert code == 2 and [c for c in report["checks"] if c["name"] == "empty_group" and not c["ok"]], report


@pytest.mark.parametrize("way", ["add", "replace", "later"])
def test_a_real_member_of_the_name_is_kept(taken, openldap, way):
    scim, path = taken, f"/Groups/{taken.group('only')}"
    ada, eve, nobody = scim.user("ada"), scim.user("eve"), scim.group("nobody")
    if way == "later":
        openldap.modify(f"dn: {people.group_dn('only')}\nchangetype: modify\nadd: member\nmember: {NOBODY}\n")
        scim.patch(path, {"op": "add", "path": "members", "value": [{"value": eve}]})
    else:
        scim.patch(path, {"op": way, "path": "members", "value": [{"value": id} for id in (ada, eve, nobody)]})
    assert {m["value"] for m in scim("GET", path)["members"]} == {ada, eve, nobody}
    assert members(openldap, "only") == {dn(openldap, "ada"), dn(openldap, "eve"), NOBODY}
