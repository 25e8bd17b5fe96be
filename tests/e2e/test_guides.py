"""Every page of docs/tutorials and docs/guides is followed as it stands, against real servers: files are written, commands are run, and
outputs are compared (guides.py). Host names and ports are the only things that differ from what a reader types."""

import ast
import configparser
import dataclasses
import json
import os
import pathlib
import re
import shutil
import subprocess

import pytest
import yaml
from conftest import BIN, MELTANO, ROOT, run, venv
from guides import Session, blocks, compared, difference, follow
from ldap import entries, entry
from ldap import unit as unit_below

DOCS = ROOT / "docs"
PAGES = sorted(p.relative_to(DOCS).as_posix() for folder in ("tutorials", "guides") for p in (DOCS / folder).glob("*.md"))
# The suffix of the pages, which their servers have, too; the account, and its password.
SUFFIX = "dc=example,dc=com"
ETL, PASSWORD = f"cn=etl,{SUFFIX}", "secret"
SUFFIX_LDIF = f"dn: {SUFFIX}\nobjectClass: dcObject\nobjectClass: organization\ndc: example\no: Example Company\n\n"
ACCOUNT = entry(ETL, objectClass=["organizationalRole", "simpleSecurityObject"], cn="etl", userPassword=PASSWORD)


def unit(name):
    """LDIF of an organizational unit."""
    return unit_below(name, SUFFIX)


PEOPLE = "".join(
    entry(f"uid={uid},ou=people,{SUFFIX}", objectClass="inetOrgPerson", uid=uid, cn=uid.title(), sn="Test", mail=f"{uid}@example.com")
    for uid in ("ada", "grace", "linus")
)
GROUP = entry(f"cn=devs,ou=groups,{SUFFIX}", objectClass="groupOfNames", cn="devs", member=[f"uid={uid},ou=people,{SUFFIX}" for uid in ("ada", "grace")])
FULL = SUFFIX_LDIF + ACCOUNT + unit("people") + unit("groups") + PEOPLE + GROUP
EMPTY = SUFFIX_LDIF + ACCOUNT + unit("people") + unit("former")
# What the account may do; and the overlays that pages ask for.
MANAGE = f'access to attrs=userPassword by anonymous auth by dn.exact="{ETL}" manage by * none\naccess to * by dn.exact="{ETL}" manage by * read\nlimits dn.exact="{ETL}" size=unlimited\n'
SYNCPROV = {"modules": "moduleload syncprov\n", "overlays": "overlay syncprov\nsyncprov-sessionlog 1000\n"}
PPOLICY = {"modules": "moduleload ppolicy\n", "overlays": "overlay ppolicy\n"}


@dataclasses.dataclass
class Case:
    """How a page is followed: the servers behind its URLs, what else differs from the page, and how many blocks are run at least."""

    servers: dict = dataclasses.field(default_factory=dict)
    replaced: dict = dataclasses.field(default_factory=dict)
    postgres: bool = False
    programs: tuple = ()
    secrets: tuple = ()
    runs: int = 1
    then: object = None


def conf(page, index):
    """A block of slapd.conf in a page."""
    found = [block.text for block in blocks((DOCS / page).read_text()) if block.language == "conf"]
    return found[index]


def source(**options):
    """A slapd with people, a group and the account, and a log of changes."""
    return {"ldif": FULL, "database": MANAGE, **SYNCPROV, **options}


def destination(**options):
    """A slapd with empty units and the account."""
    return {"ldif": EMPTY, "database": MANAGE, **options}


def openldap_as_in_the_page():
    """A slapd with exactly the lines of the page."""
    overlay = conf("guides/openldap.md", 1)
    return {"ldif": FULL, "database": conf("guides/openldap.md", 0), "modules": "moduleload syncprov\n", "overlays": overlay}


def with_ppolicy():
    """A slapd with the overlay as in the page."""
    return destination(modules="moduleload ppolicy\n", overlays=conf("guides/hr-to-openldap.md", 0))


