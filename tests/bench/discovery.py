#!/usr/bin/env python3
"""How long `tap-ldap --discover` takes with 200 organizational units, whatever lies in them.

  tests/bench/discovery.py TAP [RUNS]

Starts a slapd of its own for 20,000 and for 100,000 entries, which were added unit by unit or mixed (loopback, temporary
directories), discovers each with a sample of 50 entries a stream, in turn, RUNS times (default 7), and prints the times.
Several TAPs, with commas between, take turns, too. Needs slapd and slapadd.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

from slapd import Slapd, tree

UNITS = 200
SIZES = (20_000, 100_000)
SAMPLE = 50


class Server:
    """A slapd with its name in the results."""

    def __init__(self, top, count, mixed):
        self.name = f"{count} entries added {'mixed' if mixed else 'unit by unit'}"
        self.slapd = Slapd(os.path.join(top, f"{count}-{mixed}"), tree(count, UNITS, mixed))
        self.config = self.slapd.config("tap.json", discovery_sample_size=SAMPLE)
        self.stop = self.slapd.stop


def main():
    taps, runs = sys.argv[1].split(","), int(sys.argv[2]) if len(sys.argv) > 2 else 7
    with tempfile.TemporaryDirectory(prefix="bench-discovery-") as top:
        servers = []
        try:
            for mixed in (False, True):
                servers.extend(Server(top, count, mixed) for count in SIZES)
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
