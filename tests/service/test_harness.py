"""The harness itself: what the directories hold, so that a test of the service that finds nobody is the service's fault."""

import people
import pytest


@pytest.mark.parametrize("person", people.PEOPLE, ids=lambda p: p.uid)
def test_everybody_can_bind_to_openldap(shared_openldap, person):
    assert shared_openldap.whoami(person.dn(), person.password) == 0


def test_openldap_counts_failures_and_locks(openldap):
    for _ in range(5):
        assert openldap.whoami(people.EVE.dn(), "wrong") == 49
    assert openldap.whoami(people.EVE.dn(), people.EVE.password) == 49
    assert openldap.values(people.EVE.dn(), "pwdAccountLockedTime")
    openldap.kill()
    assert openldap.whoami(people.ADA.dn(), people.ADA.password) == 255
    openldap.start_again()
    assert openldap.whoami(people.ADA.dn(), people.ADA.password) == 0


def test_ds389_has_the_same_people(ds389):
    for person in people.PEOPLE:
        assert ds389.whoami(person.dn(ds389.suffix), person.password) == 0
    found = ds389.values(people.group_dn("engineering", ds389.suffix), "member")
    assert len(found["member"]) == len(people.HARD)


def test_samba_answers(samba):
    assert samba.values(samba.suffix, "objectSid")
