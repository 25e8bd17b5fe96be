"""A write is whole or not at all: a step that is refused takes back those before it; passwords of disabled accounts; rules that refuse."""

import json
import threading

import people
import pytest
from directories import wait_until
from test_configuration import about
from test_memberships import add_group, members
from writing import USER, change, content, dn, new, ok, patch, replace, report, scim, send, undo, undo_files, user

SHORT = "no-1"
STRICT = {"default": {"pwdCheckQuality": "2", "pwdMinLength": "6"}}


def grouped(directory, service, name="vera"):
    """A user in a group and in a role."""
    new(service, name)
    add_group(directory, "chiefs", dn(directory, name), dn(directory, "ada"))
    add_group(directory, "boss", dn(directory, name), dn(directory, "ada"), unit="roles")


def all_of(directory):
    return content(directory, *(f"ou={unit},{directory.suffix}" for unit in ("people", "groups", "roles")), without={"modifyTimestamp"})


def put(service, path, status, **body):
    return ok(scim(service, "PUT", path, {"schemas": [USER], **body}), status)


# All or nothing


def test_a_later_step_that_access_rules_forbid_takes_the_rename_back(openldaps, writing):
    directory = openldaps(access=f'access to attrs=title by dn.exact="{people.service_dn()}" read by * none\n')
    service = writing(directory)
    grouped(directory, service)
    before, files = all_of(directory), undo_files(service)
    answer = patch(service, f"/Users/{user(service, 'vera')}", {"op": "add", "path": "title", "value": "x"}, replace("userName", "vera2"), status=403)
    assert "undo-file" not in answer.headers and undo_files(service) == files
    assert all_of(directory) == before
    put(service, f"/Users/{user(service, 'vera')}", 403, userName="vera2", name={"familyName": "vera"}, title="x")
    assert all_of(directory) == before
    patch(service, f"/Users/{user(service, 'vera')}", replace("userName", "vera2"))
    assert members(directory, "chiefs") == {dn(directory, "vera2"), dn(directory, "ada")}


def test_a_refused_password_takes_back_what_was_done_before_it(openldaps, writing):
    directory = openldaps(policies=STRICT)
    service = writing(directory)
    service.secrets.add(SHORT)
    grouped(directory, service)
    before, files, path = all_of(directory), undo_files(service), f"/Users/{user(service, 'vera')}"
    steps = [replace("userName", "vera2"), replace("displayName", "V"), replace("password", SHORT)]
    for some in (steps, steps[1:], [steps[2], steps[0]]):
        answer = patch(service, path, *some, status=400)
        assert answer.json()["scimType"] == "invalidValue" and "undo-file" not in answer.headers
        assert all_of(directory) == before and undo_files(service) == files
    put(service, path, 400, userName="vera2", name={"familyName": "new"}, password=SHORT)
    assert all_of(directory) == before and undo_files(service) == files
    patch(service, path, replace("userName", "vera2"), replace("password", "Long-enough-1"))
    service.secrets.add("Long-enough-1")
    assert members(directory, "boss", "roles") == {dn(directory, "vera2"), dn(directory, "ada")}


def test_a_group_that_cannot_follow_takes_the_rename_back(openldaps, writing):
    readonly = people.group_dn("boss", unit="roles")
    directory = openldaps(access=f'access to dn.exact="{readonly}" attrs=member by * read\n')
    service = writing(directory)
    grouped(directory, service)
    before, files = all_of(directory), undo_files(service)
    answer = patch(service, f"/Users/{user(service, 'vera')}", replace("userName", "vera2"), status=502)
    assert "cn=boss" in answer.json()["detail"].lower() and "undo-file" not in answer.headers
    assert all_of(directory) == before and undo_files(service) == files


