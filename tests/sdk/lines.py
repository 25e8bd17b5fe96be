#!/usr/bin/env python3
"""Hostile Singer lines, and what a target made with the Singer SDK does with them: lines.py > outcomes.

One JSON object a case: its name, its input (base64), why target-ldap does otherwise where it does, and the SDK's outcome: the error's
class, the values of the records it would write, and the STATE it printed. tests/tests/it/singer/sdk_lines.rs gives the same input to target-ldap.
"""

import base64
import contextlib
import io
import json
import logging
import os
import tempfile

from singer_sdk import Sink, Target
from singer_sdk import typing as th


class Rows(Sink):
    """Keeps what it is given."""

    def __init__(self, target, **settings):
        """Into the target's list."""
        super().__init__(target=target, **settings)
        self.rows = target.rows

    def process_record(self, record, context):
        """A record that would be written."""
        del context
        self.rows.append(record)

    def process_batch(self, context):
        """Nothing: the rows are kept already."""


class Keeper(Target):
    """A target as the SDK's template makes it, which keeps its records."""

    name = "target-keeper"
    config_jsonschema = th.PropertiesList().to_dict()
    default_sink_class = Rows

    def __init__(self, **settings):
        """With nothing kept so far."""
        super().__init__(**settings)
        self.rows = []


def dumps(value):
    """A line of JSON."""
    return json.dumps(value).encode()


def schema(value=None, keys=("id",), stream="s", **more):
    """A SCHEMA with the properties `id` and `value`."""
    properties = {"id": {"type": "string"}, "value": {} if value is None else value}
    message = {"type": "SCHEMA", "stream": stream, "schema": {"type": "object", "properties": properties}}
    return dumps({**message, "key_properties": list(keys), **more})


def record(value="x", ident="1", **more):
    """A RECORD."""
    return dumps({"type": "RECORD", "stream": "s", "record": {"id": ident, "value": value}, **more})


def raw(value):
    """A RECORD whose value is this text of JSON."""
    return b'{"type":"RECORD","stream":"s","record":{"id":"1","value":' + value + b"}}"


TEXT = {"type": ["null", "string"]}
INTEGER = {"type": "integer"}
NUMBER = {"type": "number"}
STATE = dumps({"type": "STATE", "value": {"bookmarks": {"s": 1}}})
BOM = b"\xef\xbb\xbf"
DEEP = 200_000


def timed(text):
    """A RECORD of a `date-time`."""
    return [schema({"type": "string", "format": "date-time"}), record(text), STATE]


def batch(**message):
    """A BATCH between a SCHEMA and a STATE."""
    return [schema(), dumps({"type": "BATCH", "stream": "s", **message}), STATE]


JSONL = {"format": "jsonl", "compression": "none"}

