"""The plugin: operations by name, with the scopes and the rules of the routes that do the same."""

import people
from test_search import found, search


def plugin(service, operation, params=None, caller="all"):
    body = {"operation": operation, **({} if params is None else {"params": params})}
    answer = service.request("POST", "/api/v1/plugin/execute", caller, json=body)
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert body["success"] is (answer.status_code == 200)
    return answer.status_code, body.get("data", body.get("error"))


def test_the_plugin(service):
    status, data = plugin(service, "search_users", {"filter": "(uid=ada)", "attributes": ["cn", "mail"]})
    assert status == 200 and data["count"] == 1 and data["next_cursor"] is None
    assert data["users"] == [{"dn": people.ADA.dn(), "cn": ["Ada Lovelace"], "mail": [people.ADA.mail]}]
    status, data = plugin(service, "health_check")
    assert status == 200 and data["status"] == "healthy" and {"connect", "bind", "search", "schema", "users"} <= {c["name"] for c in data["checks"]}
    for operation, near in (("serch_users", "search_users"), ("createUser", "create_user"), ("drop", None), ("", None)):
        status, data = plugin(service, operation)
        assert (status, data["code"], data["near"]) == (400, "unknown_operation", near), operation
    assert plugin(service, "search_users", {"filter": "(cn="})[1]["position"] == 4
    assert plugin(service, "search_users", {"filter": "(userPassword=x)"})[1]["code"] == "secret_attribute"
    assert plugin(service, "health_check", {"x": 1})[1]["code"] == "unknown_member"


def test_the_plugin_gives_no_more_than_the_scopes_do(service):
    for operation, missing in (("search_users", "search"), ("create_user", "scim.write")):
        status, data = plugin(service, operation, {}, "plugin")
        assert (status, data["code"], data["scope"]) == (403, "insufficient_scope", missing)
    assert plugin(service, "health_check", caller="plugin")[0] == 200
    assert plugin(service, "health_check", caller="search")[1]["scope"] == "plugin"
    assert plugin(service, "health_check", caller=None)[0] == 401


def test_the_plugin_adds_a_user(openldap, services):
    service = services(openldap)
    params = {"uid": "grace", "cn": "Grace Hopper", "sn": "Hopper", "mail": ["grace@example.test"], "password": "Pw-grace-7Qz!"}
    status, data = plugin(service, "create_user", params)
    assert status == 200, data
    dn = f"uid=grace,ou=people,{openldap.suffix}"
    assert data["dn"] == dn and data["effect"] == "added"
    raw = openldap.values(dn, "*", "entryUUID")
    assert raw["cn"] == [b"Grace Hopper"] and raw["userPassword"] and raw["entryUUID"] == [data["id"].encode()]
    undo = service.folder / "undo" / data["undo_file"]
    assert "changetype: delete" in undo.read_text() and "7Qz" not in undo.read_text()
    assert found(search(service, filter="(uid=grace)"))["count"] == 1
    # An existing user is never changed.
    status, data = plugin(service, "create_user", {**params, "cn": "Mallory"})
    assert (status, data["code"]) == (409, "taken")
    assert openldap.values(dn, "cn")["cn"] == [b"Grace Hopper"]
    for params, code in (({}, 400), ({"uid": "x", "cn": "X", "sn": "X", "nonsense": 1}, 400)):
        status, data = plugin(service, "create_user", params)
        assert status == code and data["message"], params
    assert found(search(service, filter="(uid=x)"))["count"] == 0


def test_the_plugin_writes_nothing_without_the_setting(services, shared_openldap):
    service = services(shared_openldap, write=None)
    status, data = plugin(service, "create_user", {"uid": "x", "cn": "X", "sn": "X"})
    assert (status, data["code"]) == (403, "writes_disabled")
