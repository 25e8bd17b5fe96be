"""`active: false` on OpenLDAP: its lock counts only by a password policy with pwdLockout, and what is answered is so."""

import people
import pytest
from accounts import account, governed, password_of
from test_configuration import about
from writing import change, content, new, ok, patch, report, scim, send, undo_files, user

ON, OFF = ({"op": "replace", "path": "active", "value": value} for value in (True, False))
LOCK, LOCKED = "pwdAccountLockedTime", "000001010000Z"
POLICIES = {"nolock": {"pwdLockout": "FALSE"}, "silent": {}, "strict": {"pwdLockout": "TRUE"}, "old": {"pwdMaxAge": "3600"}}
NO_DEFAULT = "ppolicy_default"


@pytest.fixture
def slapd(openldaps, monkeypatch):
    """A slapd: `start(access="", default=True)`, with users of each policy."""
    import directories

    def start(access="", default="default", **options):
        line = f'ppolicy_default "cn=default,ou=policies,{people.SUFFIX}"\n'
        other = f'ppolicy_default "cn={default},ou=policies,{people.SUFFIX}"\n' if default else ""
        monkeypatch.setattr(directories, "OVERLAYS", directories.OVERLAYS.replace(line, other))
        users = [governed(name, name) for name in (*POLICIES, "ghost")] + [account("plain")]
        return openldaps(more=users, policies=POLICIES, access=access, **options)

    return start


def binds(slapd, name):
    return slapd.whoami(people.person(name, "", "").dn(), password_of(name)) == 0


def lock_of(slapd, name):
    return slapd.values(people.person(name, "", "").dn(), LOCK).get(LOCK)


def refused(answer, *named):
    assert answer.status_code == 400 and answer.json()["scimType"] == "invalidValue", answer.text
    for text in named:
        assert text in answer.json()["detail"], answer.text


def off(service, name, method="PATCH"):
    path = f"/Users/{user(service, name)}"
    if method == "PATCH":
        return scim(service, "PATCH", path, {"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": [OFF]})
    return scim(service, "PUT", path, {**ok(scim(service, "GET", path)).json(), "active": False})


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
def test_a_lock_that_the_server_ignores_is_refused(slapd, writing, method):
    slapd = slapd()
    service = writing(slapd)
    for name in ("nolock", "silent", "ghost"):
        before = content(slapd)
        refused(off(service, name, method), f"cn={name},ou=policies", people.person(name, "", "").dn())
        assert binds(slapd, name) and lock_of(slapd, name) is None and content(slapd) == before
        assert service.log(level="warning", dn=people.person(name, "", "").dn())
    assert not undo_files(service)
    for name in ("strict", "plain"):
        answer = ok(off(service, name, method))
        assert answer.json()["active"] is False and not binds(slapd, name) and lock_of(slapd, name) == [LOCKED.encode()]
        assert patch(service, f"/Users/{user(service, name)}", ON).json()["active"] is True and binds(slapd, name)
    # No policy is guessed at: nothing was said but what was refused.
    assert len(service.log(level="warning", module="ldap_service::write::disabled")) == 3


def test_a_lock_that_is_there_already_and_ignored_is_no_success(openldaps, writing):
    users = [governed("nolock", "nolock", **{LOCK: LOCKED}), governed("strict", "strict", **{LOCK: LOCKED})]
    slapd = openldaps(more=users, policies=POLICIES)
    service = writing(slapd)
    assert binds(slapd, "nolock") and not binds(slapd, "strict")
    refused(off(service, "nolock"), "cn=nolock,ou=policies")
    refused(off(service, "nolock", "PUT"), "cn=nolock,ou=policies")
    assert ok(off(service, "strict")).json()["active"] is False
    # What says nothing of it is made.
    path = f"/Users/{user(service, 'nolock')}"
    assert patch(service, path, {"op": "replace", "path": "title", "value": "x"}).json()["title"] == "x"


@pytest.mark.parametrize("default", [None, "nolock", "silent"])
def test_the_default_policy_is_found_out_by_the_server_itself(slapd, writing, default):
    slapd = slapd(default=default)
    service = writing(slapd)
    before = content(slapd)
    refused(off(service, "plain"), people.person("plain", "", "").dn())
    refused(scim(service, "POST", "/Users", {"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": "neo",
                                              "name": {"familyName": "Neo"}, "password": "Pw-neo-7Qz!", "active": False}), "uid=neo")
    assert binds(slapd, "plain") and lock_of(slapd, "plain") is None and content(slapd) == before
    assert ok(off(service, "strict")).json()["active"] is False and not binds(slapd, "strict")


def test_a_new_account_that_is_disabled_is(slapd, writing):
    slapd = slapd()
    service = writing(slapd)
    for name, more in (("neo", {"password": password_of("neo")}), ("leo", {})):
        answer = new(service, name, active=False, **more)
        assert answer.json()["active"] is False and lock_of(slapd, name) == [LOCKED.encode()] and not binds(slapd, name)


