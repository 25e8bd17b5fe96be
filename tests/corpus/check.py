#!/usr/bin/env python3
"""Reads every LDIF file of a folder through the pair, and compares with an independent parser.

    make corpus DIR=path/to/files          # installs the parser into target/corpus, builds the pair
    tests/corpus/check.py [--tap PATH] [--target PATH] [--jobs N] [--only tap] [--json FILE] DIR

For each file, three readings are compared, entry by entry and value by value:

1. the parser of PyPI's `ldif`, which knows nothing of directories;
2. the records of `tap-ldap` (base_dn "", everything sampled);
3. the file that `tap-ldap | target-ldap` writes, read by the parser again.

Files that have changes other than additions hold no entries to compare and are only counted, as are those that the
parser cannot read. Prints counts, then what was refused with a message, then what differs without a word, by kind. The
exit code is 1 when anything differs without a word.
"""

import argparse
import collections
import concurrent.futures
import datetime
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import uuid

import ldif

# Syntaxes whose JSON is not the octets: how a record's value is compared with those.
BINARY = "base64"
TIMEOUT_SECONDS = 300
# Attributes that a stream has when it is asked to: servers keep them for themselves (RFC 4512 section 3.4, vendors).
OPERATIONAL = """createTimestamp creatorsName modifiersName modifyTimestamp structuralObjectClass governingStructureRule
subschemaSubentry entryDN entryUUID entryCSN contextCSN entryParentId numSubordinates nsUniqueId
dsEntryDN parentid entryid entryusn pwdPolicySubentry pwdChangedTime pwdHistory pwdAccountLockedTime pwdReset
passwordExpirationTime""".split()
# Read only where they are named (secret_attributes): no difference, but counted.
SECRET = re.compile("password|rootpw|unicodepwd|pwdhistory|krb5key|krbprincipalkey", re.IGNORECASE)
# Of times in Active Directory's form: never ([MS-ADA1] 2.1). The tap's record has null.
NEVER = (b"0", b"9223372036854775807")


class Different(Exception):
    """The parser cannot say what a file holds."""


class Parser(ldif.LDIFParser):
    """The parser, without its own idea of which DNs are valid."""

    def _check_dn(self, dn, attr_value):
        if dn is not None:
            self._error("two DNs in one record")


def parse(path):
    """The entries of a file: a list of (DN, {description in lower case: [octets]}); raises `Different`."""
    entries = []
    with open(path, "rb") as file:
        parser = Parser(file, encoding=None)
        try:
            for dn, attributes in parser.parse():
                lower = collections.defaultdict(list)
                for name, values in attributes.items():
                    lower[name.lower()].extend(v if isinstance(v, bytes) else v.encode() for v in values)
                kind = lower.pop("changetype", [b"add"])
                lower.pop("control", None)
                if dn is None:
                    continue
                if [k.strip().lower() for k in kind] != [b"add"]:
                    raise Different("changes")
                entries.append((dn if isinstance(dn, str) else dn.decode("utf-8"), dict(lower)))
        except (ValueError, AttributeError, IndexError, UnicodeError) as error:
            raise Different(f"the parser fails: {type(error).__name__}") from error
    return entries


def run(command, stdin=None):
    result = subprocess.run(command, input=stdin, capture_output=True, timeout=TIMEOUT_SECONDS, check=False)
    return result.returncode, result.stdout, result.stderr.decode("utf-8", "replace")


def last_error(stderr):
    """The last line of a log that says what failed, without what differs from file to file."""
    lines = [line.rsplit(" | ", 1)[-1] for line in stderr.splitlines() if "ERROR" in line or "WARN" in line]
    lines = [line for line in lines if not line.startswith("run ")]
    text = lines[-1] if lines else (stderr.splitlines() or ["no message"])[-1]
    return re.sub(r"`[^`]*`|/\S+|\d+", "…", text)[:200]


def instant(text):
    """A GeneralizedTime or RFC 3339, as a number."""
    if re.match(rb"^\d{4}-", text):
        return datetime.datetime.fromisoformat(text.decode().replace("Z", "+00:00")).timestamp()
    found = re.match(rb"^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)?(\d\d)?(?:[.,](\d+))?(Z|[+-]\d{2,4})$", text)
    numbers = [int(n or 0) for n in found.groups()[:6]]
    zone = found.group(8).decode()
    offset = 0 if zone == "Z" else int(zone[:3]) * 3600 + int(zone[0] + (zone[3:5] or "0")) * 60
    fraction = float("0." + found.group(7).decode()) if found.group(7) else 0
    return datetime.datetime(*numbers, tzinfo=datetime.timezone.utc).timestamp() + fraction - offset


