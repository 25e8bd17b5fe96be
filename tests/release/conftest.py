"""What the release tests share: the executables as a release links them, built once, and the repository."""

import os
import pathlib
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()
PROGRAMS = ("tap-ldap", "target-ldap", "ldap-service")


def run(*command, code=0, **options):
    """Runs a command. Another exit code than `code` fails the test with what was said."""
    options.setdefault("timeout", 600)
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, stdin=subprocess.DEVNULL, **options)
    said = f"{command}\nexit code {done.returncode}, not {code}\n--- stdout\n{done.stdout[-4000:]}\n--- stderr\n{done.stderr[-6000:]}"
    assert done.returncode == code, said
    return done


def host():
    """Rust's name of this machine."""
    lines = run("rustc", "-vV").stdout.splitlines()
    return next(line.removeprefix("host: ") for line in lines if line.startswith("host: "))


def version():
    return run(ROOT / "scripts/version.sh").stdout.strip()


@pytest.fixture(scope="session")
def wheels():
    """The wheels, as the tests of tests/tests/it build them (nothing is compiled twice): the folder, and that of the executables."""
    folder = TARGET / "wheels-of-tests"
    run(ROOT / "scripts/build-wheels.sh", folder, "wheel-test", "ntlm", timeout=1800)
    return folder, TARGET / host() / "wheel-test"


@pytest.fixture(scope="session")
def static():
    """The executables, linked statically. As in `make container`, but quick to build."""
    run("make", "-C", ROOT, "--silent", "static", "STATIC_PROFILE=wheel-test", timeout=1800)
    return TARGET / "static" / host() / "wheel-test"


@pytest.fixture
def copy(tmp_path):
    """Copies a file or folder of the repository, to be broken."""

    def copy(path):
        to = tmp_path / path
        to.parent.mkdir(parents=True, exist_ok=True)
        source = ROOT / path
        shutil.copytree(source, to) if source.is_dir() else shutil.copy(source, to)
        return to

    return copy
