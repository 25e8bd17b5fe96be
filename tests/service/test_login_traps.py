"""The traps of logins as named tests, on slapd: what is bound, and how often; throttling; whose name it is; roles; passwords as octets."""

import base64
import concurrent.futures
import time

import people
import pytest
from accounts import POLICIES, SLAPD_STATES, UNBOUNDED, UNKNOWN, account, body, code, log_in_by_form, me, password_of
from service import basic, bearer, forward
from wire import SEARCH, Wire


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
    assert service.form_login("ada", "").status_code == 401
    assert service.client.get("/api/v1/auth/me").status_code == 401
    assert wire.binds() == []
    assert service.login("ada", " ").status_code == 401
    assert wire.binds(people.ADA.dn()) == 1


def test_trap_02_a_name_is_a_value(services, shared_openldap):
    service = services(shared_openldap, login=UNBOUNDED)
    password = people.ADA.password
    for name in ("*", "ad*", "a?a", "a*a", "ada)(uid=*", "*)(uid=*))(|(uid=*", "(ada)", r"\61da", r"a\2a", r"ada\00", "ada\0", "", " ",
                 "uid=ada", "ada,ou=people", "a" * 5000):
        assert code(service.login(name, password)) == (401, "invalid_credentials"), name
        assert forward(service, basic(name[:100], password)).status_code == 401, name
    by_cn = services(shared_openldap, "by-cn", users={
        "base_dn": f"ou=people,{people.SUFFIX}", "login_attributes": ["cn"]})
    # Names with special characters are escaped once, and found.
    for person in people.HARD:
        answer = by_cn.login(person.cn, person.password)
        assert answer.status_code == 200, (person.cn, answer.text)
        assert answer.json()["user"]["username"] == person.cn


def test_trap_05_a_login_is_one_bind(wired):
    _server, wire, start = wired
    service = start(login=UNBOUNDED)
    for name, password in [
        ("ada", people.ADA.password), ("ada", "Pw-wrong-5Tz!"), ("expired", password_of("expired")), ("reset", password_of("reset")),
        ("locked", password_of("locked")), ("grace", password_of("grace")), UNKNOWN,
    ]:
        wire.forget()
        # The service may open a connection of its own meanwhile.
        binds = lambda: [dn for dn in wire.binds() if not dn.startswith("uid=svc-reader,")]  # noqa: E731
        service.login(name, password)
        assert len(binds()) == 1, (name, binds())
        assert forward(service, headers=basic(name, password)).status_code in (200, 401, 403)
        assert len(binds()) == 2, (name, binds())


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
    assert forward(service, basic("eve", people.EVE.password), "admin").status_code == 403
    for role in ("Admin", "admi", "*", "", "admins"):
        assert forward(service, basic("ada", people.ADA.password), role or "%20").status_code == 403
    assert forward(service, basic("ada", people.ADA.password), "admin").status_code == 200


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


def test_trap_19_headers_are_whole_or_an_error(services, shared_openldap):
    service = services(shared_openldap, limits={"header_bytes": 36})
    answer = forward(service, headers=basic("emile", people.EMILE.password))
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
    other.reload()
    assert me(other, session).status_code == 200


def test_an_entry_that_refers_to_another_server_has_no_wrong_password(ds389, services):
    """389 turns a person into a referral by a class and a URL: every bind as it fails, whatever the password is."""
    service = services(ds389, login={"max_failures": 2, "window_seconds": 900})
    session = log_in_by_form(service, "ada", people.ADA.password)
    dn = people.ADA.dn(ds389.suffix)
    ds389.client("ldapmodify", "-M", input=f"dn: {dn}\nchangetype: modify\nadd: objectClass\nobjectClass: referral\n-\nadd: ref\nref: ldap://127.0.0.1:1/\n".encode())
    for password in (people.ADA.password, "wrong-password", people.ADA.password, people.ADA.password):
        assert code(service.login("ada", password)) == (503, "directory_unavailable")
    assert code(forward(service, basic("ada", people.ADA.password))) == (503, "directory_unavailable")
    assert code(me(service, session)) == (503, "directory_unavailable")
    assert [record for record in service.log(level="warning") if record.get("dn", "").lower() == dn.lower() and "referral" in record["message"]]
    assert service.login("bob", people.BOB.password).status_code == 200
    ds389.client("ldapmodify", "-M", input=f"dn: {dn}\nchangetype: modify\ndelete: ref\n-\ndelete: objectClass\nobjectClass: referral\n".encode())
    assert service.login("ada", people.ADA.password).status_code == 200
