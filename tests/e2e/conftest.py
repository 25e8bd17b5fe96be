"""What the end-to-end tests share: the executables, the Python environments, and servers that end with the test."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path += [str(ROOT / "tests" / "bench"), str(pathlib.Path(__file__).parent)]

from postgres import Postgres  # noqa: E402
from slapd import Slapd  # noqa: E402

TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
BIN = pathlib.Path(os.environ.get("BIN", TARGET / "debug"))
MELTANO = TARGET / "meltano" / "bin" / "meltano"


def venv(group, program):
    """An executable of one of the environments that scripts/install-e2e.sh makes."""
    return TARGET / "e2e" / group / "bin" / program


def run(*command, code=0, **options):
    """Runs a command; an exit code other than `code` fails the test with what was said."""
    options.setdefault("timeout", 300)
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, **options)
    said = f"{command}\nexit code {done.returncode}, not {code}\n--- stdout\n{done.stdout[-4000:]}\n--- stderr\n{done.stderr[-6000:]}"
    assert done.returncode == code, said
    return done


def messages(text):
    """The Singer messages of a text."""
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def slapds(tmp_path):
    """Starts slapds: `slapds(name, LDIF, …)`, further arguments as in tests/bench/slapd.py."""
    servers = []

    def start(name, ldif, **options):
        servers.append(Slapd(str(tmp_path / name), [ldif], **options))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture(scope="session")
def postgres(tmp_path_factory):
    """A PostgreSQL server for the session."""
    server = Postgres(tmp_path_factory.mktemp("postgres"))
    yield server
    server.stop()
