"""The configurations of docs/guides/login.md for nginx and Caddy, as they stand: only ports, addresses and certificates differ."""

import os
import re
import subprocess
import sys
import time

import httpx
import people
import proxies
import pytest
from conftest import ROOT
from slapd import free_port
from test_login_states import basic, token_of

sys.path.append(str(ROOT / "tests" / "e2e"))
from guides import blocks  # noqa: E402

HOST = "app.example.com"


def block(title):
    """The text of a file of the page."""
    page = (ROOT / "docs" / "guides" / "login.md").read_text()
    return next(b.text for b in blocks(page) if b.title == title)


def replaced(text, *pairs):
    """The text with each of these replaced; each must be there."""
    for old, new in pairs:
        assert old in text, old
        text = text.replace(old, new)
    return text


@pytest.fixture
def certificate(tmp_path):
    paths = tmp_path / "tls.pem", tmp_path / "tls.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", f"/CN={HOST}",
         "-addext", f"subjectAltName=DNS:{HOST}", "-out", paths[0], "-keyout", paths[1]],
        check=True, capture_output=True,
    )
    return paths


def nginx(folder, port, certificate):
    server = replaced(
        block("app.conf"),
        ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
        ("/etc/ssl/app.example.com.pem", str(certificate[0])), ("/etc/ssl/app.example.com.key", str(certificate[1])),
    )
    places = "".join(f"{k}_temp_path {folder}/{k};\n" for k in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    user = "user root;\n" if os.getuid() == 0 else ""
    config = (f"{user}daemon off;\nworker_processes 1;\npid {folder}/nginx.pid;\nerror_log stderr warn;\n"
              f"events {{ worker_connections 256; }}\nhttp {{\naccess_log off;\n{places}{server}}}\n")
    program = proxies.installed("nginx")
    return config, "nginx.conf", [program, "-e", "stderr", "-p", str(folder), "-c", str(folder / "nginx.conf")]


def caddy(folder, port, certificate):
    site = replaced(
        block("Caddyfile"), (f"{HOST} {{", f"https://{HOST}:{port} {{\n\tbind 127.0.0.1\n\ttls {certificate[0]} {certificate[1]}\n"),
    )
    config = f"{{\n\tadmin off\n\tauto_https disable_redirects\n}}\n{site}"
    return config, "Caddyfile", [proxies.installed("caddy"), "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]


@pytest.fixture
def application():
    running = proxies.Page()
    yield running
    running.stop()


@pytest.fixture(params=[nginx, caddy])
def site(request, services, shared_openldap, application, certificate, tmp_path):
    """A client of the page behind a proxy of the guide."""
    service = services(shared_openldap, trusted_proxies=["127.0.0.1/32"])
    port, folder = free_port(), tmp_path / "proxy"
    config, name, command = request.param(folder, port, certificate)
    config = replaced(config, ("127.0.0.1:8389", f"127.0.0.1:{service.port}"), ("127.0.0.1:8080", f"127.0.0.1:{application.port}"))
    proxy = proxies.Proxy.__new__(proxies.Proxy)
    folder.mkdir()
    (folder / name).write_text(config)
    proxy.process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=open(folder / "log", "w"), cwd=folder,
        env={"PATH": proxies.PATH, "HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)},
        preexec_fn=proxies.die_with_parent,
    )
    request.addfinalizer(proxy.stop)

    class Site(httpx.Client):
        """Requests of one browser: the name of the host, at the address of the test."""

        def request(self, method, path, **options):
            options["headers"] = {"Host": f"{HOST}:{port}", **(options.get("headers") or {})}
            options["extensions"] = {"sni_hostname": HOST}
            return super().request(method, f"https://127.0.0.1:{port}{path}", **options)

    client = Site(verify=False, trust_env=False, timeout=30)
    request.addfinalizer(client.close)
    for attempt in range(200):
        try:
            client.get("/public/")
            break
        except httpx.TransportError:
            assert proxy.process.poll() is None and attempt < 199, (folder / "log").read_text()[-3000:]
            time.sleep(0.05)
    client.service = service
    return client


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
    forged = {name: "forged" for n in proxies.REMOTE for name in (n, n.replace("-", "_"))}
    for path, headers in [("/page?json", basic("ada", people.ADA.password)), ("/public/?json", {})]:
        answer = site.get(path, headers={**forged, **headers})
        assert answer.status_code == 200, answer.text
        assert "forged" not in arrived(answer).values(), arrived(answer)
    # Nor does the password.
    answer = site.get("/page?json", headers=basic("ada", people.ADA.password))
    assert "authorization" not in arrived(answer) and arrived(answer)["remote-groups"] == "admin,auditor,staff"
    assert site.get("/page?json", headers=basic("eve", people.EVE.password)).status_code == 403
    assert site.get("/page?json", headers=basic("ada", "Pw-wrong-5Tz!")).status_code in (302, 401)
