"""Logins: each state of an account on each server, and the traps of logins as named tests.

Not every server can have every state, and not every server tells one after the right password only:
- 389 Directory Server refuses a disabled (`nsAccountLock`) and a locked account without comparing the password. Both are 401.
- OpenLDAP has no disabled accounts but those whose `pwdAccountLockedTime` says so, which it refuses without comparing the password.
- Samba has no grace logins and does not warn of expiry; a password that is younger than a day never expires there.
"""

import base64
import concurrent.futures
import datetime
import time

import people
import pytest
from conftest import LONG
from wire import SEARCH, Wire

UNKNOWN = ("nobody-has-this", "Pw-nobody-7Qz!")
LONG_AGO = "20200101000000Z"
UNBOUNDED = {"max_failures": 0, "per_address_per_minute": 0}


def code(answer):
    """(status, code) of an answer."""
    return answer.status_code, answer.json().get("code")


def body(answer):
    """What a stranger sees: all but what differs in every answer."""
    shown = {name: value for name, value in answer.json().items() if name != "request_id"}
    headers = {n.lower() for n in answer.headers}
    return answer.status_code, shown, headers


def basic(name, password):
    octets = password if isinstance(password, bytes) else password.encode()
    return {"Authorization": "Basic " + base64.b64encode(name.encode() + b":" + octets).decode()}


def forward(service, role=None, **options):
    return service.client.get("/api/v1/auth/forward", params={"role": role} if role else None, **options)


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

POLICIES = {
    "expired": {"pwdMaxAge": "3600"},
    "grace": {"pwdMaxAge": "3600", "pwdGraceAuthNLimit": "2"},
    "warn": {"pwdMaxAge": "1000000000", "pwdExpireWarning": "999999999"},
    "reset": {"pwdMustChange": "TRUE"},
}


def account(name, suffix=people.SUFFIX, **attributes):
    """LDIF of a person with a state."""
    p = people.person(name, f"State {name}", "State")
    return people.entry(
        p.dn(suffix), objectClass="inetOrgPerson", cn=p.cn, sn=p.sn,
        **{"uid": p.uid, "mail": p.mail, "userPassword": p.password, **attributes},
    )


def governed(name, policy, **attributes):
    return account(name, pwdPolicySubentry=f"cn={policy},ou=policies,{people.SUFFIX}", **attributes)


def password_of(name):
    return people.person(name, "", "").password


SLAPD_STATES = [
    governed("expired", "expired", pwdChangedTime=LONG_AGO),
    governed("grace", "grace", pwdChangedTime=LONG_AGO),
    governed("warned", "warn", pwdChangedTime=LONG_AGO),
    governed("reset", "reset", pwdReset="TRUE"),
    account("off", pwdAccountLockedTime="000001010000Z"),
    account("locked", pwdAccountLockedTime=datetime.datetime.now(datetime.UTC).strftime("%Y%m%d%H%M%SZ")),
]


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
        ldif = account(name, suffix)
        ds389.modify(ldif.replace("\n", "\nchangetype: add\n", 1))
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


def browse(service, method, path, cookies=None, **options):
    """A request of a browser with these cookies alone."""
    service.client.cookies.clear()
    headers = {"Cookie": "; ".join(f"{n}={v}" for n, v in cookies.items())} if cookies else {}
    answer = service.client.request(method, path, headers=headers, **options)
    service.client.cookies.clear()
    return answer


def token_of(page):
    return page.text.split('name="form_token" value="')[1].split('"')[0]


def log_in_by_form(service, name, password):
    """The cookies of a session."""
    page = browse(service, "GET", "/login")
    cookies = dict(page.cookies)
    form = {"username": name, "password": password, "form_token": token_of(page)}
    answer = browse(service, "POST", "/login", cookies, data=form)
    assert answer.status_code == 303, answer.text
    cookies |= dict(answer.cookies)
    service.secrets.add(cookies["ldap_session"])
    return cookies


