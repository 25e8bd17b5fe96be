"""Runs a guide as a reader would: files are those blocks that have a title, and every `sh` block is run, in the order of the page.

    guides.py GUIDE.md "FROM=>TO" …      in an empty folder; each FROM in the guide becomes TO
"""

import os
import pathlib
import re
import subprocess
import sys

BLOCK = re.compile(r"^```(\w+)(?: title=\"([^\"]+)\")?\n(.*?)^```$", re.M | re.S)


def follow(guide, folder, replaced, environment):
    """Follows a guide in a folder. How many shell blocks were run; a failing one is an AssertionError with what it said."""
    text, ran = pathlib.Path(guide).read_text(), 0
    for old, new in replaced.items():
        text = text.replace(old, new)
    for language, title, block in BLOCK.findall(text):
        if title:
            pathlib.Path(folder, title).write_text(block)
        elif language == "sh":
            # A `! command` alone does not end a shell that has -e.
            block = re.sub(r"^! (.*)$", r"if \1; then exit 1; fi", block, flags=re.M)
            done = subprocess.run(["bash", "-euo", "pipefail", "-c", block], cwd=folder, env=environment, capture_output=True, text=True)
            assert done.returncode == 0, f"{guide}:\n{block}\n--- {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
            ran += 1
    return ran


if __name__ == "__main__":
    print(follow(sys.argv[1], os.getcwd(), dict(a.split("=>", 1) for a in sys.argv[2:]), os.environ), "blocks run")
