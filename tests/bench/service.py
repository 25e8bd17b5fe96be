#!/usr/bin/env python3
"""Logins a second and their times, beside 389's load tool `ldclt` and bare binds to the same slapd; memory over many requests.

    tests/bench/service.py [--seconds 10] [--rounds 5] [--users 10000] [--clients 64] [--requests 100000] SERVICE

SERVICE: the executable ldap-service, a release build. Needs slapd, ldclt (389-ds-base), wrk and rustc. In turns: ldclt, bare binds
(binds.rs, for their times: ldclt says none), then the service, as many rounds as asked for. Prints the lowest and the highest of
each, and their ratios.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request

from process import cpu_seconds
from slapd import ADMIN, PASSWORD, SUFFIX, Slapd, die_with_parent, free_port

PEOPLE = f"ou=people,{SUFFIX}"
# A login of a random user, with the right password. Each thread has its own numbers.
LOGIN = """
local threads = 0
function setup(thread) thread:set("seed", threads); threads = threads + 1 end
function init() math.randomseed(os.time() * 10 + seed) end
function request()
  local n = math.random(0, %d)
  return wrk.format("POST", "/api/v1/auth/login", {["Content-Type"] = "application/json"},
    string.format('{"username": "u%%06d", "password": "p%%06d"}', n, n))
end
function done(summary, latency)
  local e = summary.errors
  io.write(string.format("RESULT %%d %%d %%d %%d %%d\\n", summary.requests, summary.duration, latency:percentile(50),
    latency:percentile(99), e.status + e.connect + e.read + e.write + e.timeout))
