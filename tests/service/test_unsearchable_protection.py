"""`protect.filter`: an entry of which the bound user may not search an attribute of the filter counts as protected, before anything is sent."""

import json

import people
import pytest
from conftest import run
from writing import TARGET_LDAP, USER, change, content, dn, ok, patch, report, scim, send, user

SVC = people.service_dn()
FILTER = "(employeeType=executive)"


def worker(name, number, unit="people", **more):
    above = f"ou={unit},ou=people,{people.SUFFIX}" if unit != "people" else f"ou=people,{people.SUFFIX}"
    return people.entry(f"uid={name},{above}", objectClass="inetOrgPerson", uid=name, cn=name, sn=name, employeeNumber=str(number), **more)


def load(directory, folder, records, code, **settings):
    """Runs target-ldap over records of people; returns its rejects."""
    rule = {"match": "(employeeNumber={id})", "dn_template": f"uid={{login}},ou=people,{directory.suffix}", "object_classes": ["inetOrgPerson"],
            "attribute_mapping": {"id": "employeeNumber", "login": "uid", "cn": "cn", "sn": "sn", "title": "title"},
            "scope_base": f"ou=people,{directory.suffix}", "scope_filter": "(employeeNumber=*)"}
    rejects = folder / "rejects.jsonl"
    config = folder / "target-settings.json"
    config.write_text(json.dumps({
        "server_url": directory.url, "bind_dn": SVC, "bind_password": people.SERVICE_PASSWORD, "mapping_rules": {"people": rule},
        "protect": {"filter": FILTER}, "on_error": "skip", "reject_file": str(rejects), **settings,
    }))
    config.chmod(0o600)
    properties = {name: {"type": "string"} for name in ("id", "login", "cn", "sn", "title")}
    messages = [{"type": "SCHEMA", "stream": "people", "schema": {"type": "object", "properties": properties}, "key_properties": ["id"]}]
    messages += [{"type": "RECORD", "stream": "people", "record": record} for record in records]
    run(TARGET_LDAP, "--config", config, input="".join(json.dumps(m) + "\n" for m in messages), code=code)
    lines = [json.loads(line) for line in rejects.read_text().splitlines()] if rejects.exists() else []
    return [line for line in lines if line["type"] == "REJECT"]


def record(name, number, **more):
    return {"id": str(number), "login": name, "cn": name, "sn": name, **more}


@pytest.mark.parametrize("rights", ["=w", "=wr"])
def test_a_run_does_not_touch_an_entry_whose_protection_it_cannot_see(openldaps, tmp_path, rights):
    directory = openldaps(access=f'access to dn.exact="uid=u1,ou=people,{people.SUFFIX}" attrs=employeeType by dn.exact="{SVC}" {rights}\n')
    directory.add(worker("u1", 1, employeeType="executive") + worker("u2", 2, employeeType="executive") + worker("u3", 3, employeeType="clerk") + worker("u4", 4))
    before = content(directory)
    # More than the first changes, which are checked one by one.
    many = [record(f"n{n}", 100 + n) for n in range(30)]
    assert load(directory, tmp_path, many, 0) == []
    records = [record(f"u{n}", n, title="x") for n in (1, 2, 3, 4)] + [record(f"n{n}", 100 + n, title="x") for n in range(30)]
    rejects = load(directory, tmp_path, records, 4)
    named = {reject["dn"].partition(",")[0].removeprefix("uid="): json.dumps(reject) for reject in rejects}
    assert set(named) == {"u1", "u2"}, rejects
    assert "protect.filter" in named["u1"] and "employeeType" in named["u1"]
    after = content(directory)
    for name in ("u1", "u2"):
        assert after[dn(directory, name)] == before[dn(directory, name)]
    assert all(after[dn(directory, name)]["title"] == [b"x"] for name in ("u3", "u4", "n0", "n29"))


def test_a_run_does_not_move_an_entry_whose_protection_it_cannot_see(openldaps, tmp_path):
    vip = f"ou=vip,ou=people,{people.SUFFIX}"
    directory = openldaps(access=f'access to dn.subtree="{vip}" attrs=employeeType by dn.exact="{SVC}" =w\n')
    directory.add(people.entry(vip, objectClass="organizationalUnit", ou="vip") + worker("u9", 9, "vip", employeeType="executive"))
    before = content(directory)
    (reject,) = load(directory, tmp_path, [record("u9", 9)], 4)
    assert "protect.filter" in json.dumps(reject) and "employeeType" in json.dumps(reject)
    assert content(directory) == before


def test_the_service_does_not_touch_an_entry_whose_protection_it_cannot_see(openldaps, writing):
    eve = f"uid=eve,ou=people,{people.SUFFIX}"
    directory = openldaps(access=f'access to dn.exact="{eve}" attrs=employeeType by dn.exact="{SVC}" =w\n')
    users = {"base_dn": f"ou=people,{directory.suffix}", "filter": "(objectClass=person)", "login_attributes": ["uid"], "scim": {"userType": "none"}}
    service = writing(directory, users=users, write={"protect": {"filter": FILTER}})
    password = "Pw-other-7Qz!-eve"
    service.secrets.add(password)
    before = content(directory)
    path = f"/Users/{user(service, 'eve')}"
    for name, value in (("title", "x"), ("password", password), ("active", False), ("userName", "eve2")):
        answer = patch(service, path, {"op": "replace", "path": name, "value": value}, status=403)
        assert "protect.filter" in answer.json()["detail"], answer.text
    ok(scim(service, "DELETE", path), 403)
    text = change(eve, "changetype: modify", "replace: title", "title: x", "-") + change(eve, "changetype: delete")
    assert [reject["code"] for reject in report(send(service, text))["rejects"]] == ["protected"] * 2
    assert content(directory) == before and directory.whoami(eve, people.EVE.password) == 0
    # Others, and what is new, are not concerned.
    patch(service, f"/Users/{user(service, 'ada')}", {"op": "replace", "path": "title", "value": "x"})
    ok(scim(service, "POST", "/Users", {"schemas": [USER], "userName": "neo", "name": {"familyName": "n"}, "password": password, "active": False}), 201)
