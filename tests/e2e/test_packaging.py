"""packaging/: the script that systemd, cron and Kubernetes run, and the configurations of the manifests, against real servers."""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import time

import pytest
import yaml
from conftest import BIN, ROOT, run
from ldap import SUFFIX_LDIF, entries, entry, modify, unit
from slapd import ADMIN, PASSWORD, SUFFIX, free_port

SCRIPT = ROOT / "packaging/singer-ldap-run"
# busybox is the image's; scripts/check-release.sh installs it.
SHELLS = ["sh", "bash"] + ["busybox sh"] * bool(shutil.which("busybox"))
SYNCPROV = {"modules": "moduleload syncprov\n", "overlays": "overlay syncprov\nsyncprov-sessionlog 100\n"}
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if not name.startswith(("TAP_LDAP_", "TARGET_LDAP_", "FLEXT_"))},
    "PATH": f"{BIN}:{os.environ['PATH']}",
}


def person(uid, **more):
    return entry(f"uid={uid},ou=people,{SUFFIX}", objectClass="inetOrgPerson", uid=uid, cn=uid.title(), sn="Test", **more)


def manifest(kind):
    """The configurations in a manifest's ConfigMap."""
    objects = yaml.safe_load_all((ROOT / f"packaging/kubernetes/{kind}.yaml").read_text())
    data = next(o for o in objects if o["kind"] == "ConfigMap")["data"]
    return json.loads(data["tap.json"]), json.loads(data["target.json"])


@pytest.fixture
def pipeline(tmp_path):
    """Writes both configurations, and gives the command line of the script in a shell."""

    def pipeline(tap, target, shell="sh"):
        for name, config in (("tap", tap), ("target", target)):
            (tmp_path / f"{name}.json").write_text(json.dumps(config))
        return [*shell.split(), SCRIPT, *(tmp_path / n for n in ("tap.json", "target.json", "state.json"))]

    return pipeline


@pytest.mark.parametrize("shell", SHELLS)
def test_the_state_is_kept_and_passed_on(pipeline, tmp_path, shell):
    source = tmp_path / "source.ldif"
    source.write_text(SUFFIX_LDIF + unit("people") + person("ada", modifyTimestamp="20260101000000Z"))
    tap = {"server_url": f"ldif:{source}", "schemas": [{"name": "people", "filter": "(objectClass=person)", "replication_method": "INCREMENTAL", "replication_key": "modifyTimestamp"}]}
    command = pipeline(tap, {"server_url": f"ldif:{tmp_path}/copy.ldif", "mapping_rules": {"people": {"dn_template": "uid={uid},dc=copy", "object_classes": ["inetOrgPerson"]}}}, shell)
    run(*command, env=ENVIRONMENT)
    first = json.loads((tmp_path / "state.json").read_text())
    assert first["bookmarks"]["people"]["replication_key_value"].startswith("2026-01")
    source.write_text(source.read_text() + person("grace", modifyTimestamp="20260201000000Z"))
    # Without the STATE, ada would come again, and be unchanged.
    said = run(*command, env={**ENVIRONMENT, "TMPDIR": str(tmp_path)}).stderr
    assert "people: 1 added, 0 modified, 0 renamed, 0 deleted, 0 unchanged" in said, said
    assert json.loads((tmp_path / "state.json").read_text())["bookmarks"]["people"]["replication_key_value"].startswith("2026-02")
    assert (tmp_path / "copy.ldif").read_text().count("dn: uid=") == 2
    # The pipes are gone.
    assert {path.name for path in tmp_path.iterdir()} == {"source.ldif", "copy.ldif", "tap.json", "target.json", "state.json", "state.json.lock"}


@pytest.mark.parametrize("shell", SHELLS)
def test_the_exit_code_is_that_of_the_program_that_failed(pipeline, tmp_path, shell):
    company, copy = f"ldif:{ROOT}/catalogs/demo/company.ldif", f"ldif:{tmp_path}/copy.ldif"
    for tap, target, environment, code in [
        ({"server_url": company}, {"server_url": copy}, {}, 0),
        ({"server_url": company, "discover_by": "nothing"}, {"server_url": copy}, {}, 2),
        # The environment completes both configurations, and is the stronger.
        ({"server_url": company}, {"server_url": copy}, {"TAP_LDAP_DISCOVER_BY": "nothing"}, 2),
        ({"server_url": company}, {"server_url": copy}, {"TARGET_LDAP_ON_ERROR": "nothing"}, 2),
        ({"server_url": "ldap://127.0.0.1:1", "retry_attempts": 0}, {"server_url": copy}, {}, 3),
        ({"server_url": company}, {"server_url": "ldap://127.0.0.1:1", "retry_attempts": 0}, {}, 3),
    ]:
        run(*pipeline(tap, target, shell), code=code, env={**ENVIRONMENT, **environment})
    state = json.loads((tmp_path / "state.json").read_text())
    assert state["bookmarks"], "a run that failed leaves the STATE of the one before"
    run("sh", SCRIPT, tmp_path / "tap.json", code=2, env=ENVIRONMENT)
    # A STATE that cannot be written is no success.
    command = pipeline({"server_url": company}, {"server_url": copy}, shell)
    run(*command[:-1], tmp_path / "none" / "state.json", code=1, env=ENVIRONMENT)


