#!/usr/bin/env python3
"""How fast a stream is read whole, beside `ldapsearch` with pages of 1,000 that is asked for the same attributes.

  tests/bench/read.py TAP [RUNS]            times: wall, CPU of client and server, peak of memory
  tests/bench/read.py --instructions TAP    instructions per entry (valgrind), which do not depend on the machine's mood

Starts a slapd of its own (loopback, temporary directory). Runs take turns, RUNS times (default 7) after one to warm up;
what is printed is the median of each run's ratio to the ldapsearch of its turn. Several TAPs, with commas between, take turns, too.
Needs slapd, slapadd and ldapsearch.
"""

import os
import re
import statistics
import subprocess
import sys
import tempfile
import time

from slapd import SUFFIX, Slapd, tree

ENTRIES = int(os.environ.get("ENTRIES", "100000"))
ATTRIBUTES = ("*", "entryUUID", "createTimestamp", "modifyTimestamp", "entryCSN")
TICKS = os.sysconf("SC_CLK_TCK")


class Reader:
    """A command that reads everything, and how it went."""

    def __init__(self, name, command):
        self.name, self.command, self.runs = name, command, []

    def run(self, server):
        """Wall, CPU of the client, CPU of the server in seconds; peak of the client's memory in MiB."""
        before = cpu(server.process.pid)
        started = time.monotonic()
        with open(os.devnull, "wb") as null:
            process = subprocess.Popen(self.command, stdout=null)
            # What the system counts for the process begins with what this one had when it forked.
            peak, pid = 0, 0
            while pid == 0:
                time.sleep(0.01)
                peak = peak_kib(process.pid) or peak
                pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        wall = time.monotonic() - started
        if status != 0:
            sys.exit(f"{self.name}: status {status}")
        self.runs.append((wall, usage.ru_utime + usage.ru_stime, cpu(server.process.pid) - before, peak / 1024))


def peak_kib(pid):
    """The peak resident set of a process so far; nothing once it has ended."""
    with open(f"/proc/{pid}/status") as f:
        return next((int(line.split()[1]) for line in f if line.startswith("VmHWM:")), 0)


def cpu(pid):
    """The CPU time of a process so far."""
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def ldapsearch(server):
    options = ["-x", "-H", server.url, "-D", f"cn=admin,{SUFFIX}", "-w", "secret", "-LLL"]
    return ["ldapsearch", *options, "-E", "pr=1000/noprompt", "-b", SUFFIX, *ATTRIBUTES]


def tap_command(tap, server, name, **settings):
    """The tap with a catalog of its own, so that discovery is not part of the time."""
    config = server.config(f"{name}.json", schemas=[{"name": "all"}], enable_metrics=False, **settings)
    catalog = os.path.join(server.dir, f"{name}.catalog.json")
    command = [tap, "--config", config, "--log-level", "error"]
    with open(catalog, "w") as f:
        subprocess.run([*command, "--discover"], check=True, stdout=f)
    return [*command, "--catalog", catalog]


def times(taps, runs):
    with tempfile.TemporaryDirectory(prefix="bench-read-") as top:
        server = Slapd(os.path.join(top, "slapd"), tree(ENTRIES, 20, mixed=True))
        try:
            peer = Reader("ldapsearch, pages of 1,000", ldapsearch(server))
            readers = [peer]
            for n, tap in enumerate(taps):
                readers.append(Reader(f"{tap}", tap_command(tap, server, f"tap{n}")))
                readers.append(Reader(f"{tap}, unpaged", tap_command(tap, server, f"unpaged{n}", page_size=0)))
            for _ in range(runs + 1):
                for reader in readers:
                    reader.run(server)
            print(f"{ENTRIES} entries, {runs} runs of each in turn; medians, and the range of the wall time")
            print("| client | wall s | range | client CPU s | slapd CPU s | peak MiB | wall ratio | CPU ratio |")
            print("|---|---|---|---|---|---|---|---|")
            for reader in readers:
                kept, other = reader.runs[1:], peer.runs[1:]
                wall, client, slapd, rss = (statistics.median(r[i] for r in kept) for i in range(4))
                ratios = [statistics.median(a[i] / b[i] for a, b in zip(kept, other)) for i in (0, 1)]
                walls = [r[0] for r in kept]
                print(
                    f"| {reader.name} | {wall:.2f} | {min(walls):.2f} to {max(walls):.2f} | {client:.2f} | {slapd:.2f} | "
                    f"{rss:.1f} | {ratios[0]:.2f} | {ratios[1]:.2f} |"
                )
        finally:
            server.stop()


def instructions(taps):
    """The difference of two sizes: what does not depend on the number of entries drops out."""
    small, large = 5_000, 15_000
    counts = {}
    with tempfile.TemporaryDirectory(prefix="bench-read-") as top:
        for size in (small, large):
            server = Slapd(os.path.join(top, str(size)), tree(size, 20, mixed=True))
            try:
                commands = {tap: tap_command(tap, server, f"tap{n}") for n, tap in enumerate(taps)}
                commands["ldapsearch, pages of 1,000"] = ldapsearch(server)
                for name, command in commands.items():
                    out = os.environ.get("CALLGRIND_OUT", os.path.join(top, "callgrind"))
                    valgrind = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}.{len(counts)}", *command]
                    said = subprocess.run(valgrind, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
                    counts[name, size] = int(re.search(rb"Collected : (\d+)", said.stderr)[1])
            finally:
                server.stop()
    for name in {name for name, _ in counts}:
        print(f"{name}: {(counts[name, large] - counts[name, small]) / (large - small):.0f} instructions per entry")


def main():
    arguments = sys.argv[1:]
    if arguments and arguments[0] == "--instructions":
        instructions(arguments[1].split(","))
    else:
        times(arguments[0].split(","), int(arguments[1]) if len(arguments) > 1 else 7)


if __name__ == "__main__":
    main()
