"""Names in groups follow their entries where the server has no referential integrity: slapd without refint, 389 as it comes."""

import concurrent.futures

import people
import pytest
from writing import GROUP, PATCH, change, content, dn, group, new, ok, patch, report, scim, send, undo, user


def members(directory, name, unit="groups", attribute="member"):
    found = directory.values(people.group_dn(name, directory.suffix, unit), attribute)
    return {value.decode().lower() for value in found.get(attribute, [])}


def add_group(directory, name, *dns, unit="groups", attribute="member", classes="groupOfNames"):
    """A group that the service has not made."""
    directory.add(people.entry(people.group_dn(name, directory.suffix, unit), objectClass=classes, cn=name, **{attribute: list(dns)}))


def undone(directory, answer, tmp_path):
    (file,) = answer.headers.get_list("undo-file")
    undo(directory, tmp_path / "undo" / file, tmp_path)


def same(directory):
    """All entries, names of members in small letters without blanks."""
    units = [f"ou={unit},{directory.suffix}" for unit in ("people", "groups", "roles")]
    entries = content(directory, *units, without={"member"})
    return entries, {(name, unit): members(directory, name, unit) for name, unit in NAMES if f"cn={name},ou={unit}" in str(entries)}


NAMES = [("chiefs", "groups"), ("unique", "groups"), ("boss", "roles"), ("only", "groups")]


def test_a_rename_and_a_deletion_are_followed_in_groups_and_roles(directory, writing, tmp_path):
    service = writing(directory)
    new(service, "vera"), new(service, "dora")
    add_group(directory, "chiefs", dn(directory, "vera"), dn(directory, "dora"))
    add_group(directory, "unique", dn(directory, "vera"), dn(directory, "dora"), attribute="uniqueMember", classes="groupOfUniqueNames")
    add_group(directory, "boss", dn(directory, "vera"), dn(directory, "dora"), unit="roles")
    before = same(directory)
    renamed = patch(service, f"/Users/{user(service, 'vera')}", {"op": "replace", "path": "userName", "value": "vera.new"})
    for where, attribute, unit in (("chiefs", "member", "groups"), ("unique", "uniqueMember", "groups"), ("boss", "member", "roles")):
        assert members(directory, where, unit, attribute) == {dn(directory, "vera.new"), dn(directory, "dora")}, where
    undone(directory, renamed, tmp_path)
    assert same(directory) == before
    deleted = ok(scim(service, "DELETE", f"/Users/{user(service, 'dora')}"), 204)
    for where, attribute, unit in (("chiefs", "member", "groups"), ("unique", "uniqueMember", "groups"), ("boss", "member", "roles")):
        assert members(directory, where, unit, attribute) == {dn(directory, "vera")}, where
    # The next dora inherits nothing.
    new(service, "dora", password="Pw-dora-new-7Qz!") if not hasattr(directory, "ca") else new(service, "dora")
    assert dn(directory, "dora") not in members(directory, "chiefs") | members(directory, "boss", "roles")
    ok(scim(service, "DELETE", f"/Users/{user(service, 'dora')}"), 204)
    undone(directory, deleted, tmp_path)
    assert same(directory) == before


