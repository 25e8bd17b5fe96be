"""A program that is killed after it has set the password of a disabled account, and before it has written the lock that `ppolicy` drops with it:
the next start, or run, writes the lock first, and so does the undo."""

import json
import subprocess
import threading

import people
import pytest
from conftest import run
from directories import wait_until
from wire import Wire
from writing import TARGET_LDAP, USER, content, dn, kill_while, new, patch, replace, scim, undo, user

LOCK = "pwdAccountLockedTime"
# In a modification: replace the lock.
AGAIN = b"\x0a\x01\x02\x30\x27\x04\x14" + LOCK.encode()
PASSWORD = "Pw-set-then-killed-7Qz"


def is_locked(directory, name):
    return directory.values(dn(directory, name), LOCK) == {LOCK: [b"000001010000Z"]}


def bars(directory, name):
    """What keeps the account from being used while it has no lock."""
    return directory.values(dn(directory, name), "pwdEndTime", "pwdStartTime")


@pytest.mark.parametrize("what", ["patch", "post"])
def test_a_service_locks_again_at_its_next_start(openldap, writing, tmp_path, relay, what):
    service = writing(openldap, server_url=relay.url)
    service.secrets.add(PASSWORD)
    new(service, "lea", password=people.EVE.password)
    path = f"/Users/{user(service, 'lea')}"
    patch(service, path, replace("active", False))
    before, name = content(openldap), "lea" if what == "patch" else "neo"
    relay.late = AGAIN

    def work():
        if what == "patch":
            patch(service, path, replace("password", PASSWORD))
        else:
            body = {"schemas": [USER], "userName": "neo", "name": {"familyName": "n"}, "active": False, "password": PASSWORD}
            scim(service, "POST", "/Users", body)

    kill_while(service, work, lambda: relay.seen, what="the modification")
    relay.late = None
    # Nobody gets in meanwhile, though the lock is gone.
    assert not is_locked(openldap, name) and openldap.whoami(dn(openldap, name), PASSWORD) == 49
    service.start()
    (killed,) = wait_until(lambda: list((tmp_path / "undo").rglob("*.killed")), what="the file")
    wait_until(lambda: is_locked(openldap, name), what="the lock")
    assert openldap.whoami(dn(openldap, name), PASSWORD) == 49 and bars(openldap, name) == {}
    named = wait_until(lambda: [r for r in service.log(level="error") if r.get("attribute") == LOCK], what="the error")
    assert [record["dn"].lower() for record in named] == [dn(openldap, name)]
    (line,) = wait_until(lambda: [r for r in service.log(level="error") if str(killed) in json.dumps(r)], what="what is half done")
    assert dn(openldap, name) in line["dn"].lower()
    undo(openldap, killed, tmp_path, "--another-server")
    assert content(openldap) == before
    if what == "patch":
        assert is_locked(openldap, "lea") and openldap.whoami(dn(openldap, "lea"), people.EVE.password) == 49


@pytest.mark.parametrize("how", ["killed", "lost", "undone"])
def test_a_run_locks_again(openldap, tmp_path, relay, how):
    lea = dn(openldap, "lea")
    old = people.EVE.password
    openldap.add(people.entry(lea, objectClass="inetOrgPerson", uid="lea", cn="Lea", sn="L", userPassword=old))
    openldap.modify(f"dn: {lea}\nchangetype: modify\nadd: {LOCK}\n{LOCK}: 000001010000Z\n")
    rule = {"dn_template": f"uid={{uid}},ou=people,{openldap.suffix}", "password": {"from": "password", "mode": "exop", "policy": "force"},
            "object_classes": ["inetOrgPerson"]}
    settings = {"server_url": relay.url, "bind_dn": openldap.admin, "bind_password": openldap.admin_password,
                "mapping_rules": {"people": rule}, "undo_file": str(tmp_path / "undo.ldif")}
    config = tmp_path / "target-settings.json"
    config.write_text(json.dumps(settings))
    config.chmod(0o600)
    schema = {"type": "object", "properties": {name: {"type": "string"} for name in ("uid", "cn", "sn", "password")}}
    messages = "".join(json.dumps(message) + "\n" for message in (
        {"type": "SCHEMA", "stream": "people", "schema": schema, "key_properties": ["uid"]},
        {"type": "RECORD", "stream": "people", "record": {"uid": "lea", "cn": "Lea", "sn": "L", "password": PASSWORD}},
        {"type": "STATE", "value": {}},
    ))
    relay.late = AGAIN
    process = subprocess.Popen([TARGET_LDAP, "--config", config], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    threading.Thread(target=lambda: (process.stdin.write(messages.encode()), process.stdin.close()), daemon=True).start()
    wait_until(lambda: relay.seen, what="the lock")
    if how == "lost":
        relay.late = None
        for number in list(relay.sockets):
            Wire._close(*relay.sockets[number])
        process.wait(60)
        assert is_locked(openldap, "lea"), process.stderr.read().decode()
        return
    process.kill()
    process.wait()
    relay.late = None
    assert not is_locked(openldap, "lea") and openldap.whoami(lea, PASSWORD) == 49
    if how == "killed":
        again = run(TARGET_LDAP, "--config", config, input=messages)
        assert lea in again.stderr.lower() and LOCK in again.stderr, again.stderr
        assert is_locked(openldap, "lea") and openldap.whoami(lea, PASSWORD) == 49
    else:
        undo(openldap, tmp_path / "undo.ldif.journal", tmp_path, "--another-server")
        assert is_locked(openldap, "lea") and openldap.whoami(lea, old) == 49
    assert bars(openldap, "lea") == {}
