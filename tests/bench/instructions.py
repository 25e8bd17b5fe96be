#!/usr/bin/env python3
"""Instructions for each entry that the tap reads and each record that the target writes, to a file and to a server, and the limits
they are held to.

  tests/bench/instructions.py [--check | --update] [--keep DIR] TAP TARGET

Counts by valgrind's callgrind on fixed data, so a busy machine changes nothing. `--check` fails where a count is above its
limit in instructions.json; `--update` makes the limits anew, 5 or 10 % above what was counted. `--keep` leaves callgrind's files in
DIR, for `callgrind_annotate`. Needs release builds, valgrind, slapd and ldapsearch.
"""

import argparse
import json
import os
import sys

import callgrind
from context import PAGE_SIZE, PAGED, PAGES, Context
from people import STREAM, UNITS, messages, write
from process import Failed
from slapd import SUFFIX, tree

# As small as tells: under valgrind everything takes fifty times as long.
SIZES = (2_000, 4_000)
LIMITS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "instructions.json")
# A file is written alike each time; what a server sends at once depends on the machine.
MARGIN, MARGIN_OF_SERVERS = 1.05, 1.1
READ, READ_UNPAGED = f"tap: entry read, typed, {PAGES}", "tap: entry read, typed, unpaged"
SEARCH = f"ldapsearch: entry read, {PAGES}"
WRITTEN, NOT_CHECKED = "target: record into LDIF, validated", "target: record into LDIF, not validated"
ADDED, MODIFIED = "target: record added to a server", "target: record that modifies an entry"
UNCHANGED, MATCHED = "target: unchanged record, by DN", "target: unchanged record, by match"
HELD = (READ, READ_UNPAGED, WRITTEN, NOT_CHECKED, ADDED, MODIFIED, UNCHANGED, MATCHED)
# As many digits everywhere.
FIRST = 10_000
# A target looks entries up one by one until reading all of them pays: with these sizes, after as many records.
LOADED = (3_000, 6_000)


def two_sizes():
    """LDIF of one directory with a container of each size. The ordinals have as many digits everywhere, so that all entries
    are as long."""
    yield f"dn: {SUFFIX}\nobjectClass: dcObject\nobjectClass: organization\ndc: example\no: Test\n\n"
    for size in SIZES:
        yield f"dn: {container(size)}\nobjectClass: organizationalUnit\nou: size{size}\n\n"
        for i in range(10_000, 10_000 + size):
            yield (
                f"dn: uid=person{i},{container(size)}\nobjectClass: inetOrgPerson\nuid: person{i}\ncn: Person {i}\n"
                f"sn: Number{i}\ngivenName: Person\nmail: person{i}@example.test\nemployeeNumber: {i}\n"
                f"telephoneNumber: +1 555 {i:06}\n\n"
            )


def container(size):
    """Where the entries of a size are."""
    return f"ou=size{size},{SUFFIX}"


def sized(context):
    """The server with that directory; one is enough."""
    if "sized" not in context.readers:
        context.readers["sized"] = context.server(two_sizes())
    return context.readers["sized"]


def tap_counts(context, tap, folder, label=""):
    """Instructions per entry of a tap, paged and unpaged."""
    server = sized(context)
    counts = {}
    for name, page_size in ((READ, PAGE_SIZE), (READ_UNPAGED, 0)):

        def command(size):
            streams = [{"name": "all", "base_dn": container(size), "filter": "(uid=*)"}]
            return context.tap(tap, server, schemas=streams, page_size=page_size), None

        counts[name] = callgrind.each(label + name, command, SIZES, folder)
    return counts


def search_count(context, folder):
    """Instructions per entry of ldapsearch."""
    server = sized(context)
    return callgrind.each(
        SEARCH, lambda size: (context.search(server, *PAGED, base=container(size)), None), SIZES, folder
    )


def target_counts(context, target, folder, label=""):
    """Instructions per record of a target that writes LDIF."""
    counts = {}
    for name, checked in ((WRITTEN, True), (NOT_CHECKED, False)):

        def command(size):
            path = context.folder("ldif")
            os.makedirs(path)
            records = write(os.path.join(path, "in.singer"), messages(size, "new", first=FIRST))
            config = os.path.join(path, "target.json")
            settings = {"server_url": f"ldif:{path}/out.ldif", "validate_records": checked, "enable_metrics": False}
            write(config, [json.dumps(settings)])
            return [target, "--config", config, "--log-level", "error"], records

        counts[name] = callgrind.each(label + name, command, SIZES, folder)
    return counts


def server_counts(context, target, folder, label=""):
    """Instructions per record of a target that writes to a server: entries are added, found as they are, and modified."""
    servers = {size: context.server(tree(UNITS + 1, UNITS, mixed=True)) for size in LOADED}
    by_match = {"mapping_rules": {STREAM: {"match": "(employeeNumber={employeeNumber})"}}}
    counts = {}
    for name, description, settings in (
        (ADDED, "there", {}),
        (UNCHANGED, "there", {}),
        (MATCHED, "there", by_match),
        (MODIFIED, "changed", {}),
    ):

        def command(size):
            path = context.folder("in.singer")
            records = write(path, messages(size, description, first=FIRST))
            return context.target(target, servers[size], **settings), records

        counts[name] = callgrind.each(label + name, command, LOADED, folder)
    for size, server in servers.items():
        found = server.count("(description=changed)")
        if found != size:
            raise Failed(f"{found} entries were modified, not {size}")
        server.stop()
    return counts


def margin(name):
    """How much more than was counted is allowed."""
    return MARGIN if name in (WRITTEN, NOT_CHECKED) else MARGIN_OF_SERVERS


def limits():
    """The committed limits."""
    with open(LIMITS) as f:
        return json.load(f)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--check", action="store_true", help="fail where a count is above its limit")
    what.add_argument("--update", action="store_true", help="write the limits anew")
    parser.add_argument("--keep", metavar="DIR", help="where to leave callgrind's files")
    parser.add_argument("tap")
    parser.add_argument("target")
    given = parser.parse_args()
    with Context({"tap-ldap": given.tap}, {"target-ldap": given.target}) as context:
        folder = given.keep or context.dir
        os.makedirs(folder, exist_ok=True)
        try:
            counts = {
                **tap_counts(context, given.tap, folder),
                **target_counts(context, given.target, folder),
                **server_counts(context, given.target, folder),
            }
            if not given.check:
                counts[SEARCH] = search_count(context, folder)
        except Failed as why:
            sys.exit(f"instructions: {why}")
    held = limits() if os.path.exists(LIMITS) else {}
    for name, number in counts.items():
        print(f"{name}: {number:.0f}, limit {held.get(name, 'none')}")
    if given.update:
        write(LIMITS, [json.dumps({name: round(counts[name] * margin(name)) for name in HELD}, indent=2), "\n"])
    if given.check:
        above = [name for name in HELD if counts[name] > held.get(name, 0)]
        if above:
            sys.exit(
                f"instructions: above the limit: {'; '.join(above)}.\n"
                "What takes them: tests/bench/instructions.py --keep DIR TAP TARGET, then callgrind_annotate on DIR's files.\n"
                "If it is meant and worth it: make bench-instructions-update, and say why in the commit."
            )
        below = [name for name in HELD if counts[name] < held[name] / margin(name) * 0.9]
        if below:
            print(f"instructions: more than 10 % better: {'; '.join(below)}. Hold it: make bench-instructions-update")


if __name__ == "__main__":
    main()