def test_what_cannot_be_taken_back_is_named_in_the_answer_and_the_log(openldaps, writing, tmp_path):
    # The service may give the name `vera2`, and not take it away (slapd.access(5): a, not z).
    svc = people.service_dn()
    directory = openldaps(access=f'access to attrs=uid val.regex="^vera2$" by dn.exact="{svc}" =arscxd\naccess to attrs=title by dn.exact="{svc}" read\n')
    service = writing(directory)
    directory.add(people.entry(dn(directory, "vera"), objectClass="inetOrgPerson", uid="vera", cn="vera", sn="vera"))
    add_group(directory, "chiefs", dn(directory, "vera"), dn(directory, "ada"))
    before = all_of(directory)
    answer = patch(service, f"/Users/{user(service, 'vera')}", {"op": "add", "path": "title", "value": "x"}, replace("userName", "vera2"), status=500)
    (file,) = answer.headers.get_list("undo-file")
    assert "uid=vera2" in answer.json()["detail"] and file in answer.json()["detail"]
    (line,) = wait_until(lambda: [record for record in service.log(level="error") if record.get("undo_file") == file], what="the error")
    assert "uid=vera2" in line["dn"] and file in json.dumps(line)
    undo(directory, tmp_path / "undo" / file, tmp_path)
    assert all_of(directory) == before


def test_389_refuses_a_password_and_the_rename_is_taken_back(ds389, writing):
    service = writing(ds389, server_url=ds389.tls_url, tls_ca_file=ds389.ca)
    service.secrets.add(SHORT)
    grouped(ds389, service)
    ds389.modify("dn: cn=config\nchangetype: modify\nreplace: passwordCheckSyntax\npasswordCheckSyntax: on\n-\nreplace: passwordMinLength\npasswordMinLength: 10\n")
    before, path = all_of(ds389), f"/Users/{user(service, 'vera')}"
    answer = patch(service, path, replace("userName", "vera2"), replace("title", "x"), replace("password", SHORT), status=400)
    assert "undo-file" not in answer.headers
    assert all_of(ds389) == before
    patch(service, path, replace("userName", "vera2"))
    assert members(ds389, "chiefs") == {dn(ds389, "vera2"), dn(ds389, "ada")}


@pytest.fixture
def domain(samba, services, tmp_path):
    """A Samba with a service that writes below OU=people."""
    for unit in ("people", "groups"):
        samba.modify(f"dn: OU={unit},{samba.suffix}\nchangetype: add\nobjectClass: organizationalUnit\n")

    def start(**settings):
        return services(
            samba, server_url=samba.tls_url, tls_ca_file=samba.ca, bind_dn=samba.admin, bind_password=samba.admin_password,
            users={"base_dn": f"OU=people,{samba.suffix}", "filter": "(objectClass=user)", "login_attributes": ["sAMAccountName"]},
            groups={"base_dn": f"OU=groups,{samba.suffix}", "filter": "(objectClass=group)"}, roles=None,
            write={"mapping_rules": {}, "max_deletes": 10, "undo_dir": str(tmp_path / "undo")}, **settings,
        )

    return samba, start


def test_samba_refuses_a_password_and_the_rename_is_taken_back(domain):
    samba, start = domain
    service = start()
    service.secrets.add(samba.admin_password)
    body = {"schemas": [USER], "userName": "vera", "name": {"formatted": "Vera B", "familyName": "B"}}
    made = ok(scim(service, "POST", "/Users", body), 201).json()
    old = f"CN=Vera B,OU=people,{samba.suffix}"
    before = samba.values(old, "*")
    answer = patch(service, f"/Users/{made['id']}", replace("name.formatted", "Vera C"), replace("title", "x"), replace("password", "x"), status=400)
    assert "undo-file" not in answer.headers
    changing = {"whenChanged", "uSNChanged", "name", "dSCorePropagationData"}
    after = samba.values(old, "*")
    assert {n: v for n, v in after.items() if n not in changing} == {n: v for n, v in before.items() if n not in changing}


# Passwords of disabled accounts


