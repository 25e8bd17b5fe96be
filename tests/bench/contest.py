"""Clients that do the same work take turns; what came out, as plain data for the tables."""

import statistics
import sys
from dataclasses import dataclass, field


@dataclass
class Client:
    """One way to do the work. `run` does it once and gives a `process.Sample`; `before` makes the place ready, and `after`
    raises `Failed` unless the work was done, both untimed."""

    name: str
    run: callable
    before: callable = None
    after: callable = None
    samples: list = field(default_factory=list)

    def spread(self, what):
        """Median, lowest and highest of a figure of the samples."""
        return spread(getattr(s, what) for s in self.samples)


def spread(values):
    """Median, lowest and highest."""
    values = list(values)
    return [statistics.median(values), min(values), max(values)]


def contest(clients, rounds, warm=1):
    """Runs each client in turn, round by round, the first `warm` rounds uncounted (they fill the server's caches). Walls
    drift with the machine's mood, so only what was run in turn is compared, round by round."""
    for turn in range(rounds + warm):
        for client in clients:
            if client.before:
                client.before()
            sample = client.run()
            if client.after:
                client.after()
            if turn >= warm:
                client.samples.append(sample)
            print(f"  {client.name}: {sample.wall:.3f} s, CPU {sample.cpu:.3f} s, {sample.rss:.1f} MiB", file=sys.stderr)


def ratio(client, peer, what="wall"):
    """Spread of a client's figure in peer's, of each round."""
    return spread(getattr(a, what) / max(getattr(b, what), 1e-6) for a, b in zip(client.samples, peer.samples))


def speed(client, peer):
    """How many times as fast as its peer, of each round."""
    return spread(b.wall / a.wall for a, b in zip(client.samples, peer.samples))


def rate(client, count):
    """Spread of records a second."""
    return spread(count / s.wall for s in client.samples)


def rows(clients, peer, faster=False):
    """The rows of a table: every client, beside `peer`; `faster` says how many times as fast, instead of the walls' ratio."""
    return [
        {
            "client": c.name,
            "rounds": len(c.samples),
            "wall": c.spread("wall"),
            "cpu": c.spread("cpu"),
            "server_cpu": c.spread("server_cpu"),
            "rss": c.spread("rss"),
            "wall_ratio": None if peer is None else speed(c, peer) if faster else ratio(c, peer),
            "cpu_ratio": None if peer is None else ratio(c, peer, "cpu"),
        }
        for c in clients
    ]


def goal(what, limit, value, digits=2):
    """A figure to reach: `limit` is at most ("<= 9000") or at least (">= 12"); `value` a number or a spread."""
    value = value if isinstance(value, list) else [value, value, value]
    sign, bound = limit.split()
    reached = value[0] <= float(bound) if sign == "<=" else value[0] >= float(bound)
    return {"what": what, "limit": limit, "value": value, "digits": digits, "reached": reached}


def result(title, how, table, goals, faster=False, notes=()):
    """What a measure gives; its date is added by who called it."""
    return {"title": title, "how": how, "rows": table, "goals": goals, "faster": faster, "notes": list(notes)}
