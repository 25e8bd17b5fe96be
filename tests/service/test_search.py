"""Searches: typed values, pages by cursors, secrets, bounds. On slapd, 389 Directory Server and Samba."""

import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import threading
import time

import httpx
import people
import pytest
from conftest import BIN, run
from directories import wait_until
from service import bearer

PATH = "/api/v1/ldap/users/search"
TAP = pathlib.Path(os.environ.get("TAP_LDAP", BIN / "tap-ldap"))
COUNT = 53


class Place:
    """A directory with people `user0` and so on below `ou=people`, and the settings of a service over it."""

    def __init__(self, directory, name, **settings):
        self.directory, self.name, self.settings = directory, name, settings
        self.base = f"ou=people,{directory.suffix}"

    def is_ad(self):
        return self.name == "samba"

    def dn(self, name):
        return f"{'cn' if self.is_ad() else 'uid'}={name},{self.base}"

    def entry(self, name):
        """LDIF of a person with values of many kinds."""
        if self.is_ad():
            return people.entry(
                self.dn(name), objectClass="user", cn=name, sAMAccountName=name, sn="É", mail=f"{name}@example.test", description="one",
                accountExpires="133000000000000000", otherTelephone=["1", "2"],
            )
        text = people.entry(
            self.dn(name), objectClass="inetOrgPerson", uid=name, cn=[name, f"{name} É"], sn="É", mail=f"{name}@example.test",
            userPassword=f"Pw-{name}-7Qz!", employeeNumber="7", seeAlso=self.base,
        )
        return text

    def add(self, names):
        self.directory.add("".join(self.entry(n) for n in names))

    def delete(self, name):
        self.directory.client("ldapdelete", self.dn(name), stdout=subprocess.DEVNULL)

    def serve(self, services, **settings):
        return services(self.directory, **{**self.settings, **settings})


def openldap_place(server):
    place = Place(server, "slapd")
    place.add(f"user{i}" for i in range(COUNT))
    return place


def ds389_place(server):
    place = Place(server, "ds389")
    place.add(f"user{i}" for i in range(COUNT))
    return place


def samba_place(server):
    place = Place(
        server, "samba", server_url=server.tls_url, tls_ca_file=server.ca, bind_dn=server.admin,
        bind_password=server.admin_password, groups=None, roles=None, write=None,
        users={"base_dn": f"ou=people,{server.suffix}", "filter": "(objectClass=user)"},
    )
    unit = people.entry(place.base, objectClass="organizationalUnit", ou="people")
    server.add(unit)
    place.add(f"user{i}" for i in range(COUNT))
    return place


@pytest.fixture(params=["slapd", "ds389", "samba"])
def place(request):
    """Each kind of directory, of the test's own."""
    name = {"slapd": "openldap"}.get(request.param, request.param)
    return globals()[f"{name}_place"](request.getfixturevalue(name))


@pytest.fixture
def slapd(openldap):
    return openldap_place(openldap)


def search(service, caller="all", **body):
    return service.request("POST", PATH, caller, json=body)


def error(answer, status=400):
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.json()["code"]


def found(answer):
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["status"] == "success" and body["count"] == len(body["data"])
    return body


def name_of(entry):
    return entry["cn"][0] if isinstance(entry["cn"], list) else entry["cn"]


def pages(service, between=lambda page: None, **body):
    """All entries of an answer, page by page."""
    entries, page, cursor = [], 0, {}
    while True:
        answer = found(search(service, **(cursor or body)))
        entries += answer["data"]
        if answer["next_cursor"] is None:
            return entries, page + 1
        page, cursor = page + 1, {"cursor": answer["next_cursor"]}
        between(page)


