"""Logins: each state of an account on each server, and sessions.

Not every server can have every state, and not every server tells one after the right password only:
- 389 Directory Server refuses a disabled (`nsAccountLock`) and a locked account without comparing the password. Both are 401.
- OpenLDAP has no disabled accounts but those whose `pwdAccountLockedTime` says so, which it refuses without comparing the password.
- Samba has no grace logins and does not warn of expiry; a password that is younger than a day never expires there.
"""

import base64
import datetime
import re
import time

import people
import pytest
from accounts import (
    LONG_AGO, POLICIES, SLAPD_STATES, UNBOUNDED, UNKNOWN, account, body, browse, code, log_in_by_form, me, password_of, token_of,
)  # fmt: skip
from conftest import SERVICE, run
from service import basic, forward
from test_configuration import about


def check_states(service, states):
    """Each state: what the right password is told, and that a wrong one is told what an unknown name is."""
    unknown = service.login(*UNKNOWN)
    assert code(unknown) == (401, "invalid_credentials")
    for name, password, expected in states:
        wrong = service.login(name, "Pw-wrong-5Tz!")
        assert body(wrong) == body(unknown), name
        right = service.login(name, password)
        assert code(right)[: len(expected)] == expected, (name, right.text)
        if expected[0] == 401:
            assert body(right) == body(unknown), name


# slapd

@pytest.fixture
def stateful(openldaps):
    return openldaps("states", more=SLAPD_STATES, policies=POLICIES)


def test_states_on_slapd(services, stateful):
    service = services(stateful, login=UNBOUNDED)
    check_states(service, [
        ("ada", people.ADA.password, (200,)),
        ("expired", password_of("expired"), (403, "password_expired")),
        ("reset", password_of("reset"), (403, "password_must_change")),
        ("off", password_of("off"), (401,)),
        ("locked", password_of("locked"), (401,)),
    ])
    warned = service.login("warned", password_of("warned")).json()["password"]
    assert 0 < warned["expires_in_seconds"] < 1_000_000_000
    assert (warned["grace_logins"], warned["must_change"]) == (None, False)
    # A lock by wrong passwords.
    for _ in range(5):
        service.login("eve", "Pw-wrong-5Tz!")
    assert "pwdAccountLockedTime" in stateful.values(people.EVE.dn(), "pwdAccountLockedTime")
    assert body(service.login("eve", people.EVE.password)) == body(service.login(*UNKNOWN))


def test_trap_17_grace_logins_are_told_and_one_login_takes_one(services, stateful):
    service = services(stateful)
    password = password_of("grace")
    for left in (1, 0):
        answer = service.login("grace", password)
        assert answer.status_code == 200, answer.text
        assert answer.json()["password"] == {"expires_in_seconds": None, "grace_logins": left, "must_change": False}
    assert code(service.login("grace", password)) == (403, "password_expired")
    dn = people.person("grace", "", "").dn()
    assert len(stateful.values(dn, "pwdGraceUseTime")["pwdGraceUseTime"]) == 2


# 389 Directory Server


def test_states_on_389(services, ds389):
    suffix = ds389.suffix

    def configure(**settings):
        changes = "-\n".join(f"replace: {n}\n{n}: {v}\n" for n, v in settings.items())
        ds389.modify(f"dn: cn=config\nchangetype: modify\n{changes}")

    def change(name, attribute, value):
        dn = people.person(name, "", "").dn(suffix)
        ds389.modify(f"dn: {dn}\nchangetype: modify\nreplace: {attribute}\n{attribute}: {value}\n")

    configure(passwordExp="on", passwordMaxAge="2592000", passwordWarning="86400", passwordGraceLimit="2",
              passwordLockout="on", passwordMaxFailure="3", passwordCheckSyntax="off", passwordIsGlobalPolicy="on")
    for name in ("good", "expired", "grace", "warned", "off", "locked", "reset"):
        ds389.add(account(name, suffix))
    configure(passwordMustChange="on", passwordGraceLimit="0")
    soon = (datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)).strftime("%Y%m%d%H%M%SZ")
    change("expired", "passwordExpirationTime", LONG_AGO)
    change("warned", "passwordExpirationTime", soon)
    change("off", "nsAccountLock", "TRUE")
    change("reset", "userPassword", password_of("reset"))
    service = services(ds389, login=UNBOUNDED)
    check_states(service, [
        ("good", password_of("good"), (200,)),
        ("expired", password_of("expired"), (403, "password_expired")),
        ("reset", password_of("reset"), (403, "password_must_change")),
        ("off", password_of("off"), (401,)),
    ])
    warned = service.login("warned", password_of("warned"))
    assert warned.json()["password"]["expires_in_seconds"] > 0, warned.text
    for _ in range(4):
        service.login("locked", "Pw-wrong-5Tz!")
    assert body(service.login("locked", password_of("locked"))) == body(service.login(*UNKNOWN))
    configure(passwordGraceLimit="2")
    change("grace", "passwordExpirationTime", LONG_AGO)
    for left in (1, 0):
        answer = service.login("grace", password_of("grace"))
        assert answer.status_code == 200, answer.text
        assert (answer.json()["password"]["grace_logins"], answer.json()["password"]["must_change"]) == (left, False)
    assert code(service.login("grace", password_of("grace"))) == (403, "password_expired")


