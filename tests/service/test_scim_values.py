"""What SCIM writes is what the client said: null, spelling, control characters, refusals of the server, the host, references."""

import subprocess

import people
import pytest
from directories import wait_until
from test_scim import member_count, start
from writing import GROUP, PATCH, USER, content, undo, undo_files


@pytest.fixture
def scim(services, openldap):
    return start(services, openldap)


def crowd_of(scim, count, name="crowd"):
    ids = [scim.new_user(f"{name}{n}")["id"] for n in range(count)]
    group = scim("POST", "/Groups", {"schemas": [GROUP], "displayName": name, "members": [{"value": id} for id in ids]}, status=201)
    return ids, f"/Groups/{group['id']}"


def test_null_is_not_assigned_and_does_not_empty_a_group(scim, openldap):
    """RFC 7643 section 2.5: null is as if the attribute were left out, so it has the guard of that. Only [] empties."""
    _, path = crowd_of(scim, 12)
    refused = [
        ("PATCH", {"schemas": [PATCH], "Operations": [{"op": "replace", "path": "members", "value": None}]}),
        ("PATCH", {"schemas": [PATCH], "Operations": [{"op": "Replace", "path": "members.value", "value": None}]}),
        ("PATCH", {"schemas": [PATCH], "Operations": [{"op": "replace", "value": {"members": None}}]}),
        ("PATCH", {"schemas": [PATCH], "Operations": [{"op": "replace", "value": {"displayName": "crowd", f"{GROUP}:members": None}}]}),
        ("PUT", {"schemas": [GROUP], "displayName": "crowd", "members": None}),
        ("PUT", {"schemas": [GROUP], "displayName": "crowd", "Members": None}),
    ]
    for method, body in refused:
        assert scim.fault(method, path, body) == "invalidValue", body
        assert member_count(openldap, "crowd") == 12, body
    scim.patch(path, {"op": "add", "path": "members", "value": None})
    scim.patch(path, {"op": "add", "value": {"members": None}})
    assert member_count(openldap, "crowd") == 12
    assert "members" not in scim.patch(path, {"op": "replace", "path": "members", "value": []})
    # Of a small group, as `remove` without a value does.
    _, small = crowd_of(scim, 3, "few")
    assert "members" not in scim.patch(small, {"op": "replace", "path": "members", "value": None})
    # Of other attributes: nothing is there.
    user = f"/Users/{scim.user('ada')}"
    for operation in [{"op": "replace", "path": "emails", "value": None}, {"op": "replace", "value": {"emails": None, "displayName": None}}]:
        scim.patch(user, {"op": "add", "path": "emails", "value": [{"type": "work", "value": "a@example.com"}]})
        assert "emails" not in scim.patch(user, operation)


def spelled(scim, directory, dn):
    """Each change of case or blanks is written, and the same request again changes nothing."""
    path = f"/Users/{scim.user('ada')}"
    for attribute, stored, value in [
        ("name.familyName", "sn", "LoveLace"), ("name.familyName", "sn", "Love  lace"), ("displayName", "displayName", "ADA lovelace"),
        ('emails[type eq "work"].value', "mail", "Ada@Example.com"), ("name.formatted", "cn", "ada LOVELACE"), ("title", "title", "countess"),
        ("title", "title", "Countess"),
    ]:
        change = {"op": "replace", "path": attribute, "value": value}
        scim.patch(path, change)
        assert directory.values(dn, stored)[stored] == [value.encode()], attribute
        before = undo_files(scim.service)
        scim.patch(path, change)
        assert undo_files(scim.service) == before, "written again"
    # The name itself: the DN is spelled so, too.
    before = content(directory)
    answer = scim.patch(path, {"op": "replace", "path": "userName", "value": "Ada"})
    assert answer["userName"] == "Ada" and answer["id"] in path
    assert directory.values(dn, "uid") == {"uid": [b"Ada"]}
    files = undo_files(scim.service)
    assert scim.patch(path, {"op": "replace", "path": "userName", "value": "Ada"})["userName"] == "Ada"
    whole = scim("GET", path)
    scim("PUT", path, whole)
    assert undo_files(scim.service) == files, "written again"
    undo(directory, files[-1], scim.service.folder)
    assert content(directory) == before
    group = f"/Groups/{scim.group('staff')}"
    assert scim.patch(group, {"op": "replace", "path": "displayName", "value": "Staff"})["displayName"] == "Staff"
    assert directory.values(people.group_dn("staff", directory.suffix), "cn") == {"cn": [b"Staff"]}
    assert scim("GET", group)["displayName"] == "Staff"


