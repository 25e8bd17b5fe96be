"""The service as a process: its configuration, its log, and what must never be in either."""

import base64
import hashlib
import html
import json
import os
import pathlib
import re
import signal
import subprocess
import time

import httpx
import people
from directories import wait_until
from slapd import die_with_parent, free_port

# Bearer tokens of the tests, by name.
SCOPES = ["login", "search", "scim.read", "scim.write", "ldif.read", "ldif.write", "plugin", "health"]
# No limit, for a setting that has none.
MANY = 1000000
UNLIMITED = {"max_failures": MANY, "window_seconds": 900, "per_address_per_minute": MANY}
PANIC = re.compile(r"panicked at|RUST_BACKTRACE|stack backtrace|fatal runtime error|internal error: entered unreachable")


def token(name):
    """The bearer token of an API client."""
    return f"Tok-{name}-9Wx5-{hashlib.sha256(name.encode()).hexdigest()[:24]}"


def bearer(name):
    """The Authorization header of an API client."""
    return {"Authorization": f"Bearer {token(name)}"}


def basic(username, password):
    """The Authorization header of HTTP Basic; a password may be octets."""
    octets = password if isinstance(password, bytes) else password.encode()
    return {"Authorization": "Basic " + base64.b64encode(username.encode() + b":" + octets).decode()}


def forward(service, headers=None, role=None):
    """A proxy's question about a request with these headers."""
    return service.client.get("/api/v1/auth/forward", params={"role": role} if role else None, headers=headers)


def configuration(directory, folder, **settings):
    """The configuration for a directory with the content of people.py. A setting of None is left out."""
    suffix = directory.suffix
    tokens = []
    for name, scopes in {"all": SCOPES, **{s: [s] for s in SCOPES}, "none": []}.items():
        file = pathlib.Path(folder) / f"{name}.sha256"
        file.write_text(hashlib.sha256(token(name).encode()).hexdigest() + "\n")
        file.chmod(0o600)
        if scopes:
            tokens.append({"name": name, "sha256_file": str(file), "scopes": scopes})
    config = {
        "server_url": directory.url,
        "bind_dn": people.service_dn(suffix),
        "bind_password": people.SERVICE_PASSWORD,
        "users": {
            "base_dn": f"ou=people,{suffix}",
            "filter": "(objectClass=person)",
            "login_attributes": ["uid"],
        },
        "groups": {"base_dn": f"ou=groups,{suffix}", "filter": "(objectClass=groupOfNames)", "nested": "auto"},
        "roles": [
            {"role": "admin", "groups": [people.group_dn("admins", suffix)]},
            {"role": "staff", "groups": [people.group_dn("staff", suffix)]},
            {"role": "{cn}", "below": f"ou=roles,{suffix}"},
        ],
        # High: a test that is about throttling sets its own. One client makes all requests here.
        "login": {"max_failures": 4, "window_seconds": 900, "per_address_per_minute": MANY, "session_minutes": 480},
        "api_tokens": tokens,
        "write": {"mapping_rules": {"users": {}, "groups": {}}, "max_deletes": 100000, "undo_dir": str(pathlib.Path(folder) / "undo")},
        **settings,
    }
    return {name: value for name, value in config.items() if value is not None}


def scim_settings(suffix):
    """Settings for the SCIM suites: they write externalId, which no LDAP attribute is for, and an id of a member that nobody has."""
    return {
        "users": {"base_dn": f"ou=people,{suffix}", "filter": "(objectClass=person)", "login_attributes": ["uid"],
                  "scim": {"externalId": "carLicense"}},
        "groups": {"base_dn": f"ou=groups,{suffix}", "filter": "(objectClass=groupOfNames)", "nested": "auto",
                   "scim": {"externalId": "businessCategory"}, "unknown_members": "ignore"},
    }