# Name, and lines; the last one ends with a line end unless None follows.
CASES = [
    # JSON
    ("a plain stream", [schema(), record(), STATE]),
    ("a line cut off", [schema(), record(), b'{"type":"RECORD","stream":"s","rec', STATE]),
    ("text that is no JSON", [schema(), b"Traceback (most recent call last):", STATE]),
    ("two objects in a line", [schema(), record() + record(ident="2"), STATE]),
    ("something after the object", [schema(), record() + b" x", STATE]),
    ("a comma at the end", [schema(), b'{"type":"RECORD","stream":"s","record":{"id":"1"},}']),
    ("single quotation marks", [schema(), b"{'type':'RECORD'}"]),
    ("a comment", [schema(), b"// made by hand", record()]),
    ("an array", [schema(), b"[1,2]", STATE]),
    ("an array that holds `type`", [schema(), b'["type"]', STATE]),
    ("null", [schema(), b"null", STATE]),
    ("a number", [schema(), b"7", STATE]),
    ("a text", [schema(), b'"RECORD"', STATE]),
    ("an empty object", [schema(), b"{}", STATE]),
    ("an empty line", [schema(), b"", record(), STATE]),
    ("a line of blanks", [schema(), b"  \t ", record(), STATE]),
    ("blanks around a message", [b"  " + schema() + b" \t", record(), STATE]),
    ("CRLF", [schema() + b"\r", record() + b"\r", STATE + b"\r"]),
    ("a lone CR between messages", [schema() + b"\r" + record(), STATE]),
    ("no line end at the end", [schema(), record(), STATE, None]),
    ("no input", [None]),
    ("a BOM", [BOM + schema(), record(), STATE]),
    ("a BOM before the second line", [schema(), BOM + record(), STATE]),
    ("UTF-16", ["\n".join(part.decode() for part in (schema(), record())).encode("utf-16")]),
    ("octets that are no UTF-8", [schema(), raw(b'"\xff\xfe"'), STATE]),
    ("Latin-1", [schema(), raw(b'"M\xfcller"'), STATE]),
    ("an overlong form of UTF-8", [schema(), raw(b'"\xc0\xaf"'), STATE]),
    ("a surrogate as UTF-8", [schema(), raw(b'"\xed\xa0\x80"'), STATE]),
    ("a lone surrogate, escaped", [schema(), raw(b'"\\ud800"'), STATE]),
    ("a pair of surrogates, escaped", [schema(), raw(b'"\\ud83d\\ude00"'), STATE]),
    ("surrogates the wrong way round", [schema(), raw(b'"\\ude00\\ud83d"'), STATE]),
    ("NUL, escaped", [schema(), raw(b'"a\\u0000b"'), STATE]),
    ("NUL as it is", [schema(), raw(b'"a\x00b"'), STATE]),
    ("a tab as it is in a text", [schema(), raw(b'"a\tb"'), STATE]),
    ("an unknown escape", [schema(), raw(b'"\\x41"'), STATE]),
    ("NaN", [schema(), raw(b"NaN"), STATE]),
    ("Infinity", [schema(), raw(b"Infinity"), STATE]),
    ("-Infinity in a STATE", [schema(), b'{"type":"STATE","value":{"x":-Infinity}}']),
    ("a number of 40 digits", [schema(INTEGER), raw(b"1234567890123456789012345678901234567890"), STATE]),
    ("a number of 5,000 digits", [schema(INTEGER), raw(b"9" * 5_000), STATE]),
    ("a decimal of 30 digits", [schema(NUMBER), raw(b"0.123456789012345678901234567890"), STATE]),
    ("1e400", [schema(NUMBER), raw(b"1e400"), STATE]),
    ("1.50", [schema(NUMBER), raw(b"1.50"), STATE]),
    ("1.0 for an integer", [schema(INTEGER), raw(b"1.0"), STATE]),
    ("1e3 for an integer", [schema(INTEGER), raw(b"1e3"), STATE]),
    ("-0", [schema(INTEGER), raw(b"-0"), STATE]),
    ("a leading zero", [schema(), raw(b"007"), STATE]),
    ("a plus sign", [schema(), raw(b"+7"), STATE]),
    ("a full stop without a digit", [schema(), raw(b"1."), STATE]),
    ("a hexadecimal number", [schema(), raw(b"0x1F"), STATE]),
    ("a key twice in a record", [schema(), b'{"type":"RECORD","stream":"s","record":{"id":"1","value":"a","value":"b"}}', STATE]),
    ("`type` twice", [schema(), b'{"type":"STATE","type":"RECORD","stream":"s","record":{"id":"1"},"value":{}}', STATE]),
    ("a key twice in a STATE", [schema(), b'{"type":"STATE","value":{"a":1,"a":2}}']),
    ("100 levels of arrays", [schema(), raw(b"[" * 100 + b"]" * 100), STATE]),
    ("200,000 levels of arrays", [schema(), raw(b"[" * DEEP + b"]" * DEEP), STATE]),
    ("200,000 levels in a STATE", [schema(), b'{"type":"STATE","value":' + b'{"a":' * DEEP + b"1" + b"}" * (DEEP + 1)]),
    ("a value of 5 MB", [schema(), raw(b'"' + b"x" * 5_000_000 + b'"'), STATE]),
    ("a name of 100,000 characters", [schema(), b'{"type":"RECORD","stream":"s","record":{"id":"1","' + b"n" * 100_000 + b'":"x"}}', STATE]),
    # Messages
    ("`type` in lower case", [schema(), record().replace(b"RECORD", b"record"), STATE]),
    ("`TYPE`", [schema(), record().replace(b'"type"', b'"TYPE"'), STATE]),
    ("an unknown type", [schema(), dumps({"type": "HEARTBEAT"}), record(), STATE]),
    ("a type that is null", [schema(), dumps({"type": None}), STATE]),
    ("a type that is a number", [schema(), dumps({"type": 7}), STATE]),
    ("a type that is a list", [schema(), dumps({"type": ["RECORD"]}), STATE]),
    ("fields that nobody knows", [schema(more=1), record(sequence=7, trace="x"), STATE]),
    ("RECORD before SCHEMA", [record(), schema(), STATE]),
    ("RECORD of another stream", [schema(stream="other"), record(), STATE]),
    ("RECORD whose stream differs in case", [schema(stream="S"), record(), STATE]),
    ("RECORD without `stream`", [schema(), dumps({"type": "RECORD", "record": {"id": "1"}}), STATE]),
    ("RECORD whose `stream` is null", [schema(), dumps({"type": "RECORD", "stream": None, "record": {"id": "1"}}), STATE]),
    ("RECORD without `record`", [schema(), dumps({"type": "RECORD", "stream": "s"}), STATE]),
    ("`record` null", [schema(), dumps({"type": "RECORD", "stream": "s", "record": None}), STATE]),
    ("`record` a list", [schema(), dumps({"type": "RECORD", "stream": "s", "record": [1]}), STATE]),
    ("`record` a text", [schema(), dumps({"type": "RECORD", "stream": "s", "record": "x"}), STATE]),
    ("an empty record", [schema(), dumps({"type": "RECORD", "stream": "s", "record": {}}), STATE]),
    ("a property the SCHEMA does not have", [schema(), dumps({"type": "RECORD", "stream": "s", "record": {"id": "1", "extra": "x"}}), STATE]),
    ("a text where the SCHEMA has an integer", [schema(INTEGER), record("7"), STATE]),
    ("an integer where the SCHEMA has a text", [schema(TEXT), record(7), STATE]),
    ("true where the SCHEMA has an integer", [schema(INTEGER), record(True), STATE]),
    ("null where the SCHEMA has no null", [schema({"type": "string"}), record(None), STATE]),
    ("a text too long for `maxLength`", [schema({"type": "string", "maxLength": 2}), record("abc"), STATE]),
    ("a value outside of `enum`", [schema({"enum": ["a"]}), record("b"), STATE]),
    ("a key that is missing", [schema(), dumps({"type": "RECORD", "stream": "s", "record": {"value": "x"}}), STATE]),
    ("a key that is null", [schema(), record(ident=None), STATE]),
    ("a key that is null where the SCHEMA lets it", [schema().replace(b'"id": {"type": "string"}', b'"id": {}'), record(ident=None), STATE]),
    ("a key that is empty", [schema(), record(ident=""), STATE]),
    ("the same key twice", [schema(), record("a"), record("b"), STATE]),
    # SCHEMA
    ("SCHEMA without `key_properties`", [schema().replace(b"key_properties", b"keys"), record(), STATE]),
    ("`key_properties` empty", [schema(keys=()), record(), STATE]),
    ("`key_properties` null", [schema().replace(b'["id"]', b"null"), record(), STATE]),
    ("`key_properties` a text", [schema().replace(b'["id"]', b'"id"'), record(), STATE]),
    ("`key_properties` of numbers", [schema().replace(b'["id"]', b"[1]"), record(), STATE]),
    ("a key the SCHEMA does not have", [schema(keys=["nope"]), record(), STATE]),
    ("a key twice in `key_properties`", [schema(keys=["id", "id"]), record(), STATE]),
    ("SCHEMA without `schema`", [dumps({"type": "SCHEMA", "stream": "s", "key_properties": ["id"]}), record(), STATE]),
    ("SCHEMA without `stream`", [schema().replace(b'"stream"', b'"tap_stream"'), record(), STATE]),
    ("`schema` null", [dumps({"type": "SCHEMA", "stream": "s", "schema": None, "key_properties": []}), record(), STATE]),
    ("`schema` without `properties`", [dumps({"type": "SCHEMA", "stream": "s", "schema": {}, "key_properties": ["id"]}), record(), STATE]),
    ("`properties` a list", [dumps({"type": "SCHEMA", "stream": "s", "schema": {"properties": ["id"]}, "key_properties": ["id"]}), record(), STATE]),
    ("a type of JSON schema that there is not", [schema({"type": "text"}), record(), STATE]),
    ("a type in upper case", [schema({"type": "STRING"}), record(), STATE]),
    ("a pattern that is none", [schema({"type": "string", "pattern": "("}), record(), STATE]),
    ("`$ref` to nowhere", [schema({"$ref": "#/nowhere"}), record(), STATE]),
    ("`$ref` to another machine", [schema({"$ref": "http://127.0.0.1:9/x.json"}), record(), STATE]),
    ("the same SCHEMA again", [schema(), record(), schema(), record("y", "2"), STATE]),
    ("another SCHEMA in mid-stream", [schema(TEXT), record("7"), schema(INTEGER), record(8, "2"), STATE]),
    ("another SCHEMA, then a record of the old one", [schema(TEXT), record("7"), schema(INTEGER), record("8", "2"), STATE]),
    ("other keys in mid-stream", [schema(), record(), schema(keys=["value"]), record("y", "2"), STATE]),
    # STATE
    ("STATE without `value`", [schema(), record(), dumps({"type": "STATE"})]),
    ("STATE whose `value` is null", [schema(), record(), dumps({"type": "STATE", "value": None})]),
    ("STATE whose `value` is a text", [schema(), record(), dumps({"type": "STATE", "value": "2026"})]),
    ("STATE whose `value` is a list", [schema(), record(), dumps({"type": "STATE", "value": [1]})]),
    ("STATE whose `value` is a number", [schema(), record(), dumps({"type": "STATE", "value": 7})]),
    ("STATE whose `value` is empty", [schema(), record(), dumps({"type": "STATE", "value": {}})]),
    ("an empty STATE after another", [schema(), record(), STATE, dumps({"type": "STATE", "value": {}})]),
    ("STATE alone", [STATE]),
    ("two STATEs", [schema(), record(), STATE, dumps({"type": "STATE", "value": {"bookmarks": {"s": 2}}})]),
    ("STATE with a number of 40 digits", [schema(), b'{"type":"STATE","value":{"n":1234567890123456789012345678901234567890}}']),
    ("STATE with 1.10", [schema(), b'{"type":"STATE","value":{"n":1.10}}']),
    ("STATE with a lone surrogate", [schema(), b'{"type":"STATE","value":{"n":"\\ud800"}}']),
    # Times
    ("a time of RFC 3339", timed("2026-01-02T03:04:05Z")),
    ("a time with a blank for the T", timed("2026-01-02 03:04:05+00:00")),
    ("a time without a zone", timed("2026-01-02T03:04:05")),
    ("a date for a time", timed("2026-01-02")),
    ("a time of 9 decimals", timed("2026-01-02T03:04:05.123456789Z")),
    ("the 30th of February", timed("2026-02-30T00:00:00Z")),
    ("a leap second", timed("2016-12-31T23:59:60Z")),
    ("the year 10000", timed("10000-01-01T00:00:00Z")),
    ("a time that is none", timed("yesterday")),
    ("an empty time", timed("")),
    ("`time_extracted` that is none", [schema(), record(time_extracted="yesterday"), STATE]),
    ("`time_extracted` that is a number", [schema(), record(time_extracted=7), STATE]),
    ("`version` that is a text", [schema(), record(version="new"), STATE]),
    ("`_sdc_deleted_at` that is no time", [schema(), dumps({"type": "RECORD", "stream": "s", "record": {"id": "1", "_sdc_deleted_at": "x"}}), STATE]),
    # ACTIVATE_VERSION
    ("ACTIVATE_VERSION", [schema(), record(version=1), dumps({"type": "ACTIVATE_VERSION", "stream": "s", "version": 1}), STATE]),
    ("ACTIVATE_VERSION without `version`", [schema(), record(), dumps({"type": "ACTIVATE_VERSION", "stream": "s"}), STATE]),
    ("ACTIVATE_VERSION whose `version` is a text", [schema(), record(), dumps({"type": "ACTIVATE_VERSION", "stream": "s", "version": "x"}), STATE]),
    ("ACTIVATE_VERSION of an unknown stream", [schema(), record(), dumps({"type": "ACTIVATE_VERSION", "stream": "t", "version": 1}), STATE]),
    ("ACTIVATE_VERSION without `stream`", [schema(), record(), dumps({"type": "ACTIVATE_VERSION", "version": 1}), STATE]),
    ("ACTIVATE_VERSION before SCHEMA", [dumps({"type": "ACTIVATE_VERSION", "stream": "s", "version": 1}), schema(), record(), STATE]),
    # BATCH
    ("BATCH without `manifest`", batch(encoding=JSONL)),
    ("BATCH without `encoding`", batch(manifest=[])),
    ("BATCH of no files", batch(encoding=JSONL, manifest=[])),
    ("BATCH of a file that is not there", batch(encoding=JSONL, manifest=["file:///nowhere/b.jsonl"])),
    ("BATCH of an unknown format", batch(encoding={"format": "xml"}, manifest=["file:///nowhere/b.xml"])),
    ("BATCH whose `manifest` is a text", batch(encoding=JSONL, manifest="file:///nowhere/b.jsonl")),
    ("BATCH before SCHEMA", [dumps({"type": "BATCH", "stream": "s", "encoding": JSONL, "manifest": []}), STATE]),
]  # fmt: skip