def me(service, cookies):
    return browse(service, "GET", "/api/v1/auth/me", cookies)


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


# Traps


@pytest.fixture
def wired(openldaps, services, request):
    """(slapd, wire, start of a service that sees it through the wire)."""
    server = openldaps("wired", more=SLAPD_STATES, policies=POLICIES)
    wire = Wire(server.url)
    request.addfinalizer(wire.stop)

    def start(**settings):
        service = services(server, **{"server_url": wire.url, **settings})
        wire.forget()
        return service

    return server, wire, start


def test_trap_01_an_empty_password_is_not_sent(wired):
    _server, wire, start = wired
    service = start()
    for password in ("", "\0", "\0" + people.ADA.password, people.ADA.password + "\0x"):
        assert code(service.login("ada", password)) == (401, "invalid_credentials"), repr(password)
        assert forward(service, headers=basic("ada", password)).status_code == 401
    for headers in ({"Authorization": "Basic"}, {"Authorization": "Basic " + base64.b64encode(b"ada").decode()}):
        assert forward(service, headers=headers).status_code == 401
    assert wire.binds() == []
    assert service.login("ada", " ").status_code == 401
    assert wire.binds(people.ADA.dn()) == 1


def test_trap_02_a_name_is_a_value(services, shared_openldap):
    service = services(shared_openldap, login=UNBOUNDED)
    password = people.ADA.password
    for name in ("*", "ad*", "a*a", "ada)(uid=*", "*)(uid=*))(|(uid=*", "(ada)", r"\61da", r"ada\00", "ada\0", "", " ", "a" * 5000):
        assert code(service.login(name, password)) == (401, "invalid_credentials"), name
    by_cn = services(shared_openldap, "by-cn", users={
        "base_dn": f"ou=people,{people.SUFFIX}", "login_attributes": ["cn"]})
    # Names with special characters are escaped once, and found.
    for person in people.HARD:
        answer = by_cn.login(person.cn, person.password)
        assert answer.status_code == 200, (person.cn, answer.text)
        assert answer.json()["user"]["username"] == person.cn


def test_trap_03_hard_dns_are_members(service):
    for person in people.HARD:
        user = service.login(person.uid, person.password).json()["user"]
        roles = ["operator", "staff"]
        assert user["roles"] == (["admin", *roles] if person in (people.JANE, people.BOB) else roles), person.uid
        assert people.group_dn("technics") in user["groups"]


def mann_whitney(first, second):
    """The probability that two samples are of one distribution (normal approximation; times are hardly ever equal)."""
    import math

    ranked = sorted([(value, 0) for value in first] + [(value, 1) for value in second])
    ranks = sum(rank for rank, (_, which) in enumerate(ranked, 1) if which == 0)
    n, m = len(first), len(second)
    u = ranks - n * (n + 1) / 2
    z = (u - n * m / 2) / math.sqrt(n * m * (n + m + 1) / 12)
    return math.erfc(abs(z) / math.sqrt(2))


def test_trap_04_time_does_not_tell_whether_a_name_exists(openldaps, services):
    count = 2000 if LONG else 150
    server = openldaps("crowd", more=list(people.crowd(count)))
    service = services(server, login=UNBOUNDED)

    def timed(name):
        began = time.perf_counter()
        answer = service.login(name, "Pw-wrong-5Tz!")
        took = time.perf_counter() - began
        assert code(answer) == (401, "invalid_credentials")
        return took

    # Three rounds: one in twenty is below 0.05 by chance alone.
    probabilities = []
    for _ in range(3):
        names = [name for i in range(count) for name in (f"user{i}", f"absent{i}")]
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            times = list(pool.map(timed, names))
        probabilities.append(mann_whitney(times[::2], times[1::2]))
        if probabilities[-1] > 0.05:
            break
    assert max(probabilities) > 0.05, probabilities


