"""A slapd for a benchmark: in a temporary directory, on loopback, with entries that slapadd loads."""

import ctypes
import json
import os
import random
import shutil
import signal
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


def free_port():
    """A port on loopback that was free a moment ago: by chance, and below those that a system gives to outgoing connections, so
    that neither a client nor another test takes it meanwhile."""
    while True:
        port = random.randrange(20_000, 32_768)
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def die_with_parent():
    """For a child before it begins: a benchmark that is killed leaves no server behind (PR_SET_PDEATHSIG, Linux)."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def certificate(folder):
    """A certificate for 127.0.0.1 that is trusted as it is, and its key; the paths of both. rustls refuses an authority's own
    certificate as a server's."""
    cert, key = (os.path.join(folder, n) for n in ("server.crt", "server.key"))
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    for extension in ("basicConstraints=critical,CA:FALSE", "subjectAltName=IP:127.0.0.1"):
        command += ["-addext", extension]
    command += ["-days", "2", "-subj", "/CN=bench", "-keyout", key, "-out", cert]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    return cert, key


class Slapd:
    """A running server; `stop` ends it. `database` and `overlays` are lines for slapd.conf; with `tls` it has `tls_url` and
    `tls_ca`, too."""

    def __init__(self, folder, entries, database="index objectClass eq\n", overlays="", modules="", tls=False):
        self.dir = folder
        os.makedirs(os.path.join(self.dir, "db"))
        self.conf, ldif = (os.path.join(self.dir, n) for n in ("slapd.conf", "seed.ldif"))
        listeners = [f"ldap://127.0.0.1:{free_port()}"]
        if tls:
            self.tls_ca, key = certificate(self.dir)
            listeners.append(f"ldaps://127.0.0.1:{free_port()}")
            modules += f"TLSCertificateFile {self.tls_ca}\nTLSCertificateKeyFile {key}\n"
        with open(self.conf, "w") as f:
            for schema in ("core", "cosine", "inetorgperson"):
                f.write(f"include /etc/ldap/schema/{schema}.schema\n")
            f.write(
                f"modulepath /usr/lib/ldap\nmoduleload back_mdb\n{modules}sizelimit unlimited\nloglevel none\ndatabase mdb\n"
                f"suffix {SUFFIX}\nrootdn {ADMIN}\nrootpw {PASSWORD}\ndirectory {self.dir}/db\nmaxsize 4294967296\n"
                f"{database}{overlays}"
            )
        with open(ldif, "w") as f:
            f.writelines(entries)
        subprocess.run(self.slapadd(ldif), check=True)
        os.unlink(ldif)
        self.url, self.tls_url = listeners[0], listeners[-1]
        self.port = int(self.url.rpartition(":")[2])
        self.start()

    def start(self):
        """Starts the server on its ports and data, and waits for it."""
        listeners = " ".join(dict.fromkeys((self.url, self.tls_url)))
        command = [shutil.which("slapd", path=PATH), "-d", "0", "-f", self.conf, "-h", listeners]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL, preexec_fn=die_with_parent)
        self.pid = self.process.pid
        try:
            self.wait()
        except BaseException:
            self.stop()
            raise

    def slapadd(self, ldif):
        """The command that loads LDIF while no server runs."""
        return [shutil.which("slapadd", path=PATH), "-q", "-w", "-f", self.conf, "-l", ldif]

    def wait(self):
        """Until it takes connections."""
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise
                time.sleep(0.01)

    def config(self, name, **settings):
        """Writes a configuration of the tap or the target for this server and gives its path. A setting of None is left
        out."""
        path = os.path.join(self.dir, name)
        settings = {"server_url": self.url, "bind_dn": ADMIN, "bind_password": PASSWORD, "base_dn": SUFFIX, **settings}
        with open(path, "w") as f:
            json.dump({key: value for key, value in settings.items() if value is not None}, f)
        return path

    def command(self, program, *arguments, url=None):
        """The command of one of OpenLDAP's clients as the administrator."""
        return [program, "-x", "-H", url or self.url, "-D", ADMIN, "-w", PASSWORD, *arguments]

    def client(self, program, *arguments, **run):
        """Runs one of OpenLDAP's clients as the administrator."""
        return subprocess.run(self.command(program, *arguments), check=True, **run)

    def count(self, wanted="(objectClass=*)"):
        """How many of its entries fit a filter."""
        done = self.client("ldapsearch", "-LLL", "-b", SUFFIX, wanted, "1.1", stdout=subprocess.PIPE)
        return done.stdout.count(b"dn: ")

    def stop(self):
        """Ends the server, and waits until it has ended; more than once is no harm."""
        self.process.terminate()
        try:
            self.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