class Served:
    """A server of the Rust harness (tests/src/bin/serve.rs), until `stop`."""

    def __init__(self, kind, seed, as_in_the_page):
        program = pathlib.Path(os.environ.get("SERVE", BIN / "serve"))
        assert program.exists(), f"{program}: cargo build -p ldap-tests --bin serve"
        self.process = subprocess.Popen([program, kind], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "SEED": seed})
        line = self.process.stdout.readline()
        assert line, f"{kind} does not start"
        said = json.loads(line)
        self.url, self.password = said["url"], said["password"]
        self.replaced = {old: said.get(new, new) for old, new in as_in_the_page.items()}

    def stop(self):
        """Ends the server: it does so when its stdin ends."""
        self.process.stdin.close()
        self.process.wait(timeout=60)


def ds389():
    """389 Directory Server with people; the pages bind as its administrator."""
    return Served("ds389", unit("people") + PEOPLE, {})


def samba():
    """Samba as a domain controller, whose domain is another one than that of the pages."""
    domain = {"DC=ad,DC=example,DC=com": "suffix", "etl@ad.example.com": "admin"}
    return Served("samba", "", domain)


def three_records(folder):
    assert (folder / "first.jsonl").read_text().count('"RECORD"') == 3


def three_people_moved(_folder, new):
    there = entries(new, f"ou=staff,{SUFFIX}", "(objectClass=person)", "mail")
    assert len(there) == 3 and there[f"uid=ada,ou=staff,{SUFFIX}"] == {"mail": ["ada@example.com"]}


def three_copied(folder):
    assert (folder / "copy.ldif").read_text().count("dn: uid=") == 3


