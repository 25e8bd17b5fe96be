#!/usr/bin/env python3
"""How long `tap-ldap --discover` takes with 200 organizational units, whatever lies in them.

  tests/bench/discovery.py TAP [RUNS]

Starts a slapd of its own for 20,000 and for 100,000 entries, which were added unit by unit or mixed (loopback, temporary
directories), discovers each with a sample of 50 entries a stream, in turn, RUNS times (default 7), and prints the times.
Several TAPs, with commas between, take turns, too. Needs slapd and slapadd.
"""

import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

UNITS = 200
SIZES = (20_000, 100_000)
SAMPLE = 50
SUFFIX = "dc=example,dc=test"
PATH = os.environ.get("PATH", "") + ":/usr/sbin"


def entries(count, mixed):
    yield f"dn: {SUFFIX}\nobjectClass: dcObject\nobjectClass: organization\ndc: example\no: Test\n\n"
    for u in range(UNITS):
        yield f"dn: ou=unit{u},{SUFFIX}\nobjectClass: organizationalUnit\nou: unit{u}\n\n"
    people = count - UNITS - 1
    for i in range(people):
        unit = i % UNITS if mixed else i * UNITS // people
        yield (
            f"dn: uid=person{i},ou=unit{unit},{SUFFIX}\nobjectClass: inetOrgPerson\nuid: person{i}\n"
            f"cn: Person {i}\nsn: Number{i}\ngivenName: Person\nmail: person{i}@example.test\n"
            f"employeeNumber: {i}\ntelephoneNumber: +1 555 {i:06}\n\n"
        )


class Slapd:
    def __init__(self, top, count, mixed):
        self.name = f"{count} entries added {'mixed' if mixed else 'unit by unit'}"
        self.dir = os.path.join(top, f"{count}-{mixed}")
        os.makedirs(os.path.join(self.dir, "db"))
        conf, ldif = (os.path.join(self.dir, n) for n in ("slapd.conf", "seed.ldif"))
        with open(conf, "w") as f:
            for schema in ("core", "cosine", "inetorgperson"):
                f.write(f"include /etc/ldap/schema/{schema}.schema\n")
            f.write(
                f"modulepath /usr/lib/ldap\nmoduleload back_mdb\nsizelimit unlimited\ndatabase mdb\nsuffix {SUFFIX}\n"
                f"rootdn cn=admin,{SUFFIX}\nrootpw secret\ndirectory {self.dir}/db\nmaxsize 4294967296\n"
                "index objectClass eq\n"
            )
        with open(ldif, "w") as f:
            f.writelines(entries(count, mixed))
        subprocess.run([shutil.which("slapadd", path=PATH), "-q", "-f", conf, "-l", ldif], check=True)
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        command = [shutil.which("slapd", path=PATH), "-d", "0", "-f", conf, "-h", f"ldap://127.0.0.1:{self.port}"]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        self.config = os.path.join(self.dir, "tap.json")
        with open(self.config, "w") as f:
            json.dump(
                {
                    "server_url": f"ldap://127.0.0.1:{self.port}",
                    "bind_dn": f"cn=admin,{SUFFIX}",
                    "bind_password": "secret",
                    "base_dn": SUFFIX,
                    "discovery_sample_size": SAMPLE,
                },
                f,
            )
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def stop(self):
        self.process.terminate()
        self.process.wait()


def main():
    taps, runs = sys.argv[1].split(","), int(sys.argv[2]) if len(sys.argv) > 2 else 7
    with tempfile.TemporaryDirectory(prefix="bench-discovery-") as top:
        servers = []
        try:
            for mixed in (False, True):
                servers.extend(Slapd(top, count, mixed) for count in SIZES)
            times = {}
            # The first round warms slapd's caches and is not counted.
            for turn in range(runs + 1):
                for server in servers:
                    for tap in taps:
                        started = time.monotonic()
                        command = [tap, "--config", server.config, "--discover", "--log-level", "warn"]
                        catalog = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
                        took = time.monotonic() - started
                        streams = len(json.loads(catalog)["streams"])
                        if streams != UNITS + 2:
                            sys.exit(f"{streams} streams, not {UNITS + 2}")
                        if turn > 0:
                            times.setdefault((tap, server.name), []).append(took)
            for (tap, server), all_times in times.items():
                print(
                    f"{tap}: {server}, {UNITS} units, sample {SAMPLE}: median {statistics.median(all_times):.2f} s, "
                    f"{min(all_times):.2f} to {max(all_times):.2f} s in {len(all_times)} runs"
                )
        finally:
            for server in servers:
                server.stop()


if __name__ == "__main__":
    main()