def test_a_session_of_a_disabled_account_on_389(services, ds389):
    service = services(ds389)
    session = log_in_by_form(service, "ada", people.ADA.password)
    assert me(service, session).json()["user"]["username"] == "ada"
    dn = people.ADA.dn(ds389.suffix)
    ds389.modify(f"dn: {dn}\nchangetype: modify\nreplace: nsAccountLock\nnsAccountLock: TRUE\n")
    assert code(me(service, session)) == (403, "account_disabled")


# Samba


@pytest.fixture
def domain(samba, services):
    """(server, start of a service whose users are those of the whole domain)."""

    def start(**settings):
        usual = {
            "bind_dn": samba.admin, "bind_password": samba.admin_password,
            "users": {"base_dn": samba.suffix, "filter": "(&(objectCategory=person)(objectClass=user))"},
            "groups": {"base_dn": samba.suffix, "filter": "(objectClass=group)"},
            "roles": [{"role": "{cn}", "below": f"OU=Roles,{samba.suffix}"}],
            "login": UNBOUNDED,
        }
        return services(samba, **{**usual, **settings})

    return samba, start


def unicode_password(text):
    return base64.b64encode(f'"{text}"'.encode("utf-16-le")).decode()


def add_account(samba, name, rdn=None):
    """Adds an enabled user, and returns its DN."""
    dn = f"CN={rdn or name},CN=Users,{samba.suffix}"
    samba.modify(
        f"dn: {dn}\nchangetype: add\nobjectClass: user\nsAMAccountName: {name}\n"
        f"unicodePwd:: {unicode_password(password_of(name))}\nuserAccountControl: 512\n"
    )
    return dn


def test_trap_16_states_on_samba_are_told_after_the_right_password(domain):
    samba, start = domain

    def change(dn, attribute, value):
        samba.modify(f"dn: {dn}\nchangetype: modify\nreplace: {attribute}\n{attribute}{value}\n")

    for name, attribute, value in [
        ("good", None, None),
        ("must", "pwdLastSet", ": 0"),
        ("off", "userAccountControl", ": 514"),
        ("past", "accountExpires", ": 132539328000000000"),
        ("night", "logonHours", ":: " + base64.b64encode(bytes(21)).decode()),
        ("elsewhere", "userWorkstations", ": ANOTHER"),
        ("locked", None, None),
    ]:
        dn = add_account(samba, name)
        if attribute:
            change(dn, attribute, value)
    change(samba.suffix, "lockoutThreshold", ": 3")
    service = start()
    check_states(service, [
        ("good", password_of("good"), (200,)),
        ("must", password_of("must"), (403, "password_must_change")),
        ("off", password_of("off"), (403, "account_disabled")),
        ("past", password_of("past"), (403, "account_expired")),
        ("night", password_of("night"), (403, "not_at_this_time")),
        ("elsewhere", password_of("elsewhere"), (403, "not_from_here")),
    ])
    for _ in range(4):
        service.login("locked", "Pw-wrong-5Tz!")
    assert body(service.login("locked", password_of("locked"))) == body(service.login(*UNKNOWN))


def test_trap_14_nested_groups_of_a_domain(domain):
    """By tokenGroups, from the domain's root, which answers with references (trap 15)."""
    samba, start = domain
    suffix = samba.suffix
    samba.modify(f"dn: OU=Roles,{suffix}\nchangetype: add\nobjectClass: organizationalUnit\n")
    dns = [add_account(samba, "jane", "Smith\\, Jane"), add_account(samba, "bob", "Bob (ext)")]
    groups = [("deep", "CN=middle"), ("middle", "CN=direct"), ("loop", "CN=deep"), ("direct", None)]
    for name, _ in groups:
        samba.modify(f"dn: CN={name},OU=Roles,{suffix}\nchangetype: add\nobjectClass: group\nsAMAccountName: {name}\n")
    for name, member in groups:
        members = dns if member is None else [f"{member},OU=Roles,{suffix}"]
        values = "".join(f"member: {dn}\n" for dn in members)
        samba.modify(f"dn: CN={name},OU=Roles,{suffix}\nchangetype: modify\nadd: member\n{values}")
    service = start()
    for name in ("jane", "bob"):
        began = time.monotonic()
        answer = service.login(name, password_of(name))
        assert answer.status_code == 200, answer.text
        assert answer.json()["user"]["roles"] == ["deep", "direct", "loop", "middle"]
        assert time.monotonic() - began < 3


def test_a_session_of_a_disabled_account_on_samba(domain):
    samba, start = domain
    dn = add_account(samba, "good")
    service = start()
    session = log_in_by_form(service, "good", password_of("good"))
    assert me(service, session).status_code == 200
    samba.modify(f"dn: {dn}\nchangetype: modify\nreplace: userAccountControl\nuserAccountControl: 514\n")
    assert code(me(service, session)) == (403, "account_disabled")
    samba.modify(f"dn: {dn}\nchangetype: modify\nreplace: userAccountControl\nuserAccountControl: 512\n")
    assert me(service, session).status_code == 200
    # With another password, the session of the old one has ended.
    samba.modify(f"dn: {dn}\nchangetype: modify\nreplace: unicodePwd\nunicodePwd:: {unicode_password('Pw-new-8Lm!')}\n")
    assert me(service, session).status_code == 401