def test_trap_05_a_login_is_one_bind(wired):
    _server, wire, start = wired
    service = start(login=UNBOUNDED)
    for name, password in [
        ("ada", people.ADA.password), ("ada", "Pw-wrong-5Tz!"), ("expired", password_of("expired")), ("reset", password_of("reset")),
        ("locked", password_of("locked")), ("grace", password_of("grace")), UNKNOWN,
    ]:
        wire.forget()
        service.login(name, password)
        assert len(wire.binds()) == 1, (name, wire.binds())
        assert forward(service, headers=basic(name, password)).status_code in (200, 401, 403)
        assert len(wire.binds()) == 2, (name, wire.binds())


def test_trap_05_a_bind_without_an_answer_is_503_and_sent_once(wired, openldaps, services):
    server, wire, start = wired
    other = Wire(server.url)
    service = start(server_url=[wire.url, other.url], login={"max_failures": 2, "window_seconds": 900, "per_address_per_minute": 0})
    wire.cut_answers_to = people.ADA.dn()
    for n in range(1, 5):
        assert code(service.login("ada", people.ADA.password)) == (503, "directory_unavailable")
        assert (wire.binds(people.ADA.dn()), other.binds()) == (n, [])
    wire.cut_answers_to = None
    # An outage counts for nothing (trap 10).
    assert service.login("ada", people.ADA.password).status_code == 200
    other.stop()


def test_trap_06_and_11_failures_of_a_name_stay_below_the_lock_of_the_directory(wired):
    server, wire, start = wired
    service = start(login={"max_failures": 3, "window_seconds": 900, "per_address_per_minute": 0})
    for name in ("ada", "ADA", " Ada "):
        assert code(service.login(name, "Pw-wrong-5Tz!")) == (401, "invalid_credentials"), name
    for password in ("Pw-wrong-5Tz!", people.ADA.password):
        answer = service.login("aDa", password)
        assert code(answer) == (429, "too_many_attempts")
        assert 890 <= int(answer.headers["retry-after"]) <= 900
    assert wire.binds(people.ADA.dn()) == 3
    assert "pwdAccountLockedTime" not in server.values(people.ADA.dn(), "pwdAccountLockedTime", "pwdFailureTime")
    # An unknown name is counted like others: else 429 would tell which names exist.
    for _ in range(3):
        assert service.login(*UNKNOWN).status_code == 401
    assert code(service.login(*UNKNOWN)) == (429, "too_many_attempts")
    # At once, no more arrive at the directory either.
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: service.login("eve", "Pw-wrong-5Tz!").status_code, range(20)))
    assert sorted(answers) == [401] * 3 + [429] * 17
    assert wire.binds(people.EVE.dn()) == 3
    # A right password makes the failures forgotten.
    for _ in range(3):
        for password in ("Pw-wrong-5Tz!", "Pw-wrong-5Tz!", people.BOB.password):
            last = service.login("bob", password)
        assert last.status_code == 200


def test_trap_06_failures_of_an_address(services, shared_openldap):
    limits = {"max_failures": 0, "per_address_per_minute": 5}
    service = services(shared_openldap, login=limits, trusted_proxies=["127.0.0.1"])

    def login(name, password, address, caller=None):
        headers = {"X-Forwarded-For": address}
        if caller:
            from service import bearer

            headers |= bearer(caller)
        return service.login(name, password, headers=headers)

    for i in range(5):
        # Right ones do not count.
        assert login("ada", people.ADA.password, "192.0.2.1").status_code == 200
        assert login(f"absent{i}", "Pw-wrong-5Tz!", "192.0.2.1").status_code == 401
    answer = login("ada", people.ADA.password, "192.0.2.1")
    assert code(answer) == (429, "too_many_attempts") and 1 <= int(answer.headers["retry-after"]) <= 60
    assert login("ada", people.ADA.password, "192.0.2.2").status_code == 200
    # A program that logs in others has no bound by address.
    assert login("ada", people.ADA.password, "192.0.2.1", "login").status_code == 200
    # IPv6 clients have networks.
    for i in range(5):
        assert login(f"absent{i}", "Pw-wrong-5Tz!", f"2001:db8::{i}").status_code == 401
    assert login("absent", "Pw-wrong-5Tz!", "2001:db8::ffff").status_code == 429


