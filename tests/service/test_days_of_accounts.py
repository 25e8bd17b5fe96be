"""Accounts past their last day, or before their first one: sessions, JWTs, and `active` of SCIM."""

import datetime

import people
import pytest
from accounts import account, browse, code, governed, log_in_by_form, me, password_of
from test_configuration import about
from test_login_states import domain  # noqa: F401
from test_login_states import add_account
from writing import new, ok, patch, scim, user

PAST, FUTURE = "20200101000000Z", "20400101000000Z"
ON, OFF = ({"op": "replace", "path": "active", "value": value} for value in (True, False))
# Attributes, and the code of a session; None: it goes on.
DAYS = {
    "end": ({"pwdEndTime": PAST}, "account_expired"),
    "later": ({"pwdEndTime": FUTURE}, None),
    "start": ({"pwdStartTime": FUTURE}, "not_at_this_time"),
    "begun": ({"pwdStartTime": PAST}, None),
    "never": ({"pwdStartTime": FUTURE, "pwdEndTime": PAST}, "account_expired"),
}


def set_to(directory, dn, **values):
    changes = "-\n".join(f"replace: {name}\n" + (f"{name}: {value}\n" if value else "") for name, value in values.items())
    directory.modify(f"dn: {dn}\nchangetype: modify\n{changes}")


def names(service, filter):
    found = ok(scim(service, "GET", f"/Users?filter={filter}&count=200")).json()["Resources"]
    return {one["userName"] for one in found}


def check_scim(service, expected):
    """`active` of each user, by name: in lists, alone, and in filters."""
    listed = {u["userName"]: u["active"] for u in ok(scim(service, "GET", "/Users?count=200")).json()["Resources"]}
    for name, active in expected.items():
        assert listed[name] is active, name
        assert ok(scim(service, "GET", f"/Users/{user(service, name)}")).json()["active"] is active, name
    assert names(service, "active eq true") == {name for name, active in listed.items() if active}
    assert names(service, "active eq false") == {name for name, active in listed.items() if not active}


def test_days_on_slapd(openldaps, services):
    slapd = openldaps(more=[account(name) for name in DAYS])
    service = services(slapd)
    sessions = {name: log_in_by_form(service, name, password_of(name)) for name in DAYS}
    for name, (values, expected) in DAYS.items():
        dn = people.person(name, "", "").dn()
        assert me(service, sessions[name]).status_code == 200
        set_to(slapd, dn, **values)
        # As the server counts it.
        assert slapd.whoami(dn, password_of(name)) == (0 if expected is None else 49), name
        wanted = (200, None) if expected is None else (403, expected)
        assert code(me(service, sessions[name])) == wanted, name
        forward = browse(service, "GET", "/api/v1/auth/forward", sessions[name])
        assert forward.status_code == wanted[0] and ("Remote-User" in forward.headers) is (expected is None), name
        # Nothing is told before the right password, which the server does not compare.
        assert service.login(name, password_of(name)).status_code == (200 if expected is None else 401), name
    check_scim(service, {name: expected is None for name, (_, expected) in DAYS.items()})


def test_a_day_that_comes_ends_a_session(openldap, services):
    service = services(openldap)
    session = log_in_by_form(service, "ada", people.ADA.password)
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=3)
    set_to(openldap, people.ADA.dn(), pwdEndTime=soon.strftime("%Y%m%d%H%M%SZ"))
    from directories import wait_until
    assert me(service, session).status_code == 200
    wait_until(lambda: code(me(service, session)) == (403, "account_expired"), what="the end")
    assert openldap.whoami(people.ADA.dn(), people.ADA.password) == 49
    set_to(openldap, people.ADA.dn(), pwdEndTime=None)
    assert me(service, session).status_code == 200


def test_active_of_an_account_out_of_its_days_is_set_all_the_same(openldaps, writing):
    slapd = openldaps(more=[account(name, **values) for name, (values, _) in DAYS.items()])
    service = writing(slapd)
    for name in ("end", "start"):
        dn, path = people.person(name, "", "").dn(), f"/Users/{user(service, name)}"
        whole = ok(scim(service, "GET", path)).json()
        # It cannot be made active here, and no success says so.
        for answer in (patch(service, path, ON, status=400), scim(service, "PUT", path, {**whole, "active": True})):
            assert answer.status_code == 400 and answer.json()["scimType"] == "invalidValue" and "pwdEndTime" in answer.json()["detail"]
        # Other changes are made, with `active` or without.
        assert patch(service, path, {"op": "replace", "path": "title", "value": "x"}).json()["active"] is False
        del whole["active"]
        assert ok(scim(service, "PUT", path, {**whole, "title": "y"})).json()["title"] == "y"
        assert "pwdAccountLockedTime" not in slapd.values(dn, "pwdAccountLockedTime")
        # A client that disables it is heeded: its days may be extended later.
        assert patch(service, path, OFF).json()["active"] is False
        assert slapd.values(dn, "pwdAccountLockedTime")["pwdAccountLockedTime"] == [b"000001010000Z"]
        set_to(slapd, dn, pwdStartTime=None, pwdEndTime=None)
        assert ok(scim(service, "GET", path)).json()["active"] is False and slapd.whoami(dn, password_of(name)) == 49
        assert patch(service, path, ON).json()["active"] is True and slapd.whoami(dn, password_of(name)) == 0


