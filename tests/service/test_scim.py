"""SCIM 2.0 over slapd, and its reading half over 389 Directory Server and Samba."""

import itertools
import threading
import urllib.parse

import people
import pytest
from writing import GROUP, PATCH, USER

ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
SEARCH = "urn:ietf:params:scim:api:messages:2.0:SearchRequest"
ERROR = "urn:ietf:params:scim:api:messages:2.0:Error"
MEDIA = "application/scim+json"
DOMAIN = people.ADA.mail.partition("@")[2]


def start(services, directory, **settings):
    """A service that writes, with an externalId."""
    suffix = directory.suffix
    usual = {
        "users": {"base_dn": f"ou=people,{suffix}", "scim": {"externalId": "carLicense"}},
        "groups": {"base_dn": f"ou=groups,{suffix}", "filter": "(objectClass=groupOfNames)", "scim": {"externalId": "businessCategory"}},
        "write": {"mapping_rules": {}, "max_deletes": 10, "undo_dir": "undo"},
    }
    return Scim(services(directory, **{**usual, **settings}))


class Scim:
    """Requests to /scim/v2 with what every answer must have checked."""

    def __init__(self, service):
        self.service = service

    def __call__(self, method, path, body=None, status=200, headers=None, caller="all", **parameters):
        if parameters:
            path += "?" + urllib.parse.urlencode(parameters)
        sent = {"headers": headers or {}}
        if body is not None:
            sent |= {"json": body, "headers": {"Content-Type": MEDIA, **sent["headers"]}}
        answer = self.service.request(method, "/scim/v2" + path, caller=caller, **sent)
        assert answer.status_code == status, (method, path, answer.status_code, answer.text[:2000])
        if answer.content:
            assert answer.headers["content-type"] == MEDIA
            found = answer.json()
            if status >= 400:
                assert found["schemas"] == [ERROR] and found["status"] == str(status)
            if "meta" in found and "version" in found["meta"]:
                assert answer.headers["etag"] == found["meta"]["version"]
            return found
        return None

    def patch(self, path, *operations, status=200, **options):
        return self("PATCH", path, {"schemas": [PATCH], "Operations": list(operations)}, status=status, **options)

    def fault(self, *arguments, status=400, **options):
        """The scimType of a request that is refused."""
        return self(*arguments, status=status, **options).get("scimType")

    def user(self, name):
        """The id of a user."""
        found = self("GET", "/Users", filter=f'userName eq "{name}"')["Resources"]
        assert len(found) == 1, name
        return found[0]["id"]

    def group(self, name):
        found = self("GET", "/Groups", filter=f'displayName eq "{name}"', excludedAttributes="members")["Resources"]
        assert len(found) == 1, name
        return found[0]["id"]

    def names(self, filter, endpoint="/Users", attribute="userName"):
        """The names that a filter finds."""
        return {r[attribute] for r in self("GET", endpoint, filter=filter, count=1000)["Resources"]}

    def new_user(self, name, **more):
        body = {"schemas": [USER], "userName": name, "name": {"givenName": "New", "familyName": name}, **more}
        return self("POST", "/Users", body, status=201)


@pytest.fixture
def scim(services, openldap):
    return start(services, openldap)


def member_count(directory, name):
    return len(directory.values(people.group_dn(name), "member").get("member", []))


# Reading


