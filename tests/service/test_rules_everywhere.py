"""All or nothing, and the rules hold for every way to write: SCIM, the plugin, LDIF import."""

import people
import pytest
from directories import wait_until
from test_memberships import add_group, members
from writing import GROUP, USER, change, content, dn, new, ok, patch, replace, report, scim, send, undo, undo_files, user

NIS = ["/etc/ldap/schema/nis.schema"]
SVC = people.service_dn()
PASSWORD = "Pw-neo-7Qz!-new"


def person_entry(directory, name, **more):
    return people.entry(dn(directory, name), **{"objectClass": "inetOrgPerson", "uid": name, "cn": name, "sn": name, **more})


def codes(done):
    return [reject["code"] for reject in done["rejects"]]


# What is added and cannot be shown


def test_an_entry_that_the_service_may_not_see_is_taken_back(openldaps, writing):
    directory = openldaps(access=f'access to filter="(employeeType=vip)" attrs=entry by dn.exact="{SVC}" =w by * break\n')
    service = writing(directory)
    service.secrets.add(PASSWORD)
    before, files = content(directory), undo_files(service)
    for _ in range(2):
        body = {"schemas": [USER], "userName": "neo", "name": {"familyName": "n"}, "userType": "vip", "password": PASSWORD}
        answer = ok(scim(service, "POST", "/Users", body), 500)
        assert "bind_dn" in answer.json()["detail"] and "undo-file" not in answer.headers, answer.text
        assert content(directory) == before and undo_files(service) == files
        assert directory.whoami(dn(directory, "neo"), PASSWORD) == 49


def test_an_entry_that_cannot_be_taken_back_is_named_with_its_file(openldaps, writing, tmp_path):
    # The service may add it, and neither see nor delete it.
    access = f'access to filter="(employeeType=vip)" attrs=entry by dn.exact="{SVC}" =a by * break\n'
    directory = openldaps(access=access)
    service = writing(directory)
    before = content(directory)
    answer = ok(scim(service, "POST", "/Users", {"schemas": [USER], "userName": "neo", "name": {"familyName": "n"}, "userType": "vip"}), 500)
    (file,) = answer.headers.get_list("undo-file")
    assert "uid=neo" in answer.json()["detail"] and file in answer.json()["detail"], answer.text
    (line,) = wait_until(lambda: [record for record in service.log(level="error") if record.get("undo_file") == file], what="the error")
    assert "uid=neo" in line["dn"]
    assert dn(directory, "neo") in content(directory)
    undo(directory, tmp_path / "undo" / file, tmp_path)
    assert content(directory) == before


@pytest.mark.parametrize("some", [False, True])
def test_an_entry_without_an_id_to_be_read_is_not_made(openldaps, writing, some):
    what = 'filter="(sn=F)" attrs=entryUUID' if some else "attrs=entryUUID"
    directory = openldaps(access=f'access to {what} by dn.exact="{SVC}" none by * break\n')
    service = writing(directory, ready=some)
    before, files = content(directory), undo_files(service)
    for path, body in (
        ("/Users", {"schemas": [USER], "userName": "hid", "name": {"familyName": "F"}}),
        *([] if some else [("/Groups", {"schemas": [GROUP], "displayName": "hid"})]),
    ):
        for _ in range(2):
            answer = ok(scim(service, "POST", path, body), 500)
            assert "undo-file" not in answer.headers, answer.text
            assert content(directory) == before and undo_files(service) == files


# A deletion is one for groups, whatever on_delete says


@pytest.mark.parametrize("overlays", ["", "overlay refint\nrefint_attributes member\n"])
@pytest.mark.parametrize("how", ["move", "set"])
@pytest.mark.parametrize("way", ["scim", "import"])
def test_a_deletion_that_keeps_the_entry_takes_it_out_of_groups(openldaps, writing, tmp_path, overlays, how, way):
    directory = openldaps(schemas=NIS, overlays=overlays)
    left = f"ou=left,{directory.suffix}"
    directory.add(people.entry(left, objectClass="organizationalUnit", ou="left"))
    action = {"move_to": left} if how == "move" else {"set": {"employeeType": "left"}}
    users = {"base_dn": f"ou=people,{directory.suffix}", "filter": "(&(objectClass=person)(!(employeeType=left)))", "login_attributes": ["uid"]}
    service = writing(directory, users=users, write={"mapping_rules": {"users": {"on_delete": action}}})
    new(service, "reh")
    add_group(directory, "chiefs", dn(directory, "reh"), dn(directory, "ada"))
    add_group(directory, "only", dn(directory, "reh"))
    add_group(directory, "boss", dn(directory, "reh"), dn(directory, "ada"), unit="roles")
    directory.add(people.entry(people.group_dn("posix"), objectClass="posixGroup", cn="posix", gidNumber="1", memberUid=["reh", "ada"]))
    bases = [f"ou={unit},{directory.suffix}" for unit in ("people", "groups", "roles", "left")]
    before = content(directory, *bases)
    if way == "scim":
        (file,) = ok(scim(service, "DELETE", f"/Users/{user(service, 'reh')}"), 204).headers.get_list("undo-file")
    else:
        text = change(dn(directory, "reh"), "changetype: delete")
        plan = send(service, text, dry_run=True)
        assert ("changetype: delete" not in plan.text) and ("newsuperior" in plan.text.lower()) == (how == "move"), plan.text
        assert "memberUid: reh" in plan.text and content(directory, *bases) == before
        done = report(send(service, text))
        assert (done["deleted"], done["rejected"], done["renamed" if how == "move" else "modified"]) == (0, 0, 1), done
        file = done["undo_file"]
    for name, unit in (("chiefs", "groups"), ("boss", "roles")):
        assert members(directory, name, unit) == {dn(directory, "ada")}, name
    assert not any("reh" in member for member in members(directory, "only"))
    assert directory.values(people.group_dn("posix"), "memberUid") == {"memberUid": [b"ada"]}
    there = f"uid=reh,{left}" if how == "move" else dn(directory, "reh")
    assert there in content(directory, *bases)
    undo(directory, tmp_path / "undo" / file, tmp_path)
    assert content(directory, *bases) == before