@pytest.mark.parametrize("rule", [{}, {"password": {"from": "password", "mode": "hash:ssha512", "policy": "force"}}], ids=["exop", "hash"])
def test_a_password_does_not_enable_a_disabled_account(openldap, writing, tmp_path, rule):
    service = writing(openldap, write={"mapping_rules": {"users": rule}})
    passwords = [f"Pw-vera-{n}-7Qz!" for n in range(4)]
    service.secrets |= set(passwords)
    new(service, "vera", password=passwords[0])
    path = f"/Users/{user(service, 'vera')}"
    patch(service, path, replace("active", False))
    lock = lambda: openldap.values(dn(openldap, "vera"), "pwdAccountLockedTime")  # noqa: E731
    locked = lock()
    assert locked
    first = patch(service, path, replace("password", passwords[1]))
    assert first.json()["active"] is False and lock() == locked
    answer = put(service, path, 200, userName="vera", name={"familyName": "vera"}, active=False, password=passwords[2])
    assert answer.json()["active"] is False and lock() == locked
    both = patch(service, path, replace("password", passwords[3]), replace("userName", "vera3"), replace("active", False))
    assert both.json()["active"] is False and openldap.values(dn(openldap, "vera3"), "pwdAccountLockedTime") == locked
    # An undo that gives the old password back leaves it disabled, too.
    undo(openldap, tmp_path / "undo" / both.headers["undo-file"], tmp_path)
    assert lock() == locked
    if not rule:
        assert openldap.values(dn(openldap, "vera"), "userPassword") == {"userPassword": [passwords[2].encode()]}
    assert openldap.whoami(dn(openldap, "vera"), passwords[2]) == 49
    patch(service, path, replace("active", True), replace("password", passwords[0]))
    assert lock() == {}


def test_a_lock_that_is_refused_takes_the_password_back(openldaps, writing):
    access = f'access to attrs=pwdAccountLockedTime by dn.exact="{people.service_dn()}" read by * read\n'
    directory = openldaps(access=access)
    service = writing(directory)
    service.secrets |= {"Pw-vera-7Qz!", "Pw-new-7Qz!"}
    new(service, "vera", password="Pw-vera-7Qz!")
    before = all_of(directory)
    steps = [replace("displayName", "x"), replace("active", False), replace("password", "Pw-new-7Qz!")]
    answer = patch(service, f"/Users/{user(service, 'vera')}", *steps, status=403)
    assert "undo-file" not in answer.headers and all_of(directory) == before
    assert directory.whoami(dn(directory, "vera"), "Pw-vera-7Qz!") == 0


# Assertions that a server cannot judge


def unique(openldaps):
    return openldaps(overlays="overlay unique\nunique_uri ldap:///?mail,uid?sub\n")


def test_attributes_that_slapd_keeps_unique_can_be_changed(openldaps, writing, tmp_path):
    directory = unique(openldaps)
    service = writing(directory)
    new(service, "vera", emails=[{"value": "v@example.test", "type": "work"}])
    before, path = content(directory), f"/Users/{user(service, 'vera')}"
    first = patch(service, path, replace('emails[type eq "work"].value', "w@example.test"))
    second = patch(service, path, replace("userName", "vera2"), replace('emails[type eq "work"].value', "x@example.test"))
    assert directory.values(dn(directory, "vera2"), "mail") == {"mail": [b"x@example.test"]}
    warnings = [record for record in service.log(level="warning") if "1.3.6.1.1.12" in json.dumps(record)]
    assert len(warnings) == 1, service.log_text()
    # What is not unique is refused for that, and what was changed meanwhile for that.
    patch(service, path, replace('emails[type eq "work"].value', people.ADA.mail), status=409)
    tag = scim(service, "GET", path).headers["etag"]
    directory.modify(f"dn: {dn(directory, 'vera2')}\nchangetype: modify\nreplace: title\ntitle: t\n")
    patch(service, path, replace('emails[type eq "work"].value', "y@example.test"), status=412, headers={"If-Match": tag})
    directory.modify(f"dn: {dn(directory, 'vera2')}\nchangetype: modify\ndelete: title\n")
    for answer in (second, first):
        undo(directory, tmp_path / "undo" / answer.headers["undo-file"], tmp_path)
    assert content(directory) == before


# Rules that refuse


def test_a_rule_without_create_or_rename_says_so(openldap, writing):
    service = writing(openldap, write={"mapping_rules": {"users": {"operations": {"create": False, "rename": False}}, "groups": {"operations": {"create": False}}}})
    before = content(openldap)
    answer = new(service, "vera", status=403)
    assert "operations" in answer.json()["detail"], answer.text
    body = {"schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"], "displayName": "g"}
    assert ok(scim(service, "POST", "/Groups", body), 403)
    answer = service.request("POST", "/api/v1/plugin/execute", json={"operation": "create_user", "params": {"uid": "x", "cn": "x", "sn": "x"}})
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "not_allowed"), answer.text
    path = f"/Users/{user(service, 'ada')}"
    for some in ([replace("userName", "ada2")], [replace("title", "x"), replace("userName", "ada2")]):
        answer = patch(service, path, *some, status=400)
        assert answer.json()["scimType"] == "mutability" and "operations" in answer.json()["detail"]
    assert content(openldap) == before
    patch(service, path, replace("title", "x"))


