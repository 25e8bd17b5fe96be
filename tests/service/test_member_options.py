"""Members under a description with options (`member;lang-en`), or under a subtype: they count at a login, so SCIM and the names in groups have them, too."""

import people
import pytest
from test_memberships import undone
from test_scim import start
from writing import GROUP, change, content, dn, new, ok, patch, report, scim, send, undo, undo_files, user

NIS = "/etc/ldap/schema/nis.schema"
STAFF = """
attributetype ( 1.3.6.1.4.1.32473.1 NAME 'staffMember' SUP member )
objectclass ( 1.3.6.1.4.1.32473.2 NAME 'staffGroup' SUP top AUXILIARY MAY staffMember )
"""
# The description, with the classes of the group.
FORMS = {
    "member;lang-en": ["groupOfNames"],
    "member;lang-de;lang-en": ["groupOfNames"],
    "staffMember": ["groupOfNames", "staffGroup"],
    "staffMember;lang-en": ["groupOfNames", "staffGroup"],
    "uniqueMember;lang-en": ["groupOfUniqueNames"],
    "memberUid;lang-en": ["posixGroup"],
}
# What a filter of this type matches.
TYPES = {"member;lang-en": "member", "member;lang-de;lang-en": "member", "staffMember": "member", "staffMember;lang-en": "member",
         "uniqueMember;lang-en": "uniqueMember", "memberUid;lang-en": "memberUid"}
BY_OPTION = [form for form in FORMS if not form.startswith("staff")]
NOBODY = people.group_dn("nobody")
PLACE = people.group_dn("g")


def value(directory, form, uid):
    return uid if form.startswith("memberUid") else dn(directory, uid)


def add(directory, form, *uids, name="g", beside=(), classes=None):
    """A group with members in this form, and others beside them."""
    attributes = {form: [value(directory, form, uid) for uid in uids]}
    plain = TYPES.get(form, form)
    if beside:
        attributes[plain] = [value(directory, form, uid) for uid in beside]
    if "posixGroup" in (classes or FORMS[form]):
        attributes["gidNumber"] = "1"
    text = people.entry(people.group_dn(name, directory.suffix), objectClass=["top", *(classes or FORMS[form])], cn=name, **attributes)
    directory.add(text)


def names(directory, name="g"):
    """The members of a group by description, in small letters; a placeholder, too."""
    found = directory.values(people.group_dn(name, directory.suffix), "*")
    kept = {n: v for n, v in found.items() if n.lower().startswith(("member", "uniquemember", "staffmember"))}
    return {n: sorted(one.decode().lower() for one in v) for n, v in kept.items()}


@pytest.fixture
def slapd(openldaps, tmp_path):
    """A slapd with the classes of RFC 2307, and a subtype of `member`; `slapd(access=…)`."""
    schema = tmp_path / "staff.schema"
    schema.write_text(STAFF)
    return lambda **options: openldaps(schemas=[NIS, str(schema)], **options)


def begin(services, directory, **settings):
    groups = {"base_dn": f"ou=groups,{directory.suffix}", "scim": {"externalId": "businessCategory"}}
    roles = [{"role": "g", "groups": [people.group_dn("g", directory.suffix)]}]
    return start(services, directory, **{"groups": groups, "roles": roles, **settings})


def roles(scim, person):
    answer = scim.service.login(person.uid, person.password)
    assert answer.status_code == 200, answer.text
    return answer.json()["user"]["roles"]


@pytest.mark.parametrize("form", FORMS)
def test_they_are_shown_as_they_count(services, slapd, form):
    directory = slapd()
    add(directory, form, "ada", beside=["colon"])
    scim = begin(services, directory)
    path, ada, eve = f"/Groups/{scim.group('g')}", scim.user("ada"), scim.user("eve")
    assert {m["value"] for m in scim("GET", path)["members"]} == {ada, scim.user("colon")}
    assert "g" in scim.names(f'members.value eq "{ada}"', "/Groups", "displayName")
    assert "g" in {g["display"] for g in scim("GET", f"/Users/{ada}")["groups"]}
    assert roles(scim, people.ADA) == ["g"] and roles(scim, people.EVE) == []
    # One who is there already is not added again.
    before = names(directory)
    scim.patch(path, {"op": "add", "path": "members", "value": [{"value": ada}]})
    assert names(directory) == before
    shown = scim.patch(path, {"op": "add", "path": "members", "value": [{"value": eve}]})
    assert {ada, eve} < {m["value"] for m in shown["members"]}