def tap_records(place, folder):
    """The records of tap-ldap of the people, by their DN."""
    service = json.loads((folder / "service" / "service.json").read_text())
    kept = ("server_url", "bind_dn", "bind_password", "tls_ca_file")
    config = {k: service[k] for k in kept if k in service}
    config |= {"base_dn": place.base, "schemas": [{"name": "people", "base_dn": place.base, "filter": service["users"]["filter"], "attributes": ["*", "+"]}]}
    path = folder / "tap.json"
    path.write_text(json.dumps(config))
    path.chmod(0o600)
    catalog = folder / "catalog.json"
    catalog.write_text(run(TAP, "--config", path, "--discover").stdout)
    lines = run(TAP, "--config", path, "--catalog", catalog).stdout.splitlines()
    records = [json.loads(line) for line in lines]
    return {r["record"]["dn"]: r["record"] for r in records if r["type"] == "RECORD" and r["stream"] == "people"}


def test_values_are_those_of_the_tap(place, services, tmp_path):
    """The same entries by another program of ours, which is tested against independent clients."""
    if not place.is_ad():
        place.directory.modify(
            f"dn: {place.dn('user7')}\nchangetype: modify\nadd: jpegPhoto\njpegPhoto:: /9j/4CBub3QgYSBwaWN0dXJl\n-\n"
            "add: cn;lang-de\ncn;lang-de: Nutzer\n"
        )
    service = place.serve(services)
    records = tap_records(place, tmp_path)
    assert len(records) >= COUNT
    names = [name for name in next(iter(records.values())) if name != "dn"]
    assert len(names) > 10
    entries, _ = pages(service, attributes=names, count=25)
    # What changes by being read.
    volatile = {"lastLogon", "logonCount"}

    def stable(entry):
        return {k: v for k, v in entry.items() if k not in volatile}

    assert {e["dn"]: stable(e) for e in entries} == {dn: stable(r) for dn, r in records.items()}
    assert len(entries) == len(records)
    kinds = {type(v) for e in entries for v in e.values()}
    assert {str, list, type(None)} <= kinds
    if place.is_ad():
        user = next(e for e in entries if e["cn"] == "user7")
        assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", user["objectGUID"])
        assert user["objectSid"].startswith("S-1-5-21-") and user["accountExpires"] == "2022-06-18T04:26:40Z"
        assert isinstance(user["uSNCreated"], int) and user["otherTelephone"] == ["1", "2"]
    else:
        user = next(e for e in entries if e["uid"] == ["user7"])
        assert user["jpegPhoto"] == ["/9j/4CBub3QgYSBwaWN0dXJl"] and user["employeeNumber"] == "7"
        assert user["cn"] == ["user7", "user7 É"] and user["cn;lang-de"] == ["Nutzer"]
        assert place.name != "slapd" or user["hasSubordinates"] is False


@pytest.mark.parametrize("count", [1, 10, 100])
def test_every_entry_is_in_one_page(place, services, count):
    entries, number = pages(place.serve(services), filter="(cn=user*)", attributes=["cn"], count=count)
    assert sorted(map(name_of, entries)) == sorted(f"user{i}" for i in range(COUNT))
    assert number >= COUNT / count
    assert number <= COUNT / count + 2


def test_changes_between_pages_neither_repeat_nor_lose_others(place, services):
    service = place.serve(services)
    names = [f"user{i}" for i in range(COUNT)]
    deleted, added = set(), set()

    def change(page):
        # One at the begin, one at the end, one in between, and a new one.
        for name in (names[page], names[-page], names[25 + page]):
            if name not in deleted:
                place.delete(name)
                deleted.add(name)
        place.add([f"user-new{page}"])
        added.add(f"user-new{page}")
        dn = place.dn("user20")
        place.directory.modify(f"dn: {dn}\nchangetype: modify\nreplace: description\ndescription: {page}\n")

    entries, number = pages(service, change, filter="(cn=user*)", attributes=["cn", "description"], count=9)
    seen = list(map(name_of, entries))
    assert len(seen) == len(set(seen)) and number >= 4
    assert set(names) - deleted <= set(seen) <= set(names) | added


