"""systemd's units and the manifests for Kubernetes, by systemd-analyze and the schemas of Kubernetes' own API."""

import json
import pathlib
import re
import subprocess
import sys

import pytest
import yaml
from conftest import ROOT, run

BIN = pathlib.Path(sys.executable).parent
UNITS = ROOT / "packaging/systemd"
MANIFESTS = sorted((ROOT / "packaging/kubernetes").glob("*.yaml"))


def verify(folder, root):
    """`systemd-analyze verify` of an instance of the units in a folder, on a machine whose /usr is `root`."""
    there = root / "lib/systemd/system"
    there.mkdir(parents=True, exist_ok=True)
    # The units that ours name.
    for name in ("network-online.target", "nss-lookup.target", "timers.target", "multi-user.target", "sysinit.target", "basic.target", "shutdown.target", "time-set.target", "time-sync.target"):
        (there / name).write_text("[Unit]\nDescription=test\n")
    for unit in folder.iterdir():
        (there / unit.name).write_text(unit.read_text())
    for name in ("usr/bin/singer-ldap-run", "usr/bin/ldap-service", "bin/kill"):
        program = root / name
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
    command = ["systemd-analyze", "verify", "--man=no", f"--root={root}", "singer-ldap@hr.service", "singer-ldap@hr.timer", "ldap-service.service"]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.returncode, "".join(line for line in done.stderr.splitlines(True) if "singer-ldap" in line or "ldap-service" in line)


def test_systemd_takes_the_units(tmp_path):
    code, said = verify(UNITS, tmp_path)
    assert (code, said) == (0, "")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("OnCalendar=hourly", "OnCalendar=hurly", "hurly"),
        ("/usr/bin/singer-ldap-run", "/usr/bin/singer-ldap-ran", "singer-ldap-ran"),
        ("/usr/bin/ldap-service", "/usr/bin/ldap-serves", "ldap-serves"),
        ("DynamicUser=yes", "DynamicUsers=yes", "DynamicUsers"),
        ("@system-service", "@system-services", "system-services"),
    ],
)
def test_systemd_refuses_broken_units(copy, tmp_path, old, new, said):
    folder = copy("packaging/systemd")
    changed = 0
    for unit in folder.iterdir():
        text = unit.read_text()
        changed += old in text
        unit.write_text(text.replace(old, new))
    assert changed
    assert said in verify(folder, tmp_path / "root")[1]


@pytest.mark.parametrize("unit", ["singer-ldap@.service", "ldap-service.service"])
def test_the_service_is_hardened(unit):
    """`systemd-analyze security`: 0 is the best, 10 the worst. What is left: the network, which the service is for."""
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=15", UNITS / unit]
    run(*command)
    run(*command[:-2], "--threshold=5", command[-1], code=1)


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda p: p.name)
def test_kubernetes_takes_the_manifests(path, tmp_path):
    check = [BIN / "kubernetes-validate", "--strict", "--quiet"]
    # The newest API, and the oldest that has podFailurePolicy without a feature gate.
    run(*check, path)
    run(*check, "--kubernetes-version", "1.31", path)
    broken = tmp_path / path.name
    for old, new in [("concurrencyPolicy: Forbid", "concurrencyPolicy: Forbid\n  concurrency: 1"), ("replicas: 1", 'replicas: "one"')]:
        if old in path.read_text():
            broken.write_text(path.read_text().replace(old, new))
            run(*check, broken, code=1)
    assert broken.is_file()


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda p: p.name)
def test_pods_are_restricted_and_name_what_is_there(path):
    """What the Pod Security Standard `restricted` asks for; references between the objects of the file."""
    objects = {o["kind"]: o for o in yaml.safe_load_all(path.read_text())}
    work = objects.get("CronJob") or objects["Deployment"]
    spec = (work["spec"].get("jobTemplate") or work)["spec"]["template"]["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] and spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    (container,) = spec["containers"]
    assert container["securityContext"] == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    assert container["image"].endswith(":" + run(ROOT / "scripts/version.sh").stdout.strip())
    volumes = {v["name"]: v for v in spec["volumes"]}
    assert volumes["config"]["configMap"]["name"] == objects["ConfigMap"]["metadata"]["name"]
    assert volumes["state"]["persistentVolumeClaim"]["claimName"] == objects["PersistentVolumeClaim"]["metadata"]["name"]
    # The script's arguments are files of these volumes.
    mounts = {m["mountPath"] for m in container["volumeMounts"]}
    program, *files = container["args"]
    assert program == "singer-ldap-run" and {str(pathlib.PurePath(f).parent) for f in files} <= mounts
    assert {pathlib.PurePath(f).name for f in files[:2]} == set(objects["ConfigMap"]["data"])
    # The user of the container file.
    user = spec["securityContext"]["runAsUser"]
    assert f"USER {user}:{user}" in (ROOT / "packaging/container/Containerfile").read_text()


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda p: p.name)
def test_settings_of_the_manifests_exist(path):
    """The configurations have no password, and no setting that the executables do not know. (tests/e2e/test_packaging.py runs them.)"""
    data = next(o for o in yaml.safe_load_all(path.read_text()) if o["kind"] == "ConfigMap")["data"]
    for program, name in (("tap-ldap", "tap.json"), ("target-ldap", "target.json")):
        known = set(re.findall(r'<a id="(\w+)"></a>', (ROOT / f"docs/reference/{program}.md").read_text()))
        settings = json.loads(data[name])
        assert set(settings) <= known and "bind_password" not in settings