def test_a_rule_without_update_changes_nothing(openldap, writing):
    service = writing(openldap, write={"mapping_rules": {"users": {"operations": {"update": False}}}})
    before, path = content(openldap), f"/Users/{user(service, 'ada')}"
    patch(service, path, replace("title", "x"), status=403)
    patch(service, path, replace("title", "x"), replace("userName", "ada2"), status=403)
    assert content(openldap) == before


def test_a_place_for_the_deleted_that_is_not_there_is_no_missing_user(openldap, writing):
    gone = f"ou=gone,{openldap.suffix}"
    service = writing(openldap, write={"mapping_rules": {"users": {"on_delete": {"move_to": gone}}}})
    path = f"/Users/{user(service, 'ada')}"
    answer = ok(scim(service, "DELETE", path), 500)
    assert "write.mapping_rules.users.on_delete" in answer.json()["detail"], answer.text
    code, tested, _ = about(service, "--test")
    setting = "write.mapping_rules.users.on_delete.move_to"
    assert code == 2 and [c for c in tested["checks"] if not c["ok"] and setting in c["detail"]], tested
    assert ok(scim(service, "GET", path)).json()["userName"] == "ada"
    openldap.add(people.entry(gone, objectClass="organizationalUnit", ou="gone"))
    ok(scim(service, "DELETE", path), 204)
    ok(scim(service, "GET", path), 404)
    assert service.login("ada", people.ADA.password).status_code == 401
    ok(scim(service, "DELETE", path), 404)
    ok(scim(service, "DELETE", "/Users/00000000-0000-4000-8000-000000000000"), 404)
    # Nothing else reaches it.
    assert report(send(service, change(f"uid=eve,ou=people,{openldap.suffix}", "changetype: moddn", "newrdn: uid=eve", "deleteoldrdn: 1", f"newsuperior: {gone}")))["rejected"] == 1


@pytest.mark.parametrize("action", [{"move_to": "ou=people"}, {"move_to": "ou=left,ou=people"}, {"set": {"title": "gone"}}], ids=str)
def test_a_deleted_user_is_no_user(openldap, writing, action):
    """Whatever on_delete keeps of it: else the deletion is taken back."""
    openldap.add(people.entry(f"ou=left,ou=people,{openldap.suffix}", objectClass="organizationalUnit", ou="left"))
    if "move_to" in action:
        action = {"move_to": f"{action['move_to']},{openldap.suffix}"}
    service = writing(openldap, write={"mapping_rules": {"users": {"on_delete": action}}})
    units = [f"ou=people,{openldap.suffix}"]
    path, before = f"/Users/{user(service, 'ada')}", content(openldap, *units)
    roles = service.login("ada", people.ADA.password).json()["user"]["roles"]
    answer = ok(scim(service, "DELETE", path), 500)
    assert "write.mapping_rules.users.on_delete" in answer.json()["detail"], answer.text
    assert content(openldap, *units) == before
    assert service.login("ada", people.ADA.password).json()["user"]["roles"] == roles


def test_a_deletion_may_lock(ds389, writing):
    service = writing(ds389, write={"mapping_rules": {"users": {"on_delete": {"set": {"nsAccountLock": "TRUE"}}}}})
    path = f"/Users/{user(service, 'ada')}"
    ok(scim(service, "DELETE", path), 204)
    assert ok(scim(service, "GET", path)).json()["active"] is False


# Two services with one folder


