"""Groups by SCIM: members by single values, guards against emptied groups, pages by cursor."""

import people
import pytest
from test_scim import member_count, start
from writing import GROUP


@pytest.fixture
def scim(services, openldap):
    return start(services, openldap)


def test_the_life_of_a_group(scim, openldap):
    ada, bob = scim.user("ada"), scim.user("bob")
    made = scim("POST", "/Groups", {"schemas": [GROUP], "displayName": "tour"}, status=201)
    assert "members" not in made, "the member that its class requires is none"
    path = f"/Groups/{made['id']}"
    added = scim.patch(path, {"op": "Add", "path": "members", "value": [{"value": ada}, {"value": bob}]})
    assert {m["value"] for m in added["members"]} == {ada, bob} and member_count(openldap, "tour") == 2
    assert {g["display"] for g in scim("GET", f"/Users/{bob}")["groups"]} >= {"tour"}
    scim.patch(path, {"op": "add", "path": "members", "value": [{"value": ada}]})
    assert member_count(openldap, "tour") == 2, "added twice"
    left = scim.patch(path, {"op": "remove", "path": f'members[value eq "{ada}"]'})
    assert [m["value"] for m in left["members"]] == [bob]
    scim.patch(path, {"op": "remove", "path": f'members[value eq "{ada}"]'})
    empty = scim.patch(path, {"op": "Remove", "path": "members", "value": [{"value": bob}]})
    assert "members" not in empty and member_count(openldap, "tour") == 1
    both = scim.patch(path, {"op": "replace", "value": {"displayName": "guides", "members": [{"value": bob}]}})
    assert both["displayName"] == "guides" and both["id"] == made["id"] and [m["value"] for m in both["members"]] == [bob]
    put = scim("PUT", path, {"schemas": [GROUP], "displayName": "guides", "members": [{"value": ada}]})
    assert [m["value"] for m in put["members"]] == [ada]
    scim("DELETE", path, status=204)


def test_unknown_members_are_named(scim, openldap):
    path = f"/Groups/{scim.group('admins')}"
    absent = "00000000-0000-4000-8000-000000000000"
    error = scim.patch(path, {"op": "add", "path": "members", "value": [{"value": scim.user("eve")}, {"value": absent}]}, status=400)
    assert error["scimType"] == "invalidValue" and absent in error["detail"]
    assert member_count(openldap, "admins") == 3, "all or none"
    error = scim("POST", "/Groups", {"schemas": [GROUP], "displayName": "x", "members": [{"value": absent}]}, status=400)
    assert absent in error["detail"]


def test_members_beyond_scim_stay(scim, openldap):
    """A member that is neither a user nor a group of the service has no id, and is left alone."""
    service = people.service_dn()
    openldap.modify(f"dn: {people.group_dn('admins')}\nchangetype: modify\nadd: member\nmember: {service}\n")
    path = f"/Groups/{scim.group('admins')}"
    assert len(scim("GET", path)["members"]) == 3
    scim("PUT", path, {"schemas": [GROUP], "displayName": "admins", "members": [{"value": scim.user("eve")}]})
    members = openldap.values(people.group_dn("admins"), "member")["member"]
    assert {m.decode() for m in members} == {service, people.EVE.dn()}


