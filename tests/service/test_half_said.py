"""Requests that say a part of what is not meant, or cannot be: each is carried out as it says, or refused."""

import people
import pytest
from service import basic, forward
from test_locks_that_count import OFF
from writing import GROUP, change, content, group, new, numbers, ok, patch, report, scim, send, undo_files, user

CORE = "urn:ietf:params:scim:schemas:core:2.0:User"


@pytest.fixture
def service(openldap, writing):
    return writing(openldap)


def shown(service, name):
    path = f"/Users/{user(service, name)}"
    return path, ok(scim(service, "GET", path)).json()


# Read-only attributes in a PATCH without a path


def test_a_patch_without_a_path_changes_nothing_that_is_read_only(openldap, service):
    path, whole = shown(service, "ada")
    assert len(whole["groups"]) > 1
    other, before = user(service, "bob"), content(openldap)
    first = whole["groups"][:1]
    wrong = [("replace", {"groups": [], "title": "x"}), ("replace", {"groups": first, "title": "x"}), ("add", {"groups": [{"value": other}]}),
             ("replace", {"id": other, "title": "x"}), ("add", {"ID": other}), ("replace", {"GROUPS": []}), ("replace", {f"{CORE}:groups": []}),
             ("replace", {CORE: {"groups": []}}), ("replace", {"groups": "x"}), ("replace", {"groups": [{"display": "x"}]}), ("replace", {"id": 1})]
    for op, value in wrong:
        answer = patch(service, path, {"op": op, "value": value}, status=400)
        assert answer.json()["scimType"] == "mutability" and content(openldap) == before, (op, value)
    right = [("replace", {**whole, "title": "t1"}), ("add", {"groups": first, "title": "t2"}), ("replace", {"id": whole["id"].upper(), "title": "t3"}),
             ("replace", {"groups": [{"value": g["value"].upper()} for g in reversed(whole["groups"])], "title": "t4"}),
             ("replace", {"groups": None, "id": None, "meta": {"version": "x"}, "schemas": ["x"], "title": "t5"})]
    for op, value in right:
        assert patch(service, path, {"op": op, "value": value}).json()["title"] == value["title"], (op, value)
    path = f"/Groups/{group(service, 'admins')}"
    patch(service, path, {"op": "replace", "value": {"id": other, "displayName": "x"}}, status=400)
    patch(service, path, {"op": "replace", "value": {"id": path.rpartition("/")[2], "displayName": "admins"}})


# Members that say something else than who they are


def test_a_member_says_nothing_but_who_it_is(openldap, service):
    bob, path = user(service, "bob"), f"/Groups/{group(service, 'admins')}"
    before = content(openldap)
    for more in [{"operation": "delete"}, {"op": "remove"}, {"Operation": "delete"}, {"role": "x"}]:
        member = {"value": bob, **more}
        for op in ("add", "remove", "replace"):
            patch(service, path, {"op": op, "path": "members", "value": [member]}, status=400)
            patch(service, path, {"op": op, "value": {"members": [member]}}, status=400)
        assert content(openldap) == before, more
    member = {"value": bob, "$ref": "x", "display": "x", "type": "User", "primary": False, "operation": None}
    patch(service, path, {"op": "add", "path": "members", "value": [member]})


# Names with blanks at an end


@pytest.mark.parametrize("name", [" u5", "u5 ", "u5\u00a0", "\u3000u5", "u5\u2003", "\u1680u5"])
def test_a_login_name_has_no_blank_at_an_end(openldap, service, name):
    before = content(openldap)
    answer = new(service, name, status=400)
    assert answer.json()["scimType"] == "invalidValue", answer.text
    path, _ = shown(service, "ada")
    patch(service, path, {"op": "replace", "path": "userName", "value": name}, status=400)
    dn = f"uid=u5,ou=people,{people.SUFFIX}"
    text = people.entry(dn, objectClass="inetOrgPerson", uid=["u5", name], cn="u5", sn="u5") if name.strip(" ") != "u5" else ""
    text += people.entry(f"cn=u5,ou=people,{people.SUFFIX}", objectClass="inetOrgPerson", uid=name, cn="u5", sn="u5")
    result = report(send(service, "version: 1\n\n" + text))
    assert numbers(result)["added"] == 0, result
    assert content(openldap) == before


def test_an_account_with_such_a_name_can_still_be_disabled(openldap, service):
    openldap.add(people.entry(f"uid=u6\u00a0,ou=people,{people.SUFFIX}", objectClass="inetOrgPerson", uid="u6\u00a0", cn="u6", sn="u6", userPassword="Pw-u6-7Qz!"))
    path, whole = shown(service, "u6\u00a0")
    assert patch(service, path, OFF).json()["active"] is False
    new(service, "Anna Maria")