def test_two_services_with_one_folder_give_a_name_once(openldap, writing):
    rules = {"users": {"dn_template": f"cn={{cn}},ou=people,{openldap.suffix}"}}
    services = [writing(openldap, name=f"service{n}", write={"mapping_rules": rules}) for n in range(2)]
    for n, service in enumerate(services):
        ok(scim(service, "POST", "/Users", {"schemas": [USER], "userName": f"w{n}", "name": {"familyName": "w", "formatted": f"W {n}"}}), 201)
    for turn in range(12):
        barrier, statuses = threading.Barrier(4), []

        def create(n, barrier=barrier, statuses=statuses, turn=turn):
            barrier.wait()
            body = {"schemas": [USER], "userName": f"twin{turn}", "name": {"familyName": "t", "formatted": f"Twin {turn} {n}"}}
            statuses.append(scim(services[n % 2], "POST", "/Users", body).status_code)

        threads = [threading.Thread(target=create, args=(n,)) for n in range(4)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        assert sorted(statuses) == [201, 409, 409, 409], (turn, statuses)


# Entries that no list would have


STAFF = {"userName": "uid", "name.familyName": "sn", "name.formatted": "cn", "userType": "employeeType", "emails[work]": "mail"}


def staff(directory, also=""):
    return {"base_dn": f"ou=people,{directory.suffix}", "filter": f"(&(objectClass=inetOrgPerson)(employeeType=staff){also})", "scim": STAFF}


def test_an_entry_that_the_filter_leaves_out_is_not_made(openldap, writing):
    service = writing(openldap, users=staff(openldap))
    before = all_of(openldap)
    answer = new(service, "vera", status=400)
    assert answer.json()["scimType"] == "invalidValue" and "users.filter" in answer.json()["detail"]
    assert all_of(openldap) == before and not undo_files(service)
    new(service, "vera", userType="staff")
    path, before = f"/Users/{user(service, 'vera')}", all_of(openldap)
    for operation in ({"op": "remove", "path": "userType"}, replace("userType", "guest")):
        patch(service, path, replace("userName", "vera2"), operation, status=400)
    put(service, path, 400, userName="vera", name={"familyName": "vera"})
    assert all_of(openldap) == before
    patch(service, path, replace("name.familyName", "W"))


def test_a_disabled_account_may_leave_the_filter(openldap, writing):
    service = writing(openldap, users=staff(openldap, "(!(pwdAccountLockedTime=*))"))
    new(service, "vera", userType="staff")
    path = f"/Users/{user(service, 'vera')}"
    answer = patch(service, path, replace("active", False))
    assert answer.json()["active"] is False
    ok(scim(service, "GET", path), 404)
    assert service.log(setting="users.filter")


# Values that the server makes


def test_a_lock_by_a_role_is_no_outage(ds389, writing):
    """What the entry shows is a class of service's: no request will ever take it away, and 503 would be repeated for ever."""
    suffix = ds389.suffix
    role = f"cn=nsManagedDisabledRole,{suffix}"
    definitions = [
        (role, {"objectClass": ["LdapSubEntry", "nsRoleDefinition", "nsSimpleRoleDefinition", "nsManagedRoleDefinition"], "cn": "nsManagedDisabledRole"}),
        (f"cn=nsAccountInactivationTmp,{suffix}", {"objectClass": "nsContainer", "cn": "nsAccountInactivationTmp"}),
        (f'cn="{role}",cn=nsAccountInactivationTmp,{suffix}', {"objectClass": ["extensibleObject", "costemplate", "ldapsubentry"], "cn": role, "cosPriority": "1", "nsAccountLock": "true"}),
        (f"cn=nsAccountInactivation_cos,{suffix}", {"objectClass": ["LdapSubEntry", "cosSuperDefinition", "cosClassicDefinition"], "cn": "nsAccountInactivation_cos",
            "cosTemplateDn": f"cn=nsAccountInactivationTmp,{suffix}", "cosSpecifier": "nsrole", "cosAttribute": "nsAccountLock operational"}),
    ]  # fmt: skip
    for name, attributes in definitions:
        ds389.add(people.entry(name, **attributes))
    ds389.modify(f"dn: {people.EVE.dn(suffix)}\nchangetype: modify\nadd: nsRoleDN\nnsRoleDN: {role}\n")
    service = writing(ds389)
    path = f"/Users/{user(service, 'eve')}"
    assert ok(scim(service, "GET", path)).json()["active"] is False
    answer = patch(service, path, replace("active", True), replace("title", "x"), status=502)
    assert "retry-after" not in answer.headers
    assert ds389.values(people.EVE.dn(suffix), "title") == {}
    patch(service, path, replace("title", "x"))
