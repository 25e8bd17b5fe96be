"""What a release has: wheels, archive, Debian package and container image, built here and tried."""

import email
import json
import os
import pathlib
import shutil
import socket
import tarfile
import threading
import zipfile

import pytest
from conftest import PROGRAMS, ROOT, TARGET, host, run, version

COMPANY = ROOT / "catalogs/demo/company.ldif"


def load(program, tmp_path):
    """Has `program(name)` and the script that runs the pair, wherever they are, load the demo's directory into an LDIF file."""
    (tmp_path / "tap.json").write_text(json.dumps({"server_url": f"ldif:{COMPANY}"}))
    (tmp_path / "target.json").write_text(json.dumps({"server_url": f"ldif:{tmp_path}/copy.ldif"}))
    path = {str(program(name).parent) for name in PROGRAMS}
    environment = {"PATH": ":".join([*path, "/usr/bin", "/bin"])}
    run("sh", ROOT / "packaging/singer-ldap-run", *(tmp_path / n for n in ("tap.json", "target.json", "state.json")), env=environment)
    assert count(tmp_path / "copy.ldif") == count(COMPANY) > 50
    assert json.loads((tmp_path / "state.json").read_text())["bookmarks"]


def count(path):
    return sum(line.startswith("dn:") for line in path.read_text().splitlines())


def test_wheels_and_executables_go_back_to_glibc_2_17(wheels):
    folder, executables = wheels
    names = sorted(path.name for path in folder.glob("*.whl"))
    assert len(names) == len(PROGRAMS) and all("manylinux2014_x86_64" in name or "manylinux2014_aarch64" in name for name in names), names
    paths = [executables / name for name in PROGRAMS]
    run(ROOT / "scripts/glibc-floor.sh", "2.17", *paths)
    # The measure can fail.
    run(ROOT / "scripts/glibc-floor.sh", "2.16", *paths, code=1)


def test_wheels_say_what_they_are(wheels):
    for path in wheels[0].glob("*.whl"):
        with zipfile.ZipFile(path) as wheel:
            names = wheel.namelist()
            metadata = next(name for name in names if name.endswith(".dist-info/METADATA"))
            about = email.message_from_bytes(wheel.read(metadata))
        assert about["Version"] == version() and about["License-Expression"] == "MIT OR Apache-2.0"
        assert about["Requires-Dist"] is None and len(about.get_payload()) > 200
        assert sum("/licenses/" in name for name in names) == 2, names
        assert any(name.endswith(f"/man/man1/{about['Name']}.1") for name in names)


def test_the_archive_is_whole_and_the_same_again(wheels, tmp_path):
    digests = set()
    for number in range(2):
        out = tmp_path / str(number)
        # The time in the archive: by default that of the last commit, whenever that is made.
        environment = {**os.environ, "SOURCE_DATE_EPOCH": "1767225600"}
        done = run(ROOT / "scripts/build-release.sh", host(), out, "wheel-test", timeout=1800, env=environment)
        archive = pathlib.Path(done.stdout.splitlines()[-1])
        digests.add(run("sha256sum", archive).stdout.split()[0])
    assert len(digests) == 1
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path, filter="data")
    root = tmp_path / f"singer-ldap-{version()}-{host()}"
    assert {path.name for path in root.iterdir()} == {"bin", "share", "packaging", "CHANGELOG.md", "LICENSE-APACHE", "LICENSE-MIT"}
    for name in PROGRAMS:
        said = run(root / "bin" / name, "--version").stdout
        assert said == f"{name} {version()}\n"
        for page in (f"man/man1/{name}.1", f"bash-completion/completions/{name}", f"zsh/site-functions/_{name}", f"fish/vendor_completions.d/{name}.fish"):
            assert (root / "share" / page).stat().st_size > 500, page
    load(lambda name: root / "bin" / name, tmp_path)


@pytest.fixture(scope="module")
def package(wheels, tmp_path_factory):
    out = tmp_path_factory.mktemp("deb")
    return pathlib.Path(run(ROOT / "scripts/build-deb.sh", wheels[1], out, env={**os.environ, "DEB_LEVEL": "1"}).stdout.strip())


def test_lintian_finds_nothing(package):
    assert run("lintian", "--allow-root", "--no-cfg", "--fail-on", "error,warning", package).stdout == ""


