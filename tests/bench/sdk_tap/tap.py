#!/usr/bin/env python3
"""A tap as one would write it with the Singer SDK and python-ldap, to compare ours with.

It emits what tap-ldap does for the same directory: all attributes of the people and of the containers, typed, times in RFC 3339,
one record an entry, pages of 1,000. What could be tuned in it without leaving the SDK's ways is: the schema is fixed, and
entries are converted by a table made once.
"""

from datetime import datetime

import ldap
from ldap.controls import SimplePagedResultsControl
from singer_sdk import Stream, Tap
from singer_sdk import typing as th

PAGE = 1_000
TEXTS = th.ArrayType(th.StringType)
TIMES = ("createTimestamp", "modifyTimestamp")
SINGLE = ("entryUUID", "entryCSN", "employeeNumber", "dc", *TIMES)
MANY = (
    "objectClass", "uid", "cn", "sn", "givenName", "mail", "telephoneNumber", "description", "ou", "o",
)  # fmt: skip


def text(values):
    """The one value."""
    return values[0].decode()


def texts(values):
    """All values."""
    return [value.decode() for value in values]


def time(values):
    """GeneralizedTime as RFC 3339."""
    return datetime.strptime(values[0].decode(), "%Y%m%d%H%M%SZ").strftime("%Y-%m-%dT%H:%M:%SZ")


CONVERT = {**dict.fromkeys(SINGLE, text), **dict.fromkeys(TIMES, time), **dict.fromkeys(MANY, texts)}


class Everything(Stream):
    """One stream of the whole directory."""

    name = "all"
    primary_keys = ("entryUUID",)
    schema = th.PropertiesList(
        th.Property("dn", th.StringType, required=True),
        *(th.Property(name, th.DateTimeType if name in TIMES else th.StringType) for name in SINGLE),
        *(th.Property(name, TEXTS) for name in MANY),
    ).to_dict()

    def get_records(self, context):
        """The SDK's way to ask for records."""
        connection = ldap.initialize(self.config["url"])
        connection.simple_bind_s(self.config["bind_dn"], self.config["password"])
        control = SimplePagedResultsControl(True, size=PAGE, cookie=b"")
        attributes = ["*", "entryUUID", "createTimestamp", "modifyTimestamp", "entryCSN"]
        while True:
            message = connection.search_ext(
                self.config["base_dn"], ldap.SCOPE_SUBTREE, "(objectClass=*)", attributes, serverctrls=[control]
            )
            _, entries, _, controls = connection.result3(message)
            for dn, values in entries:
                record = dict.fromkeys(CONVERT)
                for name, found in values.items():
                    record[name] = CONVERT[name](found)
                record["dn"] = dn
                yield record
            cookies = [c.cookie for c in controls if c.controlType == SimplePagedResultsControl.controlType]
            if not cookies or not cookies[0]:
                return
            control.cookie = cookies[0]


class BenchTap(Tap):
    """The tap."""

    name = "tap-sdk-bench"
    config_jsonschema = th.PropertiesList(
        *(th.Property(name, th.StringType, required=True) for name in ("url", "bind_dn", "password", "base_dn"))
    ).to_dict()

    def discover_streams(self):
        """Its one stream."""
        return [Everything(self)]


if __name__ == "__main__":
    BenchTap.cli()
