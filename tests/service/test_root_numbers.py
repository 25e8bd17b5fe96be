"""`uidNumber: 0` and `gidNumber: 0`: root on each machine that takes its users and groups from the directory. No client writes them."""

import people
import pytest
from writing import change, content, numbers, ok, patch, report, scim, send, user

ROOT = ("0", "00", "-0", "4294967296", "4294967295")


def posix(name, number, **more):
    attributes = {"objectClass": ["inetOrgPerson", "posixAccount"], "uid": name, "cn": name, "sn": name, "uidNumber": number,
                  "gidNumber": "1500", "homeDirectory": f"/home/{name}", **more}
    return people.entry(dn(name), **attributes)


def dn(name):
    return f"uid={name},ou=people,{people.SUFFIX}"


def group(name, number, *members):
    attributes = {"objectClass": "posixGroup", "cn": name, "gidNumber": number, **({"memberUid": list(members)} if members else {})}
    return people.entry(f"cn={name},ou=groups,{people.SUFFIX}", **attributes)


@pytest.fixture
def openldap(openldaps):
    return openldaps(schemas=["/etc/ldap/schema/nis.schema"])


@pytest.fixture
def service(openldap, writing):
    openldap.add(posix("u1", "1501") + posix("u0", "0") + group("g0", "0"))
    groups = {"base_dn": f"ou=groups,{people.SUFFIX}", "filter": "(|(objectClass=groupOfNames)(objectClass=posixGroup))"}
    users = {"base_dn": f"ou=people,{people.SUFFIX}", "filter": "(objectClass=person)", "scim": {"employeeNumber": "uidNumber"}}
    return writing(openldap, users=users, groups=groups)


@pytest.mark.parametrize("number", ROOT)
def test_an_import_writes_no_number_of_root(openldap, service, number):
    before = content(openldap)
    text = posix("new", number) + posix("new2", "1600", gidNumber=number) + group("newgroup", number, "eve")
    text += posix("u1", number)
    result = report(send(service, "version: 1\n\n" + text))
    assert numbers(result)["rejected"] == 4 and content(openldap) == before, result
    for name in ("uidNumber", "GIDNUMBER", "1.3.6.1.1.1.1.0", "uidNumber;x-a"):
        for kind in ("replace", "add"):
            text = change(dn("u1"), "changetype: modify", f"{kind}: {name}", f"{name}: {number}", "-")
            result = report(send(service, text))
            assert numbers(result)["rejected"] == 1, (name, result)
            (rejected,) = result["rejects"]
            assert rejected["code"] == "attribute_protected", result
    result = report(send(service, change(dn("u1"), "changetype: modify", "increment: uidNumber", "uidNumber: -1501", "-")))
    assert numbers(result)["rejected"] == 1
    assert content(openldap) == before


def test_what_is_there_and_other_numbers_are_written(openldap, service):
    # As an export has them: root stays what it was.
    result = report(send(service, "version: 1\n\n" + posix("u0", "0") + group("g0", "0") + posix("u1", "1501")))
    assert numbers(result)["unchanged"] == 3, result
    result = report(send(service, change(dn("u1"), "changetype: modify", "replace: uidNumber", "uidNumber: 1700", "-")))
    assert numbers(result)["modified"] == 1, result
    result = report(send(service, change(dn("u0"), "changetype: modify", "replace: uidNumber", "uidNumber: 1701", "-")))
    assert numbers(result)["modified"] == 1, result


def test_scim_writes_no_number_of_root(openldap, service):
    path, before = f"/Users/{user(service, 'u1')}", content(openldap)
    enterprise = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
    for value in ("0", "4294967296"):
        operation = {"op": "replace", "path": f"{enterprise}:employeeNumber", "value": value}
        answer = patch(service, path, operation, status=400)
        assert (answer.json()["scimType"], content(openldap)) == ("mutability", before), answer.text
        whole = ok(scim(service, "GET", path)).json()
        whole.setdefault(enterprise, {})["employeeNumber"] = value
        assert scim(service, "PUT", path, whole).status_code == 400 and content(openldap) == before
    operation = {"op": "replace", "path": f"{enterprise}:employeeNumber", "value": "1999"}
    patch(service, path, operation)
    assert openldap.values(dn("u1"), "uidNumber")["uidNumber"] == [b"1999"]
