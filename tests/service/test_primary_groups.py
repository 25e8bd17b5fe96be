"""Active Directory's primary groups: they count at a login, so SCIM shows their members, and does not claim to take them out. And the accounts
of computers, services and trusts are no users by default."""

import pytest
from directories import wait_until
from test_configuration import about
from writing import GROUP, change, group, new, ok, patch, report, scim, send

PASSWORD = "Prim-4rY-Gr0up"


@pytest.fixture
def domain(samba, writing):
    """(server, start): a domain with the units people and groups; `start(**settings)` starts a service over them."""
    suffix = samba.suffix
    for unit in ("people", "groups"):
        samba.modify(f"dn: OU={unit},{suffix}\nchangetype: add\nobjectClass: organizationalUnit\n")

    def start(name="service", **more):
        users = {"base_dn": f"OU=people,{suffix}", **more.pop("users", {})}
        groups = {"base_dn": f"OU=groups,{suffix}", "filter": "(objectClass=group)", **more.pop("groups", {})}
        return writing(
            samba, name=name, server_url=samba.tls_url, tls_ca_file=samba.ca, bind_dn=samba.admin, bind_password=samba.admin_password,
            users=users, groups=groups, roles=more.pop("roles", [{"role": "{cn}", "below": f"OU=groups,{suffix}"}]), **more,
        )

    return samba, start


def made(samba, start, **more):
    """(service, id of the group pg, id of pgu, whose primary group it is, id of plain, which is no member)."""
    service = start(**more)
    users = {name: new(service, name, password=PASSWORD, active=True).json()["id"] for name in ("pgu", "plain")}
    ok(scim(service, "POST", "/Groups", {"schemas": [GROUP], "displayName": "pg", "members": [{"value": users["pgu"]}]}), 201)
    primary(samba, "pgu", "pg")
    return service, group(service, "pg"), users["pgu"], users["plain"]


def primary(samba, name, of):
    sid = samba.values(f"CN={of},OU=groups,{samba.suffix}", "objectSid")["objectSid"][0]
    rid = int.from_bytes(sid[-4:], "little")
    samba.modify(f"dn: CN={name},OU=people,{samba.suffix}\nchangetype: modify\nreplace: primaryGroupID\nprimaryGroupID: {rid}\n")


def members(service, of):
    return {m["value"] for m in ok(scim(service, "GET", f"/Groups/{of}")).json().get("members", [])}


def refused(answer, of):
    body = answer.json()
    assert answer.status_code == 409 and "primaryGroupID" in body["detail"] and f"CN={of}" in body["detail"], answer.text


def found(service, path, **params):
    return {r["id"] for r in ok(service.request("GET", f"/scim/v2{path}", params=params)).json()["Resources"]}


@pytest.mark.parametrize("nested", ["auto", "off"])
def test_scim_shows_the_members_that_count_at_a_login(domain, nested):
    samba, start = domain
    service, pg, pgu, plain = made(samba, start, groups={"nested": nested})
    assert samba.values(f"CN=pg,OU=groups,{samba.suffix}", "member") == {}
    login = service.login("pgu", PASSWORD).json()["user"]
    assert login["roles"] == ["pg"] and [dn.lower() for dn in login["groups"]] == [f"cn=pg,ou=groups,{samba.suffix}".lower()]
    assert members(service, pg) == {pgu}
    assert [g["value"] for g in ok(scim(service, "GET", f"/Users/{pgu}")).json()["groups"]] == [pg]
    assert "groups" not in ok(scim(service, "GET", f"/Users/{plain}")).json()
    listed = ok(scim(service, "GET", "/Groups")).json()["Resources"]
    assert [[m["value"] for m in g["members"]] for g in listed] == [[pgu]]
    # Filters, as well.
    assert found(service, "/Groups", filter=f'members.value eq "{pgu}"') == {pg}
    assert found(service, "/Groups", filter=f'members.value eq "{plain}"') == set()
    assert found(service, "/Users", filter=f'groups.value eq "{pg}"') == {pgu}


def test_a_member_by_primary_group_is_not_taken_out(domain):
    samba, start = domain
    service, pg, pgu, plain = made(samba, start)
    path, dn = f"/Groups/{pg}", f"CN=pg,OU=groups,{samba.suffix}"
    # It is there already: nothing is written.
    before = samba.values(dn, "uSNChanged")
    ok(patch(service, path, {"op": "add", "path": "members", "value": [{"value": pgu}]}))
    ok(patch(service, path, {"op": "replace", "path": "members", "value": [{"value": pgu}]}))
    assert samba.values(dn, "uSNChanged") == before
    # Others come and go.
    ok(patch(service, path, {"op": "add", "path": "members", "value": [{"value": pgu}, {"value": plain}]}))
    assert members(service, pg) == {pgu, plain}
    for operation in (
        {"op": "remove", "path": f'members[value eq "{pgu}"]'},
        {"op": "remove", "path": "members", "value": [{"value": plain}, {"value": pgu}]},
        {"op": "replace", "path": "members", "value": [{"value": plain}]},
        {"op": "replace", "path": "members", "value": []},
        {"op": "remove", "path": "members"},
    ):
        refused(patch(service, path, operation, status=409), "pgu")
    mixed = [{"op": "replace", "path": "displayName", "value": "other"}, {"op": "remove", "path": f'members[value eq "{pgu}"]'}]
    refused(patch(service, path, *mixed, status=409), "pgu")
    whole = ok(scim(service, "GET", path)).json()
    refused(scim(service, "PUT", path, {**whole, "members": []}), "pgu")
    refused(scim(service, "PUT", path, {**whole, "members": [{"value": plain}]}), "pgu")
    refused(scim(service, "DELETE", path), "pgu")
    for dry_run in (True, False):
        done = report(send(service, change(dn, "changetype: delete"), dry_run=dry_run, accept="application/json"))
        assert (done["deleted"], done["rejected"]) == (0, 1) and done["rejects"][0]["code"] == "primary_group", done
    assert members(service, pg) == {pgu, plain} and service.login("pgu", PASSWORD).json()["user"]["roles"] == ["pg"]
    ok(patch(service, path, {"op": "remove", "path": f'members[value eq "{plain}"]'}))
    assert members(service, pg) == {pgu}
    # With another primary group, it is a member by value, and goes.
    samba.modify(f"dn: CN=pgu,OU=people,{samba.suffix}\nchangetype: modify\nreplace: primaryGroupID\nprimaryGroupID: 513\n")
    assert members(service, pg) == {pgu}
    ok(patch(service, path, {"op": "remove", "path": f'members[value eq "{pgu}"]'}))
    assert members(service, pg) == set() and service.login("pgu", PASSWORD).json()["user"]["roles"] == []
    ok(scim(service, "DELETE", path), 204)


