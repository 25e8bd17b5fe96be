"""A service that is killed while it corrects groups: its next start says what is half done, and the file undoes all of it."""

import json
import threading

import httpx
import pytest
from directories import wait_until
from test_memberships import add_group, dn
from wire import Wire
from writing import content, new, patch, scim, undo


def kill_in_the_middle(service, work, is_done):
    """Kills the service once `is_done()`, while a request is at work."""
    def run():
        try:
            work()
        except httpx.TransportError:
            pass

    thread = threading.Thread(target=run)
    thread.start()
    wait_until(is_done, what="the first changes")
    service.process.kill()
    service.process.wait()
    thread.join(30)


def prepare_many(directory, service, count=150):
    identifier = new(service, "vera").json()["id"]
    for n in range(count):
        add_group(directory, f"many{n}", dn(directory, "vera"), dn(directory, "ada"))
    return identifier


@pytest.mark.parametrize("how", ["rename", "delete"])
def test_a_killed_service_says_at_its_next_start_what_is_half_done(openldap, writing, tmp_path, how):
    relay = Wire(openldap.url)
    service = writing(openldap, server_url=relay.url)
    identifier = prepare_many(openldap, service)
    # Long enough that the kill comes in the middle.
    relay.delay = 0.02
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
    kill_in_the_middle(service, work, lambda: left() < 150)
    relay.delay = 0
    groups = left()
    assert 0 < groups < 150, "the kill was too early or too late"
    service.start()
    (killed,) = wait_until(lambda: list((tmp_path / "undo").rglob("*.killed")), what="the file")
    (line,) = wait_until(lambda: [r for r in service.log(level="error") if str(killed) in json.dumps(r)], what="the error")
    assert (line["groups"], line["dn"].lower()) == (groups, old), line
    undo(openldap, killed, tmp_path, "--another-server")
    assert content(openldap) == before and left() == 150
    relay.stop()
