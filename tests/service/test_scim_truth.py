"""A 200 of SCIM is true: what a request names is in the directory afterwards, or the request is an error and nothing is changed."""

import json

import people
import pytest
from conftest import SERVICE, run
from directories import wait_until
from service import configuration
from test_scim import ENTERPRISE, start
from writing import GROUP, PATCH, USER, content, replace, undo_files

USERS = f"ou=people,{people.SUFFIX}"
GROUPS = f"ou=groups,{people.SUFFIX}"
NEW = "Pw-New-7Qz!"


def ruled(services, directory, name="service", **rules):
    scim = start(services, directory, name=name, write={"mapping_rules": rules, "max_deletes": 10, "undo_dir": "undo"})
    scim.service.secrets.add(NEW)
    return scim


def unchanged(directory, action):
    before = content(directory)
    answer = action()
    assert content(directory) == before, answer
    return answer


def with_settings(services, directory, **settings):
    suffix = directory.suffix
    users = {"base_dn": f"ou=people,{suffix}", **settings.pop("users", {})}
    groups = {"base_dn": f"ou=groups,{suffix}", **settings.pop("groups", {})}
    return start(services, directory, users=users, groups=groups, **settings)


def refused_at_start(directory, folder, **settings):
    """The exit code and what is said of a configuration that cannot work."""
    config = configuration(directory, folder, **settings)
    file = folder / "refused.json"
    file.write_text(json.dumps(config))
    file.chmod(0o600)
    return run(SERVICE, "--config", file, code=2, timeout=60).stderr


# Rules that leave out what was asked for


@pytest.mark.parametrize("mode", ["exop", "hash:ssha512"])
def test_a_password_is_changed_by_the_form_of_the_reference(services, openldap, mode):
    scim = ruled(services, openldap, users={"password": {"from": "password", "mode": mode}})
    ada = f"/Users/{scim.user('ada')}"
    scim.patch(ada, replace("password", NEW))
    # slapd checks the hash of its own.
    assert openldap.whoami(people.ADA.dn(), NEW) == 0 or mode != "exop"
    assert openldap.whoami(people.ADA.dn(), people.ADA.password) != 0


@pytest.mark.parametrize("policy", ["create_only", "keep"])
@pytest.mark.parametrize("mode", ["exop", "hash:ssha512"])
def test_a_password_that_the_rule_does_not_change_is_refused(services, openldap, mode, policy):
    scim = ruled(services, openldap, users={"password": {"from": "password", "mode": mode, "policy": policy}})
    ada = f"/Users/{scim.user('ada')}"
    error = scim.patch(ada, replace("password", NEW), status=400)
    assert error["scimType"] == "mutability" and "write.mapping_rules.users.password.policy" in error["detail"], error
    assert scim.fault("PUT", ada, {**scim("GET", ada), "password": NEW}) == "mutability"
    assert openldap.whoami(people.ADA.dn(), people.ADA.password) == 0
    scim.new_user("neo", password=NEW)
    assert openldap.whoami(f"uid=neo,{USERS}", NEW) == 0 or mode != "exop"


@pytest.mark.parametrize("policy", ["keep", "merge", "create_only"])
def test_a_policy_that_keeps_values_is_an_error_with_its_key(services, openldap, policy):
    scim = ruled(services, openldap, users={"policies": {"mail": policy}}, groups={"policies": {"member": policy}})
    ada, staff = f"/Users/{scim.user('ada')}", f"/Groups/{scim.group('staff')}"
    eve = scim.user("eve")
    for operation in (replace('emails[type eq "work"].value', "new@example.com"), {"op": "remove", "path": "emails"}, {"op": "replace", "value": {"emails": []}}):
        error = unchanged(openldap, lambda operation=operation: scim.patch(ada, operation, status=400))
        assert error["scimType"] == "mutability" and "write.mapping_rules.users.policies.mail" in error["detail"], error
    whole = scim("GET", ada)
    assert unchanged(openldap, lambda: scim.fault("PUT", ada, {**whole, "emails": [{"type": "work", "value": "new@example.com"}]})) == "mutability"
    assert unchanged(openldap, lambda: scim("PUT", ada, whole))["emails"] == whole["emails"]
    body = {"schemas": [GROUP], "displayName": "staff", "members": [{"value": eve}]}
    error = unchanged(openldap, lambda: scim("PUT", staff, body, status=400))
    assert error["scimType"] == "mutability" and "write.mapping_rules.groups.policies.member" in error["detail"], error
    assert undo_files(scim.service) == []
    # What the rule writes is written.
    assert scim.patch(ada, replace("title", "Countess"))["title"] == "Countess"
    assert scim.new_user("neo", emails=[{"type": "work", "value": "neo@example.com"}])["emails"][0]["value"] == "neo@example.com"


