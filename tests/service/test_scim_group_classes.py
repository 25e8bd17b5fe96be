"""Groups of every class that the default groups.filter has: SCIM shows and changes the members that count for roles at a login."""

import people
import pytest
from test_memberships import members
from test_scim import start
from writing import GROUP, dn

NIS = "/etc/ldap/schema/nis.schema"
# The attribute of members, and the classes of the group.
CLASSES = {"member": "groupOfNames", "uniqueMember": "groupOfUniqueNames", "memberUid": "posixGroup"}


def group(directory, attribute, *uids):
    """A group of one class, with these members."""
    values = uids if attribute == "memberUid" else [dn(directory, uid) for uid in uids]
    more = {"gidNumber": "1"} if attribute == "memberUid" else {}
    text = people.entry(people.group_dn("g", directory.suffix), objectClass=["top", CLASSES[attribute]], cn="g", **more, **{attribute: list(values)})
    directory.add(text)


def begin(services, directory, attribute, *uids):
    # The default filter.
    groups = {"base_dn": f"ou=groups,{directory.suffix}", "scim": {"externalId": "businessCategory"}}
    roles = [{"role": "g", "groups": [people.group_dn("g", directory.suffix)]}]
    group(directory, attribute, *uids)
    scim = start(services, directory, groups=groups, roles=roles)
    return scim, f"/Groups/{scim.group('g')}"


def roles(scim, person):
    answer = scim.service.login(person.uid, person.password)
    assert answer.status_code == 200, answer.text
    return answer.json()["user"]["roles"]


@pytest.fixture(params=["openldap", "ds389"])
def directory(request, openldaps):
    """slapd with the classes of RFC 2307, then 389 Directory Server."""
    return openldaps(schemas=[NIS]) if request.param == "openldap" else request.getfixturevalue("ds389")


@pytest.mark.parametrize("attribute", CLASSES)
def test_members_are_shown_as_they_count(services, directory, attribute):
    scim, path = begin(services, directory, attribute, "ada", "nobody-knows")
    ada, eve = scim.user("ada"), scim.user("eve")
    assert [m["value"] for m in scim("GET", path)["members"]] == [ada]
    assert [m["display"] for m in scim("GET", path, attributes="members.display")["members"]] == ["Ada Lovelace"]
    assert scim.names(f'members.value eq "{ada}"', "/Groups", "displayName") >= {"g"}
    assert scim.names(f'members[value eq "{ada}"]', "/Groups", "displayName") >= {"g"}
    assert "g" not in scim.names(f'members.value eq "{eve}"', "/Groups", "displayName")
    assert "g" in {g["display"] for g in scim("GET", f"/Users/{ada}")["groups"]}
    assert "g" not in {g["display"] for g in scim("GET", f"/Users/{eve}").get("groups", [])}
    assert roles(scim, people.ADA) == ["g"] and roles(scim, people.EVE) == []


@pytest.mark.parametrize("attribute", CLASSES)
@pytest.mark.parametrize("way", ["filter", "value", "replace", "put"])
def test_a_removed_member_loses_the_role(services, directory, attribute, way):
    scim, path = begin(services, directory, attribute, "ada", "nobody-knows")
    ada = scim.user("ada")
    if way == "put":
        left = scim("PUT", path, {"schemas": [GROUP], "displayName": "g", "members": []})
    else:
        operation = {
            "filter": {"op": "remove", "path": f'members[value eq "{ada}"]'},
            "value": {"op": "remove", "path": "members", "value": [{"value": ada}]},
            "replace": {"op": "replace", "path": "members", "value": []},
        }[way]
        left = scim.patch(path, operation)
    assert "members" not in left
    others = {"nobody-knows"} if attribute == "memberUid" else {dn(directory, "nobody-knows")}
    assert members(directory, "g", attribute=attribute) == others, "what is no user stays"
    assert roles(scim, people.ADA) == []


@pytest.mark.parametrize("attribute", CLASSES)
def test_members_are_added_where_the_class_has_them(services, directory, attribute):
    scim, path = begin(services, directory, attribute, "ada")
    ada, eve, colon = scim.user("ada"), scim.user("eve"), scim.user("colon")
    added = scim.patch(path, {"op": "add", "path": "members", "value": [{"value": eve}, {"value": ada}]})
    assert {m["value"] for m in added["members"]} == {ada, eve} and roles(scim, people.EVE) == ["g"]
    whole = scim.patch(path, {"op": "replace", "value": {"displayName": "g", "members": [{"value": colon}, {"value": eve}]}})
    assert {m["value"] for m in whole["members"]} == {colon, eve} and roles(scim, people.ADA) == []
    put = scim("PUT", path, {"schemas": [GROUP], "displayName": "g", "members": [{"value": ada}]})
    assert [m["value"] for m in put["members"]] == [ada] and roles(scim, people.COLON) == []
    # The last one: the class may require a member.
    assert "members" not in scim.patch(path, {"op": "remove", "path": f'members[value eq "{ada}"]'})
    assert [m["value"] for m in scim.patch(path, {"op": "add", "path": "members", "value": [{"value": eve}]})["members"]] == [eve]
    assert len(members(directory, "g", attribute=attribute)) == 1, "the placeholder is gone"


def test_what_a_class_cannot_name_is_refused(services, openldaps):
    directory = openldaps(schemas=[NIS])
    scim, path = begin(services, directory, "memberUid", "ada")
    admins = scim.group("admins")
    assert scim.fault("PATCH", path, {"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": [
        {"op": "add", "path": "members", "value": [{"value": admins}]}]}) == "invalidValue"
    assert members(directory, "g", attribute="memberUid") == {"ada"}


def test_members_of_two_attributes_are_one_list(services, openldaps):
    """A group whose classes have two attributes: a member leaves both."""
    directory = openldaps(schemas=[NIS])
    scim, path = begin(services, directory, "member", "ada", "eve")
    directory.modify(f"dn: {people.group_dn('g')}\nchangetype: modify\nadd: objectClass\nobjectClass: extensibleObject\n-\n"
                     f"add: uniqueMember\nuniqueMember: {dn(directory, 'ada')}\n-\nadd: memberUid\nmemberUid: ada\nmemberUid: colon\n")
    ada = scim.user("ada")
    shown = [m["value"] for m in scim("GET", path)["members"]]
    assert sorted(shown) == sorted({ada, scim.user("eve"), scim.user("colon")})
    left = scim.patch(path, {"op": "remove", "path": f'members[value eq "{ada}"]'})
    assert ada not in str(left) and roles(scim, people.ADA) == []


@pytest.mark.parametrize("by", ["filter", "object_classes"])
def test_new_groups_of_unique_names(services, openldap, by):
    groups = {"base_dn": f"ou=groups,{openldap.suffix}"}
    rule = {}
    if by == "filter":
        groups["filter"] = "(objectClass=groupOfUniqueNames)"
    else:
        rule = {"object_classes": ["top", "groupOfUniqueNames"]}
    scim = start(services, openldap, groups=groups, write={"mapping_rules": {"groups": rule}, "max_deletes": 10, "undo_dir": "undo"})
    eve = scim.user("eve")
    made = scim("POST", "/Groups", {"schemas": [GROUP], "displayName": "new", "members": [{"value": eve}]}, status=201)
    assert [m["value"] for m in made["members"]] == [eve]
    assert members(openldap, "new", attribute="uniqueMember") == {dn(openldap, "eve")}