def check_reading(scim, directory, has_active):
    """What every kind of server must do."""
    ada = scim("GET", "/Users", filter='userName eq "ADA"')["Resources"][0]
    assert ada["userName"] == "ada"
    assert scim("GET", f"/Users/{ada['id']}") == ada
    assert ada["name"]["familyName"] == "Lovelace"
    assert ada["emails"] == [{"value": people.ADA.mail, "type": "work"}]
    assert ada.get("active") is (True if has_active else None)
    assert {g["display"] for g in ada["groups"]} == {"admins", "staff", "loop-a"}
    assert ada["meta"]["resourceType"] == "User" and ada["meta"]["location"].endswith(f"/scim/v2/Users/{ada['id']}")
    assert ada["meta"]["version"].startswith('W/"')
    assert "password" not in ada and people.ADA.password not in str(ada)
    # Trap 3: members by DN, however it is spelled.
    ids = {p.uid: scim.user(p.uid) for p in people.HARD}
    engineering = scim("GET", f"/Groups/{scim.group('engineering')}", attributes="displayName,members,members.display")
    assert {m["value"] for m in engineering["members"]} == set(ids.values())
    admins = scim("GET", f"/Groups/{scim.group('admins')}")
    assert {m["value"] for m in admins["members"]} == {ada["id"], ids["jane"], ids["bob"]}
    staff = scim("GET", f"/Groups/{scim.group('staff')}")
    assert {m["type"] for m in staff["members"]} == {"User", "Group"}
    assert scim.names(f'members.value eq "{ids["jane"]}"', "/Groups", "displayName") == {"admins", "engineering"}
    assert scim.names(f'members[value eq "{ids["jane"]}"]', "/Groups", "displayName") == {"admins", "engineering"}
    everybody = {p.uid for p in people.PEOPLE}
    for filter, expected in [
        ("id pr", everybody),
        (f'emails.value co "@{DOMAIN.upper()}"', everybody),
        ('emails[type eq "work" and value sw "ada@"]', {"ada"}),
        ('emails.type eq "home"', set()),
        ('not (userName eq "ada")', everybody - {"ada"}),
        ('userName ne "ada"', everybody - {"ada"}),
        ('name.familyName eq "lovelace" or userName eq "bob"', {"ada", "bob"}),
        ('displayName eq "Back\\\\slash *"', {"slash"}),
        ('displayName co "*"', {"slash"}),
        ('displayName co ")("', set()),
        ('displayName eq "Émile Zoë 東京"', {"emile"}),
        (f'id eq "{ada["id"]}"', {"ada"}),
        (f'id eq "{ids["bob"].upper()}"', {"bob"} if "-" in ids["bob"] else None),
        ('id eq "no id at all"', set()),
        ('meta.created gt "2020-01-01T00:00:00Z"', everybody),
        ('meta.lastModified lt "2020-01-01T00:00:00Z"', set()),
        ('meta.resourceType eq "User"', everybody),
        ("title pr", set()),
        (f'{ENTERPRISE}:employeeNumber eq "17"', {"plus"}),
    ]:
        if expected is not None:
            assert scim.names(filter) == expected, filter
    if has_active:
        assert scim.names("active eq true") == everybody
    for filter in ["userName", 'userName xx "a"', 'nickName eq "x"', "password pr", 'emails[value co "a" and value co "b"]', 'userName eq 5']:
        assert scim.fault("GET", "/Users", filter=filter) == "invalidFilter", filter
    scim("GET", "/Users/no-such-id", status=404)
    check_pages(scim, everybody)


def check_pages(scim, everybody):
    """By index and by cursor: each exactly once, totals exact."""
    found = []
    for start_index in itertools.count(1, 2):
        page = scim("GET", "/Users", startIndex=start_index, count=2, attributes="userName")
        assert page["totalResults"] == len(everybody) and page["startIndex"] == start_index
        found += [r["userName"] for r in page["Resources"]]
        if len(page["Resources"]) < 2:
            break
    assert sorted(found) == sorted(everybody)
    found, cursor = [], ""
    while cursor is not None:
        page = scim("GET", "/Users", cursor=cursor, count=2, sortBy="userName", sortOrder="descending")
        found += [r["userName"] for r in page["Resources"]]
        cursor = page.get("nextCursor")
    assert found == sorted(everybody, reverse=True)
    assert scim("GET", "/Users", count=0) == {**scim("GET", "/Users", count=0), "totalResults": len(everybody), "Resources": []}


def test_reading_on_slapd(scim, openldap):
    check_reading(scim, openldap, has_active=True)
    assert scim.fault("GET", "/Users", filter='userName gt "a"') == "invalidFilter"


