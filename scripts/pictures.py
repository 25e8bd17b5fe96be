#!/usr/bin/env python3
"""Makes the pictures of README.md from a real run: a plan on the terminal, and the same plan as a page.

    scripts/pictures.py BIN      BIN: the folder of tap-ldap and target-ldap; writes docs/pictures/plan-{light,dark}.png

Needs Chromium (scripts/install-servers.sh installs it). People and companies are invented.
"""

import contextlib
import html
import json
import os
import pathlib
import pty
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
WIDTH, HEIGHT = 1280, 720
SCHEMA = {
    "id": {"type": "integer"}, "login": {"type": "string"}, "first": {"type": "string"}, "last": {"type": "string"},
    "title": {"type": ["null", "string"]}, "mail": {"type": ["null", "string"]},
}
BEFORE = [
    (1001, "ada", "Ada", "Lovelace", "Analyst"), (1002, "grace", "Grace", "Hopper", "Engineer"),
    (1003, "linus", "Linus", "Okafor", "Support"), (1004, "mary", "Mary", "Jackson", "Engineer"),
    (1005, "omar", "Omar", "Haddad", "Sales"), (1006, "yuki", "Yuki", "Tanaka", "Research"),
]
# Grace marries, Mary and Omar have new posts, Linus has left, two people begin.
AFTER = [
    (1001, "ada", "Ada", "Lovelace", "Analyst"), (1002, "grace", "Grace", "Murray", "Engineer"),
    (1004, "mary", "Mary", "Jackson", "Head of Engineering"), (1005, "omar", "Omar", "Haddad", "Account Manager"),
    (1006, "yuki", "Yuki", "Tanaka", "Research"), (1007, "ines", "Inês", "Costa", "Support"),
    (1008, "tomas", "Tomáš", "Novák", "Sales"),
]
CONFIGURATION = {
    "server_url": "ldif:company.ldif",
    "mapping_rules": {"staff": {
        "dn_template": "cn={first} {last},ou=staff,dc=example,dc=com",
        "match": "(employeeNumber={id})",
        "object_classes": ["inetOrgPerson"],
        "attribute_mapping": {"id": "employeeNumber", "login": "uid", "first": "givenName", "last": "sn", "title": "title"},
        "values": {"mail": "{login}@example.com", "displayName": "{first} {last}"},
        "on_delete": {"move_to": "ou=gone,dc=example,dc=com"},
        "scope_base": "ou=staff,dc=example,dc=com",
    }},
    "process_activate_version": True,
    "max_deletes": 2,
}
# The colors of ANSI's codes, on the terminal's dark ground.
COLORS = {"31": "#ff7b72", "32": "#7ee787", "33": "#e3b341", "34": "#79c0ff", "35": "#d2a8ff", "36": "#76e3ea", "1": "#ffffff", "2": "#8b949e"}


def messages(people, version):
    lines = [{"type": "SCHEMA", "stream": "staff", "key_properties": ["id"], "schema": {"properties": SCHEMA}}]
    for number, login, first, last, title in people:
        record = {"id": number, "login": login, "first": first, "last": last, "title": title}
        lines.append({"type": "RECORD", "stream": "staff", "version": version, "record": record})
    lines.append({"type": "ACTIVATE_VERSION", "stream": "staff", "version": version})
    return "".join(json.dumps(line) + "\n" for line in lines)


def colored(text):
    """What a terminal would show of a text with ANSI's codes, as HTML."""
    out, opened = [], 0
    for part in re.split(r"(\x1b\[[0-9;]*m)", text):
        code = re.fullmatch(r"\x1b\[([0-9;]*)m", part)
        if not code:
            out.append(html.escape(part))
            continue
        names = [c.lstrip("0") for c in code[1].split(";") if c.lstrip("0")]
        if not names:
            out.append("</span>" * opened)
            opened = 0
        for name in names:
            out.append(f'<span style="color:{COLORS.get(name, "inherit")}">')
            opened += 1
    return "".join(out) + "</span>" * opened


