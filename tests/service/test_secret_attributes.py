"""`secret_attributes` against what the service compares and returns: an error at the start, or never returned."""

import json
import subprocess

import people
import pytest
from conftest import SERVICE
from service import basic, configuration, forward
from test_configuration import about
from test_scim import start

USERS, GROUPS = (f"ou={unit},{people.SUFFIX}" for unit in ("people", "groups"))


@pytest.mark.parametrize("secret, more, named", [
    ("uid", {"users": {"base_dn": USERS}}, "users.login_attributes"),
    ("mail", {"users": {"base_dn": USERS, "login_attributes": ["uid", "mail"]}}, "users.login_attributes[1]"),
    ("rfc822Mailbox", {"users": {"base_dn": USERS, "login_attributes": ["mail"]}}, "users.login_attributes[0]"),
    ("0.9.2342.19200300.100.1.3", {"users": {"base_dn": USERS, "scim": {"emails[work]": "mail"}}}, "users.scim.emails[work]"),
    ("carlicense", {"users": {"base_dn": USERS, "scim": {"externalId": "carLicense"}}}, "users.scim.externalId"),
    ("businessCategory", {"groups": {"base_dn": GROUPS, "scim": {"externalId": "businessCategory"}}}, "groups.scim.externalId"),
    ("uniqueMember", {}, "groups"),
    ("cn", {"roles": []}, "groups.scim.displayName"),
    ("o", {"roles": [{"role": "{o}", "below": f"ou=roles,{people.SUFFIX}"}]}, "roles[0].role"),
    ("entryUUID", {}, "users"),
])
def test_what_another_setting_names_is_not_secret(shared_openldap, tmp_path, secret, more, named):
    config = configuration(shared_openldap, tmp_path, **{"secret_attributes": ["description", secret], "listen": "127.0.0.1:1", **more})
    path = tmp_path / "service.json"
    path.write_text(json.dumps(config))
    path.chmod(0o600)
    for flags in ([], ["--test"]):
        done = subprocess.run([SERVICE, "--config", path, "--log-format", "json", *flags], capture_output=True, text=True, timeout=60)
        text = done.stdout + done.stderr
        assert done.returncode == 2 and "secret_attributes[1]" in text and f"{named} compares" in text, text


def test_a_secret_default_is_never_returned(services, shared_openldap):
    scim = start(services, shared_openldap, secret_attributes=["mail", "displayName"])
    service = scim.service
    answers = [service.login("ada", people.ADA.password), forward(service, basic("ada", people.ADA.password))]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json()["user"]["email"] is None and answers[0].json()["user"]["display_name"] == "Ada Lovelace", "of cn"
    assert answers[1].headers["remote-email"] == ""
    shown = scim("GET", f"/Users/{scim.user('ada')}")
    assert "emails" not in shown and "displayName" not in shown
    assert scim.fault("GET", "/Users?filter=emails.value+sw+%22a%22") == "invalidFilter"
    for answer in [*answers, service.request("GET", "/scim/v2/Users")]:
        assert people.ADA.mail not in answer.text + str(answer.headers)


TYPES = {"accessToken": True, "doorPin": True, "recoveryCode": True, "zimbraPreAuthKey": True, "userPSK": True, "hashOfBadge": False, "deviceOtpNumber": False, "shopping": False}


def test_names_of_secrets_are_not_shown_and_those_that_look_so_are_told(services, openldaps, tmp_path):
    schema = tmp_path / "secrets.schema"
    types = [f"attributetype ( 1.3.6.1.4.1.99999.7.{n} NAME '{name}' EQUALITY caseIgnoreMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )" for n, name in enumerate(TYPES)]
    schema.write_text("\n".join([*types, f"objectclass ( 1.3.6.1.4.1.99999.8 NAME 'holder' SUP top AUXILIARY MAY ( {' $ '.join(TYPES)} ) )"]) + "\n")
    slapd = openldaps(schemas=[schema])
    values = {name: f"value-of-{name}" for name in TYPES}
    lines = "".join(f"-\nadd: {name}\n{name}: {value}\n" for name, value in values.items())
    slapd.modify(f"dn: {people.ADA.dn()}\nchangetype: modify\nadd: objectClass\nobjectClass: holder\n{lines}")
    service = services(slapd)
    asked = [name for name in TYPES] + [name.upper() for name in TYPES]
    texts = [service.request("GET", "/api/v1/ldap/export").text]
    for attributes in (["*"], asked):
        question = {"base_dn": USERS, "filter": "(uid=ada)", "attributes": attributes}
        texts.append(service.request("POST", "/api/v1/ldap/users/search", json=question).text)
    for name, is_secret in TYPES.items():
        shown = [values[name] in text for text in texts]
        assert shown[0] is not is_secret, (name, texts[0][:300])
        assert not (is_secret and any(shown)), name
    _, report, _ = about(service, "--test")
    (found,) = [check for check in report["checks"] if check["name"] == "secrets"]
    assert found["result"] == "warning" and "`hashOfBadge`" in found["detail"] and "`deviceOtpNumber`" in found["detail"]
    assert "shopping" not in found["detail"] and not any(f"`{name}`" in found["detail"] for name, is_secret in TYPES.items() if is_secret)
    service.configure({**service.config, "secret_attributes": ["hashOfBadge", "deviceOtpNumber"]})
    _, report, _ = about(service, "--test")
    assert not [check for check in report["checks"] if check["name"] == "secrets"]
