"""From results to the tables of docs/explanation/performance.md."""

import json
import os
import shutil
import subprocess

BEGIN, END = "<!-- begin: make bench writes this -->", "<!-- end: make bench writes this -->"
HEAD = "| client | wall s | client CPU s | server CPU s | peak MiB | {} | CPU ratio |"
SUMMARY = "| measure | to reach | measured | reached |"


def figure(spread, digits=2):
    """A median with its range, or a figure alone where it has none."""
    if spread is None:
        return "–"
    if spread[0] == 0 and spread[2] == 0 and digits == 1:
        # Memory of a process that had ended before it was looked at.
        return "–"
    middle, low, high = (f"{value:,.{digits}f}" for value in spread)
    return middle if low == middle == high else f"{middle} ({low} to {high})"


def row(entry):
    """A row of a measure's table."""
    if "instructions" in entry:
        return f"| {entry['client']} | {entry['instructions']:,.0f} |"
    cells = [
        entry["client"],
        figure(entry["wall"]),
        figure(entry["cpu"]),
        figure(entry["server_cpu"]),
        figure(entry["rss"], 1),
        figure(entry["wall_ratio"]),
        figure(entry["cpu_ratio"]),
    ]
    return f"| {' | '.join(cells)} |"


def rule(head):
    """The line below a table's head."""
    return "|" + "---|" * (head.count("|") - 1)


def table(result):
    """A measure's table with what it says above and below."""
    head = HEAD.format("times as fast" if result["faster"] else "wall ratio")
    if result["rows"] and "instructions" in result["rows"][0]:
        head = "| client | instructions |"
    rounds = max((entry.get("rounds", 1) for entry in result["rows"]), default=0)
    when = f" {rounds} rounds, {result['date']}." if rounds > 1 else f" {result['date']}." if rounds else ""
    lines = [f"### {result['title']}", "", f"{result['how']}{when}", ""]
    if result["rows"]:
        lines += [head, rule(head), *map(row, result["rows"]), ""]
    for note in result["notes"]:
        lines += [note, ""]
    return lines


def section(results, order):
    """What stands between the markers."""
    known = [results[name] for name in order if name in results]
    lines = [
        BEGIN,
        "",
        f"{machine()} Medians, with the lowest and the highest in brackets; of ratios, of those of each round. Not measured",
        f"here: {', '.join(n for n in order if n not in results) or 'nothing'}.",
        "",
        SUMMARY,
        rule(SUMMARY),
    ]
    for result in known:
        for goal in result["goals"]:
            lines.append(
                f"| {goal['what']} | {goal['limit'].replace('<=', '≤').replace('>=', '≥')} | "
                f"{figure(goal['value'], goal['digits'])} | {'yes' if goal['reached'] else 'no'} |"
            )
    lines.append("")
    for result in known:
        lines += table(result)
    return "\n".join([*lines, END])


def machine():
    """The machine, as far as it matters."""
    with open("/proc/cpuinfo") as f:
        model = next((line.partition(":")[2].strip() for line in f if line.startswith("model name")), "unknown")
    slapd = shutil.which("slapd", path=os.environ.get("PATH", "") + ":/usr/sbin")
    said = subprocess.run([slapd, "-VV"], stderr=subprocess.PIPE).stderr.decode()
    version = next((word for word in said.split() if word[0].isdigit()), "?").split("+")[0]
    return f"{len(os.sched_getaffinity(0))} cores of {model}, slapd {version}."


def insert(text, new):
    """The document with another section between the markers."""
    before, _, rest = text.partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise ValueError(f"no '{BEGIN}' and '{END}' in it")
    return before + new + after


def faults(text, titles):
    """What is wrong with the form of the section in a document: its tables, not their figures."""
    _, _, rest = text.partition(BEGIN)
    inside, found, _ = rest.partition(END)
    if not found:
        return ["the markers are missing"]
    wrong = []
    lines = inside.splitlines()
    there = [line.removeprefix("### ") for line in lines if line.startswith("### ")]
    if [t for t in there if t not in titles] or len(set(there)) != len(there):
        wrong.append("it has measures that `make bench` does not know, or one twice")
    heads = {SUMMARY, HEAD.format("wall ratio"), HEAD.format("times as fast"), "| client | instructions |"}
    head = None
    for line in lines:
        if not line.startswith("|"):
            head = None
        elif head is None:
            head = line
            if head not in heads:
                wrong.append(f"no table of it has the head {head}")
        elif line.replace("\\|", "").count("|") != head.count("|"):
            wrong.append(f"a row with another number of columns than its head: {line}")
    return wrong


def load(path):
    """Results of earlier runs."""
    if not os.path.exists(path):
        return {}
    with open(path) as f:
        return json.load(f)


def save(path, results):
    """Keeps results, whole or not at all."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(f"{path}.new", "w") as f:
        json.dump(results, f, indent=1)
    os.replace(f"{path}.new", path)