def test_a_group_that_cannot_be_changed_keeps_the_entry_where_it_is(openldaps, writing, tmp_path):
    directory = openldaps(access=f'access to dn.exact="{people.group_dn("boss", unit="roles")}" attrs=member by * read\n')
    left = f"ou=left,{directory.suffix}"
    directory.add(people.entry(left, objectClass="organizationalUnit", ou="left"))
    service = writing(directory, write={"mapping_rules": {"users": {"on_delete": {"move_to": left}}}})
    new(service, "reh")
    add_group(directory, "chiefs", dn(directory, "reh"), dn(directory, "ada"))
    add_group(directory, "boss", dn(directory, "reh"), dn(directory, "ada"), unit="roles")
    bases = [f"ou={unit},{directory.suffix}" for unit in ("people", "groups", "roles", "left")]
    before = content(directory, *bases)
    assert "cn=boss" in ok(scim(service, "DELETE", f"/Users/{user(service, 'reh')}"), 502).json()["detail"]
    assert content(directory, *bases) == before
    done = report(send(service, change(dn(directory, "reh"), "changetype: delete")))
    assert done["rejected"] == 1 and "cn=boss" in done["rejects"][0]["reason"], done
    assert content(directory, *bases) == before


@pytest.mark.parametrize("action", ["people", "within", "title"])
def test_a_user_that_a_deletion_by_an_import_leaves_is_no_user(openldap, writing, action):
    """As by SCIM (test_whole_writes.py)."""
    left = f"ou=left,ou=people,{openldap.suffix}"
    openldap.add(people.entry(left, objectClass="organizationalUnit", ou="left"))
    action = {"people": {"move_to": f"ou=people,{openldap.suffix}"}, "within": {"move_to": left}, "title": {"set": {"title": "gone"}}}[action]
    service = writing(openldap, write={"mapping_rules": {"users": {"on_delete": action}}})
    openldap.modify(change(dn(openldap, "ada"), "changetype: modify", "replace: title", "title: one", "title: two"))
    add_group(openldap, "chiefs", dn(openldap, "ada"), dn(openldap, "eve"))
    now = lambda: (content(openldap, f"ou=people,{openldap.suffix}"), members(openldap, "chiefs"))  # noqa: E731
    before = now()
    text = change(dn(openldap, "ada"), "changetype: delete")
    for dry_run in (True, False):
        done = report(send(service, text, dry_run=dry_run, accept="application/json"))
        assert (done["rejected"], done["renamed"], done["modified"]) == (1, 0, 0), done
        assert done["rejects"][0]["code"] == "misconfigured" and "users.on_delete" in done["rejects"][0]["reason"], done
        assert now() == before


# The rules hold for an import


@pytest.mark.parametrize("dry_run", [True, False])
def test_an_import_obeys_the_operations_of_the_rules(directory, writing, dry_run):
    never = {"operations": {"create": False, "update": False, "rename": False, "delete": False}}
    service = writing(directory, write={"mapping_rules": {"users": never}})
    before = content(directory)
    eve = dn(directory, "eve")
    text = (
        person_entry(directory, "neo")
        + change(dn(directory, "neo2"), "changetype: add", "objectClass: inetOrgPerson", "uid: neo2", "cn: n", "sn: n")
        + change(eve, "changetype: modify", "replace: title", "title: x", "-")
        + person_entry(directory, "eve", title="x")
        + change(eve, "changetype: modrdn", "newrdn: uid=eve2", "deleteoldrdn: 1")
        + change(eve, "changetype: delete")
    )
    done = report(send(service, text, dry_run=dry_run, accept="application/json"))
    assert codes(done) == ["not_allowed"] * 6, done
    assert content(directory) == before
    # Groups have a rule of their own.
    grouped = people.entry(people.group_dn("fresh", directory.suffix), objectClass="groupOfNames", cn="fresh", member=eve)
    assert report(send(service, grouped, dry_run=True, accept="application/json"))["added"] == 1


