"""Attributes that the service's own user may not read: they look like ones that are not there, and nothing may be concluded from that."""

import people
import pytest
from service import forward
from test_configuration import about

from test_scim import GROUP, PATCH, USER, start

SERVICE = f'by dn.exact="{people.service_dn()}"'
NIS = "/etc/ldap/schema/nis.schema"
LOCKED = "000001010000Z"


def rights(attribute, right):
    return f"access to attrs={attribute} {SERVICE} {right} by * read\n"


def misconfigured(answer, attribute):
    assert answer.status_code == 500, answer.text
    assert (answer.json().get("code") or "misconfigured") == "misconfigured"
    assert attribute.lower() in answer.json()["detail"].lower(), answer.text


def request(scim, method, path, body=None):
    headers = {"Content-Type": "application/scim+json"}
    return scim.service.request(method, "/scim/v2" + path, json=body, headers=headers) if body else scim.service.request(method, "/scim/v2" + path)


def patch(*operations):
    return {"schemas": [PATCH], "Operations": list(operations)}


def told(service, attribute):
    """ready, --test and doctor say so."""
    assert service.client.get("/health/ready").status_code == 503
    code, report, _ = about(service, "--test")
    assert code == 2 and [c for c in report["checks"] if not c["ok"] and attribute.lower() in c["detail"].lower()], report
    code, report, _ = about(service, "doctor", "--format", "json")
    assert code == 1 and [c for c in report["checks"] if c["result"] == "failed" and attribute.lower() in c["detail"].lower()], report
    answer = service.request("GET", "/api/v1/health")
    assert answer.status_code == 503 and attribute.lower() in answer.text.lower()


def hide(ds389, attribute):
    """Takes the right to read and search an attribute from the service's user."""
    user = f'userdn="ldap:///{people.service_dn(ds389.suffix)}"'
    aci = f'(targetattr="{attribute}")(version 3.0; acl "hidden"; deny(read,search,compare) {user};)'
    ds389.modify(f"dn: {ds389.suffix}\nchangetype: modify\nadd: aci\naci: {aci}\n")


def uuid(directory, dn):
    return directory.values(dn, "entryUUID")["entryUUID"][0].decode()


def test_marks_of_disabled_accounts(services, openldaps):
    directory = openldaps(access=rights("pwdAccountLockedTime", "none"))
    scim = start(services, directory, ready=False)
    told(scim.service, "pwdAccountLockedTime")
    misconfigured(scim.service.login("ada", people.ADA.password), "pwdAccountLockedTime")
    ada = uuid(directory, people.ADA.dn())
    directory.modify(f"dn: {people.ADA.dn()}\nchangetype: modify\nreplace: pwdAccountLockedTime\npwdAccountLockedTime: {LOCKED}\n")
    for method, path, body in [
        ("GET", f"/Users/{ada}", None),
        ("GET", "/Users", None),
        ("GET", "/Users?filter=active+eq+true", None),
        ("PATCH", f"/Users/{ada}", patch({"op": "replace", "path": "active", "value": True})),
        ("PUT", f"/Users/{ada}", {"schemas": [USER], "userName": "ada", "active": True, "name": {"familyName": "L", "formatted": "A"}}),
    ]:
        misconfigured(request(scim, method, path, body), "pwdAccountLockedTime")
    # What does not depend on it.
    assert scim("GET", f"/Users/{ada}", attributes="userName")["userName"] == "ada"


def test_a_session_of_an_account_whose_mark_cannot_be_read_any_more(services, ds389):
    service = services(ds389)
    service.form_login("ada", people.ADA.password)
    assert forward(service).status_code == 200
    hide(ds389, "nsAccountLock")
    assert forward(service).status_code == 500