# Why target-ldap does otherwise.
WHY = {
    "a lone CR between messages": "Python counts a lone CR as a line end. JSON Lines ends a line with LF (or CRLF), and CR is a blank within JSON: two messages in one line are refused.",
    "a lone surrogate, escaped": "Half of a character cannot be written as UTF-8, so no directory can hold it. The record is at fault: `on_error: skip` puts it aside.",
    "surrogates the wrong way round": "As above.",
    "NaN": "JSON has no such number, and neither has a directory: it is taken as null, with a warning that names the line.",
    "Infinity": "As above.",
    "-Infinity in a STATE": "What is printed is JSON: null, with a warning.",
    "a number of 5,000 digits": "An attribute is text, and integers of a directory have no bound. Python gives up at 4,300 digits.",
    "1e400": "The same number; an exponent is written out, since LDAP's INTEGER and numericString have none.",
    "1.0 for an integer": "JSON schema (draft 6 and later) counts 1.0 as an integer. The SDK parses it as a Decimal, and refuses it. `1` is written.",
    "1e3 for an integer": "As above: `1000` is written.",
    "a key twice in a record": "Python takes the last value, and nobody hears of the first. The record contradicts itself: it is at fault, and `on_error: skip` puts it aside. Twice the same value is taken.",
    "`type` twice": "The message contradicts itself.",
    "a key twice in a STATE": "A STATE is printed as it came, octet for octet.",
    "100 levels of arrays": "A list within a list is not a value of an attribute. The SDK leaves that to the target.",
    "200,000 levels in a STATE": "A STATE is printed as it came, and is not parsed.",
    "`record` null": "The SDK passes over it without a word. A RECORD without a record is a mistake of the tap.",
    "a key that is null where the SCHEMA lets it": "An entry needs a name. The SDK leaves that to the target.",
    "a key that is empty": "As above.",
    "the same key twice": "The second record changes the entry of the first; the SDK counts rows.",
    "an empty STATE after another": "An empty STATE would clear the bookmarks: the one before it is printed. The SDK then prints none.",
    "STATE with 1.10": "A STATE is printed as it came. The SDK cannot print a fraction that it read.",
    "the 30th of February": "`description` is text, and the text is written as it came. Where the attribute holds times (GeneralizedTime) it is an error of the record.",
    "a leap second": "As above. GeneralizedTime (RFC 4517, section 3.3.13) has leap seconds.",
    "the year 10000": "As above.",
    "a time that is none": "As above.",
    "an empty time": "As above; an empty text is no value.",
    "a time of RFC 3339": "The text is written as it came; the SDK hands a `datetime` to the target.",
    "a time without a zone": "As above.",
    "a date for a time": "As above; the SDK makes it midnight.",
    "a time of 9 decimals": "As above; Python keeps 6 of them.",
    "`version` that is a text": "A version is a number. The SDK does not look.",
    "`_sdc_deleted_at` that is no time": "It says that the record was deleted, and a deletion is never guessed. The SDK removes the property before the target sees it.",
    "ACTIVATE_VERSION whose `version` is a text": "As for a RECORD: the SDK does not look.",
    "ACTIVATE_VERSION of an unknown stream": "A warning names the stream, and nothing is deleted.",
    "ACTIVATE_VERSION before SCHEMA": "A warning names the stream, and nothing is deleted: a version is announced behind its records.",
}  # fmt: skip


