"""A slapd for a benchmark: in a temporary directory, on loopback, with entries that slapadd loads."""

import json
import os
import shutil
import socket
import subprocess
import time

SUFFIX = "dc=example,dc=test"
ADMIN = f"cn=admin,{SUFFIX}"
PASSWORD = "secret"
PATH = os.environ.get("PATH", "") + ":/usr/sbin"


def tree(count, units, mixed):
    """LDIF of the suffix, `units` organizational units, and people in them up to `count` entries in all: `mixed` or unit by
    unit."""
    yield f"dn: {SUFFIX}\nobjectClass: dcObject\nobjectClass: organization\ndc: example\no: Test\n\n"
    for u in range(units):
        yield f"dn: ou=unit{u},{SUFFIX}\nobjectClass: organizationalUnit\nou: unit{u}\n\n"
    people = count - units - 1
    for i in range(people):
        unit = i % units if mixed else i * units // people
        yield (
            f"dn: {person(i, unit)}\nobjectClass: inetOrgPerson\nuid: person{i}\n"
            f"cn: Person {i}\nsn: Number{i}\ngivenName: Person\nmail: person{i}@example.test\n"
            f"employeeNumber: {i}\ntelephoneNumber: +1 555 {i:06}\n\n"
        )


def person(i, unit):
    """The DN of a person."""
    return f"uid=person{i},ou=unit{unit},{SUFFIX}"


class Slapd:
    """A running server; `stop` ends it. `database` and `overlays` are lines for slapd.conf."""

    def __init__(self, folder, entries, database="index objectClass eq\n", overlays="", modules=""):
        self.dir = folder
        os.makedirs(os.path.join(self.dir, "db"))
        conf, ldif = (os.path.join(self.dir, n) for n in ("slapd.conf", "seed.ldif"))
        with open(conf, "w") as f:
            for schema in ("core", "cosine", "inetorgperson"):
                f.write(f"include /etc/ldap/schema/{schema}.schema\n")
            f.write(
                f"modulepath /usr/lib/ldap\nmoduleload back_mdb\n{modules}sizelimit unlimited\ndatabase mdb\n"
                f"suffix {SUFFIX}\nrootdn {ADMIN}\nrootpw {PASSWORD}\ndirectory {self.dir}/db\nmaxsize 4294967296\n"
                f"{database}{overlays}"
            )
        with open(ldif, "w") as f:
            f.writelines(entries)
        subprocess.run([shutil.which("slapadd", path=PATH), "-q", "-w", "-f", conf, "-l", ldif], check=True)
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.url = f"ldap://127.0.0.1:{self.port}"
        command = [shutil.which("slapd", path=PATH), "-d", "0", "-f", conf, "-h", self.url]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def config(self, name, **settings):
        """Writes a configuration of the tap for this server and gives its path."""
        path = os.path.join(self.dir, name)
        with open(path, "w") as f:
            json.dump(
                {
                    "server_url": self.url,
                    "bind_dn": ADMIN,
                    "bind_password": PASSWORD,
                    "base_dn": SUFFIX,
                    **settings,
                },
                f,
            )
        return path

    def client(self, program, *arguments, **run):
        """Runs one of OpenLDAP's clients as the administrator."""
        command = [program, "-x", "-H", self.url, "-D", ADMIN, "-w", PASSWORD, *arguments]
        return subprocess.run(command, check=True, **run)

    def stop(self):
        self.process.terminate()
        self.process.wait()