def test_locks_after_wrong_passwords_and_states_of_passwords_end_no_session(openldaps, services):
    slapd = openldaps(more=[governed("reset", "reset"), account("locked")], policies={"reset": {"pwdMustChange": "TRUE"}})
    service = services(slapd)
    sessions = {name: log_in_by_form(service, name, password_of(name)) for name in ("reset", "locked")}
    set_to(slapd, people.person("reset", "", "").dn(), pwdReset="TRUE")
    for _ in range(6):
        slapd.whoami(people.person("locked", "", "").dn(), "Pw-wrong-5Tz!")
    assert slapd.whoami(people.person("locked", "", "").dn(), password_of("locked")) == 49
    assert {name: me(service, session).status_code for name, session in sessions.items()} == {"reset": 200, "locked": 200}


@pytest.mark.parametrize("attribute", ["pwdEndTime", "pwdStartTime"])
def test_days_that_may_not_be_read(openldaps, services, attribute):
    slapd = openldaps(access=f'access to attrs={attribute} by dn.exact="{people.service_dn()}" none by * read\n')
    service = services(slapd, ready=False)
    answer = service.login("ada", people.ADA.password)
    assert code(answer) == (500, "misconfigured") and attribute in answer.json()["detail"]


def test_a_role_that_is_inactivated_on_389(ds389, services):
    """nsAccountLock is computed: by a class of service of the inactivated role."""
    suffix = ds389.suffix
    service = services(ds389)
    session = log_in_by_form(service, "ada", people.ADA.password)
    off = f"cn=off,{suffix}"
    ds389.add(
        people.entry(off, objectClass=["nsRoleDefinition", "nsSimpleRoleDefinition", "nsManagedRoleDefinition"], cn="off")
        + people.entry(f"cn=templates,{suffix}", objectClass="nsContainer", cn="templates")
        + people.entry(f'cn="{off}",cn=templates,{suffix}', objectClass=["extensibleObject", "cosTemplate"], cosPriority="1", nsAccountLock="true")
        + people.entry(f"cn=lock,{suffix}", objectClass=["cosSuperDefinition", "cosClassicDefinition"], cn="lock",
                       cosTemplateDn=f"cn=templates,{suffix}", cosSpecifier="nsRole", cosAttribute="nsAccountLock operational")
    )
    assert me(service, session).status_code == 200
    set_to(ds389, people.ADA.dn(suffix), nsRoleDN=off)
    assert ds389.whoami(people.ADA.dn(suffix), people.ADA.password) != 0
    assert code(me(service, session)) == (403, "account_disabled")
    assert ok(scim(service, "GET", f"/Users/{user(service, 'ada')}")).json()["active"] is False


def test_days_on_samba(domain):  # noqa: F811
    samba, start = domain
    for name in ("good", "past"):
        add_account(samba, name)
    service = start()
    session = log_in_by_form(service, "past", password_of("past"))
    set_to(samba, f"CN=past,CN=Users,{samba.suffix}", accountExpires="132539328000000000")
    assert code(me(service, session)) == (403, "account_expired")
    check_scim(service, {"good": True, "past": False})


def test_a_new_account_has_no_days(openldap, writing):
    service = writing(openldap)
    assert new(service, "neo", active=True).json()["active"] is True


def test_a_last_day_that_openldap_takes_for_the_past_is_told(services, openldap):
    """It has 32 bits for these times: the end of the year 9999 has passed for it."""
    for name, value in (("far", "99991231235959Z"), ("near", "21000101000000Z")):
        openldap.add(account(name))
        set_to(openldap, people.person(name, "", "").dn(), pwdEndTime=value)
    service = services(openldap)
    assert service.login("far", password_of("far")).status_code == 401 and service.login("near", password_of("near")).status_code == 200
    _, report, _ = about(service, "--test")
    (found,) = [check for check in report["checks"] if "pwdEndTime" in check["detail"] and check["result"] == "warning"]
    assert found["name"] == "users" and people.person("far", "", "").dn() in found["detail"] and "near" not in found["detail"]