def test_reading_on_389(services, ds389):
    check_reading(start(services, ds389, groups={"base_dn": f"ou=groups,{ds389.suffix}", "filter": "(objectClass=groupOfNames)"}), ds389, has_active=True)


def test_reading_on_samba(services, samba):
    suffix = samba.suffix
    text = "".join(people.entry(f"OU={unit},{suffix}", objectClass="organizationalUnit", ou=unit) for unit in ("people", "groups"))
    text += people.entry(
        f"CN=Ada Lovelace,OU=people,{suffix}", objectClass="user", sAMAccountName="ada", sn="Lovelace", givenName="Ada",
        displayName="Ada Lovelace", mail="ada@example.test", employeeNumber="7", department="Engines",
    )
    text += people.entry(
        f"CN=Smith\\, Jane,OU=people,{suffix}", objectClass="user", sAMAccountName="jane", sn="Smith", mail="jane@example.test",
        manager=f"CN=Ada Lovelace,OU=people,{suffix}",
    )
    text += people.entry(f"CN=staff,OU=groups,{suffix}", objectClass="group", sAMAccountName="staff", member=f"CN=Smith\\, Jane,OU=people,{suffix}")
    samba.add(text)
    scim = start(
        services, samba, server_url=samba.tls_url, tls_ca_file=samba.ca, bind_dn=samba.admin, bind_password=samba.admin_password,
        users={"base_dn": f"OU=people,{suffix}", "filter": "(&(objectClass=user)(objectCategory=person))", "login_attributes": ["sAMAccountName"]},
        groups={"base_dn": f"OU=groups,{suffix}", "filter": "(objectClass=group)"}, roles=[],
    )
    ada = scim("GET", "/Users", filter='userName eq "ADA"')["Resources"][0]
    assert ada["id"].count("-") == 4 and ada["name"]["familyName"] == "Lovelace"
    assert ada[ENTERPRISE] == {"employeeNumber": "7", "department": "Engines"}
    jane = scim("GET", f"/Users/{scim.user('jane')}")
    assert jane[ENTERPRISE]["manager"]["value"] == ada["id"]
    assert [g["display"] for g in jane["groups"]] == ["staff"]
    staff = scim("GET", f"/Groups/{jane['groups'][0]['value']}")
    assert [m["value"] for m in staff["members"]] == [jane["id"]]
    # Accounts without a password are disabled there.
    for filter, expected in [
        ("active eq false", {"ada", "jane"}),
        (f'{ENTERPRISE}:manager.value eq "{ada["id"]}"', {"jane"}),
        (f'groups.value eq "{staff["id"]}"', {"jane"}),
        (f'id eq "{jane["id"]}"', {"jane"}),
        ('meta.created gt "2020-01-01T00:00:00Z"', {"ada", "jane"}),
        ('emails.value ew "@EXAMPLE.test"', {"ada", "jane"}),
    ]:
        assert scim.names(filter) == expected, filter
    check_pages(scim, {"ada", "jane"})


def test_projections(scim):
    id = scim.user("ada")
    got = scim("GET", f"/Users/{id}", attributes="userName,name.familyName,EMAILS.value")
    assert got == {"schemas": [USER], "id": id, "userName": "ada", "name": {"familyName": "Lovelace"}, "emails": [{"value": people.ADA.mail}]}
    without = scim("GET", f"/Users/{id}", excludedAttributes="name.formatted,emails,meta,groups,userName,id,active")
    assert without == {"schemas": [USER], "id": id, "name": {"familyName": "Lovelace"}, "displayName": "Ada Lovelace"}
    assert scim.fault("GET", f"/Users/{id}", attributes="userName", excludedAttributes="id") == "invalidValue"
    plus = scim("GET", f"/Users/{scim.user('plus')}", attributes=f"{ENTERPRISE}:employeeNumber")
    assert plus["schemas"] == [USER, ENTERPRISE] and plus[ENTERPRISE] == {"employeeNumber": "17"}
    group = scim("GET", f"/Groups/{scim.group('admins')}", attributes="members.display")
    assert {m["display"] for m in group["members"]} == {"Ada Lovelace", "Smith, Jane", "Bob (ext)"}