def test_a_name_that_a_group_has_is_not_given_to_an_entry(directory, writing):
    service = writing(directory)
    # What others left behind.
    add_group(directory, "chiefs", dn(directory, "ghost"), dn(directory, "ada"))
    add_group(directory, "boss", dn(directory, "ghost2"), dn(directory, "ada"), unit="roles")
    before = content(directory)
    for name, holder in (("ghost", "cn=chiefs"), ("ghost2", "cn=boss")):
        body = {"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": name, "name": {"familyName": name}}
        answer = ok(scim(service, "POST", "/Users", body), 409)
        assert holder in answer.json()["detail"] and "Undo-File" not in answer.headers
        change_name = {"op": "replace", "path": "userName", "value": name}
        patch(service, f"/Users/{user(service, 'eve')}", change_name, status=409)
        params = {"operation": "create_user", "params": {"uid": name, "cn": name, "sn": name}}
        answer = service.request("POST", "/api/v1/plugin/execute", json=params)
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "name_in_groups"), answer.text
    person = people.entry(dn(directory, "ghost"), objectClass="inetOrgPerson", uid="ghost", cn="g", sn="g")
    for text in (person, change(dn(directory, "eve"), "changetype: modrdn", "newrdn: uid=ghost", "deleteoldrdn: 1")):
        answer = report(send(service, text))
        assert [reject["code"] for reject in answer["rejects"]] == ["name_in_groups"], answer
    assert content(directory) == before
    # An entry that is there stays writable, and a file that names the member itself gives it the right.
    assert report(send(service, people.entry(dn(directory, "ada"), objectClass="inetOrgPerson", uid="ada", cn="Ada Lovelace", sn="L")))["rejected"] == 0
    grant = people.entry(people.group_dn("chiefs", directory.suffix), objectClass="groupOfNames", cn="chiefs", member=dn(directory, "ghost"))
    assert report(send(service, grant + person))["added"] == 1


def test_an_import_is_followed_and_its_plan_shows_it(directory, writing, tmp_path):
    service = writing(directory)
    new(service, "vera"), new(service, "dora")
    add_group(directory, "chiefs", dn(directory, "vera"), dn(directory, "dora"))
    directory.add(people.entry(f"ou=team,ou=people,{directory.suffix}", objectClass="organizationalUnit", ou="team"))
    inner = f"uid=inner,ou=team,ou=people,{directory.suffix}"
    directory.add(people.entry(inner, objectClass="inetOrgPerson", uid="inner", cn="i", sn="i"))
    add_group(directory, "only", inner)
    before = same(directory)
    text = (
        change(dn(directory, "vera"), "changetype: modrdn", "newrdn: uid=vera2", "deleteoldrdn: 1")
        + change(dn(directory, "dora"), "changetype: delete")
        + change(f"ou=team,ou=people,{directory.suffix}", "changetype: modrdn", "newrdn: ou=crew", "deleteoldrdn: 1")
    )
    plan = send(service, text, dry_run=True)
    assert plan.status_code == 200 and f"member: {dn(directory, 'vera2')}" in plan.text.lower(), plan.text
    assert same(directory) == before
    answer = send(service, text)
    done = report(answer)
    assert (done["renamed"], done["deleted"], done["rejected"]) == (2, 1, 0), done
    assert members(directory, "chiefs") == {dn(directory, "vera2")}
    assert members(directory, "only") == {f"uid=inner,ou=crew,ou=people,{directory.suffix}"}
    undo(directory, tmp_path / "undo" / done["undo_file"], tmp_path)
    assert same(directory) == before


@pytest.mark.parametrize("empty_group", [None, "keep_last"])
def test_the_last_member_leaves_a_placeholder_or_stays(openldap, writing, tmp_path, empty_group):
    service = writing(openldap, write={"mapping_rules": {"groups": {"empty_group": empty_group}} if empty_group else {}})
    new(service, "vera")
    add_group(openldap, "only", dn(openldap, "vera"))
    before = same(openldap)
    if empty_group:
        answer = ok(scim(service, "DELETE", f"/Users/{user(service, 'vera')}"), 409)
        assert "cn=only" in answer.json()["detail"] and same(openldap) == before
        refused = report(send(service, change(dn(openldap, "vera"), "changetype: delete")))
        assert [reject["code"] for reject in refused["rejects"]] == ["last_member"] and same(openldap) == before
        return
    deleted = ok(scim(service, "DELETE", f"/Users/{user(service, 'vera')}"), 204)
    assert members(openldap, "only") == {f"cn=nobody,ou=groups,{openldap.suffix}"}
    undone(openldap, deleted, tmp_path)
    assert same(openldap) == before


