"""Writes that outsiders have found faults in: definitions that count for others, SCIM bodies, flags of Active Directory, exports."""

from people import entry
from writing import USER, change, content, dn, new, ok, patch, report, scim, send, user


def codes(done):
    return [reject["code"] for reject in done["rejects"]]


def exists(directory, name):
    return dn(directory, name) in content(directory)


# Definitions that count for others


def test_definitions_of_389_are_not_imported(ds389, writing):
    service = writing(ds389)
    suffix = ds389.suffix
    base = f"ou=people,{suffix}"
    before = content(ds389)
    for name, classes, more in [
        ("cos", ["cosSuperDefinition", "cosPointerDefinition"], {"cosTemplateDn": f"cn=t,{base}", "cosAttribute": "title"}),
        ("classic", ["ldapSubEntry", "cosSuperDefinition", "cosClassicDefinition"], {"cosSpecifier": "ou", "cosAttribute": "title"}),
        ("t", ["cosTemplate", "extensibleObject"], {"title": "x"}),
        ("policy", ["ldapSubEntry", "passwordPolicy"], {"passwordMinLength": "1"}),
        ("role", ["ldapSubEntry", "nsRoleDefinition", "nsSimpleRoleDefinition", "nsManagedRoleDefinition"], {}),
        ("filtered", ["nsRoleDefinition", "nsComplexRoleDefinition", "nsFilteredRoleDefinition"], {"nsRoleFilter": "(uid=*)"}),
        ("automatic", ["autoMemberDefinition"], {"autoMemberScope": base, "autoMemberFilter": "(uid=*)"}),
    ]:
        text = entry(f"cn={name},{base}", objectClass=["top", *classes], cn=name, **more)
        added = text.replace("\n", "\nchangetype: add\n", 1)
        for record in (text, added):
            done = report(send(service, record))
            assert codes(done) == ["attribute_protected"], (name, done)
            assert done["rejects"][0]["attribute"].lower() == "objectclass"
    step = change(dn(ds389, "eve"), "changetype: modify", "add: objectClass", "objectClass: cosTemplate", "-")
    assert codes(report(send(service, step))) == ["attribute_protected"]
    assert content(ds389) == before
    # One that is there is neither changed nor deleted.
    there = f"cn=there,{base}"
    ds389.add(entry(there, objectClass=["top", "cosTemplate", "extensibleObject"], cn="there", title="x"))
    for text in (
        change(there, "changetype: modify", "replace: title", "title: y", "-"),
        change(there, "changetype: modrdn", "newrdn: cn=else", "deleteoldrdn: 1"),
        change(there, "changetype: delete"),
    ):
        assert codes(report(send(service, text))) == ["protected"], text
    assert ds389.values(there, "title")["title"] == [b"x"]


# SCIM


def scim_error(answer, status, kind):
    assert (answer.status_code, answer.json().get("scimType")) == (status, kind), answer.text


def test_a_password_is_never_removed_or_empty_in_silence(openldap, writing):
    service = writing(openldap)
    identifier = new(service, "vera", password="Pw-vera-1").json()["id"]
    path = f"/Users/{identifier}"
    for operation in (
        {"op": "remove", "path": "password"},
        {"op": "replace", "path": "password", "value": None},
        {"op": "replace", "path": "password", "value": ""},
        {"op": "replace", "path": "password", "value": "a\0b"},
        {"op": "replace", "value": {"password": None}},
        {"op": "add", "path": "password", "value": "\0"},
    ):
        scim_error(patch(service, path, operation, status=400), 400, "invalidValue")
    body = {"schemas": [USER], "userName": "dora", "name": {"familyName": "d"}}
    for password in ("a\0b", "", "\0"):
        scim_error(scim(service, "POST", "/Users", {**body, "password": password}), 400, "invalidValue")
        params = {"operation": "create_user", "params": {"uid": "dora", "cn": "d", "sn": "d", "password": password}}
        assert service.request("POST", "/api/v1/plugin/execute", json=params).status_code == 400
    assert not exists(openldap, "dora")
    assert service.login("vera", "Pw-vera-1").status_code == 200


def test_the_text_of_a_refused_new_user_is_true(openldaps, writing):
    directory = openldaps(policies={"default": {"pwdCheckQuality": "2", "pwdMinLength": "6"}})
    service = writing(directory)
    body = {"schemas": [USER], "userName": "dora", "name": {"familyName": "d"}, "password": "x"}
    answer = scim(service, "POST", "/Users", body)
    scim_error(answer, 400, "invalidValue")
    assert not exists(directory, "dora")
    assert "was added" not in answer.json()["detail"] and "next run" not in answer.json()["detail"]