def test_a_search_by_post(scim):
    body = {"schemas": [SEARCH], "filter": 'userName sw "a"', "attributes": ["userName"], "startIndex": 1, "count": 5}
    assert [r["userName"] for r in scim("POST", "/Users/.search", body)["Resources"]] == ["ada"]
    everything = scim("POST", "/.search", {"schemas": [SEARCH], "count": 1000, "attributes": ["meta.resourceType"]})
    kinds = [r["meta"]["resourceType"] for r in everything["Resources"]]
    assert everything["totalResults"] == len(kinds) == len(people.PEOPLE) + 8
    assert kinds == sorted(kinds, reverse=True), "users, then groups"
    pages = [scim("POST", "/.search", {"schemas": [SEARCH], "startIndex": n, "count": 4})["Resources"] for n in range(1, 20, 4)]
    assert [r["id"] for page in pages for r in page] == [r["id"] for r in everything["Resources"]]
    assert scim.fault("POST", "/Users/.search", {"filter": "id pr"}) == "invalidSyntax"


def test_versions(scim, openldap):
    id = scim.user("ada")
    version = scim("GET", f"/Users/{id}")["meta"]["version"]
    alone = {"excludedAttributes": "active,groups,manager,urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager"}
    scim("GET", f"/Users/{id}", headers={"If-None-Match": version}, status=304, **alone)
    # The groups may change without the version.
    assert "groups" in scim("GET", f"/Users/{id}", headers={"If-None-Match": version})
    openldap.modify(f"dn: {people.ADA.dn()}\nchangetype: modify\nreplace: title\ntitle: Countess\n")
    assert scim("GET", f"/Users/{id}", headers={"If-None-Match": version})["title"] == "Countess"
    change = {"op": "replace", "path": "title", "value": "Lady"}
    scim.patch(f"/Users/{id}", change, headers={"If-Match": version}, status=412)
    scim("DELETE", f"/Users/{id}", headers={"If-Match": version}, status=412)
    assert openldap.values(people.ADA.dn(), "title") == {"title": [b"Countess"]}
    now = scim("GET", f"/Users/{id}")["meta"]["version"]
    assert scim.patch(f"/Users/{id}", change, headers={"If-Match": f'W/"x", {now}'})["title"] == "Lady"
    scim.patch(f"/Users/{id}", change, headers={"If-Match": "*"})


def test_a_lost_update_is_refused(scim):
    """Many clients that read one version: one of them wins."""
    id = scim.user("ada")
    version = scim("GET", f"/Users/{id}")["meta"]["version"]
    statuses = []

    def write(n):
        body = {"schemas": [PATCH], "Operations": [{"op": "replace", "path": "title", "value": f"T{n}"}]}
        answer = scim.service.request("PATCH", f"/scim/v2/Users/{id}", json=body, headers={"If-Match": version})
        statuses.append(answer.status_code)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(8)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert sorted(statuses) == [200] + [412] * 7


# Writing


