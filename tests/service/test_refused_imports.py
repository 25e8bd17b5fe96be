"""A record of an import that is refused changes nothing: neither a part of it, nor the groups that its deletion would empty."""

import directories
import people
import pytest
from people import entry
from test_memberships import add_group, members, same
from test_unseen_attributes import rights
from writing import change, content, dn, new, numbers, report, send, undo, undo_path, user


def started(samba, writing, users={}, **more):
    return writing(
        samba, bind_dn=samba.admin, bind_password=samba.admin_password, server_url=samba.tls_url, tls_ca_file=samba.ca,
        users={"base_dn": f"OU=people,{samba.suffix}", **users}, groups={"base_dn": f"OU=groups,{samba.suffix}"}, roles=[], **more,
    )


@pytest.fixture
def domain(samba, writing):
    for unit in ("people", "groups"):
        samba.modify(f"dn: OU={unit},{samba.suffix}\nchangetype: add\nobjectClass: organizationalUnit\n")
    return samba, started(samba, writing)


def lower(directory, name, attribute):
    return {value.decode().lower() for value in directory.values(name, attribute).get(attribute, [])}


def test_active_directory_keeps_the_members_of_a_group_whose_record_names_nobody(domain):
    samba, service = domain
    people_dn = lambda name: f"CN={name},OU=people,{samba.suffix}"  # noqa: E731
    team = f"CN=team,OU=groups,{samba.suffix}"
    person = lambda name, **more: entry(people_dn(name), objectClass="user", sAMAccountName=name, sn=name, **more)  # noqa: E731
    of = lambda *names, **more: entry(team, objectClass="group", cn="team", member=[people_dn(n) for n in names], **more)  # noqa: E731
    assert report(send(service, person("cy") + person("zed", title="one", manager=people_dn("cy")) + of("cy", "zed")))["added"] == 3
    both = {people_dn("cy").lower(), people_dn("zed").lower()}
    for text, name in [
        (of("ghost", description="new"), team),
        (of("cy", "ghost", description="new"), team),
        (person("zed", title="two", manager=people_dn("ghost")), people_dn("zed")),
    ]:
        result = report(send(service, text))
        assert (numbers(result)["rejected"], numbers(result)["modified"]) == (1, 0), result
        assert result["undo_file"] is None, result
        assert lower(samba, team, "member") == both
        assert lower(samba, team, "description") == set() and lower(samba, people_dn("zed"), "title") == {"one"}, name
        assert lower(samba, people_dn("zed"), "manager") == {people_dn("cy").lower()}
    # A new entry does not stay without a part of its record; a ring of new entries comes whole.
    result = report(send(service, person("new", manager=people_dn("ghost")) + person("a", manager=people_dn("b")) + person("b", manager=people_dn("a"))))
    assert (result["added"], result["rejected"]) == (2, 1)
    assert people_dn("new").lower() not in content(samba) and lower(samba, people_dn("a"), "manager") == {people_dn("b").lower()}
    # A member that comes later in the file is in the group at the end, and nobody is missing from it meanwhile.
    result = report(send(service, of("cy", "late") + person("late")))
    assert (result["added"], result["modified"], result["rejected"]) == (1, 1, 0)
    assert lower(samba, team, "member") == {people_dn("cy").lower(), people_dn("late").lower()}


def test_active_directory_an_entry_is_completed_once_its_members_are_there(domain, writing):
    """An addition that waits for a part of its record is its own to complete: whatever it may change of what others have added."""
    samba, service = domain
    never = {"operations": {"update": False}}
    careful = started(samba, writing, name="careful", write={"mapping_rules": {"users": never, "groups": never}})
    for n, (of, added) in enumerate([(service, True), (careful, False), (careful, True)]):
        member, team = f"CN=late{n},OU=people,{samba.suffix}", f"CN=team{n},OU=groups,{samba.suffix}"
        mark = lambda text: text.replace("\n", "\nchangetype: add\n", 1) if added else text  # noqa: B023, E731
        text = mark(entry(team, objectClass="group", cn=f"team{n}", member=member))
        result = report(send(of, text + entry(member, objectClass="user", sAMAccountName=f"late{n}", sn="l")))
        assert (result["added"], result["modified"], result["rejected"]) == (2, 0, 0), result
        assert lower(samba, team, "member") == {member.lower()}
        # It is no addition any more.
        result = report(send(of, mark(entry(team, objectClass="group", cn=f"team{n}", description="new"))))
        assert (result["modified"], result["rejected"]) == (0, 1), result