def shown(value):
    """A value as a text of JSON, or none."""
    if value is None or isinstance(value, str):
        return value if value is None else value.encode(errors="backslashreplace").decode()
    return str(value)


def outcome(data):
    """What the SDK does with the input, read as it reads stdin."""
    target, printed = Keeper(config={}), io.StringIO()
    error = None
    with contextlib.redirect_stdout(printed):
        try:
            target.listen(io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))
        except (Exception, SystemExit) as raised:  # noqa: BLE001
            error = type(raised).__name__
    # What is no JSON (a time, NaN, half of a character) is shown as Python shows it.
    values = [row.get("value") for row in target.rows]
    return {"error": error, "values": [shown(value) for value in values], "states": printed.getvalue().splitlines()}


def main():
    """Every case, in the order above."""
    logging.disable(logging.CRITICAL)
    os.chdir(tempfile.gettempdir())
    unknown = WHY.keys() - {name for name, _ in CASES}
    assert not unknown, unknown
    for name, lines in CASES:
        data = b"\n".join(line for line in lines if line is not None)
        if lines[-1] is not None:
            data += b"\n"
        case = {"name": name, "why": WHY.get(name, ""), "input": base64.b64encode(data).decode()}
        print(json.dumps({**case, "sdk": outcome(data)}))


if __name__ == "__main__":
    main()
