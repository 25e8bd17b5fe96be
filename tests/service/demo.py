#!/usr/bin/env python3
"""The demo of ldap-service: slapd, the service, nginx and a protected page, all on loopback and in a temporary folder.

    make demo-service

On a terminal it says what to open, and ends with Enter or Ctrl-C. Otherwise it tries everything itself, prints a summary and ends.
Exit code 1 if something is not as it should be.
"""

import pathlib
import sys
import tempfile

import httpx

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path += [str(ROOT / "tests" / "bench"), str(pathlib.Path(__file__).parent)]

import people  # noqa: E402
from conftest import SERVICE  # noqa: E402
from directories import OpenLdap  # noqa: E402
from proxies import Page, nginx  # noqa: E402
from service import Service, bearer, configuration  # noqa: E402


class Tour:
    """What is tried, with what came of it."""

    def __init__(self):
        self.failed = 0

    def check(self, what, seen, expected):
        good = seen == expected
        self.failed += not good
        print(f"  {'ok  ' if good else 'FAIL'} {what}: {seen}" + ("" if good else f" (expected {expected})"))


def tour(service, site):
    """Tries what a person would try."""
    tried = Tour()
    ada, eve = people.ADA, people.EVE
    print("\nLogin")
    answer = service.login(ada.uid, ada.password)
    tried.check("ada, right password", answer.status_code, 200)
    tried.check("her roles", sorted(answer.json()["user"]["roles"]), ["admin", "auditor", "staff"])
    tried.check("ada, wrong password", service.login(ada.uid, "not it").status_code, 401)
    tried.check("a name that nobody has", service.login("nobody", "not it").status_code, 401)

    print("\nThe protected page, through nginx")
    browser = httpx.Client(base_url=site, trust_env=False, follow_redirects=False)
    answer = browser.get("/")
    path = answer.headers.get("location", "").removeprefix(site).partition("?")[0]
    tried.check("without a login", (answer.status_code, path), (302, "/login"))
    tried.check("ada's credentials", browser.get("/", auth=(ada.uid, ada.password)).status_code, 200)
    tried.check("eve's, who lacks the role", browser.get("/", auth=(eve.uid, eve.password)).status_code, 403)
    spoofed = browser.get("/public/?json", headers={"Remote-User": "root"}).json()
    tried.check("a Remote-User header from outside arrives", any(name == "Remote-User" for name, _ in spoofed), False)

    print("\nFor programs")
    found = service.request("GET", "/scim/v2/Users", params={"filter": 'userName eq "ada"'})
    tried.check("SCIM finds ada", [user["userName"] for user in found.json().get("Resources", [])], ["ada"])
    made = service.request(
        "POST", "/scim/v2/Users",
        json={
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": "grace",
            "name": {"familyName": "Hopper", "givenName": "Grace"}, "emails": [{"value": "grace@example.test", "type": "work"}],
        },
    )
    tried.check("SCIM makes grace", made.status_code, 201)
    export = service.request("GET", "/api/v1/ldap/export", params={"filter": "(uid=grace)"})
    tried.check("the LDIF export has her", export.text.lower().count("\nuid: grace"), 1)
    tried.check("without a token", service.client.get("/scim/v2/Users").status_code, 401)
    tried.check("health", service.request("GET", "/api/v1/health").json()["status"], "healthy")
    tried.check("a file that undoes what was done", bool(list(pathlib.Path(service.config["write"]["undo_dir"]).rglob("*.ldif"))), True)
    return tried.failed


def main():
    with tempfile.TemporaryDirectory(prefix="demo-service-") as folder:
        folder = pathlib.Path(folder)
        print("Starting slapd, ldap-service, a page and nginx …")
        started = []
        try:
            directory = OpenLdap(folder / "slapd")
            started.append(directory)
            (folder / "service").mkdir()
            (folder / "service" / "undo").mkdir()
            config = configuration(directory, folder / "service", trusted_proxies=["127.0.0.1/32"])
            service = Service(SERVICE, folder / "service", config)
            started.append(service)
            page = Page()
            started.append(page)
            proxy = nginx(folder / "nginx", service.port, page.port)
            started.append(proxy)
            if not sys.stdin.isatty() or not sys.stdout.isatty():
                failed = tour(service, proxy.url)
                print(f"\n{'All as it should be.' if not failed else f'{failed} not as they should be.'}")
                return 1 if failed else 0
            ada, eve, caller = people.ADA, people.EVE, bearer("all")["Authorization"]
            print(f"""
A page that only administrators may see: {proxy.url}/
  {ada.uid} with the password {ada.password} may; {eve.uid} with {eve.password} may not.
  After the login: the page shows which headers it got from nginx.
The interface: {service.url}/docs
  curl -H 'Authorization: {caller}' {service.url}/scim/v2/Users
  curl -H 'Authorization: {caller}' {service.url}/api/v1/health
The configuration: {service.config_path}
""")
            try:
                input("Enter ends it all. ")
            except (KeyboardInterrupt, EOFError):
                print()
            return 0
        finally:
            for thing in reversed(started):
                thing.stop()


if __name__ == "__main__":
    sys.exit(main())
