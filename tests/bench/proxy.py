#!/usr/bin/env python3
"""A TCP proxy on loopback that makes the way to a server longer, not narrower.

  tests/bench/proxy.py PORT ROUND_TRIP_MS

Takes connections on a free port, which it prints, and passes them on to PORT. Every byte is held back for half the round
trip, in both directions. As a network does, it holds up to a window of bytes on the way; beyond that the sender has to wait.
"""

import os
import socket
import subprocess
import sys
import threading
import time

# With half of 5 ms on the way this allows more than 1.5 GB/s, more than slapd can send.
WINDOW = 4 << 20
CHUNK = 1 << 20
# After a read, bytes gather for so long: slapd writes entry by entry, and a wake-up for each would take the CPU that the
# measured programs need. What comes first after a pause is not held back for it.
GATHER_SECONDS = 0.000_2


class Pump:
    """One direction of a connection."""

    def __init__(self, source, sink, delay):
        self.source, self.sink, self.delay = source, sink, delay
        self.queue, self.held = [], 0
        self.changed = threading.Condition()
        for work in (self.read, self.write):
            threading.Thread(target=work, daemon=True).start()

    def read(self):
        while True:
            try:
                data = self.source.recv(CHUNK)
            except OSError:
                data = b""
            with self.changed:
                self.queue.append((time.monotonic() + self.delay, data))
                self.held += len(data)
                self.changed.notify_all()
                if not data:
                    return
                self.changed.wait_for(lambda: self.held < WINDOW)
            time.sleep(GATHER_SECONDS)

    def write(self):
        while True:
            with self.changed:
                self.changed.wait_for(lambda: self.queue)
                due, data = self.queue.pop(0)
            pause = due - time.monotonic()
            if pause > 0:
                time.sleep(pause)
            try:
                if data:
                    self.sink.sendall(data)
                else:
                    self.sink.shutdown(socket.SHUT_WR)
                    return
            except OSError:
                # The other side has gone: whoever still sends here is to notice.
                for s in (self.source, self.sink):
                    s.close()
                return
            finally:
                with self.changed:
                    self.held -= len(data)
                    self.changed.notify_all()


def serve(port, delay):
    """Never returns."""
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    while True:
        client, _ = listener.accept()
        try:
            server = socket.create_connection(("127.0.0.1", port))
        except OSError:
            client.close()
            continue
        for s in (client, server):
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        Pump(client, server, delay)
        Pump(server, client, delay)


class Proxy:
    """A running proxy to a server on loopback; `stop` ends it."""

    def __init__(self, port, round_trip_ms):
        # Its own process: the interpreter's lock would let the benchmark's own threads hold it up.
        command = [sys.executable, os.path.abspath(__file__), str(port), str(round_trip_ms)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE)
        self.port = int(self.process.stdout.readline())
        self.url = f"ldap://127.0.0.1:{self.port}"

    def stop(self):
        self.process.terminate()
        self.process.wait()
        self.process.stdout.close()


def round_trip_ms(round_trip, samples=50):
    """What the round trip really is on this machine: the median of an echo's."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def echo():
            with listener.accept()[0] as s:
                while data := s.recv(64):
                    s.sendall(data)

        threading.Thread(target=echo, daemon=True).start()
        proxy = Proxy(listener.getsockname()[1], round_trip)
        try:
            times = []
            with socket.create_connection(("127.0.0.1", proxy.port)) as s:
                for _ in range(samples):
                    started = time.monotonic()
                    s.sendall(b"x")
                    s.recv(64)
                    times.append(time.monotonic() - started)
            return sorted(times)[samples // 2] * 1000
        finally:
            proxy.stop()


if __name__ == "__main__":
    serve(int(sys.argv[1]), float(sys.argv[2]) / 2000)
