"""Runs a page of docs/ as a reader would, and compares what it shows with what comes.

A page is followed from its beginning to its end, in one folder:

- A block with `title="FILE"` is written to that file.
- A `sh` block is run by bash (-euo pipefail). The working directory and exported variables are kept for the next one.
- A `text` block with `title="Output"` is what the `sh` block before it prints, stderr included. `title="Output (exit code 1)"` says
  how it ends; without it, a command ends with 0.
- A `console` block is an interactive session: the first line is the command, after `$ `; whatever follows a prompt is typed.
- `<!-- not run: REASON -->` before a block keeps it from being run.

In a shown output `…` stands for any text, and a line of `…` for any number of lines. Times, durations, ids and ports are not compared.

    guides.py PAGE.md "FROM=>TO" …      follows a page in an empty folder; each FROM in it becomes TO

With GUIDES_UPDATE=1 in the environment an output that differs is written into the page. Review it: `…` is written by hand.
"""

import dataclasses
import json
import os
import pathlib
import pty
import re
import select
import shlex
import signal
import subprocess
import sys
import time

BLOCK = re.compile(r"^(?P<before>[^\n]*)\n(?:\n)?(?P<indent> *)```(?P<language>\w*)(?: title=\"(?P<title>[^\"]+)\")?\n(?P<text>.*?)^(?P=indent)```$", re.M | re.S)
NOT_RUN = re.compile(r"<!-- not run: (.+) -->")
OUTPUT = re.compile(r"Output(?: \(exit code (\d+)\))?")
# What differs from run to run: (what, in its place). Both the page's text and the real one go through it.
VARYING = [
    (re.compile(r"\x1b\[[0-9;?]*[A-Za-z]"), ""),
    (re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?"), "TIME"),
    (re.compile(r"\b\d{8}T?\d{6}(?:\.\d+)?Z"), "TIME"),
    (re.compile(r"\b\d{4}-\d\d-\d\d\b"), "DATE"),
    (re.compile(r"\brun [0-9a-f]{16}\b"), "run ID"),
    (re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"), "UUID"),
    (re.compile(r"\b\d+(?:\.\d+)? ?(?:ms|s)\b"), "DURATION"),
    (re.compile(r"\(\d+ per second\)"), "(RATE)"),
    (re.compile(r"(\blocalhost|127\.0\.0\.1):\d+"), r"\1:PORT"),
    (re.compile(r'"response_time_ms": ?\d+'), '"response_time_ms":N'),
    (re.compile(r'"time_extracted": ?"[^"]*"'), '"time_extracted":"TIME"'),
    (re.compile(r'"version": ?\d+'), '"version":N'),
]  # fmt: skip


@dataclasses.dataclass
class Block:
    """A fenced block: its language, title and text, the number of its first line, and why it is not run, if it is not."""

    language: str
    title: str
    text: str
    line: int
    reason: str


def blocks(text):
    """The fenced blocks of a page, in their order."""
    found = []
    for match in BLOCK.finditer("\n" + text):
        indent = match["indent"]
        body = "".join(line.removeprefix(indent) for line in match["text"].splitlines(keepends=True))
        reason = NOT_RUN.search(match["before"])
        line = text.count("\n", 0, match.start("text") - 1) + 1
        found.append(Block(match["language"], match["title"] or "", body, line, reason[1] if reason else ""))
    return found


def compared(text):
    """A text without what differs from run to run, as lines. A JSON document is one line, however it was laid out."""
    lines = [line.rstrip() for line in text.replace("\r\n", "\n").splitlines() if "METRIC: " not in line]
    text = "\n".join(lines).strip("\n")
    try:
        text = json.dumps(json.loads(text))
    except ValueError:
        pass
    for what, instead in VARYING:
        text = what.sub(instead, text)
    return text.splitlines()


def difference(shown, real):
    """The first line of the shown output that the real one does not have in its place; None if all are there."""
    pattern, there = "", "".join(f"{line}\n" for line in compared(real))
    for line in compared(shown):
        pattern += "(?:.*\n)*?" if line.strip() == "…" else ".*".join(map(re.escape, line.split("…"))) + "\n"
        if not re.match(pattern, there):
            return line
    return None if re.fullmatch(pattern, there) else "(the end)"


class Session:
    """A reader's shell in a folder: blocks are run one after another, and what they leave running ends with `end`."""

    def __init__(self, folder, environment):
        self.folder, self.environment, self.groups = str(folder), dict(environment), []
        self.kept = pathlib.Path(folder).parent / f"{pathlib.Path(folder).name}.session"
        self.kept.mkdir(exist_ok=True)

    def run(self, text, timeout=240):
        """Runs the text of a block: exit code and what it printed."""
        said, kept = self.kept / "said", self.kept / "kept"
        script = f"set -a; trap 'pwd > {shlex.quote(str(kept))}.cwd; env -0 > {shlex.quote(str(kept))}.env' EXIT\n{text}"
        with open(said, "wb") as out:
            process = subprocess.Popen(
                ["bash", "-euo", "pipefail", "-c", script], cwd=self.folder, env=self.environment,
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
            )  # fmt: skip
            self.groups.append(process.pid)
            code = process.wait(timeout=timeout)
        self.folder = pathlib.Path(f"{kept}.cwd").read_text().rstrip("\n")
        variables = pathlib.Path(f"{kept}.env").read_text().split("\0")
        self.environment = dict(v.split("=", 1) for v in variables if "=" in v)
        return code, said.read_text(errors="replace")

    def talk(self, text, secrets, timeout=60):
        """Plays an interactive session. What follows a prompt in the text is typed, and at prompts for a password the next of
        `secrets`. What the terminal showed, the command's line included."""
        command, _, rest = text.partition("\n")
        pid, terminal = pty.fork()
        if pid == 0:
            os.chdir(self.folder)
            os.execvpe("bash", ["bash", "-c", command.removeprefix("$ ")], self.environment)
        shown, secrets, deadline = b"", list(secrets), time.monotonic() + timeout
        prompts = [line for line in rest.splitlines() if line.strip()]
        try:
            while time.monotonic() < deadline:
                if select.select([terminal], [], [], 0.3)[0]:
                    try:
                        more = os.read(terminal, 65536)
                    except OSError:
                        break
                    if not more:
                        break
                    shown += more
                    continue
                last = shown.decode(errors="replace").rpartition("\n")[2].rstrip("\r")
                last = VARYING[0][0].sub("", last)
                if not last.strip():
                    continue
                if "assword" in last and "not shown" in last:
                    answer = secrets.pop(0)
                else:
                    at = next(i for i, line in enumerate(prompts) if line.startswith(last.rstrip()))
                    answer = prompts[at][len(last.rstrip()):].strip()
                    prompts = prompts[at + 1:]
                os.write(terminal, answer.encode() + b"\n")
            else:
                os.kill(pid, signal.SIGTERM)
                raise AssertionError(f"the session did not end:\n{shown.decode(errors='replace')}")
        finally:
            os.close(terminal)
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        return code, f"{command}\n{shown.decode(errors='replace')}"

    def end(self):
        """Ends what blocks left running."""
        for group in self.groups:
            try:
                os.killpg(group, signal.SIGTERM)
            except ProcessLookupError:
                pass


def update(page, index, said, replaced):
    """Writes what came into the page, in the place of the output that block `index` shows."""
    for old, new in replaced.items():
        said = said.replace(new, old)
    said = "".join(line.rstrip() + "\n" for line in VARYING[0][0].sub("", said).splitlines() if "METRIC" not in line).rstrip("\n") + "\n"
    source = pathlib.Path(page)
    lines, start = source.read_text().splitlines(keepends=True), blocks(source.read_text())[index].line - 1
    end = next(i for i in range(start, len(lines)) if lines[i].lstrip().startswith("```"))
    indent = lines[end].partition("`")[0]
    said = "".join((indent + line).rstrip() + "\n" for line in said.splitlines())
    source.write_text("".join(lines[:start]) + said + "".join(lines[end:]))



def follow(page, folder, replaced, environment, secrets=()):
    """Follows a page in a folder. How many blocks were run; a failing one, or another output than shown, is an AssertionError."""
    text = pathlib.Path(page).read_text()
    for old, new in replaced.items():
        text = text.replace(old, new)
    session, ran, found = Session(folder, environment), 0, blocks(text)
    try:
        for at, block in enumerate(found):
            after = found[at + 1] if at + 1 < len(found) else None
            output = after and after.language == "text" and OUTPUT.fullmatch(after.title)
            where = f"{page}:{block.line}"
            if block.reason or block.title and OUTPUT.fullmatch(block.title):
                continue
            if block.language == "console":
                code, said = session.talk(block.text, secrets)
                assert code == 0, f"{where}: exit code {code}\n{said}"
                differs = difference(block.text, said)
                assert differs is None, f"{where}: not so: {differs}\n--- real\n{said}"
                ran += 1
            elif block.title:
                path = pathlib.Path(session.folder, block.title)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(block.text)
            elif block.language == "sh":
                wanted = int(output[1] or 0) if output else 0
                code, said = session.run(block.text)
                assert code == wanted, f"{where}: exit code {code}, not {wanted}\n{block.text}\n---\n{said[-6000:]}"
                differs = difference(after.text, said) if output else None
                if differs is not None and os.environ.get("GUIDES_UPDATE"):
                    update(page, at + 1, said, replaced)
                    differs = None
                assert differs is None, f"{page}:{after.line}: not so: {differs}\n--- real\n{said[-8000:]}"
                ran += 1
    finally:
        session.end()
    return ran


if __name__ == "__main__":
    print(follow(sys.argv[1], os.getcwd(), dict(a.split("=>", 1) for a in sys.argv[2:]), os.environ), "blocks run")
