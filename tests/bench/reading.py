"""Measures of the tap: instructions, CPU, wall, the Python tap, a long way to the server, TLS."""

import instructions
from context import PAGE_SIZE, PAGED, PAGES
from contest import Client, contest, goal, ratio, result, rows, speed
from process import Failed
from proxy import Proxy, round_trip_ms
from sdk import sdk_client

FULL = 100_000
# Other ways to read over a long way than as the tap comes.
OTHERWISE = (
    ("pages of 5,000", {"page_size": 5000}),
    ("unpaged", {"page_size": 0}),
    ("2 partitions", {"partitions": 2}),
)


def instructions_per_entry(context):
    """(a) From BER to JSON, counted."""
    counts = {f"ldapsearch, {PAGES}": instructions.search_count(context, context.dir)}
    for name, path in context.taps.items():
        for what, number in instructions.tap_counts(context, path, context.dir, f"{name}: ").items():
            counts[f"{name}, {what.rpartition(', ')[2]}"] = number
    for name, path in context.targets.items():
        for what, number in instructions.target_counts(context, path, context.dir, f"{name}: ").items():
            counts[f"{name}, record into LDIF, {what.rpartition(', ')[2]}"] = number
        for what, number in instructions.server_counts(context, path, context.dir, f"{name}: ").items():
            counts[f"{name}, {what.removeprefix('target: ')}"] = number
    first = f"{next(iter(context.taps))}, {PAGES}"
    table = [{"client": name, "instructions": number} for name, number in counts.items()]
    how = (
        f"Instructions for each entry or record, by callgrind: those for {instructions.SIZES[1]:,} less those for "
        f"{instructions.SIZES[0]:,}, divided by the difference. Into a server, of {instructions.LOADED[1]:,} and {instructions.LOADED[0]:,}."
    )
    goals = [goal("instructions per entry, BER to JSON, typed", "<= 9000", counts[first], 0)]
    return result("Instructions", how, table, goals)


def read(context):
    """(b) Reading everything, beside ldapsearch."""
    count = context.size(FULL)
    server = context.reading(count)
    peer = Client(f"ldapsearch, {PAGES}", context.timed(server, context.search(server, *PAGED)))
    clients, notes, goals, halves = [peer], [], [], {}
    for name, path in context.taps.items():
        command = context.tap(path, server, page_size=PAGE_SIZE)
        clients.append(context.reader(f"{name}, {PAGES}", server, command, count))
    main = clients[1]
    for name, path in context.taps.items():
        try:
            command = context.tap(path, server, partitions=2, page_size=PAGE_SIZE)
            halves[name] = context.reader(f"{name}, 2 partitions", server, command, count)
        except Failed as why:
            notes.append(f"{name} with 2 partitions: left out. It refuses the setting: {first_line(why)}")
    clients.extend(halves.values())
    for name, path in context.taps.items():
        clients.append(context.reader(f"{name}, default pages", server, context.tap(path, server), count))
    clients.append(Client("ldapsearch, unpaged", context.timed(server, context.search(server))))
    for name, path in context.taps.items():
        clients.append(context.reader(f"{name}, unpaged", server, context.tap(path, server, page_size=0), count))
    contest(clients, context.rounds)
    goals.append(goal(f"client CPU / ldapsearch's, {PAGES}", "<= 0.35", ratio(main, peer, "cpu")))
    goals.append(goal("wall / ldapsearch's, one connection", "<= 1.0", ratio(main, peer)))
    half = halves.get(next(iter(context.taps)))
    if half:
        goals.append(goal("wall / ldapsearch's, two partitions", "<= 0.8", ratio(half, peer)))
    how = f"{count:,} entries, all attributes and what the tap adds, typed; ratios to the first row."
    return result("Reading", how, rows(clients, peer), goals, notes=notes)


def first_line(why):
    """The first line of what a program said, without its time stamp."""
    lines = str(why).splitlines()
    return lines[0].partition("ERROR")[2].strip() or lines[0] if lines else "nothing said"


def sdk(context):
    """(c) Beside a tap of the Python SDK."""
    count = context.size(20_000)
    if not context.sdk_python:
        return result("The Python SDK", "Not measured: scripts/install-sdk-tap.sh was not run.", [], [])
    server = context.reading(count)
    peer = context.reader("singer-sdk over python-ldap", server, sdk_client(context, server), count)
    taps = [
        context.reader(name, server, context.tap(path, server, page_size=PAGE_SIZE), count)
        for name, path in context.taps.items()
    ]
    clients = [peer, *taps]
    contest(clients, context.rounds)
    goals = [goal("times faster than the singer-sdk tap", ">= 12", speed(taps[0], peer), 1)]
    how = f"{count:,} entries, {PAGES} (the SDK tap's of 1,000), the same records from both (tests/bench/sdk_tap)."
    return result("The Python SDK", how, rows(clients, peer, faster=True), goals, faster=True)


def far(context):
    """(e) A round trip of 5 ms, each program as it comes."""
    count = context.size(FULL)
    server = context.reading(count)
    proxy = Proxy(server.port, 5)
    context.callback(proxy.stop)
    peer = Client("ldapsearch", context.timed(server, context.search(server, url=proxy.url)))
    clients = [peer]
    for name, path in context.taps.items():
        clients.append(context.reader(name, server, context.tap(path, server, server_url=proxy.url), count))
    main = clients[1]
    clients.append(
        Client(f"ldapsearch, {PAGES}", context.timed(server, context.search(server, *PAGED, url=proxy.url)))
    )
    # Where the time goes: a page that waits for the next is half a round trip to the server and half of one back.
    for name, path in context.taps.items():
        for how, settings in OTHERWISE:
            try:
                command = context.tap(path, server, server_url=proxy.url, **settings)
            except Failed:
                continue
            clients.append(context.reader(f"{name}, {how}", server, command, count))
    contest(clients, context.rounds)
    how = (
        f"{count:,} entries through tests/bench/proxy.py (an echo takes {round_trip_ms(5):.1f} ms there), default settings: "
        "ldapsearch does not page, the tap does."
    )
    goals = [goal("5 ms round trip: wall / ldapsearch's, defaults", "<= 0.8", ratio(main, peer))]
    return result("A round trip of 5 ms, reading", how, rows(clients, peer), goals)


def tls(context):
    """(f) What TLS costs the client."""
    count = context.size(FULL)
    server = context.reading(count)
    clients, pairs = [], []
    for name, path in context.taps.items():
        secret = {"server_url": server.tls_url, "tls_ca_file": server.tls_ca, "page_size": PAGE_SIZE}
        pairs.append(
            (
                context.reader(f"{name}, plain", server, context.tap(path, server, page_size=PAGE_SIZE), count),
                context.reader(f"{name}, TLS", server, context.tap(path, server, **secret), count),
            )
        )
        clients.extend(pairs[-1])
    trust = {"LDAPTLS_CACERT": server.tls_ca}
    clients.append(Client("ldapsearch, plain", context.timed(server, context.search(server, *PAGED))))
    over_tls = context.search(server, *PAGED, url=server.tls_url)
    clients.append(Client("ldapsearch, TLS", context.timed(server, over_tls, env=trust)))
    contest(clients, context.rounds)
    plain, secured = pairs[0]
    goals = [goal("TLS: client CPU / the same without", "<= 2.5", ratio(secured, plain, "cpu"))]
    how = f"{count:,} entries, {PAGES}; ratios to the first row."
    return result("TLS", how, rows(clients, plain), goals)