def await_that(what, process, log, seconds=30):
    """Waits until `what()` is true; it fails when the process ends, or never becomes so."""
    end = time.monotonic() + seconds
    while not what():
        assert process.poll() is None, f"ended with {process.returncode}: {log.read_text()}"
        assert time.monotonic() < end, f"not within the time: {log.read_text()}"
        time.sleep(0.05)


@pytest.mark.parametrize("shell", [SHELLS[0], SHELLS[-1]])
def test_the_deployment_follows_and_stops_gracefully(slapds, pipeline, tmp_path, shell):
    """The configurations of packaging/kubernetes/deployment.yaml; only addresses, accounts and limits of this machine differ."""
    tree = SUFFIX_LDIF + unit("people") + person("ada")
    source, copy = slapds("source", tree, **SYNCPROV), slapds("copy", SUFFIX_LDIF + unit("people"))
    tap, target = manifest("deployment")
    tap |= {"server_url": source.url, "bind_dn": ADMIN, "metrics_listen": f"127.0.0.1:{free_port()}", "state_dir": str(tmp_path / "tap")}
    target |= {"server_url": copy.url, "bind_dn": ADMIN, "metrics_listen": f"127.0.0.1:{free_port()}"}
    assert tap["follow"] and tap["schemas"][0]["base_dn"] == "ou=people,dc=example,dc=com"
    tap["schemas"][0]["base_dn"] = f"ou=people,{SUFFIX}"
    secrets = {"TAP_LDAP_BIND_PASSWORD": PASSWORD, "TARGET_LDAP_BIND_PASSWORD": PASSWORD}
    command = pipeline(tap, target, shell)
    state = tmp_path / "state.json"
    log = (tmp_path / "log").open("w+")
    process = subprocess.Popen(list(map(str, command)), env={**ENVIRONMENT, **secrets}, stderr=log, start_new_session=True)
    try:
        await_that(lambda: f"uid=ada,ou=people,{SUFFIX}" in entries(copy) and state.exists(), process, tmp_path / "log")
        before = state.read_text()
        modify(source, person("grace").replace("\n", "\nchangetype: add\n", 1))
        # While it runs: the change, and then the STATE after it.
        await_that(lambda: f"uid=grace,ou=people,{SUFFIX}" in entries(copy) and state.read_text() != before, process, tmp_path / "log")
        # As systemd and Kubernetes do: the script alone is signaled.
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)
        assert process.returncode == 143, (tmp_path / "log").read_text()
        after = json.loads(state.read_text())
        assert "people" in after["bookmarks"]
    finally:
        # Whatever is left of it, and nothing else: it has a session of its own.
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    assert subprocess.run(["pgrep", "-s", str(process.pid)], capture_output=True).stdout == b"", "a program outlived the script"
    # And on from there.
    modify(source, f"dn: uid=ada,ou=people,{SUFFIX}\nchangetype: delete\n")
    tap["follow"] = False
    run(*pipeline(tap, target, shell), env={**ENVIRONMENT, **secrets})
    assert set(entries(copy, SUFFIX, "(objectClass=person)")) == {f"uid=grace,ou=people,{SUFFIX}"}


def test_the_cron_jobs_configuration_mirrors(slapds, pipeline, tmp_path):
    """The configurations of packaging/kubernetes/cronjob.yaml, with this machine's addresses, accounts and folders."""
    source, copy = slapds("source", SUFFIX_LDIF + unit("people") + person("ada") + person("grace")), slapds("copy", SUFFIX_LDIF)
    tap, target = manifest("cronjob")
    tap |= {"server_url": source.url, "bind_dn": ADMIN, "base_dn": SUFFIX, "state_dir": str(tmp_path / "tap")}
    target |= {"server_url": copy.url, "bind_dn": ADMIN, "undo_file": target["undo_file"].replace("/state", str(tmp_path))}
    secrets = {"TAP_LDAP_BIND_PASSWORD": PASSWORD, "TARGET_LDAP_BIND_PASSWORD": PASSWORD}
    run(*pipeline(tap, target), env={**ENVIRONMENT, **secrets})
    assert set(entries(copy)) == set(entries(source))
    modify(source, f"dn: uid=ada,ou=people,{SUFFIX}\nchangetype: delete\n")
    # 5 % of four entries is none: the limit holds.
    assert target["max_deletes"] == "5%"
    run(*pipeline(tap, target), env={**ENVIRONMENT, **secrets}, code=1)
    assert len(entries(copy)) == len(entries(source)) + 1
    run(*pipeline(tap, target | {"max_deletes": 1}), env={**ENVIRONMENT, **secrets})
    assert set(entries(copy)) == set(entries(source))
    assert list(tmp_path.glob("undo-*.ldif")) and (tmp_path / "state.json").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("shell", SHELLS)
def test_two_runs_do_not_share_a_state(pipeline, tmp_path, shell):
    """The second one ends at once, and leaves everything to the first."""
    (tmp_path / "source.ldif").write_text(SUFFIX_LDIF)
    command = pipeline({"server_url": f"ldif:{tmp_path}/source.ldif"}, {"server_url": f"ldif:{tmp_path}/copy.ldif"}, shell)
    with open(tmp_path / "state.json.lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        run(*command, code=75, env=ENVIRONMENT)
    assert not (tmp_path / "copy.ldif").exists()
    run(*command, env=ENVIRONMENT)
    assert (tmp_path / "copy.ldif").exists()