def same(octets, value, encoding):
    """Whether a record's value is what a file's octets are."""
    octets = octets.strip()
    if isinstance(value, bool):
        return octets.upper() == (b"TRUE" if value else b"FALSE")
    if isinstance(value, int):
        return octets.lstrip(b"+").isdigit() or octets[:1] == b"-" and int(octets) == value
    if encoding == BINARY:
        import base64

        return base64.b64decode(value).strip() == octets
    text = value.encode("utf-8", "surrogateescape")
    if text.strip() == octets:
        return True
    try:
        if re.match(rb"^\d{4}-\d\d-\d\dT", text):
            if octets.isdigit() and len(octets) > 14:  # FILETIME, 100 ns since 1601
                return abs(instant(text) - (int(octets) / 1e7 - 11644473600)) < 1
            return abs(instant(text) - instant(octets)) < 0.001
        if len(octets) == 16 and len(text) == 36:
            return uuid.UUID(text.decode()) == uuid.UUID(bytes_le=octets)
    except (ValueError, AttributeError, TypeError):
        return False
    return text.startswith(b"S-1-") and len(octets) >= 8


def base_of(description):
    """A description without the option of a range."""
    return ";".join(part for part in description.split(";") if not part.startswith("range="))


def compare_values(dn, attributes, record, encodings, differences):
    """Values that only one side has. Names that only one side has may be aliases: their values are pooled."""
    columns = {name.lower(): value for name, value in record.items() if name != "dn" and value is not None}
    of_file = collections.defaultdict(list)
    for name, values in attributes.items():
        of_file[base_of(name)].extend(values)
    pool = []
    for name, values in of_file.items():
        column = columns.get(name)
        there = column if isinstance(column, list) else [] if column is None else [column]
        rest = list(there)
        for octets in values:
            match = next((v for v in rest if v is not None and same(octets, v, encodings.get(name))), None)
            if match is not None:
                rest.remove(match)
            else:
                pool.append((name, octets, None in there))
        columns[name] = rest
    left = [
        (name, value)
        for name, rest in columns.items()
        for value in (rest if isinstance(rest, list) else [rest])
        if value is not None
    ]
    for name, octets, has_null in pool:
        match = next(((n, v) for n, v in left if same(octets, v, encodings.get(n))), None)
        if match is not None:
            left.remove(match)
        elif SECRET.search(name):
            differences[f"loud: a secret is left out unless it is named ({name})"].append(dn)
        elif octets in NEVER and record_has_null(record, name):
            differences["loud: a time that is never is null"].append(f"{dn}: {name}")
        elif has_null or record_has_null(record, name):
            differences["loud: a value that its syntax forbids is null"].append(f"{dn}: {name}")
        else:
            differences[f"a value is missing ({name})"].append(dn)
    for name, _ in left:
        differences[f"a value too many ({name})"].append(dn)


def record_has_null(record, name):
    return any(n.lower() == name and value is None for n, value in record.items())


def read_by_tap(tap, path, folder):
    """The tap's records and the encodings of its properties, its output, and how it ended."""
    config = folder / "tap.json"
    config.write_text(
        json.dumps({"server_url": f"ldif:{path}", "base_dn": "", "discovery_sample_size": 0,
                    "operational_attributes": OPERATIONAL})
    )
    code, stdout, stderr = run([tap, "--config", str(config)])
    records, encodings = [], {}
    activated = 0
    for line in stdout.splitlines():
        message = json.loads(line)
        if message["type"] == "SCHEMA":
            for name, schema in message["schema"]["properties"].items():
                items = schema.get("items", schema)
                encodings[name.lower()] = items.get("contentEncoding")
        elif message["type"] == "RECORD":
            records.append(message["record"])
        elif message["type"] == "ACTIVATE_VERSION":
            activated += 1
    return code, stdout, stderr, records, encodings


def check_tap(entries, records, encodings, differences):
    by_dn = collections.defaultdict(list)
    for record in records:
        by_dn[record["dn"]].append(record)
    for dn, attributes in entries:
        found = by_dn.get(dn)
        if not found:
            differences["an entry is missing"].append(dn or "(the empty DN)")
            continue
        compare_values(dn, attributes, found.pop(0), encodings, differences)
    for dn, rest in by_dn.items():
        for _ in rest:
            differences["a record too many"].append(dn)