def test_the_package_is_installed_run_and_removed(package, tmp_path):
    """By dpkg itself, into a root and a database of its own: this machine's are left alone, and no root rights are needed."""
    root = tmp_path / "root"
    admin = root / "var/lib/dpkg"
    for folder in ("info", "updates", "triggers"):
        (admin / folder).mkdir(parents=True)
    for name in ("status", "available"):
        (admin / name).touch()
    # Its scripts would run this machine's systemctl, which is not asked for here: /run/systemd/system is there only where systemd runs.
    dpkg = ["dpkg", f"--root={root}", "--force-not-root", "--force-depends", "--force-script-chrootless", "--force-bad-path"]
    environment = {**os.environ, "DPKG_MAINTSCRIPT_DEBUG": ""}
    run(*dpkg, "--install", package, env=environment)
    assert "ii  singer-ldap" in run(*dpkg, "--list", "singer-ldap").stdout
    assert run(*dpkg, "--verify", "singer-ldap").stdout == ""
    for name in PROGRAMS:
        assert run(root / "usr/bin" / name, "--version").stdout == f"{name} {version()}\n"
    load(lambda name: root / "usr/bin" / name, tmp_path)
    page = run("man", "--local-file", "--pager=cat", root / "usr/share/man/man1/singer-ldap-run.1.gz").stdout if shutil.which("man") else "EXIT STATUS"
    assert "EXIT STATUS" in page
    # systemd would find the units, and what they start.
    service = (root / "lib/systemd/system/singer-ldap@.service").read_text()
    started = next(line for line in service.splitlines() if line.startswith("ExecStart=")).removeprefix("ExecStart=").split()[0]
    assert os.access(f"{root}{started}", os.X_OK) and (root / "lib/systemd/system/singer-ldap@.timer").is_file()
    run(*dpkg, "--remove", "singer-ldap", env=environment)
    run(*dpkg, "--purge", "singer-ldap", env=environment)
    left = [path for path in root.rglob("*") if "singer" in path.name or path.name in PROGRAMS]
    assert left == []


def test_the_package_depends_on_what_its_executables_use(package):
    fields = dict(line.split(": ", 1) for line in run("dpkg-deb", "--field", package).stdout.splitlines() if not line.startswith(" "))
    assert (fields["Version"], fields["Depends"]) == (version(), "libc6 (>= 2.17)")
    # As apt sees it, on this machine.
    said = run("apt-get", "install", "--simulate", "--no-install-recommends", package).stdout
    assert "Inst singer-ldap" in said and said.count("Inst ") == 1, said


def test_executables_of_another_libc_make_no_package(static, tmp_path):
    done = run(ROOT / "scripts/build-deb.sh", static, tmp_path, code=1)
    assert "do not use glibc" in done.stderr


@pytest.fixture(scope="module")
def image(static, tmp_path_factory):
    """The image: the folder of its OCI archive, and its file system."""
    out = tmp_path_factory.mktemp("container")
    archive = pathlib.Path(run(ROOT / "scripts/build-container.sh", static, out).stdout.strip())
    layout, root = out / "layout", out / "root"
    with tarfile.open(archive) as tar:
        tar.extractall(layout, filter="data")
    root.mkdir()

    def blob(reference):
        return layout / "blobs" / reference["digest"].replace(":", "/")

    manifest = json.loads(blob(json.loads((layout / "index.json").read_text())["manifests"][0]).read_text())
    for layer in manifest["layers"]:
        run("tar", "-C", root, "--numeric-owner", "-xpf", blob(layer))
    return json.loads(blob(manifest["config"]).read_text()), root


def test_the_image_holds_what_it_needs_and_runs_as_nobody(image):
    config, root = image
    assert config["config"]["User"] == "65532:65532" and config["config"]["WorkingDir"] == "/state"
    assert config["config"]["Labels"]["org.opencontainers.image.version"] == version()
    files = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() and not path.is_symlink()}
    assert {"usr/bin/tap-ldap", "usr/bin/target-ldap", "usr/bin/ldap-service", "usr/bin/singer-ldap-run", "bin/busybox", "etc/ssl/certs/ca-certificates.crt"} <= files
    assert len(files) < 15, files
    # Without setuid, and nothing but /tmp and /state for its user to write to.
    for path in root.rglob("*"):
        if not path.is_symlink():
            mode = path.stat().st_mode
            assert not mode & 0o6000 and path.stat().st_uid == 0, path
            assert bool(mode & 0o002) == (path in (root / "tmp", root / "state")), path
    assert sum(path.stat().st_size for path in root.rglob("*") if path.is_file() and not path.is_symlink()) < 150e6


