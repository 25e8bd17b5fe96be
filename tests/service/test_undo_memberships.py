"""The undo of a deletion gives names back that the server took out of groups with the entry."""

import people
from directories import wait_until
from test_memberships import add_group, members
from writing import dn, new, ok, scim, undo, user

NOBODY = f"cn=nobody,ou=groups,{people.SUFFIX}"
REFINT = f"overlay refint\nrefint_attributes member uniqueMember manager\nrefint_nothing {NOBODY}\n"


def test_an_undo_of_a_deletion_gives_memberships_back_that_refint_took(openldaps, writing, tmp_path):
    directory = openldaps(overlays=REFINT)
    service = writing(directory)
    new(service, "vera"), new(service, "dora")
    vera, dora = dn(directory, "vera"), dn(directory, "dora")
    add_group(directory, "chiefs", vera, dora)
    directory.modify(f"dn: {vera}\nchangetype: modify\nadd: manager\nmanager: {dora}\n")
    done = ok(scim(service, "DELETE", f"/Users/{user(service, 'dora')}"), 204)
    wait_until(lambda: members(directory, "chiefs") == {vera}, seconds=20, what="the server's removal of the name")
    for _ in range(2):
        undo(directory, tmp_path / "undo" / done.headers["undo-file"], tmp_path)
        assert members(directory, "chiefs") == {vera, dora}
        assert dora.encode() in directory.values(vera, "manager")["manager"]