def test_user_names_in_posix_groups_follow(openldaps, writing, tmp_path):
    directory = openldaps(schemas=["/etc/ldap/schema/nis.schema"])
    service = writing(directory)
    new(service, "vera"), new(service, "dora")
    names = ["vera", "dora", "ghost", "jane"]
    directory.add(people.entry(people.group_dn("posix", directory.suffix), objectClass="posixGroup", cn="posix", gidNumber="1", memberUid=names))
    before = members(directory, "posix", attribute="memberUid")
    # The uid is the RDN of vera, and not of jane.
    renamed = patch(service, f"/Users/{user(service, 'vera')}", {"op": "replace", "path": "userName", "value": "vera2"})
    other = patch(service, f"/Users/{user(service, 'jane')}", {"op": "replace", "path": "userName", "value": "janet"})
    patch(service, f"/Users/{user(service, 'ada')}", {"op": "replace", "path": "title", "value": "x"})
    assert members(directory, "posix", attribute="memberUid") == {"vera2", "dora", "ghost", "janet"}
    deleted = ok(scim(service, "DELETE", f"/Users/{user(service, 'dora')}"), 204)
    assert members(directory, "posix", attribute="memberUid") == {"vera2", "ghost", "janet"}
    new(service, "ghost", status=409)
    for answer in (deleted, other, renamed):
        undone(directory, answer, tmp_path)
    assert members(directory, "posix", attribute="memberUid") == before


@pytest.mark.parametrize("name", ["uid", "userid", "0.9.2342.19200300.100.1.1", "UID"])
def test_a_second_user_name_is_a_new_name(openldaps, writing, name):
    """A group has the user name of nobody: an entry that gets it, by whatever way, would have its rights."""
    directory = openldaps(schemas=["/etc/ldap/schema/nis.schema"])
    posix = people.group_dn("posix", directory.suffix)
    service = writing(
        directory, groups={"base_dn": f"ou=groups,{directory.suffix}"}, roles=[{"role": "pr", "groups": [posix]}],
        users={"base_dn": f"ou=people,{directory.suffix}", "scim": {"userName": "uid"}} if name == "uid" else {"base_dn": f"ou=people,{directory.suffix}"},
    )
    new(service, "zoe")
    directory.add(people.entry(posix, objectClass="posixGroup", cn="posix", gidNumber="1", memberUid=["boss", "zoe"]))
    zoe = dn(directory, "zoe")
    whole = people.entry(zoe, objectClass="inetOrgPerson", uid="zoe", cn="zoe", sn="zoe").replace("\n\n", f"\n{name}: boss\n\n")
    for text in (
        change(zoe, "changetype: modify", f"add: {name}", f"{name}: boss"),
        change(zoe, "changetype: modify", f"replace: {name}", f"{name}: zoe", f"{name}: boss"),
        whole,
    ):
        answer = report(send(service, text))
        assert [reject["code"] for reject in answer["rejects"]] == ["name_in_groups"], answer
    params = {"operation": "update_user", "params": {"uid": "zoe", "attributes": {"uid": ["zoe", "boss"]}}}
    assert service.request("POST", "/api/v1/plugin/execute", json=params).status_code >= 400
    assert directory.values(zoe, "uid") == {"uid": [b"zoe"]}
    # Names that no group has, and those that it has already.
    assert report(send(service, change(zoe, "changetype: modify", f"add: {name}", f"{name}: zoe.b")))["modified"] == 1
    assert report(send(service, whole.replace("boss", "zoe.b")))["rejected"] == 0


def test_a_server_with_refint_has_done_it_itself(openldaps, writing, tmp_path):
    refint = f"overlay refint\nrefint_attributes member uniqueMember\nrefint_nothing cn=nobody,ou=groups,{people.SUFFIX}\n"
    directory = openldaps(overlays=refint)
    service = writing(directory)
    new(service, "vera"), new(service, "dora")
    add_group(directory, "chiefs", dn(directory, "vera"), dn(directory, "dora"))
    patch(service, f"/Users/{user(service, 'vera')}", {"op": "replace", "path": "userName", "value": "vera2"})
    ok(scim(service, "DELETE", f"/Users/{user(service, 'dora')}"), 204)
    assert members(directory, "chiefs") == {dn(directory, "vera2")}


