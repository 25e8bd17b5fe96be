"""Runs commands and says what they took: wall, CPU, peak of memory."""

import os
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass

TICKS = os.sysconf("SC_CLK_TCK")
# A command that takes longer hangs.
LIMIT_SECONDS = 1800


class Failed(Exception):
    """A command that did not do what it should; the text is for people."""


@dataclass
class Sample:
    """One run of a client. Seconds; `rss` is the highest peak of the run's processes in MiB."""

    wall: float
    cpu: float
    server_cpu: float
    rss: float


def cpu_seconds(pid):
    """The CPU time of a process so far."""
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def _peak_mib(pid):
    """The peak resident set of a process so far; 0 once it has ended."""
    try:
        with open(f"/proc/{pid}/status") as f:
            return next((int(line.split()[1]) / 1024 for line in f if line.startswith("VmHWM:")), 0)
    except OSError:
        return 0


class _Watch(threading.Thread):
    """Looks at the memory of processes until told to stop. What `wait4` says of it begins with what this process had when
    it forked, which is more than our clients need."""

    def __init__(self, processes):
        super().__init__(daemon=True)
        self.processes, self.peaks = processes, [0.0] * len(processes)
        self.late = False
        self.ended = threading.Event()
        self.start()

    def run(self):
        deadline = time.monotonic() + LIMIT_SECONDS
        while not self.ended.wait(0.01):
            self.peaks = [max(old, _peak_mib(p.pid)) for old, p in zip(self.peaks, self.processes)]
            if time.monotonic() > deadline:
                self.late = True
                for p in self.processes:
                    # Not `kill()`, which would reap it: `wait4` below does.
                    os.kill(p.pid, 9)
                return

    def stop(self):
        self.ended.set()
        self.join()


def _drain(stream, blocked):
    """Reads a process's output to its end, after a while in which it is left alone."""
    time.sleep(blocked)
    while stream.read(1 << 20):
        pass


def run(*commands, servers=(), stdin=None, blocked=None, env=None):
    """Runs commands, each one's stdout being the next one's stdin; the last one's goes to /dev/null, or, with `blocked`, into
    a pipe that nobody reads for so many seconds. `servers` are pids whose CPU counts as the server's."""
    before = [cpu_seconds(pid) for pid in servers]
    processes, reader = [], None
    with tempfile.TemporaryFile() as errors, open(os.devnull, "wb") as null, open(stdin or os.devnull, "rb") as given:
        started = time.monotonic()
        for n, command in enumerate(commands):
            last = n == len(commands) - 1
            processes.append(
                subprocess.Popen(
                    command,
                    stdin=processes[-1].stdout if processes else given,
                    stdout=null if last and blocked is None else subprocess.PIPE,
                    stderr=errors,
                    env={**os.environ, **(env or {})},
                )
            )
            if n > 0:
                # Only its reader holds it now, so that the writer hears of a reader that has gone.
                processes[-2].stdout.close()
        watch = _Watch(processes)
        if blocked is not None:
            reader = threading.Thread(target=_drain, args=(processes[-1].stdout, blocked), daemon=True)
            reader.start()
        cpu, failed = 0.0, []
        for process in processes:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            cpu += usage.ru_utime + usage.ru_stime
            if process.returncode != 0:
                failed.append(f"{process.args[0]}: exit code {process.returncode}")
        wall = time.monotonic() - started
        watch.stop()
        if reader is not None:
            reader.join()
            processes[-1].stdout.close()
        if failed or watch.late:
            errors.seek(0)
            said = errors.read()[-2000:].decode(errors="replace")
            raise Failed(f"{'; '.join(failed)}{' (took too long)' if watch.late else ''}\n{said}")
    server_cpu = sum(cpu_seconds(pid) for pid in servers) - sum(before)
    return Sample(wall, cpu, server_cpu, max(watch.peaks))
