"""Groups that `roles` names by DN keep their names: the role would go from all members, and come with the next group of the name."""

import people
import pytest
from writing import GROUP, change, group, ok, patch, report, scim, send

ADMINS = "roles[0].groups[0]"


@pytest.fixture
def made(directory, writing):
    """(directory, service): roles by cn=admins, by a group below another entry, and below an entry that writes could reach."""
    suffix = directory.suffix
    directory.add(
        people.entry(f"ou=teams,ou=groups,{suffix}", objectClass="organizationalUnit", ou="teams")
        + people.entry(f"cn=core,ou=teams,ou=groups,{suffix}", objectClass="groupOfNames", cn="core", member=people.ADA.dn(suffix))
        + people.entry(f"ou=ranks,ou=groups,{suffix}", objectClass="organizationalUnit", ou="ranks")
        + people.entry(f"cn=boss,ou=ranks,ou=groups,{suffix}", objectClass="groupOfNames", cn="boss", member=people.ADA.dn(suffix))
    )
    roles = [
        {"role": "admin", "groups": [f"CN=Admins, ou=groups,{suffix}"]},
        {"role": "core", "groups": [people.group_dn("staff", suffix, "roles"), f"cn=core,ou=teams,ou=groups,{suffix}"]},
        {"role": "{cn}", "below": f"ou=ranks,ou=groups,{suffix}"},
    ]
    return directory, writing(directory, roles=roles)


def roles(service):
    return service.login("ada", people.ADA.password).json()["user"]["roles"]


def refused(answer, setting):
    assert (answer.status_code, answer.json()["code"] if "code" in answer.json() else None) in ((409, "named_in_roles"), (409, None)), answer.text
    assert setting in answer.json()["detail"], answer.text


def test_scim(made):
    directory, service = made
    before = roles(service)
    assert before == ["admin", "boss", "core"]
    path = f"/Groups/{group(service, 'admins')}"
    rename = {"op": "replace", "path": "displayName", "value": "Admins2"}
    refused(patch(service, path, rename, status=409), ADMINS)
    refused(scim(service, "PUT", path, {**ok(scim(service, "GET", path)).json(), "displayName": "Admins2"}), ADMINS)
    refused(scim(service, "DELETE", path), ADMINS)
    refused(scim(service, "DELETE", f"/Groups/{group(service, 'core')}"), "roles[1].groups[1]")
    assert directory.values(people.group_dn("admins", directory.suffix), "cn") == {"cn": [b"admins"]}
    assert roles(service) == before
    # Members are changed, the spelling as well, and so are groups that no rule names.
    ok(patch(service, path, {"op": "replace", "path": "displayName", "value": "Admins"}))
    ok(patch(service, f"/Groups/{group(service, 'loop-a')}", {"op": "replace", "path": "displayName", "value": "loop"}))
    ok(scim(service, "DELETE", f"/Groups/{group(service, 'not-admins')}"), 204)
    ok(scim(service, "DELETE", f"/Groups/{group(service, 'boss')}"), 204)
    assert roles(service) == ["admin", "core"]


def test_a_move_in_place_of_a_deletion(directory, writing):
    suffix = directory.suffix
    rule = {"groups": {"on_delete": {"move_to": f"ou=left,{suffix}"}}}
    directory.add(people.entry(f"ou=left,{suffix}", objectClass="organizationalUnit", ou="left"))
    service = writing(directory, write={"mapping_rules": rule})
    refused(scim(service, "DELETE", f"/Groups/{group(service, 'admins')}"), ADMINS)
    assert "admin" in roles(service)
    ok(scim(service, "DELETE", f"/Groups/{group(service, 'not-admins')}"), 204)


def test_import(made):
    directory, service = made
    suffix = directory.suffix
    admins, teams, ranks = people.group_dn("admins", suffix), f"ou=teams,ou=groups,{suffix}", f"ou=ranks,ou=groups,{suffix}"
    for text, setting in (
        (change(admins, "changetype: delete"), ADMINS),
        (change(admins, "changetype: modrdn", "newrdn: cn=admins2", "deleteoldrdn: 1"), ADMINS),
        (change(admins, "changetype: modrdn", "newrdn: cn=admins", "deleteoldrdn: 1", f"newsuperior: {teams}"), ADMINS),
        (change(teams, "changetype: modrdn", "newrdn: ou=t", "deleteoldrdn: 1"), "roles[1].groups[1]"),
        (change(ranks, "changetype: modrdn", "newrdn: ou=r", "deleteoldrdn: 1"), "roles[2].below"),
        (change(ranks, "changetype: delete"), "roles[2].below"),
    ):
        for dry_run in (True, False):
            done = report(send(service, text, dry_run=dry_run, accept="application/json"))
            [reject] = done["rejects"]
            assert reject["code"] == "named_in_roles" and setting in reject["reason"], (text, done)
    assert roles(service) == ["admin", "boss", "core"]


def test_a_group_that_roles_name_may_be_made(directory, writing):
    suffix = directory.suffix
    service = writing(directory, roles=[{"role": "new", "groups": [people.group_dn("new", suffix)]}])
    ada = ok(scim(service, "GET", '/Users?filter=userName eq "ada"')).json()["Resources"][0]["id"]
    body = {"schemas": [GROUP], "displayName": "new", "members": [{"value": ada}]}
    made = ok(scim(service, "POST", "/Groups", body), 201).json()["id"]
    assert roles(service) == ["new"]
    refused(scim(service, "DELETE", f"/Groups/{made}"), ADMINS)