def test_a_change_of_case_is_written(scim, openldap):
    spelled(scim, openldap, people.ADA.dn())
    # The DN as the server spells it.
    command = openldap.command("ldapsearch", "-LLL", "-o", "ldif-wrap=no", "-s", "base", "-b", people.group_dn("staff"), "1.1")
    assert b"dn: cn=Staff," in subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout


def test_a_change_of_case_is_written_on_389(services, ds389):
    spelled(start(services, ds389), ds389, people.ADA.dn(ds389.suffix))


def test_other_values_of_the_naming_attribute_stay(scim, openldap):
    """A change of the title is not one of the second uid."""
    openldap.modify(f"dn: {people.ADA.dn()}\nchangetype: modify\nadd: uid\nuid: countess\n")
    scim.patch(f"/Users/{scim.user('ada')}", {"op": "replace", "path": "title", "value": "Countess"})
    assert openldap.values(people.ADA.dn(), "uid", "title") == {"uid": [b"ada", b"countess"], "title": [b"Countess"]}


CONTROLS = ["\0", "\x01", "\x1b[31m", "\x7f", "\x80", "\x85", "\x9b"]
BREAKS = ["\n", "\r\n", "\t", "\u2028", "\u2029"]


def test_the_primary_value_is_the_only_one(scim, openldap):
    """No LDAP attribute says which value is primary, and clients ask for it: the only value is meant, and not another one added."""
    path = f"/Users/{scim.user('ada')}"
    change = {"op": "replace", "path": "emails[primary eq true].value", "value": "new@example.com"}
    assert scim.patch(path, change)["emails"] == [{"type": "work", "value": "new@example.com"}]
    assert openldap.values(people.ADA.dn(), "mail") == {"mail": [b"new@example.com"]}
    openldap.modify(f"dn: {people.ADA.dn()}\nchangetype: modify\nadd: mail\nmail: second@example.com\n")
    assert scim.patch(path, {**change, "value": "third@example.com"}, status=400)["scimType"] == "noTarget"
    assert scim.patch(path, {"op": "remove", "path": "emails[primary eq false]"}, status=400)["scimType"] == "invalidPath"
    assert len(openldap.values(people.ADA.dn(), "mail")["mail"]) == 2


def test_an_account_that_is_locked_with_seconds_is_not_active(scim, openldap):
    """The same time for the server, and for logins."""
    id = scim.user("ada")
    openldap.modify(f"dn: {people.ADA.dn()}\nchangetype: modify\nadd: pwdAccountLockedTime\npwdAccountLockedTime: 00000101000000Z\n")
    assert scim("GET", f"/Users/{id}")["active"] is False
    assert scim.patch(f"/Users/{id}", {"op": "replace", "path": "active", "value": True})["active"] is True
    assert openldap.values(people.ADA.dn(), "pwdAccountLockedTime") == {}


def test_names_have_no_control_characters(scim, openldap):
    before = content(openldap)
    name = {"familyName": "X"}
    path, group = f"/Users/{scim.user('ada')}", f"/Groups/{scim.group('staff')}"
    for part in CONTROLS + BREAKS:
        text = f"x{part}y"
        bodies = [
            ("/Users", {"schemas": [USER], "userName": text, "name": name}),
            ("/Users", {"schemas": [USER], "userName": "x", "name": name, "displayName": text}),
            ("/Users", {"schemas": [USER], "userName": "x", "name": name, "emails": [{"value": f"a{part}@example.com", "type": "work"}]}),
            ("/Users", {"schemas": [USER], "userName": "x", "name": {"familyName": "X", "formatted": text}}),
            ("/Groups", {"schemas": [GROUP], "displayName": text}),
        ]
        for endpoint, body in bodies:
            assert scim.fault("POST", endpoint, body) == "invalidValue", body
        for at, attribute in [(path, "userName"), (path, "displayName"), (group, "displayName")]:
            error = scim.patch(at, {"op": "replace", "path": attribute, "value": text}, status=400)
            assert error["scimType"] == "invalidValue" and error["detail"].startswith(f"{attribute}: "), error
    for part in CONTROLS:
        assert scim.patch(path, {"op": "replace", "path": "title", "value": f"x{part}y"}, status=400)["scimType"] == "invalidValue"
    assert content(openldap) == before
    answer = scim.service.request("POST", "/api/v1/plugin/execute", json={"operation": "create_user", "params": {"uid": "x\ny", "sn": "x", "cn": "x"}})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_value")
    # An address has lines, and text has any direction.
    lines = scim.patch(path, {"op": "add", "path": 'addresses[type eq "work"].streetAddress', "value": "1 Road\nFlat 2"})
    assert lines["addresses"][0]["streetAddress"] == "1 Road\nFlat 2"
    assert scim.new_user("kobo", displayName="a\u202eb")["displayName"] == "a\u202eb"
    # Who has such a name already can still be disabled.
    dn = f"uid=old\\0aname,ou=people,{people.SUFFIX}"
    openldap.add(people.entry(dn, objectClass="inetOrgPerson", uid="old\nname", cn="Old", sn="Old"))
    old = scim.names('name.formatted eq "Old"', attribute="id").pop()
    assert scim.patch(f"/Users/{old}", {"op": "replace", "path": "active", "value": False})["active"] is False


