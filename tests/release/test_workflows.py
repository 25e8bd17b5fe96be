"""The workflows: held to actionlint and zizmor, and to the scripts that they call."""

import pathlib
import re
import subprocess
import sys

import pytest
import yaml
from conftest import ROOT, run

BIN = pathlib.Path(sys.executable).parent
FOLDER = ROOT / ".github" / "workflows"
WORKFLOWS = sorted(FOLDER.glob("*.yml"))


def actionlint(path):
    done = subprocess.run([BIN / "actionlint", "-no-color", path], capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def zizmor(path):
    command = [BIN / "zizmor", "--offline", "--quiet", "--persona", "pedantic", "--format", "plain", path]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def steps():
    for path in WORKFLOWS:
        for name, job in yaml.safe_load(path.read_text())["jobs"].items():
            for step in job["steps"]:
                yield path.name, name, job, step


@pytest.mark.parametrize("check", [actionlint, zizmor])
@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.name)
def test_the_checkers_find_nothing(check, path):
    code, said = check(path)
    assert code == 0, said


@pytest.mark.parametrize(
    ("check", "old", "new", "rule"),
    [
        (actionlint, "needs: [build, sbom]", "needs: [built, sbom]", "job-needs"),
        (actionlint, "matrix.runner", "matrix.machine", "expression"),
        (zizmor, "actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1", "actions/checkout@v7", "unpinned-uses"),
        (zizmor, "          persist-credentials: false", "          fetch-depth: 1", "artipacked"),
        (zizmor, "permissions: {}", "permissions: write-all", "excessive-permissions"),
        (zizmor, '"$TARGET" dist', '"${{ github.ref_name }}" dist', "template-injection"),
    ],
    ids=lambda value: value.__name__ if callable(value) else None,
)
def test_the_checkers_find_what_is_broken(copy, check, old, new, rule):
    path = copy(".github/workflows/release.yml")
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    code, said = check(path)
    assert code != 0 and rule in said, said


def test_actions_are_pinned_by_commit_and_no_secret_is_used():
    for path in WORKFLOWS:
        text = path.read_text()
        for line in re.findall(r"uses:.*", text):
            assert re.fullmatch(r"uses: [\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line), f"{path.name}: {line}"
        assert "secrets." not in text, f"{path.name}: trusted publishing needs no stored secret"


def test_scripts_and_executables_that_steps_name_are_there():
    named = set()
    for _, _, _, step in steps():
        named |= set(re.findall(r"(?:scripts|catalogs|tests|\.ci)/[\w./-]+", step.get("run", "")))
    assert {"scripts/build-release.sh", "scripts/build-deb.sh", "scripts/sbom.sh", ".ci/run"} <= named
    missing = [path for path in named if not (ROOT / path).is_file()]
    assert not missing, missing


def test_only_a_tag_publishes():
    """A job that may write, or be given a token of a registry, runs for tags alone; those that upload wait for the environment's approval."""
    release = yaml.safe_load((FOLDER / "release.yml").read_text())
    assert release["permissions"] == {}
    for name, job in release["jobs"].items():
        if "write" in job["permissions"].values():
            assert job["if"] == "github.ref_type == 'tag'", name
            assert name == "attest" or job["environment"] == "release", name
    assert {name for name, job in release["jobs"].items() if "if" in job} == {"attest", "release", "wheels", "crates"}


def test_every_platform_of_the_manual_is_built():
    release = yaml.safe_load((FOLDER / "release.yml").read_text())
    targets = {row["target"] for row in release["jobs"]["build"]["strategy"]["matrix"]["include"]}
    text = (ROOT / "docs/guides/install.md").read_text()
    assert len(targets) == 7 and set(re.findall(r"`(\w+-(?:unknown|apple|pc)-[\w-]+)`", text)) == targets


def test_placeholders_fail_the_release(copy):
    """What only the publisher knows is in Cargo.toml, marked, and a release with it fails."""
    for path in ("Cargo.toml", "scripts/release-values.sh"):
        manifest = copy(path) if path == "Cargo.toml" else copy(path).parents[1] / "Cargo.toml"
    script = manifest.parent / "scripts/release-values.sh"
    text = manifest.read_text()
    for repository, maintainer, code in [
        ("https://repository.invalid/x", "A <a@example.com>", 1),
        ("https://git.example.com/x", "A <a@maintainer.invalid>", 1),
        ("", "A <a@example.com>", 1),
        ("https://git.example.com/x", "A <a@example.com>", 0),
    ]:
        new, ours = re.subn(r'(?m)^repository = ".*"$', f'repository = "{repository}"', text)
        new, theirs = re.subn(r'(?m)^maintainer = ".*"$', f'maintainer = "{maintainer}"', new)
        assert (ours, theirs) == (1, 1)
        manifest.write_text(new)
        run(script, "check", code=code)