def test_trap_07_users_are_bound_on_connections_of_their_own(wired):
    _server, wire, start = wired
    service = start(login=UNBOUNDED)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda p: service.login(p.uid, p.password).status_code, people.PEOPLE * 4))
    assert set(answers) == {200}
    searched = {number for number, tag, _ in wire.requests if tag == SEARCH}
    bound = {number for number, tag, dn in wire.requests if dn and dn != people.service_dn()}
    assert bound and searched and not bound & searched


def test_trap_08_connections_that_died_while_idle_are_not_noticed(wired):
    _server, wire, start = wired
    service = start()
    for n in range(1, 9):
        assert service.login("ada", people.ADA.password).status_code == 200
        assert wire.binds(people.ADA.dn()) == n
        # Those for binds of users alone, and all.
        wire.close_all(people.ADA.dn() if n < 5 else None)
        time.sleep(0.05)


def test_trap_10_an_outage_is_no_wrong_password(services, openldap):
    service = services(openldap, login={"max_failures": 2, "window_seconds": 900, "per_address_per_minute": 3})
    assert service.login("ada", people.ADA.password).status_code == 200
    openldap.kill()
    for password in [people.ADA.password, "Pw-wrong-5Tz!"] * 3:
        assert code(service.login("ada", password)) == (503, "directory_unavailable")
        assert forward(service, headers=basic("ada", password)).status_code == 503
    openldap.start_again()
    service.wait("/health/ready")
    assert service.login("ada", people.ADA.password).status_code == 200
    # The service's own bind is refused.
    own = services(openldap, "own", ready=False, bind_password="Svc-wrong-4Tk!")
    assert code(own.login("ada", people.ADA.password)) == (503, "directory_unavailable")
    assert own.client.get("/login").status_code == 200


def test_trap_11_the_name_is_the_entrys(service):
    users = [service.login(name, people.ADA.password).json()["user"] for name in ("ada", "ADA", " ada ", "Ada")]
    assert all(user == users[0] for user in users) and users[0]["username"] == "ada"
    answer = forward(service, headers=basic("ADA", people.ADA.password))
    assert answer.headers["remote-user"] == "ada"


def test_trap_12_a_name_that_fits_several_is_nobodys(services, openldaps):
    twin = account("twin", mail=people.ADA.mail, uid=["twin", people.ADA.mail])
    server = openldaps("twins", more=[twin])
    users = {"base_dn": f"ou=people,{people.SUFFIX}", "login_attributes": ["uid", "mail"]}
    service = services(server, users=users, login=UNBOUNDED)
    unknown = service.login(*UNKNOWN)
    for password in (people.ADA.password, password_of("twin")):
        assert body(service.login(people.ADA.mail, password)) == body(unknown)
    lines = [line for line in service.log(level="warning") if "dns" in line]
    assert lines and all(dn in str(lines[0]["dns"]) for dn in (people.ADA.dn(), people.person("twin", "", "").dn()))
    # Each has a name that fits one; the answer's name is of the first attribute, and the RDN's value.
    assert service.login("ada", people.ADA.password).json()["user"]["username"] == "ada"
    assert service.login("twin", password_of("twin")).json()["user"]["username"] == "twin"


def test_trap_12_failures_by_another_name_of_the_same_entry_count(wired):
    _server, wire, start = wired
    users = {"base_dn": f"ou=people,{people.SUFFIX}", "login_attributes": ["uid", "mail"]}
    service = start(users=users, login={"max_failures": 3, "window_seconds": 900, "per_address_per_minute": 0})
    for name in ("ada", people.ADA.mail, people.ADA.mail.upper()):
        assert service.login(name, "Pw-wrong-5Tz!").status_code == 401
    # 401, as for an unknown name: 429 would tell that both names are of one entry.
    assert body(service.login("ada", people.ADA.password)) == body(service.login(*UNKNOWN))
    assert wire.binds(people.ADA.dn()) == 3


