"""README.md and every page of docs/tutorials and docs/guides are followed as it stands, against real servers: files are written, commands are run, and
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
from guides import blocks, difference, follow
from ldap import entries, entry
from ldap import unit as unit_below

DOCS = ROOT / "docs"
README = "../README.md"
PAGES = sorted([README, *(p.relative_to(DOCS).as_posix() for folder in ("tutorials", "guides") for p in (DOCS / folder).glob("*.md"))])
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
    """How a page is followed: the servers behind its URLs, what else differs from the page, and what must be so afterwards."""

    servers: dict = dataclasses.field(default_factory=dict)
    replaced: dict = dataclasses.field(default_factory=dict)
    postgres: bool = False
    programs: tuple = ()
    secrets: tuple = ()
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
    return {"ldif": EMPTY, "database": MANAGE} | options


def openldap_as_in_the_page():
    """A slapd with exactly the lines of the page."""
    overlay = conf("guides/openldap.md", 1)
    return {"ldif": FULL, "database": conf("guides/openldap.md", 0), "modules": "moduleload syncprov\n", "overlays": overlay}


def with_ppolicy():
    """A slapd with the overlay and the ACLs as in the page."""
    page = "guides/hr-to-openldap.md"
    return destination(database=conf(page, 1) + conf(page, 2) + MANAGE, modules="moduleload ppolicy\n", overlays=conf(page, 0))


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
    path, line = (folder / "meltano.cron").read_text().splitlines()
    fields = line.split(None, 6)
    assert path.startswith("PATH=") and fields[5] == "etl" and all(re.fullmatch(r"[\d*/,-]+", field) for field in fields[:5]), line
    # As cron does it: a shell that has hardly a variable.
    few = {"PATH": f"{BIN}:{MELTANO.parent}:/usr/bin:/bin", "HOME": str(folder), "MELTANO_SEND_ANONYMOUS_USAGE_STATS": "false"}
    (folder / "meltano.log").unlink()
    run("sh", "-c", fields[6], env=few, cwd="/")
    assert "Run completed" in (folder / "meltano.log").read_text()
    dag = ast.parse((folder / "ldap_load.py").read_text())
    calls = {node.func.id: {k.arg: k.value for k in node.keywords} for node in ast.walk(dag) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    assert {"DAG", "BashOperator"} <= calls.keys(), calls
    assert calls["DAG"]["max_active_runs"].value == 1 and calls["BashOperator"]["bash_command"].value.strip().endswith("/load.sh")


def with_tls():
    """A slapd with TLS, and its certificate in the reader's folder."""
    return source(tls=True)


FOLLOWED = {
    README: Case(),
    "tutorials/first-session.md": Case({"ldaps://ldap.example.com": with_tls}, secrets=("mistyped", PASSWORD)),
    "tutorials/first-load.md": Case({"ldap://ldap.example.com": source}, postgres=True),
    "tutorials/first-accounts.md": Case(),
    "guides/postgresql.md": Case({"ldap://ldap.example.com": source}, postgres=True),
    "guides/duckdb.md": Case({"ldap://ldap.example.com": source}),
    "guides/scheduling.md": Case({"ldap://ldap.example.com": source}, postgres=True, then=schedules_are_whole),
    "guides/undo.md": Case(),
    "guides/approve-a-held-plan.md": Case(),
    "guides/leavers-with-grace.md": Case(),
    "guides/approve-a-plan.md": Case({"ldap://ldap.example.com": destination}),
    "guides/namesakes.md": Case(),
    "guides/rotate-a-password.md": Case({"ldap://ldap.example.com": source}),
    "guides/upgrade.md": Case(),
    "guides/hr-to-openldap.md": Case({"ldaps://ldap.example.com": with_ppolicy}),
    "guides/hr-from-csv.md": Case({"ldap://ldap.example.com": destination}, programs=("tap",)),
    "guides/mirror.md": Case({"ldap://old.example.com": source, "ldap://new.example.com": destination}),
    "guides/ldif.md": Case({"ldap://ldap.example.com": source, "ldap://new.example.com": destination}),
    "guides/openldap.md": Case({"ldap://ldap.example.com": openldap_as_in_the_page}, then=three_records),
    "guides/migration.md": Case({"ldap://old.example.com": source, "ldap://new.example.com": destination}, then=three_people_moved),
    "guides/meltano.md": Case({"ldap://ldap.example.com": source}, then=three_copied),
    "guides/scaling.md": Case({"ldap://ldap.example.com": source}, postgres=True, programs=("dagster",)),
    "guides/389.md": Case({"ldap://ldap.example.com": ds389}),
    "guides/active-directory.md": Case({"ldap://dc1.ad.example.com": samba}),
    "guides/hr-to-ad.md": Case({"ldap://dc1.ad.example.com": samba}),
    "guides/monitoring.md": Case({"ldap://ldap.example.com": source}),
}

