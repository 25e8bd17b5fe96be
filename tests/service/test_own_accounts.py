"""What a service keeps of its own about accounts and sessions: the mapped mark, ended sessions, the host of a session."""

import pathlib

import people
import pytest
from accounts import browse, code, log_in_by_form, me, token_of
from callers import ask, claims, jwt
from directories import wait_until
from service import basic, forward
from writing import patch, user


def replace(path, value):
    return {"op": "replace", "path": path, "value": value}


# Sessions that were logged out


@pytest.fixture
def keyed(services, shared_openldap, tmp_path):
    """A service with a key file, in which somebody has logged out; the file; and the cookies of the session."""
    key = tmp_path / "session.key"
    key.write_text("k" * 64)
    key.chmod(0o600)
    service = services(shared_openldap, login={"session_key_file": str(key)})
    sessions = [log_in_by_form(service, "ada", people.ADA.password) for _ in range(2)]
    for session in sessions:
        page = browse(service, "GET", "/login", session)
        assert browse(service, "POST", "/logout", session, data={"form_token": token_of(page)}).status_code == 303
    ended = pathlib.Path(f"{key}.ended")
    return service, ended, sessions[0]


def cuts(text):
    """What may be left of a file: nothing, less than its last line, no last line end, or whole lines."""
    lines = text.splitlines(keepends=True)
    return ["", text[:-10], text[:-1], "".join(lines[:-1]), "".join(lines[:-2])]


def test_a_list_of_ended_sessions_that_was_cut_off_is_refused(keyed):
    service, ended, session = keyed
    whole = ended.read_text()
    for left in [*cuts(whole), "garbage\n"]:
        ended.write_text(left)
        seen = len(service.lines)
        service.reload()
        said = "\n".join(service.lines[seen:])
        assert "the earlier configuration stays" in said and "login.session_key_file" in said, (left, said)
        assert me(service, session).status_code == 401, left
    ended.write_text(whole)
    service.reload()
    service.stop()
    for left in cuts(whole):
        ended.write_text(left)
        with pytest.raises(AssertionError, match="exit code 2"):
            service.start()
        assert "login.session_key_file" in "\n".join(service.lines)
        service.process.stdout.close(), service.process.stderr.close(), service.client.close()
    ended.write_text(whole)
    service.start()
    assert me(service, session).status_code == 401


def test_a_list_of_an_earlier_version_is_taken_and_made_whole(keyed):
    service, ended, session = keyed
    sessions = [line for line in ended.read_text().splitlines() if line[0].isdigit()]
    service.stop()
    ended.write_text("\n".join(["ldap-service ended sessions 1", *sessions]) + "\n")
    service.start()
    assert me(service, session).status_code == 401
    assert [line for line in ended.read_text().splitlines() if line[0].isdigit()] == sessions
    assert ended.stat().st_mode & 0o777 == 0o600


# The host of a session


def test_a_session_is_for_one_host_over_tls_or_in_clear_text(services, shared_openldap):
    service = services(shared_openldap, trusted_proxies=["127.0.0.1/32"])

    def at(host, scheme="https"):
        return {"X-Forwarded-For": "192.0.2.7", "X-Forwarded-Host": host, "X-Forwarded-Proto": scheme}

    page = service.client.get("/login", headers=at("a.example"))
    form = {"username": "ada", "password": people.ADA.password, "form_token": token_of(page)}
    cookie = page.headers["set-cookie"].split(";")[0]
    service.client.cookies.clear()
    answer = service.client.post("/login", headers={**at("a.example"), "Cookie": cookie}, data=form)
    assert answer.status_code == 303, answer.text
    sealed = answer.headers["set-cookie"].split(";")[0].partition("=")[2]
    service.client.cookies.clear()

    def status(host, scheme="https"):
        name = "__Host-ldap_session" if scheme == "https" else "ldap_session"
        headers = {**at(host, scheme), "Cookie": f"{name}={sealed}"}
        return service.client.get("/api/v1/auth/forward", headers=headers).status_code

    assert [status(host) for host in ("a.example", "A.Example:443", "a.example:8443")] == [200] * 3
    assert (status("b.example"), status("b.example"), status("a.example", "http")) == (401, 401, 401)
    told = [record for record in service.log(level="warning") if "X-Forwarded-Host" in str(record)]
    assert len(told) == 1, service.log_text()
    assert sealed not in service.log_text()
