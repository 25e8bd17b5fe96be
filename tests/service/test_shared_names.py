"""Names of people, and writes of one entry at once: login names that are others', RDNs of several values, two services, deletions."""

import base64
import threading

import directories
import people
import pytest
from people import entry
from test_memberships import add_group, members, same
from writing import change, dn, new, numbers, ok, patch, replace, report, scim, send, undo, user


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


# RDNs of several values


def values(directory, name, *attributes):
    return {a.lower(): sorted(v.decode() for v in found) for a, found in directory.values(name, *attributes).items()}



@pytest.mark.parametrize("second", ["Maximilian", None])
def test_a_rename_changes_one_value_of_an_rdn(directory, writing, tmp_path, second):
    base = f"ou=people,{directory.suffix}"
    names = ["Max M", second] if second else ["Max M"]
    directory.add(entry(f"cn=Max M+uid=max,{base}", objectClass="inetOrgPerson", uid="max", cn=names, sn="M", title="t"))
    service = writing(directory)
    path = f"/Users/{user(service, 'max')}"
    first = patch(service, path, replace("userName", "max2"))
    assert values(directory, f"cn=Max M+uid=max2,{base}", "cn", "uid") == {"cn": sorted(names), "uid": ["max2"]}
    patch(service, path, replace("name.formatted", "Max, N"))
    found = values(directory, f"cn=Max\\, N+uid=max2,{base}", "cn", "uid", "title")
    assert found == {"cn": ["Max, N"], "uid": ["max2"], "title": ["t"]}
    both = patch(service, path, replace("userName", "max3"), replace("name.formatted", "Max O"))
    assert values(directory, f"cn=Max O+uid=max3,{base}", "cn", "uid") == {"cn": ["Max O"], "uid": ["max3"]}
    undo(directory, tmp_path / "undo" / both.headers["undo-file"], tmp_path)
    assert values(directory, f"cn=Max\\, N+uid=max2,{base}", "uid") == {"uid": ["max2"]}
    assert first.json()["userName"] == "max2"


def test_a_value_of_an_rdn_that_no_scim_attribute_has_stays(openldap, writing):
    service = writing(openldap)
    path = f"/Users/{user(service, 'plus')}"
    patch(service, path, replace("name.formatted", "Plus Two"))
    found = values(openldap, f"cn=Plus Two+employeeNumber=17,ou=people,{openldap.suffix}", "cn", "employeeNumber", "uid")
    assert found == {"cn": ["Plus Two"], "employeenumber": ["17"], "uid": ["plus"]}


# Login names


def taken(answer, attribute, other):
    body = answer.json()
    assert (answer.status_code, body["scimType"]) == (409, "uniqueness"), answer.text
    assert body["detail"].startswith(f"{attribute}: ") and other.lower() in body["detail"].lower(), answer.text


def by_mail(directory):
    return {"base_dn": f"ou=people,{directory.suffix}", "login_attributes": ["uid", "mail"]}


def test_a_login_name_of_another_user_is_not_given(directory, writing):
    service = writing(directory, users=by_mail(directory))
    bob, ada = f"/Users/{user(service, 'bob')}", dn(directory, "ada")
    work = 'emails[type eq "work"].value'
    taken(patch(service, bob, replace(work, people.ADA.mail), status=409), "emails.value", ada)
    taken(patch(service, bob, replace(work, people.ADA.mail.upper()), status=409), "emails.value", ada)
    taken(patch(service, bob, replace(work, "ADA"), status=409), "emails.value", ada)
    taken(patch(service, bob, replace("userName", people.ADA.mail), status=409), "userName", ada)
    taken(new(service, people.ADA.mail, status=409), "userName", ada)
    taken(new(service, "vera", status=409, emails=[{"value": "ada", "type": "work"}]), "emails.value", ada)
    params = {"uid": "vera", "cn": "v", "sn": "v", "mail": "ada"}
    answer = service.request("POST", "/api/v1/plugin/execute", json={"operation": "create_user", "params": params})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (409, "taken") and ada in error["message"], answer.text
    for name in ("ada", people.ADA.mail):
        assert service.login(name, people.ADA.password).status_code == 200, name
    # One's own names, and those that nobody has.
    patch(service, bob, replace(work, "bob"))
    patch(service, bob, replace(work, people.BOB.mail), replace("title", "x"))
    new(service, "vera", emails=[{"value": "vera@example.com", "type": "work"}])
    # What is there already does not keep the entry from being changed.
    directory.modify(f"dn:: {base64.b64encode(people.BOB.dn(directory.suffix).encode()).decode()}\nchangetype: modify\nadd: mail\nmail: ada\n")
    patch(service, bob, replace("title", "y"))
    patch(service, bob, {"op": "add", "path": "emails", "value": [{"value": "b2@example.com", "type": "work"}]})


def rejects(done):
    return [(reject["code"], reject.get("attribute")) for reject in done["rejects"]]