def settings(program):
    """The names of a program's settings."""
    return set(json.loads(run(BIN / program, "--about", "--format", "json").stdout)["settings"]["properties"])


def check_kubernetes(_work, _home):
    """The manifests of packaging/ parse, and the configurations in them have no unknown setting."""
    manifests = sorted((ROOT / "packaging" / "kubernetes").glob("*.yaml"))
    assert [m.name for m in manifests] == ["cronjob.yaml", "deployment.yaml"]
    for manifest in manifests:
        documents = list(yaml.safe_load_all(manifest.read_text()))
        kinds = {d["kind"] for d in documents}
        assert {"ConfigMap", "PersistentVolumeClaim"} < kinds and kinds & {"CronJob", "Deployment"}, kinds
        data = next(d for d in documents if d["kind"] == "ConfigMap")["data"]
        for program in ("tap", "target"):
            assert set(json.loads(data[f"{program}.json"])) <= settings(f"{program}-ldap"), manifest
        # The names in the page's commands.
        name = next(d for d in documents if d["kind"] in ("CronJob", "Deployment"))["metadata"]["name"]
        assert name in ("ldap-sync", "ldap-follow"), name


def check_container(work, home):
    """What the image runs, without the image: the files of the page, and the script."""
    shutil.copy(ROOT / "catalogs" / "demo" / "company.ldif", work)
    for block in blocks((DOCS / "guides/container.md").read_text()):
        if block.title:
            (work / pathlib.Path(block.title).name).write_text(block.text.replace("/state", str(work)))
    script = ROOT / "packaging" / "singer-ldap-run"
    run("sh", script, work / "tap.json", work / "target.json", work / "state.json", env=environment(home), cwd=work)
    assert (work / "copy.ldif").read_text().count("\ndn: ") > 200 and json.loads((work / "state.json").read_text())


def check_install(_work, _home):
    """The targets of make and the files that the page names exist. Packages are installed, run and removed by test_packaging.py."""
    makefile = (ROOT / "Makefile").read_text()
    commands = "".join(block.text for block in blocks((DOCS / "guides/install.md").read_text()) if block.language == "sh")
    for target in re.findall(r"\bmake ([a-z-]+)", commands):
        assert re.search(rf"^{target}:", makefile, re.M), f"make {target}"
    for path in re.findall(r"\b(?:scripts|packaging)/[\w./-]+", commands):
        assert (ROOT / path).exists(), path


# A route, in a command or in the text of a page: behind a host, or after its method.
ROUTE = re.compile(r"(?:\$SERVICE|https?://[\w.:-]+|`(?:(?:GET|POST|PUT|PATCH|DELETE) )?)(/(?:api|scim|health|metrics|login|logout|docs|openapi)[\w./{}-]*)")


