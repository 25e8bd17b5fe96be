"""A size limit of the service's user: `--test` and doctor tell that nobody can log in, or that lists are refused, and what to ask for."""

import people
import pytest
from accounts import code
from test_configuration import about
from writing import scim


@pytest.fixture
def limited(openldaps, monkeypatch):
    """A slapd with a limit for the service's user: `limited(groups of each user, limit)`."""
    import directories

    def start(groups, limit):
        line = f'limits dn.exact="{people.service_dn()}" size.soft=unlimited size.hard=unlimited\n'
        few = f'limits dn.exact="{people.service_dn()}" size.soft={limit} size.hard={limit} size.prtotal=unlimited\n'
        monkeypatch.setattr(directories, "ACCESS", directories.ACCESS.replace(line, few))
        members = [p.dn() for p in people.PEOPLE]
        more = [people.entry(people.group_dn(f"g{n}"), objectClass="groupOfNames", cn=f"g{n}", member=members if n < groups else [people.group_dn("x")])
                for n in range(40)]
        return openldaps(more=more)

    return start


def limits(service):
    for flags in (("--test",), ("doctor", "--format", "json")):
        exit_code, report, _ = about(service, *flags)
        yield exit_code, [check for check in report["checks"] if check["name"] == "limits" and "bind_dn" in check["detail"]], report


def test_a_limit_that_lets_nobody_log_in_fails(services, limited):
    service = services(limited(10, 6), ready=False)
    assert code(service.login("ada", people.ADA.password)) == (500, "misconfigured")
    for exit_code, found, report in limits(service):
        assert exit_code != 0 and report["status"] == "unhealthy", report
        assert "failed" in [check["result"] for check in found] and all("no size limit" in check["detail"] for check in found)
        assert not any("the right to read and search it" in check["detail"] for check in report["checks"]), report


def test_a_limit_below_the_groups_and_lists_is_a_warning(services, limited):
    service = services(limited(0, 25), ready=False)
    answer = service.login("ada", people.ADA.password)
    assert answer.status_code == 200, service.log_text()
    answer = scim(service, "GET", "/Groups")
    status = answer.status_code
    for exit_code, found, report in limits(service):
        assert exit_code == 0 and report["status"] == "healthy", report
        assert found and {check["result"] for check in found} == {"warning"}
        assert any("422" in check["detail"] for check in found) == (status == 422)
        assert not any("the right to read and search it" in check["detail"] for check in report["checks"]), report


def test_without_a_limit_nothing_is_said(services, shared_openldap):
    for exit_code, found, report in limits(services(shared_openldap)):
        assert exit_code == 0 and not found, report