@pytest.mark.parametrize("right", ["none", "=ws", "=wsc"])
@pytest.mark.parametrize("attribute", ["member", "uniqueMember", "memberUid"])
def test_members(services, openldaps, right, attribute):
    directory = openldaps(access=rights(attribute, right), schemas=[NIS])
    classes = {"member": "groupOfNames", "uniqueMember": "groupOfUniqueNames", "memberUid": "posixGroup"}[attribute]
    name = people.group_dn("g")
    ada = people.ADA.dn()
    more = {"gidNumber": "1"} if attribute == "memberUid" else {}
    directory.add(people.entry(name, objectClass=classes, cn="g", **more, **{attribute: "ada" if attribute == "memberUid" else ada}))
    groups = {"base_dn": f"ou=groups,{people.SUFFIX}", "filter": f"(objectClass={classes})"}
    scim = start(services, directory, ready=False, groups=groups, roles=[{"role": "g", "groups": [name]}])
    told(scim.service, attribute)
    group, ada = uuid(directory, name), uuid(directory, people.ADA.dn())
    requests = [
        ("GET", f"/Groups/{group}", None),
        ("GET", "/Groups", None),
        ("PATCH", f"/Groups/{group}", patch({"op": "replace", "path": "members", "value": []})),
        ("PUT", f"/Groups/{group}", {"schemas": [GROUP], "displayName": "g", "members": []}),
    ]
    if right == "none":
        requests += [
            ("GET", f"/Groups?filter=members.value+eq+%22{ada}%22", None),
            ("GET", f"/Users/{ada}", None),
            ("PATCH", f"/Groups/{group}", patch({"op": "remove", "path": f'members[value eq "{ada}"]'})),
        ]
        misconfigured(scim.service.login("ada", people.ADA.password), attribute)
    else:
        # Who is a member can be found out.
        assert scim.service.login("ada", people.ADA.password).json()["user"]["roles"] == ["g"]
    for method, path, body in requests:
        misconfigured(request(scim, method, path, body), attribute)
    assert len(directory.values(name, attribute)[attribute]) == 1


def test_members_that_can_be_changed_and_not_be_read(services, openldaps):
    """The change is told without the members; who asks for them is told before anything is changed."""
    directory = openldaps(access=rights("member", "=ws"))
    name, (ada, bob) = people.group_dn("g"), (people.ADA.dn(), people.BOB.dn())
    directory.add(people.entry(name, objectClass="groupOfNames", cn="g", member=[ada, bob]))
    scim = start(services, directory, ready=False, groups={"base_dn": f"ou=groups,{people.SUFFIX}", "filter": "(cn=g)"})
    path = f"/Groups/{uuid(directory, name)}"
    change = patch({"op": "remove", "path": f'members[value eq "{uuid(directory, bob)}"]'})
    misconfigured(request(scim, "PATCH", path + "?attributes=members", change), "member")
    assert len(directory.values(name, "member")["member"]) == 2
    answer = request(scim, "PATCH", path, change)
    assert (answer.status_code, answer.content) == (204, b"")
    assert [value.decode().lower() for value in directory.values(name, "member")["member"]] == [ada.lower()]


def test_a_new_entry_that_the_answer_cannot_show_is_taken_back(services, openldaps):
    directory = openldaps(access=rights("givenName", "=w"))
    scim = start(services, directory, ready=False)
    for _ in range(2):
        misconfigured(request(scim, "POST", "/Users", {"schemas": [USER], "userName": "neu", "name": {"familyName": "N"}}), "givenName")
        found = directory.client("ldapsearch", "-LLL", "-b", people.SUFFIX, "(uid=neu)", "1.1", stdout=-1).stdout
        assert not found.strip(), found


