"""The tap's memory while nobody reads its output."""

from context import PAGE_SIZE, PAGED, PAGES
from contest import Client, contest, goal, result, rows
from process import run

# Memory does not depend on the machine's mood.
ROUNDS = 3


def memory(context):
    """(d) Peak of memory with stdout blocked."""
    sizes = sorted({10_000, context.large})
    blocked = 10 if context.scale >= 1 else 3
    clients, ours = [], []
    for count in sizes:
        server = context.reading(count)
        for name, path in context.taps.items():
            for how, page_size in ((PAGES, PAGE_SIZE), ("default pages", None), ("unpaged", 0)):
                command = context.tap(path, server, page_size=page_size)
                client = Client(f"{name}, {count:,} entries, {how}", blocking(server, command, blocked))
                clients.append(client)
                if name == next(iter(context.taps)):
                    ours.append(client)
        search = context.search(server, *PAGED)
        clients.append(Client(f"ldapsearch, {count:,} entries, {PAGES}", blocking(server, search, blocked)))
    contest(clients, min(ROUNDS, context.rounds), warm=0)
    goals = [goal(f"peak MiB, {c.name.partition(', ')[2]}, stdout blocked", "<= 16", c.spread("rss"), 1) for c in ours]
    how = f"stdout is a pipe that nobody reads for {blocked} s, which are part of the wall."
    return result("Memory", how, rows(clients, None), goals)


def blocking(server, command, blocked):
    """A `Client.run` whose output is left alone for so many seconds."""
    return lambda: run(command, servers=[server.pid], blocked=blocked)
