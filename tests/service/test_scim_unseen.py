"""What SCIM answers about entries that the service's user may not see: an error, for an identity provider takes an empty list or 404 as a
sign that everybody is gone."""

import people
import pytest
from test_scim import GROUP, PATCH, SEARCH, USER, start

SERVICE = f'by dn.exact="{people.service_dn()}"'
PEOPLE, GROUPS = (f"ou={unit},{people.SUFFIX}" for unit in ("people", "groups"))


def begin(services, directory, **settings):
    """A service that may not be ready, and what is refused by it: (method, path, body)."""
    scim = start(services, directory, ready=False, **settings)
    ada, admins = (directory.values(dn, "entryUUID")["entryUUID"][0].decode() for dn in (people.ADA.dn(), people.group_dn("admins")))
    member = {"schemas": [GROUP], "displayName": "new", "members": [{"value": ada}]}
    users = [
        ("GET", "/Users", None),
        ("GET", "/Users?count=0", None),
        ("GET", "/Users?cursor=&sortBy=userName", None),
        ("GET", "/Users?filter=userName+eq+%22ada%22", None),
        ("GET", f"/Users?filter=id+eq+%22{ada}%22", None),
        ("POST", "/.search", {"schemas": [SEARCH]}),
        ("GET", f"/Users/{ada}", None),
        ("PUT", f"/Users/{ada}", {"schemas": [USER], "userName": "ada", "name": {"familyName": "Lovelace"}}),
        ("PATCH", f"/Users/{ada}", {"schemas": [PATCH], "Operations": [{"op": "add", "path": "displayName", "value": "x"}]}),
        ("DELETE", f"/Users/{ada}", None),
        ("POST", "/Groups", member),
        ("GET", f"/Groups?filter=members.value+eq+%22{ada}%22", None),
    ]
    # With members that are users.
    groups = [
        ("GET", "/Groups", None),
        ("GET", f"/Groups/{admins}", None),
        ("PUT", f"/Groups/{admins}", {**member, "displayName": "admins"}),
    ]
    return scim, users, groups


def all_refused(scim, requests, setting):
    for method, path, body in requests:
        assert setting in scim(method, path, body, status=500)["detail"], (method, path)


@pytest.mark.parametrize("right", ["none", "search"])
def test_ids_that_cannot_be_read(services, openldaps, right):
    openldap = openldaps(access=f"access to attrs=entryUUID {SERVICE} {right} by * read\n")
    scim, users, groups = begin(services, openldap)
    all_refused(scim, users + groups, "bind_dn")
    assert openldap.values(people.ADA.dn(), "displayName") == {"displayName": [b"Ada Lovelace"]}


def test_ids_of_users_that_cannot_be_read(services, openldaps):
    """A group without its members would be an empty one."""
    scim, users, groups = begin(services, openldaps(access=f'access to dn.subtree="{PEOPLE}" attrs=entryUUID {SERVICE} none by * read\n'))
    all_refused(scim, users + groups, "bind_dn")
    # Where no id of a user is needed.
    assert scim.group("admins")


@pytest.mark.parametrize("is_there", [True, False])
def test_a_base_of_users_that_cannot_be_seen(services, openldaps, is_there):
    access = f'access to dn.subtree="{PEOPLE}" {SERVICE} none by * read\n' if is_there else ""
    base = PEOPLE if is_there else f"ou=nowhere,{people.SUFFIX}"
    scim, users, groups = begin(services, openldaps(access=access), users={"base_dn": base, "scim": {"externalId": "carLicense"}})
    new = ("POST", "/Users", {"schemas": [USER], "userName": "new", "name": {"familyName": "New"}})
    # Members that are not below the base are none of its business.
    all_refused(scim, [*users, new, *(groups if is_there else [])], "users.base_dn")


def test_a_base_of_groups_that_cannot_be_seen(services, openldaps):
    scim, _, groups = begin(services, openldaps(access=f'access to dn.subtree="{GROUPS}" {SERVICE} none by * read\n'))
    new = ("POST", "/Groups", {"schemas": [GROUP], "displayName": "new"})
    all_refused(scim, [*groups, new, ("GET", "/Users", None), ("POST", "/.search", {"schemas": [SEARCH]})], "groups.base_dn")
    assert scim("GET", "/Users", excludedAttributes="groups")["totalResults"] == len(people.PEOPLE)


def test_a_name_of_an_entry_that_no_list_has(services, openldap):
    """409 for a user that a search does not find: the detail says why."""
    scim = start(services, openldap, users={"base_dn": PEOPLE, "filter": "(objectClass=person)"})
    body = {"schemas": [USER], "userName": "hidden", "name": {"familyName": "H"}}
    dn = f"uid=hidden,{PEOPLE}"
    openldap.client("ldapadd", input=people.entry(dn, objectClass="account", uid="hidden").encode())
    assert scim.names('userName eq "hidden"') == set()
    refused = scim("POST", "/Users", body, status=409)
    assert refused["scimType"] == "uniqueness" and "users.filter" in refused["detail"]
    assert [line["dn"] for line in scim.service.log(setting="users.filter")] == [dn]
    assert "users.filter" not in scim("POST", "/Users", {**body, "userName": "ada"}, status=409)["detail"]
