"""Logins, requests and settings that outsiders have found faults in."""

import json
import socket

import people
import pytest
from conftest import SERVICE, run
from service import UNLIMITED, basic, configuration, forward


def test_long_names_are_refused_and_nothing_of_names_is_kept(openldap, services):
    service = services(openldap, trusted_proxies=["127.0.0.1"], login={**UNLIMITED, "max_failures": 3})
    answer = service.login("x" * 1025, "Pw-of-nobody")
    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_credentials")
    for answer in (forward(service, basic("x" * 1025, "Pw-of-nobody")), service.form_login("x" * 1025, "Pw-of-nobody")):
        assert answer.status_code == 401
    assert service.login("x" * 1024, "Pw-of-nobody").status_code == 401
    before = service.rss()
    for n in range(150):
        headers = {"X-Forwarded-For": f"198.51.100.{n}"}
        answer = service.login(f"{n:04}" + "x" * 900_000, "Pw-of-nobody", headers=headers)
        assert answer.status_code == 401
    assert service.rss() - before < 40_000, "KiB"


def test_the_own_entry_is_never_bound_by_a_login(openldaps, services):
    directory = openldaps(policies={"default": {"pwdLockout": "TRUE", "pwdMaxFailure": "2", "pwdLockoutDuration": "0"}})
    users = {"base_dn": directory.suffix, "filter": "(objectClass=person)", "login_attributes": ["uid"]}
    service = services(directory, users=users, login=UNLIMITED)
    own = people.service_dn(directory.suffix)
    unknown = service.login("nobody-has-it", "Pw-of-nobody")
    for name in (people.SERVICE_UID, people.SERVICE_UID.upper()):
        for password in ("Pw-of-nobody", "Pw-of-somebody", people.SERVICE_PASSWORD):
            answer = service.login(name, password)
            assert (answer.status_code, answer.json()["code"]) == (401, "invalid_credentials")
            assert {**answer.json(), "request_id": 0} == {**unknown.json(), "request_id": 0}
    assert forward(service, basic(people.SERVICE_UID, "Pw-of-nobody")).status_code == 401
    assert directory.values(own, "pwdFailureTime", "pwdAccountLockedTime") == {}
    assert service.login("ada", people.ADA.password).status_code == 200
    assert service.end() == 0
    service.start()


def raw(service, text):
    host, port = service.config["listen"].rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(text.encode())
        return int(connection.makefile("rb").readline().split()[1])


@pytest.mark.parametrize(
    ("version", "hosts", "status"),
    [("1.1", [], 400), ("1.1", ["a", "b"], 400), ("1.1", ["a", "a"], 400), ("1.0", ["a", "b"], 400), ("1.0", [], 200), ("1.1", ["a"], 200)],
)
def test_a_request_says_once_which_host_it_is_for(service, version, hosts, status):
    lines = "".join(f"Host: {host}\r\n" for host in hosts)
    for path in ("/health/live", "/login"):
        assert raw(service, f"GET {path} HTTP/{version}\r\n{lines}Connection: close\r\n\r\n") == status


@pytest.mark.parametrize(
    ("role", "setting"),
    [({"role": "", "groups": ["cn=a,dc=x"]}, "roles[0]"), ({"role": " ", "groups": ["cn=a,dc=x"]}, "roles[0]"), ({"role": "{ }", "below": "dc=x"}, "roles[0]")],
)
def test_a_role_has_a_name(shared_openldap, tmp_path, role, setting):
    config = configuration(shared_openldap, tmp_path, roles=[role])
    file = tmp_path / "service.json"
    file.write_text(json.dumps({"listen": "127.0.0.1:0", **config}))
    file.chmod(0o600)
    done = run(SERVICE, "--config", file, "--test", code=2)
    assert setting in done.stderr + done.stdout
