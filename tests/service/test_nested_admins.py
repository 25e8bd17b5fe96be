"""Active Directory: members of administrative groups are protected, however deep they are nested, whether or not the server marks them."""

import itertools
import time

from directories import wait_until
from test_whole_writes import domain, replace  # noqa: F401
from writing import PATCH, USER, change, group, ok, patch, report, scim, send, user


def test_samba_members_of_administrative_groups_are_protected(domain):  # noqa: F811
    samba, start = domain
    service = start()
    service.secrets.add(samba.admin_password)
    for name in ("boss1", "boss2", "joe"):
        ok(scim(service, "POST", "/Users", {"schemas": [USER], "userName": name, "name": {"formatted": name, "familyName": name}}), 201)
    for name in ("helpdesk", "plain"):
        ok(scim(service, "POST", "/Groups", {"displayName": name, "schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"]}), 201)
    boss1, boss2, joe = (f"CN={name},OU=people,{samba.suffix}" for name in ("boss1", "boss2", "joe"))
    helpdesk = f"CN=helpdesk,OU=groups,{samba.suffix}"
    ids = {name: user(service, name) for name in ("boss1", "boss2", "joe")}
    for admins, member in ((f"CN=Domain Admins,CN=Users,{samba.suffix}", boss1), (f"CN=Administrators,CN=Builtin,{samba.suffix}", helpdesk), (helpdesk, boss2)):
        samba.modify(f"dn: {admins}\nchangetype: modify\nadd: member\nmember: {member}\n")
    for one in (service, start(name="other")):
        for name in ("boss1", "boss2"):
            patch(one, f"/Users/{ids[name]}", replace("title", "x"), status=403)
            ok(scim(one, "DELETE", f"/Users/{ids[name]}"), 403)
        add = {"op": "add", "path": "members", "value": [{"value": ids["joe"]}]}
        patch(one, f"/Groups/{group(one, 'helpdesk')}", add, status=403)
        text = "".join(change(dn, "changetype: modify", "replace: title", "title: x", "-") for dn in (boss1, boss2, joe))
        done = report(send(one, text))
        assert [reject["code"] for reject in done["rejects"]] == ["protected", "protected"] and done["rejected"] == 2, done
        patch(one, f"/Groups/{group(one, 'plain')}", add)
        patch(one, f"/Users/{ids['joe']}", replace("title", "y"))


def test_samba_groups_that_become_administrative_are_known_to_a_running_service(domain):  # noqa: F811
    samba, start = domain
    service = start()
    service.secrets.add(samba.admin_password)
    body = {"schemas": [USER], "userName": "joe", "name": {"formatted": "joe", "familyName": "joe"}}
    joe = ok(scim(service, "POST", "/Users", body), 201).json()["id"]
    of_group = {"displayName": "boss", "schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"], "members": [{"value": joe}]}
    ok(scim(service, "POST", "/Groups", of_group), 201)
    patch(service, f"/Users/{joe}", replace("title", "a"))
    samba.modify(f"dn: CN=boss,OU=groups,{samba.suffix}\nchangetype: modify\nadd: adminCount\nadminCount: 1\n")
    titles = itertools.count()

    def is_protected():
        body = {"schemas": [PATCH], "Operations": [replace("title", f"t{next(titles)}")]}
        return scim(service, "PATCH", f"/Users/{joe}", body).status_code == 403

    # They are looked up again after 10 seconds.
    wait_until(is_protected, seconds=30, what="the protection")
    samba.modify(f"dn: CN=boss,OU=groups,{samba.suffix}\nchangetype: modrdn\nnewrdn: CN=chiefs\ndeleteoldrdn: 1\n")
    time.sleep(11)
    assert is_protected() and is_protected()
