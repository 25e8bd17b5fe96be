#!/usr/bin/env python3
"""What an hourly run costs after a full one: 100 changes on 200,000 entries.

  tests/bench/delta.py TAP [RUNS]

Starts a slapd of its own (loopback, temporary directory), and for each method takes a full read, then RUNS times (default 7)
changes 100 entries and reads what changed, beside `ldapsearch` reading everything. Prints records, wall time and their
ratio to ldapsearch's. Needs slapd, slapadd, ldapsearch and ldapmodify.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

from slapd import SUFFIX, Slapd, person, tree

ENTRIES, UNITS, CHANGES = 200_000, 20, 100
METHODS = (("FULL_TABLE", None), ("INCREMENTAL", "entryCSN"), ("INCREMENTAL", "modifyTimestamp"), ("LOG_BASED", None))


class Method:
    """A stream read by one method, again and again with its last STATE."""

    def __init__(self, tap, server, method, key):
        self.name = " ".join(filter(None, (method, key)))
        stream = {"name": "all", "replication_method": method}
        if key:
            stream["replication_key"] = key
        self.config = server.config(f"{self.name}.json", schemas=[stream], enable_metrics=False)
        self.command = [tap, "--config", self.config, "--log-level", "error"]
        self.catalog = os.path.join(server.dir, f"{self.name}.catalog.json")
        with open(self.catalog, "w") as f:
            subprocess.run([*self.command, "--discover"], check=True, stdout=f)
        self.state = None
        self.times, self.records = [], []

    def run(self):
        command = [*self.command, "--catalog", self.catalog]
        if self.state is not None:
            path = f"{self.catalog}.state"
            with open(path, "w") as f:
                json.dump(self.state, f)
            command += ["--state", path]
        records = 0
        started = time.monotonic()
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            for line in process.stdout:
                if line.startswith(b'{"type":"RECORD"'):
                    records += 1
                elif line.startswith(b'{"type":"STATE"'):
                    self.state = json.loads(line)["value"]
        if process.returncode != 0:
            sys.exit(f"{self.name}: exit code {process.returncode}")
        return time.monotonic() - started, records


def search(server):
    started = time.monotonic()
    options = ["-LLL", "-E", "pr=1000/noprompt", "-b", SUFFIX, "*", "+"]
    server.client("ldapsearch", *options, stdout=subprocess.DEVNULL)
    return time.monotonic() - started


def main():
    tap, runs = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 7
    with tempfile.TemporaryDirectory(prefix="bench-delta-") as top:
        server = Slapd(
            os.path.join(top, "slapd"),
            tree(ENTRIES, UNITS, mixed=True),
            database="dbnosync\nindex objectClass,entryCSN,entryUUID,modifyTimestamp eq\n",
            overlays="overlay syncprov\nsyncprov-sessionlog 10000\n",
            modules="moduleload syncprov\n",
        )
        try:
            methods = [Method(tap, server, *m) for m in METHODS]
            first = {m.name: m.run() for m in methods}
            peer = []
            for turn in range(runs):
                # Clear of what the last turn left within the overlap of keys that are times.
                time.sleep(7)
                changes = "".join(
                    f"dn: {person(i, i % UNITS)}\nchangetype: modify\nreplace: description\ndescription: turn {turn}\n\n"
                    for i in range(turn * 1_000, turn * 1_000 + CHANGES)
                )
                server.client("ldapmodify", input=changes.encode(), stdout=subprocess.DEVNULL)
                for method in methods:
                    took, records = method.run()
                    method.times.append(took)
                    method.records.append(records)
                peer.append(search(server))
            base = statistics.median(peer)
            print(f"{ENTRIES} entries, {CHANGES} changes, {runs} turns; ldapsearch of everything: median {base:.2f} s")
            print("| method | first run: records, s | then: records | median s | range | ratio to ldapsearch |")
            print("|---|---|---|---|---|---|")
            for m in methods:
                took, records = first[m.name]
                median = statistics.median(m.times)
                counts = ", ".join(str(n) for n in sorted(set(m.records)))
                print(
                    f"| {m.name} | {records}, {took:.2f} | {counts} | {median:.3f} | {min(m.times):.3f} to "
                    f"{max(m.times):.3f} | {median / base:.3f} |"
                )
        finally:
            server.stop()


if __name__ == "__main__":
    main()