# Preconditions


def test_a_star_stands_alone(openldap, service):
    path, before = shown(service, "ada")[0], content(openldap)
    for tags in ('W/"a", *', '*, W/"a"', "*, *"):
        for method, body in (("PATCH", {"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": [OFF]}), ("DELETE", None)):
            answer = scim(service, method, path, body, headers={"If-Match": tags})
            assert answer.status_code == 400 and content(openldap) == before, (tags, answer.text)
    assert scim(service, "DELETE", path, headers={"If-Match": 'W/"a"'}).status_code == 412
    assert scim(service, "DELETE", path, headers={"If-Match": "*"}).status_code == 204


# Members


def test_two_spellings_of_one_member_are_one(openldap, service):
    bob, eve = user(service, "bob"), user(service, "eve")
    body = {"schemas": [GROUP], "displayName": "spelled", "members": [{"value": bob}, {"value": bob.upper()}, {"value": eve.upper()}]}
    made = ok(scim(service, "POST", "/Groups", body), 201).json()
    assert {m["value"] for m in made["members"]} == {bob, eve} and len(made["members"]) == 2
    path = f"/Groups/{made['id']}"
    patch(service, path, {"op": "add", "path": "members", "value": [{"value": eve}, {"value": eve.upper()}]})
    patch(service, path, {"op": "replace", "path": "members", "value": [{"value": bob.upper()}, {"value": bob}, {"value": eve}]})
    # With another change, all members are known.
    answer = patch(service, path, {"op": "remove", "path": f'members[value eq "{eve.upper()}"]'}, {"op": "add", "path": "members", "value": [{"value": bob.upper()}]},
                   {"op": "replace", "path": "displayName", "value": "spelled2"})
    assert [m["value"] for m in answer.json()["members"]] == [bob]
    whole = ok(scim(service, "GET", path)).json()
    whole["members"] = [{"value": eve}, {"value": eve.upper()}]
    assert [m["value"] for m in ok(scim(service, "PUT", path, whole)).json()["members"]] == [eve]


# Imports


@pytest.mark.parametrize("version", ["2", "0", "1.1", "x", ""])
def test_nothing_of_a_file_of_another_version_is_carried_out(openldap, service, version):
    before = content(openldap)
    record = people.entry(f"uid=v2,ou=people,{people.SUFFIX}", objectClass="inetOrgPerson", uid="v2", cn="v2", sn="v2")
    for text in (f"version: {version}\n\n{record}", f"version: {version}\n{record}", f"version: 1\n\n{record}version: {version}\n\n{record}"):
        for dry_run in (True, False):
            answer = send(service, text, dry_run=dry_run)
            assert answer.status_code == 400 and "version: 1" in answer.text, answer.text
    assert content(openldap) == before and not undo_files(service)


def test_a_modification_of_nothing_is_no_change(openldap, service):
    before = content(openldap)
    result = report(send(service, change(people.ADA.dn(), "changetype: modify")))
    assert (numbers(result)["modified"], numbers(result)["unchanged"], result.get("undo_file")) == (0, 1, None), result
    result = report(send(service, change(f"uid=nobody,ou=people,{people.SUFFIX}", "changetype: modify")))
    assert numbers(result)["rejected"] == 1, result
    assert content(openldap) == before and not undo_files(service)


# 389 Directory Server


@pytest.mark.parametrize("values", [("false", "true"), ("true", "false")])
def test_an_account_with_two_locks_is_disabled_everywhere(ds389, writing, values):
    service = writing(ds389)
    dn = people.ADA.dn(ds389.suffix)
    lines = "".join(f"nsAccountLock: {value}\n" for value in values)
    ds389.modify(f"dn: {dn}\nchangetype: modify\nreplace: nsAccountLock\n{lines}")
    path, whole = shown(service, "ada")
    assert whole["active"] is False
    for query, found in (("active eq true", 0), ("active eq false", 1)):
        answer = ok(scim(service, "GET", f'/Users?filter=userName eq "ada" and {query}')).json()
        assert answer["totalResults"] == found, query
    answer = forward(service, basic("ada", people.ADA.password))
    assert answer.status_code in (401, 403)
    on = {"op": "replace", "path": "active", "value": True}
    assert patch(service, path, on).json()["active"] is True
    assert forward(service, basic("ada", people.ADA.password)).status_code == 200
