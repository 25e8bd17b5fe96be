"""Imports of what is there already: a value that is not written for a caller is refused if it changes, and unchanged if it does not."""

import people
import pytest
from people import entry
from test_refused_imports import started
from writing import USER, change, numbers, ok, report, scim, send


def export(service):
    answer = service.request("GET", "/api/v1/ldap/export")
    assert answer.status_code == 200, answer.text
    return answer.text


def codes(result):
    return [reject["code"] for reject in result["rejects"]]


def user_dn(samba, name):
    return f"CN={name},OU=people,{samba.suffix}"


@pytest.fixture
def domain(samba, writing):
    """A Samba with a service whose bases are the whole domain."""
    for unit in ("people", "groups"):
        samba.modify(f"dn: OU={unit},{samba.suffix}\nchangetype: add\nobjectClass: organizationalUnit\n")
    service = started(samba, writing)
    service.secrets.add(samba.admin_password)
    body = {"schemas": [USER], "userName": "vera", "name": {"formatted": "vera", "familyName": "vera"}}
    ok(scim(service, "POST", "/Users", body), 201)
    return samba, service


def test_active_directory_takes_its_own_export(domain):
    samba, service = domain
    vera = user_dn(samba, "vera")
    before = samba.values(vera, "*")
    flags = before["userAccountControl"][0].decode()
    assert int(flags) & 0x20, "without a password"
    text = export(service)
    assert "userAccountControl" in text and "objectCategory" in text
    for dry_run in (True, False):
        result = report(send(service, text, dry_run=dry_run, accept="application/json"))
        assert numbers(result)["rejected"] == 0 and numbers(result)["unchanged"] > 2, result
    same = change(vera, "changetype: modify", "replace: userAccountControl", f"userAccountControl: {flags}", "-")
    assert numbers(report(send(service, same)))["unchanged"] == 1
    also = change(vera, "changetype: modify", "replace: userAccountControl", f"userAccountControl: {flags}", "-", "replace: title", "title: x", "-")
    assert numbers(report(send(service, also)))["modified"] == 1
    for other in ("640", "2097664", "4096", "524800", str(int(flags) | 0x80000)):
        for record in (change(vera, "changetype: modify", "replace: userAccountControl", f"userAccountControl: {other}", "-"),
                       entry(vera, objectClass="user", sAMAccountName="vera", sn="vera", userAccountControl=other)):
            assert codes(report(send(service, record))) == ["attribute_protected"], (other, record)
    new = entry(user_dn(samba, "new"), objectClass="user", sAMAccountName="new", sn="new", userAccountControl=flags)
    assert codes(report(send(service, new))) == ["attribute_protected"]
    changing = {"whenChanged", "uSNChanged", "dSCorePropagationData", "title"}
    after = samba.values(vera, "*")
    assert {n: v for n, v in after.items() if n not in changing} == {n: v for n, v in before.items() if n not in changing}


def test_active_directory_takes_its_own_accounts_as_they_are(samba, writing):
    samba.modify(f"dn: OU=groups,{samba.suffix}\nchangetype: add\nobjectClass: organizationalUnit\n")
    service = started(samba, writing, users={"base_dn": f"CN=Users,{samba.suffix}"})
    service.secrets.add(samba.admin_password)
    text = export(service)
    assert "Administrator" in text
    result = report(send(service, text))
    assert numbers(result)["rejected"] == 0, result["rejects"]
    guest = next(block for block in text.split("\n\n") if "dn: CN=Guest," in block)
    assert codes(report(send(service, guest + "\ntitle: x\n"))) == ["protected"]


def test_active_directory_keeps_people_out_of_the_domain_controllers_and_in_their_category(samba, writing):
    samba.modify(f"dn: OU=people,{samba.suffix}\nchangetype: add\nobjectClass: organizationalUnit\n")
    samba.modify(f"dn: {user_dn(samba, 'vera')}\nchangetype: add\nobjectClass: user\nsAMAccountName: vera\n")
    whole = {"base_dn": samba.suffix}
    service = writing(samba, bind_dn=samba.admin, bind_password=samba.admin_password, server_url=samba.tls_url, tls_ca_file=samba.ca,
                      users=whole, groups=whole, roles=[])
    service.secrets.add(samba.admin_password)
    vera, controllers = user_dn(samba, "vera"), f"OU=Domain Controllers,{samba.suffix}"
    moved = change(vera, "changetype: moddn", "newrdn: CN=vera", "deleteoldrdn: 0", f"newsuperior: {controllers}")
    added = entry(f"CN=eve,{controllers}", objectClass="user", sAMAccountName="eve")
    for record in (moved, added):
        assert codes(report(send(service, record))) == ["protected"], record
    category = f"CN=Computer,CN=Schema,CN=Configuration,{samba.suffix}"
    other = change(vera, "changetype: modify", "replace: objectCategory", f"objectCategory: {category}", "-")
    assert codes(report(send(service, other))) == ["attribute_protected"]
    content = entry(vera, objectClass="user", sAMAccountName="vera", objectCategory=category)
    result = report(send(service, content))
    assert result["modified"] == 0, result
    assert samba.values(vera, "objectCategory")["objectCategory"][0].lower().startswith(b"cn=person,")


def test_a_definition_is_unchanged_or_refused(openldap, writing):
    service = writing(openldap)
    link = f"cn=link,ou=people,{openldap.suffix}"
    entry_of = lambda **more: entry(link, objectClass=["alias", "extensibleObject"], cn="link", aliasedObjectName=people.ADA.dn(), **more)  # noqa: E731
    assert codes(report(send(service, entry_of()))) == ["attribute_protected"]
    openldap.add(entry_of())
    result = report(send(service, entry_of()))
    assert (numbers(result)["unchanged"], numbers(result)["rejected"]) == (1, 0), result
    assert codes(report(send(service, entry_of(description="x")))) == ["attribute_protected"]
    assert openldap.values(link, "description") == {}


def test_definitions_by_which_others_get_rights_on_machines_are_not_imported(ds389, writing):
    service = writing(ds389)
    above = f"ou=people,{ds389.suffix}"
    for record in (
        entry(f"cn=all,{above}", objectClass="sudoRole", cn="all", sudoUser="ALL", sudoHost="ALL", sudoCommand="ALL"),
        entry(f"cn=net,{above}", objectClass="nisNetgroup", cn="net", nisNetgroupTriple="(,ada,)"),
        entry(f"cn=map,{above}", objectClass="automountMap", automountMapName="map", cn="map"),
    ):
        result = report(send(service, record))
        assert codes(result) == ["attribute_protected"], (record, result)
