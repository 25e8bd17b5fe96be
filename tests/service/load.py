"""Load on the service: threads that send requests until they are told to stop, and every outcome counted."""

import collections
import threading
import time

import httpx


class Load:
    """`request(client, number)` returns an answer; statuses are counted by `kind`. A request without an answer is in
    `unanswered`."""

    def __init__(self, url, requests, threads=4, timeout=30):
        self.statuses = collections.defaultdict(collections.Counter)
        self.unanswered, self.slowest, self.done = [], 0.0, 0
        self.stopping = threading.Event()
        self.url, self.timeout = url, timeout
        self.threads = [
            threading.Thread(target=self.run, args=(kind, request), daemon=True)
            for kind, request in requests.items()
            for _ in range(threads)
        ]
        for thread in self.threads:
            thread.start()

    def run(self, kind, request):
        number = 0
        with httpx.Client(base_url=self.url, trust_env=False, timeout=self.timeout) as client:
            while not self.stopping.is_set():
                number += 1
                began = time.monotonic()
                try:
                    self.statuses[kind][request(client, number).status_code] += 1
                except httpx.TransportError as error:
                    self.unanswered.append(f"{kind}: {error!r}")
                self.slowest = max(self.slowest, time.monotonic() - began)
                self.done += 1

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join(60)
            assert not thread.is_alive(), "a request is never answered"
        return {kind: dict(counts) for kind, counts in self.statuses.items()}
