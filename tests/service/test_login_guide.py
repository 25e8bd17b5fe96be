"""The configurations of docs/guides/login.md for nginx and Caddy, as they stand: only ports, addresses and certificates differ."""

import re
import socket
import ssl

import httpx
import people
import proxies
import pytest
from accounts import token_of
from callers import Authority
from service import basic
from slapd import free_port

HOST = "app.example.com"


def replaced(text, *pairs):
    """The text with each of these replaced; each must be there."""
    for old, new in pairs:
        assert old in text, old
        text = text.replace(old, new)
    return text


def nginx(folder, port, certificate):
    server = replaced(
        proxies.guide("app.conf"),
        ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
        ("/etc/ssl/app.example.com.pem", certificate[0]), ("/etc/ssl/app.example.com.key", certificate[1]),
    )
    return proxies.nginx_with(folder, server)


def caddy(folder, port, certificate):
    site = replaced(
        proxies.guide("Caddyfile"), (f"{HOST} {{", f"https://{HOST}:{port} {{\n\tbind 127.0.0.1\n\ttls {certificate[0]} {certificate[1]}\n"),
    )
    return proxies.caddy_with(folder, site)


class Site(httpx.Client):
    """Requests of one browser: the name of the host, at the address of the test."""

    def __init__(self, port):
        super().__init__(base_url=f"https://127.0.0.1:{port}", verify=False, trust_env=False, timeout=30)
        self.host = f"{HOST}:{port}"

    def request(self, method, path, **options):
        options["headers"] = {"Host": self.host, **(options.get("headers") or {})}
        options["extensions"] = {"sni_hostname": HOST}
        return super().request(method, path, **options)


@pytest.fixture(params=[nginx, caddy])
def site(request, services, shared_openldap, application, tmp_path):
    """A client of the page behind a proxy of the guide."""
    service = services(shared_openldap, trusted_proxies=["127.0.0.1/32"])
    port, folder = free_port(), tmp_path / "proxy"
    name, config, command = request.param(folder, port, Authority(tmp_path, "ca").server("app", f"DNS:{HOST}"))
    config = replaced(config, ("127.0.0.1:8389", f"127.0.0.1:{service.port}"), ("127.0.0.1:8080", f"127.0.0.1:{application.port}"))
    with Site(port) as client:
        proxy = proxies.Proxy(folder, name, config, command, port, ask=lambda: client.get("/public/"))
        client.service = service
        yield client
        proxy.stop()


def arrived(answer):
    return {name.lower(): value for name, value in answer.json() if value}


def test_a_person_logs_in_over_tls_and_out(site):
    answer = site.get("/page?a=1&b=2")
    assert answer.status_code == 302 and answer.headers["location"].endswith("/login?return_to=/page?a=1&b=2"), answer.headers
    page = site.get("/login?return_to=/page?a=1&b=2")
    form = {"username": "ada", "password": people.ADA.password, "form_token": token_of(page), "return_to": "/page?a=1&b=2"}
    cookies = {"Cookie": "; ".join(f"{n}={v}" for n, v in page.cookies.items())}
    assert "__Host-ldap_form" in page.cookies
    answer = site.post("/login", data=form, headers=cookies)
    assert (answer.status_code, answer.headers["location"]) == (303, "/page?a=1&b=2"), answer.text
    set_cookie = answer.headers["set-cookie"]
    assert set_cookie.startswith("__Host-ldap_session=") and all(word in set_cookie for word in ("Secure", "HttpOnly", "SameSite=Lax", "Path=/"))
    session = set_cookie.split(";")[0]
    site.service.secrets.add(session.partition("=")[2])
    site.cookies.clear()
    shown = site.get("/page?json", headers={"Cookie": session})
    assert shown.status_code == 200 and arrived(shown)["remote-user"] == "ada"
    # The application's own cookies arrive, and those of the service do not.
    for before, after in (("", ""), ("a=1; ", ""), ("", "; b=2"), ("a=1; ", "; b=2")):
        sent = f"{before}{session}; {cookies['Cookie']}{after}"
        for path in ("/page?json", "/public/?json"):
            answer = site.get(path, headers={"Cookie": sent})
            own = [pair for pair in re.split("; *", arrived(answer).get("cookie", "")) if pair]
            assert answer.status_code == 200 and own == [text.strip("; ") for text in (before, after) if text], (path, sent, own)
    out = site.post("/logout", data={"form_token": form["form_token"]}, headers={"Cookie": f"{session}; {cookies['Cookie']}"})
    assert out.status_code == 303
    site.cookies.clear()
    assert site.get("/page?json", headers={"Cookie": session}).status_code == 302


def test_a_script_gets_401_and_a_page_the_login(site):
    for mode, status in (("navigate", 302), ("cors", 401), ("same-origin", 401), ("no-cors", 401), ("websocket", 401), (None, 302)):
        answer = site.get("/page", headers={"Sec-Fetch-Mode": mode} if mode else {})
        assert answer.status_code == status, (mode, answer.headers)
        assert answer.headers.get("location", "").endswith("/login?return_to=/page") == (status == 302), answer.headers


def test_trap_20_identity_from_outside_does_not_arrive(site):
    forged = {name: "forged" for n in proxies.REMOTE for name in (n, *(n.replace("-", other) for other in "_.~!"))}
    for path, headers in [("/page?json", basic("ada", people.ADA.password)), ("/public/?json", {})]:
        answer = site.get(path, headers={**forged, **headers})
        assert answer.status_code == 200, answer.text
        assert "forged" not in arrived(answer).values(), arrived(answer)
    # A client cannot take it out of its own request either, by saying that it is for this hop alone (RFC 9110 section 7.6.1).
    for hop in (", ".join(proxies.REMOTE), "close, remote-user,REMOTE-GROUPS", "Remote-Id"):
        answer = site.get("/page?json", headers={"Connection": hop, **basic("ada", people.ADA.password)})
        assert answer.status_code == 200 and {n.lower() for n in proxies.REMOTE} <= set(arrived(answer)), (hop, arrived(answer))
    # Nor does the password arrive.
    answer = site.get("/page?json", headers=basic("ada", people.ADA.password))
    assert "authorization" not in arrived(answer) and arrived(answer)["remote-groups"] == "admin,auditor,staff"
    assert site.get("/page?json", headers=basic("eve", people.EVE.password)).status_code == 403
    assert site.get("/page?json", headers=basic("ada", "Pw-wrong-5Tz!")).status_code in (302, 401)


ODD = [
    "/admin/..%2fpublic/x", "/admin/%2e%2e/public/x", "/admin/../public/x", "/admin%2f..%2fpublic%2fx", "/public/..%5cadmin/x", "/public/..;/admin/x",
    "/public/%2e%2e%3b/admin", "/public/..%2fadmin/x", "/PUBLIC/x", "/public/a/../../admin/x", "//public/x", "/public;x/admin", "/public/\\..\\admin",
]  # fmt: skip


@pytest.mark.parametrize("path", ODD)
def test_a_path_that_could_be_read_in_two_ways_needs_a_login(site, application, path):
    """What arrives without a login is below /public/ as it stands."""
    connection = ssl._create_unverified_context().wrap_socket(socket.create_connection(("127.0.0.1", site.base_url.port), timeout=30), server_hostname=HOST)
    with connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {site.host}\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    status = int(answer.split()[1])
    assert status in (200, 302, 400, 401, 403, 404), answer[:200]
    for arrived_path in application.paths:
        assert arrived_path.startswith("/public/") and not re.search(r"(?i)\.\.|%2e|%2f|%5c|;|%3b|\\\\", arrived_path), (path, arrived_path)