def schedules_are_whole(folder):
    """cron's line has five fields, a user and a command; Airflow's file can be executed, and its task has the script."""
    line = (folder / "ldap-load.cron").read_text().splitlines()[-1].split(None, 6)
    assert len(line) == 7 and all(re.fullmatch(r"[\d*/,-]+", field) for field in line[:5]), line
    assert line[5] == "etl" and line[6].split()[1].endswith("/load.sh"), line
    dag = ast.parse((folder / "ldap_load.py").read_text())
    calls = {node.func.id: {k.arg: k.value for k in node.keywords} for node in ast.walk(dag) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    assert {"DAG", "BashOperator"} <= calls.keys(), calls
    assert calls["DAG"]["max_active_runs"].value == 1 and calls["BashOperator"]["bash_command"].value.strip().endswith("/load.sh")


def with_tls():
    """A slapd with TLS, and its certificate in the reader's folder."""
    return source(tls=True)


FOLLOWED = {
    "tutorials/first-session.md": Case({"ldaps://ldap.example.com": with_tls}, secrets=("mistyped", PASSWORD), runs=7),
    "tutorials/first-load.md": Case(postgres=True, runs=6),
    "tutorials/first-accounts.md": Case(runs=8),
    "guides/postgresql.md": Case({"ldap://ldap.example.com": source}, postgres=True, runs=4),
    "guides/duckdb.md": Case({"ldap://ldap.example.com": source}, runs=3),
    "guides/scheduling.md": Case({"ldap://ldap.example.com": source}, postgres=True, runs=3, then=schedules_are_whole),
    "guides/undo.md": Case(runs=4),
    "guides/approve-a-plan.md": Case({"ldap://ldap.example.com": destination}, runs=3),
    "guides/namesakes.md": Case(runs=3),
    "guides/rotate-a-password.md": Case({"ldap://ldap.example.com": source}, runs=4),
    "guides/upgrade.md": Case(runs=6),
    "guides/hr-to-openldap.md": Case({"ldaps://ldap.example.com": with_ppolicy}, runs=3),
    "guides/mirror.md": Case({"ldap://old.example.com": source, "ldap://new.example.com": destination}, runs=4),
    "guides/ldif.md": Case({"ldap://ldap.example.com": source, "ldap://new.example.com": destination}, runs=4),
    "guides/openldap.md": Case({"ldap://ldap.example.com": openldap_as_in_the_page}, runs=2, then=three_records),
    "guides/migration.md": Case({"ldap://old.example.com": source, "ldap://new.example.com": destination}, runs=2, then=three_people_moved),
    "guides/meltano.md": Case({"ldap://ldap.example.com": source}, runs=1, then=three_copied),
    "guides/scaling.md": Case({"ldap://ldap.example.com": source}, postgres=True, programs=("dagster",), runs=1),
    "guides/389.md": Case({"ldap://ldap.example.com": ds389}, runs=3),
    "guides/active-directory.md": Case({"ldap://dc1.ad.example.com": samba}, runs=2),
    "guides/hr-to-ad.md": Case({"ldap://dc1.ad.example.com": samba}, runs=2),
    "guides/monitoring.md": Case({"ldap://ldap.example.com": source}, runs=6),
}

# Pages without a block that can be run here: why, and what is checked in place of it.
NOT_FOLLOWED = {}

# Blocks of followed pages that are held back, by their reasons in the page.
HELD_BACK = {
    "guides/scheduling.md": ["it changes the machine's own crontab", "it needs systemd as the first process, and changes the machine"],
    "guides/scaling.md": ["the tests have Dagster in an environment of its own", "it stays, as a web server"],
}


@pytest.fixture(autouse=True)
def suffix(monkeypatch):
    """The servers of tests/bench have the suffix of the pages."""
    monkeypatch.setattr("slapd.SUFFIX", SUFFIX)
    monkeypatch.setattr("slapd.ADMIN", f"cn=admin,{SUFFIX}")


@pytest.fixture
def work(tmp_path):
    """The folder in which a page is followed: a clone of the repository, as far as pages need it."""
    work = tmp_path / "clone"
    work.mkdir()
    for part in ("catalogs", "meltano", "orchestrate"):
        (work / part).symlink_to(ROOT / part)
    (work / "password").write_text(PASSWORD)
    (work / "password").chmod(0o600)
    return work


def environment(home, groups=()):
    """A reader's environment: the executables and the tools of others, as the pages name them."""
    programs = [BIN, *(venv(group, "x").parent for group in groups), venv("singer", "x").parent, venv("jsonl", "x").parent, MELTANO.parent]
    return {
        **os.environ, "PATH": ":".join([*map(str, programs), os.environ["PATH"], "/usr/sbin"]), "HOME": str(home), "NO_COLOR": "1",
        "MELTANO_SEND_ANONYMOUS_USAGE_STATS": "false", "LC_ALL": "C.UTF-8",
        # What pages install is what the other tests were made with; and it is kept from page to page.
        "UV_CONSTRAINT": str(ROOT / "tests" / "e2e" / "requirements" / "singer.txt"),
        "UV_CACHE_DIR": os.environ.get("UV_CACHE_DIR", str(pathlib.Path.home() / ".cache" / "uv")),
    }  # fmt: skip


@pytest.mark.parametrize("page", FOLLOWED)
def test_page(page, slapds, work, tmp_path, request):
    case, replaced, started = FOLLOWED[page], {}, []
    for url, options in case.servers.items():
        options = options()
        if isinstance(options, Served):
            request.addfinalizer(options.stop)
            started.append(options)
            replaced |= {url: options.url} | options.replaced
            (work / "password").write_text(options.password)
            continue
        started.append(slapds(url.split("/")[2], options.pop("ldif"), **options))
        replaced[url] = started[-1].url
        if options.get("tls"):
            shutil.copy(started[-1].tls_ca, work / "ca.crt")
            replaced[url] = started[-1].tls_url
    if case.postgres:
        postgres = request.getfixturevalue("postgres")
        postgres.query("drop schema if exists ldap cascade")
        replaced |= {"PGPORT=5432": f"PGPORT={postgres.port}", '"port": 5432': f'"port": {postgres.port}'}
    replaced |= {"/srv/ldap": str(work)} | case.replaced
    ran = follow(DOCS / page, work, replaced, environment(tmp_path, case.programs), case.secrets)
    assert ran >= case.runs, f"{page}: {ran} blocks were run"
    if case.then:
        case.then(work, *started[1:])


def test_every_page_is_followed_or_listed():
    listed = [*FOLLOWED, *NOT_FOLLOWED]
    assert sorted(set(PAGES)) == sorted(page for page in listed if page in PAGES or page not in OF_OTHERS)
    assert len(set(listed)) == len(listed), "a page is in both lists"
