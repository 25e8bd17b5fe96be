"""The OpenAPI document: valid, complete, and what the running service does conforms to it (schemathesis)."""

import json
import os

import pytest
from conftest import LONG, run, tool
from service import bearer

# How many requests schemathesis makes up: SERVICE_CASES=10000, or all of them with SERVICE_LONG=1.
CASES = int(os.environ.get("SERVICE_CASES", "10000" if LONG else "1200"))
CHECKS = [
    "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance",
    "response_schema_conformance", "unsupported_method", "ignored_auth", "use_after_free",
]
# SPEC section 8.
ROUTES = {
    "/api/v1/auth/login": {"post"}, "/api/v1/auth/me": {"get"}, "/api/v1/auth/forward": {"get"}, "/login": {"get", "post"},
    "/logout": {"post"}, "/api/v1/ldap/users/search": {"post"}, "/api/v1/plugin/execute": {"post"},
    "/scim/v2/Users": {"get", "post"}, "/scim/v2/Users/{id}": {"get", "put", "patch", "delete"},
    "/scim/v2/Groups": {"get", "post"}, "/scim/v2/Groups/{id}": {"get", "put", "patch", "delete"},
    "/scim/v2/.search": {"post"}, "/scim/v2/Me": {"get"}, "/scim/v2/ServiceProviderConfig": {"get"},
    "/scim/v2/Schemas": {"get"}, "/scim/v2/Schemas/{id}": {"get"}, "/scim/v2/ResourceTypes": {"get"},
    "/scim/v2/ResourceTypes/{id}": {"get"}, "/api/v1/ldap/export": {"get"}, "/api/v1/ldap/import": {"post"},
    "/health/live": {"get"}, "/health/ready": {"get"}, "/api/v1/health": {"get"}, "/metrics": {"get"},
}


@pytest.fixture
def document(service):
    answer = service.client.get("/openapi.json")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith(("application/json", "application/vnd.oai.openapi+json"))
    return answer.json()


def operations(document):
    methods = {"get", "put", "post", "delete", "patch", "options", "head"}
    return {path: {m for m in item if m in methods} for path, item in document["paths"].items()}


def test_the_document_is_valid(document, tmp_path):
    assert document["openapi"].startswith("3.1")
    file = tmp_path / "openapi.json"
    file.write_text(json.dumps(document))
    run(tool("api", "openapi-spec-validator"), "--validation-errors", "all", "--schema", "3.1", file)


def test_the_document_has_every_route(document):
    found = operations(document)
    missing = {path: methods - found.get(path, set()) for path, methods in ROUTES.items()}
    assert not {path: methods for path, methods in missing.items() if methods}


def test_scim_answers_by_operation(document):
    """A read cannot be refused for the undo file, and each write can; what asks the directory nothing has none of its answers."""
    every = {"400", "401", "403", "404", "422", "500", "502", "503"}
    body, write, version = {"408", "413", "415"}, {"409", "429", "507"}, {"412"}
    expected = {
        "get": every | {"409"}, "search": every | body, "post": every | body | write,
        "put": every | body | write | version, "patch": every | body | write | version, "delete": every | write | version,
    }
    found = 0
    for path, methods in operations(document).items():
        discovers = path.startswith(("/scim/v2/Schemas", "/scim/v2/ResourceTypes", "/scim/v2/ServiceProviderConfig"))
        for method in methods if path.startswith("/scim/") else ():
            responses = document["paths"][path][method]["responses"]
            refusals = {status for status in responses if status >= "400"}
            wanted = expected["search" if path.endswith("/.search") else method]
            if discovers:
                wanted = every - {"404", "422", "502"} | ({"404"} if "{" in path else set())
            assert refusals == wanted, (path, method)
            assert all(list(responses[status]["content"]) == ["application/scim+json"] for status in refusals), (path, method)
            found += 1
    assert found == 21


def test_every_route_of_the_document_is_there(document, service):
    """No 404 of the router: an id that is missing has its own error."""
    for path, methods in operations(document).items():
        for method in methods:
            answer = service.request(method.upper(), path.replace("{id}", "absent"), content=b"")
            assert answer.status_code not in (405, 501), (method, path)
            assert answer.status_code != 404 or "absent" in path or "{" in path, (method, path)
            assert answer.status_code < 500, (method, path, answer.text)


def test_nothing_else_is_there(service):
    for path in ("/", "/admin", "/api", "/scim/v2/Bulk", "/..%2f..%2fetc/passwd", "/health", "/.env", "/api/v1/ldap/users/search/"):
        assert service.client.get(path).status_code in (404, 405), path


def test_the_docs_page_fetches_nothing_from_elsewhere(service):
    answer = service.client.get("/docs")
    assert answer.status_code == 200
    assert "http://" not in answer.text.replace("http://127.0.0.1", "") and "https://" not in answer.text
    assert "//cdn" not in answer.text


def test_the_command_prints_the_same_document(service, document, tmp_path):
    """`ldap-service openapi` needs no directory."""
    done = run(service.executable, "openapi")
    printed = json.loads(done.stdout)
    assert printed["paths"] == document["paths"]
    assert printed["components"] == document["components"]


def schemathesis(service, folder, cases, seed, auth=True, arguments=()):
    """One run; its report as JSON."""
    report = folder / f"report-{seed}.json"
    folder.mkdir(exist_ok=True)
    config = folder / "schemathesis.toml"
    # The headers are not on the command line, where every process sees them.
    token = bearer("all")["Authorization"]
    config.write_text(f'headers = {{ "Authorization" = "{token}" }}\n' if auth else "")
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "NO_COLOR": "1"}
    done = run(
        tool("api", "schemathesis"), "--config-file", config, "run", service.url + "/openapi.json", "--max-examples", cases,
        "--checks", ",".join(CHECKS), "--seed", seed, "--continue-on-failure", "--request-timeout", "30",
        "--report", "json", "--report-json-path", report, *arguments,
        cwd=folder, env=environment, code=None, timeout=3600,
    )
    said = done.stdout[-20000:] + done.stderr[-4000:]
    assert report.exists(), said
    return json.loads(report.read_text()), said


@pytest.mark.parametrize("auth", [True, False], ids=["with-token", "without"])
def test_schemathesis(openldap, services, tmp_path, auth):
    """As many cases as asked for, in runs with different seeds: no 5xx, every answer as documented."""
    service = services(openldap)
    wanted, made, seed = (CASES if auth else CASES // 10), 0, 1
    while made < wanted:
        report, said = schemathesis(service, tmp_path / "schemathesis", 100 if LONG else 15, seed, auth)
        cases = report["test_cases"]
        assert cases["unique_failures"] == 0 and cases["errored"] == 0 and not report["errors"], said
        assert report["operations"]["tested"] == report["operations"]["total"] > 0, report["operations"]
        assert cases["generated"] > 0
        made, seed = made + cases["generated"], seed + 1
    print(f"schemathesis: {made} cases, {seed - 1} runs")
    assert service.client.get("/health/ready").status_code == 200
