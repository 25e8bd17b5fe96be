"""Instructions, counted by valgrind: they do not depend on what else the machine does."""

import os
import re
import subprocess
import sys

from process import Failed


def count(command, out, stdin=None):
    """The instructions of one run; what callgrind found goes to the file `out` (for `callgrind_annotate`)."""
    valgrind = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", *command]
    with open(stdin or os.devnull, "rb") as given:
        done = subprocess.run(valgrind, stdin=given, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    found = re.search(rb"Collected : (\d+)", done.stderr)
    if done.returncode != 0 or not found:
        raise Failed(f"{' '.join(command)}: exit code {done.returncode}\n{done.stderr.decode(errors='replace')[-2000:]}")
    return int(found[1])


def each(name, command, sizes, folder):
    """Instructions for each item: `command` gives command and stdin for a size. The difference of two sizes, so that
    what does not grow with them (start-up, schema) drops out."""
    small, large = sizes
    counts = []
    for size in sizes:
        arguments, stdin = command(size)
        out = os.path.join(folder, f"callgrind.{re.sub('[^a-z0-9]+', '-', name.lower())}.{size}")
        counts.append(count(arguments, out, stdin))
        print(f"  {name}, {size}: {counts[-1]} instructions", file=sys.stderr)
    return (counts[1] - counts[0]) / (large - small)
