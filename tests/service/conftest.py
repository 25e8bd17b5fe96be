"""What the service tests share: the executables, directories, the service, reverse proxies and a browser."""

import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path += [str(ROOT / "tests" / "bench"), str(pathlib.Path(__file__).parent)]

import issuers  # noqa: E402
import people  # noqa: E402
import proxies  # noqa: E402
from directories import OpenLdap, Served  # noqa: E402
from service import Service, configuration  # noqa: E402
from wire import Wire  # noqa: E402

TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
BIN = pathlib.Path(os.environ.get("BIN", TARGET / "debug"))
SERVICE = pathlib.Path(os.environ.get("LDAP_SERVICE", BIN / "ldap-service"))
TOOLS = pathlib.Path(os.environ.get("SERVICE_TOOLS", TARGET / "service"))
# The full numbers: 2,000 logins, 10,000 cases, 100,000 requests.
LONG = os.environ.get("SERVICE_LONG") == "1"


def tool(group, program):
    """An executable of an environment that scripts/install-service-tests.sh makes; a missing one fails the test."""
    path = TOOLS / group / "bin" / program
    if not path.exists():
        path = TOOLS / group / "node_modules" / ".bin" / program
    assert path.exists(), f"{program} is missing: scripts/install-service-tests.sh {TOOLS} {group}"
    return path


def run(*command, code=0, **options):
    """Runs a command; an exit code other than `code` fails the test with what was said. None: any."""
    options.setdefault("timeout", 600)
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, **options)
    said = f"{command}\nexit code {done.returncode}, not {code}\n--- stdout\n{done.stdout[-6000:]}\n--- stderr\n{done.stderr[-6000:]}"
    assert code is None or done.returncode == code, said
    return done


@pytest.fixture
def openldaps(tmp_path):
    """Starts slapds with the content of people.py: `openldaps(name, …)`, arguments as in directories.OpenLdap."""
    servers = []

    def start(name="slapd", **options):
        servers.append(OpenLdap(tmp_path / name, **options))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def openldap(openldaps):
    """A slapd of the test's own, which it may change and kill."""
    return openldaps()


@pytest.fixture(scope="session")
def shared_openldap(tmp_path_factory):
    """A slapd for tests that change nothing and lock nobody."""
    server = OpenLdap(tmp_path_factory.mktemp("shared") / "slapd")
    yield server
    server.stop()


@pytest.fixture(scope="session")
def serve():
    """The program that starts 389 Directory Server and Samba."""
    path = pathlib.Path(os.environ.get("SERVE", BIN / "serve"))
    assert path.exists(), f"{path} is missing: cargo build --all-features -p ldap-tests --bin serve"
    return path


def start_ds389(serve):
    suffix = "dc=example,dc=com"
    server = Served(serve, "ds389", people.ldif(suffix, with_suffix=False))
    # 389 has no rule for anybody unless it is given one.
    server.modify(
        f"dn: {suffix}\nchangetype: modify\nadd: aci\n"
        f'aci: (targetattr="*")(version 3.0; acl "service"; allow(all) userdn="ldap:///{people.service_dn(suffix)}";)\n'
    )
    return server


@pytest.fixture
def ds389(serve):
    """A 389 Directory Server with the content of people.py, of the test's own."""
    server = start_ds389(serve)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def shared_ds389(serve):
    """A 389 Directory Server for tests that change nothing and lock nobody."""
    server = start_ds389(serve)
    yield server
    server.stop()


@pytest.fixture
def samba(serve):
    """A Samba domain controller; the test adds what it needs."""
    server = Served(serve, "samba")
    yield server
    server.stop()


@pytest.fixture(params=["openldap", "ds389"])
def directory(request):
    """slapd, then 389 Directory Server."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def services(tmp_path):
    """Starts services: `services(directory, name="service", ready=True, **settings)`, settings over the usual ones."""
    assert SERVICE.exists(), f"{SERVICE} is missing: cargo build --all-features -p ldap-service"
    started = []

    def start(directory, name="service", ready=True, environment=None, **settings):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        service = Service(SERVICE, folder, configuration(directory, folder, **settings), ready, environment)
        started.append(service)
        return service

    yield start
    failures = []
    for service in started:
        try:
            service.stop()
        except AssertionError as error:
            failures.append(str(error))
    assert not failures, "\n".join(failures)


@pytest.fixture
def service(services, shared_openldap):
    """A service over the shared slapd."""
    return services(shared_openldap)


@pytest.fixture
def writing(services, tmp_path):
    """A service that writes: `writing(directory, **write)`; undo files are in tmp_path/undo."""

    def start(directory, name="service", undo_dir=None, **settings):
        write = {"mapping_rules": {}, "max_deletes": 10, "undo_dir": str(undo_dir or tmp_path / "undo"), **settings.pop("write", {})}
        return services(directory, name=name, write=write, **settings)

    return start


@pytest.fixture
def relay(openldap):
    """What the service sees in place of the slapd: see wire.py."""
    wire = Wire(openldap.url)
    yield wire
    wire.stop()


@pytest.fixture
def own(tmp_path):
    """Starts issuers of our own: `own(…)`, see issuers/own.py."""
    tool("oidc", "python")
    started = []

    def start(*certificate):
        folder = tmp_path / f"issuer{len(started)}"
        folder.mkdir()
        started.append(issuers.own(TOOLS, folder, *certificate))
        return started[-1]

    yield start
    for server in started:
        server.stop()


@pytest.fixture
def application():
    """The page behind a proxy."""
    running = proxies.Page()
    yield running
    running.stop()
