#!/usr/bin/env python3
"""Every measure of docs/explanation/performance.md's generated tables, each beside its peer, in turn.

  tests/bench/run.py [--scale 0.1] [--only NAME]... [--large 1000000] [--write] --tap PATH --target PATH
  tests/bench/run.py --check      is the generated part of docs/explanation/performance.md of the right form?

Results are kept in target/bench/results.json, measure by measure, so that a run with --only replaces only its own. --write
makes the tables of docs/explanation/performance.md of them. --tap and --target may be given again, as NAME=PATH, to compare executables;
the goals are about the first. Needs slapd, OpenLDAP's clients, openssl and valgrind.
"""

import argparse
import datetime
import os
import signal
import sys

import memory
import mirror
import reading
import report
import writing
from context import Context
from process import Failed

# Name, title in the document, function.
MEASURES = (
    ("instructions", "Instructions", reading.instructions_per_entry),
    ("read", "Reading", reading.read),
    ("sdk", "The Python SDK", reading.sdk),
    ("memory", "Memory", memory.memory),
    ("far", "A round trip of 5 ms, reading", reading.far),
    ("tls", "TLS", reading.tls),
    ("write", "Writing, dbnosync", writing.near_unsynced),
    ("write-synced", "Writing, synced", writing.near_synced),
    ("write-far", "Writing, 5 ms, dbnosync", writing.far_unsynced),
    ("write-far-synced", "Writing, 5 ms, synced", writing.far_synced),
    ("unchanged", "Unchanged records", writing.unchanged),
    ("ldif", "Into LDIF", writing.ldif),
    ("mirror", "From server to server", mirror.mirror),
)
HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
DOCUMENT = os.path.join(ROOT, "docs", "explanation", "performance.md")
TARGET = os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target"))


def named(given, default):
    """Executables by name: `NAME=PATH`, or a path alone."""
    found = {}
    for argument in given:
        name, equals, path = argument.partition("=")
        found[name if equals else default] = os.path.abspath(path if equals else argument)
    return found


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [name for name, _, _ in MEASURES]
    parser.add_argument("--tap", action="append", default=[], metavar="[NAME=]PATH")
    parser.add_argument("--target", action="append", default=[], metavar="[NAME=]PATH")
    parser.add_argument("--only", action="append", choices=names, metavar="NAME", help=f"one of {', '.join(names)}")
    parser.add_argument("--scale", type=float, default=1.0, help="of the sizes; 0.1 for a quick look")
    parser.add_argument("--rounds", type=int, default=5, help="of each contest, after one that is not counted")
    parser.add_argument("--large", type=int, default=200_000, help="entries and records of memory and ldif; not scaled")
    parser.add_argument("--sdk-python", default=os.path.join(TARGET, "sdk-tap", "bin", "python"))
    parser.add_argument("--results", default=os.path.join(TARGET, "bench", "results.json"))
    parser.add_argument("--write", action="store_true", help="write the tables of docs/explanation/performance.md")
    parser.add_argument("--check", action="store_true", help="only look at the form of docs/explanation/performance.md")
    given = parser.parse_args()
    if not given.check and not (given.tap and given.target):
        parser.error("--tap and --target are missing")
    return given


def check():
    """The form of the document."""
    with open(DOCUMENT) as f:
        wrong = report.faults(f.read(), [title for _, title, _ in MEASURES])
    for fault in wrong:
        print(f"docs/explanation/performance.md: {fault}", file=sys.stderr)
    if wrong:
        sys.exit("docs/explanation/performance.md is not what `make bench` writes: run it, or `git checkout docs/explanation/performance.md`")


def measure(given, results):
    """Runs what was asked for; a measure that fails is said and does not keep the others from their turn."""
    failed = []
    wanted = [m for m in MEASURES if not given.only or m[0] in given.only]
    python = given.sdk_python if os.path.exists(given.sdk_python) else None
    taps, targets = named(given.tap, "tap-ldap"), named(given.target, "target-ldap")
    for name, title, function in wanted:
        print(f"{title}:", file=sys.stderr)
        # Servers end with the measure: one that is idle still has threads and memory.
        with Context(taps, targets, python, given.scale, given.rounds, given.large) as context:
            try:
                found = function(context)
            except Failed as why:
                print(f"{title}: {why}", file=sys.stderr)
                failed.append(name)
                continue
        found["date"] = datetime.date.today().isoformat()
        results[name] = found
        report.save(given.results, results)
        print("\n".join(report.table(found)))
        for goal in found["goals"]:
            reached = "reached" if goal["reached"] else "NOT reached"
            print(f"{goal['what']} {goal['limit']}: {report.figure(goal['value'], goal['digits'])}, {reached}")
        print(flush=True)
    return failed


def main():
    given = arguments()
    if given.check:
        check()
        return
    # As if by Ctrl-C: whatever was started is stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    results = report.load(given.results)
    failed = measure(given, results)
    section = report.section(results, [name for name, _, _ in MEASURES])
    if given.write:
        with open(DOCUMENT) as f:
            text = f.read()
        with open(DOCUMENT, "w") as f:
            f.write(report.insert(text, section))
    if failed:
        sys.exit(f"bench: failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