def test_values_and_defaults_of_a_rule_do_not_take_the_place_of_what_was_asked_for(services, openldap):
    scim = ruled(services, openldap, users={"values": {"displayName": "{sn} of the rule"}, "defaults": {"title": "Clerk"}})
    ada = f"/Users/{scim.user('ada')}"
    scim.patch(ada, replace("title", "Countess"))
    for operation, key in [({"op": "remove", "path": "title"}, "defaults.title"), (replace("displayName", "Other"), "values.displayName")]:
        answer = scim.service.request("PATCH", f"/scim/v2{ada}", json={"schemas": [PATCH], "Operations": [operation]}, headers={"Content-Type": "application/scim+json"})
        if answer.status_code == 200:
            shown = answer.json()
            assert "title" not in shown if "title" in key else shown["displayName"] == "Other", shown
        else:
            assert answer.status_code == 400 and answer.json()["scimType"] in ("mutability", "invalidValue"), answer.text


def test_rules_that_cannot_work_are_refused_at_the_start(openldap, tmp_path):
    for rule, setting in [
        ({"accounts": {"enabled": True}}, "write.mapping_rules.users.accounts.enabled"),
        ({"accounts": {"enabled": False}}, "write.mapping_rules.users.accounts.enabled"),
        ({"password": {"from": "pw", "mode": "exop"}}, "write.mapping_rules.users.password.from"),
    ]:
        said = refused_at_start(openldap, tmp_path, write={"mapping_rules": {"users": rule}, "undo_dir": str(tmp_path / "undo")})
        assert setting in said, said


# Groups without members


@pytest.mark.parametrize("rule", ["delete", "keep_last"])
def test_the_last_members_are_removed_or_the_request_is_409(services, openldap, rule):
    scim = ruled(services, openldap, groups={"empty_group": rule})
    ids = [scim.user(name) for name in ("ada", "bob")]
    body = {"schemas": [GROUP], "displayName": "q1"}
    id = scim("POST", "/Groups", {**body, "members": [{"value": id} for id in ids]}, status=201)["id"]
    path = f"/Groups/{id}"

    def refused(method, body):
        answer = unchanged(openldap, lambda: scim(method, path, body, status=409))
        assert "write.mapping_rules.groups.empty_group" in answer["detail"], answer

    def each(*operations):
        return {"schemas": [PATCH], "Operations": list(operations)}

    refused("PUT", {**body, "members": []})
    refused("PUT", body)
    for operation in (replace("members", []), {"op": "remove", "path": "members"}, {"op": "replace", "value": {"members": []}},
                      {"op": "remove", "path": f'members[value eq "{ids[0]}" or value eq "{ids[1]}"]'}):
        refused("PATCH", each(operation))
    # Members with another attribute beside them.
    refused("PATCH", each(replace("members", []), replace("externalId", "x")))
    refused("PATCH", each(replace("members", []), replace("displayName", "q2")))
    scim.patch(path, {"op": "remove", "path": f'members[value eq "{ids[0]}"]'})
    refused("PATCH", each({"op": "remove", "path": f'members[value eq "{ids[1]}"]'}))
    assert [m["value"] for m in scim("GET", path)["members"]] == [ids[1]]
    assert unchanged(openldap, lambda: scim.service.request("POST", "/scim/v2/Groups", json={**body, "displayName": "q3"})).status_code == 400
    scim("DELETE", path, status=204)


# One LDAP attribute, one SCIM attribute


