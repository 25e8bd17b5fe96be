#!/usr/bin/env python3
"""Measures SCIM conformance of ldap-service and of Canaille by the same suites, and prints a table in Markdown.

    conformance.py [--write]     --write: into docs/reference/conformance.md, between its markers

Run it with the Python of the group `service`; `scripts/install-service-tests.sh DIR scim service canaille` installs what it needs.
"""

import collections
import json
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path += [str(HERE), str(HERE.parent / "bench")]

import conftest  # noqa: E402
import people  # noqa: E402
import scim_suites  # noqa: E402
from directories import OpenLdap  # noqa: E402
from service import Service, configuration, scim_settings, token  # noqa: E402
from slapd import ADMIN, PASSWORD, die_with_parent, free_port  # noqa: E402

BEGIN = "<!-- begin: SCIM suites (tests/service/conformance.py --write) -->"
END = "<!-- end: SCIM suites -->"


def measure(url, bearer, folder):
    """{suite: (succeeded, of how many, what else)} of a server."""
    by_status, _, _ = scim_suites.scim2_tester(url, bearer, folder)
    found = {"scim2-tester 0.5.2": (by_status["SUCCESS"], sum(by_status.values()), others(by_status, "SUCCESS"))}
    for name, more in (("scim-sanity 0.7.4 `--strict`", []), ("scim-sanity 0.7.4 `--strict --profile entra`", ["--profile", "entra"])):
        report = scim_suites.scim_sanity(url, bearer, folder, "--strict", *more)
        # Resource types that neither server has.
        results = [r["status"] for r in report["results"] if not r["name"].startswith("Agent")]
        counts = collections.Counter(results)
        found[name] = (counts["pass"], len(results), others(counts, "pass"))
    return found


def others(counts, good):
    return ", ".join(f"{n} {status.lower()}" for status, n in sorted(counts.items()) if status != good and n)


def measure_service(folder):
    directory = OpenLdap(folder / "slapd")
    try:
        (folder / "service").mkdir()
        service = Service(conftest.SERVICE, folder / "service", configuration(directory, folder / "service", **scim_settings(directory.suffix)))
        try:
            return measure(service.url + "/scim/v2", token("all"), folder)
        finally:
            service.end()
    finally:
        directory.stop()


def measure_canaille(folder):
    python = conftest.tool("canaille", "python")
    schema = next(python.parents[1].glob("lib/python*/site-packages/canaille/backends/ldap/schemas/oauth2-openldap.schema"))
    directory = OpenLdap(folder / "slapd", schemas=[schema])
    ldap = {"URI": directory.url, "ROOT_DN": people.SUFFIX, "BIND_DN": ADMIN, "BIND_PW": PASSWORD}
    ldap |= {"USER_BASE": f"ou=people,{people.SUFFIX}", "GROUP_BASE": f"ou=groups,{people.SUFFIX}"}
    command = [python, HERE / "peers" / "canaille_server.py", json.dumps({"port": free_port(), "ldap": ldap})]
    with open(folder / "canaille.log", "w") as log:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, preexec_fn=die_with_parent)
    try:
        line = process.stdout.readline()
        assert line, (folder / "canaille.log").read_text()
        about = json.loads(line)
        return measure(about["url"], about["token"], folder)
    finally:
        process.terminate()
        process.wait()
        directory.stop()


def table(service, canaille):
    """The rows of both."""

    def cell(found):
        good, total, rest = found
        return f"{good} of {total}" + (f" ({rest})" if rest else "")

    lines = ["| suite | `ldap-service` | Canaille 0.3.6 |", "|---|---|---|"]
    lines += [f"| {suite} | {cell(service[suite])} | {cell(canaille[suite])} |" for suite in service]
    return "\n".join(lines)


def main():
    with tempfile.TemporaryDirectory() as work:
        for name in ("a", "b"):
            (pathlib.Path(work) / name).mkdir()
        canaille = measure_canaille(pathlib.Path(work) / "a")
        service = measure_service(pathlib.Path(work) / "b")
    text = table(service, canaille)
    print(text)
    if "--write" in sys.argv:
        page = conftest.ROOT / "docs" / "reference" / "conformance.md"
        before, _, rest = page.read_text().partition(BEGIN)
        assert rest, f"{page} has no line {BEGIN}"
        _, _, after = rest.partition(END)
        page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")


if __name__ == "__main__":
    main()