def check_service(page):
    """A check of a page about ldap-service: its configurations have no unknown setting, and the routes that it names exist."""

    def check(_work, _home):
        known, routes = settings("ldap-service"), json.loads(run(BIN / "ldap-service", "openapi").stdout)["paths"]
        routes = [*routes, "/docs", "/openapi.json"]
        text = (DOCS / page).read_text()
        configurations = [(b.line, set(json.loads(b.text))) for b in blocks(text) if b.language == "json"]
        for line, keys in configurations:
            assert not keys & known or keys <= known, f"{page}:{line}: {keys - known}"
        named = [path.rstrip("/.") for path in ROUTE.findall(text)]
        for path in named:
            patterns = [re.sub(r"\{\w+\}", "[^/]+", route) for route in routes]
            assert any(re.fullmatch(pattern, path) or pattern.startswith(f"{path}/") for pattern in patterns), f"{page}: {path}"
        assert named or any(keys & known for _, keys in configurations), f"{page}: nothing to check"

    return check


# Pages without a block that can be run here: why, and what is checked in place of it.
NOT_FOLLOWED = {
    "guides/kubernetes.md": ("there is no cluster", check_kubernetes),
    "guides/container.md": ("it builds release executables and an image", check_container),
    "guides/install.md": ("it installs packages on the machine", check_install),
    **{
        page: ("tests/service tries what it is about, against real servers", check_service(page))
        for page in (f"guides/{name}.md" for name in ("login", "run-the-service", "scim", "search-api", "service-writes", "tokens"))
    },
}