def test_the_life_of_a_user(scim, openldap):
    scim.service.secrets.add("First-Secret-1!")
    made = scim.new_user(
        "grace", password="First-Secret-1!", active=True, externalId="E-1", emails=[{"value": "g@example.test", "type": "work", "primary": True}],
        phoneNumbers=[{"value": "1", "type": "mobile"}], addresses=[{"type": "work", "locality": "Arlington"}], nickName="Amazing",
        **{ENTERPRISE: {"employeeNumber": "9", "manager": {"value": scim.user("ada")}}, "schemas": [USER, ENTERPRISE]},
    )
    assert made["name"]["formatted"] == "New grace" and made["active"] is True and "nickName" not in made
    dn = f"uid=grace,ou=people,{people.SUFFIX}"
    stored = openldap.values(dn, "*")
    assert stored["manager"] == [people.ADA.dn().encode()] and stored["carLicense"] == [b"E-1"] and stored["l"] == [b"Arlington"]
    assert scim.service.login("grace", "First-Secret-1!").status_code == 200
    path = f"/Users/{made['id']}"
    assert scim("GET", path) == made
    off = scim.patch(path, {"op": "Replace", "path": "active", "value": "False"})
    assert off["active"] is False and scim.names("active eq false") == {"grace"}
    assert openldap.values(dn, "pwdAccountLockedTime") == {"pwdAccountLockedTime": [b"000001010000Z"]}
    # A whole replacement keeps what the body must not decide by leaving it out.
    put = scim("PUT", path, {"schemas": [USER], "userName": "grace", "name": {"familyName": "Hopper"}})
    assert put["active"] is False and "emails" not in put and "externalId" not in put and ENTERPRISE not in put
    assert scim.patch(path, {"op": "replace", "value": {"active": True}})["active"] is True
    renamed = scim.patch(path, {"op": "replace", "path": "userName", "value": "hopper"})
    assert renamed["id"] == made["id"] and renamed["userName"] == "hopper"
    assert openldap.values(f"uid=hopper,ou=people,{people.SUFFIX}", "uid") == {"uid": [b"hopper"]}
    scim("DELETE", path, status=204)
    scim("GET", path, status=404)
    scim("DELETE", path, status=404)


def test_what_a_user_must_have(scim):
    name = {"familyName": "X"}
    for body, kind in [
        ({"userName": "x", "name": name}, "invalidValue"),
        ({"schemas": [GROUP], "userName": "x", "name": name}, "invalidValue"),
        ({"schemas": [USER], "name": name}, "invalidValue"),
        ({"schemas": [USER], "userName": "", "name": name}, "invalidValue"),
        ({"schemas": [USER], "userName": "x"}, "invalidValue"),
        ({"schemas": [USER], "userName": 5, "name": name}, "invalidValue"),
        ({"schemas": [USER], "userName": "x", "name": "X"}, "invalidValue"),
        ({"schemas": [USER], "userName": "x", "name": name, "active": "perhaps"}, "invalidValue"),
        ({"schemas": [USER], "userName": "x", "name": name, ENTERPRISE: {"manager": {"value": "nobody"}}}, "invalidValue"),
        ([], "invalidSyntax"),
    ]:
        assert scim.fault("POST", "/Users", body) == kind, body
    answer = scim.service.request("POST", "/scim/v2/Users", content=b"{", headers={"Content-Type": MEDIA})
    assert answer.status_code == 400 and answer.json()["scimType"] == "invalidSyntax"
    assert scim.service.request("POST", "/scim/v2/Users", content=b"x=y", headers={"Content-Type": "text/plain"}).status_code == 415


def test_a_name_is_taken(scim):
    assert scim.fault("POST", "/Users", {"schemas": [USER], "userName": "ADA", "name": {"familyName": "X"}}, status=409) == "uniqueness"
    # The entry of jane is named by her cn: uid is unique nevertheless.
    assert scim.fault("POST", "/Users", {"schemas": [USER], "userName": "jane", "name": {"familyName": "X"}}, status=409) == "uniqueness"
    bob = f"/Users/{scim.user('bob')}"
    assert scim.fault("PATCH", bob, {"schemas": [PATCH], "Operations": [{"op": "replace", "path": "userName", "value": "ada"}]}, status=409) == "uniqueness"


def test_an_entry_keeps_its_dn_unless_its_name_changes(scim, openldap):
    """The rule would name jane by her uid."""
    path = f"/Users/{scim.user('jane')}"
    scim.patch(path, {"op": "add", "path": "title", "value": "Director"})
    assert openldap.values(people.JANE.dn(), "title") == {"title": [b"Director"]}
    openldap.add(people.entry(f"ou=sub,ou=people,{people.SUFFIX}", objectClass="organizationalUnit", ou="sub"))
    made = scim.new_user("deep")
    openldap.client("ldapmodrdn", "-s", f"ou=sub,ou=people,{people.SUFFIX}", f"uid=deep,ou=people,{people.SUFFIX}", "uid=deep")
    scim.patch(f"/Users/{made['id']}", {"op": "replace", "path": "userName", "value": "deeper"})
    assert openldap.values(f"uid=deeper,ou=sub,ou=people,{people.SUFFIX}", "uid") == {"uid": [b"deeper"]}


