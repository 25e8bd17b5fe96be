"""A service that is killed while it corrects groups: its next start says what is half done, and the file undoes all of it."""

import json
import threading

import pytest
from directories import wait_until
from test_memberships import add_group
from wire import MODIFY
from writing import content, dn, kill_while, new, patch, scim, undo


def prepare_many(directory, service, count=150):
    identifier = new(service, "vera").json()["id"]
    for n in range(count):
        add_group(directory, f"many{n}", dn(directory, "vera"), dn(directory, "ada"))
    return identifier


class From:
    """Holds the modifications of groups, from the n-th on, until the service is killed; they do not get to the directory."""

    def __init__(self, number):
        self.number, self.count, self.lock = number, 0, threading.Lock()
        self.reached, self.killed = threading.Event(), threading.Event()

    def __call__(self, tag, message):
        if tag != MODIFY or b"cn=many" not in message:
            return None
        with self.lock:
            self.count += 1
            if self.count < self.number:
                return None
        self.reached.set()
        self.killed.wait(60)
        return False


@pytest.mark.parametrize("number", [2, 30], ids=["one-change", "many-changes"])
@pytest.mark.parametrize("how", ["rename", "delete"])
def test_a_killed_service_says_at_its_next_start_what_is_half_done(openldap, relay, writing, tmp_path, how, number):
    service = writing(openldap, server_url=relay.url)
    identifier = prepare_many(openldap, service)
    before = content(openldap)
    old = dn(openldap, "vera")

    def work():
        if how == "rename":
            patch(service, f"/Users/{identifier}", {"op": "replace", "path": "userName", "value": "vera2"})
        else:
            scim(service, "DELETE", f"/Users/{identifier}")

    def left():
        groups = [there for dn, there in content(openldap).items() if dn.startswith("cn=many")]
        return sum(any(value.strip().lower() == old.encode() for value in there["member"]) for there in groups)

    assert left() == 150
    ahead = relay.ahead = From(number)
    kill_while(service, work, lambda: ahead.reached.is_set() and left() < 150, what="the first changes")
    relay.ahead = None
    ahead.killed.set()
    groups = left()
    assert groups == 151 - number
    service.start()
    (killed,) = wait_until(lambda: list((tmp_path / "undo").rglob("*.killed")), what="the file")
    (line,) = wait_until(lambda: [r for r in service.log(level="error") if str(killed) in json.dumps(r)], what="the error")
    assert (line["groups"], line["dn"].lower()) == (groups, old), line
    undo(openldap, killed, tmp_path, "--another-server")
    assert content(openldap) == before and left() == 150
