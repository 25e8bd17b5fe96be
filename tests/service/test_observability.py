"""Metrics of the directory's operations beside those of requests, and a span for each request."""

import http.server
import re
import threading

import people
import pytest
from directories import wait_until

PATH = "/api/v1/ldap/users/search"
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"


def fields(octets):
    """The fields of a message of protocol buffers: (number, value); other kinds than octets and numbers do not occur inside."""
    at = 0

    def varint():
        nonlocal at
        value, shift = 0, 0
        while True:
            octet = octets[at]
            at += 1
            value |= (octet & 0x7F) << shift
            shift += 7
            if octet < 0x80:
                return value

    while at < len(octets):
        key = varint()
        kind = key & 7
        if kind == 0:
            yield key >> 3, varint()
            continue
        length = {1: 8, 5: 4}.get(kind) or varint()
        yield key >> 3, octets[at : at + length]
        at += length


def inner(octets, number):
    return [value for n, value in fields(octets) if n == number]


class Collector:
    """An OTLP receiver over HTTP."""

    def __init__(self):
        spans = self.spans = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                for resource in inner(body, 1):
                    for scope in inner(resource, 2):
                        for span in inner(scope, 2):
                            f = dict(fields(span))
                            spans.append(
                                {"trace": f[1].hex(), "id": f[2].hex(), "parent": f.get(4, b"").hex(), "name": f[5].decode(), "raw": span}
                            )
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def collector():
    collector = Collector()
    yield collector
    collector.server.shutdown()


def metrics(service):
    answer = service.request("GET", "/metrics")
    assert answer.status_code == 200
    return answer.text


def value(text, name, **labels):
    """The sum of the series with these labels."""
    found = re.findall(rf"^{name}{{([^}}]*)}} (\S+)$", text, re.M)
    return sum(float(v) for given, v in found if all(f'{k}="{w}"' in given for k, w in labels.items()))


def test_metrics_have_requests_and_the_directory(services, openldap):
    service = services(openldap, metrics_labels={"site": "north"})
    for _ in range(3):
        assert service.request("POST", PATH, json={"filter": "(uid=ada)"}).status_code == 200
    assert service.request("POST", PATH, json={"filter": "("}).status_code == 400
    text = metrics(service)
    assert value(text, "ldap_service_requests_total", route=PATH, status="200", site="north", program="ldap-service") == 3
    assert value(text, "ldap_service_requests_total", route=PATH, status="400") == 1
    assert value(text, "flext_ldap_operations_total", operation="search", status="success", site="north") >= 3
    assert value(text, "flext_ldap_entries_read_total") >= 3
    assert value(text, "flext_ldap_active_connections") >= 2 and value(text, "ldap_connections_total") >= 2
    # Every family once, every line of it below its type.
    types = re.findall(r"^# TYPE (\S+)", text, re.M)
    assert len(types) == len(set(types)) > 10
    # A service has no last run, whose failure alerts would report.
    assert "last_run" not in text and "run_in_progress" not in text
    for secret in (people.SERVICE_PASSWORD, "ada"):
        assert secret not in text


def test_a_connection_after_an_outage_is_counted(services, openldap):
    service = services(openldap)
    assert service.request("POST", PATH, json={}).status_code == 200
    before = value(metrics(service), "ldap_connections_total")
    openldap.kill()
    openldap.start_again()
    wait_until(lambda: service.request("POST", PATH, json={}).status_code == 200, what="a search")
    assert value(metrics(service), "ldap_connections_total") > before


def test_metrics_can_be_disabled(services, shared_openldap):
    service = services(shared_openldap, enable_metrics=False)
    text = metrics(service)
    assert "ldap_service_requests_total" in text and "flext_ldap_operations_total" not in text


def test_each_request_has_a_span_with_its_searches(services, shared_openldap, collector):
    service = services(shared_openldap, otlp_endpoint=collector.endpoint)
    answer = service.request("POST", PATH, json={"filter": "(uid=ada)"}, headers={"traceparent": TRACEPARENT})
    assert answer.status_code == 200
    spans = collector.spans
    request = wait_until(lambda: next((s for s in spans if s["name"] == f"POST {PATH}"), None))
    # A stranger's trace is not joined.
    assert request["trace"] != TRACE and request["parent"] == ""
    search = wait_until(lambda: next((s for s in spans if s["name"] == "ldap_search" and s["parent"] == request["id"]), None))
    assert search["trace"] == request["trace"]
    assert answer.headers["x-request-id"].encode() in request["raw"]
    # Never what was asked for.
    assert b"(uid=ada)" not in request["raw"] and b"ada" not in search["raw"].replace(b"admin", b"")


def test_a_trace_is_taken_over_from_a_trusted_proxy(services, shared_openldap, collector):
    service = services(shared_openldap, otlp_endpoint=collector.endpoint, trusted_proxies=["127.0.0.1/32"])
    for header in (TRACEPARENT, "nonsense", "00-" + "0" * 32 + "-" + "0" * 16 + "-01"):
        assert service.request("POST", PATH, json={}, headers={"traceparent": header}).status_code == 200
    wait_until(lambda: len([s for s in collector.spans if s["name"] == f"POST {PATH}"]) == 3)
    joined = [s for s in collector.spans if s["name"] == f"POST {PATH}" and s["trace"] == TRACE]
    assert [s["parent"] for s in joined] == [PARENT]
    assert any(s["trace"] == TRACE and s["parent"] == joined[0]["id"] for s in collector.spans if s["name"] == "ldap_search")


def test_tracing_can_be_disabled(services, shared_openldap, collector):
    service = services(shared_openldap, otlp_endpoint=collector.endpoint, enable_tracing=False)
    assert service.request("POST", PATH, json={}).status_code == 200
    service.end()
    assert not collector.spans
    service.start()
