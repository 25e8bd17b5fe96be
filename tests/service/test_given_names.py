"""Names in groups that an import gives: only by the record of that group, once it is carried out. And renames that change only case."""

import pytest
from people import entry, group_dn
from test_memberships import add_group, members
from writing import IMPORT, change, content, dn, new, patch, report, send, user

NIS = ["/etc/ldap/schema/nis.schema"]


def codes(done):
    return [reject["code"] for reject in done["rejects"]]


def plan(service, text):
    headers = {"Content-Type": "text/ldif", "Accept": "application/json"}
    return service.request("POST", IMPORT, params={"dry_run": "true"}, content=text.encode(), headers=headers)


def person_entry(directory, name, **more):
    return entry(dn(directory, name), objectClass="inetOrgPerson", uid=name, cn=name, sn=name, **more)


def exists(directory, name):
    return dn(directory, name) in content(directory)


@pytest.fixture
def stale(openldaps):
    """Groups with names that no entry has: a role outside the bases, and groups below them."""
    directory = openldaps(schemas=NIS)
    ada = dn(directory, "ada")
    add_group(directory, "rg", dn(directory, "ghost"), ada, unit="roles", attribute="uniqueMember", classes="groupOfUniqueNames")
    add_group(directory, "chiefs", dn(directory, "ghost2"), dn(directory, "ghost3"), ada)
    directory.add(entry(group_dn("posix", directory.suffix), objectClass="posixGroup", cn="posix", gidNumber="1", memberUid=["ghost4"]))
    return directory


def grants(directory, group, attribute, value):
    return change(group, "changetype: modify", f"add: {attribute}", f"{attribute}: {value}", "-")


def test_a_record_that_is_refused_gives_no_name(stale, writing):
    service = writing(stale)
    role, chiefs, posix = group_dn("rg", stale.suffix, "roles"), group_dn("chiefs", stale.suffix), group_dn("posix", stale.suffix)
    ghosts = [dn(stale, f"ghost{n}") for n in ("", "2", "4")]
    before = content(stale)
    for text, refused in [
        # A group outside the bases, in both orders, by a change and by content.
        (grants(stale, role, "uniqueMember", ghosts[0]) + person_entry(stale, "ghost"), {"out_of_scope", "name_in_groups"}),
        (person_entry(stale, "ghost") + grants(stale, role, "uniqueMember", ghosts[0]), {"out_of_scope", "name_in_groups"}),
        (entry(role, objectClass="groupOfUniqueNames", cn="rg", uniqueMember=ghosts[0]) + person_entry(stale, "ghost"),
         {"out_of_scope", "name_in_groups"}),
        # Another group than the one that has the name.
        (grants(stale, chiefs, "member", ghosts[0]) + person_entry(stale, "ghost"), {"name_in_groups"}),
        # The group's record fails, for the name is there.
        (grants(stale, chiefs, "member", ghosts[1]) + person_entry(stale, "ghost2"), None),
        (person_entry(stale, "ghost2") + grants(stale, chiefs, "member", ghosts[1]), None),
        (grants(stale, posix, "memberUid", "ghost4") + person_entry(stale, "ghost4"), None),
        (grants(stale, role, "uniqueMember", ghosts[0]) + change(dn(stale, "eve"), "changetype: modrdn", "newrdn: uid=ghost", "deleteoldrdn: 1"),
         {"out_of_scope", "name_in_groups"}),
    ]:
        for dry_run in (True, False):
            done = report(plan(service, text) if dry_run else send(service, text))
            assert (done["added"], done["renamed"]) == (0, 0), (text, done)
            assert "name_in_groups" in codes(done) and (refused is None or set(codes(done)) == refused), (text, done)
        for name in ("ghost", "ghost2", "ghost4"):
            assert not exists(stale, name), text
        chiefs_now = members(stale, "chiefs")
        if dn(stale, "ghost") in chiefs_now:
            stale.modify(change(chiefs, "changetype: modify", "delete: member", f"member: {ghosts[0]}"))
    assert content(stale) == before


def test_a_group_record_of_the_file_gives_a_name_whatever_the_order(stale, writing):
    service = writing(stale)
    chiefs = group_dn("chiefs", stale.suffix)
    whole = entry(chiefs, objectClass="groupOfNames", cn="chiefs", member=[dn(stale, "ghost2"), dn(stale, "ada")])
    done = report(send(service, person_entry(stale, "ghost2") + whole))
    assert (done["added"], done["rejected"]) == (1, 0), done
    # Only for the names in it: ghost3 is in the group no more.
    assert members(stale, "chiefs") == {dn(stale, "ghost2"), dn(stale, "ada")}


def test_a_user_name_that_an_existing_entry_gets_is_checked(stale, writing):
    service = writing(stale)
    eve = dn(stale, "eve")
    for text in (
        change(eve, "changetype: modify", "add: uid", "uid: ghost4", "-"),
        entry(eve, objectClass="inetOrgPerson", uid=["eve", "ghost4"], cn="Eve Outside", sn="Outside"),
    ):
        assert codes(report(send(service, text))) == ["name_in_groups"], text
    assert [v.decode() for v in stale.values(eve, "uid")["uid"]] == ["eve"]


def test_a_rename_that_changes_only_case_is_followed(openldaps, writing, tmp_path):
    directory = openldaps(schemas=NIS)
    service = writing(directory)
    new(service, "vera")
    directory.add(entry(group_dn("posix", directory.suffix), objectClass="posixGroup", cn="posix", gidNumber="1", memberUid=["vera", "dora"]))

    def uids():
        return {v.decode() for v in directory.values(group_dn("posix", directory.suffix), "memberUid")["memberUid"]}

    identifier = user(service, "vera")
    for name in ("VERA", "vera"):
        patch(service, f"/Users/{identifier}", {"op": "replace", "path": "userName", "value": name})
        assert uids() == {name, "dora"}
    text = change(dn(directory, "vera"), "changetype: modrdn", "newrdn: uid=Vera", "deleteoldrdn: 1")
    assert report(send(service, text))["renamed"] == 1
    assert uids() == {"Vera", "dora"}