@pytest.mark.parametrize("right", ["none", "=ws"])
def test_mapped_attributes(services, openldaps, right):
    directory = openldaps(access=rights("mail", right))
    scim = start(services, directory, ready=False)
    told(scim.service, "mail")
    ada = uuid(directory, people.ADA.dn())
    for method, path, body in [
        ("GET", f"/Users/{ada}", None),
        ("GET", "/Users?count=3", None),
        ("PATCH", f"/Users/{ada}", patch({"op": "remove", "path": "emails"})),
    ]:
        misconfigured(request(scim, method, path, body), "mail")
    if right == "none":
        misconfigured(request(scim, "GET", "/Users?filter=emails.value+eq+%22a%22"), "mail")
    assert directory.values(people.ADA.dn(), "mail") == {"mail": [people.ADA.mail.encode()]}
    # Who does not map it does not need it.
    other = start(services, directory, name="other", users={"base_dn": f"ou=people,{people.SUFFIX}", "scim": {"emails[work]": "none"}})
    assert other("GET", f"/Users/{ada}")["userName"] == "ada"


@pytest.mark.parametrize("attribute", ["nsAccountLock", "member", "mail"])
def test_389_directory_server(services, ds389, attribute):
    hide(ds389, attribute)
    scim = start(services, ds389, ready=False)
    told(scim.service, attribute)
    misconfigured(request(scim, "GET", "/Groups" if attribute == "member" else "/Users"), attribute)
    if attribute != "mail":
        misconfigured(scim.service.login("ada", people.ADA.password), attribute)


def test_attributes_of_the_filters_and_login_names(services, openldaps):
    """What may not be searched fits nobody: neither an empty list nor 401."""
    directory = openldaps(access=rights("employeeType", "none") + rights("businessCategory", "none") + rights("mobile", "none"))
    base = f"ou=people,{people.SUFFIX}"
    more = {"employeeType": "x", "mobile": "17"}
    text = "".join(f"dn: {p.dn()}\nchangetype: modify\nadd: {name}\n{name}: {value}\n\n" for p in (people.ADA, people.EVE) for name, value in more.items())
    directory.modify(text)
    users = {"base_dn": base, "scim": {"userType": "none", "phoneNumbers[mobile]": "none"}}
    scim = start(services, directory, ready=False, users={**users, "filter": "(&(objectClass=person)(employeeType=x))"})
    told(scim.service, "employeeType")
    for answer in (
        scim.service.login("ada", people.ADA.password),
        request(scim, "GET", "/Users"),
        request(scim, "GET", f"/Users/{uuid(directory, people.ADA.dn())}"),
    ):
        misconfigured(answer, "employeeType")
    by_number = start(services, directory, name="number", ready=False, users={**users, "login_attributes": ["mobile"]})
    misconfigured(by_number.service.login("17", people.ADA.password), "mobile")
    told(by_number.service, "mobile")
    groups = {"base_dn": f"ou=groups,{people.SUFFIX}", "filter": "(businessCategory=x)"}
    of_groups = start(services, directory, name="groups", ready=False, users=users, groups=groups)
    told(of_groups.service, "businessCategory")
    misconfigured(request(of_groups, "GET", "/Groups"), "businessCategory")


@pytest.mark.parametrize("right", ["none", "=w", "=s"])
def test_exports_and_searches_name_what_may_not_be_read(services, openldaps, right):
    service = services(openldaps(access=rights("mail", right)), ready=None)
    export = service.request("GET", "/api/v1/ldap/export", "ldif.read")
    assert export.status_code == 200 and "\nmail:" not in export.text
    lines = [line for line in export.text.splitlines() if line.startswith("# left out: mail of ") and line.endswith(" entries (may not be read)")]
    assert len(lines) == 1 and "entryUUID" not in export.text, export.text[-600:]
    for attributes in (["uid", "mail"], ["*"]):
        answer = service.request("POST", "/api/v1/ldap/users/search", json={"attributes": attributes})
        assert answer.status_code == 200, answer.text
        warnings = [w for w in answer.json()["warnings"] if w["code"] == "unreadable_attribute"]
        assert [w["about"] for w in warnings] == ["mail"] and warnings[0]["count"] >= 1, answer.text
        assert "entryUUID" not in answer.text
