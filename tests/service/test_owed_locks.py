"""The lock of a disabled account that a killed program owes is kept until it is written, whatever comes in between: a server that refuses
it, a start at another directory, a run that is held back."""

import json
import pathlib
import subprocess

import people
import pytest
from conftest import run
from directories import wait_until
from test_killed_before_the_lock import AGAIN, LOCK, PASSWORD, is_locked
from writing import TARGET_LDAP, dn, kill_while, new, patch, replace, user

CHECK = "disabled_accounts"


def refuse_locks(relay, code):
    """The lock is not written any more: a result code, or `False` for a lost connection."""
    relay.ahead = lambda tag, message: code if AGAIN in message else None


def journals(folder):
    return sorted(pathlib.Path(folder).rglob("*.journal"))


def kill_between(service, relay, work):
    """Kills the service after it has set a password, and before it has written the lock."""
    relay.late = AGAIN
    kill_while(service, work, lambda: relay.seen, what="the lock")
    relay.late = None


def owing(openldap, service, relay):
    """A service that was killed while it owed the lock of lea."""
    service.secrets.add(PASSWORD)
    new(service, "lea", password=people.EVE.password)
    path = f"/Users/{user(service, 'lea')}"
    patch(service, path, replace("active", False))
    kill_between(service, relay, lambda: patch(service, path, replace("password", PASSWORD)))
    assert not is_locked(openldap, "lea")
    return path


def failing(service):
    answer = service.request("GET", "/api/v1/health")
    return [check for check in answer.json()["checks"] if check["name"] == CHECK], answer.status_code


@pytest.mark.parametrize("code", [50, 51, False], ids=["refused", "busy", "lost"])
def test_a_service_tries_until_the_lock_is_written(openldap, writing, tmp_path, relay, code):
    service = writing(openldap, server_url=relay.url)
    owing(openldap, service, relay)
    refuse_locks(relay, code)
    for _ in range(2):
        seen = len(service.lines)
        service.start()
        wait_until(lambda: failing(service)[0], what="the check")
        (check,), status = failing(service)
        assert (check["ok"], status) == (False, 503) and dn(openldap, "lea") in check["detail"].lower()
        named = [json.loads(line) for line in service.lines[seen:]]
        named = [line for line in named if line.get("level", "").lower() == "error" and line.get("file")]
        assert dn(openldap, "lea") in [line["dn"].lower() for line in named if line.get("dn")]
        assert len(journals(tmp_path)) == 1
        if _ == 0:
            service.end()
    relay.ahead = None
    wait_until(lambda: is_locked(openldap, "lea"), what="the lock")
    wait_until(lambda: not journals(tmp_path) and list(tmp_path.rglob("*.killed")), what="the undo file")
    assert failing(service) == ([], 200)
    assert openldap.whoami(dn(openldap, "lea"), PASSWORD) == 49


