#!/usr/bin/env python3
"""Expressions of stream maps, and what the Singer SDK's own evaluator makes of them: expressions.py > outcomes.

One JSON object a line: an expression, why it is not taken here where it is not, and for each of RECORDS the value or the error's class.
singer-common/src/maps/tests.rs gives the same to the evaluator here, from tests/tests/golden/sdk-expressions.jsonl.
"""

import json
import logging

from singer_sdk.mapper import CustomStreamMap

CONFIG = {"salt": "pepper", "n": 2, "codes": {"de": "Germany", "fr": "France"}, "list": [1, 2, 3]}

RECORDS = [
    {"id": "1", "mail": " Ada@Example.com", "name": "ada o'hara-lovelace", "n": 7, "f": 2.5, "b": True, "list": ["b", "a", "c"], "o": {"x": 3, "y": None}, "when": "2026-01-31T08:00:00Z", "js": '{"a": [1, 2.50, null]}'},
    {"id": "-42", "mail": "GRACE@x.org", "name": "ÉLODIE straße ΣΟΦΟΣ", "n": -3, "f": -0.5, "b": False, "list": [], "o": {}, "when": "", "js": "[]"},
    {"id": "", "mail": "", "name": "", "n": 0, "f": 0.0, "b": True, "list": ["x"], "o": {"x": "ä"}, "when": "2026", "js": '"ü"'},
    {"id": "007", "mail": "a b\tc@d", "name": "测试 ǆ 1st x2y", "n": 10**20, "f": 1e21, "b": False, "list": ["é'", 'q"', "\\", "a"], "o": {"x": [1]}, "when": "x", "js": "nope"},
    {"id": None, "mail": None, "name": None, "n": None, "f": None, "b": None, "list": None, "o": None, "when": None, "js": None},
]  # fmt: skip

TEXTS = [
    "mail", "'x'", "mail.lower()", "mail.upper()", "mail.strip()", "mail.lstrip()", "mail.rstrip('m')", "name.title()", "name.capitalize()",
    "id.zfill(5)", "id.zfill(2)", "id.zfill(-1)", "id.rjust(4)", "id.rjust(4, '*')", "id.ljust(4, '.')", "name.count('a')", "name.count('')",
    "mail.find('@')", "mail.rfind('a')", "mail.find('')", "mail.index('@')", "id.isdigit()", "name.isdigit()", "mail.isspace()",
    "name.split()", "name.split(' ', 1)", "name.rsplit(' ', 1)", "name.rsplit(None, 1)", "name.rsplit()", "mail.partition('@')", "mail.partition('@')[2]",
    "'a\\nb\\r\\nc\\x0bd'.splitlines()", "'a\\n'.splitlines()", "name.splitlines()", "mail.removeprefix(' ')", "mail.removesuffix('.com')",
    "mail.startswith(('G', ' '))", "mail.endswith('.com')", "mail.startswith('')", "mail.replace('a', 'b', 1)", "'-'.join(list)", "'-'.join(name)", "'-'.join(o)",
    "name[0]", "name[-1]", "name[1:3]", "name[::-1]", "name[::2]", "name[5:1:-1]", "name[-3:]", "name[:-2]", "name[10:2]", "name[::0]", "list[::-1]", "list[1:]", "list[-2::-1]",
    "'a' in mail", "'' in mail", "mail * 2", "2 * id", "id + mail", "mail and mail.split('@')[-1]", "mail or 'none'", "(mail or '') + '!'",
    "r'\\d'", "'a' 'b'", "'\\u00e4\\x41\\t'", "'\\a\\b\\f\\v'",
]  # fmt: skip

NUMBERS = [
    "n", "n + 1", "n - 1.5", "n * f", "n / 2", "n // 2", "n % 3", "-n", "+n", "f // 1", "f % 2", "n * b", "n == 7.0", "n > 0", "0 <= n < 10", "n != f", "n + b",
    "int(f)", "int(id)", "float(id)", "float(n)", "str(n)", "str(f)", "str(b)", "str(n / 3)", "bool(n)", "bool(list)", "int('12') + 1", "n and 1", "not n", "1 if n else 2",
    "7 // -2", "-7 % 3", "7.5 % -2", "1e3", "1_000", "str(1e16)", "str(0.1 + 0.2)", "str(-0.0)", "str(1e-5)", "int(1e20)", "2 ** n", "n & 1", "n | 1", "n ^ 1", "~n", "n << 1", "n >> 1", "rand()", "randint(3)",
]  # fmt: skip

