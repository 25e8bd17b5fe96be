"""The traps that a black box shows, on any directory: each is a way in which somebody's service was wrong (named by number)."""

import collections
import json
import re
import socket
import string
import threading
import time
import urllib.parse

import httpx
import people
import pytest
import ranks
from conftest import LONG
from directories import DEFAULT_POLICY, wait_until
from load import WRONG
from service import MANY, UNLIMITED, basic, forward

# A policy that counts failures, as production's does, and locks nobody within a test.
PATIENT = {"default": {**DEFAULT_POLICY, "pwdMaxFailure": "30000", "pwdMaxRecordedFailure": "5"}}


def same_for_all(answer):
    """An answer without what differs between any two requests: header names, status, body without the request's id."""
    body = answer.json()
    for name in ("instance", "request_id"):
        body.pop(name, None)
    headers = {n: v for n, v in answer.headers.items() if n not in ("date", "x-request-id", "content-length")}
    return answer.status_code, json.dumps(body, sort_keys=True), json.dumps(headers, sort_keys=True), len(answer.content)


class Listener:
    """A port that nobody has a reason to connect to; `hits` has what arrived."""

    def __init__(self):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.hits = []
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            connection.settimeout(2)
            try:
                self.hits.append(connection.recv(4096))
            except OSError:
                self.hits.append(b"(a connection)")
            connection.close()

    def stop(self):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


@pytest.fixture
def listener():
    running = Listener()
    yield running
    running.stop()


@pytest.mark.parametrize("person", people.PEOPLE, ids=lambda p: p.uid)
@pytest.mark.parametrize("server", ["openldap", "ds389"])
def test_trap_03_members_with_hard_dns(request, services, server, person):
    """Groups of people whose DNs have commas, parentheses, blanks, `#` and letters beyond ASCII."""
    directory = request.getfixturevalue("shared_openldap" if server == "openldap" else "shared_ds389")
    service = services(directory)
    answer = service.login(person.uid, person.password)
    assert answer.status_code == 200, answer.text
    user = answer.json()["user"]
    assert user["username"] == person.uid
    assert user["email"] == person.mail
    roles = {"ada": ["admin", "auditor", "staff"]}.get(person.uid, ["operator", "staff"] if person in people.HARD else [])
    assert user["roles"] == sorted({*roles, "admin"} if person in (people.JANE, people.BOB) else roles), user
    assert (people.group_dn("technics", directory.suffix) in user["groups"]) == (person in people.HARD)


def measure(service, names, count):
    """Times of `count` logins each, interleaved: {kind: [seconds]}, and the set of answers. `names`: {kind: next name}."""
    times, answers = collections.defaultdict(list), collections.defaultdict(collections.Counter)
    kinds = list(names)
    for i in range(count):
        # Each kind is first as often as the others are.
        for kind in kinds if i % 2 else reversed(kinds):
            username = names[kind](i)
            began = time.perf_counter()
            answer = service.client.post("/api/v1/auth/login", json={"username": username, "password": WRONG})
            times[kind].append(time.perf_counter() - began)
            answers[kind][same_for_all(answer)] += 1
    return times, answers


