"""Requests that are not understood do nothing: unknown parameters, empty filters, conditions, parts of bodies, and names that look alike."""

import socket
import time

import directories
import people
import pytest
from service import bearer
from writing import GROUP, USER, change, group, new, ok, patch, report, scim, send, user


@pytest.mark.parametrize("path", ["/Users", "/Groups", "/Schemas"])
@pytest.mark.parametrize("query", ['fliter=userName eq "ada"', "filter=", "filter=%20", "attribute=userName"])
def test_a_query_that_is_not_understood_selects_nobody(service, path, query):
    answer = scim(service, "GET", f"{path}?{query}")
    assert answer.status_code in (400, 403) and "Resources" not in answer.json(), answer.text
    # As programs of Microsoft send them.
    ok(scim(service, "GET", "/Users?aadOptscim062020&count=1"))


def test_a_search_that_is_not_understood_selects_nobody(service):
    body = {"schemas": ["urn:ietf:params:scim:api:messages:2.0:SearchRequest"]}
    ok(scim(service, "POST", "/Users/.search", body))
    for more in ({"fliter": "x"}, {"filter": ""}, {"filter": " "}):
        assert scim(service, "POST", "/Users/.search", {**body, **more}).status_code == 400


def test_a_deletion_that_asks_for_something_else_is_refused(writing, openldap):
    service = writing(openldap)
    path = f"/Users/{new(service, 'neo').json()['id']}"
    assert scim(service, "DELETE", f"{path}?dry_run=true").status_code == 400
    ok(scim(service, "GET", path))


def test_a_change_that_must_not_find_the_resource_is_refused(directory, writing):
    service = writing(directory)
    path = f"/Users/{new(service, 'neo').json()['id']}"
    now = ok(scim(service, "GET", path))
    body = {"schemas": [USER], "userName": "neo", "name": {"familyName": "other"}}
    for tag in ("*", now.headers["etag"], f'"x", {now.headers["etag"]}'):
        for method in ("PUT", "DELETE"):
            answer = scim(service, method, path, body if method == "PUT" else None, headers={"If-None-Match": tag})
            assert answer.status_code == 412, answer.text
        patch(service, path, {"op": "replace", "path": "title", "value": "x"}, status=412, headers={"If-None-Match": tag})
    assert ok(scim(service, "GET", path)).headers["etag"] == now.headers["etag"]
    ok(scim(service, "PUT", path, body, headers={"If-None-Match": '"other"'}))
    assert ok(scim(service, "GET", path)).json()["name"]["familyName"] == "other"


# Bodies


def test_a_body_that_is_a_part_or_compressed_is_refused(writing, openldap):
    service = writing(openldap)
    text = change(people.ADA.dn(), "changetype: modify", "replace: title", "title: new")
    for name, value, status in (
        ("Content-Encoding", "gzip", 415), ("Content-Encoding", "identity, br", 415), ("Content-Range", "bytes 0-10/100", 400),
    ):
        for path, kind in (("/api/v1/ldap/import", "text/ldif"), ("/scim/v2/Users", "application/scim+json")):
            answer = service.request("POST", path, headers={"Content-Type": kind, name: value}, content=text)
            assert answer.status_code == status, (path, name, answer.text)
    assert openldap.values(people.ADA.dn(), "title") == {}
    assert report(send(service, text))["modified"] == 1


def test_an_import_that_stalls_is_given_up_in_time(writing, openldap):
    service = writing(openldap, limits={"request_seconds": 1})
    host, port = service.config["listen"].split(":")
    began = time.monotonic()
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        head = f"POST /api/v1/ldap/import HTTP/1.1\r\nHost: x\r\nAuthorization: {bearer('all')['Authorization']}\r\n"
        connection.sendall(f"{head}Content-Type: text/ldif\r\nContent-Length: 1000\r\n\r\ndn: ".encode())
        answer = connection.recv(65536).decode()
    assert answer.startswith("HTTP/1.1 408 ") and time.monotonic() - began < 10, answer


# Names