def composed(command, terminal, page):
    return f"""<!doctype html><meta charset="utf-8"><style>
body {{ margin: 0; width: {WIDTH}px; height: {HEIGHT}px; overflow: hidden; position: relative; background: #eef1f5; font-family: sans-serif }}
@media (prefers-color-scheme: dark) {{ body {{ background: #0b0f14 }} }}
.window {{ position: absolute; border-radius: 10px; overflow: hidden; box-shadow: 0 8px 28px rgba(0, 0, 0, .28) }}
.terminal {{ left: 22px; top: 22px; width: 560px; height: 676px; background: #161b22; color: #e6edf3 }}
.terminal pre {{ margin: 0; padding: 14px 18px; font: 13.5px/1.5 "DejaVu Sans Mono", monospace; white-space: pre-wrap }}
.page {{ left: 604px; top: 22px; width: 654px; height: 676px; background: #fff }}
.bar {{ height: 26px; background: #d8dde4 }} .terminal .bar {{ background: #30363d }}
@media (prefers-color-scheme: dark) {{ .page .bar {{ background: #30363d }} }}
.bar i {{ display: inline-block; width: 11px; height: 11px; border-radius: 50%; margin: 8px 0 0 9px; background: #8b949e }}
iframe {{ border: 0; width: 1055px; height: 1049px; transform: scale(.62); transform-origin: 0 0 }}
</style>
<div class="window terminal"><div class="bar"><i></i><i></i><i></i></div><pre><span style="color:#7ee787">$</span> {html.escape(command)}
{colored(terminal)}</pre></div>
<div class="window page"><div class="bar"><i></i><i></i><i></i></div><iframe src="{page}"></iframe></div>"""


def main(bin_folder):
    target = str(pathlib.Path(bin_folder).resolve() / "target-ldap")
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)

        def run(arguments, text=None):
            done = subprocess.run([target, *arguments], cwd=folder, input=text, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            return done.stdout

        def shown(arguments):
            """What a terminal shows of stdout."""
            ours, its = pty.openpty()
            environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
            process = subprocess.Popen([target, *arguments], cwd=folder, env=environment, stdout=its, stderr=subprocess.DEVNULL)
            os.close(its)
            out = b""
            with contextlib.suppress(OSError):
                while part := os.read(ours, 65536):
                    out += part
            assert process.wait() == 0
            return out.decode().replace("\r\n", "\n")

        (folder / "target.json").write_text(json.dumps(CONFIGURATION))
        (folder / "company.ldif").write_text("".join(
            f"dn: {dn}\nobjectClass: {kind}\n{values}\n" for dn, kind, values in [
                ("dc=example,dc=com", "domain", "dc: example\n"), ("ou=staff,dc=example,dc=com", "organizationalUnit", "ou: staff\n"),
                ("ou=gone,dc=example,dc=com", "organizationalUnit", "ou: gone\n")]))
        run(["--config", "target.json"], messages(BEFORE, 1))
        (folder / "staff.singer").write_text(messages(AFTER, 2))
        plan = ["--config", "target.json", "--input", "staff.singer", "--dry-run"]
        (folder / "plan.html").write_text(run([*plan, "--plan-format", "html"]))
        terminal = shown(plan)
        (folder / "picture.html").write_text(composed("target-ldap --config target.json \\\n    --input staff.singer --dry-run", terminal, "plan.html"))
        for name, scheme in (("dark", 0), ("light", 1)):
            out = ROOT / "docs" / "pictures" / f"plan-{name}.png"
            out.parent.mkdir(exist_ok=True)
            subprocess.run([
                "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
                "--disable-background-networking", "--disable-component-update", "--hide-scrollbars", "--allow-file-access-from-files",
                f"--blink-settings=preferredColorScheme={scheme}", "--force-device-scale-factor=1.5", f"--window-size={WIDTH},{HEIGHT}",
                f"--user-data-dir={folder}/profile", f"--screenshot={out}", f"file://{folder}/picture.html",
            ], check=True, capture_output=True, timeout=90)
            print(f"{out.relative_to(ROOT)}: {out.stat().st_size // 1024} KiB")


if __name__ == "__main__":
    main(sys.argv[1])