COMPOUND = [
    "list", "[x for x in list]", "[x.upper() for x in list]", "[x for x in list if x != 'a']", "[x for x in list if x > 'a' if x < 'c']", "[x + y for x in list for y in 'ab']",
    "[[x, y] for x in list for y in list if x != y]", "[c for c in id]", "[k for k in o]", "[x for x in n]", "[x for x in [1, 2, 3]]", "[x * n for x in config['list']]",
    "'-'.join(x.upper() for x in list)", "', '.join([x for x in list if x])", "(x for x in list)", "{x: x.upper() for x in list}", "{k: v for k, v in o.items()}", "[k + str(v) for k, v in o.items()]",
    "[v for v in o.values()]", "[a + b for a, b in ['xy', 'zw']]", "[a for (a, b) in [[1, 2], [3, 4]]]", "[[y for y in x] for x in list]", "[x for x in list][0]", "[list for list in list]", "[x for x in list] + [x]",
    "{}", "{'a': n, 'b': mail}", "{'a': {'b': list}}", "{'a': 1}['a']", "{'de': 'Germany'}.get(id, 'none')", "config['codes'].get(id, id)", "{n: 1}", "{'a': 1, 'a': 2}", "{**o}", "{1, 2}",
    "list(mail)", "list(list)", "list(o)", "list(o.keys())", "list(o.values())", "len(list)", "len(mail)", "o.keys()", "str(o.keys())", "'x' in o", "'x' in o.keys()", "o.get('x')", "o['x']", "o.x", "record.get('n')", "record['mail']", "_['id']",
    "list.index('a')", "list.count('a')", "list + ['z']", "list * 2", "[0] * 3", "list == ['x']", "list < ['b']", "list[0]", "list[9]", "'a' in list", "id in ('1', '007')", "id not in ['1']", "n in (7, 0)",
    "(1, 2)", "(n, mail)", "(1, 2)[0]", "(1, 2) == [1, 2]", "str((1, 2))", "(1,) + (2,)", "[(1, 2)]", "str(list)", "str(o)", "str([1.0, None, True, 'a'])", "str({'a': 'b'})", "list or ['none']", "tuple(list)", "set(list)", "dict(o)",
    "[*list, 1]", "list[0].title() if list else ''", "o and o.get('x')", "list.sort()", "list.append(1)", "o.items()",
]  # fmt: skip

OTHERS = [
    "f'{id}'", "f'{id}: {mail}'", "f'{n} {f} {b} {list} {o}'", "f'{{{id}}}'", "f'{mail.lower() if mail else \"none\"}'", "f'a' 'b' f'{n}'", "f'{n + 1}' + 'x'", "f''", "f'{config[\"salt\"]}'", "f'{id!r}'", "f'{n:05}'", "f'{f:.1f}'", "f'{id=}'", "f'{[x for x in list]}'", "f'{n != 1}'", "F\"{id}\"", "f'{(1, 2)}'", "f'\\u00e4{id}\\n'",
    "'%s' % id", "'{}'.format(id)", "name.encode()", "name.swapcase()", "name.casefold()", "name.center(9)", "name.isalpha()", "name.isupper()", "name.translate({})", "name.expandtabs()", "mail.split(sep='@')", "b'x'", "'''x'''", "'\\101'", "'\\N{BULLET}'",
    "json.loads(js)", "json.loads(js)['a'][1]", "json.dumps(o)", "json.dumps(list)", "json.dumps([n, f, b, None, 'ä\\n\\x7f😀'])", "json.dumps({'a': 1.0})", "json.dumps(o, indent=2)", "json.loads('1.50')", "str(json.loads('[1.50, -0, 1e2]'))", "json.loads('{\"a\": 1, \"a\": 2}')",
    "datetime.date.fromisoformat('2026-01-31').year", "datetime.datetime.now()", "datetime.datetime.fromisoformat('2026-01-31T08:00:00').strftime('%d.%m.%Y')", "datetime.datetime(2026, 1, 31).isoformat()", "datetime.timedelta(days=1)", "when[0:10]",
    "mail is None", "mail is not None", "b is True", "n is 7", "id is mail", "id == mail", "None == mail", "not mail", "mail == None",
    "md5(id)", "sha256(mail)", "md5(n)", "config['salt'] + id", "config.get('none', 'x')", "__stream_name__", "__original_stream_name__", "self", "self.upper()",
    "lambda: 1", "x := 1", "import os", "open('x')", "len", "unknown", "unknown(1)", "fake.name()", "mail.__class__", "[x for x in list", "f'{id'", "", "type(id)", "repr(id)", "sum(config['list'])", "max(config['list'])", "sorted(list)", "any(list)", "range(3)", "enumerate(list)", "zip(list, list)", "abs(n)", "round(f)", "min(n, 1)", "map(str, list)", "isinstance(n, int)",
    "'ab'[1] + 'cd'[0]", "1 if mail else 2 if n else 3", "n if n else None", "[1, 2.0, 'x', None, True]", "1 < 2 < 3 == 3", "'a' < 'b' < 'c'", "1 == True", "1 == '1'", "None", "True and 'x'", "0 or '' or []", "not not mail", "5 - 3 - 1", "2 * (3 + 4)", "-2 + 3", "7 / 7", "10 // 3.0",
]  # fmt: skip