WAYS = ["filter", "value", "replace", "put"]


def remove(scim, path, way, id, *others, status=200):
    kept = [{"value": one} for one in others]
    if way == "put":
        return scim("PUT", path, {"schemas": [GROUP], "displayName": "g", "members": kept}, status=status)
    operation = {
        "filter": {"op": "remove", "path": f'members[value eq "{id}"]'},
        "value": {"op": "remove", "path": "members", "value": [{"value": id}]},
        "replace": {"op": "replace", "path": "members", "value": kept},
    }[way]
    return scim.patch(path, operation, status=status)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("way", WAYS)
def test_a_removed_one_loses_the_role_and_the_others_stay_where_they_are(services, slapd, tmp_path, form, way):
    """In the form alone, and in the plain attribute as well."""
    directory = slapd()
    add(directory, form, "ada", "eve", "nobody-knows", beside=["ada", "colon"])
    scim = begin(services, directory)
    path, ada = f"/Groups/{scim.group('g')}", scim.user("ada")
    before = names(directory)
    left = remove(scim, path, way, ada, scim.user("eve"), scim.user("colon"))
    assert {m["value"] for m in left["members"]} == {scim.user("eve"), scim.user("colon")}
    expected = {form: sorted(value(directory, form, uid) for uid in ("eve", "nobody-knows")), TYPES[form]: [value(directory, form, "colon")]}
    assert names(directory) == expected
    assert roles(scim, people.ADA) == [] and roles(scim, people.EVE) == ["g"]
    # One undo file has all of it.
    undo(directory, undo_files(scim.service)[-1], tmp_path)
    assert names(directory) == before and len(undo_files(scim.service)) == 1


@pytest.mark.parametrize("form", BY_OPTION)
@pytest.mark.parametrize("way", [*WAYS, "user"])
def test_the_last_one_leaves_the_placeholder(services, slapd, form, way):
    directory = slapd()
    add(directory, form, "ada")
    scim = begin(services, directory)
    path, ada = f"/Groups/{scim.group('g')}", scim.user("ada")
    if way == "user":
        scim("DELETE", f"/Users/{ada}", status=204)
    else:
        assert "members" not in remove(scim, path, way, ada)
        assert roles(scim, people.ADA) == []
    assert names(directory) == ({} if form.startswith("memberUid") else {TYPES[form]: [NOBODY]})
    assert "members" not in scim("GET", path)
    eve = scim.user("eve")
    shown = scim.patch(path, {"op": "add", "path": "members", "value": [{"value": eve}]})
    assert [m["value"] for m in shown["members"]] == [eve]
    assert names(directory) == {TYPES[form]: [value(directory, form, "eve")]}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("way", ["scim", "import"])