def test_trap_13_roles_are_dns(services, shared_openldap):
    # From the suffix: also groups that only look like those of the roles.
    groups = {"base_dn": people.SUFFIX, "filter": "(objectClass=groupOfNames)"}
    service = services(shared_openldap, groups=groups)
    user = service.login("eve", people.EVE.password).json()["user"]
    assert len(user["groups"]) == 3 and user["roles"] == []
    assert forward(service, "admin", headers=basic("eve", people.EVE.password)).status_code == 403
    for role in ("Admin", "admi", "*", "", "admins"):
        assert forward(service, role or "%20", headers=basic("ada", people.ADA.password)).status_code == 403
    assert forward(service, "admin", headers=basic("ada", people.ADA.password)).status_code == 200


def test_trap_14_nested_groups_and_circles(services, shared_openldap):
    service = services(shared_openldap)
    user = service.login("ada", people.ADA.password).json()["user"]
    assert user["roles"] == ["admin", "auditor", "staff"]
    assert {people.group_dn("loop-a"), people.group_dn("loop-b")} <= set(user["groups"])
    direct = services(shared_openldap, "direct", groups={
        "base_dn": f"ou=groups,{people.SUFFIX}", "filter": "(objectClass=groupOfNames)", "nested": "off"})
    assert direct.login("emile", people.EMILE.password).json()["user"]["roles"] == []


def test_trap_14_a_depth_that_is_cut_off_is_logged(services, openldaps):
    chain = [people.entry(people.group_dn(f"g{n}"), objectClass="groupOfNames", cn=f"g{n}",
                          member=people.ADA.dn() if n == 0 else people.group_dn(f"g{n - 1}")) for n in range(20)]
    service = services(openldaps("chain", more=chain))
    groups = service.login("ada", people.ADA.password).json()["user"]["groups"]
    assert people.group_dn("g15") in groups and people.group_dn("g16") not in groups
    assert [line for line in service.log(level="warning") if line.get("levels") == 16]


def test_trap_15_references_are_not_followed(services, openldaps):
    """A continuation reference below the base to a server that never answers."""
    import socket

    silent = socket.create_server(("127.0.0.1", 0))
    url = f"ldap://127.0.0.1:{silent.getsockname()[1]}/ou=else,{people.SUFFIX}"
    more = [people.entry(f"ou=else,ou=people,{people.SUFFIX}", objectClass=["referral", "extensibleObject"], ou="else", ref=url)]
    service = services(openldaps("references", more=more))
    began = time.monotonic()
    assert service.login("ada", people.ADA.password).status_code == 200
    assert time.monotonic() - began < 2
    silent.settimeout(0.1)
    with pytest.raises(TimeoutError):
        silent.accept()
    silent.close()


def test_trap_19_headers_are_whole_or_an_error(services, shared_openldap):
    service = services(shared_openldap, limits={"header_bytes": 15})
    answer = forward(service, headers=basic("ada", people.ADA.password))
    assert code(answer) == (500, "header_too_large")
    assert not any(name.startswith("remote-") for name in answer.headers)
    whole = services(shared_openldap, "whole")
    answer = forward(whole, headers=basic("emile", people.EMILE.password))
    assert answer.headers["remote-name"] == "%C3%89mile Zo%C3%AB %E6%9D%B1%E4%BA%AC"
    assert set(answer.headers["remote-groups"].split(",")) == {"operator", "staff"}
    for name in ("remote-user", "remote-name", "remote-email", "remote-groups", "remote-id"):
        assert name in answer.headers


