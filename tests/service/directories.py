"""Directories for the service tests: slapd, and through the Rust harness 389 Directory Server and Samba."""

import base64
import json
import os
import signal
import subprocess
import time

import people
from slapd import ADMIN, PASSWORD, SUFFIX, Slapd, die_with_parent

assert people.SUFFIX == SUFFIX

MODULES = "".join(f"moduleload {name}\n" for name in ("ppolicy", "memberof", "refint", "sssvlv", "deref", "accesslog", "unique"))
ACCESS = f"""
access to attrs=userPassword by dn.exact="{people.service_dn()}" write by self write by anonymous auth by * none
access to * by dn.exact="{people.service_dn()}" write by self write by users read by * none
limits dn.exact="{people.service_dn()}" size.soft=unlimited size.hard=unlimited
index objectClass,uid,cn,mail,member,entryUUID,modifyTimestamp eq
lastmod on
"""
OVERLAYS = f"""
overlay ppolicy
ppolicy_default "cn=default,ou=policies,{SUFFIX}"
ppolicy_use_lockout
overlay memberof
memberof-group-oc groupOfNames
memberof-member-ad member
memberof-memberof-ad memberOf
overlay sssvlv
sssvlv-max 64
sssvlv-maxkeys 5
overlay deref
"""


def policy(name="default", **attributes):
    """LDIF of a password policy (slapo-ppolicy(5))."""
    return people.entry(
        f"cn={name},ou=policies,{SUFFIX}",
        objectClass=["device", "pwdPolicy"], cn=name, pwdAttribute="userPassword", **attributes,
    )


# Locked after five failures, for as long as a test takes: a service with a lower threshold never gets there.
DEFAULT_POLICY = {"pwdLockout": "TRUE", "pwdMaxFailure": "5", "pwdLockoutDuration": "3600"}


class Clients:
    """What tests do to a directory by OpenLDAP's clients, as the administrator."""

    own_binds = 0

    def add(self, ldif):
        """Adds entries."""
        self.client("ldapadd", input=ldif.encode(), stdout=subprocess.DEVNULL)

    def modify(self, ldif):
        """Applies change records."""
        self.client("ldapmodify", input=ldif.encode(), stdout=subprocess.DEVNULL)

    def values(self, dn, *attributes):
        """The values of an entry's attributes, as octets: {attribute: [value]}."""
        asked = ("-LLL", "-o", "ldif-wrap=no", "-s", "base", "-b", dn, "(objectClass=*)", *attributes)
        return parse_entry(self.client("ldapsearch", *asked, stdout=subprocess.PIPE).stdout)

    def whoami(self, dn, password):
        """The exit code of a bind by somebody else: that of LDAP, or 255."""
        self.own_binds += 1
        return subprocess.run(["ldapwhoami", "-x", "-H", self.url, "-D", dn, "-w", password], capture_output=True).returncode


class OpenLdap(Clients, Slapd):
    """A slapd with the people and groups of people.py. `kill` and `start_again` for outages; `more` is LDIF added to it."""

    def __init__(self, folder, more=(), policies=None, overlays="", threads=8, tls=False, schemas=(), access=""):
        self.suffix, self.admin, self.admin_password = SUFFIX, ADMIN, PASSWORD
        self.own_binds = 0
        chosen = {"default": DEFAULT_POLICY, **(policies or {})}
        seed = [people.ldif(units=("policies",)), *(policy(n, **a) for n, a in chosen.items()), *more]
        modules = "".join(f"include {schema}\n" for schema in schemas) + MODULES + f"threads {threads}\npassword-hash {{CLEARTEXT}}\n"
        monitor = f'\ndatabase monitor\nrootdn "{ADMIN}"\n'
        super().__init__(str(folder), seed, database=access + ACCESS, overlays=OVERLAYS + overlays + monitor, modules=modules, tls=tls)

    def command(self, program, *arguments, **options):
        self.own_binds += 1
        return super().command(program, *arguments, **options)

    def kill(self):
        """Ends the server as a crash would."""
        self.process.kill()
        self.process.wait()

    def slapadd(self, ldif):
        """The command that loads LDIF. Without the context CSN (-w): with overlays and -q, slapd 2.5 then corrupts its memory."""
        return [argument for argument in super().slapadd(ldif) if argument != "-w"]

    def start_again(self):
        """Starts it on the same port and data."""
        self.own_binds = 0
        self.start()

    def binds(self):
        """How many binds it has had since it was started, those of this class left out."""
        found = self.values("cn=Bind,cn=Operations,cn=Monitor", "monitorOpInitiated")
        return int(found["monitorOpInitiated"][0]) - self.own_binds

    def freeze(self):
        """Stops the process where it is: connections stay open, and nothing is answered."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)

    def stop(self):
        self.thaw()
        super().stop()


def parse_entry(text):
    """The attributes of one entry of unwrapped LDIF."""
    found = {}
    for line in text.splitlines():
        name, colon, value = line.partition(b":")
        if colon and name != b"dn":
            value = base64.b64decode(value[1:]) if value.startswith(b":") else value[1:]
            found.setdefault(name.decode(), []).append(value)
    return found


class Served(Clients):
    """389 Directory Server or Samba, started by `serve` (tests/src/bin/serve.rs); it ends with its stdin."""

    def __init__(self, serve, kind, seed="", **environment):
        env = {**os.environ, "SEED": seed, **environment}
        self.process = subprocess.Popen(
            [str(serve), kind], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env, preexec_fn=die_with_parent
        )
        line = self.process.stdout.readline()
        assert line, f"serve {kind} ended: exit code {self.process.wait()}"
        about = json.loads(line)
        self.url, self.tls_url, self.suffix = about["url"], about["tls_url"], about["suffix"]
        self.admin, self.admin_password, self.ca = about["admin"], about["password"], about["ca"]

    def command(self, program, *arguments):
        """The command of one of OpenLDAP's clients as the administrator, over TLS (Samba accepts passwords only so)."""
        return [program, "-x", "-H", self.tls_url, "-D", self.admin, "-w", self.admin_password, *arguments]

    def client(self, program, *arguments, **run):
        env = {**os.environ, "LDAPTLS_CACERT": self.ca}
        return subprocess.run(self.command(program, *arguments), check=True, env=env, **run)

    def stop(self):
        """Ends the server, and waits until it has ended; more than once is no harm."""
        self.process.stdin.close()
        try:
            self.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


def wait_until(condition, seconds=15, what="the condition"):
    """Polls until `condition()` is true, and returns its value."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.02)
