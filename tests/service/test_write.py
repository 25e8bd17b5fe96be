"""What every write does, by way of SCIM: rules, guards, undo files, one write at a time, answers that get lost."""

import threading

import httpx
import people
import pytest
from directories import wait_until
from service import bearer
from writing import GROUP, MEDIA, PATCH, USER, FullDisk, content, group, new, ok, patch, scim, undo, undo_files, user

# Undo


def test_every_change_names_its_undo_file_and_is_undone_by_it(directory, writing, tmp_path):
    # 389 sets passwords over TLS alone.
    tls = {"server_url": directory.tls_url, "tls_ca_file": directory.ca} if hasattr(directory, "ca") else {}
    service = writing(directory, **tls)
    service.secrets.add("Pw-grace-7Qz!")
    member = user(service, "ada")
    steps = [
        lambda: new(service, "grace", emails=[{"value": "g@example.test", "type": "work"}], password="Pw-grace-7Qz!"),
        lambda: patch(service, f"/Users/{user(service, 'grace')}", {"op": "replace", "path": "displayName", "value": "Grace"}),
        lambda: patch(service, f"/Users/{user(service, 'grace')}", {"op": "replace", "path": "userName", "value": "hopper"}),
        lambda: patch(service, f"/Groups/{group(service, 'engineering')}", {"op": "add", "path": "members", "value": [{"value": member}]}),
        lambda: patch(service, f"/Groups/{group(service, 'engineering')}", {"op": "remove", "path": f'members[value eq "{member}"]'}),
        lambda: ok(scim(service, "POST", "/Groups", {"schemas": [GROUP], "displayName": "new"}), 201),
        lambda: ok(scim(service, "DELETE", f"/Users/{user(service, 'eve')}"), 204),
    ]
    states, files = [content(directory)], []
    for step in steps:
        named = step().headers.get_list("undo-file")
        assert len(named) == 1 and (tmp_path / "undo" / named[0]).stat().st_mode & 0o777 == 0o600
        files.append(tmp_path / "undo" / named[0])
        states.append(content(directory))
        assert states[-1] != states[-2]
    assert undo_files(service) == sorted(files)
    # What changes nothing has none.
    same = patch(service, f"/Users/{user(service, 'hopper')}", {"op": "replace", "path": "displayName", "value": "Grace"})
    assert "undo-file" not in same.headers and len(undo_files(service)) == len(files)
    for file, before in zip(reversed(files), reversed(states[:-1]), strict=True):
        assert "Pw-grace" not in file.read_text()
        # The plain address is the same server.
        undo(directory, file, tmp_path, *(["--another-server"] if tls else []))
        assert content(directory) == before, file


def test_a_refused_write_leaves_no_undo_file(openldap, writing):
    service = writing(openldap)
    new(service, "ada", status=409)
    new(service, "x", status=400, emails=[{"value": "not ä valid\x00"}])
    assert undo_files(service) == []


def test_a_full_disk_for_undo_lets_nothing_be_written(openldap, writing, tmp_path):
    with FullDisk(tmp_path / "small") as disk:
        service = writing(openldap, undo_dir=disk.folder)
        before, ada, staff = content(openldap), user(service, "ada"), group(service, "not-admins")
        disk.fill()
        assert str(disk.folder) not in new(service, "grace", status=507).text
        ok(scim(service, "DELETE", f"/Users/{ada}"), 507)
        patch(service, f"/Users/{ada}", {"op": "replace", "path": "displayName", "value": "x"}, status=507)
        patch(service, f"/Groups/{staff}", {"op": "add", "path": "members", "value": [{"value": ada}]}, status=507)
        assert content(openldap) == before
        disk.free()
        new(service, "grace")


# Guards and rules


def test_deletions_beyond_the_guard_wait_an_hour(openldap, writing):
    service = writing(openldap, write={"max_deletes": 2})
    for name, status in [("bob", 204), ("jane", 204), ("eve", 429)]:
        answer = ok(scim(service, "DELETE", f"/Users/{user(service, name)}"), status)
    assert 3000 < int(answer.headers["retry-after"]) <= 3600
    assert people.EVE.dn().lower() in content(openldap)


def test_a_rule_says_what_a_deletion_does(openldap, writing):
    users = {"base_dn": f"ou=people,{openldap.suffix}", "filter": "(&(objectClass=person)(!(employeeType=gone)))"}
    service = writing(openldap, users=users, write={"mapping_rules": {"users": {"on_delete": {"set": {"employeeType": "gone"}}}}})
    ok(scim(service, "DELETE", f"/Users/{user(service, 'eve')}"), 204)
    assert openldap.values(people.EVE.dn(), "employeeType") == {"employeeType": [b"gone"]}
    service = writing(openldap, name="other", write={"mapping_rules": {"users": {"on_delete": "ignore"}}})
    ok(scim(service, "DELETE", f"/Users/{user(service, 'ada')}"), 403)


