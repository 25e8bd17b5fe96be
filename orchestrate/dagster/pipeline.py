"""One partition, once: tap | loader, with a STATE of its own."""

import fcntl
import json
import os
import subprocess
import tempfile
from contextlib import contextmanager

# The tap's and the target's exit codes for a mistake in the configuration, which no retry mends.
USAGE = 2


class PipelineError(Exception):
    """A run that failed. STATE has moved as far as the loader said."""

    def __init__(self, message, retry):
        super().__init__(message)
        self.retry = retry


def run_partition(plan, partition, log):
    """Runs a partition; gives how many records came, and whether there was a STATE to begin with."""
    plan.state_dir.mkdir(parents=True, exist_ok=True)
    state = plan.state_dir / f"{partition.name}.json"
    with only_one(plan.state_dir / f"{partition.name}.lock"), tempfile.TemporaryDirectory() as folder:
        config = os.path.join(folder, "tap.json")
        with open(os.open(config, os.O_WRONLY | os.O_CREAT, 0o600), "w") as f:
            json.dump({**plan.tap_config, **own_deletions(plan, partition), "schemas": [partition.stream]}, f)
        resumed = state.exists()
        command = [*plan.tap, "--config", config, *(["--state", str(state)] if resumed else [])]
        return {"records": pump(command, plan.loader, state, log), "resumed": resumed}


def own_deletions(plan, partition):
    """Settings by which a partition tells its own deletions only. A server's log does not say which filter an entry fitted: what
    changed in one partition is told to all the others as a deletion. The tap's index of keys knows better."""
    if partition.stream.get("replication_method") != "LOG_BASED":
        return {}
    return {"track_deletions": True, "state_dir": str(plan.state_dir.absolute() / f"{partition.name}.keys")}


def pump(command, loader, state, log):
    """Runs `command | loader`; the loader's every STATE replaces the file `state`. The number of records."""
    errors = tempfile.TemporaryFile()
    tap = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors)
    target = subprocess.Popen(loader, stdin=tap.stdout, stdout=subprocess.PIPE, stderr=errors)
    tap.stdout.close()
    for line in target.stdout:
        if line.strip() not in (b"", b"{}"):
            replace(state, line)
    codes = {"tap": tap.wait(), "loader": target.wait()}
    errors.seek(0)
    said = errors.read().decode(errors="replace").splitlines()
    for line in said[-200:]:
        log(line)
    # The loader's own end is the cause where both failed: the tap's pipe broke.
    for who in ("loader", "tap"):
        if codes[who]:
            raise PipelineError(f"the {who} ended with exit code {codes[who]}: {' / '.join(said[-3:])}", codes[who] != USAGE)
    return sum(counted(line) for line in said)


def counted(line):
    """The records that a METRIC line of the tap counts."""
    _, found, metric = line.partition("METRIC: ")
    if not found or "tap-ldap" not in line:
        return 0
    metric = json.loads(metric)
    return metric["value"] if metric.get("metric") == "record_count" else 0


def replace(path, content):
    """Replaces a file in one rename, on the disk before that."""
    with open(path.with_suffix(".new"), "wb") as f:
        f.write(content)
        f.flush()
        os.fsync(f.fileno())
    path.with_suffix(".new").replace(path)


@contextmanager
def only_one(path):
    """Holds a lock; another run of the same partition on this machine fails at once."""
    with open(path, "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PipelineError(f"{path}: another run of this partition is under way", retry=True) from None
        yield