def test_policies_that_may_not_be_read(slapd, writing):
    """The server says whether the account can be used; where it does not, a warning says that nothing is known."""
    service_dn = people.service_dn()
    access = f'access to dn.subtree="ou=policies,{people.SUFFIX}" by dn.exact="{service_dn}" none by * read\n'
    start = slapd
    slapd = start(access)
    service = writing(slapd)
    refused(off(service, "nolock"), "cn=nolock,ou=policies")
    assert binds(slapd, "nolock") and lock_of(slapd, "nolock") is None
    assert ok(off(service, "strict")).json()["active"] is False and not binds(slapd, "strict")
    assert not service.log(level="warning", dn=people.person("strict", "", "").dn())


def test_what_cannot_be_found_out_is_a_warning(slapd, writing):
    service_dn = people.service_dn()
    access = (
        f'access to dn.subtree="ou=policies,{people.SUFFIX}" by dn.exact="{service_dn}" none by * read\n'
        f'access to attrs=userPassword by dn.exact="{service_dn}" =w by anonymous auth by * none\n'
    )
    slapd = slapd(access)
    service = writing(slapd)
    for name in ("strict", "nolock", "plain"):
        assert ok(off(service, name)).json()["active"] is False
        assert service.log(level="warning", dn=people.person(name, "", "").dn()), name
    for flags, result in ((("--test",), 0), (("doctor", "--format", "json"), 0)):
        code, report, _ = about(service, *flags)
        found = [check for check in report["checks"] if check["name"] == "lockout"]
        assert code == result and found and any("cn=strict,ou=policies" in check["detail"] for check in found), report


def test_doctor_names_policies_without_lockout(slapd, writing):
    slapd = slapd(default=None)
    service = writing(slapd)
    _, report, _ = about(service, "doctor", "--format", "json")
    found = [check for check in report["checks"] if check["name"] == "lockout"]
    assert {check["result"] for check in found} == {"warning"}
    said = " ".join(check["detail"] for check in found)
    for named in ("cn=nolock,ou=policies", "cn=silent,ou=policies", "cn=ghost,ou=policies", people.person("nolock", "", "").dn()):
        assert named in said, report
    assert "cn=strict,ou=policies" not in said and len(found) == 5, report


def test_doctor_is_content_with_lockout(openldap, writing):
    service = writing(openldap)
    _, report, _ = about(service, "doctor", "--format", "json")
    assert [check["result"] for check in report["checks"] if check["name"] == "lockout"] == ["ok"]


def test_a_deletion_that_locks(slapd, writing):
    rule = {"users": {"on_delete": {"set": {LOCK: "2020-01-01T00:00:00Z"}}}}
    slapd = slapd()
    service = writing(slapd, write={"mapping_rules": rule})
    answer = scim(service, "DELETE", f"/Users/{user(service, 'nolock')}")
    assert answer.status_code == 400 and "cn=nolock,ou=policies" in answer.json()["detail"], answer.text
    assert binds(slapd, "nolock") and lock_of(slapd, "nolock") is None
    ok(scim(service, "DELETE", f"/Users/{user(service, 'strict')}"), 204)
    assert not binds(slapd, "strict")


@pytest.mark.parametrize("readable", [True, False])
def test_a_deletion_by_an_import_that_locks(slapd, writing, readable):
    service_dn = people.service_dn()
    hidden = f'access to dn.subtree="ou=policies,{people.SUFFIX}" by dn.exact="{service_dn}" none by * read\n'
    slapd = slapd("" if readable else hidden)
    rule = {"users": {"on_delete": {"set": {LOCK: "2020-01-01T00:00:00Z"}}}}
    service = writing(slapd, write={"mapping_rules": rule})
    name_of = lambda name: people.person(name, "", "").dn()  # noqa: E731
    slapd.add(people.entry(people.group_dn("g"), objectClass="groupOfNames", cn="g", member=[name_of("nolock"), name_of("plain")]))
    before = content(slapd)
    done = report(send(service, change(name_of("nolock"), "changetype: delete") + change(name_of("strict"), "changetype: delete")))
    assert (done["modified"], done["rejected"]) == (1, 1) and "cn=nolock,ou=policies" in done["rejects"][0]["reason"], done
    assert binds(slapd, "nolock") and lock_of(slapd, "nolock") is None and not binds(slapd, "strict")
    assert content(slapd) == before


def test_other_directories_have_no_policy_for_it(ds389, writing):
    service = writing(ds389, users={"base_dn": f"ou=people,{ds389.suffix}", "filter": "(objectClass=person)"})
    assert ok(off(service, "ada")).json()["active"] is False
    assert ds389.whoami(people.ADA.dn(ds389.suffix), people.ADA.password) != 0