@pytest.mark.parametrize("name", ["ada\u200b", "\u202eada", "a\u00adda", "ada\ufeff", "a\u2066da"])
def test_a_login_name_has_no_character_that_nobody_sees(directory, writing, name):
    service = writing(directory)
    answer = new(service, name, status=400).json()
    assert answer["scimType"] == "invalidValue" and "userName" in answer["detail"], answer
    patch(service, f"/Users/{user(service, 'eve')}", {"op": "replace", "path": "userName", "value": name}, status=400)
    ok(scim(service, "POST", "/Groups", {"schemas": [GROUP], "displayName": name}), 400)
    text = people.entry(f"cn=z,ou=people,{directory.suffix}", objectClass="inetOrgPerson", uid=["z", name], cn="z", sn="z")
    done = report(send(service, text, accept="application/json"))
    assert (done["added"], done["rejected"]) == (0, 1), done
    # Other texts may have them.
    patch(service, f"/Users/{user(service, 'eve')}", {"op": "replace", "path": "title", "value": name})


def test_the_placeholder_is_protected_whoever_has_it(directory, writing):
    service = writing(directory)
    for name in ("one", "two"):
        ok(scim(service, "POST", "/Groups", {"schemas": [GROUP], "displayName": name}), 201)
    answer = scim(service, "POST", "/Groups", {"schemas": [GROUP], "displayName": "nobody"})
    assert answer.status_code == 403 and "placeholder" in answer.json()["detail"], answer.text


def test_a_login_name_in_another_spelling_is_the_users_own_alone(services, openldaps):
    shared = "shared@example.com"
    users = {"base_dn": f"ou=people,{people.SUFFIX}", "login_attributes": ["uid", "mail"]}
    more = [
        people.entry(f"uid={name},ou=people,{people.SUFFIX}", objectClass="inetOrgPerson", uid=name, cn="x", sn="x", **more)
        for name, more in ((shared, {"userPassword": "Pw-two-7Qz!"}), ("three", {"mail": shared, "userPassword": "Pw-three-7Qz!"}))
    ]
    server = openldaps("folded", more=more)
    service = services(server, users=users)
    for name in (shared, "Shared@example.com", "\u017fhared@example.com", "SHARED@EXAMPLE.COM"):
        assert service.login(name, "Pw-two-7Qz!").status_code in (401, 403), name
    assert service.login("three", "Pw-three-7Qz!").status_code == 200


def test_urls_are_those_of_public_url(services, openldap, writing):
    service = writing(openldap, public_url="https://ldap.example.com/")
    made = scim(service, "POST", "/Users", {"schemas": [USER], "userName": "neo", "name": {"familyName": "n"}}, headers={"Host": "evil.example"})
    path = f"https://ldap.example.com/scim/v2/Users/{made.json()['id']}"
    assert (ok(made, 201).headers["location"], made.json()["meta"]["location"]) == (path, path)
    ok(scim(service, "PATCH", f"/Groups/{group(service, 'admins')}", {"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
       "Operations": [{"op": "add", "path": "members", "value": [{"value": made.json()["id"]}]}]}))
    shown = scim(service, "GET", f"/Groups/{group(service, 'admins')}", headers={"Host": "evil.example"})
    assert "evil.example" not in shown.text and path in shown.text


# Limits of the directory


def test_a_size_limit_is_no_outage(services, tmp_path):
    groups = [people.entry(people.group_dn(f"many{n}"), objectClass="groupOfNames", cn=f"many{n}", member=people.ADA.dn()) for n in range(30)]
    usual = directories.ACCESS
    try:
        directories.ACCESS = usual.replace("size.soft=unlimited size.hard=unlimited", "size.soft=12 size.hard=12")
        server = directories.OpenLdap(tmp_path / "small", more=groups)
    finally:
        directories.ACCESS = usual
    try:
        service = services(server)
        # Samples of the service's own end at the limit.
        assert ok(scim(service, "GET", '/Users?filter=userName eq "ada"&excludedAttributes=groups')).json()["totalResults"] == 1
        answer = service.login("ada", people.ADA.password)
        assert (answer.status_code, answer.json()["code"]) == (500, "misconfigured") and "limit" in answer.json()["detail"], answer.text
        assert service.login("eve", people.EVE.password).status_code == 200
    finally:
        server.stop()


def test_a_file_has_no_logins(services, tmp_path):
    file = tmp_path / "people.ldif"
    file.write_text(people.ldif())

    class File:
        suffix, url = people.SUFFIX, f"ldif:{file}"

    service = services(File, ready=False, bind_dn=None, bind_password=None, write=None)
    answer = service.login("ada", people.ADA.password)
    assert (answer.status_code, answer.json()["code"]) == (500, "misconfigured") and "server_url" in answer.json()["detail"], answer.text