# What the SDK takes and is not taken here, by a part of the error that says so.
NOT_TAKEN = {
    "2 ** n": "`**`", "n & 1": "`&`", "n | 1": "`|`", "n ^ 1": "`^`", "~n": "`~`", "n << 1": "`<<`", "n >> 1": "`>>`",
    "rand()": "`rand`", "randint(3)": "`randint`",
    "{**o}": "`**`", "{1, 2}": "sets", "str(o.keys())": "list(X.keys())", "o.keys()": "list(X.keys())", "o.items()": ".items()",
    "(1, 2) == [1, 2]": "tuple", "str((1, 2))": "tuple", "(1,) + (2,)": "tuple", "[(1, 2)]": "tuple", "f'{(1, 2)}'": "tuple",
    "tuple(list)": "`tuple`", "set(list)": "`set`", "dict(o)": "`dict`", "[*list, 1]": "`*`", "list.sort()": "`.sort()`", "list.append(1)": "`.append()`",
    "f'{id!r}'": "conversions", "f'{n:05}'": "formats", "f'{f:.1f}'": "formats", "f'{id=}'": "`{X=}`", "'%s' % id": "`%` on a text",
    "name.encode()": "`.encode()`", "name.swapcase()": "`.swapcase()`", "name.casefold()": "`.casefold()`", "name.center(9)": "`.center()`",
    "name.isalpha()": "`.isalpha()`", "name.isupper()": "`.isupper()`", "name.translate({})": "`.translate()`", "name.expandtabs()": "`.expandtabs()`",
    "mail.split(sep='@')": "arguments by name", "json.dumps(o, indent=2)": "arguments by name", "b'x'": "prefix `b`", "'''x'''": "three quotation marks",
    "'\\101'": "not supported in a text", "'\\N{BULLET}'": "not supported in a text",
    "datetime.date.fromisoformat('2026-01-31').year": "`datetime`", "datetime.datetime.now()": "`datetime`", "datetime.timedelta(days=1)": "`datetime`",
    "datetime.datetime.fromisoformat('2026-01-31T08:00:00').strftime('%d.%m.%Y')": "`datetime`", "datetime.datetime(2026, 1, 31).isoformat()": "`datetime`",
    "n is 7": "`is`", "id is mail": "`is`", "x := 1": "`:=`", "import os": "`import`", "fake.name()": "`.name()`",
}  # fmt: skip

# What is taken here, and is an error of some records, by a part of it.
FAILS = {"{n: 1}": "not a text"}

# What is taken here and the SDK does not have.
OURS = ["len(list)", "len(mail)"]


def shown(value):
    """A value as JSON would have it; what JSON does not have is an error."""
    if isinstance(value, (set, bytes)) or callable(value):
        raise TypeError(type(value).__name__)
    return json.loads(json.dumps(value, default=repr_of))


def repr_of(value):
    """What the SDK writes for a time; anything else is an error."""
    if hasattr(value, "isoformat"):
        return value.isoformat()
    raise TypeError(type(value).__name__)


def outcomes(expression):
    """For each record the value or the error's class."""
    schema = {"type": "object", "properties": {name: {} for name in RECORDS[0]}}
    results = []
    for record in RECORDS:
        try:
            mapped = CustomStreamMap(
                stream_alias="people",
                map_config=CONFIG,
                faker_config={},
                raw_schema=schema,
                key_properties=[],
                map_transform={"mail": expression},
                flattening_options=None,
                stream_name="users",
            )
            value = mapped.transform(json.loads(json.dumps(record)))["mail"]
            results.append({"value": shown(value)})
        except Exception as error:  # noqa: BLE001
            results.append({"error": type(error).__name__})
    return results


def main():
    """Every expression, and the records and the configuration before them."""
    logging.disable(logging.CRITICAL)
    print(json.dumps({"records": RECORDS, "config": CONFIG}))
    expressions = [*TEXTS, *NUMBERS, *COMPOUND, *OTHERS]
    assert len(set(expressions)) == len(expressions), [e for e in expressions if expressions.count(e) > 1]
    assert not NOT_TAKEN.keys() - set(expressions), NOT_TAKEN.keys() - set(expressions)
    for expression in expressions:
        results = outcomes(expression)
        if expression in ("rand()", "randint(3)", "datetime.datetime.now()"):
            # It is another one each time.
            results = [{"value": None} for _ in results]
        line = {"expression": expression, "not_taken": NOT_TAKEN.get(expression), "fails": FAILS.get(expression), "ours": expression in OURS}
        print(json.dumps({**line, "results": results}))


if __name__ == "__main__":
    main()