def test_names_follow_under_their_own_description(slapd, writing, tmp_path, form, way):
    directory = slapd()
    service = writing(directory)
    for name in ("vera", "dora", "fay"):
        new(service, name)
    add(directory, form, "vera", "dora", beside=["vera", "fay"])
    add(directory, form, "vera", "fay", name="h", beside=["dora"])
    before = {name: names(directory, name) for name in "gh"}
    if way == "scim":
        undos = [patch(service, f"/Users/{user(service, 'vera')}", {"op": "replace", "path": "userName", "value": "vera2"})]
        undos += [ok(scim(service, "DELETE", f"/Users/{user(service, 'dora')}"), 204)]
    else:
        text = change(dn(directory, "vera"), "changetype: modrdn", "newrdn: uid=vera2", "deleteoldrdn: 1") + change(dn(directory, "dora"), "changetype: delete")
        plan = send(service, text, dry_run=True)
        assert plan.status_code == 200 and f"{form}: {value(directory, form, 'vera2')}".lower() in plan.text.lower(), plan.text
        undos = [send(service, one + "\n\n") for one in text.split("\n\n")[:2]]
        assert [report(answer)["rejected"] for answer in undos] == [0, 0]
    of = lambda *uids: sorted(value(directory, form, uid) for uid in uids)  # noqa: E731
    assert names(directory) == {form: of("vera2"), TYPES[form]: of("vera2", "fay")}
    expected = {form: of("vera2", "fay"), TYPES[form]: [NOBODY]}
    if form.startswith(("member;", "uniqueMember", "memberUid")):
        # A value with options is one of the type, which the class requires.
        expected.pop(TYPES[form])
    assert names(directory, "h") == expected
    new(service, "dora")
    ok(scim(service, "DELETE", f"/Users/{user(service, 'dora')}"), 204)
    for answer in reversed(undos):
        if way == "scim":
            undone(directory, answer, tmp_path)
        else:
            undo(directory, tmp_path / "undo" / report(answer)["undo_file"], tmp_path)
    assert {name: names(directory, name) for name in "gh"} == before


def test_a_group_that_keeps_its_last_member(slapd, writing):
    """`empty_group: keep_last` and the class: a value with options is one of the type."""
    directory = slapd()
    service = writing(directory, write={"mapping_rules": {"groups": {"empty_group": "keep_last"}}})
    new(service, "vera"), new(service, "dora")
    add(directory, "member;lang-en", "vera")
    add(directory, "member;lang-en", "dora", name="h", beside=["eve"])
    answer = ok(scim(service, "DELETE", f"/Users/{user(service, 'vera')}"), 409)
    assert "cn=g" in answer.json()["detail"] and names(directory) == {"member;lang-en": [dn(directory, "vera")]}
    ok(scim(service, "DELETE", f"/Users/{user(service, 'dora')}"), 204)
    assert names(directory, "h") == {"member": [dn(directory, "eve")]}


def test_a_file_may_name_a_new_entry_so(slapd, writing):
    directory = slapd()
    service = writing(directory)
    ghost = dn(directory, "ghost")
    person = people.entry(ghost, objectClass="inetOrgPerson", uid="ghost", cn="g", sn="g")
    group = people.entry(PLACE, objectClass="groupOfNames", cn="g", **{"member;lang-en": ghost})
    answer = report(send(service, group + person))
    assert (answer["added"], answer["rejected"]) == (2, 0), answer
    # A name that others have left is given to nobody.
    add(directory, "member;lang-en", "ghost2", name="h")
    new(service, "ghost2", status=409)


@pytest.mark.parametrize("way", [*WAYS, "delete", "rename"])
def test_389_has_them_too(ds389, services, way):
    add(ds389, "member;lang-en", "ada", "eve", beside=["ada", "colon"])
    scim = begin(services, ds389)
    path, ada, eve, colon = f"/Groups/{scim.group('g')}", scim.user("ada"), scim.user("eve"), scim.user("colon")
    assert {m["value"] for m in scim("GET", path)["members"]} == {ada, eve, colon} and roles(scim, people.ADA) == ["g"]
    expected = {"member;lang-en": [dn(ds389, "eve")], "member": [dn(ds389, "colon")]}
    if way == "delete":
        scim("DELETE", f"/Users/{ada}", status=204)
    elif way == "rename":
        scim.patch(f"/Users/{ada}", {"op": "replace", "path": "userName", "value": "ada2"})
        expected = {name: sorted([*values, dn(ds389, "ada2")]) for name, values in expected.items()}
    else:
        remove(scim, path, way, ada, eve, colon)
        assert roles(scim, people.ADA) == []
    assert names(ds389) == expected


