"""Names of people, and writes of one entry at once: login names that are others', RDNs of several values, two services, deletions."""

import base64
import threading

import people
import pytest
from people import entry
from test_memberships import dn
from writing import change, new, numbers, ok, patch, report, scim, send, undo, user


def replace(path, value):
    return {"op": "replace", "path": path, "value": value}


def at_once(*works):
    """Runs works at the same moment; returns what each returned."""
    barrier, results = threading.Barrier(len(works)), [None] * len(works)

    def run(n):
        barrier.wait()
        results[n] = works[n]()

    threads = [threading.Thread(target=run, args=(n,)) for n in range(len(works))]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    return results


# Deletions with what is below


def test_a_deletion_of_a_user_with_entries_below(directory, writing, tmp_path):
    service = writing(directory, write={"mapping_rules": {"users": {"on_delete": "tree"}}})
    ada = dn(directory, "ada")
    below = [f"cn=phone,{ada}", f"cn=sim,cn=phone,{ada}", f"cn=car,{ada}"]
    for name in below:
        directory.add(entry(name, objectClass="device", cn=people.cn_of(name)))
    path = f"/Users/{user(service, 'ada')}"
    tag = ok(scim(service, "GET", path)).headers["etag"]
    patch(service, path, replace("title", "x"))
    # The version is the user's: nothing is deleted for another one.
    ok(scim(service, "DELETE", path, headers={"If-Match": tag}), 412)
    assert values(directory, below[1], "cn") == {"cn": ["sim"]}
    tag = ok(scim(service, "GET", path)).headers["etag"]
    answer = ok(scim(service, "DELETE", path, headers={"If-Match": tag}), 204)
    ok(scim(service, "GET", path), 404)
    undo(directory, tmp_path / "undo" / answer.headers["undo-file"], tmp_path, code=None)
    assert values(directory, below[1], "cn") == {"cn": ["sim"]}
