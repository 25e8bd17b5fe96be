"""Measures of the target: adds, modifications, unchanged records, LDIF."""

import itertools
import json
import os

from context import INDEXES, expect
from contest import Client, contest, goal, rate, result, rows, speed
from people import STREAM, UNITS, added, messages, modified, write
from process import run
from proxy import Proxy, round_trip_ms
from slapd import tree

# The suffix and the containers, without the people.
ABOVE = UNITS + 1
# How the server keeps what it is told: without waiting for the disk, or with.
UNSYNCED, SYNCED = f"dbnosync\n{INDEXES}", INDEXES


class Fresh:
    """A server with nothing but containers, made anew for each run of a client; `proxy` with 5 ms on the way."""

    def __init__(self, context, database, far):
        self.context, self.database, self.far = context, database, far
        self.server = self.proxy = None

    def renew(self):
        self.close()
        self.server = self.context.server(tree(ABOVE, UNITS, mixed=True), database=self.database)
        if self.far:
            self.proxy = Proxy(self.server.port, 5)
            self.context.callback(self.proxy.stop)
        self.url = self.proxy.url if self.far else self.server.url

    def close(self):
        if self.proxy:
            self.proxy.stop()
        if self.server:
            self.server.stop()


def contest_of_adds(context, count, database, far):
    """ldapadd and the targets, each into a fresh server; ldapadd first."""
    place = Fresh(context, database, far)
    folder = context.folder("adds")
    os.makedirs(folder)
    ldif = write(os.path.join(folder, "add.ldif"), added(count, "new"))
    records = write(os.path.join(folder, "add.singer"), messages(count, "new"))

    def ldapadd():
        command = place.server.command("ldapadd", "-f", ldif, url=place.url)
        return run(command, servers=[place.server.pid])

    def target(path):
        command = context.target(path, place.server, server_url=place.url)
        return run(command, servers=[place.server.pid], stdin=records)

    def slapadd():
        place.server.stop()
        return run(place.server.slapadd(ldif))

    def complete():
        expect("adding", "entries", place.server.count(), count + ABOVE)

    clients = [Client("ldapadd", ldapadd, place.renew, complete)]
    for name, path in context.targets.items():
        clients.append(Client(f"{name}, adds", lambda path=path: target(path), place.renew, complete))
    if not far and database == UNSYNCED:
        clients.append(Client("slapadd -q, the floor", slapadd, place.renew))
    contest(clients, context.rounds)
    place.close()
    return clients


def contest_of_modifications(context, count, database, far):
    """ldapmodify and the targets on one server; each run gives everybody a description that nobody had."""
    server = context.server(tree(count + ABOVE, UNITS, mixed=True), database=database)
    url = server.url
    if far:
        proxy = Proxy(server.port, 5)
        context.callback(proxy.stop)
        url = proxy.url
    path = context.folder("change")
    turns = itertools.count()

    def client(name, command, lines):
        turn = [""]

        def before():
            turn[0] = f"turn {next(turns)}"
            write(path, lines(count, turn[0]))

        def changed():
            found = server.count(f"(description={turn[0]})")
            expect(name, "modified entries", found, count)

        return Client(name, lambda: run(command, servers=[server.pid], stdin=path), before, changed)

    clients = [client("ldapmodify", server.command("ldapmodify", url=url), modified)]
    for name, executable in context.targets.items():
        command = context.target(executable, server, server_url=url)
        clients.append(client(f"{name}, modifications", command, messages))
    contest(clients, context.rounds)
    server.stop()
    return clients


def changes(context, title, count, database, far, limits, what):
    """Adds and modifications of one kind of server and way; `limits` are what the two are to reach, if anything."""
    adds = contest_of_adds(context, count, database, far)
    modifications = contest_of_modifications(context, count, database, far)
    goals = []
    kinds = ("adds / ldapadd", "modifications / ldapmodify")
    for clients, limit, kind in zip((adds, modifications), limits, kinds):
        if limit:
            goals.append(goal(f"{kind}, {what}: times as fast", limit, speed(clients[1], clients[0])))
    table = rows(adds, adds[0], faster=True) + rows(modifications, modifications[0], faster=True)
    how = f"{count:,} records each; adds into an empty directory, modifications of one value of each entry."
    if far:
        how += f" Through tests/bench/proxy.py (an echo takes {round_trip_ms(5):.1f} ms there)."
    return result(title, how, table, goals, faster=True)


