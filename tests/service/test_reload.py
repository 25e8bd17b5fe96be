"""SIGHUP: the new configuration counts from then on, nothing fails meanwhile, and nothing is forgotten."""

import time

import people
from directories import DEFAULT_POLICY, wait_until
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


def test_reloads_leave_no_connection_behind(openldap, writing):
    """A generation that is replaced ends, also where it has nothing to do but to wait."""
    service = writing(openldap)
    service.reload()
    before = service.descriptors()
    for _ in range(8):
        service.reload()
    wait_until(lambda: service.descriptors() <= before + 2, what=f"no more than {before} descriptors; there are {service.descriptors()}")


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


def test_a_token_that_is_taken_away_during_an_outage_does_not_come_back(openldap, services):
    """A directory that is down does not void a reload: it counts once the directory is back, and until then the health report says so."""
    service = services(openldap)
    search = lambda: service.request("POST", "/api/v1/ldap/users/search", json={"filter": "(uid=ada)"}).status_code  # noqa: E731
    assert search() == 200
    openldap.kill()
    service.configure({**service.config, "api_tokens": [t for t in service.config["api_tokens"] if t["name"] != "all"]})
    service.reload(seconds=40)
    told = service.request("GET", "/api/v1/health", caller="health").json()["checks"]
    assert [check["result"] for check in told if check["name"] == "reload"] == ["warning"], told
    openldap.start_again()
    wait_until(lambda: search() == 401, seconds=40, what="the configuration that was read")
    wait_until(lambda: not [c for c in service.request("GET", "/api/v1/health", caller="health").json()["checks"] if c["name"] == "reload"],
               what="a health report without a word about it")


def test_a_configuration_that_does_not_count_is_in_the_health_report(openldap, services):
    service = services(openldap)
    good = service.config
    service.configure({**good, "users": {**good["users"], "filter": "(objectClass=inetOrgPersn)"}})
    service.reload()
    report = service.request("GET", "/api/v1/health", caller="health")
    (check,) = [check for check in report.json()["checks"] if check["name"] == "reload"]
    assert report.status_code == 200 and check["result"] == "warning" and "users.filter" in check["detail"], report.text
    service.configure(good)
    service.reload()
    assert "reload" not in [check["name"] for check in service.request("GET", "/api/v1/health", caller="health").json()["checks"]]


def test_a_rotated_password_of_the_service_does_not_lock_its_account(openldaps, services):
    """The directory has another password, and connections are lost: the old one is shown twice, and not by each request."""
    server = openldaps("rotated", policies={"default": {**DEFAULT_POLICY, "pwdLockout": "TRUE", "pwdMaxFailure": "5"}})
    service = services(server)
    assert service.login("ada", people.ADA.password).status_code == 200
    account = people.service_dn(server.suffix)
    server.modify(f"dn: {account}\nchangetype: modify\nreplace: userPassword\nuserPassword: Another-pw-1Xz\n")
    server.kill()
    server.start_again()
    for _ in range(20):
        assert service.login("ada", people.ADA.password).status_code == 503
        service.client.get("/health/ready")
    wait_until(lambda: service.client.get("/health/ready").status_code == 503, what="no readiness")
    failures = server.values(account, "pwdFailureTime", "pwdAccountLockedTime")
    assert len(failures.get("pwdFailureTime", [])) <= 2 and not failures.get("pwdAccountLockedTime"), failures
    # With the new one it works at once.
    service.configure({**service.config, "bind_password": "Another-pw-1Xz"})
    service.secrets.add("Another-pw-1Xz")
    service.reload()
    wait_until(lambda: service.login("ada", people.ADA.password).status_code == 200, what="a login")