def test_an_import_does_not_delete_what_the_rule_keeps(openldap, writing):
    service = writing(openldap, write={"mapping_rules": {"users": {"on_delete": "ignore"}}})
    before = content(openldap)
    assert codes(report(send(service, change(dn(openldap, "eve"), "changetype: delete")))) == ["not_allowed"]
    assert content(openldap) == before


# Login names


def test_a_login_name_under_an_option_or_a_subtype_is_taken(openldaps, writing, tmp_path):
    schema = tmp_path / "nick.schema"
    schema.write_text("attributetype ( 1.3.6.1.4.1.99999.77 NAME 'nick' SUP uid )\nobjectclass ( 1.3.6.1.4.1.99999.78 NAME 'nicked' AUXILIARY MAY nick )\n")
    directory = openldaps(schemas=[str(schema)])
    users = {"base_dn": f"ou=people,{directory.suffix}", "filter": "(objectClass=person)", "login_attributes": ["uid", "mail"], "scim": {"nickName": "nick"}}
    service = writing(directory, users=users)
    eve = dn(directory, "eve")
    directory.modify(change(eve, "changetype: modify", "add: objectClass", "objectClass: nicked", "-"))
    before = content(directory)
    for text in (
        change(eve, "changetype: modify", "add: uid;lang-en", "uid;lang-en: ada", "-"),
        change(eve, "changetype: modify", "add: nick", "nick: ADA", "-"),
        change(eve, "changetype: modrdn", "newrdn: nick=ada", "deleteoldrdn: 0"),
        person_entry(directory, "neo", **{"uid;lang-en": "ada"}),
        person_entry(directory, "neo", objectClass=["inetOrgPerson", "nicked"], nick="ada"),
    ):
        assert codes(report(send(service, text))) == ["taken"], text
        assert codes(report(send(service, text, dry_run=True, accept="application/json"))) == ["taken"], text
    patch(service, f"/Users/{user(service, 'eve')}", replace("nickName", "ada"), status=409)
    assert content(directory) == before
    # A name of one's own, and a new one.
    patch(service, f"/Users/{user(service, 'eve')}", replace("nickName", "eve"))
    patch(service, f"/Users/{user(service, 'eve')}", replace("nickName", "evi"))
    # Then it is taken, too.
    assert codes(report(send(service, person_entry(directory, "evi")))) == ["taken"]


# User names in groups


def test_a_content_record_that_changes_the_user_name_is_followed(openldaps, writing, tmp_path):
    directory = openldaps(schemas=NIS)
    service = writing(directory)
    cy = f"cn=cy,ou=people,{directory.suffix}"
    directory.add(people.entry(cy, objectClass="inetOrgPerson", cn="cy", sn="cy", uid="cy"))
    directory.add(people.entry(people.group_dn("p"), objectClass="posixGroup", cn="p", gidNumber="7", memberUid=["cy", "ada"]))
    before = content(directory)
    text = people.entry(cy, objectClass="inetOrgPerson", cn="cy", sn="cy", uid="cy3")
    assert "memberUid: cy3" in send(service, text, dry_run=True).text and content(directory) == before
    done = report(send(service, text))
    assert done["modified"] == 1, done
    assert set(directory.values(people.group_dn("p"), "memberUid")["memberUid"]) == {b"cy3", b"ada"}
    undo(directory, tmp_path / "undo" / done["undo_file"], tmp_path)
    assert content(directory) == before



def test_a_name_is_not_taken_out_of_groups_that_cannot_be_searched(openldaps, writing):
    directory = openldaps(access=f'access to dn.exact="{people.group_dn("chiefs")}" attrs=member by dn.exact="{SVC}" =w\n')
    service = writing(directory)
    add_group(directory, "chiefs", dn(directory, "eve"), dn(directory, "ada"))
    before = content(directory)
    text = change(dn(directory, "eve"), "changetype: delete") + change(dn(directory, "eve"), "changetype: modrdn", "newrdn: uid=eve2", "deleteoldrdn: 1")
    assert codes(report(send(service, text))) == ["misconfigured"] * 2
    assert content(directory) == before


def test_no_entry_becomes_a_referral(directory, writing):
    service = writing(directory)
    before = content(directory)
    eve = dn(directory, "eve")
    url = "ldap://127.0.0.1:1/"
    for text in (
        change(eve, "changetype: modify", "add: objectClass", "objectClass: referral", "-", "add: ref", f"ref: {url}", "-"),
        change(eve, "changetype: modify", "add: objectClass", "objectClass: extensibleObject", "-", "add: ref", f"ref: {url}", "-"),
        people.entry(f"cn=r,ou=people,{directory.suffix}", objectClass=["referral", "extensibleObject"], cn="r", ref=url),
        people.entry(f"cn=a,ou=people,{directory.suffix}", objectClass=["alias", "extensibleObject"], cn="a", aliasedObjectName=eve),
    ):
        assert codes(report(send(service, text))) == ["attribute_protected"], text
    assert content(directory) == before