def test_member_of_follows_groups_that_are_changed_renamed_and_deleted(openldap, writing):
    """slapd's overlay `memberof` writes to the members under the controls of the change: with an assertion, it fails unseen."""
    service = writing(openldap)
    vera = new(service, "vera").json()["id"]
    body = {"schemas": [GROUP], "displayName": "crew", "members": [{"value": user(service, "ada")}]}
    path = f"/Groups/{ok(scim(service, 'POST', '/Groups', body), 201).json()['id']}"

    def member_of():
        found = openldap.values(dn(openldap, "vera"), "memberOf").get("memberOf", [])
        return [value.decode().lower() for value in found]

    patch(service, path, {"op": "add", "path": "members", "value": [{"value": vera}]})
    assert member_of() == [people.group_dn("crew")]
    patch(service, path, {"op": "replace", "path": "displayName", "value": "team"})
    assert member_of() == [people.group_dn("team")]
    patch(service, path, {"op": "remove", "path": f'members[value eq "{vera}"]'})
    assert member_of() == []
    patch(service, path, {"op": "add", "path": "members", "value": [{"value": vera}]})
    ok(scim(service, "DELETE", path), 204)
    assert member_of() == []


def test_a_member_that_is_renamed_or_deleted_at_the_same_moment(openldap, writing):
    """Identity providers send changes of users and of groups in parallel: the group must not keep a name of nobody."""
    service = writing(openldap, write={"max_deletes": 100})
    add_group(openldap, "team", f"uid=ada,ou=people,{openldap.suffix}")
    team = f"/Groups/{group(service, 'team')}"
    for n in range(24):
        new(service, f"race{n}")
        member = user(service, f"race{n}")
        if n % 2:
            other = lambda: scim(service, "DELETE", f"/Users/{member}")  # noqa: E731
        else:
            other = lambda: patch(service, f"/Users/{member}", {"op": "replace", "path": "userName", "value": f"raced{n}"})  # noqa: E731
        add = lambda: scim(service, "PATCH", team, {"schemas": [PATCH], "Operations": [{"op": "add", "path": "members", "value": [{"value": member}]}]})  # noqa: E731
        answers = at_once(other, add)
        assert f"uid=race{n},ou=people,{openldap.suffix}" not in members(openldap, "team"), (n, answers)
        if not n % 2 and answers[1].status_code in (200, 204):
            assert f"uid=raced{n},ou=people,{openldap.suffix}" in members(openldap, "team"), (n, answers)


def at_once(*calls):
    with concurrent.futures.ThreadPoolExecutor(len(calls)) as pool:
        return [future.result() for future in [pool.submit(call) for call in calls]]


def test_whether_groups_can_be_searched_is_not_asked_before_each_write(openldap, relay, writing):
    """By entries of every base: what was found out counts for some seconds, as at logins."""
    relay.released.set()
    # (|(member=*)(!(member=*)))
    relay.late = b"\x87\x06member\xa2\x08\x87\x06member"
    left = f"ou=left,{openldap.suffix}"
    openldap.add(people.entry(left, objectClass="organizationalUnit", ou="left"))
    service = writing(openldap, server_url=relay.url, write={"mapping_rules": {"users": {"on_delete": {"move_to": left}}}})
    new(service, "vera")
    first = relay.seen
    assert first > 0
    for name in ("dora", "fay"):
        new(service, name)
    for name in ("vera", "dora"):
        ok(scim(service, "DELETE", f"/Users/{user(service, name)}"), 204)
    done = report(send(service, "".join(change(dn(openldap, name), "changetype: delete") for name in ("fay", "eve"))))
    assert done["renamed"] == 2, done
    assert relay.seen == first