def test_a_key_takes_the_attribute_of_a_default(services, openldap):
    scim = with_settings(services, openldap, users={"scim": {"userName": "mail", "displayName": "cn", "externalId": "employeeNumber"}, "login_attributes": ["mail"]})
    ada = f"/Users/{next(iter(scim.names('name.familyName pr', attribute='id') & {u['id'] for u in scim('GET', '/Users', count=100)['Resources'] if u['userName'] == people.ADA.mail}))}"
    shown = scim("GET", ada)
    assert shown["userName"] == people.ADA.mail and "emails" not in shown and "formatted" not in shown["name"]
    assert scim.patch(ada, replace("userName", "n@example.com"))["userName"] == "n@example.com"
    assert scim.patch(ada, replace("displayName", "Ada N"))["displayName"] == "Ada N"
    assert scim.patch(ada, replace("externalId", "E9"))["externalId"] == "E9"
    assert openldap.values(people.ADA.dn(), "mail", "cn", "employeeNumber") == {"mail": [b"n@example.com"], "cn": [b"Ada N"], "employeeNumber": [b"E9"]}
    assert scim.patch(ada, replace('emails[type eq "work"].value', "x@example.com"), status=400)["scimType"] == "invalidPath"
    assert scim.patch(ada, replace(f"{ENTERPRISE}:employeeNumber", "1"), status=400)["scimType"] == "invalidPath"
    assert "externalId" not in scim.patch(ada, {"op": "remove", "path": "externalId"})
    whole = scim("GET", ada)
    assert scim("PUT", ada, {**whole, "externalId": "E10"})["externalId"] == "E10"
    made = scim.new_user("m@example.com", displayName="M")
    assert made["userName"] == "m@example.com" and openldap.values(f"mail=m@example.com,{USERS}", "mail")


def test_two_keys_with_one_attribute_are_refused(services, openldap, tmp_path):
    for of, mapping, setting in [
        ("users", {"emails[home]": "mail", "emails[work]": "mail"}, "users.scim.emails[work]"),
        ("users", {"externalId": "carLicense", "nickName": "carlicense"}, "users.scim.nickName"),
        ("groups", {"externalId": "description", "urn:x:y:note": "description"}, "groups.scim.urn:x:y:note"),
    ]:
        base = {"users": USERS, "groups": GROUPS}[of]
        assert setting in refused_at_start(openldap, tmp_path, **{of: {"base_dn": base, "scim": mapping}}), mapping
    # A name that a resource must have, and other names of an attribute.
    for n, (of, mapping) in enumerate([
        ("users", {"externalId": "uid"}), ("users", {"externalId": "userid"}), ("groups", {"externalId": "cn"}), ("groups", {"externalId": "member"}),
        ("users", {"externalId": "sn", "nickName": "surname"}),
    ]):
        base = {"users": USERS, "groups": GROUPS}[of]
        scim = start(services, openldap, name=f"service{n}", **{of: {"base_dn": base, "scim": mapping}})
        assert f"{of}.scim." in scim("GET", f"/{of.title()}", status=500)["detail"]
        scim.service.stop()


def test_a_user_name_that_is_no_login_name_is_a_warning(services, openldap):
    scim = with_settings(services, openldap, users={"scim": {"userName": "mail"}})
    wait_until(lambda: any("users.scim.userName" in line for line in scim.service.lines), what="the warning")
    quiet = with_settings(services, openldap, name="quiet", users={"scim": {"userName": "mail"}, "login_attributes": ["mail", "uid"]})
    quiet.user(people.ADA.mail)
    assert not any("users.scim.userName" in line for line in quiet.service.lines)


# Names that nothing holds


def test_names_that_are_not_known_are_refused(services, openldap):
    scim = start(services, openldap)
    bob = f"/Users/{scim.user('bob')}"
    whole = scim("GET", bob)
    for value in (
        {"actve": False}, {ENTERPRISE: {"active": False}}, {"urn:x:y:Z": {"active": False}}, {"urn:x:y:Z:active": False}, {"nickName": "x"},
        {"name": {"famlyName": "X"}}, {"name": {"honorificPrefix": "Dr"}}, {"emails": [{"type": "home", "value": "h@example.com"}]},
        {"title": "x", "unknown": "y"}, {f"{USER}:nickName": "x"}, {USER: {"nickName": "x"}},
    ):
        for op in ("add", "replace"):
            error = unchanged(openldap, lambda op=op, value=value: scim.patch(bob, {"op": op, "value": value}, status=400))
            assert error["scimType"] in ("invalidPath", "invalidValue"), error
    for more in (
        {"actve": False}, {ENTERPRISE: {"active": False}}, {"urn:x:y:Z": {"active": False}}, {"urn:x:y:Z:active": False}, {"name.familyName": "X"},
        {"name": {"familyName": "B", "famlyName": "X"}}, {"emails": [{"type": "home", "value": "h@example.com"}]}, {f"{USER}:actve": False},
        {USER: {"active": False}, "active": True},
    ):
        unchanged(openldap, lambda more=more: scim("PUT", bob, {**whole, **more}, status=400))
    unchanged(openldap, lambda: scim("POST", "/Users", {"schemas": [USER], "userName": "neo", "name": {"familyName": "N"}, "actve": False}, status=400))
    group = f"/Groups/{scim.group('staff')}"
    unchanged(openldap, lambda: scim.patch(group, {"op": "replace", "value": {"dispayName": "x"}}, status=400))