def answer(server):
    """A name server that knows one address: A is 127.0.0.1, everything else is empty (RFC 1035)."""
    while True:
        try:
            query, client = server.recvfrom(512)
        except OSError:
            return
        name_ends = query.index(0, 12) + 1
        is_a = query[name_ends : name_ends + 2] == b"\0\x01"
        header = query[:2] + b"\x84\0\0\x01" + (b"\0\x01" if is_a else b"\0\0") + b"\0\0\0\0"
        record = b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\x7f\0\0\x01" if is_a else b""
        server.sendto(header + query[12 : name_ends + 4] + record, client)


@pytest.fixture
def name_server():
    """Its address, on loopback; names are asked for at port 53, which is root's."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.153", 53))
        threading.Thread(target=answer, args=(server,), daemon=True).start()
        yield "127.0.0.153"


@pytest.mark.skipif(os.geteuid() != 0, reason="chroot is root's")
def test_the_image_runs_the_pair(image, name_server, tmp_path):
    """In a chroot with nothing but the image, as its user: names resolve, certificates are there, the pipe runs, the STATE is kept."""
    config, original = image
    root = tmp_path / "root"
    # As a container's file system that may not be written to: only these two belong to the run.
    run("cp", "-a", original, root)
    shutil.copy(COMPANY, root / "state/company.ldif")
    (root / "state/tap.json").write_text('{"server_url": "ldif:/state/company.ldif"}')
    (root / "state/target.json").write_text('{"server_url": "ldif:/state/copy.ldif"}')
    (root / "dev").mkdir()
    # As in every container.
    for name, minor in (("null", "3"), ("random", "8"), ("urandom", "9")):
        run("mknod", "-m", "666", root / "dev" / name, "c", "1", minor)
    user, group = config["config"]["User"].split(":")

    def inside(*command, code=0):
        chroot = ["/usr/sbin/chroot", f"--userspec={user}:{group}", "--groups=", root]
        return run(*chroot, *command, code=code, env={"PATH": "/usr/bin:/bin"}, cwd="/")

    assert inside("tap-ldap", "--version").stdout == f"tap-ldap {version()}\n"
    inside("singer-ldap-run", "/state/tap.json", "/state/target.json", "/state/state.json")
    assert count(root / "state/copy.ldif") == count(COMPANY)
    assert json.loads((root / "state/state.json").read_text())["bookmarks"]
    # glibc's resolver, in a static executable: by /etc/hosts, and by DNS. Nobody listens at the address.
    (root / "state/host.json").write_text('{"server_url": "ldaps://directory.test:1", "retry_attempts": 0}')
    for hosts, resolver, checks in [
        ("127.0.0.1 directory.test\n", "", {"resolve": True, "connect": False}),
        ("", f"nameserver {name_server}\n", {"resolve": True, "connect": False}),
        ("", "nameserver 127.0.0.154\noptions timeout:1 attempts:1\n", {"resolve": False}),
    ]:
        (root / "etc/hosts").write_text(hosts)
        (root / "etc/resolv.conf").write_text(resolver)
        done = inside("tap-ldap", "--config", "/state/host.json", "--test", code=3)
        assert {check["name"]: check["ok"] for check in json.loads(done.stdout)["checks"]} == checks, done.stdout


def test_dynamic_executables_make_no_image(wheels, tmp_path):
    done = run(ROOT / "scripts/build-container.sh", wheels[1], tmp_path, code=1)
    assert "statically" in done.stderr


def test_crates_are_whole():
    """All four can be packaged; nothing is sent anywhere, and nothing is compiled."""
    crates = ("ldap-directory", "singer-common", *PROGRAMS)
    options = [word for crate in crates for word in ("-p", crate)]
    run("cargo", "package", "--locked", "--offline", "--allow-dirty", "--no-verify", "--quiet", *options, cwd=ROOT)
    for crate in crates:
        with tarfile.open(TARGET / "package" / f"{crate}-{version()}.crate") as tar:
            names = {name.split("/", 1)[1] for name in tar.getnames()}
        assert {"Cargo.toml", "README.md", "LICENSE-APACHE", "LICENSE-MIT"} <= names, (crate, names)
        assert not [name for name in names if name.startswith(("tests/", "wheel/", "proptest-regressions/"))], crate