def test_a_cursor_is_used_once(slapd, services):
    service = slapd.serve(services)
    first = found(search(service, attributes=["cn"], count=10))["next_cursor"]
    second = found(search(service, cursor=first))["next_cursor"]
    assert error(search(service, cursor=first), 410) == "cursor_expired"
    assert found(search(service, cursor=second))["count"] == 10
    # Two at the same time: one is answered.
    cursor = found(search(service, attributes=["cn"], count=10))["next_cursor"]
    statuses = []
    threads = [threading.Thread(target=lambda: statuses.append(search(service, cursor=cursor).status_code)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200, 410, 410, 410]


def test_a_cursor_is_of_its_caller_and_its_question(slapd, services):
    service = slapd.serve(services)
    asked = {"filter": "(cn=user*)", "attributes": ["cn", "uid"], "count": 10, "base_dn": slapd.base}
    cursor = found(search(service, **asked))["next_cursor"]
    assert error(search(service, "search", cursor=cursor)) == "invalid_cursor"
    for other in ({"filter": "(cn=*)"}, {"attributes": ["cn"]}, {"count": 11}, {"base_dn": slapd.dn("user1")}):
        answer = search(service, **{**asked, **other, "cursor": cursor})
        assert error(answer) == "cursor_mismatch" and answer.json()["member"] in other
    flipped = ("B" if cursor[0] == "A" else "A") + cursor[1:]
    for bad in (flipped, cursor[:-2], cursor + "AA", "", "x", "é", "A" * 48):
        assert error(search(service, cursor=bad)) in ("invalid_cursor", "invalid_member"), bad
    # None of that used it up; the same question in another spelling is the same.
    again = {**asked, "base_dn": slapd.base.upper(), "attributes": ["UID", "cn"], "cursor": cursor}
    assert found(search(service, **again))["count"] == 10


def test_cursors_end_with_the_connection_the_reload_and_the_service(slapd, services, tmp_path):
    key = tmp_path / "key"
    key.write_bytes(os.urandom(48))
    key.chmod(0o600)
    service = slapd.serve(services, login={"session_key_file": str(key)})

    def cursor():
        return found(search(service, attributes=["cn"], count=10))["next_cursor"]

    first = cursor()
    slapd.directory.kill()
    assert error(search(service, cursor=first), 410) == "cursor_expired"
    slapd.directory.start_again()
    service.wait()
    first = wait_until(lambda: search(service, attributes=["cn"], count=10).json().get("next_cursor"))
    service.reload()
    assert error(search(service, cursor=first), 410) == "cursor_expired"
    first = cursor()
    assert service.end() == 0
    service.start()
    assert error(search(service, cursor=first), 410) == "cursor_expired"


def test_open_cursors_are_bounded(slapd, services):
    """A caller's seventeenth closes its first; connections do not pile up."""
    service = slapd.serve(services)
    cursors = [found(search(service, attributes=["cn"], count=10))["next_cursor"] for _ in range(17)]
    assert error(search(service, cursor=cursors[0]), 410) == "cursor_expired"
    before = service.descriptors()
    for _ in range(40):
        found(search(service, attributes=["cn"], count=10))
    assert service.descriptors() <= before + 2
    # Others are answered meanwhile, and not closed by it.
    other = found(search(service, "search", attributes=["cn"], count=10))["next_cursor"]
    for _ in range(20):
        found(search(service, attributes=["cn"], count=10))
    assert found(search(service, "search", cursor=other))["count"] == 10


def test_a_request_that_is_cut_off_leaves_nothing_behind(slapd, services):
    service = slapd.serve(services)
    before = service.descriptors()
    slapd.directory.process.send_signal(signal.SIGSTOP)
    for _ in range(3):
        with pytest.raises(httpx.ReadTimeout):
            search_with_timeout(service, 0.3)
    slapd.directory.process.send_signal(signal.SIGCONT)
    wait_until(lambda: service.descriptors() <= before + 3)
    assert len(pages(service, attributes=["cn"], count=50)[0]) >= COUNT


def search_with_timeout(service, seconds):
    return service.client.post(PATH, json={"attributes": ["cn"]}, headers=bearer("all"), timeout=seconds)


SECRETS = ["userPassword", "USERPASSWORD", "2.5.4.35", "userPassword;x-old", "oid.2.5.4.35"]


@pytest.mark.parametrize("name", SECRETS)
def test_secrets_are_neither_compared_nor_asked_for(service, name):
    filters = [f"({name}=x)", f"({name}=*)", f"(!({name}=a*))", f"(|(cn=x)(&({name}>=x)))", f"({name}:2.5.13.17:=x)", f"({name}~=x)"]
    for text in filters:
        if name.startswith("oid."):
            assert search(service, filter=text).status_code == 400
        else:
            assert error(search(service, filter=text)) == "secret_attribute", text
    assert error(search(service, attributes=["cn", name])) in ("secret_attribute", "unknown_attribute")


def test_a_comparison_without_an_attribute_is_refused(service):
    """`(:octetStringMatch:=…)` compares with userPassword, too."""
    for text in ("(:2.5.13.17:=Pw)", "(:dn:octetStringMatch:=Pw)", "(!(:caseIgnoreMatch:=x))"):
        assert error(search(service, filter=text)) == "secret_attribute", text


def test_secrets_are_in_no_answer(place, services):
    service = place.serve(services, **({} if place.is_ad() else {"bind_dn": place.directory.admin, "bind_password": place.directory.admin_password}))
    if not place.is_ad():
        raw = place.directory.values(place.dn("user1"), "userPassword")
        assert raw["userPassword"], "the service may read it"
    if place.name == "slapd":
        place.directory.modify(f"dn: {place.dn('user1')}\nchangetype: modify\nadd: userPassword;lang-de\nuserPassword;lang-de: Old-7Qz!\n")
    for attributes in (None, ["*"], ["+"], ["*", "+"], ["@inetOrgPerson"]):
        answer = search(service, **({"attributes": attributes} if attributes else {}))
        if attributes == ["@inetOrgPerson"]:
            assert error(answer) == "invalid_attribute"
            continue
        text = answer.text
        assert found(answer)["count"] >= COUNT
        assert not re.search("password\"|pwdhistory|unicodepwd|supplementalcredentials|7Qz", text, re.I)


def test_configured_secrets_are_secret(slapd, services):
    service = slapd.serve(services, secret_attributes=["employeeNumber"])
    assert error(search(service, filter="(employeeNumber=7)")) == "secret_attribute"
    assert error(search(service, attributes=["EMPLOYEENUMBER"])) == "secret_attribute"
    assert all("employeeNumber" not in e for e in found(search(service))["data"])


def test_a_supertype_of_a_secret_is_not_compared(slapd, services):
    """(name=…) compares with cn, sn and all other subtypes."""
    service = slapd.serve(services, secret_attributes=["sn"])
    assert error(search(service, filter="(name=É)")) == "secret_attribute"
    answer = found(search(service, attributes=["name"], filter="(uid=user1)"))
    assert "sn" not in answer["data"][0] and answer["data"][0]["cn"] == ["user1", "user1 É"]


@pytest.mark.parametrize("member", ["server_url", "bind_dn", "bind_password", "host", "port", "use_ssl", "bindDN", "serverUrl", "tls_verify", "password", "start_tls", "referral_hosts"])
def test_trap_09_the_server_is_not_in_a_request(service, member):
    answer = search(service, **{member: "ldap://192.0.2.1", "filter": "(cn=*)"})
    assert error(answer) == "server_is_configured" and answer.json()["member"] == member
    answer = service.request("POST", "/api/v1/plugin/execute", json={"operation": "search_users", "params": {member: "x"}})
    assert answer.status_code == 400 and answer.json()["error"]["code"] == "server_is_configured"


def test_what_is_not_known_is_named(service):
    answer = search(service, atributes=["cn"])
    assert error(answer) == "unknown_member" and answer.json()["near"] == "attributes"
    answer = search(service, attributes=["givenNam"])
    assert error(answer) == "unknown_attribute" and answer.json()["near"] == "givenName"
    answer = search(service, filter="(&(cn=*)(!(mial=x)))")
    assert error(answer) == "unknown_attribute" and answer.json()["near"] == "mail"
    answer = search(service, filter="(objectClass=inetOrgPersn)")
    assert error(answer) == "unknown_object_class" and answer.json()["near"] == "inetOrgPerson"
    assert error(search(service, filter="(1.2.3.4.5=x)")) == "unknown_attribute"
    assert error(search(service, filter="(dn=x)")) == "unknown_attribute"
    answer = found(search(service, filter="(createTimestamp=yesterday)"))
    assert answer["count"] == 0 and answer["warnings"][0]["code"] == "undefined_comparison"


def test_filters_have_a_place_of_their_fault_and_bounds(service):
    for text, position in (("(cn=a", 5), ("(cn=a)(sn=b)", 6), ("(cn=(a)", 4), (r"(cn=\zz)", 4), ("(é=a)", 1)):
        answer = search(service, filter=text)
        assert error(answer) == "invalid_filter" and answer.json()["position"] == position, text
    assert found(search(service, filter="(|" + "(cn=x)" * 64 + ")"))["count"] == 0
    for text in ("(|" + "(cn=x)" * 65 + ")", "(&" + "(|)" * 65 + ")", "(cn=" + "a*" * 70 + ")", "(!" * 40 + "(cn=x)" + ")" * 40):
        answer = search(service, filter=text)
        assert error(answer) == "filter_too_large" and answer.json()["limit"] > 0, text[:20]
    assert error(search(service, filter="(!" * 5000 + "(cn=x)" + ")" * 5000)) == "invalid_filter"


def test_a_filter_does_not_leave_the_users(service, shared_openldap):
    """`users.filter` and `users.base_dn` hold, whatever is asked."""
    for text in ("(objectClass=*)", "(|(cn=*)(objectClass=groupOfNames))", "(!(cn=x))", "(objectClass=organizationalUnit)"):
        dns = [e["dn"] for e in found(search(service, filter=text))["data"]]
        assert all(dn.endswith(f",ou=people,{shared_openldap.suffix}") for dn in dns), text
    assert found(search(service, filter="(objectClass=organizationalUnit)"))["count"] == 0


def test_the_base_is_within_the_users(service, shared_openldap):
    suffix = shared_openldap.suffix
    for base in (suffix, f"ou=groups,{suffix}", "", f"ou=people,{suffix},dc=x", f"xou=people,{suffix}", f"ou=people\\,{suffix}"):
        assert error(search(service, base_dn=base)) in ("base_dn_outside", "invalid_dn"), base
    assert error(search(service, base_dn="no dn")) == "invalid_dn"
    assert error(search(service, base_dn=f"ou=absent,ou=people,{suffix}"), 404) == "not_found"
    spelled = f"UID=ADA , 2.5.4.11=People, {suffix.upper()}"
    assert [e["dn"] for e in found(search(service, base_dn=spelled))["data"]] == [people.ADA.dn()]


def test_hard_names(service):
    """DNs and values that other programs break."""
    for person in people.HARD:
        escaped = re.sub(r"[\\*()\0]", lambda m: f"\\{ord(m.group()):02x}", person.cn)
        data = found(search(service, filter=f"(cn={escaped})", attributes=["cn", "mail", "dn"]))["data"]
        assert len(data) == 1 and person.cn in data[0]["cn"] and data[0]["mail"] == [person.mail], person.cn


def test_the_bodies_that_are_refused(service):
    for content, headers, status, code in (
        (b"", {"Content-Type": "application/json"}, 400, "invalid_body"),
        (b"[]", {"Content-Type": "application/json"}, 400, "invalid_body"),
        (b'{"filter":', {"Content-Type": "application/json"}, 400, "invalid_body"),
        (b'"\xff"', {"Content-Type": "application/json"}, 400, "invalid_body"),
        (b"{}", {"Content-Type": "text/plain"}, 415, "unsupported_media_type"),
        (b"{}", {}, 415, "unsupported_media_type"),
        (b'{"filter":"' + b"x" * (1 << 20) + b'"}', {"Content-Type": "application/json"}, 413, "too_large"),
        (b"[" * 100000, {"Content-Type": "application/json"}, 400, "invalid_body"),
    ):
        answer = service.request("POST", PATH, content=content, headers=headers)
        assert error(answer, status) == code, content[:20]
    for body in ({"count": 0}, {"count": -1}, {"count": "1"}, {"count": 1.5}, {"count": 1 << 40}, {"filter": 1}, {"attributes": "cn"},
                 {"attributes": [1]}, {"attributes": []}, {"attributes": ["cn"] * 257}, {"cursor": 1}, {"base_dn": []}):
        assert error(search(service, **body)) == "invalid_member", body
    assert error(search(service, attributes=["c n"])) == "invalid_attribute"
    assert error(search(service, attributes=["member;range=0-*"])) == "invalid_attribute"


@pytest.mark.parametrize("path", [PATH, "/api/v1/ldap/import"])
def test_an_answer_to_a_body_that_is_not_read_arrives(service, path):
    """A connection that is closed while the client still sends is reset, and the answer lost with it."""
    url = service.client.base_url
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 4000000\r\n"
    for expects, sent, times in (("", 4_000_000, 5), ("", 3_000_000, 1), ("Expect: 100-continue\r\n", 0, 1)):
        for _ in range(times):
            with socket.create_connection((url.host, url.port), timeout=30) as connection:
                connection.sendall((head + expects + "\r\n").encode() + b" " * sent)
                answer = b""
                while b"\r\n\r\n" not in answer and (part := connection.recv(65536)):
                    answer += part
                    answer = answer.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
            assert answer.startswith((b"HTTP/1.1 413 ", b"HTTP/1.1 401 ")), answer[:200]
            closes = b"\r\nconnection: close" in answer.split(b"\r\n\r\n")[0].lower()
            assert closes == (sent < 4_000_000), answer[:400]


def test_an_answer_arrives_though_the_client_was_told_to_send(service):
    """`Expect: 100-continue`: once it is told to go on, it sends like any other."""
    url = service.client.base_url
    head = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n"
    for _ in range(5):
        with socket.create_connection((url.host, url.port), timeout=30) as connection:
            connection.sendall(head.encode())
            assert connection.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
            # A part of 30 MB, of which all but the first is too much.
            connection.sendall(b"1c9c380\r\n")
            for _ in range(30):
                connection.sendall(b" " * 100_000)
                time.sleep(0.01)
            answer = b""
            while b"\r\n\r\n" not in answer and (part := connection.recv(65536)):
                answer += part
        assert answer.startswith(b"HTTP/1.1 413 ") and b"\r\nconnection: close" in answer.split(b"\r\n\r\n")[0].lower(), answer[:400]


def test_who_may(service):
    assert error(search(service, None), 401) == "unauthorized"
    answer = search(service, "scim.read")
    assert error(answer, 403) == "insufficient_scope" and answer.json()["scope"] == "search"
    assert found(search(service, "search"))["count"] == len(people.PEOPLE)


def test_the_count_is_bounded_and_more_is_said(slapd, services):
    service = slapd.serve(services, limits={"count": 20})
    answer = found(search(service, count=5000))
    assert answer["count"] == 20 and answer["next_cursor"]
    answer = found(search(service))
    assert answer["count"] == 20 and answer["next_cursor"]


def test_a_limit_of_the_server_is_an_error(openldaps, services):
    """slapd ends the answer after a number of entries in all: never a short answer that looks whole."""
    server = openldaps(more=people.crowd(30), overlays=f'limits dn.exact="{people.ADA.dn()}" size=15 size.prtotal=15\n')
    ada = {"bind_dn": people.ADA.dn(), "bind_password": people.ADA.password}
    service = services(server, **ada)
    for size in ({}, {"count": 10}):
        answer = search(service, attributes=["cn"], **size)
        read = 0
        while answer.status_code == 200:
            page = found(answer)
            read += page["count"]
            assert read <= 15 and page["next_cursor"], "a short answer that looks whole"
            answer = search(service, cursor=page["next_cursor"])
        assert error(answer, 422) == "directory_limit"


def test_the_directory_is_away(openldap, services):
    service = services(openldap)
    assert found(search(service))["count"] > 0
    openldap.kill()
    answer = search(service)
    assert error(answer, 503) == "directory_unavailable" and int(answer.headers["retry-after"]) >= 1
    openldap.start_again()
    wait_until(lambda: search(service).status_code == 200)
