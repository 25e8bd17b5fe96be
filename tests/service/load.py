"""Load on the service: threads that send requests until they are told to stop, and every outcome counted."""

import collections
import threading
import time

import httpx
import people
from service import bearer

WRONG = "Wr0ng-password-5Kd!"


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


def login(username, password):
    body = {"username": username, "password": password}
    return lambda client, _number: client.post("/api/v1/auth/login", json=body)


def search(client, number):
    person = people.PEOPLE[number % len(people.PEOPLE)]
    return client.post("/api/v1/ldap/users/search", json={"filter": f"(uid={person.uid})"}, headers=bearer("all"))


def scim(client, _number):
    return client.get("/scim/v2/Users?count=3", headers=bearer("all"))


EVERYTHING = {
    "right": login("ada", people.ADA.password), "wrong": login("bob", WRONG), "search": search, "scim": scim,
    "ready": lambda client, _: client.get("/health/ready"), "live": lambda client, _: client.get("/health/live"),
}