def test_active_directory_an_entry_does_not_stay_without_what_its_record_is_refused_for(domain, writing):
    """The rest of a record may be refused for another reason than that for which it had to wait."""
    samba, _ = domain
    users = {"filter": "(&(objectClass=user)(!(title=left)))", "login_attributes": ["sAMAccountName", "mail"]}
    service = started(samba, writing, users, name="other")
    people_dn = lambda name: f"CN={name},OU=people,{samba.suffix}"  # noqa: E731
    person = lambda name, **more: entry(people_dn(name), objectClass="user", sAMAccountName=name, sn=name, **more)  # noqa: E731
    assert report(send(service, person("old", mail="x@x", title="left")))["added"] == 1
    before = content(samba)
    result = report(send(
        service,
        person("neo", mail="x@x", manager=people_dn("zed"))
        # It waits for the one before, and the next one finds the name free.
        + change(people_dn("neo"), "changetype: modify", "delete: mail", "-")
        + change(people_dn("old"), "changetype: modify", "delete: title", "-")
        + person("zed"),
    ))
    assert [reject["code"] for reject in result["rejects"]] == ["taken"], result
    assert content(samba).keys() == before.keys() | {people_dn("zed").lower()}


@pytest.mark.parametrize("dangling", ["error", "drop"])
def test_a_deletion_of_the_last_member_is_refused_before_it(openldaps, writing, monkeypatch, dangling):
    text = directories.OVERLAYS.replace("memberof-group-oc", f"memberof-dangling {dangling}\nmemberof-group-oc")
    monkeypatch.setattr(directories, "OVERLAYS", text)
    directory = openldaps()
    service = writing(directory)
    vera, dora = dn(directory, "vera"), dn(directory, "dora")
    new(service, "vera"), new(service, "dora")
    for n in range(4):
        add_group(directory, f"g{n}", vera, *([dora] if n % 2 else []))
    before = same(directory)
    result = report(send(service, change(vera, "changetype: delete")))
    assert (result["deleted"], result["rejected"]) == (0, 1) and "empty_group" in result["rejects"][0]["reason"], result
    assert result["rejects"][0]["code"] == "last_member" and same(directory) == before
    for n in (0, 2):
        directory.modify(change(people.group_dn(f"g{n}", directory.suffix), "changetype: delete"))
    assert report(send(service, change(vera, "changetype: delete")))["deleted"] == 1
    assert [members(directory, f"g{n}") for n in (1, 3)] == [{dora}] * 2


def test_a_deletion_that_the_server_refuses_leaves_the_groups_as_they_are(openldap, writing, tmp_path):
    service = writing(openldap)
    vera = dn(openldap, "vera")
    new(service, "vera")
    add_group(openldap, "only", vera)
    # An entry with another below it is not deleted.
    openldap.add(entry(f"cn=phone,{vera}", objectClass="device", cn="phone"))
    before = same(openldap)
    result = report(send(service, change(vera, "changetype: delete")))
    assert (result["deleted"], result["rejected"]) == (0, 1) and same(openldap) == before
    openldap.modify(change(f"cn=phone,{vera}", "changetype: delete"))
    result = report(send(service, change(vera, "changetype: delete")))
    assert result["deleted"] == 1 and members(openldap, "only") == {people.group_dn("nobody").lower()}
    undo(openldap, undo_path(service, result), tmp_path)
    assert members(openldap, "only") == {vera}


def test_an_import_does_not_take_what_it_may_not_read_for_absent(openldaps, writing):
    directory = openldaps(access=rights("title", "=w"))
    service = writing(directory, ready=False)
    eve = dn(directory, "eve")
    directory.modify(change(eve, "changetype: modify", "replace: title", "title: boss"))
    text = entry(eve, objectClass="inetOrgPerson", uid="eve", cn="e", sn="e", title="clerk", description="new")
    result = report(send(service, text))
    assert (result["modified"], result["rejected"]) == (0, 1), result
    assert result["rejects"][0]["code"] == "misconfigured" and "title" in result["rejects"][0]["reason"], result
    assert directory.values(eve, "title", "description") == {"title": [b"boss"]}


FORMS = [("groupOfNames", "member"), ("groupOfNames", "member;lang-en"), ("groupOfUniqueNames", "uniqueMember;lang-en"), ("organizationalRole", "roleOccupant"), ("device", "owner")]


@pytest.mark.parametrize("classes, attribute", FORMS, ids=[form[1] for form in FORMS])
def test_the_undo_of_an_addition_takes_its_name_out_of_all_attributes(openldap, writing, tmp_path, classes, attribute):
    service = writing(openldap)
    added = new(service, "vera")
    vera, eve = dn(openldap, "vera"), dn(openldap, "eve")
    place = people.group_dn("g", openldap.suffix)
    openldap.add(entry(place, objectClass=classes, cn="g", **{attribute: [vera, eve]}))
    assert user(service, "vera")
    undo(openldap, tmp_path / "undo" / added.headers["undo-file"], tmp_path)
    assert lower(openldap, place, attribute) == {eve}