class Service:
    """A running service. `stop` ends it and checks what it wrote."""

    def __init__(self, executable, folder, config, ready=True, environment=None, arguments=()):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.executable, self.arguments, self.environment = executable, arguments, environment or {}
        self.secrets = {people.SERVICE_PASSWORD, *(p.password for p in people.PEOPLE), token("all")}
        self.port = free_port()
        self.config_path = self.folder / "service.json"
        self.configure({"listen": f"127.0.0.1:{self.port}", **config})
        # A file, no pipe: what the service wrote before it answered is there when the answer is.
        self.log_path = self.folder / "service.log"
        self.process = self.client = None
        self.start(ready)

    @property
    def url(self):
        scheme = "https" if self.config.get("listen_cert_file") else "http"
        return f"{scheme}://{self.config['listen']}"

    def configure(self, config):
        """Writes the configuration; `reload` makes a running service read it."""
        self.config = config
        work = self.config_path.with_suffix(".new")
        work.write_text(json.dumps(config))
        work.chmod(0o600)
        work.replace(self.config_path)

    def start(self, ready=True):
        """Starts the process and waits until it answers: `/health/ready`, or with ready=False `/health/live`."""
        environment = {"PATH": os.environ.get("PATH", ""), "HOME": str(self.folder), "TMPDIR": str(self.folder)}
        environment |= {"RUST_BACKTRACE": "1", **self.environment}
        command = [str(self.executable), "--config", str(self.config_path), "--log-format", "json", *self.arguments]
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, env=environment,
                cwd=self.folder, preexec_fn=die_with_parent,
            )
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
        verify = self.config.get("listen_cert_file") or True
        self.client = httpx.Client(base_url=self.url, timeout=30, limits=limits, trust_env=False, verify=verify)
        self.wait("/health/ready" if ready else "/health/live")

    @property
    def lines(self):
        """The whole lines of the log, from the first start on."""
        return self.log_path.read_bytes().decode("utf-8", "backslashreplace").split("\n")[:-1]

    def wait(self, path="/health/ready", seconds=30, status=200):
        """Waits until a path answers with a status."""
        deadline, last = time.monotonic() + seconds, None
        while True:
            try:
                answer = self.client.get(path, timeout=5)
                if answer.status_code == status:
                    return answer
                last = f"{answer.status_code} {answer.text[:500]}"
            except httpx.TransportError as error:
                last = repr(error)
            assert self.process.poll() is None, f"the service ended: exit code {self.process.returncode}\n{self.log_text()}"
            assert time.monotonic() < deadline, f"{path} is not {status} within {seconds} s: {last}\n{self.log_text()}"
            time.sleep(0.02)

    def log_text(self):
        return "\n".join(self.lines[-200:])

    def log(self, **fields):
        """The lines of the JSON log that have these fields."""
        records = []
        for line in self.lines:
            try:
                record = json.loads(line)
            except ValueError as error:
                raise AssertionError(f"a log line is not JSON: {line}") from error
            if all(record.get(name) == value for name, value in fields.items()):
                records.append(record)
        return records

    def login(self, username, password, headers=None, **options):
        """POST /api/v1/auth/login; the password typed must not be in a log or in the answer."""
        if len(password) > 5:
            self.secrets.add(password)
        body = {"username": username, "password": password}
        answer = self.client.post("/api/v1/auth/login", json=body, headers=headers, **options)
        assert not password or len(password) <= 5 or password not in answer.text, "the password is in the answer"
        return answer

    def form_login(self, username, password, return_to=None, client=None, headers=None):
        """Logs in as a browser does: the page, its hidden fields, the form. Returns the answer to the form."""
        if len(password) > 5:
            self.secrets.add(password)
        client = client or self.client
        page = client.get("/login", params={"return_to": return_to} if return_to is not None else None, headers=headers)
        assert page.status_code == 200, page.text
        hidden = {}
        for field in re.findall(r"<input[^>]*>", page.text):
            values = {name: html.unescape(value) for name, value in re.findall(r'([a-z-]+)="([^"]*)"', field)}
            if values.get("type") == "hidden":
                hidden[values["name"]] = values["value"]
        # As if the page had asked for it: what the page has left out is given all the same.
        form = {**hidden, "username": username, "password": password}
        if return_to is not None:
            form["return_to"] = return_to
        return client.post("/login", data=form, headers=headers)

    def request(self, method, path, caller="all", **options):
        """A request with an API token."""
        headers = {**(bearer(caller) if caller else {}), **options.pop("headers", {})}
        return self.client.request(method, path, headers=headers, **options)

    def rss(self):
        """Resident memory in KiB."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"^VmRSS:\s+(\d+) kB", status, re.M).group(1))

    def descriptors(self):
        """How many files and sockets are open."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def reload(self, seconds=15):
        """SIGHUP, until the log says that the configuration was read again, or that the earlier one stays."""
        seen, ends = len(self.lines), ("the configuration was read again", "the earlier configuration stays")
        self.process.send_signal(signal.SIGHUP)
        wait_until(lambda: any(end in line for line in self.lines[seen:] for end in ends), seconds=seconds, what="the reload")

    def terminate(self):
        """SIGTERM, without waiting."""
        self.process.send_signal(signal.SIGTERM)

    def end(self, seconds=30):
        """SIGTERM, and the exit code. A process that does not end is killed, which fails the test."""
        if self.process.poll() is None:
            self.terminate()
        try:
            code = self.process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            code = "killed: it did not end"
        return code

    def stop(self):
        """Ends the service. Fails for a panic, a secret on stderr, anything on stdout, or another exit code than 0."""
        if self.process is None:
            return
        process, ended = self.process, self.process.poll()
        code = self.end()
        out = process.stdout.read()
        process.stdout.close()
        self.client.close()
        self.process = None
        self.check_log()
        assert not out, f"stdout: {out[:2000]!r}"
        assert ended is None, f"the service ended before its test: exit code {ended}\n{self.log_text()}"
        assert code == 0, f"exit code {code}\n{self.log_text()}"

    def check_log(self):
        """Fails for a panic, a secret, a control character, or a line that is not JSON."""
        text = "\n".join(self.lines)
        assert not PANIC.search(text), f"the service panicked:\n{text[-6000:]}"
        for secret in self.secrets:
            forms = {secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
            assert not any(form in text for form in forms), f"a secret is in the log: {secret!r}"
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", text), "a control character is in the log"
        self.log()