def test_389_a_subtype_counts_as_the_server_says(ds389, services):
    """What its filters match counts at a login, and is shown."""
    subtype = "( 1.3.6.1.4.1.32473.1 NAME 'staffMember' SUP member SYNTAX 1.3.6.1.4.1.1466.115.121.1.12 EQUALITY distinguishedNameMatch )"
    ds389.modify(f"dn: cn=schema\nchangetype: modify\nadd: attributeTypes\nattributeTypes: {subtype}\n")
    add(ds389, "staffMember", "ada", beside=["colon"], classes=["groupOfNames", "extensibleObject"])
    scim = begin(services, ds389)
    path, ada, colon = f"/Groups/{scim.group('g')}", scim.user("ada"), scim.user("colon")
    counts = roles(scim, people.ADA) == ["g"]
    shown = {m["value"] for m in scim("GET", path)["members"]}
    assert shown == ({ada, colon} if counts else {colon})
    assert ("g" in {g["display"] for g in scim("GET", f"/Users/{ada}").get("groups", [])}) == counts
    scim("DELETE", f"/Users/{ada}", status=204)
    left = names(ds389)
    assert left["member"] == [dn(ds389, "colon")] and ("staffMember" in left) != counts, (left, counts)


# What the service cannot take away


@pytest.fixture
def hidden(slapd, writing):
    """The service may search `member;lang-en`, and neither read nor write it."""
    svc = people.service_dn()
    rule = f'access to attrs=member;lang-en by dn.exact="{svc}" =scxd by users read\n'
    directory = slapd(access=rule)
    service = writing(directory, roles=[{"role": "g", "groups": [PLACE]}])
    new(service, "vera"), new(service, "dora")
    add(directory, "member;lang-en", "vera", "dora", beside=["vera", "eve"])
    return directory, service


@pytest.mark.parametrize("way", WAYS)
def test_a_member_that_cannot_be_removed_is_an_error_and_the_write_is_taken_back(hidden, way):
    directory, service = hidden
    before, files, vera = names(directory), undo_files(service), user(service, "vera")
    path = f"/Groups/{ok(scim(service, 'GET', '/Groups?filter=displayName eq %22g%22')).json()['Resources'][0]['id']}"
    kept = [{"value": user(service, "eve")}]
    operations = {
        "filter": {"op": "remove", "path": f'members[value eq "{vera}"]'},
        "value": {"op": "remove", "path": "members", "value": [{"value": vera}]},
        "replace": {"op": "replace", "path": "members", "value": kept},
    }
    if way == "put":
        answer = ok(scim(service, "PUT", path, {"schemas": [GROUP], "displayName": "g", "members": kept}), 502)
    else:
        answer = patch(service, path, operations[way], status=502)
    detail = answer.json()["detail"]
    assert PLACE in detail and "member" in detail and dn(directory, "vera") in detail
    assert names(directory) == before and undo_files(service) == files and "undo-file" not in answer.headers


def test_a_name_that_cannot_be_followed_is_told(hidden):
    directory, service = hidden
    before = names(directory)
    answer = patch(service, f"/Users/{user(service, 'vera')}", {"op": "replace", "path": "userName", "value": "vera2"}, status=502)
    assert PLACE in answer.json()["detail"] and names(directory) == before
    assert user(service, "vera") and "undo-file" not in answer.headers
    answer = ok(scim(service, "DELETE", f"/Users/{user(service, 'dora')}"), 502)
    assert PLACE in answer.json()["detail"] and "undo-file" in answer.headers
    assert [line["dn"] for line in service.log(level="error") if "dora" in str(line)] == [PLACE]
    new(service, "dora", status=409)


# Groups that may not be changed (A7)


MANY = 24


@pytest.fixture
def many(openldaps, writing):
    """vera is in groups of which all but one may not be changed: the last one, and one with her user name."""
    closed = [f"locked{n:02}" for n in range(MANY)]
    svc = people.service_dn()
    access = f'access to dn.regex="^cn=locked[0-9]+,ou=groups," attrs=member,memberUid by dn.exact="{svc}" read by users read\n'
    directory = openldaps(access=access, schemas=[NIS])
    service = writing(directory, roles=[], groups={"base_dn": f"ou=groups,{directory.suffix}"})
    new(service, "vera")
    vera = dn(directory, "vera")
    both = [vera, dn(directory, "ada")]
    directory.add("".join(people.entry(people.group_dn(name), objectClass="groupOfNames", cn=name, member=both) for name in [*closed, "open", "zopen"]))
    for name in ("locked90", "posix"):
        directory.add(people.entry(people.group_dn(name), objectClass="posixGroup", cn=name, gidNumber="1", memberUid=["vera", "ada"]))
    return directory, service, [people.group_dn(name) for name in [*closed, "locked90"]]


