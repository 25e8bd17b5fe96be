"""Helpers for tests of writes: requests, undo with target-ldap, a full disk, contents of directories to compare."""

import base64
import json
import os
import pathlib
import subprocess
import threading

import httpx
import people
from conftest import BIN, run
from directories import wait_until

TARGET_LDAP = pathlib.Path(os.environ.get("TARGET_LDAP", BIN / "target-ldap"))
IMPORT = "/api/v1/ldap/import"
USER = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
MEDIA = {"Content-Type": "application/scim+json"}
# What servers keep themselves.
OPERATIONAL = {"memberOf"}


def dn(directory, name):
    """The DN of a person, as `content` and most servers write it."""
    return f"uid={name},ou=people,{directory.suffix}".lower()


def content(directory, *bases, without=()):
    """What is at and below the bases: {dn in small letters: {attribute: sorted values}}."""
    found = {}
    left_out = OPERATIONAL | {"userPassword", *without}
    for base in bases or (f"ou=people,{directory.suffix}", f"ou=groups,{directory.suffix}"):
        command = directory.command("ldapsearch", "-LLL", "-o", "ldif-wrap=no", "-b", base, "(objectClass=*)", "*")
        env = {**os.environ, "LDAPTLS_CACERT": getattr(directory, "ca", None) or ""}
        env = {name: value for name, value in env.items() if value}
        text = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=env).stdout
        for block in text.split(b"\n\n"):
            values = {}
            for line in block.splitlines():
                name, _, value = line.partition(b":")
                value = base64.b64decode(value[1:]) if value.startswith(b":") else value[1:]
                values.setdefault(name.decode(), []).append(value)
            if values:
                dn = values.pop("dn")[0].decode()
                found[dn.lower()] = {n: sorted(v) for n, v in values.items() if n not in left_out}
    return found


def empty(directory):
    """Deletes everything below ou=people and ou=groups."""
    for unit in ("groups", "people"):
        base = f"ou={unit},{directory.suffix}"
        for dn in sorted((d for d in content(directory, base) if d != base.lower()), key=len, reverse=True):
            directory.modify(f"dn:: {base64.b64encode(dn.encode()).decode()}\nchangetype: delete\n")


def undo(directory, file, folder, *arguments, code=0):
    """`target-ldap undo FILE`, as the administrator: 389 accepts hashed passwords of nobody else."""
    settings = {"server_url": directory.url, "bind_dn": directory.admin, "bind_password": directory.admin_password}
    config = pathlib.Path(folder) / "target.json"
    config.write_text(json.dumps(settings))
    config.chmod(0o600)
    assert TARGET_LDAP.exists(), f"{TARGET_LDAP} is missing: cargo build --all-features -p target-ldap"
    return run(TARGET_LDAP, "undo", file, "--config", config, *arguments, code=code)


def tap(settings, folder):
    """A run of `tap-ldap`: its messages, and the warnings of its log."""
    config = pathlib.Path(folder) / "tap.json"
    config.write_text(json.dumps(settings))
    config.chmod(0o600)
    done = run(TARGET_LDAP.with_name("tap-ldap"), "--config", config, "--log-format", "json")
    log = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    return [json.loads(line) for line in done.stdout.splitlines()], [line for line in log if line["level"].lower().startswith("warn")]


class FullDisk:
    """A file system of a few blocks, mounted while the context lasts. Needs root."""

    def __init__(self, folder, size="64k"):
        self.folder, self.size = pathlib.Path(folder), size

    def __enter__(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        run("mount", "-t", "tmpfs", "-o", f"size={self.size},mode=0700", "tmpfs", self.folder)
        return self

    def fill(self):
        """Uses up what is left."""
        with open(self.folder / "filler", "wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"x" * 4096)
            except OSError:
                pass

    def free(self):
        (self.folder / "filler").unlink()

    def __exit__(self, *_):
        run("umount", "-l", self.folder)


# LDIF


def send(service, text, dry_run=False, caller="all", accept=None, **options):
    headers = {"Content-Type": "text/ldif", **({"Accept": accept} if accept else {})}
    params = {"dry_run": "true"} if dry_run else {}
    body = text.encode() if isinstance(text, str) else text
    return service.request("POST", IMPORT, caller, params=params, headers=headers, content=body, timeout=300, **options)


def report(answer, status=200):
    assert answer.status_code == status, answer.text
    return answer.json()


def change(dn, *lines):
    return "\n".join((f"dn:: {base64.b64encode(dn.encode()).decode()}", *lines)) + "\n\n"


def person(n, suffix, **more):
    attributes = {"objectClass": "inetOrgPerson", "uid": f"new{n}", "cn": f"New {n}", "sn": f"N{n}", **more}
    return people.entry(f"uid=new{n},ou=people,{suffix}", **attributes)


def numbers(report):
    return {name: report[name] for name in ("added", "modified", "renamed", "deleted", "unchanged", "rejected")}


def undo_path(service, result):
    return pathlib.Path(service.config["write"]["undo_dir"]) / result["undo_file"]


# SCIM


def scim(service, method, path, body=None, **options):
    return service.request(method, f"/scim/v2{path}", headers={**MEDIA, **options.pop("headers", {})}, json=body, **options)


def ok(answer, status=200):
    assert answer.status_code == status, answer.text
    return answer


def new(service, name, status=201, **more):
    body = {"schemas": [USER], "userName": name, "name": {"familyName": name}, **more}
    return ok(scim(service, "POST", "/Users", body), status)


def patch(service, path, *operations, status=200, **options):
    return ok(scim(service, "PATCH", path, {"schemas": [PATCH], "Operations": list(operations)}, **options), status)


def user(service, name):
    found = ok(scim(service, "GET", f'/Users?filter=userName eq "{name}"')).json()["Resources"]
    return found[0]["id"]


def group(service, name):
    found = ok(scim(service, "GET", f'/Groups?filter=displayName eq "{name}"&excludedAttributes=members')).json()["Resources"]
    return found[0]["id"]


def replace(path, value):
    """An operation of a PATCH."""
    return {"op": "replace", "path": path, "value": value}


def undo_files(service):
    """The undo files of a service, the newest last."""
    folder = service.folder / service.config["write"]["undo_dir"]
    return sorted(folder.rglob("*.ldif"), key=lambda file: file.stat().st_mtime_ns)


def kill_while(service, work, is_time, what):
    """Kills the service once `is_time()`, while a request (`work`) is under way; `what` is waited for."""
    def attempt():
        try:
            work()
        except httpx.TransportError:
            pass

    thread = threading.Thread(target=attempt)
    thread.start()
    wait_until(is_time, what=what)
    service.process.kill()
    service.process.wait()
    thread.join(30)