def test_a_name_that_is_too_long_is_no_outage(scim):
    """slapd says `other` (80). 503 would be repeated for ever."""
    for endpoint, body in [
        ("/Users", {"schemas": [USER], "userName": "a" * 600, "name": {"familyName": "X"}}),
        ("/Groups", {"schemas": [GROUP], "displayName": "a" * 5000}),
    ]:
        answer = scim.service.request("POST", "/scim/v2" + endpoint, json=body)
        assert answer.status_code in (400, 502), answer.text
        assert "retry-after" not in answer.headers
        assert "(80)" in answer.json()["detail"] or answer.status_code == 400
    assert scim.new_user("after")["userName"] == "after"


def test_uris_have_the_host_that_the_client_asked_for(services, openldap):
    scim = start(services, openldap, trusted_proxies=["127.0.0.1", "10.0.0.0/8"])
    headers = {"X-Forwarded-For": "192.0.2.7, 10.0.0.1", "X-Forwarded-Host": "evil.test, scim.example.com, inner", "X-Forwarded-Proto": "https, http"}
    id = scim.user("ada")
    ada = scim("GET", f"/Users/{id}", headers=headers)
    assert ada["meta"]["location"] == f"https://scim.example.com/scim/v2/Users/{id}"
    assert all(group["$ref"].startswith("https://scim.example.com/scim/v2/Groups/") for group in ada["groups"])


# References


def groups_of(directory, dn):
    """The groups that have this DN as a member, by what they say themselves."""
    return {
        group for group, values in content(directory, f"ou=groups,{directory.suffix}", f"ou=roles,{directory.suffix}").items()
        if any(member.decode().lower() == dn.lower() for member in values.get("member", []))
    }


def inherits_nothing(services, directory, restores=True):
    """A new user has no rights of a former one with the same name, nor does a rename take rights away."""
    scim = start(services, directory)
    scim.service.secrets.add("Vera-Secret-1!")
    suffix = directory.suffix
    vera = scim.new_user("vera")
    role = people.entry(f"cn=pilot,ou=roles,{suffix}", objectClass="groupOfNames", cn="pilot", member=[f"uid=vera,ou=people,{suffix}", people.ADA.dn(suffix)])
    directory.add(role)
    group = scim("POST", "/Groups", {"schemas": [GROUP], "displayName": "chiefs", "members": [{"value": vera["id"]}]}, status=201)
    path = f"/Users/{vera['id']}"
    before = content(directory, f"ou=groups,{suffix}", f"ou=roles,{suffix}")
    both = {f"cn=chiefs,ou=groups,{suffix}".lower(), f"cn=pilot,ou=roles,{suffix}".lower()}
    scim.patch(path, {"op": "replace", "path": "userName", "value": "vera.new"})
    assert groups_of(directory, f"uid=vera.new,ou=people,{suffix}") == both
    assert groups_of(directory, f"uid=vera,ou=people,{suffix}") == set()
    assert [m["value"] for m in scim("GET", f"/Groups/{group['id']}")["members"]] == [vera["id"]]
    if restores:
        undo(directory, undo_files(scim.service)[-1], scim.service.folder)
        assert content(directory, f"ou=groups,{suffix}", f"ou=roles,{suffix}") == before
    scim("DELETE", path, status=204)
    wait_until(lambda: not any(groups_of(directory, f"uid={name},ou=people,{suffix}") for name in ("vera", "vera.new")), what="no group has her")
    deleted = undo_files(scim.service)[-1]
    # 389 sets no password without TLS.
    has_login = directory.suffix == people.SUFFIX
    again = scim.new_user("vera", **({"password": "Vera-Secret-1!"} if has_login else {}))
    assert scim("GET", f"/Users/{again['id']}").get("groups", []) == []
    assert "members" not in scim("GET", f"/Groups/{group['id']}"), "its class needs a member, which is none"
    if has_login:
        assert scim.service.login("vera", "Vera-Secret-1!").json()["user"]["roles"] == []
    scim("DELETE", f"/Users/{again['id']}", status=204)
    undo(directory, deleted, scim.service.folder)
    # What the server removes by itself is in no undo file.
    assert not restores or content(directory, f"ou=groups,{suffix}", f"ou=roles,{suffix}") == before
    # A group in a group.
    outer = scim("POST", "/Groups", {"schemas": [GROUP], "displayName": "outer", "members": [{"value": group["id"]}]}, status=201)
    scim.patch(f"/Groups/{group['id']}", {"op": "replace", "path": "displayName", "value": "bosses"})
    assert [m["value"] for m in scim("GET", f"/Groups/{outer['id']}")["members"]] == [group["id"]]
    scim("DELETE", f"/Groups/{group['id']}", status=204)
    assert groups_of(directory, f"cn=bosses,ou=groups,{suffix}") == set()