def test_an_import_gives_no_login_name_of_another_user(directory, writing):
    service = writing(directory, users=by_mail(directory))
    base, ada, eve = f"ou=people,{directory.suffix}", dn(directory, "ada"), dn(directory, "eve")
    person = {"objectClass": "inetOrgPerson", "cn": "zz", "sn": "z"}
    for text in (
        change(eve, "changetype: modify", "add: uid", "uid: ada", "-"),
        change(eve, "changetype: modify", "replace: mail", f"mail: {people.ADA.mail}", "-"),
        entry(f"cn=zz,{base}", **person, uid="ada"),
        entry(f"cn=zz,{base}", **person, mail="ada").replace("\n", "\nchangetype: add\n", 1),
        entry(f"uid=ADA+cn=zz,{base}", **person, uid="ADA"),
        change(eve, "changetype: modrdn", "newrdn: uid=ada+cn=e", "deleteoldrdn: 1"),
    ):
        for dry_run in (True, False):
            done = report(send(service, text, dry_run=dry_run, accept="application/json"))
            assert (done["rejected"], rejects(done)[0][0]) == (1, "taken"), (text, done)
            assert rejects(done)[0][1] in ("uid", "mail") and done["rejects"][0]["entry"].lower() == ada.lower(), done
    assert service.login("ada", people.ADA.password).status_code == 200
    # The same name twice in one file: the first one has it.
    twins = "".join(entry(f"cn=t{n},{base}", **{**person, "cn": f"t{n}"}, mail="twin@example.com") for n in range(2))
    done = report(send(service, twins))
    assert (done["added"], rejects(done)) == (1, [("taken", "mail")]), done
    # A name that its owner loses is free, wherever in the file that stands.
    take = change(eve, "changetype: modify", "replace: mail", f"mail: {people.ADA.mail}", "-")
    give = change(ada, "changetype: modify", "replace: mail", "mail: other@example.com", "-")
    assert numbers(report(send(service, take + give)))["modified"] == 2
    # Who is no user logs in by no name.
    group = entry(f"cn=list,ou=groups,{directory.suffix}", objectClass=["groupOfNames", "extensibleObject"], cn="list", member=ada, mail="ada")
    device = entry(f"cn=phone,{base}", objectClass=["device", "extensibleObject"], cn="phone", mail="ada")
    assert numbers(report(send(service, group + device)))["added"] == 2


def test_two_services_do_not_give_one_login_name_twice(openldap, writing):
    services = [writing(openldap, name=f"service{n}", users=by_mail(openldap)) for n in range(2)]
    paths = [f"/Users/{user(services[0], name)}" for name in ("ada", "eve")]
    for turn in range(8):
        work = replace('emails[type eq "work"].value', f"same{turn}@example.com")

        def give(n, work=work):
            body = {"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": [work]}
            return scim(services[n], "PATCH", paths[n], body).status_code

        assert sorted(at_once(lambda: give(0), lambda: give(1))) == [200, 409], turn


# Writes of one entry at once


def test_two_services_do_not_enable_who_is_disabled_at_the_same_time(openldap, writing):
    services = [writing(openldap, name=f"service{n}", write={"max_deletes": 100}) for n in range(2)]
    new(services[0], "vera", password="Pw-vera-7Qz!")
    path = f"/Users/{user(services[0], 'vera')}"
    for turn in range(30):
        password = f"Pw-vera-{turn}-7Qz!"
        services[1].secrets.add(password)
        off, _ = at_once(
            lambda: patch(services[0], path, replace("active", False)),
            lambda password=password: patch(services[1], path, replace("password", password)),
        )
        assert off.json()["active"] is False, (turn, off.text)
        assert openldap.values(dn(openldap, "vera"), "pwdAccountLockedTime"), turn
        assert openldap.whoami(dn(openldap, "vera"), password) == 49, turn
        patch(services[0], path, replace("active", True))


def test_a_user_who_is_deleted_meanwhile_is_not_found(openldap, writing):
    service = writing(openldap, write={"max_deletes": 1000})
    for turn in range(25):
        path = f"/Users/{new(service, f'gone{turn}').json()['id']}"

        def change_it(n, path=path):
            body = {"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": [replace("title", f"t{n}")]}
            return scim(service, "PATCH", path, body)

        works = [lambda n=n: change_it(n) for n in range(4)]
        *answers, gone = at_once(*works, lambda path=path: scim(service, "DELETE", path))
        assert gone.status_code == 204, gone.text
        assert {answer.status_code for answer in answers} <= {200, 404}, (turn, [a.text for a in answers])


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


# Groups that a deletion empties


@pytest.mark.parametrize("dangling", ["error", "drop"])
def test_a_deletion_is_refused_before_it_if_a_group_cannot_be_emptied(openldaps, writing, monkeypatch, dangling):
    text = directories.OVERLAYS.replace("memberof-group-oc", f"memberof-dangling {dangling}\nmemberof-group-oc")
    monkeypatch.setattr(directories, "OVERLAYS", text)
    directory = openldaps()
    service = writing(directory)
    vera = dn(directory, "vera")
    new(service, "vera"), new(service, "dora")
    for n in range(4):
        add_group(directory, f"g{n}", vera, *([dn(directory, "dora")] if n % 2 else []))
    before = same(directory)
    path = f"/Users/{user(service, 'vera')}"
    answer = ok(scim(service, "DELETE", path), 409)
    assert "cn=g" in answer.json()["detail"] and "empty_group" in answer.json()["detail"], answer.text
    assert "undo-file" not in answer.headers and same(directory) == before
    for n in (0, 2):
        directory.modify(change(people.group_dn(f"g{n}", directory.suffix), "changetype: delete"))
    ok(scim(service, "DELETE", path), 204)
    assert [members(directory, f"g{n}") for n in (1, 3)] == [{dn(directory, "dora")}] * 2
