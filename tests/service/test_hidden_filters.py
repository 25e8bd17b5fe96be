"""The filter of users, where the service's user may not search its attribute in some entries: they are not gone."""

import people
import pytest
from test_scim import PATCH, start

SERVICE = f'by dn.exact="{people.service_dn()}"'
PEOPLE = f"ou=people,{people.SUFFIX}"


def hidden(directory, *names):
    """People of whom the attribute of the filter is hidden, among many who show it."""
    crowd = [people.entry(f"uid=c{n},{PEOPLE}", objectClass="inetOrgPerson", uid=f"c{n}", cn="c", sn="c", employeeType="staff") for n in range(40)]
    directory.add("".join(crowd))
    for name in names:
        values = {"uid": name, "cn": name, "sn": name, "employeeType": "staff", "description": "hidden"}
        directory.add(people.entry(f"uid={name},{PEOPLE}", objectClass="inetOrgPerson", **values))
    return [directory.values(f"uid={name},{PEOPLE}", "entryUUID")["entryUUID"][0].decode() for name in names]


@pytest.mark.parametrize("filter", ["(&(objectClass=person)(employeeType=staff))", "(&(objectClass=person)(!(employeeType=guest)))"])
def test_a_user_whose_attribute_is_hidden_is_not_gone(services, openldaps, filter):
    access = f"access to filter=(description=hidden) attrs=employeeType {SERVICE} none by * read\n"
    directory = openldaps(access=access)
    scim = start(services, directory, users={"base_dn": PEOPLE, "filter": filter})
    assert scim("GET", "/Users", count=0)["totalResults"] >= 0
    (late,) = hidden(directory, "late")
    for method, path, body in [
        ("GET", f"/Users/{late}", None),
        ("DELETE", f"/Users/{late}", None),
        ("PATCH", f"/Users/{late}", {"schemas": [PATCH], "Operations": [{"op": "replace", "path": "displayName", "value": "x"}]}),
    ]:
        assert "employeeType" in scim(method, path, body, status=500)["detail"], method
    nobody = "00000000-0000-4000-8000-000000000000"
    scim("GET", f"/Users/{nobody}", status=404)


def test_a_list_without_users_whose_attribute_is_hidden_is_refused(services, openldaps):
    access = f"access to filter=(description=hidden) attrs=employeeType {SERVICE} none by * read\n"
    directory = openldaps(access=access)
    hidden(directory, "late")
    scim = start(services, directory, ready=False, users={"base_dn": PEOPLE, "filter": "(&(objectClass=person)(employeeType=staff))"})
    for path in ["/Users", "/Users?filter=userName+eq+%22late%22", "/Users?count=0"]:
        assert "employeeType" in scim("GET", path, status=500)["detail"], path


def test_a_callers_filter_over_an_attribute_that_one_user_hides(services, openldaps):
    access = f"access to filter=(description=hidden) attrs=mail {SERVICE} none by * read\n"
    directory = openldaps(access=access)
    hidden(directory, "late")
    scim = start(services, directory, ready=False, users={"base_dn": PEOPLE, "filter": "(employeeType=staff)", "scim": {"emails[work]": "mail"}})
    assert "mail" in scim("GET", "/Users?filter=emails.value+eq+%22late%40example.com%22", status=500)["detail"]
    assert scim.names('userName eq "c7"') == {"c7"}