def test_the_core_schema_as_a_container(services, openldap):
    scim = start(services, openldap)
    bob = f"/Users/{scim.user('bob')}"
    forms = [{"op": "replace", "value": {USER: {"active": False}}}, {"op": "replace", "path": USER, "value": {"active": False}}, {"op": "add", "value": {f"{USER}:active": "False"}}]
    for operation in forms:
        assert scim.patch(bob, operation)["active"] is False
        assert openldap.whoami(people.BOB.dn(), people.BOB.password) != 0
        assert scim.patch(bob, replace("active", True))["active"] is True
    whole = {name: value for name, value in scim("GET", bob).items() if name != "active"}
    for more in ({USER: {"active": False}}, {f"{USER}:active": False}):
        assert scim("PUT", bob, {**whole, **more})["active"] is False
        assert scim.patch(bob, replace("active", True))["active"] is True
    eve, staff = scim.user("eve"), f"/Groups/{scim.group('staff')}"
    shown = scim.patch(staff, {"op": "replace", "value": {GROUP: {"members": [{"value": eve}]}}})
    assert [m["value"] for m in shown["members"]] == [eve]


def test_what_clients_send_beside_the_mapping_goes_on_working(services, openldap):
    """What GET gave; read-only attributes; attributes of the core schemas in a whole resource; which value is primary, and how it is shown."""
    scim = start(services, openldap)
    bob = f"/Users/{scim.user('bob')}"
    whole = scim("GET", bob)
    assert unchanged(openldap, lambda: scim("PUT", bob, whole)) == whole
    okta = {"locale": "en-US", "nickName": "b", "groups": [{"value": "x"}], "meta": {"resourceType": "User"}, "id": "other"}
    mail = {"value": "b@example.com", "type": "work", "primary": True, "display": "B"}
    assert scim("PUT", bob, {**whole, **okta, "emails": [mail]})["emails"] == [{"type": "work", "value": "b@example.com"}]
    assert scim("PUT", bob, {**whole, "emails": [mail, {"type": "other", "value": "c@example.com"}]})["emails"] == [{"type": "work", "value": "b@example.com"}]
    assert scim.patch(bob, {"op": "replace", "value": {"id": whole["id"], "schemas": [USER], "meta": {}, "groups": whole["groups"], "title": "X", "emails": [mail]}})["title"] == "X"
    own = "urn:ietf:params:scim:schemas:extension:Microsoft:Entra:2.0:User"
    assert scim("PUT", bob, {**whole, "schemas": [USER, own], own: {"mailNickname": "b"}})["userName"] == "bob"
    assert scim.fault("PUT", bob, {**whole, "schemas": [USER, own], own: {"active": False}}) == "invalidPath"
    assert scim.patch(bob, {"op": "add", "path": ENTERPRISE, "value": {"schemas": [ENTERPRISE], "department": "D"}})[ENTERPRISE]["department"] == "D"
    group = scim("GET", f"/Groups/{scim.group('staff')}")
    assert unchanged(openldap, lambda: scim("PUT", f"/Groups/{group['id']}", group)) == group


