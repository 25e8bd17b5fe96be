"""Entries of a directory as dictionaries, to compare."""

import base64
import subprocess

from slapd import SUFFIX

# LDIF of a suffix entry and units below it.
SUFFIX_LDIF = f"dn: {SUFFIX}\nobjectClass: dcObject\nobjectClass: organization\ndc: example\no: Test\n\n"


def unit(name, above=SUFFIX):
    """LDIF of an organizational unit."""
    return f"dn: ou={name},{above}\nobjectClass: organizationalUnit\nou: {name}\n\n"


def entry(dn, **attributes):
    """LDIF of an entry; a list is several values. Texts are written in base64, so that any will do."""
    lines = [f"dn:: {base64.b64encode(dn.encode()).decode()}"]
    for name, values in attributes.items():
        for value in values if isinstance(values, list) else [values]:
            lines.append(f"{name}:: {base64.b64encode(str(value).encode()).decode()}")
    return "\n".join(lines) + "\n\n"


def entries(server, base=SUFFIX, wanted="(objectClass=*)", *attributes):
    """What is at and below `base`: {dn: {attribute: sorted values}}."""
    done = server.client(
        "ldapsearch", "-LLL", "-o", "ldif-wrap=no", "-b", base, wanted, *attributes, stdout=subprocess.PIPE
    )
    found = {}
    for block in done.stdout.decode().split("\n\n"):
        values = {}
        for line in block.splitlines():
            name, _, value = line.partition(":")
            value = base64.b64decode(value[1:]).decode("utf-8", "backslashreplace") if value.startswith(":") else value[1:]
            values.setdefault(name, []).append(value)
        if values:
            dn = values.pop("dn")[0]
            found[dn] = {name: sorted(v) for name, v in values.items()}
    return found


def modify(server, ldif):
    """Applies change records."""
    server.client("ldapmodify", input=ldif.encode(), stdout=subprocess.DEVNULL)