end
"""


def people(count):
    """LDIF of the suffix and `count` users, each with a password of its own."""
    yield f"dn: {SUFFIX}\nobjectClass: dcObject\nobjectClass: organization\ndc: example\no: Test\n\n"
    yield f"dn: {PEOPLE}\nobjectClass: organizationalUnit\nou: people\n\n"
    for n in range(count):
        yield (
            f"dn: uid=u{n:06},{PEOPLE}\nobjectClass: inetOrgPerson\nuid: u{n:06}\ncn: Person {n}\nsn: N{n}\n"
            f"mail: u{n:06}@example.test\nuserPassword: p{n:06}\n\n"
        )


def start(executable, server, folder, log):
    """Starts the service, and waits until it is ready: the process and its address."""
    port = free_port()
    settings = {
        "server_url": server.url,
        "bind_dn": ADMIN,
        "bind_password": PASSWORD,
        "listen": f"127.0.0.1:{port}",
        "users": {"base_dn": PEOPLE},
        "login": {"max_failures": 0, "per_address_per_minute": 0},
    }
    path = os.path.join(folder, "service.json")
    with open(path, "w") as f:
        json.dump(settings, f)
    process = subprocess.Popen([executable, "--config", path, "--log-level", "warning"], stderr=log, preexec_fn=die_with_parent)
    base = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 20
    while True:
        try:
            urllib.request.urlopen(f"{base}/health/ready", timeout=2).read()
            return process, base
        except OSError:
            if time.monotonic() > deadline or process.poll() is not None:
                raise
            time.sleep(0.05)


def ldclt(server, users, clients, seconds):
    """Binds a second by ldclt, which counts in samples of 10 seconds."""
    command = [
        "ldclt", "-h", "127.0.0.1", "-p", str(server.port), "-n", str(clients), "-N", str(max(1, seconds // 10)), "-W", "0",
        "-D", f"uid=uXXXXXX,{PEOPLE}", "-w", "pXXXXXX",
        "-e", f"bindeach,bindonly,randombinddn,randombinddnlow=0,randombinddnhigh={users - 1}",
        "-I", "32", "-q", "-T", "100000000",
    ]
    began = time.monotonic()
    said = subprocess.run(command, capture_output=True, text=True, timeout=seconds * 6 + 120)
    found = re.search(r"Global average rate:\s+[\d.]+/thr\s+\(\s*([\d.]+)/sec\)", said.stdout)
    if not found:
        sys.exit(f"ldclt said no rate after {time.monotonic() - began:.0f} s:\n{said.stdout[-2000:]}{said.stderr[-2000:]}")
    return float(found[1])


def bare_binds(executable, server, users, clients, seconds):
    """Bare binds a second, and the 50th and the 99th percentile of their times in ms."""
    command = [executable, str(server.port), str(clients), str(seconds), str(users), PEOPLE]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds + 60).stdout
    binds, microseconds, middle, high = map(int, said.split())
    return binds / (microseconds / 1e6), middle / 1000, high / 1000


def wrk(base, script, clients, seconds):
    """Requests a second, the 50th and the 99th percentile in ms, and failures."""
    command = ["wrk", "-t2", f"-c{clients}", f"-d{seconds}s", "--timeout", "10s", "-s", script, base]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    requests, microseconds, middle, high, errors = map(int, re.search(r"RESULT (\d+) (\d+) (\d+) (\d+) (\d+)", said).groups())
    return requests / (microseconds / 1e6), middle / 1000, high / 1000, errors, requests


def memory(process):
    """Resident memory in KiB."""
    with open(f"/proc/{process.pid}/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmRSS:"))


def spread(values, form="{:.0f}"):
    """The lowest and the highest."""
    return f"{form.format(min(values))} to {form.format(max(values))}"


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("service")
    options.add_argument("--seconds", type=int, default=10, help="of each round")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--users", type=int, default=10_000)
    options.add_argument("--clients", type=int, default=64)
    options.add_argument("--requests", type=int, default=100_000, help="over which memory is watched")
    asked = options.parse_args()
    for tool in ("ldclt", "wrk"):
        if not shutil.which(tool):
            sys.exit(f"{tool} is not installed")
    folder = tempfile.mkdtemp(prefix="bench-service")
    server = Slapd(os.path.join(folder, "slapd"), people(asked.users), database="index objectClass,uid eq\n")
    script = os.path.join(folder, "login.lua")
    with open(script, "w") as f:
        f.write(LOGIN % (asked.users - 1))
    binds = os.path.join(folder, "binds")
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "binds.rs")
    subprocess.run(["rustc", "-O", "--edition", "2021", "-o", binds, source], check=True)
    log = open(os.path.join(folder, "log"), "wb")
    process, base = start(asked.service, server, folder, log)
    try:
        peer, rate, middle, high, ratios, per_login = [], [], [], [], [], []
        bare, bare_high, high_ratios = [], [], []
        wrk(base, script, asked.clients, 2)
        for _ in range(asked.rounds):
            theirs = ldclt(server, asked.users, asked.clients, asked.seconds)
            bound, _, bound_high = bare_binds(binds, server, asked.users, asked.clients, asked.seconds)
            bare.append(bound), bare_high.append(bound_high)
            before = cpu_seconds(process.pid)
            ours, p50, p99, errors, requests = wrk(base, script, asked.clients, asked.seconds)
            if errors:
                sys.exit(f"{errors} logins failed; see {folder}/log")
            peer.append(theirs), rate.append(ours), middle.append(p50), high.append(p99)
            ratios.append(ours / theirs), high_ratios.append(p99 / bound_high)
            per_login.append((cpu_seconds(process.pid) - before) / requests * 1e6)
        print(f"ldclt, binds a second: {spread(peer)}")
        print(f"bare binds a second: {spread(bare)}; 99th percentile in ms {spread(bare_high, '{:.1f}')}")
        print(f"service, logins a second: {spread(rate)}; ratio {spread(ratios, '{:.2f}')}")
        print(f"service, times at {asked.clients} clients in ms: 50th percentile {spread(middle, '{:.1f}')}, 99th {spread(high, '{:.1f}')}")
        print(f"service, 99th percentile of a login over that of a bare bind: {spread(high_ratios, '{:.2f}')}")
        print(f"service, processor time for a login in microseconds: {spread(per_login)}")
        seen, done = [memory(process)], 0
        while done < asked.requests:
            done += wrk(base, script, asked.clients, 5)[4]
            seen.append(memory(process))
        print(f"service, resident memory in MiB over {done} logins: {spread([kib / 1024 for kib in seen], '{:.1f}')}; last {seen[-1] / 1024:.1f}")
    finally:
        process.terminate()
        process.wait(15)
        server.stop()
        log.close()
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