def test_a_new_user_inherits_nothing_of_a_former_one(services, openldap):
    inherits_nothing(services, openldap)


def test_a_new_user_inherits_nothing_of_a_former_one_on_389(services, ds389):
    inherits_nothing(services, ds389)


def test_a_server_that_keeps_references_itself_is_not_disturbed(services, openldaps):
    directory = openldaps(overlays="overlay refint\nrefint_attributes member\nrefint_nothing cn=nothing\n")
    inherits_nothing(services, directory, restores=False)


# Active Directory


def start_on_samba(services, samba):
    suffix = samba.suffix
    text = "".join(people.entry(f"OU={unit},{suffix}", objectClass="organizationalUnit", ou=unit) for unit in ("people", "groups"))
    samba.add(text)
    return start(
        services, samba, server_url=samba.tls_url, tls_ca_file=samba.ca, bind_dn=samba.admin, bind_password=samba.admin_password,
        users={"base_dn": f"OU=people,{suffix}", "filter": "(&(objectClass=user)(objectCategory=person))", "login_attributes": ["sAMAccountName"]},
        groups={"base_dn": f"OU=groups,{suffix}", "filter": "(objectClass=group)"}, roles=[],
    )


def test_namesakes_on_active_directory(services, samba):
    """The common name is the RDN there: a second Ada Lovelace gets her user name into it."""
    scim = start_on_samba(services, samba)
    suffix = samba.suffix
    name = {"givenName": "Ada", "familyName": "Lovelace"}
    scim.service.secrets.add("Pw-Ada-7Qz!")
    first, second = (
        scim("POST", "/Users", {"schemas": [USER], "userName": user, "name": name, "displayName": "Ada Lovelace"}, status=201) for user in ("ada", "ada2")
    )
    assert first["name"]["formatted"] == "Ada Lovelace" and second["name"]["formatted"] == "Ada Lovelace (ada2)"
    assert samba.values(f"CN=Ada Lovelace (ada2),OU=people,{suffix}", "sAMAccountName") == {"sAMAccountName": [b"ada2"]}
    # A client that sends the name again and again is not refused, and changes nothing.
    path = f"/Users/{second['id']}"
    files = undo_files(scim.service)
    for body in [{"op": "replace", "path": "name.formatted", "value": "Ada Lovelace"}, {"op": "replace", "value": {"name": {"formatted": "ada LOVELACE"}}}]:
        assert scim.patch(path, body)["name"]["formatted"].lower() == "ada lovelace (ada2)"
    scim.patch(path, {"op": "replace", "path": "name.formatted", "value": "Ada Lovelace"})
    assert len(undo_files(scim.service)) == len(files) + 2
    assert scim.fault("POST", "/Users", {"schemas": [USER], "userName": "ada2", "name": name}, status=409) == "uniqueness"
    # Long names: cn has 64 characters.
    long = {"givenName": "A" * 40, "familyName": "B" * 23}
    for user in ("long1", "long2"):
        made = scim("POST", "/Users", {"schemas": [USER], "userName": user, "name": long}, status=201)
        assert len(made["name"]["formatted"]) <= 64
    assert made["name"]["formatted"].endswith(" (long2)")
    # A change of case alone, in the name and beside it.
    one = f"/Users/{first['id']}"
    assert scim.patch(one, {"op": "replace", "path": "name.formatted", "value": "ADA Lovelace"})["name"]["formatted"] == "ADA Lovelace"
    assert scim.patch(one, {"op": "replace", "path": "userName", "value": "Ada"})["userName"] == "Ada"
    # An account with a password is active unless the client says otherwise, as on other servers.
    active = scim.new_user("grace", password="Pw-Ada-7Qz!")
    assert active["active"] is True
    assert scim.new_user("hopper", password="Pw-Ada-7Qz!", active=False)["active"] is False
    assert scim.new_user("nopass")["active"] is False