# Blocks of followed pages that are held back, by their reasons in the page.
HELD_BACK = {
    README: ["it builds the executables", "docs/guides/mirror.md has the two configurations, and is run"],
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
        postgres.query("drop schema if exists ldap, directory cascade")
        replaced |= {"PGPORT=5432": f"PGPORT={postgres.port}", '"port": 5432': f'"port": {postgres.port}'}
    replaced |= {"/srv/ldap": str(work)} | case.replaced
    ran = follow(DOCS / page, work, replaced, environment(tmp_path, case.programs), case.secrets)
    fences = len(re.findall(r"^ *```(?:sh|console)$", (DOCS / page).read_text(), re.M))
    assert ran == fences - len(HELD_BACK.get(page, [])) > 0, f"{page}: {ran} of {fences} blocks were run"
    if case.then:
        case.then(work, *started[1:])


@pytest.mark.parametrize("page", NOT_FOLLOWED)
def test_what_is_checked_in_place_of_a_page(page, work, tmp_path):
    reason, check = NOT_FOLLOWED[page]
    assert reason
    check(work, tmp_path)


def test_every_page_is_followed_or_listed():
    assert sorted([*FOLLOWED, *NOT_FOLLOWED]) == PAGES


def test_blocks_are_held_back_for_listed_reasons_only():
    found = {page: [b.reason for b in blocks((DOCS / page).read_text()) if b.reason] for page in PAGES if page not in NOT_FOLLOWED}
    assert {page: reasons for page, reasons in found.items() if reasons} == HELD_BACK


# What a block may be. Commands are `sh` or `console`, so that they are run.
LANGUAGES = {"sh", "console", "text", "json", "yaml", "ldif", "conf", "ini", "python", "sql", "bash", "nginx", "caddy", "http"}


@pytest.mark.parametrize("page", PAGES)
def test_no_command_escapes(page):
    text = (DOCS / page).read_text()
    found = blocks(text)
    assert len(found) == len(re.findall(r"^ *```", text, re.M)) / 2, "a fence that guides.py does not see"
    for block in found:
        where = f"{page}:{block.line}"
        assert block.language in LANGUAGES, f"{where}: {block.language}"
        assert block.language not in ("bash", "python") or block.title, f"{where}: a script needs a title"
        prompt = block.language in ("text", "json", "yaml") and re.search(r"^\s*\$ ", block.text, re.M)
        assert not prompt, f"{where}: a command in a block that is not run"
    # A block that is only indented is not seen at all. Within a list four blanks continue an item (three do not on the site).
    item = False
    for line in re.sub(r"^( *)```.*?^\1```$", "", text, flags=re.M | re.S).splitlines():
        if line[:1].strip():
            item = bool(re.match(r"(?:-|\d+\.) ", line))
        depth = len(line) - len(line.lstrip())
        assert not line.strip() or depth < (8 if item else 4), f"{page}: an indented block: {line}"
    assert not re.search(r"^ {1,3}```", text, re.M), "a fence in a list needs four blanks"



def parsed(block):
    """The JSON values of a block: one document, or one a line."""
    try:
        return [json.loads(block.text)]
    except ValueError:
        return [json.loads(line) for line in block.text.splitlines()]


@pytest.mark.parametrize("page", PAGES)
def test_configurations_are_read(page):
    """JSON and YAML parse, and settings in them are settings."""
    known = settings("tap-ldap") | settings("target-ldap") | settings("ldap-service")
    for block in blocks((DOCS / page).read_text()):
        where = f"{page}:{block.line}"
        if block.language == "json":
            for value in parsed(block):
                wrong = set(value) - known if "server_url" in value else set()
                assert not wrong, f"{where}: {wrong}"
        if block.language == "yaml":
            assert yaml.safe_load(block.text), where
        if block.language == "ini":
            units = configparser.ConfigParser(strict=False, interpolation=None)
            units.optionxform = str
            units.read_string(block.text)
            assert units.sections(), where


# The runner itself: that it sees what is wrong.

@pytest.mark.parametrize("shown, real, differs", [
    ("a\nb\n", "a\nb\n", None),
    ("a\nc\n", "a\nb\n", "c"),
    ("a\n", "a\nb\n", "(the end)"),
    ("a\nb\n", "a\n", "b"),
    ("…\nb\n", "x\ny\nb\n", None),
    ("…\nc\n", "x\ny\nb\n", "c"),
    ("a…z\n", "a to z\n", None),
    ("a…z\n", "a to y\n", "a…z"),
    ("2026-01-01 00:00:00,001 | run 0123456789abcdef done after 0.1 s\n", "2027-02-02 10:00:00,999 | run fedcba9876543210 done after 12.3 s\n", None),
    ("3 records (10 per second)\n", "4 records (10 per second)\n", "3 records (RATE)"),
    ('{"a": 1,\n "b": 2}\n', '{"a":1,"b":2}\n', None),
    ('{"a": 1}\n', '{"a":2}\n', '{"a": 1}'),
    ("127.0.0.1:1 is up\n", "127.0.0.1:65000 is up\n", None),
])  # fmt: skip
def test_outputs_are_compared(shown, real, differs):
    assert difference(shown, real) == differs


def followed(tmp_path, text):
    """Follows a page of this text."""
    page, folder = tmp_path / "page.md", tmp_path / "folder"
    page.write_text(text)
    folder.mkdir()
    return follow(page, folder, {}, os.environ, ("typed",)), folder


def test_a_page_is_run_in_one_session(tmp_path):
    ran, folder = followed(tmp_path, """
```sh
mkdir in
cd in
word=there
```

1. A step:

   ```json title="file.json"
   {"a": 1}
   ```

   ```sh
   cat file.json
   echo $word
   ```

   ```text title="Output"
   {"a": 1}
   there
   ```

<!-- not run: it fails -->
```sh
exit 9
```

```sh
exit 4
```

```text title="Output (exit code 4)"
```

```console
$ read -p 'Name: ' name; echo Hello $name; stty -echo; read -p 'Password (it is not shown): ' p; echo; echo ${#p}
Name: Ada
Hello Ada
Password (it is not shown):
5
```
""")
    assert ran == 3 + 1 and (folder / "in" / "file.json").read_text() == '{"a": 1}\n'


@pytest.mark.parametrize("wrong", [
    "```sh\nfalse | true\n```\n",
    "```sh\nexit 1\n```\n",
    '```sh\necho a\n```\n\n```text title="Output"\nb\n```\n',
    '```sh\necho a\n```\n\n```text title="Output (exit code 1)"\na\n```\n',
    "```sh\necho $nothing_of_this_name\n```\n",
    "```console\n$ read -p 'Name: ' x; echo No\nName: Ada\nYes\n```\n",
])  # fmt: skip
def test_what_is_wrong_is_seen(tmp_path, wrong):
    with pytest.raises(AssertionError):
        followed(tmp_path, wrong)
