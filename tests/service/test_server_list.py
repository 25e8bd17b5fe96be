"""The servers of `server_url`: each is looked at by --test and doctor, for it takes over when the others are down."""

import people
import pytest
import slapd
from test_configuration import about


def reports(service):
    """(exit code, checks) of --test, and of doctor."""
    for flags in (("--test",), ("doctor", "--format", "json")):
        code, report, _ = about(service, *flags)
        yield code, report["checks"]


@pytest.fixture
def another(tmp_path, monkeypatch):
    """A slapd with another naming context."""
    with monkeypatch.context() as patched:
        for name, value in (("SUFFIX", "dc=another,dc=test"), ("ADMIN", "cn=admin,dc=another,dc=test")):
            patched.setattr(slapd, name, value)
        server = slapd.Slapd(str(tmp_path / "another"), ["dn: dc=another,dc=test\nobjectClass: dcObject\nobjectClass: organization\ndc: another\no: x\n\n"])
    yield server
    server.stop()


@pytest.mark.parametrize("fault", ["bind", "down", "another"])
def test_a_further_server_that_cannot_take_over_is_told(services, openldaps, another, fault):
    # Anonymous: both accept that.
    settings = {"bind_dn": None, "bind_password": None} if fault == "another" else {}
    first, second = openldaps("first", access="access to * by * read\n" if settings else ""), openldaps("second")
    if fault == "bind":
        second.modify(f"dn: {people.service_dn()}\nchangetype: modify\nreplace: userPassword\nuserPassword: another\n")
    if fault == "down":
        second.kill()
    url = another.url if fault == "another" else second.url
    service = services(first, server_url=[first.url, url], write=None, **settings)
    for code, checks in reports(service):
        assert code == 0, checks
        told = [check for check in checks if check["name"] == "server" and check["result"] == "warning"]
        assert len(told) == 1 and url in told[0]["detail"], checks
    if fault == "bind":
        # Of what is refused there, nothing counts here.
        assert service.client.get("/health/ready").status_code == 200


def test_servers_that_can_take_over_are_told_to(services, openldaps):
    first, second = openldaps("first"), openldaps("second")
    service = services(first, server_url=[first.url, second.url], write=None)
    for code, checks in reports(service):
        assert code == 0 and [c["detail"] for c in checks if c["name"] == "server"] == [first.url, second.url], checks
        assert len([c for c in checks if c["name"] == "bind" and c["result"] == "ok"]) == 2