def test_members_value_is_no_path_and_a_group_is_no_member_of_itself(services, openldap):
    scim = start(services, openldap)
    path = f"/Groups/{scim.group('staff')}"
    own = path.rpartition("/")[2]
    for operation in (
        {"op": "remove", "path": "members.value"}, replace("members.value", scim.user("eve")), {"op": "add", "path": "members.value", "value": scim.user("eve")},
        {"op": "replace", "value": {"members.value": []}}, {"op": "add", "value": {"members.display": []}},
        {"op": "add", "path": "members", "value": [{"value": own}]}, {"op": "add", "path": "members", "value": [{"value": own.upper()}]},
        replace("members", [{"value": own}, {"value": scim.user("eve")}]),
    ):
        unchanged(openldap, lambda operation=operation: scim.patch(path, operation, status=400))
    whole = scim("GET", path)
    assert scim.fault("PUT", path, {**whole, "members": [*whole["members"], {"value": own}]}) == "invalidValue"


# Groups that users.filter names


def test_a_group_that_a_filter_names_keeps_its_name(services, openldaps):
    emp = people.group_dn("emp")
    slapd = openldaps(more=[people.entry(emp, objectClass="groupOfNames", cn="emp", member=[people.ADA.dn(), people.BOB.dn()])])
    # The overlay notes what is written while it runs.
    slapd.modify(f"dn: {emp}\nchangetype: modify\nreplace: member\nmember: {people.EVE.dn()}\n")
    slapd.modify(f"dn: {emp}\nchangetype: modify\nadd: member\nmember: {people.ADA.dn()}\nmember: {people.BOB.dn()}\n")
    scim = with_settings(services, slapd, users={"filter": f"(&(objectClass=person)(memberOf={emp}))"})
    path, bob = f"/Groups/{scim.group('emp')}", scim.user("bob")
    for method, body in [("PATCH", {"schemas": [PATCH], "Operations": [replace("displayName", "employees")]}), ("DELETE", None)]:
        error = unchanged(slapd, lambda method=method, body=body: scim(method, path, body, status=409))
        assert "users.filter" in error["detail"], error
    # Whom the filter leaves out can come back.
    scim.patch(path, {"op": "remove", "path": f'members[value eq "{bob}"]'})
    scim("GET", f"/Users/{bob}", status=404)
    shown = scim.patch(path, {"op": "add", "path": "members", "value": [{"value": bob}]})
    assert bob in [m["value"] for m in shown["members"]] and scim.user("bob") == bob
    other = f"/Groups/{scim.group('staff')}"
    scim.patch(path, {"op": "remove", "path": f'members[value eq "{bob}"]'})
    assert scim.patch(other, {"op": "add", "path": "members", "value": [{"value": bob}]}, status=400)["scimType"] == "invalidValue"


# Filters


def test_a_comparison_that_the_syntax_cannot_hold_is_never_true(services, openldap):
    scim = start(services, openldap)
    everybody = scim.names("id pr")
    for attribute in ("emails.value", "phoneNumbers.value"):
        for none in ('eq "\u00dc"', 'co "\u00fc"', 'sw "\u00fc"', 'ew "\u00fc"'):
            assert scim.names(f"{attribute} {none}") == set()
            assert scim.names(f"not ({attribute} {none})") == everybody, none
        assert scim.names(f'{attribute} ne "\u00dc"') == everybody
    assert scim.names('phoneNumbers.value ne "-"') == everybody


def test_a_mapped_active_is_shown_and_found_as_a_login_reads_it(services, openldap):
    for uid, values in {"no": ["no"], "zero": ["0"], "false": ["False"], "clerk": ["clerk"], "true": ["TRUE"], "both": ["TRUE", "FALSE"], "none": []}.items():
        attributes = {"objectClass": "inetOrgPerson", "uid": uid, "cn": uid, "sn": "Marked", **({"carLicense": values} if values else {})}
        openldap.add(people.entry(f"uid={uid},{USERS}", **attributes))
    scim = with_settings(services, openldap, users={"scim": {"active": "carLicense"}})
    off = {"no", "zero", "false", "both"}
    marked = scim("GET", "/Users", filter='name.familyName eq "Marked"', count=100)["Resources"]
    assert {u["userName"]: u["active"] for u in marked} == {uid: uid not in off for uid in ("no", "zero", "false", "clerk", "true", "both", "none")}
    assert scim.names('active eq false and name.familyName eq "Marked"') == off
    assert scim.names('active eq true and name.familyName eq "Marked"') == {"clerk", "true", "none"}
    assert scim.names('active ne true and name.familyName eq "Marked"') == off