def test_what_the_settings_protect_is_changed_by_no_route(openldap, writing):
    protect = {"protect": {"filter": "(uid=EVE)", "dns": people.BOB.dn()}, "write_base": f"ou=people,{openldap.suffix}"}
    before = content(openldap)
    service = writing(openldap, write=protect)
    for name in ("eve", "bob"):
        answer = patch(service, f"/Users/{user(service, name)}", {"op": "replace", "path": "displayName", "value": "x"}, status=403)
        assert "uid=EVE" not in answer.text and "write.protect" in answer.text
        ok(scim(service, "DELETE", f"/Users/{user(service, name)}"), 403)
    # Groups are outside, also where one has to follow a user.
    ok(scim(service, "POST", "/Groups", {"schemas": [GROUP], "displayName": "new"}), 403)
    ada = user(service, "ada")
    patch(service, f"/Groups/{group(service, 'not-admins')}", {"op": "add", "path": "members", "value": [{"value": ada}]}, status=403)
    assert content(openldap) == before and undo_files(service) == []
    patch(service, f"/Users/{ada}", {"op": "replace", "path": "displayName", "value": "x"})
    assert content(openldap) != before


def test_a_setting_of_protection_that_is_wrong_ends_the_service_at_its_start(services, openldap, tmp_path):
    for write, setting in (({"protect": {"filters": "(uid=eve)"}}, "write.protect"), ({"write_base": []}, "write.write_base")):
        with pytest.raises(AssertionError, match=setting):
            services(openldap, write={"undo_dir": str(tmp_path / "undo"), **write})


def test_a_rule_that_is_wrong_ends_the_service_at_its_start(services, openldap, tmp_path):
    with pytest.raises(AssertionError, match="write.mapping_rules.users.on_delte"):
        services(openldap, write={"mapping_rules": {"users": {"on_delte": "delete"}}, "undo_dir": str(tmp_path / "u")})
    # It has ended with code 2: nothing is left to stop.


def test_a_password_that_the_server_refuses_leaves_no_half_made_entry(openldaps, writing, tmp_path):
    strict = {"pwdCheckQuality": "2", "pwdMinLength": "12"}
    server = openldaps(policies={"default": strict})
    service = writing(server)
    service.secrets.add("short-1")
    before = content(server)
    answer = new(service, "grace", status=400, password="short-1")
    assert answer.json()["scimType"] == "invalidValue" and "short-1" not in answer.text
    assert content(server) == before
    new(service, "grace", password="Long-enough-password-1")
    service.secrets.add("Long-enough-password-1")
    assert server.whoami(f"uid=grace,ou=people,{server.suffix}", "Long-enough-password-1") == 0


# At once


