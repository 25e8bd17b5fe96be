"""Another client renames an entry, or puts another person in its place, while a request is at work: a 204 is a deletion, and nobody gets a
password that was not meant for them."""

import people
from wire import SEARCH
from writing import content, dn, patch, scim, user

PASSWORD = "Pw-of-the-first-8Kd"
PASSWORD_MODIFY = b"1.3.6.1.4.1.4203.1.11.1"
PATCH_OPERATION = {"op": "replace", "path": "password", "value": PASSWORD}


def add(directory, name, **more):
    directory.add(people.entry(dn(directory, name), objectClass="inetOrgPerson", uid=name, cn=name, sn=name, **more))


# More searches than any request here has.
MOST = 100


class Ahead:
    """Does something once, when the n-th request with a tag, or with some octets, arrives: `action()`; what it returns is the answer."""

    def __init__(self, kind, number, action=None):
        self.kind, self.number, self.action, self.count = kind, number, action, 0

    def __call__(self, tag, message):
        if tag != self.kind if isinstance(self.kind, int) else self.kind not in message:
            return None
        self.count += 1
        return self.action() if self.count == self.number else None

    def is_done(self):
        """Whether the n-th one came: otherwise nothing has happened."""
        return self.count >= self.number


def each(kind):
    """One `Ahead` after another, whose action is still to be set: for the first request of a kind, the second, and so on, until one does
    not come any more. So the action has happened before each request, and the last round is one without it."""
    for number in range(1, MOST):
        ahead = Ahead(kind, number)
        yield ahead
        if not ahead.is_done():
            assert number > 5, f"{number - 1} requests: nothing to be in between"
            return
    raise AssertionError(f"{MOST} requests, and no end")


def rename(directory, name, to):
    directory.modify(f"dn: {dn(directory, name)}\nchangetype: modrdn\nnewrdn: uid={to}\ndeleteoldrdn: 1\n")


def test_a_user_who_is_renamed_meanwhile_is_deleted_or_the_answer_says_so(openldap, writing, relay):
    service = writing(openldap, server_url=relay.url, write={"max_deletes": 1000})
    answers = []
    for ahead in each(SEARCH):
        name = f"ren{ahead.number}"
        add(openldap, name)
        identifier = user(service, name)
        renamed = []

        def action(name=name, renamed=renamed):
            if dn(openldap, name) in content(openldap):
                rename(openldap, name, f"z{name}")
                renamed.append(name)

        ahead.action = action
        relay.ahead = ahead
        answer = scim(service, "DELETE", f"/Users/{identifier}")
        relay.ahead = None
        there = [n for n in (name, f"z{name}") if dn(openldap, n) in content(openldap)]
        answers.append((answer.status_code, bool(renamed)))
        assert (answer.status_code == 204) == (there == []), (answer.text, there, answers)
        assert answer.status_code != 204 or answer.headers.get("Undo-File"), answers
    # It is found at its new DN, or is not as it was read; once it is deleted, nobody can rename it.
    assert answers.count((204, True)) > 3 and answers.count((412, True)) > 3, answers
    assert answers[-1] == (204, False), answers


def test_a_user_whom_one_search_does_not_show_is_deleted_or_the_answer_says_so(openldap, writing, relay):
    service = writing(openldap, server_url=relay.url, write={"max_deletes": 1000})
    answers = []
    for ahead in each(SEARCH):
        name = f"hid{ahead.number}"
        add(openldap, name)
        identifier = user(service, name)
        ahead.action = lambda: 32
        relay.ahead = ahead
        answer = scim(service, "DELETE", f"/Users/{identifier}")
        relay.ahead = None
        is_there = dn(openldap, name) in content(openldap)
        answers.append((answer.status_code, ahead.is_done()))
        assert (answer.status_code == 204) != is_there, (answer.text, answers)
    assert answers.count((204, True)) > 3 and answers[-1] == (204, False), answers


def swap(directory, name):
    directory.modify(f"dn: {dn(directory, name)}\nchangetype: delete\n")
    add(directory, name)


def test_a_password_is_set_on_nobody_else(openldap, writing, relay):
    service = writing(openldap, server_url=relay.url)
    service.secrets.add(PASSWORD)
    answers = []
    for ahead in each(SEARCH):
        name = f"swp{ahead.number}"
        add(openldap, name)
        identifier = user(service, name)
        before = []

        def swapped(name=name, before=before):
            before.append(openldap.whoami(dn(openldap, name), PASSWORD) == 0)
            swap(openldap, name)

        ahead.action = swapped
        relay.ahead = ahead
        answer = scim(service, "PATCH", f"/Users/{identifier}",
                      {"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": [PATCH_OPERATION]})
        relay.ahead = None
        is_set = openldap.whoami(dn(openldap, name), PASSWORD) == 0
        is_swapped = ahead.is_done()
        # With `True`: the password was set on the right one, who was gone then.
        answers.append((answer.status_code, before))
        assert is_set != is_swapped, (answer.text, answers)
        assert answer.status_code in (404, 409, 412, 500) or not is_swapped or before == [True], (answer.text, answers)
    assert sum(before == [False] for _, before in answers) > 3 and sum(before == [True] for _, before in answers) > 1, answers
    assert answers[-1] == (200, []), answers


def test_a_password_that_another_entry_may_have_got_is_an_error_that_names_it(openldap, writing, relay):
    service = writing(openldap, server_url=relay.url)
    service.secrets.add(PASSWORD)
    add(openldap, "late")
    identifier, late = user(service, "late"), dn(openldap, "late")
    relay.ahead = Ahead(PASSWORD_MODIFY, 1, lambda: swap(openldap, "late"))
    answer = patch(service, f"/Users/{identifier}", PATCH_OPERATION, status=500)
    relay.ahead = None
    assert openldap.whoami(late, PASSWORD) == 0
    assert late in answer.json()["detail"].lower()
    assert late in [line.get("dn", "").lower() for line in service.log(level="error")]
