"""LDIF over HTTP: export whole or aborted, import with plan, rejects, guards and undo, on slapd and 389 Directory Server."""

import base64
import re
import socket
import time

import httpx
import people
import pytest
from conftest import LONG
from service import bearer
from test_configuration import about
from writing import IMPORT, change, content, empty, numbers, person, report, send, undo, undo_path

EXPORT = "/api/v1/ldap/export"


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
    assert not any(one.password in answer.text for one in people.PEOPLE)


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
        with httpx.stream("GET", service.url + EXPORT, headers=bearer("all"), timeout=60, trust_env=False) as answer:
            assert answer.status_code == 200
            for piece in answer.iter_raw():
                received += piece
                if server.process.poll() is None:
                    server.kill()
    assert b"# end:" not in received and len(received) > 1000
    # What arrived is not taken in again.
    server.start_again()
    service.wait()
    assert send(service, received).json()["code"] == "incomplete"


def test_an_export_with_another_number_of_entries_is_not_taken_in(openldap, writing):
    service = writing(openldap)
    text = service.request("GET", EXPORT).text
    entries = text.split("\n\n")
    end = next(line for line in text.splitlines() if line.startswith("# end: "))
    before = content(openldap)
    for cut in ("\n\n".join(entries[:2] + entries[3:]), text.replace(end, "# end: 120 entries")):
        for dry_run in (True, False):
            answer = send(service, cut, dry_run=dry_run)
            assert answer.status_code == 400 and answer.json()["code"] == "invalid_value", answer.text
    assert content(openldap) == before
    assert send(service, text).status_code == 200


def test_a_slow_client_costs_no_memory_and_stops_nobody(openldaps, writing):
    server = openldaps(more=big(people.SUFFIX, 6000, 9000))
    service = writing(server)
    total = 0
    with httpx.stream("GET", service.url + EXPORT, headers=bearer("all"), timeout=60, trust_env=False) as answer:
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
    # Groups outside the bases: no record of the file gives the names in them to the entries that come back.
    for name in ("auditor", "operator"):
        directory.modify(change(people.group_dn(name, directory.suffix, "roles"), "changetype: delete"))
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
        (people.entry(people.EVE.dn(suffix), objectClass="inetOrgPerson", uid="eve", cn="E", sn="E", **{"description;range=0-1": "x"}), ("invalid_value", "description;range=0-1")),
        (change(people.EVE.dn(suffix), "changetype: modify", "replace: description;lang-=x", "description;lang-=x: a", "-"), ("invalid_value", "description;lang-=x")),
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
    openldap.add(text)
    text = people.entry(own, objectClass="inetOrgPerson", uid="own", cn="o", sn="o", userPassword="Pw-own-7Qz!")
    openldap.add(text)
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

    def start(bind_dn, name="service", **more):
        settings = {
            "users": {"base_dn": f"OU=people,{samba.suffix}", "filter": "(objectClass=user)", "login_attributes": ["sAMAccountName"]},
            "groups": {"base_dn": f"OU=groups,{samba.suffix}", "filter": "(objectClass=group)"},
        }
        service = services(
            samba, name=name, server_url=samba.tls_url, tls_ca_file=samba.ca, bind_dn=bind_dn, bind_password=PASSWORD_OF_OWN, roles=None,
            write={"mapping_rules": {}, "undo_dir": str(tmp_path / f"{name}-undo")}, **{**settings, **more},
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


# Bounds


def test_another_naming_context_is_out_of_scope_on_active_directory(domain):
    """CN=Configuration ends as the domain does, and holds what counts for the whole forest."""
    samba, start = domain
    base = {"base_dn": samba.suffix}
    service = start(samba.own, users=base, groups=base)
    directory_service = f"CN=Directory Service,CN=Windows NT,CN=Services,CN=Configuration,{samba.suffix}"
    text = change(directory_service, "changetype: modify", "replace: description", "description: x", "-")
    text += change(f"CN=x,CN=Configuration,{samba.suffix}", "changetype: add", "objectClass: container")
    for dry_run in (True, False):
        rejects = report(send(service, text, dry_run=dry_run, accept="application/json"))["rejects"]
        assert [r["code"] for r in rejects] == ["out_of_scope"] * 2, rejects
    weak = change(f"CN=weak,CN=Password Settings Container,CN=System,{samba.suffix}", "changetype: add", "objectClass: msDS-PasswordSettings", "msDS-PasswordSettingsPrecedence: 1")
    assert [r["code"] for r in report(send(service, weak))["rejects"]] == ["attribute_protected"]
    # Computers are persons there: the default filter leaves them out.
    findings = [c for c in about(service, "doctor", "--format", "json")[1]["checks"] if c["name"] == "users"]
    assert [c["result"] for c in findings] == ["ok"], findings


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
    with socket.create_connection(("127.0.0.1", service.port)) as connection:
        head = f"POST {IMPORT} HTTP/1.1\r\nHost: x\r\nAuthorization: {bearer('all')['Authorization']}\r\nContent-Length: 5000\r\n\r\n"
        connection.sendall(head.encode() + person(1, suffix).encode())
        connection.shutdown(socket.SHUT_WR)
        connection.recv(1000)
    time.sleep(0.2)
    assert content(openldap) == before


@pytest.mark.long
def test_many_entries_in_bounded_memory(openldap, writing):
    """50,000 entries (SERVICE_LONG=1; else 12,000)."""
    count = 50_000 if LONG else 12_000
    service = writing(openldap)
    suffix = openldap.suffix
    text = "".join(person(n, suffix, description="x" * 400) for n in range(count))
    before = service.rss()
    began = time.monotonic()
    answer = send(service, text)
    took = time.monotonic() - began
    result = report(answer)
    growth = service.rss() - before
    assert result["complete"] and result["added"] == count, result
    print(f"import: {took:.1f} s, {growth} KiB more")
    assert growth < 120_000
    began = time.monotonic()
    text = "".join(person(n, suffix, description="y" * 400) for n in range(count))
    planned = send(service, text, dry_run=True)
    assert planned.text.endswith(f"# end: 0 to add, {count} to modify, 0 to rename, 0 to delete, 0 unchanged, 0 refused\n")
    print(f"plan: {time.monotonic() - began:.1f} s, {service.rss() - before} KiB more")


# Connections


def test_an_import_sends_all_its_changes_over_one_connection(openldap, relay, writing):
    """`target-ldap` may use several; a service that opened some for each request would take a directory's all."""
    service = writing(openldap, server_url=relay.url)
    relay.delay = 0.005
    result = report(send(service, "".join(person(n, openldap.suffix) for n in range(80))))
    assert result["added"] == 80
    changes = {0x66, 0x68, 0x4A, 0x6C}
    assert len({number for number, tag, _ in relay.requests if tag in changes}) == 1