def at_once(calls):
    results = [None] * len(calls)

    def run(n, call):
        results[n] = call()

    threads = [threading.Thread(target=run, args=(n, call)) for n, call in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_one_of_many_makes_an_entry(directory, writing):
    service = writing(directory)
    answers = at_once([lambda: scim(service, "POST", "/Users", {"schemas": [USER], "userName": "same", "name": {"familyName": "s"}})] * 12)
    assert sorted(a.status_code for a in answers) == [201] + [409] * 11, [a.text for a in answers]
    assert {a.json()["scimType"] for a in answers if a.status_code == 409} == {"uniqueness"}


def test_members_that_are_added_at_once_are_all_there(directory, writing):
    service = writing(directory)
    path = f"/Groups/{group(service, 'not-admins')}"
    ids = [user(service, p.uid) for p in people.PEOPLE]
    answers = at_once([lambda i=i: patch(service, path, {"op": "add", "path": "members", "value": [{"value": i}]}) for i in ids])
    assert all(a.status_code == 200 for a in answers)
    members = ok(scim(service, "GET", path)).json()["members"]
    assert {m["value"] for m in members} == set(ids)
    answers = at_once([lambda i=i: patch(service, path, {"op": "remove", "path": f'members[value eq "{i}"]'}) for i in ids])
    assert ok(scim(service, "GET", path)).json().get("members", []) == []


# Answers that get lost


def test_a_change_whose_answer_is_lost_is_looked_up_and_not_sent_again(openldap, relay, writing):
    service = writing(openldap, server_url=relay.url)
    relay.lose(b"\x04\x05grace")
    made = scim(service, "POST", "/Users", {"schemas": [USER], "userName": "grace", "name": {"familyName": "unusual"}}, timeout=60)
    assert relay.lost is None and made.status_code == 201, made.text
    assert len([dn for dn in content(openldap) if "grace" in dn]) == 1
    assert "undo-file" in made.headers


def test_a_change_that_nothing_is_known_of_is_said_to_be_that(openldap, relay, writing, tmp_path):
    service = writing(openldap, server_url=relay.url)
    path = f"/Users/{user(service, 'eve')}"
    before = content(openldap)
    relay.lose(b"unusual-name", down=True)
    answer = scim(
        service, "PATCH", path, {"schemas": [PATCH], "Operations": [{"op": "replace", "path": "displayName", "value": "unusual-name"}]}, timeout=90
    )
    assert answer.status_code == 503, answer.text
    assert relay.seen == 1
    relay.down = False
    service.wait(seconds=60)
    # It was made once, and its journal knows how to undo it.
    assert openldap.values(people.EVE.dn(), "displayName") == {"displayName": [b"unusual-name"]}
    [file] = undo_files(service)
    config_url, openldap.url = openldap.url, service.config["server_url"]
    try:
        undo(openldap, file, tmp_path, "--another-server")
    finally:
        openldap.url = config_url
    assert content(openldap) == before


def test_an_import_counts_a_change_that_nothing_is_known_of(openldap, relay, writing):
    service = writing(openldap, server_url=relay.url)
    relay.lose(b"unusual-name", down=True)
    text = f"dn: {people.EVE.dn()}\nchangetype: modify\nreplace: displayName\ndisplayName: unusual-name\n-\n"
    answer = service.request("POST", "/api/v1/ldap/import", headers={"Content-Type": "text/ldif"}, content=text, timeout=90)
    body = answer.json()
    assert (answer.status_code, body["code"]) == (503, "outcome_unknown"), answer.text
    report = body["report"]
    assert (report["unknown"], report["modified"], report["complete"]) == (1, 0, False) and report["undo_file"], report
    relay.down = False


@pytest.mark.parametrize("arrives", [True, False], ids=["arrives", "never"])
@pytest.mark.parametrize("kind", ["delete", "modify", "rename"])
def test_a_change_whose_answer_is_late_keeps_its_undo_record(openldap, relay, writing, tmp_path, kind, arrives):
    """After the time limit the entry is as before, and the change may still arrive: that it is there proves nothing."""
    service = writing(openldap, server_url=relay.url)
    path, before = f"/Users/{user(service, 'eve')}", content(openldap)
    dn = people.EVE.dn().encode()
    relay.late = {"delete": b"\x4a" + bytes([len(dn)]) + dn, "modify": b"unusual-name", "rename": b"\x04\x0auid=evelyn\x01"}[kind]
    if kind == "delete":
        answer = scim(service, "DELETE", path, timeout=90)
    else:
        operation = {"path": "userName", "value": "evelyn"} if kind == "rename" else {"path": "displayName", "value": "unusual-name"}
        answer = scim(service, "PATCH", path, {"schemas": [PATCH], "Operations": [{"op": "replace", **operation}]}, timeout=90)
    assert answer.status_code == 503 and relay.seen == 1, answer.text
    held = content(openldap)
    # Groups that a deletion empties lose the name before the entry goes.
    units = ("people",) if kind == "delete" else ("people", "groups")
    of = lambda found: {dn: entry for dn, entry in found.items() if dn.endswith(tuple(f"ou={unit},{openldap.suffix}" for unit in units))}  # noqa: E731
    assert of(held) == of(before)
    # The caller's time limit may be over before the service has looked, and given up.
    wait_until(lambda: undo_files(service) and not list((tmp_path / "undo").rglob("*.journal")), what="the undo file")
    [file] = undo_files(service)
    if arrives:
        relay.released.set()
        wait_until(lambda: content(openldap) != held, what="the late change")
    config_url, openldap.url = openldap.url, service.config["server_url"]
    relay.late = None
    try:
        undo(openldap, file, tmp_path, "--another-server")
    finally:
        openldap.url = config_url
    assert content(openldap) == before


def test_a_caller_that_goes_away_does_not_interrupt_a_write(openldap, relay, writing, tmp_path):
    service = writing(openldap, server_url=relay.url)
    relay.delay = 0.3
    body = {"schemas": [USER], "userName": "grace", "name": {"familyName": "g"}}
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{service.url}/scim/v2/Users", json=body, headers={**bearer("all"), **MEDIA}, timeout=0.8, trust_env=False)
    dn = f"uid=grace,ou=people,{people.SUFFIX}"
    wait_until(lambda: undo_files(service), what="the undo file")
    wait_until(lambda: not list((tmp_path / "undo").rglob("*.journal")), what="the end of the journal")
    assert dn in content(openldap)