def test_null_in_a_value_and_a_value_that_is_not_there(openldap, writing):
    service = writing(openldap)
    names = {"familyName": "V", "givenName": "Vera"}
    body = {"schemas": [USER], "userName": "vera", "name": names, "emails": [{"value": "v@example.com", "type": "work"}]}
    identifier = ok(scim(service, "POST", "/Users", body), 201).json()["id"]
    path = f"/Users/{identifier}"
    changed = patch(service, path, {"op": "replace", "path": "name", "value": {"givenName": None}}).json()
    assert "givenName" not in changed["name"] and "givenName" not in openldap.values(dn(openldap, "vera"), "givenName")
    for filtered in ('emails[value eq "nope"].value', 'emails[value eq "nope"]'):
        value = "x@example.com" if filtered.endswith("value") else {"value": "x@example.com"}
        answer = patch(service, path, {"op": "replace", "path": filtered, "value": value}, status=400)
        scim_error(answer, 400, "noTarget")
    assert openldap.values(dn(openldap, "vera"), "mail")["mail"] == [b"v@example.com"]


def test_two_spellings_of_one_member_are_refused(openldap, writing):
    service = writing(openldap)
    body = {"schemas": [USER], "userName": "dora", "name": {"familyName": "d"}}
    scim_error(scim(service, "POST", "/Users", {**body, "USERNAME": "nora"}), 400, "invalidSyntax")
    scim_error(scim(service, "POST", "/Users", {**body, "name": {"familyName": "d", "FamilyName": "e"}}), 400, "invalidSyntax")
    group = ok(scim(service, "GET", '/Groups?filter=displayName eq "admins"')).json()["Resources"][0]
    whole = {"schemas": group["schemas"], "displayName": "admins", "Members": group["members"], "members": None}
    scim_error(scim(service, "PUT", f"/Groups/{group['id']}", whole), 400, "invalidSyntax")
    operation = {"op": "replace", "path": "title", "value": "x", "Value": "y"}
    scim_error(patch(service, f"/Users/{user(service, 'eve')}", operation, status=400), 400, "invalidSyntax")
    assert not exists(openldap, "dora") and not exists(openldap, "nora")
    answer = service.client.post("/api/v1/auth/login", json={"username": "ada", "Username": "bob", "password": "x"})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")


def test_flags_and_programs_of_active_directory_are_not_imported(samba, writing, services):
    base = f"CN=Users,{samba.suffix}"
    service = writing(
        samba, bind_dn=samba.admin, bind_password=samba.admin_password, server_url=samba.tls_url, tls_ca_file=samba.ca,
        users={"base_dn": base, "filter": "(objectClass=user)"}, groups=None, roles=None,
    )
    target = f"CN=Vera,{base}"
    samba.add(entry(target, objectClass="user", sAMAccountName="vera", userAccountControl="514"))
    for name, value in [("userAccountControl", "546"), ("userAccountControl", "544"), ("msTSInitialProgram", "x.exe"), ("userParameters", "x"),
                        ("msTSProfilePath", "\\\\x"), ("profilePath", "\\\\x")]:
        done = report(send(service, change(target, "changetype: modify", f"replace: {name}", f"{name}: {value}", "-")))
        assert codes(done) == ["attribute_protected"], (name, done)
        fresh = entry(f"CN=Dora,{base}", objectClass="user", sAMAccountName="dora", **{name: value})
        assert codes(report(send(service, fresh))) == ["attribute_protected"], name


def test_an_export_of_what_nothing_matches_is_refused(openldap, services):
    service = services(openldap)

    def export(text):
        return service.request("GET", "/api/v1/ldap/export", params={"filter": text})

    for text, code in [("(nosuch=1)", "unknown_attribute"), ("(objectClass=nosuch)", "unknown_object_class"),
                       ("(&(objectClass=person)(!(nosuch=*)))", "unknown_attribute"), ("(9.9.9.9=1)", "unknown_attribute")]:
        answer = export(text)
        assert (answer.status_code, answer.json().get("code")) == (400, code), text
    assert export("(modifyTimestamp>=yesterday)").json()["code"] == "invalid_filter"
    whole = export("(uid=nobody-has-it)")
    assert whole.status_code == 200 and whole.text.endswith("# end: 0 entries\n")
