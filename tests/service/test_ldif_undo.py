"""LDIF imports: guards against many deletions, and undo of whole, killed and cut off imports."""

import subprocess
import threading
import time

import httpx
import people
import pytest
from directories import wait_until
from writing import TARGET_LDAP, FullDisk, change, content, numbers, person, report, send, undo, undo_path

# Guards


def test_more_deletions_than_the_guard_allows_delete_nothing(openldaps, writing, tmp_path):
    server = openldaps(more=people.crowd(20))
    service = writing(server, write={"max_deletes": 6})
    suffix = server.suffix

    def deletions(first, count):
        return "".join(change(f"uid=user{n},ou=people,{suffix}", "changetype: delete") for n in range(first, first + count))

    before = content(server)
    answer = send(service, person(1, suffix) + deletions(0, 7))
    assert (answer.status_code, answer.json()["code"]) == (403, "max_deletes")
    assert content(server) == before
    assert report(send(service, deletions(0, 4)))["deleted"] == 4
    answer = send(service, deletions(4, 3))
    assert (answer.status_code, answer.json()["code"]) == (429, "max_deletes")
    assert 3000 < int(answer.headers["retry-after"]) <= 3600
    # Those that were counted and not made do not count: they are gone already.
    assert report(send(service, deletions(0, 2)))["unchanged"] == 2
    # A restart does not reset it.
    assert service.end() == 0
    service.start()
    assert send(service, deletions(4, 3)).status_code == 429
    assert report(send(service, deletions(4, 2)))["deleted"] == 2
    assert send(service, deletions(6, 1)).status_code == 429
    # After an hour it is free again.
    state = tmp_path / "undo" / "max_deletes.state"
    first, *lines = state.read_text().splitlines()
    service.end()
    state.write_text("".join(f"{line}\n" for line in (first, *(f"{int(line.split()[0]) - 3600} {line.split()[1]}" for line in lines))))
    service.start()
    assert report(send(service, deletions(6, 6)))["deleted"] == 6


def test_a_clock_that_was_set_back_holds_deletions_for_an_hour(openldap, writing, tmp_path):
    """Not for the years until its time comes again."""
    service = writing(openldap, write={"max_deletes": 1})
    state = tmp_path / "undo" / "max_deletes.state"
    state.write_text("4000000000 1\n")
    text = change(people.COLON.dn(openldap.suffix), "changetype: delete")
    answer = send(service, text)
    assert answer.status_code == 429 and 3590 < int(answer.headers["retry-after"]) <= 3600
    first, at, count = state.read_text().replace("\n", " ").rsplit(maxsplit=2)
    assert first == "0 1" and int(at) <= time.time() and count == "1"
    state.write_text(f"{int(at) - 3600} 1\n")
    assert report(send(service, text))["deleted"] == 1


@pytest.mark.parametrize("damage", ["emptied", "cut", "removed"])
def test_deletions_count_though_their_file_is_damaged(openldap, writing, tmp_path, damage):
    service = writing(openldap, write={"max_deletes": 2})
    state = tmp_path / "undo" / "max_deletes.state"
    for one in (people.COLON, people.EVE):
        assert report(send(service, change(one.dn(openldap.suffix), "changetype: delete")))["deleted"] == 1
    before = content(openldap)
    whole = state.read_text()
    texts = {"emptied": "", "cut": "".join(whole.splitlines(keepends=True)[:-1])}
    if damage == "removed":
        state.unlink()
    else:
        state.write_text(texts[damage])
    text = change(people.BOB.dn(openldap.suffix), "changetype: delete")
    assert send(service, text).status_code == (507 if damage == "cut" else 429)
    assert content(openldap) == before
    if damage != "removed":
        service.end()
        state.write_text(texts[damage])
        service.start()
        assert send(service, text).status_code == (507 if damage == "cut" else 429)
        assert content(openldap) == before