def test_forward_challenges_only_those_who_sent_basic(service):
    # A browser shows a dialog for Basic alone.
    assert forward(service).headers["www-authenticate"].split()[0] == "Bearer"
    assert service.login(*UNKNOWN).headers["www-authenticate"].split()[0] == "Bearer"
    answer = forward(service, headers=basic("ada", "Pw-wrong-5Tz!"))
    assert (answer.status_code, answer.headers["www-authenticate"].split()[0]) == (401, "Basic")
    answer = forward(service, headers={"Authorization": "Bearer nothing"})
    assert (answer.status_code, answer.headers["www-authenticate"].split()[0]) == (401, "Bearer")
    # A token of a program is no user.
    from service import bearer

    assert code(forward(service, headers=bearer("all"))) == (403, "not_a_user")


def test_a_valid_session_comes_before_what_an_application_sends(services, shared_openldap):
    """A page with a token or Basic of its own: neither hides the session, and neither counts as a wrong password of the directory."""
    login = {"max_failures": 2, "per_address_per_minute": 0}
    service = services(shared_openldap, login=login)
    assert service.form_login("ada", people.ADA.password).status_code in (302, 303)
    foreign = [
        {"Authorization": "Bearer abc"},
        {"Authorization": "Bearer a.b.c"},
        {"Authorization": "Digest x"},
        *[basic("jane", "of-the-application")] * 4,
    ]
    for headers in foreign:
        answer = forward(service, headers=headers)
        assert (answer.status_code, answer.headers.get("remote-user")) == (200, "ada"), (headers, answer.text)
        answer = service.client.get("/api/v1/auth/me", headers=headers)
        assert answer.status_code == 200 and answer.json()["user"]["username"] == "ada"
    # Nothing was counted.
    assert service.login("jane", people.JANE.password).status_code == 200
    # Without a valid session, the header decides: the token, else Basic.
    service.client.post("/logout")
    service.client.cookies.clear()
    assert forward(service, headers={"Authorization": "Bearer abc"}).status_code == 401
    answer = forward(service, headers=basic("jane", people.JANE.password))
    assert (answer.status_code, answer.headers["remote-user"]) == (200, "jane")
    # A cookie of the same name that another page has set, before and behind the right one.
    assert service.form_login("ada", people.ADA.password).status_code in (302, 303)
    own = "; ".join(f"{c.name}={c.value}" for c in service.client.cookies.jar)
    service.client.cookies.clear()
    for cookies in (f"ldap_session=e30.AAAA; {own}", f"{own}; ldap_session=e30.AAAA"):
        assert forward(service, headers={"Cookie": cookies}).headers.get("remote-user") == "ada", cookies
    forged = {"Cookie": "ldap_session=e30.AAAA", **basic("jane", people.JANE.password)}
    assert forward(service, headers=forged).headers.get("remote-user") == "jane"


def test_forward_refuses_parameters_that_it_does_not_know(service):
    """`roles=admin` would let everybody pass."""
    ada = basic("ada", people.ADA.password)
    for query in ("roles=admin", "Role=admin", "role=admin&x=1", "=", "role%20=admin"):
        answer = service.client.get(f"/api/v1/auth/forward?{query}", headers=ada)
        assert code(answer) == (400, "invalid_query"), query
    assert service.client.get("/api/v1/auth/forward?role=admin&role=other", headers=ada).status_code == 200


def test_a_user_has_a_name_that_is_nobody_elses(services, openldaps):
    """Applications know people by Remote-User: the value of another attribute, or of two entries, may be somebody else's name."""
    suffix, password = people.SUFFIX, "Pw-other-7Qz!"
    person = {"objectClass": "inetOrgPerson", "sn": "S", "userPassword": password}
    more = [
        # Without a uid; one of the addresses is a name of somebody else.
        people.entry(f"cn=mallory,ou=people,{suffix}", cn="mallory", mail=["eve", "mallory@example.com"], **person),
        people.entry(f"ou=ext,ou=people,{suffix}", objectClass="organizationalUnit", ou="ext"),
        people.entry(f"uid=jane,ou=ext,ou=people,{suffix}", uid="jane", cn="J", mail="jane2@example.com", **person),
        people.entry(f"uid=own,ou=people,{suffix}", uid="own", cn="O", mail="own@example.com", **person),
    ]
    server = openldaps("names", more=more)
    users = {"base_dn": f"ou=people,{suffix}", "login_attributes": ["uid", "mail"]}
    service = services(server, users=users, login=UNBOUNDED)
    for name in ("mallory@example.com", "jane2@example.com"):
        assert code(service.login(name, password)) == (403, "account_unusable"), name
        answer = forward(service, headers=basic(name, password))
        assert answer.status_code == 403 and "remote-user" not in answer.headers, name
        # The reason is told after the right password alone.
        assert body(service.login(name, "Pw-wrong-5Tz!")) == body(service.login(*UNKNOWN))
    answer = forward(service, headers=basic("own@example.com", password))
    assert (answer.status_code, answer.headers["remote-user"]) == (200, "own")


