"""What a service keeps of its own about accounts and sessions: the mapped mark, ended sessions, the host of a session."""

import pathlib

import people
import pytest
from accounts import browse, code, log_in_by_form, me, token_of
from callers import ask, claims, jwt
from directories import wait_until
from service import basic, forward
from writing import patch, replace, user


# The mark of a disabled account


def marked(directory, attribute="employeeType", **more):
    return {"base_dn": f"ou=people,{directory.suffix}", "login_attributes": ["uid"], "scim": {"active": attribute, "userType": "none"}, **more}


def test_a_mapped_mark_of_a_disabled_account_counts_at_logins_and_sessions(directory, writing):
    service = writing(directory, users=marked(directory))
    path, password = f"/Users/{user(service, 'eve')}", people.EVE.password
    session = log_in_by_form(service, "eve", password)
    assert patch(service, path, replace("active", True)).json()["active"] is True
    assert (me(service, session).status_code, service.login("eve", password).status_code) == (200, 200)
    assert patch(service, path, replace("active", False)).json()["active"] is False
    disabled = (403, "account_disabled")
    assert code(service.login("eve", password)) == disabled
    assert code(forward(service, basic("eve", password))) == disabled
    assert code(browse(service, "GET", "/api/v1/auth/forward", session)) == disabled
    assert code(me(service, session)) == disabled
    # Strangers learn nothing.
    assert code(service.login("eve", "wrong-password"))[0] == 401
    assert patch(service, path, replace("active", True)).json()["active"] is True
    assert (me(service, session).status_code, service.login("eve", password).status_code) == (200, 200)


def test_a_mapped_mark_that_cannot_be_read_is_not_taken_for_enabled(openldaps, services):
    access = f'access to attrs=employeeType by dn.exact="{people.service_dn()}" =w by * none\n'
    directory = openldaps(access=access)
    service = services(directory, ready=False, users=marked(directory))
    wait_until(lambda: service.login("eve", people.EVE.password).json().get("code") != "directory_unavailable")
    assert code(service.login("eve", people.EVE.password)) == (500, "misconfigured")


def test_a_user_who_is_disabled_by_the_mapped_mark_may_leave_the_filter(openldap, writing):
    users = marked(openldap, filter="(&(objectClass=person)(!(employeeType=FALSE)))")
    service = writing(openldap, users=users)
    path = f"/Users/{user(service, 'eve')}"
    assert patch(service, path, replace("active", False)).json()["active"] is False
    assert code(service.login("eve", people.EVE.password))[0] == 401


def test_a_deletion_may_set_the_mapped_mark(openldap, writing):
    rule = {"on_delete": {"set": {"employeeType": "FALSE"}}}
    service = writing(openldap, users=marked(openldap), write={"mapping_rules": {"users": rule}})
    path = f"/scim/v2/Users/{user(service, 'eve')}"
    assert service.request("DELETE", path).status_code == 204
    assert code(service.login("eve", people.EVE.password)) == (403, "account_disabled")


def test_a_token_of_who_is_disabled_by_the_mapped_mark_is_refused(openldap, services, own):
    issuer = own()
    issuer.ask(key="one", alg="ES256")
    service = services(openldap, users=marked(openldap), jwt=jwt(issuer))
    token = issuer.token(sign="one", claims=claims(issuer, preferred_username="eve", scope="openid health"))
    assert ask(service, token).status_code == 200
    openldap.modify(f"dn: {people.EVE.dn()}\nchangetype: modify\nadd: employeeType\nemployeeType: FALSE\n")
    assert code(ask(service, token)) == (403, "account_disabled")


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
        service.process.stdout.close(), service.client.close()
    ended.write_text(whole)
    service.start()
    assert me(service, session).status_code == 401


@pytest.mark.parametrize("then", ["restart", "logout", "reload", "killed"])
def test_a_list_of_ended_sessions_that_is_removed_ends_no_session_anew(keyed, then):
    service, ended, session = keyed
    before = ended.read_text().splitlines()
    ended.unlink()
    if then == "killed":
        # Nobody is left who knows which sessions were logged out: all of before are over.
        service.process.kill(), service.process.wait()
        service.process = None
        service.start()
        assert me(service, session).status_code == 401
        wait_until(lambda: service.log(level="warning", setting="login.session_key_file"), what="a warning")
        assert me(service, log_in_by_form(service, "ada", people.ADA.password)).status_code == 200
        return
    other = log_in_by_form(service, "ada", people.ADA.password)
    if then == "logout":
        page = browse(service, "GET", "/login", other)
        assert browse(service, "POST", "/logout", other, data={"form_token": token_of(page)}).status_code == 303
    elif then == "reload":
        service.reload()
    assert me(service, session).status_code == 401
    assert set(before[:-1]) <= set(ended.read_text().splitlines()), ended.read_text()
    (told,) = wait_until(lambda: service.log(level="error", setting="login.session_key_file"), what="an error")
    assert str(ended) in told["message"] and told["sessions"] == 2
    service.stop()
    service.start()
    assert me(service, session).status_code == 401
    assert me(service, other).status_code == (401 if then == "logout" else 200)


def test_a_list_that_is_replaced_by_an_earlier_one_is_completed(keyed):
    service, ended, session = keyed
    other = log_in_by_form(service, "ada", people.ADA.password)
    early = ended.read_text()
    page = browse(service, "GET", "/login", other)
    assert browse(service, "POST", "/logout", other, data={"form_token": token_of(page)}).status_code == 303
    ended.write_text(early)
    assert me(service, session).status_code == 401 and me(service, log_in_by_form(service, "ada", people.ADA.password)).status_code == 200
    service.stop()
    service.start()
    assert me(service, other).status_code == 401


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


# A name of two


def test_the_log_names_the_entries_that_a_login_name_fits(openldap, services):
    openldap.modify(f"dn: {people.EVE.dn()}\nchangetype: modify\nadd: uid\nuid: ada\n")
    service = services(openldap)
    assert service.login("ada", people.ADA.password).status_code == 401
    told = [record["message"] for record in service.log(level="warning") if "dns" in record]
    assert told and all(dn in told[0] for dn in (people.ADA.dn(), people.EVE.dn())), told