def test_scopes(scim):
    for method, path, scope in [("GET", "/Users", "scim.read"), ("POST", "/Users", "scim.write"), ("GET", "/Schemas", "scim.read"), ("DELETE", "/Groups/x", "scim.write")]:
        scim(method, path, status=401, caller=None)
        other = "scim.read" if scope == "scim.write" else "scim.write"
        scim(method, path, {} if method == "POST" else None, status=403, caller=other)
    scim("GET", "/Me", status=403)


def test_without_writes_nothing_is_written(services, openldap):
    scim = start(services, openldap, write=None)
    assert scim("GET", "/ServiceProviderConfig")["patch"] == {"supported": False}
    scim("POST", "/Users", {"schemas": [USER], "userName": "x", "name": {"familyName": "X"}}, status=403)
    scim("DELETE", f"/Users/{scim.user('ada')}", status=403)


# Discovery


def test_the_documents_are_true_to_the_mapping(services, openldap):
    scim = start(services, openldap, users={"base_dn": f"ou=people,{people.SUFFIX}", "scim": {"title": "none", "externalId": "carLicense", "emails[home]": "labeledURI", "urn:x:badge:Badge:number": "uidNumber"}})
    schemas = {s["id"]: s for s in scim("GET", "/Schemas")["Resources"]}
    assert set(schemas) == {USER, GROUP, ENTERPRISE, "urn:x:badge:Badge"}
    user = {a["name"]: a for a in schemas[USER]["attributes"]}
    assert "title" not in user and "nickName" not in user and "externalId" not in user
    assert user["userName"] | {"required": True, "uniqueness": "server", "caseExact": False} == user["userName"]
    [kind] = [s for s in user["emails"]["subAttributes"] if s["name"] == "type"]
    assert kind["canonicalValues"] == ["work", "home"]
    assert user["password"]["returned"] == "never" and user["groups"]["mutability"] == "readOnly"
    assert schemas["urn:x:badge:Badge"]["attributes"][0] | {"name": "number", "type": "integer"} == schemas["urn:x:badge:Badge"]["attributes"][0]
    assert scim("GET", f"/Schemas/{USER}") == schemas[USER]
    types = {t["id"]: t for t in scim("GET", "/ResourceTypes")["Resources"]}
    assert {e["schema"] for e in types["User"]["schemaExtensions"]} == {ENTERPRISE, "urn:x:badge:Badge"}
    assert scim("GET", "/ResourceTypes/Group")["endpoint"] == "/Groups"
    config = scim("GET", "/ServiceProviderConfig")
    assert config["bulk"]["supported"] is False and config["patch"]["supported"] is True and config["pagination"]["cursor"] is True
    assert config["filter"] == {"supported": True, "maxResults": 1000}
    scim("GET", "/Schemas", filter="id pr", status=403)
    scim("GET", "/Schemas/urn:none", status=404)
    scim("POST", "/Bulk", {}, status=404)
    assert scim.patch(f"/Users/{scim.user('ada')}", {"op": "add", "path": "title", "value": "x"}, status=400)["scimType"] == "invalidPath"


def test_a_mapping_that_does_not_fit_is_named(services, openldap):
    scim = start(services, openldap, users={"base_dn": f"ou=people,{people.SUFFIX}", "scim": {"nickName": "noSuchAttribute"}})
    assert "users.scim.nickName" in scim("GET", "/Users", status=500)["detail"]


def test_an_outage_is_503(services, openldap):
    scim = start(services, openldap)
    openldap.kill()
    scim("GET", "/Users", status=503)
    openldap.start_again()
    scim.service.wait("/health/ready")
    assert scim.user("ada")