# Sessions by the form


def test_a_form_of_another_browser_is_refused(service):
    page = browse(service, "GET", "/login")
    token = token_of(page)
    form = {"username": "ada", "password": people.ADA.password}
    for data, cookies in [(form, {}), ({**form, "form_token": token}, {}), (form, dict(page.cookies)),
                          ({**form, "form_token": token}, {"ldap_form": "x" * 24})]:
        answer = browse(service, "POST", "/login", cookies, data=data)
        assert (answer.status_code, "ldap_session" in answer.cookies) == (403, False)


def test_a_session_that_was_logged_out_is_none(service):
    session = log_in_by_form(service, "ada", people.ADA.password)
    page = browse(service, "GET", "/login", session)
    assert me(service, session).status_code == 200
    answer = browse(service, "POST", "/logout", session, data={"form_token": token_of(page)})
    assert answer.status_code == 303
    assert me(service, session).status_code == 401


def test_trap_18_a_changed_password_ends_sessions_and_logins(services, openldap):
    service = services(openldap)
    session = log_in_by_form(service, "ada", people.ADA.password)
    assert forward(service, headers=basic("ada", people.ADA.password)).status_code == 200
    new = "Pw-ada-new-3Kx!"
    openldap.modify(f"dn: {people.ADA.dn()}\nchangetype: modify\nreplace: userPassword\nuserPassword: {new}\n")
    assert code(service.login("ada", people.ADA.password))[0] == 401
    assert forward(service, headers=basic("ada", people.ADA.password)).status_code == 401
    assert me(service, session).status_code == 401
    assert service.login("ada", new).status_code == 200


def test_a_logout_is_known_after_a_restart_and_to_another_instance(services, shared_openldap, tmp_path):
    key = tmp_path / "session.key"
    key.write_text("k" * 64)
    key.chmod(0o600)
    first, second = (services(shared_openldap, name=name, login={"session_key_file": str(key)}) for name in ("first", "second"))

    def is_in(service, cookies):
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())}
        return service.client.get("/api/v1/auth/forward", headers=headers).status_code

    first.form_login("ada", people.ADA.password)
    cookies = dict(first.client.cookies)
    page = first.client.get("/login")
    fields = dict(re.findall(r'name="([a-z_]+)"[^>]* value="([^"]*)"', page.text))
    first.client.cookies.clear(), second.client.cookies.clear()
    assert (is_in(first, cookies), is_in(second, cookies)) == (200, 200)
    answer = first.client.post("/logout", data=fields, headers={"Cookie": "; ".join(f"{n}={v}" for n, v in cookies.items())})
    assert answer.status_code == 303, answer.text
    first.client.cookies.clear()
    assert (is_in(first, cookies), is_in(second, cookies)) == (401, 401)
    first.stop()
    first.start()
    assert is_in(first, cookies) == 401
    ended = tmp_path / "session.key.ended"
    assert len(ended.read_text().splitlines()) == 5 and ended.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("flags", [("--test",), ("doctor", "--format", "json")], ids=["test", "doctor"])
def test_a_check_changes_no_file_of_a_service_at_work(services, shared_openldap, tmp_path, flags):
    folder = tmp_path / "keys"
    folder.mkdir()
    key, ended = folder / "session.key", folder / "session.key.ended"
    key.write_text("k" * 64)
    key.chmod(0o600)
    service = services(shared_openldap)
    service.configure({**service.config, "login": {"session_key_file": str(key)}})
    # It is not there; one with a line that is over; one of an earlier version.
    head = "ldap-service ended sessions 1\n"
    for text in (None, head + "# the last line has the number of sessions\n# since: x\n7 over\n# end: 1\n", head + "7 over\n"):
        if text is not None:
            ended.write_text(text)
        before = [(file.name, file.read_text(), file.stat().st_ino) for file in sorted(folder.iterdir())]
        exit_code, report, log = about(service, *flags)
        assert exit_code == 0 and "session_key_file" not in log, (report, log)
        assert [(file.name, file.read_text(), file.stat().st_ino) for file in sorted(folder.iterdir())] == before
    # What the start refuses, or warns of.
    ended.write_text(head + "7 no")
    run(SERVICE, "--config", service.config_path, *flags, code=2)
    ended.unlink()
    ended.mkdir()
    exit_code, _, log = about(service, *flags)
    assert exit_code == 0 and "login.session_key_file" in log, log


def test_a_logout_that_cannot_be_kept_is_warned_of(services, shared_openldap, tmp_path):
    key = tmp_path / "session.key"
    key.write_text("k" * 64)
    key.chmod(0o600)
    (tmp_path / "session.key.ended").mkdir()
    service = services(shared_openldap, login={"session_key_file": str(key)})
    assert service.log(level="warning", setting="login.session_key_file")