def test_a_lock_that_a_request_could_not_write_is_tried_again(openldap, writing, tmp_path, relay):
    service = writing(openldap, server_url=relay.url)
    service.secrets.add(PASSWORD)
    new(service, "lea", password=people.EVE.password)
    path = f"/Users/{user(service, 'lea')}"
    patch(service, path, replace("active", False))
    refuse_locks(relay, 50)
    answer = service.request("PATCH", f"/scim/v2{path}", json={
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": [replace("password", PASSWORD)]})
    assert answer.status_code == 500 and not is_locked(openldap, "lea"), answer.text
    (check,), status = failing(service)
    assert (check["ok"], status) == (False, 503) and dn(openldap, "lea") in check["detail"].lower()
    assert len(journals(tmp_path)) == 1
    relay.ahead = None
    wait_until(lambda: is_locked(openldap, "lea"), what="the lock")
    wait_until(lambda: not journals(tmp_path), what="the end of the journal")
    assert failing(service) == ([], 200)
    # The old password is back, and counts once the account is enabled.
    both = [PASSWORD, people.EVE.password]
    assert [openldap.whoami(dn(openldap, "lea"), password) for password in both] == [49, 49]
    patch(service, path, replace("active", True))
    assert [openldap.whoami(dn(openldap, "lea"), password) for password in both] == [49, 0]


def test_an_account_that_is_enabled_on_purpose_stays_enabled(openldap, writing, tmp_path, relay):
    service = writing(openldap, server_url=relay.url)
    path = owing(openldap, service, relay)
    refuse_locks(relay, 50)
    service.start()
    wait_until(lambda: failing(service)[0], what="the check")
    patch(service, path, replace("active", True))
    assert failing(service)[0] == []
    relay.ahead = None
    wait_until(lambda: not journals(tmp_path), what="the end of the journal")
    assert not is_locked(openldap, "lea") and openldap.whoami(dn(openldap, "lea"), PASSWORD) == 0


def test_a_start_at_another_directory_leaves_the_journal(openldap, openldaps, writing, tmp_path, relay):
    other = openldaps("other")
    service = writing(openldap, server_url=relay.url)
    owing(openldap, service, relay)
    before = journals(tmp_path)
    service.configure({**service.config, "server_url": other.url})
    service.start()
    wait_until(lambda: failing(service)[0], what="the check")
    named = [line for line in service.log(level="error") if line.get("server") == relay.url and line.get("file") == str(before[0])]
    assert dn(openldap, "lea") in [line["dn"].lower() for line in named if line.get("dn")], named
    assert journals(tmp_path) == before and not list(tmp_path.rglob("*.killed"))
    # The right one, by a reload.
    service.configure({**service.config, "server_url": relay.url})
    service.reload()
    wait_until(lambda: is_locked(openldap, "lea"), what="the lock")
    wait_until(lambda: not journals(tmp_path) and list(tmp_path.rglob("*.killed")), what="the undo file")
    assert failing(service)[0] == []


def test_a_configuration_that_is_refused_takes_over_no_lock(openldap, openldaps, writing, tmp_path, relay):
    other = openldaps("other")
    service = writing(openldap, server_url=relay.url)
    owing(openldap, service, relay)
    refuse_locks(relay, 50)
    service.start()
    wait_until(lambda: failing(service)[0], what="the check")
    config = dict(service.config)
    users = {**config["users"], "base_dn": f"ou=poeple,{people.SUFFIX}"}
    service.configure({**config, "server_url": other.url, "users": users})
    service.reload()
    assert service.log(level="error", setting="users.base_dn")
    relay.ahead = None
    wait_until(lambda: is_locked(openldap, "lea"), seconds=40, what="the lock")
    wait_until(lambda: not journals(tmp_path), what="the end of the journal")
    assert failing(service)[0] == []
    # The one that counts does.
    service.configure({**config, "limits": {"count": 7}})
    service.reload()
    refuse_locks(relay, 50)
    service.request("PATCH", f"/scim/v2/Users/{user(service, 'lea')}", json={
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": [replace("password", people.BOB.password)]})
    relay.ahead = None
    wait_until(lambda: is_locked(openldap, "lea") and not journals(tmp_path), seconds=40, what="the lock by the generation after a reload")


def test_an_account_that_was_renamed_since_is_found(openldap, writing, tmp_path, relay):
    service = writing(openldap, server_url=relay.url)
    owing(openldap, service, relay)
    openldap.modify(f"dn: {dn(openldap, 'lea')}\nchangetype: modrdn\nnewrdn: uid=lea2\ndeleteoldrdn: 1\n")
    service.start()
    wait_until(lambda: is_locked(openldap, "lea2"), what="the lock")


# Runs of target-ldap


class Runs:
    """Runs that bring lea, who is disabled, with one undo_file."""

    def __init__(self, openldap, relay, folder, enabled=None):
        self.openldap, self.relay, self.folder = openldap, relay, folder
        lea = dn(openldap, "lea")
        openldap.add(people.entry(lea, objectClass="inetOrgPerson", uid="lea", cn="Lea", sn="L", userPassword=people.EVE.password))
        openldap.modify(f"dn: {lea}\nchangetype: modify\nadd: {LOCK}\n{LOCK}: 000001010000Z\n")
        rule = {"dn_template": f"uid={{uid}},ou=people,{openldap.suffix}", "object_classes": ["inetOrgPerson"],
                "password": {"from": "password", "mode": "exop", "policy": "force"}}
        self.settings = {"server_url": relay.url, "bind_dn": openldap.admin, "bind_password": openldap.admin_password,
                         "mapping_rules": {"people": rule}, "undo_file": str(folder / "undo.ldif")}
        self.schema = {"type": "SCHEMA", "stream": "people", "key_properties": ["uid"], "schema": {"type": "object", "properties": {
            **{name: {"type": "string"} for name in ("uid", "cn", "sn", "password")}, "enabled": {"type": "boolean"}}}}

    def messages(self, **more):
        record = {"uid": "lea", "cn": "Lea", "sn": "L", **more}
        all_of_them = (self.schema, {"type": "RECORD", "stream": "people", "record": record}, {"type": "STATE", "value": {}})
        return "".join(json.dumps(message) + "\n" for message in all_of_them)

    def config(self, **more):
        path = self.folder / "runs.json"
        path.write_text(json.dumps({**self.settings, **more}))
        path.chmod(0o600)
        return path

    def kill(self):
        self.relay.late = AGAIN
        command = [TARGET_LDAP, "--config", self.config()]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        process.stdin.write(self.messages(password=PASSWORD).encode())
        process.stdin.close()
        wait_until(lambda: self.relay.seen, what="the lock")
        process.kill()
        process.wait()
        self.relay.late = None
        assert not is_locked(self.openldap, "lea")

    def run(self, code, *arguments, record=None, **settings):
        """A run that brings nothing new; its lines of the log that are errors."""
        config = self.config(**settings)
        done = run(TARGET_LDAP, "--config", config, "--log-format", "json", *arguments, input=self.messages(**(record or {})), code=code)
        lines = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
        return [line for line in lines if line.get("level", "").lower() == "error"]


@pytest.fixture
def runs(openldap, relay, tmp_path):
    killed = Runs(openldap, relay, tmp_path)
    killed.kill()
    return killed


def names(errors, directory):
    return dn(directory, "lea") in [line.get("dn", "").lower() for line in errors]


@pytest.mark.parametrize("code", [50, False], ids=["refused", "lost"])
def test_each_run_tries_until_the_lock_is_written(openldap, relay, runs, code):
    refuse_locks(relay, code)
    for _ in range(2):
        assert names(runs.run(1), openldap)
        assert len(journals(runs.folder)) == 1
    relay.ahead = None
    runs.run(0)
    assert is_locked(openldap, "lea") and not journals(runs.folder) and len(list(runs.folder.glob("*.killed"))) == 1
    assert runs.run(0) == []


def test_a_run_at_another_server_leaves_the_journal(openldap, openldaps, relay, runs):
    other = openldaps("other")
    errors = runs.run(1, server_url=other.url)
    assert names(errors, openldap) and relay.url in [line.get("server") for line in errors]
    assert journals(runs.folder) and not list(runs.folder.glob("*.killed")) and not is_locked(openldap, "lea")
    runs.run(0)
    assert is_locked(openldap, "lea") and not journals(runs.folder)


def test_an_alternative_server_is_the_same_directory(openldap, relay, runs):
    # The first one is down: the other leads to the same directory.
    relay.down = True
    runs.run(0, server_url=[relay.url, openldap.url])
    assert is_locked(openldap, "lea") and not journals(runs.folder)


@pytest.mark.parametrize("plan", [False, True], ids=["limit", "plan"])
def test_a_run_that_is_held_back_writes_the_lock_first(openldap, runs, plan):
    more = {"plan_file": str(runs.folder / "plan.ldif")} if plan else {}
    runs.run(5 if plan else 1, record={"cn": "Other"}, max_changes=0, **more)
    assert is_locked(openldap, "lea")
    assert openldap.values(dn(openldap, "lea"), "cn") == {"cn": [b"Lea"]}


def test_a_run_that_is_held_back_names_the_account(openldap, relay, runs):
    refuse_locks(relay, 50)
    plan, told = runs.folder / "plan.ldif", runs.folder / "told.json"
    errors = runs.run(5, record={"cn": "Other"}, max_changes=0, plan_file=str(plan), on_held=f"cat > {told}")
    assert names(errors, openldap)
    lea = [dn(openldap, "lea")]
    assert [name.lower() for name in json.loads(told.read_text())["still_enabled"]] == lea
    head = json.loads(plan.read_text().split("\n", 1)[0].removeprefix("# target-ldap plan "))
    assert [name.lower() for name in head["still_enabled"]] == lea
    relay.ahead = None
    run(TARGET_LDAP, "apply", plan, "--config", runs.config(plan_file=str(plan)))
    assert is_locked(openldap, "lea")


def test_a_dry_run_names_the_account_and_writes_nothing(openldap, runs):
    before = journals(runs.folder)
    assert names(runs.run(0, "--dry-run"), openldap)
    assert journals(runs.folder) == before and not is_locked(openldap, "lea")


def test_a_record_that_enables_the_account_settles_it(openldap, relay, runs):
    runs.settings["mapping_rules"]["people"]["accounts"] = {"enabled": "enabled"}
    refuse_locks(relay, 50)
    runs.run(0, record={"enabled": True})
    relay.ahead = None
    runs.run(0)
    assert not is_locked(openldap, "lea") and not journals(runs.folder)