def test_trap_23_a_remove_that_names_nobody_does_not_empty_a_group(scim, openldap):
    """Entra sends what it computed; a group of more members than write.max_deletes is not emptied by that."""
    crowd = [scim.new_user(f"m{n}")["id"] for n in range(12)]
    group = scim("POST", "/Groups", {"schemas": [GROUP], "displayName": "crowd", "members": [{"value": id} for id in crowd]}, status=201)
    path = f"/Groups/{group['id']}"
    for operation, kind in [
        ({"op": "Remove", "path": "members"}, "invalidValue"),
        ({"op": "Remove", "path": "members", "value": []}, "invalidValue"),
        ({"op": "Remove", "path": "members", "value": None}, "invalidValue"),
        ({"op": "Remove", "path": "members", "value": [{}]}, "invalidValue"),
        ({"op": "Remove", "value": [{"value": crowd[0]}]}, "noTarget"),
        ({"op": "Remove"}, "noTarget"),
    ]:
        assert scim.patch(path, operation, status=400)["scimType"] == kind, operation
        assert member_count(openldap, "crowd") == 12, operation
    assert scim.fault("PUT", path, {"schemas": [GROUP], "displayName": "crowd"}) == "invalidValue", "members are not named"
    # With a value, only those are removed (scimitar removed all).
    left = scim.patch(path, {"op": "Remove", "path": "members", "value": [{"value": crowd[0], "display": None}]})
    assert {m["value"] for m in left["members"]} == set(crowd[1:])
    # Who says so empties it.
    assert "members" not in scim.patch(path, {"op": "replace", "path": "members", "value": []})


def test_trap_23_a_text_disables_an_account(scim):
    path = f"/Users/{scim.user('eve')}"
    for operation, active in [
        ({"op": "Replace", "path": "active", "value": "False"}, False),
        ({"op": "Add", "path": "active", "value": "True"}, True),
        ({"op": "replace", "value": {"active": "false"}}, False),
    ]:
        assert scim.patch(path, operation)["active"] is active
    assert scim.patch(path, {"op": "Replace", "path": "active", "value": "maybe"}, status=400)["scimType"] == "invalidValue"


def test_trap_24_pages_by_cursor_while_entries_come_and_go(scim):
    """Each user that is there all the time is on exactly one page."""
    stable = {p.uid for p in people.PEOPLE}
    made = [scim.new_user(f"gone{n}")["id"] for n in range(6)]
    found, cursor, turn = [], "", 0
    while cursor is not None:
        page = scim("GET", "/Users", cursor=cursor, count=2, attributes="userName")
        found += [r["userName"] for r in page["Resources"]]
        cursor = page.get("nextCursor")
        # The list shrinks before the next page, and grows.
        if made:
            scim("DELETE", f"/Users/{made.pop()}", status=204)
        scim.new_user(f"new{turn}")
        turn += 1
        assert turn < 60
    kept = [name for name in found if name in stable]
    assert sorted(kept) == sorted(stable) and len(found) == len(set(found))
    total = scim("GET", "/Users", count=0)["totalResults"]
    assert total == len(scim("GET", "/Users", count=1000)["Resources"])
    assert scim.fault("GET", "/Users", cursor="AAAA") == "invalidCursor"
    assert scim.fault("GET", "/Users", cursor="", count=0) == "invalidCount"
    assert scim.fault("GET", "/Users", cursor="", startIndex=2) == "invalidCursor"


def test_a_group_of_many_members_changes_by_single_values(services, openldaps):
    """1,500 members: one modification of one value, nothing else; the answer has no list."""
    count = 1500
    members = [f"uid=user{n},ou=people,{people.SUFFIX}" for n in range(count)]
    directory = openldaps(more=["".join(people.crowd(count + 1))])
    group = people.entry(people.group_dn("many"), objectClass="groupOfNames", cn="many", member=members)
    directory.add(group)
    scim = start(services, directory, limits={"count": 100})
    path = f"/Groups/{scim.group('many')}"
    new = scim.user(f"user{count}")
    scim.patch(path, {"op": "Add", "path": "members", "value": [{"value": new}]}, status=204)
    assert member_count(directory, "many") == count + 1
    undo = sorted((scim.service.folder / "undo").rglob("*.ldif"))[-1].read_text()
    assert undo.count("\nmember:") == 1, "the step back: one value"
    scim.patch(path, {"op": "Remove", "path": "members", "value": [{"value": new}]}, status=204)
    assert member_count(directory, "many") == count
    small = scim.patch(path, {"op": "Add", "path": "members", "value": [{"value": new}]}, excludedAttributes="members")
    assert small["displayName"] == "many" and "members" not in small
    whole = scim("GET", path)
    assert len(whole["members"]) == count + 1
