"""LDIF over HTTP: export whole or aborted, import with plan, rejects, guards and undo, on slapd and 389 Directory Server."""

import base64
import pathlib
import re
import subprocess
import threading
import time

import httpx
import people
import pytest
from directories import wait_until
from writing import TARGET_LDAP, FullDisk, content, empty, undo

EXPORT, IMPORT = "/api/v1/ldap/export", "/api/v1/ldap/import"


@pytest.fixture(params=["openldap", "ds389"])
def directory(request):
    """slapd, then 389 Directory Server."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def writing(services, tmp_path):
    """A service that writes: `writing(directory, **write)`; undo files are in tmp_path/undo."""

    def start(directory, name="service", undo_dir=None, **settings):
        write = {"mapping_rules": {}, "max_deletes": 10, "undo_dir": str(undo_dir or tmp_path / "undo"), **settings.pop("write", {})}
        return services(directory, name=name, write=write, **settings)

    return start


def send(service, text, dry_run=False, caller="all", accept=None, **options):
    headers = {"Content-Type": "text/ldif", **({"Accept": accept} if accept else {})}
    params = {"dry_run": "true"} if dry_run else {}
    content = text.encode() if isinstance(text, str) else text
    return service.request("POST", IMPORT, caller, params=params, headers=headers, content=content, timeout=300, **options)


def report(answer, status=200):
    assert answer.status_code == status, answer.text
    return answer.json()


def person(n, suffix, **more):
    attributes = {"objectClass": "inetOrgPerson", "uid": f"new{n}", "cn": f"New {n}", "sn": f"N{n}", **more}
    return people.entry(f"uid=new{n},ou=people,{suffix}", **attributes)


def change(dn, *lines):
    return "\n".join((f"dn:: {base64.b64encode(dn.encode()).decode()}", *lines)) + "\n\n"


def numbers(report):
    return {name: report[name] for name in ("added", "modified", "renamed", "deleted", "unchanged", "rejected")}


# Export


def test_an_export_is_whole_and_has_no_secret(directory, writing):
    service = writing(directory)
    answer = service.request("GET", EXPORT, "ldif.read")
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/ldif")
    last = answer.text.rstrip("\n").splitlines()[-1]
    count = len(re.findall(r"^dn:", answer.text, re.M))
    assert last == f"# end: {count} entries" and count == len(content(directory))
    assert not re.search(r"^userPassword", answer.text, re.M | re.I)
    assert re.search(rf"^# left out: userPassword of {len(people.PEOPLE)} entries$", answer.text, re.M)
    for person in people.PEOPLE:
        assert person.password not in answer.text


@pytest.mark.parametrize(
    ("params", "status", "code"),
    [
        ({"base_dn": "ou=services,dc=example,dc=test"}, 403, "out_of_scope"),
        ({"base_dn": "dc=example,dc=test"}, 403, "out_of_scope"),
        ({"base_dn": "no dn"}, 400, "invalid_dn"),
        ({"base_dn": "ou=none,ou=people,dc=example,dc=test"}, 404, "not_found"),
        ({"filter": "(uid="}, 400, "invalid_filter"),
        ({"filter": "(userPassword=a*)"}, 400, "secret_attribute"),
        ({"filter": "(&(uid=ada)(!(userpassword;x-a>=b)))"}, 400, "secret_attribute"),
        ({"filter": "(2.5.4.35=*)"}, 400, "secret_attribute"),
        ({"filter": "(|" + "(uid=a)" * 65 + ")"}, 400, "filter_too_large"),
        ({"server_url": "ldap://elsewhere"}, 400, "invalid_query"),
    ],
)
def test_an_export_stays_within_its_bounds(service, params, status, code):
    answer = service.request("GET", EXPORT, params=params)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


@pytest.mark.parametrize("comparison", ["(:2.5.13.17:={})", "(:dn:octetStringMatch:={})", "(userPassword:2.5.13.17:={})", "(2.5.4.35={})",
                                        "(userPassword;x-a={})", "(:caseIgnoreMatch:={})", "(employeeNumber={})", "(2.16.840.1.113730.3.1.3={})"])
@pytest.mark.parametrize("outer", ["{}", "(&(uid=ada){})", "(!(!{}))"])
def test_no_route_finds_secrets_by_a_filter(services, shared_openldap, comparison, outer):
    service = services(shared_openldap, secret_attributes=["employeeNumber"])
    text = outer.format(comparison.format(people.ADA.password))
    find = {"filter": text}
    for answer in (
        service.request("GET", EXPORT, params=find),
        service.request("POST", "/api/v1/ldap/users/search", json=find),
        service.request("POST", "/api/v1/plugin/execute", json={"operation": "search_users", "params": find}),
    ):
        assert answer.status_code == 400 and "secret_attribute" in answer.text, answer.text
        assert people.ADA.password not in answer.text


def test_exports_and_imports_have_scopes(writing, openldap):
    service = writing(openldap)
    for caller in (None, "search", "ldif.write"):
        answer = service.request("GET", EXPORT, caller)
        assert answer.status_code == (403 if caller else 401)
    for caller in (None, "scim.write", "ldif.read"):
        assert send(service, person(1, openldap.suffix), caller=caller).status_code == (403 if caller else 401)
    assert "uid=new1,ou=people,dc=example,dc=test" not in content(openldap)


def test_a_filter_and_a_base_choose_entries(service):
    base = "OU=People, dc=example,dc=test"
    answer = service.request("GET", EXPORT, params={"base_dn": base, "filter": r"(cn=Bob \28ext\29)"})
    assert re.findall(r"^uid: (.*)$", answer.text, re.M) == ["bob"]
    assert answer.text.endswith("# end: 1 entries\n")


def big(suffix, count, octets):
    """Many large entries."""
    filler = base64.b64encode(bytes(octets)).decode()
    for n in range(count):
        yield person(f"big{n}", suffix).rstrip("\n") + f"\ndescription: {filler}\n\n"


def test_an_export_that_breaks_off_is_not_taken_for_whole(openldaps, writing):
    server = openldaps(more=big(people.SUFFIX, 2500, 9000))
    service = writing(server)
    received = b""
    with pytest.raises(httpx.RemoteProtocolError):
        with httpx.stream("GET", service.url + EXPORT, headers=service_headers(), timeout=60, trust_env=False) as answer:
            assert answer.status_code == 200
            for piece in answer.iter_raw():
                received += piece
                if server.process.poll() is None:
                    server.kill()
    assert b"# end:" not in received and len(received) > 1000
    # What arrived is not taken in again.
    server.start_again()
    try:
        service.wait()
    except AssertionError:
        print(service.request("GET", "/api/v1/health").text)
        raise
    assert send(service, received).json()["code"] == "incomplete"


def service_headers(name="all"):
    from service import bearer

    return bearer(name)


def test_a_slow_client_costs_no_memory_and_stops_nobody(openldaps, writing):
    server = openldaps(more=big(people.SUFFIX, 6000, 9000))
    service = writing(server)
    total = 0
    with httpx.stream("GET", service.url + EXPORT, headers=service_headers(), timeout=60, trust_env=False) as answer:
        before = service.rss()
        pieces = answer.iter_raw()
        for _ in range(20):
            total += len(next(pieces))
            time.sleep(0.05)
        # Another caller is served meanwhile.
        assert service.request("GET", EXPORT, params={"filter": "(uid=ada)"}).text.endswith("# end: 1 entries\n")
        last = b""
        for piece in pieces:
            total += len(piece)
            last = (last + piece)[-100:]
        growth = service.rss() - before
    assert total > 70_000_000 and last.endswith(b"entries\n")
    assert growth < 40_000, f"{growth} KiB for {total} octets"


# Round trip


def test_a_round_trip_gives_the_same_entries(directory, writing):
    service = writing(directory)
    first = content(directory)
    # Once, so that every DN in a value is spelled as the server spells it.
    for before in (None, content(directory)):
        before = before and content(directory)
        exported = service.request("GET", EXPORT).text
        empty(directory)
        assert len(content(directory)) == 2
        result = report(send(service, exported))
        assert result["complete"] and result["rejected"] == 0, result
        assert result["added"] == len(first) - 2 and result["unchanged"] == 2
        after = content(directory)
        assert after.keys() == first.keys()
        for dn, values in after.items():
            assert {n: len(v) for n, v in values.items()} == {n: len(v) for n, v in first[dn].items()}, dn
            assert before is None or values == before[dn], dn
    # A second time: nothing to do, and no undo file.
    result = report(send(service, exported))
    assert numbers(result) == {"added": 0, "modified": 0, "renamed": 0, "deleted": 0, "unchanged": len(first), "rejected": 0}
    assert result["undo_file"] is None


def test_entries_whose_parents_come_later_are_added(openldap, writing):
    service = writing(openldap)
    suffix = openldap.suffix
    above = people.entry(f"ou=a,ou=people,{suffix}", objectClass="organizationalUnit", ou="a")
    below = people.entry(f"ou=b,ou=a,ou=people,{suffix}", objectClass="organizationalUnit", ou="b")
    leaf = people.entry(f"uid=leaf,ou=b,ou=a,ou=people,{suffix}", objectClass="inetOrgPerson", uid="leaf", cn="l", sn="l")
    orphan = people.entry(f"uid=x,ou=none,ou=people,{suffix}", objectClass="inetOrgPerson", uid="x", cn="x", sn="x")
    result = report(send(service, leaf + orphan + below + above))
    assert (result["added"], result["rejected"]) == (3, 1)
    assert [r["dn"] for r in result["rejects"]] == [f"uid=x,ou=none,ou=people,{suffix}"]


# Plans


def test_a_dry_run_changes_nothing_and_its_plan_does_the_same(directory, writing):
    service = writing(directory)
    suffix = directory.suffix
    text = (
        person(1, suffix, mail="new1@example.test")
        + person(2, suffix)
        + people.entry(people.ADA.dn(suffix), objectClass="inetOrgPerson", uid="ada", cn=["Ada", people.ADA.cn], sn="Lovelace")
        + change(people.EVE.dn(suffix), "changetype: modify", "replace: displayName", "displayName: Eve", "-")
        + change(f"uid=new2,ou=people,{suffix}", "changetype: modrdn", "newrdn: uid=second", "deleteoldrdn: 1")
        + change(people.COLON.dn(suffix), "changetype: delete")
    )
    before = content(directory)
    plan = send(service, text, dry_run=True)
    assert plan.status_code == 200 and plan.headers["content-type"].startswith("text/ldif")
    assert plan.text.endswith("# end: 2 to add, 2 to modify, 1 to rename, 1 to delete, 0 unchanged, 0 refused\n")
    counted = report(send(service, text, dry_run=True, accept="application/json"))
    assert counted["dry_run"] and counted["undo_file"] is None
    page = send(service, text, dry_run=True, accept="text/html,*/*;q=0.8")
    assert page.status_code == 200 and page.text.rstrip().endswith("</html>")
    assert "new1@example.test" in page.text
    assert content(directory) == before
    result = report(send(service, text))
    assert numbers(result) == numbers(counted)
    after = content(directory)
    assert after != before
    # The plan by itself, with ldapmodify, leads to the same.
    undo(directory, undo_path(service, result), service.folder)
    assert content(directory) == before
    directory.modify(plan.text)
    assert content(directory) == after


def undo_path(service, result):
    return pathlib.Path(service.config["write"]["undo_dir"]) / result["undo_file"]


def test_rejects_have_lines_and_reasons_and_others_are_written(directory, writing):
    service = writing(directory)
    suffix = directory.suffix
    outside = people.service_dn(suffix)
    records = [
        (person(1, suffix), None),
        (people.entry(f"uid=p,ou=people,{suffix}", objectClass="inetOrgPerson", uid="p", cn="p"), ("invalid_value", "sn")),
        (person(2, suffix, userPassword="Pw-import-1"), ("attribute_protected", "userPassword")),
        (person(3, suffix, noSuchAttribute="x"), ("attribute_protected", "noSuchAttribute")),
        (change(outside, "changetype: modify", "replace: sn", "sn: Mine", "-"), ("out_of_scope", None)),
        (change(outside, "changetype: delete"), ("out_of_scope", None)),
        (change(f"ou=people,{suffix}", "changetype: delete"), ("protected", None)),
        (change(f"ou=people,{suffix}", "changetype: modify", "add: description", "description: x", "-"), ("protected", None)),
        (change(people.ADA.dn(suffix), "changetype: modrdn", "newrdn: uid=ada", "deleteoldrdn: 1", f"newsuperior: ou=services,{suffix}"), ("out_of_scope", None)),
        (change(people.ADA.dn(suffix), "changetype: modify", "replace: userPassword", "userPassword: Pw-import-2", "-"), ("attribute_protected", "userPassword")),
        (change(f"uid=none,ou=people,{suffix}", "changetype: modify", "replace: sn", "sn: x", "-"), ("not_found", None)),
        ("dn: uid=broken,ou=people\nchangetype: nonsense\n\n", ("invalid_value", None)),
        (change(people.ADA.dn(suffix), "changetype: add", "objectClass: inetOrgPerson", "uid: ada", "cn: Other", "sn: Other"), ("taken", None)),
        (person(4, suffix), None),
    ]
    service.secrets |= {"Pw-import-1", "Pw-import-2"}
    text, expected = "", []
    for ldif, problem in records:
        if problem:
            expected.append((text.count("\n") + 1, *problem))
        text += ldif
    before = content(directory)
    result = report(send(service, text))
    found = [(r["line"], r["code"], r.get("attribute")) for r in result["rejects"]]
    # The line of a record that cannot be parsed is that of the fault.
    found = [(line - 1 if code == "invalid_value" and line - 1 in {l for l, *_ in expected} else line, code, name) for line, code, name in found]
    assert found == expected, result["rejects"]
    assert result["added"] == 2 and result["complete"] and "Pw-import" not in str(result)
    assert set(content(directory)) == set(before) | {f"uid=new{n},ou=people,{suffix}" for n in (1, 4)}
    # The plan says the same.
    undo(directory, undo_path(service, result), service.folder)
    planned = report(send(service, text, dry_run=True, accept="application/json"))
    assert [(r["code"], r.get("attribute")) for r in planned["rejects"]] == [tuple(e[1:]) for e in expected]
    assert numbers(planned) == numbers(result)


def test_no_name_carries_a_protected_attribute(directory, writing):
    """An RDN is a way to write an attribute: of add and content records, of a rename, in a part of it, by OID."""
    service = writing(directory, secret_attributes=["employeeNumber"])
    suffix, below = directory.suffix, f"ou=people,{directory.suffix}"
    before = content(directory)
    protected = ["userPassword", "2.5.4.35", "employeeNumber", "2.16.840.1.113730.3.1.3", "entryUUID", "createTimestamp", "noSuchAttribute"]
    rdns = [rdn for name in protected for rdn in (f"{name}=hi", f"uid=bob+{name}=hi")]
    text = ""
    for rdn in rdns:
        lines = ("objectClass: inetOrgPerson", "uid: bob", "cn: B", "sn: B")
        text += change(f"{rdn},{below}", *lines) + change(f"{rdn},{below}", "changetype: add", *lines)
        for keeps in (0, 1):
            text += change(people.BOB.dn(suffix), "changetype: modrdn", f"newrdn: {rdn}", f"deleteoldrdn: {keeps}")
    for result in (report(send(service, text, dry_run=True, accept="application/json")), report(send(service, text))):
        assert {r["code"] for r in result["rejects"]} == {"attribute_protected"}, result
        assert result["rejected"] == result["records"] == 4 * len(rdns) and result["undo_file"] is None
    assert content(directory) == before
    answer = service.login("bob", "hi")
    assert answer.status_code == 401, answer.text


def test_nobody_leaves_their_base_or_gets_a_name_with_control_characters(directory, writing):
    """A move from users to groups is a deletion that no guard counts; 389 stores a NUL in a name as another name."""
    service = writing(directory)
    suffix, before = directory.suffix, content(directory)
    carries = ("objectClass: inetOrgPerson", "cn: Z", "sn: Z")
    bob = people.BOB.dn(suffix)
    result = report(send(
        service,
        change(bob, "changetype: modrdn", "newrdn: uid=bob", "deleteoldrdn: 1", f"newsuperior: ou=groups,{suffix}")
        + change(f"uid=zzt\\00x,ou=people,{suffix}", *carries)
        + change(f"uid=a\\0d\\0ab,ou=people,{suffix}", "changetype: add", *carries)
        + change(bob, "changetype: modrdn", "newrdn: uid=bob\\00x", "deleteoldrdn: 1"),
    ))
    assert [r["code"] for r in result["rejects"]] == ["out_of_scope"] + ["invalid_value"] * 3, result
    assert content(directory) == before and result["undo_file"] is None


def test_the_services_own_entry_is_protected(openldap, services, tmp_path):
    own = f"uid=own,ou=staff,ou=people,{people.SUFFIX}"
    text = people.entry(f"ou=staff,ou=people,{people.SUFFIX}", objectClass="organizationalUnit", ou="staff")
    openldap.client("ldapadd", input=text.encode(), stdout=subprocess.DEVNULL)
    text = people.entry(own, objectClass="inetOrgPerson", uid="own", cn="o", sn="o", userPassword="Pw-own-7Qz!")
    openldap.client("ldapadd", input=text.encode(), stdout=subprocess.DEVNULL)
    service = services(
        openldap, bind_dn=own.upper(), bind_password="Pw-own-7Qz!", write={"mapping_rules": {}, "undo_dir": str(tmp_path / "u")}
    )
    service.secrets.add("Pw-own-7Qz!")
    result = report(
        send(
            service,
            change(own, "changetype: modify", "replace: sn", "sn: x", "-")
            + change(own, "changetype: delete")
            + change(f"ou=staff,ou=people,{people.SUFFIX}", "changetype: modrdn", "newrdn: ou=s", "deleteoldrdn: 1"),
        )
    )
    assert [r["code"] for r in result["rejects"]] == ["protected"] * 3, result
    # It is known by its identifier, not by its name.
    openldap.modify(f"dn: {own}\nchangetype: modrdn\nnewrdn: uid=moved\ndeleteoldrdn: 1\n")
    moved = f"uid=moved,ou=staff,ou=people,{people.SUFFIX}"
    result = report(send(service, change(moved, "changetype: modify", "replace: sn", "sn: x", "-") + change(moved, "changetype: delete")))
    assert [r["code"] for r in result["rejects"]] == ["protected"] * 2, result


PASSWORD_OF_OWN = "Pw-own-7Qz!"


def domain_account(samba, name, **more):
    """Adds an enabled account below OU=people, and returns its DN."""
    dn = f"CN={name} Account,OU=people,{samba.suffix}"
    password = base64.b64encode(f'"{PASSWORD_OF_OWN}"'.encode("utf-16-le")).decode()
    lines = "".join(f"{attribute}: {value}\n" for attribute, value in more.items())
    samba.modify(
        f"dn: {dn}\nchangetype: add\nobjectClass: user\nsAMAccountName: {name}\nuserPrincipalName: {name}@ad.example.test\n"
        f"unicodePwd:: {password}\nuserAccountControl: 512\n{lines}"
    )
    return dn


@pytest.fixture
def domain(samba, services, tmp_path):
    """(server, start of a service that writes below OU=people as an account that is there, by the name given)."""
    for unit in ("people", "groups"):
        samba.modify(f"dn: OU={unit},{samba.suffix}\nchangetype: add\nobjectClass: organizationalUnit\n")
    samba.own = domain_account(samba, "svc")
    samba.modify(f"dn: CN=Domain Admins,CN=Users,{samba.suffix}\nchangetype: modify\nadd: member\nmember: {samba.own}\n")
    # Else it would be protected as an administrator.
    assert samba.values(samba.own, "adminCount") == {}

    def start(bind_dn, name="service"):
        service = services(
            samba, name=name, server_url=samba.tls_url, tls_ca_file=samba.ca, bind_dn=bind_dn, bind_password=PASSWORD_OF_OWN,
            users={"base_dn": f"OU=people,{samba.suffix}", "filter": "(objectClass=user)", "login_attributes": ["sAMAccountName"]},
            groups={"base_dn": f"OU=groups,{samba.suffix}", "filter": "(objectClass=group)"}, roles=None,
            write={"mapping_rules": {}, "undo_dir": str(tmp_path / f"{name}-undo")},
        )
        service.secrets.add(PASSWORD_OF_OWN)
        return service

    return samba, start


@pytest.mark.parametrize("form", ["dn", "principal", "domain"])
def test_the_services_own_entry_is_protected_in_every_form_of_bind(domain, form):
    samba, start = domain
    bind_dn = {"dn": samba.own, "principal": "svc@ad.example.test"}.get(form, "ADTEST\\svc")
    service = start(bind_dn)
    other = domain_account(samba, "other")
    text = change(samba.own, "changetype: modify", "replace: title", "title: owned", "-") + change(samba.own, "changetype: delete")
    text += change(other, "changetype: modify", "replace: title", "title: owned", "-")
    result = report(send(service, text))
    assert [r["code"] for r in result["rejects"]] == ["protected"] * 2 and result["modified"] == 1, result
    headers = {"Content-Type": "application/scim+json"}
    found = service.request("GET", "/scim/v2/Users", params={"filter": 'userName eq "svc"'}).json()["Resources"]
    path = f"/scim/v2/Users/{found[0]['id']}"
    body = {"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": [{"op": "replace", "path": "title", "value": "x"}]}
    answers = [service.request("PATCH", path, headers=headers, json=body), service.request("DELETE", path)]
    assert [answer.status_code for answer in answers] == [403, 403], [answer.text for answer in answers]


def test_nobody_grants_rights_on_active_directory(domain):
    samba, start = domain
    service = start(samba.own)
    other = domain_account(samba, "other")
    flags = ["524800", "16777728", "4194816", "0x80200"]
    refused = [("userAccountControl", value) for value in flags]
    refused += [("servicePrincipalName", "HTTP/other"), ("scriptPath", "x.bat"), ("msDS-AllowedToDelegateTo", "HTTP/dc1")]
    text = "".join(change(other, "changetype: modify", f"replace: {name}", f"{name}: {value}", "-") for name, value in refused)
    text += "".join(
        change(f"CN=New {n},OU=people,{samba.suffix}", "objectClass: user", f"sAMAccountName: new{n}", f"{name}: {value}")
        for n, (name, value) in enumerate(refused)
    )
    before = samba.values(other, "*")
    result = report(send(service, text))
    assert {r["code"] for r in result["rejects"]} == {"attribute_protected"} and result["rejected"] == 2 * len(refused), result
    assert samba.values(other, "*") == before
    # Other flags are written.
    result = report(send(service, change(other, "changetype: modify", "replace: userAccountControl", "userAccountControl: 514", "-")))
    assert result["modified"] == 1, result


# Guards


def test_more_deletions_than_the_guard_allows_delete_nothing(openldaps, writing, tmp_path):
    server = openldaps(more=people.crowd(20))
    service = writing(server, write={"max_deletes": 6})
    suffix = server.suffix

    def deletions(first, count):
        return "".join(change(f"uid=user{n},ou=people,{suffix}", "changetype: delete") for n in range(first, first + count))

    before = content(server)
    answer = send(service, person(1, suffix) + deletions(0, 7))
    assert (answer.status_code, answer.json()["code"]) == (403, "max_deletes")
    assert content(server) == before
    assert report(send(service, deletions(0, 4)))["deleted"] == 4
    answer = send(service, deletions(4, 3))
    assert (answer.status_code, answer.json()["code"]) == (429, "max_deletes")
    assert 3000 < int(answer.headers["retry-after"]) <= 3600
    # Those that were counted and not made do not count: they are gone already.
    assert report(send(service, deletions(0, 2)))["unchanged"] == 2
    # A restart does not reset it.
    assert service.end() == 0
    service.start()
    assert send(service, deletions(4, 3)).status_code == 429
    assert report(send(service, deletions(4, 2)))["deleted"] == 2
    assert send(service, deletions(6, 1)).status_code == 429
    # After an hour it is free again.
    state = tmp_path / "undo" / "max_deletes.state"
    state.write_text("".join(f"{int(line.split()[0]) - 3600} {line.split()[1]}\n" for line in state.read_text().splitlines()))
    assert report(send(service, deletions(6, 6)))["deleted"] == 6


def test_a_clock_that_was_set_back_holds_deletions_for_an_hour(openldap, writing, tmp_path):
    """Not for the years until its time comes again."""
    service = writing(openldap, write={"max_deletes": 1})
    state = tmp_path / "undo" / "max_deletes.state"
    state.write_text("4000000000 1\n")
    text = change(people.COLON.dn(openldap.suffix), "changetype: delete")
    answer = send(service, text)
    assert answer.status_code == 429 and 3590 < int(answer.headers["retry-after"]) <= 3600
    at, count = state.read_text().split()
    assert int(at) <= time.time() and count == "1"
    state.write_text(f"{int(at) - 3600} 1\n")
    assert report(send(service, text))["deleted"] == 1


def test_deletions_at_once_do_not_pass_the_guard(openldaps, writing):
    server = openldaps(more=people.crowd(40))
    one, two = writing(server, name="one", write={"max_deletes": 10}), writing(server, name="two", write={"max_deletes": 10})
    before = content(server)
    statuses = []

    def delete(service, n):
        statuses.append(send(service, change(f"uid=user{n},ou=people,{server.suffix}", "changetype: delete")).status_code)

    threads = [threading.Thread(target=delete, args=((one, two)[n % 2], n)) for n in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Some imports may be turned away for their number (503).
    assert statuses.count(200) <= 10 and set(statuses) <= {200, 429, 503}, statuses
    assert len(before) - len(content(server)) == statuses.count(200)


def test_without_the_setting_nothing_is_written(services, openldap):
    service = services(openldap, write=None)
    before = content(openldap)
    for dry_run in (False, True):
        answer = send(service, person(1, openldap.suffix), dry_run=dry_run)
        assert (answer.status_code, answer.json()["code"]) == (403, "writes_disabled")
    assert content(openldap) == before


# Undo


def test_an_import_is_undone(directory, writing):
    service = writing(directory)
    suffix = directory.suffix
    group = people.group_dn("engineering", suffix)
    text = (
        "".join(person(n, suffix) for n in range(50))
        + change(people.COLON.dn(suffix), "changetype: delete")
        + change(people.EVE.dn(suffix), "changetype: modrdn", "newrdn: uid=evelyn", "deleteoldrdn: 1")
        + change(group, "changetype: modify", "add: member", f"member: {people.ADA.dn(suffix)}", "-")
    )
    before = content(directory)
    result = report(send(service, text))
    assert numbers(result) == {"added": 50, "modified": 1, "renamed": 1, "deleted": 1, "unchanged": 0, "rejected": 0}
    file = undo_path(service, result)
    assert file.stat().st_mode & 0o777 == 0o600
    assert not list(file.parent.glob("*.journal")) and not list(file.parent.glob("*.lock"))
    undo(directory, file, service.folder)
    assert content(directory) == before


def test_a_killed_import_is_undone(openldap, writing, tmp_path):
    service = writing(openldap)
    suffix = openldap.suffix
    before = content(openldap)
    text = "".join(person(n, suffix) for n in range(6000))
    failed = []

    def run_it():
        try:
            send(service, text)
        except httpx.TransportError as error:
            failed.append(error)

    sender = threading.Thread(target=run_it)
    sender.start()
    wait_until(lambda: len(content(openldap, f"ou=people,{suffix}")) > 200, what="some of the import")
    service.process.kill()
    service.process.wait()
    sender.join()
    assert failed
    written = len(content(openldap)) - len(before)
    assert 0 < written < 6000
    assert list((tmp_path / "undo").rglob("*.journal"))
    service.start()
    # The first write makes an undo file of what the killed process left.
    result = report(send(service, person("after", suffix)))
    killed = list((tmp_path / "undo").rglob("*.killed"))
    assert len(killed) == 1 and not list((tmp_path / "undo").rglob("*.journal"))
    undo(openldap, undo_path(service, result), tmp_path)
    undo(openldap, killed[0], tmp_path)
    assert content(openldap) == before


def test_an_undo_that_is_killed_is_continued(openldap, writing, tmp_path):
    service = writing(openldap)
    suffix = openldap.suffix
    before = content(openldap)
    entries = len(content(openldap, f"ou=people,{suffix}"))
    text = "".join(person(n, suffix) for n in range(1500)) + change(people.COLON.dn(suffix), "changetype: delete")
    file = undo_path(service, report(send(service, text)))
    undo(openldap, file, tmp_path, "--dry-run")
    command = [TARGET_LDAP, "undo", file, "--config", tmp_path / "target.json"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(lambda: len(content(openldap, f"ou=people,{suffix}")) < entries + 1200, what="some of the undo")
    process.kill()
    assert process.wait() != 0
    assert content(openldap) != before
    undo(openldap, file, tmp_path)
    assert content(openldap) == before


def test_a_full_disk_for_undo_lets_nothing_be_written(openldap, writing, tmp_path):
    suffix = openldap.suffix
    with FullDisk(tmp_path / "small") as disk:
        service = writing(openldap, undo_dir=disk.folder)
        before = content(openldap)
        disk.fill()
        answer = send(service, person(1, suffix))
        assert (answer.status_code, answer.json()["code"]) == (507, "undo_unavailable"), answer.text
        assert content(openldap) == before
        # Room for a part: what has no journal is not written, and what is written can be undone.
        disk.free()
        answer = send(service, "".join(person(n, suffix) for n in range(400)))
        assert (answer.status_code, answer.json()["code"]) == (507, "undo_unavailable"), answer.text
        result = answer.json()["report"]
        written = len(content(openldap)) - len(before)
        assert not result["complete"] and 0 < written < 400 and result["added"] == written, result
        undo(openldap, disk.folder / result["undo_file"], tmp_path)
        assert content(openldap) == before
        assert service.end() == 0
        service.start()


def test_two_imports_at_once_do_not_disturb_each_other(openldap, writing, tmp_path):
    service = writing(openldap)
    suffix = openldap.suffix
    before = content(openldap)
    # Both about the same entries, with different values.
    texts = ["".join(person(n, suffix, title=title) for n in range(300)) for title in ("first", "second")]
    results = []
    senders = [threading.Thread(target=lambda t=text: results.append(report(send(service, t)))) for text in texts]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    assert len(results) == 2 and all(r["complete"] and r["rejected"] == 0 for r in results), results
    assert sum(r["added"] for r in results) == 300
    assert len({r["undo_file"] for r in results}) == 2
    titles = {values["title"][0] for values in content(openldap, f"ou=people,{suffix}").values() if "title" in values}
    assert titles <= {b"first", b"second"}
    # Both files are whole: together they take everything back, whatever the order of the writes was.
    for _ in range(2):
        for result in results:
            undo(openldap, undo_path(service, result), tmp_path, code=None)
    assert content(openldap) == before


def test_two_services_share_a_folder(openldap, writing, tmp_path):
    one, two = writing(openldap, name="one"), writing(openldap, name="two")
    before = content(openldap)
    results = []
    texts = [(s, "".join(person(f"{s.folder.name}{n}", openldap.suffix) for n in range(200))) for s in (one, two)]
    senders = [threading.Thread(target=lambda s=s, t=t: results.append(report(send(s, t)))) for s, t in texts]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    assert [r["added"] for r in results] == [200, 200]
    for result in results:
        undo(openldap, tmp_path / "undo" / result["undo_file"], tmp_path)
    assert content(openldap) == before


# Bounds


def test_an_upload_is_checked_before_anything_is_written(openldap, writing):
    service = writing(openldap, limits={"import_bytes": 20000})
    suffix = openldap.suffix
    before = content(openldap)
    for text, status, code in [
        ("".join(person(n, suffix) for n in range(400)), 413, "too_large"),
        ("", 400, "invalid_value"),
        (person(1, suffix).rstrip("\n"), 400, "invalid_value"),
        (person(1, suffix).encode("utf-16"), 400, "invalid_value"),
    ]:
        answer = send(service, text)
        assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    headers = {"Content-Type": "application/json"}
    assert service.request("POST", IMPORT, headers=headers, content=b"{}").status_code == 415
    # A body that breaks off.
    import socket

    with socket.create_connection(("127.0.0.1", service.port)) as connection:
        head = f"POST {IMPORT} HTTP/1.1\r\nHost: x\r\nAuthorization: {service_headers()['Authorization']}\r\nContent-Length: 5000\r\n\r\n"
        connection.sendall(head.encode() + person(1, suffix).encode())
        connection.shutdown(socket.SHUT_WR)
        connection.recv(1000)
    time.sleep(0.2)
    assert content(openldap) == before


@pytest.mark.long
def test_fifty_thousand_entries_in_bounded_memory(openldap, writing):
    service = writing(openldap)
    suffix = openldap.suffix
    text = "".join(person(n, suffix, description="x" * 400) for n in range(50_000))
    before = service.rss()
    began = time.monotonic()
    answer = send(service, text)
    took = time.monotonic() - began
    result = report(answer)
    growth = service.rss() - before
    assert result["complete"] and result["added"] == 50_000, result
    print(f"import: {took:.1f} s, {growth} KiB more")
    assert growth < 120_000
    began = time.monotonic()
    text = "".join(person(n, suffix, description="y" * 400) for n in range(50_000))
    planned = send(service, text, dry_run=True)
    assert planned.text.endswith("# end: 0 to add, 50000 to modify, 0 to rename, 0 to delete, 0 unchanged, 0 refused\n")
    print(f"plan: {time.monotonic() - began:.1f} s, {service.rss() - before} KiB more")
