"""SCIM conformance by the suites of others: every check succeeds."""

import subprocess
import time

import httpx
import pytest
import scim_suites
from conftest import tool
from service import scim_settings, token
from slapd import die_with_parent, free_port


@pytest.fixture
def reference(tmp_path):
    """scim2-server: what scim2-tester is developed with."""
    port = free_port()
    command = [tool("scim", "scim2-server"), "--port", str(port)]
    with open(tmp_path / "scim2-server.log", "w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, preexec_fn=die_with_parent)
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 30
    while True:
        try:
            httpx.get(url + "/ServiceProviderConfig", trust_env=False)
            break
        except httpx.TransportError:
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.05)
    yield url
    process.terminate()
    process.wait()


def test_scim2_tester_on_its_reference_server(reference, tmp_path):
    """The harness itself: 135 of 135."""
    by_status, titles, output = scim_suites.scim2_tester(reference, None, tmp_path)
    assert by_status == {"SUCCESS": 135}, output
    assert scim_suites.CHECKS <= titles


def test_scim_sanity_on_a_server_that_answers_patch_with_204(reference, tmp_path):
    """The harness itself: scim-sanity wants the resource as PATCH's answer, and says so."""
    report = scim_suites.scim_sanity(reference, None, tmp_path, "--strict")
    assert report["summary"]["total"] == 31
    assert report["summary"]["failed"] == 4, scim_suites.failures(report)


@pytest.fixture
def scim(services, openldap):
    """A service that writes."""
    return services(openldap, **scim_settings(openldap.suffix))


def test_scim2_tester(scim, tmp_path):
    by_status, titles, output = scim_suites.scim2_tester(scim.url + "/scim/v2", token("all"), tmp_path)
    assert set(by_status) == {"SUCCESS"}, output
    assert titles >= scim_suites.CHECKS, scim_suites.CHECKS - titles
    print(f"scim2-tester: {dict(by_status)}")


@pytest.mark.parametrize("profile", [[], ["--profile", "entra"]], ids=["plain", "entra"])
def test_scim_sanity(scim, tmp_path, profile):
    """28 of 28: the other three of its 31 are of resource types that the service does not have."""
    report = scim_suites.scim_sanity(scim.url + "/scim/v2", token("all"), tmp_path, "--strict", *profile)
    summary = report["summary"]
    assert not scim_suites.failures(report), scim_suites.failures(report)
    assert (summary["passed"], summary["skipped"], summary["warnings"]) == (28, 3, 0), summary