def near_unsynced(context):
    """(g) No round trip, no waiting for the disk."""
    count = context.size(20_000)
    return changes(
        context, "Writing, dbnosync", count, UNSYNCED, False, (">= 1.4", ">= 2.5"), "dbnosync"
    )


def near_synced(context):
    """(g) No round trip, each change on the disk: nobody can be faster than the disk."""
    return changes(context, "Writing, synced", context.size(4_000), SYNCED, False, (None, None), "synced")


def far_unsynced(context):
    """(g) 5 ms."""
    count = context.size(4_000)
    return changes(
        context, "Writing, 5 ms, dbnosync", count, UNSYNCED, True, (">= 20", ">= 20"), "5 ms, dbnosync"
    )


def far_synced(context):
    """(g) 5 ms, each change on the disk."""
    count = context.size(4_000)
    return changes(
        context, "Writing, 5 ms, synced", count, SYNCED, True, (">= 8", ">= 8"), "5 ms, synced"
    )


def unchanged(context):
    """(h) Records that are there already."""
    count = context.size(50_000)
    folder = context.folder("unchanged")
    os.makedirs(folder)
    records = write(os.path.join(folder, "in.singer"), messages(count, "there"))
    people = itertools.chain(tree(ABOVE, UNITS, mixed=True), added(count, "there"))
    server = context.server(people)
    rules = {STREAM: {"match": "(employeeNumber={employeeNumber})"}}
    clients = []
    for name, path in context.targets.items():
        for how, settings in (("by DN", {}), ("by match", {"mapping_rules": rules})):
            command = context.target(path, server, **settings)
            clients.append(Client(f"{name}, {how}", context.timed(server, command, stdin=records)))
    contest(clients, context.rounds)
    server.stop()
    goals = []
    for client, how in zip(clients, ("by DN", "by match")):
        goals.append(goal(f"unchanged records/s, {how}", ">= 20000", rate(client, count), 0))
        goals.append(goal(f"unchanged records, {how}: peak MiB", "<= 40", client.spread("rss"), 1))
    how = f"{count:,} records that the directory has as they are."
    return result("Unchanged records", how, rows(clients, None), goals, notes=[by_cpu(clients, count)])


def by_cpu(clients, count):
    """How many records a second of CPU is enough for: what a machine with nothing else to do would come near to."""
    each = (f"{c.name} {count / c.spread('cpu')[0]:,.0f}" for c in clients)
    return f"Records for each second of the client's CPU: {', '.join(each)}."


def ldif(context):
    """(i) Into a file, validated."""
    count = context.large
    folder = context.folder("ldif")
    os.makedirs(folder)
    records = write(os.path.join(folder, "in.singer"), messages(count, "new"))
    out = os.path.join(folder, "out.ldif")
    config = write(
        os.path.join(folder, "target.json"), [json.dumps({"server_url": f"ldif:{out}", "enable_metrics": False})]
    )

    def away():
        if os.path.exists(out):
            os.unlink(out)

    def complete():
        with open(out) as f:
            expect("into LDIF", "entries", sum(line.startswith("dn: ") for line in f), count + ABOVE)

    clients = []
    for name, path in context.targets.items():
        command = [path, "--config", config, "--log-level", "error"]
        clients.append(Client(name, lambda command=command: run(command, stdin=records), away, complete))
    contest(clients, min(3, context.rounds), warm=0)
    size = os.path.getsize(records) / count
    goals = [goal("validated records/s into LDIF", ">= 150000", rate(clients[0], count), 0)]
    how = f"{count:,} records of {size:.0f} octets, each checked against its SCHEMA."
    return result("Into LDIF", how, rows(clients, None), goals, notes=[by_cpu(clients, count)])
