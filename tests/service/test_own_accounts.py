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
