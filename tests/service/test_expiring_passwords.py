"""Passwords that expire: that of the service's own user, which everything depends on, and those of people at the login page and with HTTP Basic."""

import json

import people
import pytest
from accounts import LONG_AGO, browse, code, governed, me, password_of, token_of
from conftest import run
from directories import wait_until
from service import basic, forward
from test_configuration import about
from writing import TARGET_LDAP

POLICIES = {
    "own": {"pwdMaxAge": "3600", "pwdGraceAuthNLimit": "40"},
    "few": {"pwdMaxAge": "3600", "pwdGraceAuthNLimit": "3"},
    "over": {"pwdMaxAge": "3600"},
    "warn": {"pwdMaxAge": "1000000000", "pwdExpireWarning": "999999999"},
    "reset": {"pwdMustChange": "TRUE"},
}
ACCOUNTS = [governed(name, name, **({"pwdReset": "TRUE"} if name == "reset" else {"pwdChangedTime": LONG_AGO})) for name in POLICIES]
HEALTH = "/api/v1/health"


@pytest.fixture
def slapd(openldaps):
    return openldaps(more=ACCOUNTS, policies=POLICIES)


def dn(name):
    return people.person(name, "", "").dn()


def bound_as(name):
    return {"bind_dn": dn(name), "bind_password": password_of(name), "write": None}


def used(slapd, name):
    return len(slapd.values(dn(name), "pwdGraceUseTime").get("pwdGraceUseTime", []))


# The service's own user


@pytest.mark.parametrize("name, told", [("own", "has expired"), ("warn", "expires in")])
def test_a_password_of_the_service_that_expires_is_told(services, slapd, name, told):
    service = services(slapd, **bound_as(name))
    lines = wait_until(lambda: service.log(level="warning", dn=dn(name)), what="a line about the password")
    assert told in lines[0]["message"] and len(lines) <= used(slapd, name) + 1, lines
    answer = service.request("GET", HEALTH)
    assert answer.status_code == 200, answer.text
    (check,) = [check for check in answer.json()["checks"] if check["name"] == "bind_password"]
    assert (check["ok"], check["result"]) == (True, "warning") and told in check["detail"] and dn(name) in check["detail"]
    exit_code, report, _ = about(service, "--test")
    assert exit_code == 0 and report["status"] == "healthy"
    (check,) = [check for check in report["checks"] if check["name"] == "bind_password"]
    assert check["result"] == "warning" and told in check["detail"]
    exit_code, report, _ = about(service, "doctor", "--format", "json")
    (step,) = [check for check in report["checks"] if check["name"] == "bind"]
    assert (exit_code, step["result"]) == (0, "warning") and told in step["detail"] and step["advice"].startswith("ask ")
    # The password is as before: of that, nothing is said once another one is set.
    changed = f"dn: {dn(name)}\nchangetype: modify\nreplace: userPassword\nuserPassword: {password_of(name)}\n-\ndelete: pwdPolicySubentry\n"
    slapd.modify(changed)
    exit_code, report, log = about(service, "--test")
    assert exit_code == 0 and not any(check["name"] == "bind_password" for check in report["checks"]) and told not in log


@pytest.mark.parametrize("name, told", [("reset", "pwdReset"), ("over", "the password has expired")])
def test_a_password_of_the_service_that_does_nothing_any_more_has_its_reason(services, slapd, name, told):
    service = services(slapd, ready=False, **bound_as(name))
    assert service.client.get("/health/ready").status_code == 503
    lines = wait_until(lambda: [line for line in service.log(level="error") if told in line["message"]], what="the reason")
    assert dn(name) in lines[0]["message"]
    answer = service.request("GET", HEALTH)
    assert answer.status_code == 503 and told in answer.text
    exit_code, report, _ = about(service, "--test")
    assert exit_code == 3 and told in json.dumps(report), report
    exit_code, report, _ = about(service, "doctor", "--format", "json")
    (step,) = [check for check in report["checks"] if check["name"] == "bind"]
    assert (exit_code, step["result"]) == (3, "failed") and told in step["detail"]
    assert "needs more rights" not in json.dumps(report)


def test_the_pair_tells_it_too(slapd, tmp_path):
    """The bind is the library's: one executable of the pair stands for both."""
    for name, told, doctor in (("own", "has expired", 0), ("warn", "expires in", 0), ("reset", "pwdReset", 3)):
        config = tmp_path / f"{name}.json"
        config.write_text(json.dumps({"server_url": slapd.url, "bind_dn": dn(name), "bind_password": password_of(name)}))
        config.chmod(0o600)
        done = run(TARGET_LDAP, "--config", config, input="", code=doctor)
        assert told in done.stderr and dn(name) in done.stderr, done.stderr
        done = run(TARGET_LDAP, "doctor", "--config", config, "--format", "json", code=doctor)
        (step,) = [check for check in json.loads(done.stdout)["checks"] if check["name"] == "bind"]
        assert step["result"] == ("warning" if doctor == 0 else "failed") and told in step["detail"], step


# People


def by_form(service, name, return_to=""):
    page = browse(service, "GET", "/login", params={"return_to": return_to} if return_to else None)
    cookies = dict(page.cookies)
    form = {"username": name, "password": password_of(name), "form_token": token_of(page), "return_to": return_to}
    answer = browse(service, "POST", "/login", cookies, data=form)
    return answer, {**cookies, **dict(answer.cookies)}


@pytest.mark.parametrize("name, told", [("few", "Your password has expired"), ("warn", "Your password expires soon")])
def test_the_login_page_tells_that_a_password_expires(services, slapd, name, told):
    service = services(slapd)
    for return_to, leads in (("/app?a=1&b=2", "/app?a=1&amp;b=2"), ("", "/login"), ("https://elsewhere.example/", "/login")):
        answer, session = by_form(service, name, return_to)
        assert answer.status_code == 200 and told in answer.text and answer.headers["cache-control"] == "no-store"
        assert f'href="{leads}"' in answer.text, answer.text
        assert me(service, session).json()["user"]["username"] == name
    if name == "few":
        assert used(slapd, name) == 3 and "This was the last login" in answer.text
        answer, _ = by_form(service, name)
        assert answer.status_code == 403
    page = browse(service, "GET", "/login", session)
    assert page.status_code == 200 and told not in page.text and "You are logged in" in page.text
    answer = service.form_login("ada", people.ADA.password, "/app")
    assert (answer.status_code, answer.headers["location"]) == (303, "/app")


def test_http_basic_does_not_use_grace_logins_up(services, slapd):
    service = services(slapd)
    right = basic("few", password_of("few"))
    for path in [right, right, basic("FEW", password_of("few")), right]:
        assert code(forward(service, path)) == (403, "password_expired")
    assert used(slapd, "few") == 1
    # A refusal without a bind is for the password alone.
    assert code(forward(service, basic("few", "Pw-wrong-5Tz!"))) == (401, "invalid_credentials")
    # What is left is for logins that last.
    answer, session = by_form(service, "few", "/app")
    assert answer.status_code == 200 and "One more login" in answer.text
    headers = {"Cookie": "; ".join(f"{n}={v}" for n, v in session.items())}
    assert forward(service, headers).headers["remote-user"] == "few"
    assert service.login("few", password_of("few")).json()["password"]["grace_logins"] == 0
    # Another password is tried at once.
    slapd.modify(f"dn: {dn('few')}\nchangetype: modify\nreplace: userPassword\nuserPassword: Pw-new-8Kq!\n")
    assert forward(service, basic("few", "Pw-new-8Kq!")).status_code == 200
    assert forward(service, basic("warn", password_of("warn"))).status_code == 200