def test_trap_20_identity_headers_from_outside_are_ignored(service):
    forged = {"Remote-User": "ada", "X-Remote-User": "ada", "X-Forwarded-User": "ada"}
    assert forward(service, headers=forged).status_code == 401
    answer = forward(service, headers={**forged, **basic("jane", people.JANE.password)})
    assert answer.headers["remote-user"] == "jane"


def test_trap_25_passwords_are_octets(wired):
    server, wire, start = wired
    service = start(login=UNBOUNDED)
    for person in (people.EMILE, people.COLON):
        assert service.login(person.uid, person.password).status_code == 200
        assert forward(service, headers=basic(person.uid, person.password)).status_code == 200
    assert log_in_by_form(service, "emile", people.EMILE.password)
    # The same text in Latin-1 is another password, and there is no second try with the other one.
    latin = "Päß-wörd".encode("latin-1")
    wire.forget()
    assert forward(service, headers=basic("emile", latin)).status_code == 401
    assert wire.binds() == [people.EMILE.dn()]
    octets = base64.b64encode(latin).decode()
    dn = base64.b64encode(people.EMILE.dn().encode()).decode()
    server.modify(f"dn:: {dn}\nchangetype: modify\nreplace: userPassword\nuserPassword:: {octets}\n")
    assert forward(service, headers=basic("emile", latin)).status_code == 200
    # Composed and decomposed are two passwords.
    server.modify(f"dn: {people.ADA.dn()}\nchangetype: modify\nreplace: userPassword\nuserPassword:: {base64.b64encode('é-3Lk'.encode()).decode()}\n")
    assert service.login("ada", "é-3Lk").status_code == 200
    assert service.login("ada", "e\u0301-3Lk").status_code == 401


def test_login_is_off(services, shared_openldap):
    service = services(shared_openldap, auth_enabled=False)
    assert service.login("ada", people.ADA.password).status_code == 404
    for path in ("/login", "/api/v1/auth/me", "/api/v1/auth/forward"):
        assert service.client.get(path).status_code == 404
    report = service.request("GET", "/api/v1/health").json()
    assert report["auth_enabled"] is False


def test_a_session_key_that_is_kept_keeps_sessions(services, shared_openldap, tmp_path):
    key = tmp_path / "session.key"
    key.write_text("0123456789abcdef" * 4 + "\n")
    key.chmod(0o600)
    first = services(shared_openldap, "first", login={"session_key_file": str(key)})
    session = log_in_by_form(first, "ada", people.ADA.password)
    second = services(shared_openldap, "second", login={"session_key_file": str(key)})
    other = services(shared_openldap, "other")
    assert me(second, session).status_code == 200
    assert me(other, session).status_code == 401
    # A reload keeps the random key.
    session = log_in_by_form(other, "ada", people.ADA.password)
    seen = len(other.lines)
    other.reload()
    deadline = time.monotonic() + 10
    while not any("reload" in line or "configuration" in line for line in other.lines[seen:]):
        assert time.monotonic() < deadline, other.log_text()
        time.sleep(0.05)
    other.wait("/health/ready")
    assert me(other, session).status_code == 200