def test_trap_04_unknown_and_wrong_are_the_same(openldaps, services):
    """One status, one body, the same headers, and times that a rank test cannot tell apart. Of samples of one distribution, one in
    twenty has p below 0.05: a difference that is there shows in each of four."""
    directory = openldaps(policies=PATIENT, more=list(people.crowd(50)))
    service = services(directory, login=UNLIMITED)
    service.secrets.add(WRONG)
    # As long as the names that exist, and each new: nothing is remembered.
    letters = string.ascii_lowercase
    names = {
        "wrong": lambda i: f"user{i % 50}",
        "unknown": lambda i: f"n{letters[i % 26]}{letters[i // 26 % 26]}{letters[i // 676 % 26]}{i % 50}",
    }
    measure(service, names, 50)
    seen = []
    for _ in range(4):
        times, answers = measure(service, names, 2000 if LONG else 300)
        assert answers["wrong"].keys() == answers["unknown"].keys(), answers
        assert [answer[0] for answer in answers["wrong"]] == [401], answers
        seen.append(ranks.p_value(times["wrong"], times["unknown"]))
        medians = {kind: sorted(t)[len(t) // 2] for kind, t in times.items()}
        print(f"trap 04: p = {seen[-1]:.4f}, medians {medians}")
        if seen[-1] > 0.05:
            break
    assert max(seen) > 0.05, f"p values {seen}; medians in the last {medians}"


def test_trap_04_locked_and_ambiguous_are_the_same(openldaps, services):
    """A locked account and a name that two entries have give the answer of an unknown name."""
    twins = "".join(
        people.entry(
            f"cn=Twin {n},ou=people,{people.SUFFIX}", objectClass="inetOrgPerson", uid="twin", cn=f"Twin {n}", sn="Twin",
            userPassword=people.ADA.password,
        )
        for n in (1, 2)
    )
    directory = openldaps(more=[twins])
    service = services(directory, login=UNLIMITED)
    service.secrets.add(WRONG)
    directory.modify(
        f"dn: {people.EVE.dn()}\nchangetype: modify\nreplace: pwdAccountLockedTime\npwdAccountLockedTime: 000001010000Z\n"
    )
    answers = {
        "unknown": service.login("nobody-of-this-name", WRONG),
        "wrong": service.login("jane", WRONG),
        "locked, wrong": service.login("eve", WRONG),
        "locked, right": service.login("eve", people.EVE.password),
        "ambiguous": service.login("twin", people.ADA.password),
    }
    assert {same_for_all(a) for a in answers.values()} == {same_for_all(answers["unknown"])}, {k: a.text for k, a in answers.items()}
    assert answers["unknown"].status_code == 401


def test_trap_06_at_the_same_moment(openldap, services):
    """Forty wrong passwords at once: the count is taken before the bind, not after it."""
    service = services(openldap, login={"max_failures": 3, "window_seconds": 900, "per_address_per_minute": MANY})
    service.secrets.add(WRONG)
    service.login("ada", people.ADA.password)
    body = json.dumps({"username": "eve", "password": WRONG}).encode()
    head = b"POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    sockets = [socket.create_connection(("127.0.0.1", service.port), timeout=30) for _ in range(40)]
    for s in sockets:
        s.sendall(head % len(body) + body[:-1])
    time.sleep(0.5)
    # All have arrived but for an octet each.
    for s in sockets:
        s.sendall(body[-1:])
    statuses = []
    for s in sockets:
        with s.makefile("rb") as answer:
            statuses.append(int(answer.readline().split()[1]))
        s.close()
    assert set(statuses) <= {401, 429}, statuses
    assert len(openldap.values(people.EVE.dn(), "pwdFailureTime").get("pwdFailureTime", [])) <= 3
    assert openldap.whoami(people.EVE.dn(), people.EVE.password) == 0, statuses


def test_trap_06_callers_who_hang_up_are_counted(openldap, services):
    """The directory counts a wrong password, whether or not the caller waits for the answer."""
    service = services(openldap, login={"max_failures": 3, "window_seconds": 900, "per_address_per_minute": MANY})
    service.secrets.add(WRONG)
    service.login("ada", people.ADA.password)
    body = json.dumps({"username": "eve", "password": WRONG}).encode()
    head = b"POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    for _ in range(6):
        # Nothing comes back until the callers have gone.
        openldap.freeze()
        with socket.create_connection(("127.0.0.1", service.port), timeout=30) as caller:
            caller.sendall(head + body)
            time.sleep(0.3)
        time.sleep(0.3)
        openldap.thaw()
        time.sleep(0.3)
    assert service.login("eve", WRONG).status_code == 429
    assert len(openldap.values(people.EVE.dn(), "pwdFailureTime").get("pwdFailureTime", [])) <= 3
    assert openldap.whoami(people.EVE.dn(), people.EVE.password) == 0


def test_trap_06_per_address(openldap, services):
    """An address that tries many names is stopped; another address is not, and a header does not make another address."""
    service = services(openldap, login={"max_failures": 3, "window_seconds": 900, "per_address_per_minute": 5})
    service.secrets.add(WRONG)
    statuses = [service.login(f"nobody-{i}", WRONG, headers={"X-Forwarded-For": f"192.0.2.{i}"}).status_code for i in range(12)]
    assert statuses.count(429) >= 6, statuses
    assert service.login("ada", people.ADA.password).status_code == 429
    other = httpx.HTTPTransport(local_address="127.0.0.2")
    with httpx.Client(transport=other, base_url=service.url, trust_env=False) as client:
        answer = client.post("/api/v1/auth/login", json={"username": "ada", "password": people.ADA.password})
    assert answer.status_code == 200, answer.text


def test_trap_09_nothing_in_a_request_chooses_the_server(service, listener):
    """Neither in the body, nor in the query, nor in a header: no connection is made, so that no password is handed over."""
    url = f"ldap://127.0.0.1:{listener.port}"
    for name, value in (("server_url", url), ("bind_dn", people.ADA.dn()), ("bind_password", people.ADA.password)):
        answer = service.request("POST", "/api/v1/ldap/users/search", json={"filter": "(uid=ada)", name: value})
        assert answer.status_code == 400, (name, answer.text)
        assert answer.json()["code"] == "server_is_configured", answer.text
    chosen = {"server_url": url, "server": url, "url": url, "host": "127.0.0.1", "port": listener.port, "base_dn": "dc=other"}
    service.client.post("/api/v1/auth/login", json={"username": "ada", "password": people.ADA.password, **chosen})
    service.client.post("/api/v1/auth/login", params=chosen, json={"username": f"ada@{url}", "password": people.ADA.password})
    service.client.post("/api/v1/auth/login", json={"username": f"{url}/ada", "password": people.ADA.password})
    for operation in ("search_users", "health_check", "create_user"):
        service.request("POST", "/api/v1/plugin/execute", json={"operation": operation, "params": chosen})
    service.request("GET", "/api/v1/ldap/export", params=chosen)
    service.request("POST", "/api/v1/ldap/import?dry_run=true", params=chosen, content=f"dn: {people.ADA.dn()}\nchangetype: delete\n")
    service.request("GET", "/health/ready", headers={"X-Server-Url": url, "Forwarded": f"host=127.0.0.1:{listener.port}"})
    time.sleep(0.3)
    assert not listener.hits


@pytest.mark.parametrize("base", ["", "dc=example,dc=test", "ou=services,dc=example,dc=test", "ou=xpeople,dc=example,dc=test",
                                  "ou=people,dc=example,dc=test,ou=people", "cn=config", "not a dn", "ou=people,dc=example,dc=test\0"])
def test_trap_09_a_base_outside_the_configured_one(service, base):
    body = {"base_dn": base, "filter": f"(uid={people.SERVICE_UID})"}
    answer = service.request("POST", "/api/v1/ldap/users/search", json=body)
    assert answer.status_code in (400, 403), answer.text
    answer = service.request("GET", "/api/v1/ldap/export", params={"base_dn": base or " "})
    assert answer.status_code in (400, 403), answer.text
    assert people.SERVICE_UID not in answer.text


def test_trap_09_referrals_are_not_followed(openldaps, services, listener):
    """A referral entry and a search reference that point to a listener: nobody connects to it, with or without a password."""
    refers = people.entry(
        f"ou=elsewhere,ou=people,{people.SUFFIX}", objectClass=["referral", "extensibleObject"], ou="elsewhere",
        ref=f"ldap://127.0.0.1:{listener.port}/ou=elsewhere,ou=people,{people.SUFFIX}",
    )
    service = services(openldaps(more=[refers]))
    assert service.login("ada", people.ADA.password).status_code == 200
    service.login("nobody-of-this-name", WRONG)
    service.request("POST", "/api/v1/ldap/users/search", json={"filter": "(objectClass=*)"})
    service.request("POST", "/api/v1/ldap/users/search", json={"base_dn": f"ou=elsewhere,ou=people,{people.SUFFIX}"})
    service.request("GET", "/scim/v2/Users")
    service.request("GET", "/api/v1/ldap/export")
    time.sleep(0.3)
    assert not listener.hits


def test_trap_10_a_directory_that_does_not_answer(openldap, services):
    """Frozen: its connections are open and nothing comes back. 503 in time, and the service goes on when it goes on."""
    service = services(openldap, limits={"request_seconds": 3})
    assert service.login("ada", people.ADA.password).status_code == 200
    openldap.freeze()
    for headers in (None, basic("ada", people.ADA.password)):
        began = time.monotonic()
        answer = forward(service, headers) if headers else service.login("ada", people.ADA.password)
        assert answer.status_code == 503, answer.text
        assert time.monotonic() - began < 8
    assert service.client.get("/health/live").status_code == 200
    assert service.client.get("/health/ready").status_code == 503
    openldap.thaw()
    service.wait("/health/ready")
    wait_until(lambda: service.login("ada", people.ADA.password).status_code == 200, seconds=20, what="a login")


def test_trap_10_the_services_own_bind_is_refused(openldap, services):
    """A wrong `bind_password` of the service is nobody's wrong password."""
    service = services(openldap, ready=False, bind_password="Not-the-right-one-8Gh!")
    service.secrets.add("Not-the-right-one-8Gh!")
    assert service.login("ada", people.ADA.password).status_code == 503
    assert forward(service, basic("ada", people.ADA.password)).status_code == 503
    assert service.client.get("/health/ready").status_code == 503
    assert service.client.get("/health/live").status_code == 200


def test_trap_10_the_base_of_the_users_is_gone(openldap, services):
    """The search fails with noSuchObject: that is the service's trouble, not an unknown name."""
    service = services(openldap, users={"base_dn": f"ou=absent,{people.SUFFIX}", "login_attributes": ["uid"]}, ready=False)
    answer = service.login("ada", people.ADA.password)
    assert (answer.status_code, answer.json()["code"]) == (500, "misconfigured"), answer.text


@pytest.mark.parametrize("server", ["openldap", "ds389"])
@pytest.mark.parametrize("spelled", ["cn=admins,ou=groups,{}", "CN=Admins , OU=GROUPS,{}", "2.5.4.3=admins,ou=groups,{}", "cn=\\61dmins,ou=groups,{}"])
def test_trap_13_roles_by_dn(request, services, server, spelled):
    """A role belongs to one group, whatever its DN looks like, and to no group that only resembles it."""
    directory = request.getfixturevalue(f"shared_{server}")
    base = directory.suffix.upper() if "CN=" in spelled else directory.suffix
    roles = [{"role": "admin", "groups": [spelled.format(base)]}, {"role": "{cn}", "below": f"OU=Roles,{directory.suffix}"}]
    service = services(directory, roles=roles)
    for person in (people.ADA, people.JANE, people.BOB):
        assert "admin" in service.login(person.uid, person.password).json()["user"]["roles"], person
        assert forward(service, basic(person.uid, person.password), "admin").status_code == 200
    user = service.login("eve", people.EVE.password).json()["user"]
    assert user["roles"] == [], user
    assert forward(service, basic("eve", people.EVE.password), "admin").status_code == 403
    for role in ("ADMIN", "adm", "admin,", "*", "admin\0", "{cn}", "Admins"):
        assert forward(service, basic("eve", people.EVE.password), role).status_code == 403, role
    assert forward(service, basic("ada", people.ADA.password), "no-such-role").status_code == 403


def many_roles(count, member, width=30):
    """LDIF of groups below ou=roles."""
    return "".join(
        people.entry(f"cn={'r' * width}{i},ou=roles,{people.SUFFIX}", objectClass="groupOfNames", cn=f"{'r' * width}{i}", member=member)
        for i in range(count)
    )


def test_trap_19_more_roles_than_a_header_holds(openldaps, services):
    """400 roles of 33 octets and 4,096 octets of header: an error that says so. Half a list would be a wrong answer."""
    service = services(openldaps(more=[many_roles(400, people.EVE.dn())]))
    answer = forward(service, basic("eve", people.EVE.password))
    assert (answer.status_code, answer.json()["code"]) == (500, "header_too_large"), answer.text
    assert "remote-groups" not in answer.headers
    user = service.login("eve", people.EVE.password).json()["user"]
    assert len(user["roles"]) == 400
    # All headers together are bounded, and others still get in.
    assert forward(service, basic("ada", people.ADA.password)).status_code == 200


@pytest.mark.parametrize("name", ["x,admin", "x, admin", "admin,", "x\nadmin", "x\r\nRemote-User: ada", "x;admin", "x admin", "é,admin", "admin "])
def test_trap_19_a_role_whose_name_would_be_two(openldaps, services, name):
    """The list in Remote-Groups is divided by commas: a name's own are percent-encoded, and so are line ends and blanks at its end."""
    odd = people.entry(
        f"cn={''.join(f'{chr(92)}{o:02x}' for o in name.encode())},ou=roles,{people.SUFFIX}", objectClass="groupOfNames", cn=name,
        member=people.EVE.dn(),
    )
    service = services(openldaps(more=[odd]))
    answer = forward(service, basic("eve", people.EVE.password))
    assert (answer.status_code, answer.headers["remote-user"]) == (200, "eve"), answer.text
    assert "," not in answer.headers["remote-groups"] and urllib.parse.unquote(answer.headers["remote-groups"]) == name


def header_text(value):
    """The text of a header value: percent-encoded, or UTF-8 as it is."""
    return urllib.parse.unquote(value.encode("latin-1").decode("utf-8"))


def test_trap_19_names_beyond_ascii_in_headers(service):
    answer = forward(service, basic("emile", people.EMILE.password))
    assert answer.status_code == 200
    raw = dict(answer.headers.raw)
    name = next(v for n, v in raw.items() if n.lower() == b"remote-name")
    assert header_text(name.decode("latin-1")) == people.EMILE.cn
    for person in people.PEOPLE:
        answer = forward(service, basic(person.uid, person.password))
        assert answer.status_code == 200, person
        for _header, value in answer.headers.raw:
            assert not re.search(rb"[\x00-\x08\x0a-\x1f\x7f]", value)


FORGED = {
    "Remote-User": "ada", "Remote-Groups": "admin", "Remote-Id": "1", "Remote-Email": "ada@example.com", "Remote-Name": "Ada",
    "X-Remote-User": "ada", "X-Forwarded-User": "ada", "X-Auth-Request-User": "ada", "X-Webauth-User": "ada", "X-Original-User": "ada",
    "X-Forwarded-Client-Cert": "Subject=\"CN=ada\"", "X-SSL-Client-Verify": "SUCCESS", "X-SSL-Client-S-DN": "CN=ada",
    "X-Client-Cert": "ada", "SSL-Client-Cert": "ada", "Tailscale-User-Login": "ada",
}


@pytest.mark.parametrize("trusted", [[], ["127.0.0.1/32"]], ids=["untrusted", "trusted"])
def test_trap_20_identity_headers_are_output_only(services, shared_openldap, trusted):
    """Who says that he is ada is nobody, also when it is a trusted proxy that says so."""
    service = services(shared_openldap, trusted_proxies=trusted)
    for path in ("/api/v1/auth/me", "/api/v1/auth/forward", "/api/v1/auth/forward?role=admin", "/scim/v2/Me", "/scim/v2/Users"):
        answer = service.client.get(path, headers=FORGED)
        assert answer.status_code == 401, (path, answer.text)
        assert not any(name.startswith("remote-") for name in answer.headers)
    answer = forward(service, {**FORGED, **basic("eve", people.EVE.password)})
    assert answer.status_code == 200
    assert answer.headers["remote-user"] == "eve"
    assert answer.headers.get_list("remote-user") == ["eve"]
    assert answer.headers["remote-groups"] == ""
    assert forward(service, {**FORGED, **basic("eve", people.EVE.password)}, "admin").status_code == 403


def test_trap_20_forwarded_headers_count_from_trusted_proxies_only(services, shared_openldap):
    def address(service, headers):
        answer = service.client.get("/health/live", headers=headers)
        number = answer.headers["x-request-id"]
        return wait_until(lambda: service.log(request_id=number), what="the log line of the request")[0]["address"]

    untrusted = services(shared_openldap, "untrusted", trusted_proxies=["192.0.2.7/32"])
    forwarded = {"X-Forwarded-For": "203.0.113.9"}
    assert address(untrusted, forwarded) == "127.0.0.1"
    trusted = services(shared_openldap, "trusted", trusted_proxies=["127.0.0.1/32", "192.0.2.0/24"])
    assert address(trusted, forwarded) == "203.0.113.9"
    # The client wrote the first; each proxy appends what it saw. The last that is no proxy of ours counts.
    assert address(trusted, {"X-Forwarded-For": "10.1.1.1, 203.0.113.9, 192.0.2.4"}) == "203.0.113.9"
    for nonsense in ("", "evil", "203.0.113.9; rm", "::1%x", "1.2.3.4.5"):
        assert address(trusted, {"X-Forwarded-For": nonsense}) == "127.0.0.1"
    # Nor does a host from outside choose where a login leads.
    evil = {"X-Forwarded-Host": "evil.example.test", "X-Forwarded-Server": "evil.example.test", "Forwarded": "host=evil.example.test"}
    answer = untrusted.form_login("ada", people.ADA.password, "http://evil.example.test/", headers=evil)
    assert answer.status_code in (302, 303), answer.text
    assert "evil" not in answer.headers["location"]
