"""SIGHUP: the new configuration counts from then on, nothing fails meanwhile, and nothing is forgotten."""

import time

import people
from directories import wait_until
from load import EVERYTHING, WRONG, Load
from service import MANY, UNLIMITED


def test_reload_under_load(openldap, services, tmp_path):
    """SIGHUP twenty times while requests pass: none fails, none is cut, and the new settings count."""
    service = services(openldap, login=UNLIMITED)
    service.secrets.add(WRONG)
    load = Load(service.url, EVERYTHING, threads=2)
    config = dict(service.config)
    for n in range(20):
        service.configure({**config, "limits": {"count": 21 - n}})
        service.reload()
        time.sleep(0.1)
    statuses = load.stop()
    assert not load.unanswered, load.unanswered[:5]
    for kind, found in statuses.items():
        assert set(found) == {401 if kind == "wrong" else 200}, statuses
    answer = service.request("POST", "/api/v1/ldap/users/search", json={"filter": "(objectClass=*)", "count": 1000})
    assert answer.json()["count"] == 2 < len(people.PEOPLE), answer.text
    assert service.descriptors() < 200


def test_reload_keeps_what_must_not_be_forgotten(openldap, services):
    """Failed logins and sessions survive a reload; a wrong configuration changes nothing and is logged with its setting."""
    service = services(openldap, login={"max_failures": 3, "window_seconds": 900, "per_address_per_minute": MANY})
    service.secrets.add(WRONG)
    while service.login("eve", WRONG).status_code != 429:
        pass
    service.form_login("ada", people.ADA.password)
    assert service.client.get("/api/v1/auth/me").status_code == 200
    config = dict(service.config)
    service.configure({**config, "limits": {"count": 7}})
    service.reload()
    assert service.login("eve", WRONG).status_code == 429, "SIGHUP forgave failed logins"
    assert service.client.get("/api/v1/auth/me").status_code == 200, "SIGHUP ended a session"
    for wrong, setting in (({"limits": {"count": 0}}, "limits.count"), ({"users": {}}, "users.base_dn"), ({"listen": "127.0.0.1:1"}, "listen")):
        service.configure({**config, **wrong})
        service.reload()
        assert [line for line in service.log(level="error") if setting in str(line.get("setting"))], service.log_text()
        assert service.login("ada", people.ADA.password).status_code == 200
    service.config_path.write_text("{")
    service.reload()
    assert service.login("ada", people.ADA.password).status_code == 200
    service.config = config


def test_reload_of_a_kept_alive_connection(openldap, services):
    """`auth_enabled: false` counts for connections that are open, too."""
    service = services(openldap)
    assert service.login("ada", people.ADA.password).status_code == 200
    service.configure({**service.config, "auth_enabled": False})
    service.reload()
    assert service.login("ada", people.ADA.password).status_code == 404


def test_reload_of_tokens(openldap, services, tmp_path):
    """A token that was taken out is refused from then on."""
    service = services(openldap)
    assert service.request("POST", "/api/v1/ldap/users/search", json={"filter": "(uid=ada)"}).status_code == 200
    tokens = [t for t in service.config["api_tokens"] if t["name"] != "all"]
    service.configure({**service.config, "api_tokens": tokens})
    service.reload()
    assert service.request("POST", "/api/v1/ldap/users/search", json={"filter": "(uid=ada)"}).status_code == 401


def test_a_configuration_of_another_directory_is_not_mixed_in(openldaps, services):
    """A reload to another directory: from then on its people, and none of the first one's."""
    more = people.entry(f"uid=only2,ou=people,{people.SUFFIX}", objectClass="inetOrgPerson", uid="only2", cn="Two", sn="Two", userPassword="Only-in-two-1Xz")
    first, second = openldaps("first"), openldaps("second", more=[more])
    service = services(first)
    assert service.login("only2", "Only-in-two-1Xz").status_code == 401
    service.configure({**service.config, "server_url": second.url})
    service.reload()
    wait_until(lambda: service.login("only2", "Only-in-two-1Xz").status_code == 200, what="the second directory")
    first.kill()
    assert service.login("ada", people.ADA.password).status_code == 200
    first.start_again()


def test_a_configuration_that_does_not_fit_the_directory_is_not_taken_over(openldap, services):
    """What the directory does not have: the earlier configuration stays, and the log names the setting."""
    service = services(openldap)
    config = dict(service.config)
    users, groups = config["users"], config["groups"]
    for wrong, setting in [
        ({"users": {**users, "filter": "(objectClass=inetOrgPersn)"}}, "users.filter"),
        ({"users": {**users, "base_dn": f"ou=poeple,{people.SUFFIX}"}}, "users.base_dn"),
        ({"users": {**users, "login_attributes": ["uidd"]}}, "users.login_attributes[0]"),
        ({"users": {**users, "scim": {"nickName": "carLicence"}}}, "users.scim.nickName"),
        ({"groups": {**groups, "filter": "(memberr=*)"}}, "groups.filter"),
        ({"groups": {**groups, "base_dn": f"ou=grops,{people.SUFFIX}"}}, "groups.base_dn"),
    ]:
        service.configure({**config, **wrong})
        service.reload()
        lines = [line for line in service.log(level="error") if line.get("setting") == setting]
        assert any("the earlier configuration stays" in str(line) for line in lines), service.log_text()
        assert service.login("ada", people.ADA.password).json()["user"]["roles"] == ["admin", "auditor", "staff"]
        assert service.request("GET", "/scim/v2/Users").json()["totalResults"] == len(people.PEOPLE)
    # One that was wrong before does not keep others out.
    service.configure({**config, "limits": {"count": 3}})
    service.reload()
    assert not [line for line in service.log(level="error") if line.get("setting") == "limits.count"]
    assert service.client.get("/health/ready").status_code == 200