def test_a_primary_group_that_a_deletion_keeps_is_moved(domain):
    """Its accounts still have it."""
    samba, start = domain
    left = f"OU=left,{samba.suffix}"
    samba.modify(f"dn: {left}\nchangetype: add\nobjectClass: organizationalUnit\n")
    service, _, _, _ = made(samba, start, write={"mapping_rules": {"groups": {"on_delete": {"move_to": left}}}})
    done = report(send(service, change(f"CN=pg,OU=groups,{samba.suffix}", "changetype: delete")))
    assert (done["renamed"], done["rejected"]) == (1, 0), done
    assert samba.values(f"CN=pg,{left}", "cn") == {"cn": [b"pg"]}
    # As by SCIM.
    samba.modify(change(f"CN=pg,{left}", "changetype: modrdn", "newrdn: CN=pg", "deleteoldrdn: 1", f"newsuperior: OU=groups,{samba.suffix}"))
    ok(scim(service, "DELETE", f"/Groups/{group(service, 'pg')}"), 204)
    assert samba.values(f"CN=pg,{left}", "cn") == {"cn": [b"pg"]}


def test_a_large_primary_group_is_changed_without_its_members(domain):
    samba, start = domain
    suffix = samba.suffix
    # Everybody is a member of Domain Users.
    service = start(groups={"base_dn": suffix, "filter": "(&(objectClass=group)(cn=Domain Users))"}, limits={"count": 2}, roles=None)
    ids = [new(service, f"u{n}").json()["id"] for n in range(4)]
    path = f"/Groups/{group(service, 'Domain Users')}"
    assert members(service, path.split("/")[-1]) == set(ids)
    done = patch(service, path, {"op": "add", "path": "members", "value": [{"value": ids[0]}]}, status=204)
    assert not done.content
    refused(patch(service, path, {"op": "remove", "path": f'members[value eq "{ids[0]}"]'}, status=409), "u0")


def add(samba, name, *lines):
    samba.modify("\n".join((f"dn: CN={name},OU=people,{samba.suffix}", "changetype: add", *lines)) + "\n")


def test_computers_services_and_trusts_are_no_users(domain):
    samba, start = domain
    add(samba, "pc", "objectClass: computer", "sAMAccountName: pc$", "userAccountControl: 4096")
    add(samba, "gmsa", "objectClass: msDS-GroupManagedServiceAccount", "sAMAccountName: gmsa$", "msDS-ManagedPasswordInterval: 30",
        "userAccountControl: 4096")
    add(samba, "inet", "objectClass: inetOrgPerson", "sn: inet", "sAMAccountName: inet")
    add(samba, "contact", "objectClass: contact")
    service = start()
    new(service, "ada", password=PASSWORD, active=True)
    names = {r.get("userName") for r in ok(scim(service, "GET", "/Users")).json()["Resources"]}
    assert names == {"ada", "inet"}
    search = service.request("POST", "/api/v1/ldap/users/search", json={"attributes": ["sAMAccountName"]})
    assert {e["sAMAccountName"] for e in search.json()["data"]} == {"ada", "inet"}
    assert found(service, "/Users", filter='userName eq "pc$"') == set()
    assert service.login("ada", PASSWORD).status_code == 200
    report = about(service, "--test")[1]
    assert [check["result"] for check in report["checks"] if check["name"] == "users"] == ["ok"], report


def test_a_filter_with_computers_is_a_warning_with_their_number(domain):
    samba, start = domain
    for name in ("pc1", "pc2"):
        add(samba, name, "objectClass: computer", f"sAMAccountName: {name}$", "userAccountControl: 4096")
    add(samba, "ada", "objectClass: user", "sAMAccountName: ada")
    service = start(users={"filter": "(objectClass=person)"})
    (line,) = wait_until(lambda: service.log(setting="users.filter"), what="a line about users.filter")
    assert line["level"] == "warning" and " 2 accounts" in line["message"], line
    for flags in (("--test",), ("doctor", "--format", "json")):
        code, report, _ = about(service, *flags)
        (check,) = [check for check in report["checks"] if check["name"] == "users"]
        assert (code, check["result"]) == (0, "warning") and " 2 accounts" in check["detail"], report