def test_deletions_at_once_do_not_pass_the_guard(openldaps, writing):
    server = openldaps(more=people.crowd(40))
    one, two = writing(server, name="one", write={"max_deletes": 10}), writing(server, name="two", write={"max_deletes": 10})
    before = content(server)
    statuses = []

    def delete(service, n):
        statuses.append(send(service, change(f"uid=user{n},ou=people,{server.suffix}", "changetype: delete")).status_code)

    threads = [threading.Thread(target=delete, args=((one, two)[n % 2], n)) for n in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Some imports may be turned away for their number (503).
    assert statuses.count(200) <= 10 and set(statuses) <= {200, 429, 503}, statuses
    assert len(before) - len(content(server)) == statuses.count(200)


def test_without_the_setting_nothing_is_written(services, openldap):
    service = services(openldap, write=None)
    before = content(openldap)
    for dry_run in (False, True):
        answer = send(service, person(1, openldap.suffix), dry_run=dry_run)
        assert (answer.status_code, answer.json()["code"]) == (403, "writes_disabled")
    assert content(openldap) == before


# Undo


def test_an_import_is_undone(directory, writing):
    service = writing(directory)
    suffix = directory.suffix
    group = people.group_dn("engineering", suffix)
    text = (
        "".join(person(n, suffix) for n in range(50))
        + change(people.COLON.dn(suffix), "changetype: delete")
        + change(people.EVE.dn(suffix), "changetype: modrdn", "newrdn: uid=evelyn", "deleteoldrdn: 1")
        + change(group, "changetype: modify", "add: member", f"member: {people.ADA.dn(suffix)}", "-")
    )
    before = content(directory)
    result = report(send(service, text))
    assert numbers(result) == {"added": 50, "modified": 1, "renamed": 1, "deleted": 1, "unchanged": 0, "rejected": 0}
    file = undo_path(service, result)
    assert file.stat().st_mode & 0o777 == 0o600
    assert not list(file.parent.glob("*.journal")) and not list(file.parent.glob("*.lock"))
    undo(directory, file, service.folder)
    assert content(directory) == before


def test_a_killed_import_is_undone(openldap, writing, tmp_path):
    service = writing(openldap)
    suffix = openldap.suffix
    before = content(openldap)
    text = "".join(person(n, suffix) for n in range(6000))
    failed = []

    def run_it():
        try:
            send(service, text)
        except httpx.TransportError as error:
            failed.append(error)

    sender = threading.Thread(target=run_it)
    sender.start()
    wait_until(lambda: len(content(openldap, f"ou=people,{suffix}")) > 200, what="some of the import")
    service.process.kill()
    service.process.wait()
    sender.join()
    assert failed
    written = len(content(openldap)) - len(before)
    assert 0 < written < 6000
    assert list((tmp_path / "undo").rglob("*.journal"))
    service.start()
    # The first write makes an undo file of what the killed process left.
    result = report(send(service, person("after", suffix)))
    killed = list((tmp_path / "undo").rglob("*.killed"))
    assert len(killed) == 1 and not list((tmp_path / "undo").rglob("*.journal"))
    undo(openldap, undo_path(service, result), tmp_path)
    undo(openldap, killed[0], tmp_path)
    assert content(openldap) == before


def test_an_undo_that_is_killed_is_continued(openldap, writing, tmp_path):
    service = writing(openldap)
    suffix = openldap.suffix
    before = content(openldap)
    entries = len(content(openldap, f"ou=people,{suffix}"))
    text = "".join(person(n, suffix) for n in range(1500)) + change(people.COLON.dn(suffix), "changetype: delete")
    file = undo_path(service, report(send(service, text)))
    undo(openldap, file, tmp_path, "--dry-run")
    command = [TARGET_LDAP, "undo", file, "--config", tmp_path / "target.json"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(lambda: len(content(openldap, f"ou=people,{suffix}")) < entries + 1200, what="some of the undo")
    process.kill()
    assert process.wait() != 0
    assert content(openldap) != before
    undo(openldap, file, tmp_path)
    assert content(openldap) == before


def test_a_full_disk_for_undo_lets_nothing_be_written(openldap, writing, tmp_path):
    suffix = openldap.suffix
    with FullDisk(tmp_path / "small") as disk:
        service = writing(openldap, undo_dir=disk.folder)
        before = content(openldap)
        disk.fill()
        answer = send(service, person(1, suffix))
        assert (answer.status_code, answer.json()["code"]) == (507, "undo_unavailable"), answer.text
        assert content(openldap) == before
        # Room for a part: what has no journal is not written, and what is written can be undone.
        disk.free()
        answer = send(service, "".join(person(n, suffix) for n in range(400)))
        assert (answer.status_code, answer.json()["code"]) == (507, "undo_unavailable"), answer.text
        result = answer.json()["report"]
        written = len(content(openldap)) - len(before)
        assert not result["complete"] and 0 < written < 400 and result["added"] == written, result
        undo(openldap, disk.folder / result["undo_file"], tmp_path)
        assert content(openldap) == before
        assert service.end() == 0
        service.start()


def test_two_imports_at_once_do_not_disturb_each_other(openldap, writing, tmp_path):
    service = writing(openldap)
    suffix = openldap.suffix
    before = content(openldap)
    # Both about the same entries, with different values.
    texts = ["".join(person(n, suffix, title=title) for n in range(300)) for title in ("first", "second")]
    results = []
    senders = [threading.Thread(target=lambda t=text: results.append(report(send(service, t)))) for text in texts]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    assert len(results) == 2 and all(r["complete"] and r["rejected"] == 0 for r in results), results
    assert sum(r["added"] for r in results) == 300
    assert len({r["undo_file"] for r in results}) == 2
    titles = {values["title"][0] for values in content(openldap, f"ou=people,{suffix}").values() if "title" in values}
    assert titles <= {b"first", b"second"}
    # Both files are whole: together they take everything back, whatever the order of the writes was.
    for _ in range(2):
        for result in results:
            undo(openldap, undo_path(service, result), tmp_path, code=None)
    assert content(openldap) == before


def test_two_services_share_a_folder(openldap, writing, tmp_path):
    one, two = writing(openldap, name="one"), writing(openldap, name="two")
    before = content(openldap)
    results = []
    texts = [(s, "".join(person(f"{s.folder.name}{n}", openldap.suffix) for n in range(200))) for s in (one, two)]
    senders = [threading.Thread(target=lambda s=s, t=t: results.append(report(send(s, t)))) for s, t in texts]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    assert [r["added"] for r in results] == [200, 200]
    for result in results:
        undo(openldap, tmp_path / "undo" / result["undo_file"], tmp_path)
    assert content(openldap) == before
