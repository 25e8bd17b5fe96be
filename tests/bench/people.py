"""The data of the benchmarks: the people of `slapd.tree` as Singer messages and as LDIF changes."""

import json

from slapd import person

UNITS = 20
STREAM = "people"
# (property, whether it has several values), beside `dn`.
ATTRIBUTES = (
    ("objectClass", True),
    ("uid", True),
    ("cn", True),
    ("sn", True),
    ("givenName", True),
    ("mail", True),
    ("employeeNumber", False),
    ("telephoneNumber", True),
    ("description", True),
)


def schema():
    """The SCHEMA line, typed as the tap does it."""
    one = {"type": ["null", "string"]}
    several = {"type": ["null", "array"], "items": {"type": "string"}}
    properties = {"dn": {"type": "string"}, **{name: several if many else one for name, many in ATTRIBUTES}}
    return (
        json.dumps(
            {
                "type": "SCHEMA",
                "stream": STREAM,
                "schema": {"type": "object", "properties": properties, "required": ["dn"]},
                "key_properties": ["dn"],
            }
        )
        + "\n"
    )


def record(i, description):
    """The RECORD line of a person of `slapd.tree(..., UNITS, mixed=True)`, with a description."""
    return (
        f'{{"type":"RECORD","stream":"{STREAM}","record":{{"dn":"{person(i, i % UNITS)}","objectClass":["inetOrgPerson"],'
        f'"uid":["person{i}"],"cn":["Person {i}"],"sn":["Number{i}"],"givenName":["Person"],'
        f'"mail":["person{i}@example.test"],"employeeNumber":"{i}","telephoneNumber":["+1 555 {i:06}"],'
        f'"description":["{description}"]}},"time_extracted":"2026-01-01T00:00:00Z"}}\n'
    )


def messages(count, description, first=0):
    """SCHEMA and RECORDs of `count` people, and a STATE."""
    yield schema()
    for i in range(first, first + count):
        yield record(i, description)
    yield '{"type":"STATE","value":{"bookmarks":{}}}\n'


def added(count, description):
    """The same people as LDIF for ldapadd and slapadd."""
    for i in range(count):
        yield (
            f"dn: {person(i, i % UNITS)}\nobjectClass: inetOrgPerson\nuid: person{i}\ncn: Person {i}\nsn: Number{i}\n"
            f"givenName: Person\nmail: person{i}@example.test\nemployeeNumber: {i}\ntelephoneNumber: +1 555 {i:06}\n"
            f"description: {description}\n\n"
        )


def modified(count, description):
    """LDIF for ldapmodify: each of them gets another description."""
    for i in range(count):
        yield f"dn: {person(i, i % UNITS)}\nchangetype: modify\nreplace: description\ndescription: {description}\n\n"


def write(path, lines):
    """Writes lines into a file and gives its path."""
    with open(path, "w") as f:
        f.writelines(lines)
    return path