def test_all_groups_are_tried_after_a_deletion_and_each_one_that_is_left_is_named(many):
    directory, service, left = many
    vera = dn(directory, "vera")
    answer = ok(scim(service, "DELETE", f"/Users/{user(service, 'vera')}"), 502)
    for name in ("open", "zopen"):
        assert names(directory, name) == {"member": [dn(directory, "ada")]}, name
    assert names(directory, "posix") == {"memberUid": ["ada"]}
    detail = answer.json()["detail"]
    assert [dn_of for dn_of in left[:20] if dn_of not in detail] == [] and f"and {len(left) - 20} more" in detail
    assert left[20] not in detail and f"`{vera}` was deleted" in detail
    assert sorted(line["dn"] for line in service.log(level="error") if line.get("dn", "").startswith("cn=locked")) == left
    (file,) = answer.headers.get_list("undo-file")
    assert file


def test_an_import_names_them_too(many):
    directory, service, left = many
    text = change(dn(directory, "vera"), "changetype: delete")
    (reject,) = report(send(service, text))["rejects"]
    assert reject["code"] == "directory_refused" and sorted(reject["groups"]) == left, reject
    assert left[0] in reject["reason"] and f"and {len(left) - 20} more" in reject["reason"]
    for name in ("open", "zopen"):
        assert names(directory, name) == {"member": [dn(directory, "ada")]}, name
    # A rename by an import is not taken back either.
    directory.add(people.entry(dn(directory, "dora"), objectClass="inetOrgPerson", uid="dora", cn="dora", sn="d"))
    directory.modify("".join(f"dn: {people.group_dn(name)}\nchangetype: modify\nadd: member\nmember: {dn(directory, 'dora')}\n\n" for name in ("locked00", "locked01", "zopen")))
    (reject,) = report(send(service, change(dn(directory, "dora"), "changetype: modrdn", "newrdn: uid=dora2", "deleteoldrdn: 1")))["rejects"]
    assert reject["code"] == "directory_refused" and sorted(reject["groups"]) == left[:2], reject
    assert names(directory, "zopen") == {"member": [dn(directory, "ada"), dn(directory, "dora2")]}


def test_a_rename_ends_with_the_first_group_and_is_taken_back(many):
    directory, service, left = many
    before = content(directory)
    answer = patch(service, f"/Users/{user(service, 'vera')}", {"op": "replace", "path": "userName", "value": "vera2"}, status=502)
    assert left[0] in answer.json()["detail"] and left[1] not in answer.json()["detail"]
    assert content(directory) == before


def test_a_server_that_goes_away_meanwhile(openldap, relay, writing):
    """The first group's answer is lost, and nobody can connect any more: all groups are named, none is tried in vain."""
    service = writing(openldap, server_url=relay.url)
    new(service, "vera")
    vera = dn(openldap, "vera")
    groups = [f"crew{n}" for n in range(5)]
    openldap.add("".join(people.entry(people.group_dn(name), objectClass="groupOfNames", cn=name, member=[vera, dn(openldap, "ada")]) for name in groups))
    path = f"/Users/{user(service, 'vera')}"
    # A modification that deletes a value.
    relay.lose(b"\x0a\x01\x01\x30", down=True)
    answer = scim(service, "DELETE", path, timeout=90)
    assert answer.status_code == 503 and relay.seen == 1, answer.text
    detail = answer.json()["detail"]
    assert all(people.group_dn(name) in detail for name in groups), detail
    assert "undo-file" in answer.headers
    assert {line["dn"] for line in service.log(level="error") if "crew" in line.get("dn", "")} == {people.group_dn(name) for name in groups}
    relay.down = False
    service.wait(seconds=60)
