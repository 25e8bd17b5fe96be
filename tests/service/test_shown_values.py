"""SCIM filters mean what resources show: of an attribute with several values, or values under options, a search compares all of them."""

import people
import pytest
from people import entry
from writing import group, scim


def listed(service, filter, endpoint="Users", name="userName"):
    answer = scim(service, "GET", f"/{endpoint}", params={"filter": filter})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found["totalResults"] == len(found["Resources"]), found
    return {resource[name]: resource for resource in found["Resources"]}


@pytest.fixture
def service(directory, writing):
    suffix = directory.suffix
    directory.modify(f"dn: {people.ADA.dn(suffix)}\nchangetype: modify\nadd: title\ntitle: first\ntitle: second\n")
    directory.modify(f"dn: {people.BOB.dn(suffix)}\nchangetype: modify\nadd: title\ntitle: second\n")
    directory.add(entry(f"uid=mm,ou=people,{suffix}", objectClass="inetOrgPerson", uid=["mm2", "mm"], cn=["Mm", "Nn"], sn="M",
                        **{"title;lang-de": "erster", "mail;lang-de": "old@example.com", "mail": "mm@example.com"}))
    return writing(directory)


def test_a_filter_finds_who_is_shown_so_and_nobody_else(service):
    everybody = listed(service, 'userName pr')
    shown = {name: user.get("title") for name, user in everybody.items()}
    assert shown["ada"] in ("first", "second") and shown["bob"] == "second" and shown["mm"] is None
    tests = {
        "eq": lambda title, value: title == value, "co": lambda title, value: title is not None and value in title,
        "sw": lambda title, value: title is not None and title.startswith(value), "ew": lambda title, value: title is not None and title.endswith(value),
    }
    for value in ("first", "second", "erster", "s", "t", "nobody"):
        for operator, test in tests.items():
            expected = {name for name, title in shown.items() if test(title, value)}
            assert set(listed(service, f'title {operator} "{value}"')) == expected, (operator, value)
            assert set(listed(service, f'not (title {operator} "{value}")')) == set(everybody) - expected, (operator, value)
        assert set(listed(service, f'title ne "{value}"')) == {name for name, title in shown.items() if title != value}, value
    assert set(listed(service, 'title eq "second" and userName eq "ada"')) == ({"ada"} if shown["ada"] == "second" else set())
    assert set(listed(service, 'title eq "first" or userName sw "b"')) >= {"bob"}
    assert set(listed(service, 'not (title eq "second") and emails.value sw "mm"')) == {"mm"}
    assert set(listed(service, 'title ne "second" and userName ne "mm" and active eq true')) == {
        name for name, title in shown.items() if title != "second" and name != "mm"}


def test_a_user_name_is_that_which_is_shown(service):
    assert set(listed(service, 'userName eq "mm"')) == {"mm"}
    assert listed(service, 'userName eq "mm2"') == {}
    assert "mm" in listed(service, 'userName ne "mm2"') and "mm" not in listed(service, 'userName ne "mm"')
    # The address under an option is not shown.
    assert listed(service, 'emails.value eq "old@example.com"') == {}
    assert set(listed(service, 'emails[value eq "mm@example.com"]')) == {"mm"}
    assert "mm" in listed(service, 'emails.value ne "old@example.com"')


def test_pages_and_totals_count_what_is_shown(service):
    answer = scim(service, "GET", "/Users", params={"filter": 'title ne "second"', "count": 2, "startIndex": 1}).json()
    everybody = listed(service, "userName pr")
    expected = [name for name, user in everybody.items() if user.get("title") != "second"]
    assert answer["totalResults"] == len(expected) and len(answer["Resources"]) == 2
    names, cursor = [], ""
    while cursor is not None:
        page = scim(service, "GET", "/Users", params={"filter": 'title ne "second"', "count": 2, "cursor": cursor}).json()
        names += [user["userName"] for user in page["Resources"]]
        cursor = page.get("nextCursor")
    assert sorted(names) == sorted(expected)


def test_a_group_is_found_by_the_name_that_is_shown(directory, service):
    directory.modify(f"dn: {people.group_dn('staff', directory.suffix)}\nchangetype: modify\nadd: cn;lang-en\ncn;lang-en: padm\n")
    assert listed(service, 'displayName eq "padm"', "Groups", "displayName") == {}
    assert set(listed(service, 'displayName eq "staff"', "Groups", "displayName")) == {"staff"}
    assert "staff" in listed(service, 'displayName ne "padm"', "Groups", "displayName")
    assert group(service, "staff")