def check_circle(entries, written, differences):
    """What went through the pair into a file, against what it was: entries by DN, values as sets."""
    there = {dn: attributes for dn, attributes in written}
    for dn, attributes in entries:
        other = there.pop(dn, None)
        if other is None:
            differences["circle: an entry is missing"].append(dn or "(the empty DN)")
            continue
        attributes = {name: values for name, values in attributes.items() if not SECRET.search(name)}
        mine = collections.Counter(v.strip() for values in attributes.values() for v in set(values))
        theirs = collections.Counter(v.strip() for values in other.values() for v in set(values))
        names = ", ".join(
            sorted({n for n, values in attributes.items() for v in values if (mine - theirs)[v.strip()]})
        )
        for _ in mine - theirs:
            differences[f"circle: a value is missing ({names})"].append(dn)
        for value in theirs - mine:
            names = {n for n, values in other.items() if any(v.strip() == value for v in values)}
            is_named = value.decode("utf-8", "replace").lower() in dn.lower().replace("\\", "")
            kind = "circle: the RDN's value was added" if is_named else "circle: a value too many"
            differences[f"{kind} ({', '.join(sorted(names))})"].append(dn)
    for dn in there:
        above = any(other.lower().endswith("," + dn.lower()) for other, _ in entries)
        differences["circle: a parent was made" if above else "circle: an entry too many"].append(dn)


def check_file(path, options):
    """What one file is, and what differs."""
    differences = collections.defaultdict(list)
    counts = collections.Counter(files=1)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        code, stdout, stderr, records, encodings = read_by_tap(options.tap, path, folder)
        if code not in (0, 1, 2, 3, 4, 5) or "panicked" in stderr:
            differences["the tap crashes"].append(stderr[-300:])
        try:
            entries = parse(path)
        except Different as why:
            counts[f"not compared: {why}"] += 1
            counts[f"not compared, the tap: {'read' if code == 0 else 'refused'}"] += 1
            return path, counts, differences
        counts["compared"] += 1
        counts["entries"] += len(entries)
        counts["values"] += sum(len(values) for _, attributes in entries for values in attributes.values())
        if code != 0:
            if entries:
                differences[f"loud: refused by the tap alone, exit {code}: {last_error(stderr)}"].append("")
            return path, counts, differences
        check_tap(entries, records, encodings, differences)
        if "WARN" in stderr:
            counts["read with a warning"] += 1
        if options.only != "tap" and entries:
            out = folder / "out.ldif"
            config = folder / "target.json"
            config.write_text(json.dumps({"server_url": f"ldif:{out}"}))
            code, _, stderr = run([options.target, "--config", str(config)], stdout)
            if code != 0:
                differences[f"loud: refused by the target, exit {code}: {last_error(stderr)}"].append("")
                return path, counts, differences
            try:
                check_circle(entries, parse(out), differences)
            except Different as why:
                differences[f"circle: {why}"].append("")
    return path, counts, differences


LOUD = "loud: "


def is_loud(kind):
    """Whether a run says so itself, or the documentation does."""
    return kind.startswith((LOUD, "circle: a parent was made", "circle: the RDN's value"))


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("folder", type=pathlib.Path, metavar="DIR")
    arguments.add_argument("--tap", default="target/release/tap-ldap")
    arguments.add_argument("--target", default="target/release/target-ldap")
    arguments.add_argument("--jobs", type=int, default=2, help="files read at the same time")
    arguments.add_argument("--only", choices=["tap"], help="leave the target out")
    arguments.add_argument("--json", type=pathlib.Path, help="every difference, for programs")
    options = arguments.parse_args()
    endings = {".ldif", ".ldf"}
    files = sorted(p for p in options.folder.rglob("*") if p.suffix.lower() in endings and p.is_file())
    if not files:
        sys.exit(f"{options.folder}: no file ends with .ldif or .ldf")
    counts = collections.Counter()
    kinds = collections.defaultdict(list)
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        for path, own, differences in pool.map(lambda p: check_file(p, options), files):
            counts.update(own)
            if any(not is_loud(kind) for kind in differences):
                counts["files with silent differences"] += 1
            for kind, where in differences.items():
                kinds[kind].extend((str(path), dn) for dn in where)
    for name, number in sorted(counts.items()):
        print(f"{number:>9,}  {name}")
    for title, loud in (("Refused or changed, with a message or by a documented rule", True), ("Silent differences", False)):
        print(f"\n{title}:")
        for kind, where in sorted(kinds.items(), key=lambda item: -len(item[1])):
            if is_loud(kind) != loud:
                continue
            of = len({path for path, _ in where})
            print(f"{len(where):>9,}  {kind.removeprefix(LOUD)} (in {of} files)")
            for path, dn in where[:2]:
                print(f"{'':>11}{path}: {dn}")
    if options.json:
        options.json.write_text(json.dumps(kinds, indent=1))
    sys.exit(1 if any(not is_loud(kind) for kind in kinds) else 0)


if __name__ == "__main__":
    main()
