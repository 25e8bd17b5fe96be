"""nginx, Caddy and a stand-in for Traefik in front of a protected page, and the page: it shows which headers arrived."""

import html
import http.server
import json
import os
import shutil
import pathlib
import subprocess
import sys
import threading
import time

import httpx
from slapd import PATH, die_with_parent, free_port
from traefik import Traefik

ROOT = pathlib.Path(__file__).parents[2]
sys.path.append(str(ROOT / "tests" / "e2e"))
from guides import blocks  # noqa: E402

REMOTE = ["Remote-User", "Remote-Name", "Remote-Email", "Remote-Groups", "Remote-Id"]


def guide(title):
    """The text of a file of docs/guides/login.md."""
    return next(b.text for b in blocks((ROOT / "docs" / "guides" / "login.md").read_text()) if b.title == title)


class Page:
    """The application behind the proxy. It answers with an HTML page, or in JSON for `?json`, with the headers that arrived, and
    counts its requests."""

    def __init__(self):
        page = self
        self.requests, self.paths = [], []

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                headers = list(self.headers.items())
                page.requests.append(headers)
                page.paths.append(self.path)
                shown = "".join(f"<li>{html.escape(n)}: {html.escape(v)}</li>" for n, v in headers)
                body = json.dumps(headers) if "json" in self.path else f"<h1 id=protected>protected page</h1><ul>{shown}</ul>"
                self.send_response(200)
                self.send_header("Content-Type", "application/json" if "json" in self.path else "text/html; charset=utf-8")
                self.send_header("Content-Length", str(len(body.encode())))
                self.end_headers()
                self.wfile.write(body.encode())

            do_POST = do_GET

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


def installed(program):
    path = shutil.which(program, path=PATH)
    assert path, f"{program} is missing: scripts/install-servers.sh"
    return path


class Proxy:
    """A running reverse proxy with a configuration text. `ask` is a request that it answers once it is up."""

    # A page without a login: leads to the login page.
    unknown = 302

    def __init__(self, folder, name, config, command, port, ask=None):
        self.dir, self.port, self.url = folder, port, f"http://127.0.0.1:{port}"
        ask = ask or (lambda: httpx.get(self.url + "/proxy-is-up", trust_env=False, timeout=5))
        folder.mkdir(parents=True, exist_ok=True)
        self.config = folder / name
        self.config.write_text(config)
        self.log = folder / "stderr.log"
        environment = {"PATH": PATH, "HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder, env=environment, preexec_fn=die_with_parent
            )
        deadline = time.monotonic() + 30
        while True:
            try:
                ask()
                return
            except httpx.TransportError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    self.stop()
                    raise AssertionError(f"the proxy does not start: {self.log.read_text()[-4000:]}") from None
                time.sleep(0.05)

    def stop(self):
        """Ends it by its pid; nginx's master ends its workers."""
        self.process.terminate()
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def nginx_with(folder, server):
    """(name of the configuration, its text, the command) of nginx with a `server` block, without a place of the machine's own."""
    user = "user root;\n" if os.getuid() == 0 else ""
    places = "".join(f"  {kind}_temp_path {folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    config = f"""{user}daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 256; }}
http {{
  access_log off;
{places}
{server}
}}
"""
    return "nginx.conf", config, [installed("nginx"), "-e", "stderr", "-p", str(folder), "-c", str(folder / "nginx.conf")]


def caddy_with(folder, site):
    """(name of the configuration, its text, the command) of Caddy with a site, without its administration and certificates of its own."""
    config = f"{{\n  admin off\n  auto_https disable_redirects\n}}\n{site}"
    return "Caddyfile", config, [installed("caddy"), "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]


def nginx(folder, service_port, page_port, role="admin"):
    """nginx with auth_request: `/` is the page, `/public/` needs no login."""
    port = free_port()
    # $remote_user is nginx's own.
    variables = {n: "auth_" + n.lower().replace("-", "_") for n in REMOTE}
    set_remote = "".join(
        f"      auth_request_set ${v} $upstream_http_{v.removeprefix('auth_')};\n      proxy_set_header {n} ${v};\n"
        for n, v in variables.items()
    )
    clear_remote = "".join(f'      proxy_set_header {n} "";\n' for n in REMOTE)
    server = f"""  server {{
    listen 127.0.0.1:{port};
    location / {{
      auth_request /internal-auth;
      error_page 401 = @login;
{set_remote}      proxy_pass http://127.0.0.1:{page_port};
    }}
    location /public/ {{
{clear_remote}      proxy_pass http://127.0.0.1:{page_port};
    }}
    location = /internal-auth {{
      internal;
      proxy_pass http://127.0.0.1:{service_port}/api/v1/auth/forward?role={role};
      proxy_pass_request_body off;
      proxy_set_header Content-Length "";
{clear_remote}      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Host $http_host;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Forwarded-Uri $request_uri;
      proxy_set_header X-Forwarded-Method $request_method;
    }}
    location @login {{
      return 302 /login?return_to=$request_uri;
    }}
    location ~ ^/(login|logout)$ {{
      proxy_pass http://127.0.0.1:{service_port};
      proxy_set_header Host $http_host;
{clear_remote}      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Host $http_host;
      proxy_set_header X-Forwarded-Proto $scheme;
    }}
  }}"""
    return Proxy(folder, *nginx_with(folder, server), port)


def caddy(folder, service_port, page_port, role="admin"):
    """Caddy with forward_auth: `/` is the page, `/public/` needs no login."""
    port = free_port()
    # The pattern has Remote_User, too: to WSGI and CGI both are HTTP_REMOTE_USER.
    clear = "  request_header -Remote*\n"
    site = f"""http://127.0.0.1:{port} {{
  bind 127.0.0.1
{clear}
  @own path /login /logout
  handle @own {{
    reverse_proxy 127.0.0.1:{service_port}
  }}
  handle /public/* {{
    reverse_proxy 127.0.0.1:{page_port}
  }}
  handle {{
    forward_auth 127.0.0.1:{service_port} {{
      uri /api/v1/auth/forward?role={role}
      copy_headers {" ".join(REMOTE)}
      @unauthorized status 401
      handle_response @unauthorized {{
        redir * /login?return_to={{http.request.orig_uri}} 302
      }}
    }}
    reverse_proxy 127.0.0.1:{page_port}
  }}
}}
"""
    return Proxy(folder, *caddy_with(folder, site), port)


def traefik(_folder, service_port, page_port):
    """The configuration of the guide."""
    proxy = Traefik(guide("traefik.yml").replace("127.0.0.1:8389", f"127.0.0.1:{service_port}").replace("127.0.0.1:8080", f"127.0.0.1:{page_port}"))
    # A page without a login: is the login page.
    proxy.unknown = 401
    return proxy


PROXIES = {"nginx": nginx, "caddy": caddy, "traefik": traefik}
