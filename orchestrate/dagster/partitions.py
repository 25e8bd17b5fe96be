"""A directory divided into partitions: what the tap is told for each.

A plan is a JSON file:

    {"tap": ["tap-ldap"], "tap_config": {…}, "loader": ["target-postgres", "--config", "target.json"], "state_dir": "state",
     "stream": {"name": "users", "base_dn": "…", "filter": "(objectClass=person)", "attributes": […]},
     "partitions": {"uuid_ranges": 16}}

`stream` is an entry of the tap's `schemas`, and `partitions` one of

    {"uuid_ranges": 16}                                      as many equal ranges of entryUUID, which never changes
    {"attribute": "employeeNumber", "bounds": [1000, 2000]}  ranges of an attribute with an ordering rule, with an ordered index
    {"containers": ["ou=emea,…", "ou=apac,…"]}               what lies below each, in a stream of its own (users_emea)

Each partition is a stream, and so a table, of its own (`users_range_000`): a loader that is told that a version of one is whole
(ACTIVATE_VERSION) takes what came from the others for gone. With `"same_stream": true` beside `uuid_ranges` or `bounds` all have the
stream's name. The loader has to be told then to leave ACTIVATE_VERSION alone (`process_activate_version_messages: false` in the
SDK's targets).

Ranges have no gaps and do not overlap. What lacks the attribute is in the first. Containers have gaps where the list has: what lies in
none of them is not read. An entry that moves is one container's deletion and another's record, in either order.
"""

import json
import pathlib
import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Partition:
    """A part of the directory: its name, and the `schemas` entry that reads it."""

    name: str
    stream: dict


@dataclass(frozen=True)
class Plan:
    """What a plan's file says, and its partitions."""

    tap: list
    tap_config: dict
    loader: list
    state_dir: pathlib.Path
    retries: int
    retry_seconds: float
    partitions: list

    @classmethod
    def load(cls, path):
        """Reads a plan; a mistake in it is a ValueError that names the key."""
        plan = json.loads(pathlib.Path(path).read_text())
        if missing := {"tap_config", "loader", "stream", "partitions"} - set(plan):
            raise ValueError(f"{path}: missing: {', '.join(sorted(missing))}")
        if {"filter", "name"} - set(plan["stream"]):
            raise ValueError(f"{path}: stream: needs a name and a filter")
        return cls(
            tap=plan.get("tap", ["tap-ldap"]),
            tap_config=plan["tap_config"],
            loader=plan["loader"],
            state_dir=pathlib.Path(plan.get("state_dir", "state")),
            retries=plan.get("retries", 3),
            retry_seconds=plan.get("retry_seconds", 30),
            partitions=divide(plan["stream"], plan["partitions"]),
        )


def divide(stream, how):
    """The partitions of a stream."""
    match how:
        case {"uuid_ranges": int(count)} if 1 <= count <= 256:
            # The first 16 bits say the range: counts that do not divide them give ranges that differ by one of 65536.
            starts = [65536 * i // count for i in range(1, count)]
            bounds = [f"{start:04x}0000-0000-0000-0000-000000000000" for start in starts]
            return ranges(stream, "entryUUID", bounds, how.get("same_stream", False))
        case {"attribute": str(attribute), "bounds": [_, *_] as bounds}:
            if bounds != sorted(set(bounds)):
                raise ValueError("partitions: bounds: have to rise")
            return ranges(stream, attribute, [str(b) for b in bounds], how.get("same_stream", False))
        case {"containers": [_, *_] as containers}:
            names = [slug(dn) for dn in containers]
            if len(set(names)) < len(names):
                raise ValueError("partitions: containers: two of them have the same name")
            return [
                Partition(name, {**stream, "name": f"{stream['name']}_{name}", "base_dn": dn})
                for name, dn in zip(names, containers, strict=True)
            ]
    raise ValueError('partitions: one of {"uuid_ranges": 1…256}, {"attribute": …, "bounds": […]}, {"containers": […]}')


def ranges(stream, attribute, bounds, same_stream):
    """A partition below the first bound, one between each two, and one from the last on."""
    partitions = []
    for i, (low, high) in enumerate(zip([None, *bounds], [*bounds, None], strict=True)):
        conditions = [f"({attribute}>={escape(low)})"] if low is not None else []
        conditions += [f"(!({attribute}>={escape(high)}))"] if high is not None else []
        wanted = f"(&{stream['filter']}{''.join(conditions)})" if conditions else stream["filter"]
        name = f"range_{i:03}"
        called = stream["name"] if same_stream else f"{stream['name']}_{name}"
        partitions.append(Partition(name, {**stream, "name": called, "filter": wanted}))
    return partitions


def escape(value):
    """A value in a filter (RFC 4515 section 3)."""
    return re.sub(r"[\\*()\0]", lambda m: f"\\{ord(m.group()):02x}", value)


def slug(dn):
    """A container's name as a part of a stream's: that of its first relative name."""
    return re.sub(r"[^a-z0-9]+", "_", dn.partition("=")[2].partition(",")[0].lower()).strip("_") or "container"
