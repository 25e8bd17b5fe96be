"""A stand-in for Traefik, which cannot be installed here: it reads a dynamic configuration and does with a request what the source of
Traefik 3 does in its entry point and in the middlewares `errors`, `forwardAuth` and `headers` (pkg/middlewares). Loopback, without TLS."""

import http.server
import re
import threading
import urllib.parse

import httpx
import yaml

# Headers of one connection, which no proxy hands on (RFC 9110 7.6.1).
HOP = {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
# What the entry point takes out of a request that comes from an untrusted address.
FORWARDED = re.compile("(?i)x-forwarded-|x-real-ip$|forwarded$")


def canonical(name):
    """A header's name as Go writes it: `Remote_User` is `Remote_user`."""
    return "-".join(part.capitalize() for part in name.split("-"))


class Answer:
    """A status, headers (name, value) and a body."""

    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body


def ask(url, method, headers, body=b""):
    kept = [(n, v) for n, v in headers if n.lower() not in HOP | {"content-length"}]
    with httpx.Client(trust_env=False, timeout=30) as client:
        # httpx adds headers of its own; Go's proxy adds none.
        client.headers.clear()
        answer = client.request(method, url, headers=kept, content=body)
    gone = HOP | {"content-length", "content-encoding"}
    return Answer(answer.status_code, [(n, v) for n, v in answer.headers.multi_items() if n.lower() not in gone], answer.content)


class Traefik:
    """Serves on a free port of loopback until `stop`."""

    def __init__(self, configuration):
        self.http = yaml.safe_load(configuration)["http"]
        # The longest rule comes first (its priority).
        self.routers = sorted(self.http["routers"].values(), key=lambda router: -len(router["rule"]))
        traefik = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = [(n, v) for n, v in self.headers.items() if not FORWARDED.match(n)]
                headers += [("X-Forwarded-For", self.client_address[0]), ("X-Forwarded-Proto", "http"), ("X-Forwarded-Host", self.headers["Host"])]
                answer = traefik.answer(self.command, self.path, headers, body)
                self.send_response(answer.status)
                for name, value in answer.headers:
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)

            do_POST = do_GET

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()

    def service(self, name):
        return self.http["services"][name]["loadBalancer"]["servers"][0]["url"]

    def answer(self, method, uri, headers, body):
        path = uri.partition("?")[0]
        for router in self.routers:
            rules = re.findall(r"\b(Path|PathPrefix)\(`([^`]+)`\)", router["rule"])
            if not rules or any(path == value if kind == "Path" else path.startswith(value) for kind, value in rules):
                return self.through(router.get("middlewares", []), router["service"], method, uri, headers, body)
        return Answer(404, [], b"404 page not found")

    def through(self, middlewares, service, method, uri, headers, body):
        if not middlewares:
            return ask(self.service(service) + uri, method, headers, body)
        [(kind, options)] = self.http["middlewares"][middlewares[0]].items()
        return getattr(self, kind)(options, middlewares[1:], service, method, uri, headers, body)

    def errors(self, options, rest, service, method, uri, headers, body):
        answer = self.through(rest, service, method, uri, headers, body)
        if str(answer.status) not in options["status"]:
            return answer
        query = options["query"].replace("{status}", str(answer.status)).replace("{url}", urllib.parse.quote_plus(uri))
        page = ask(self.service(options["service"]) + query, "GET", headers)
        return Answer(answer.status, page.headers, page.body)

    def forwardAuth(self, options, rest, service, method, uri, headers, body):  # noqa: N802
        asked = ask(options["address"], "GET", [*headers, ("X-Forwarded-Method", method), ("X-Forwarded-Uri", uri)])
        if not 200 <= asked.status < 300:
            return asked
        owned = re.compile(options["authResponseHeadersRegex"]).search
        headers = [(n, v) for n, v in headers if not owned(canonical(n))]
        headers += [(canonical(n), v) for n, v in asked.headers if owned(canonical(n))]
        return self.through(rest, service, method, uri, headers, body)

    def headers(self, options, rest, service, method, uri, headers, body):
        changed = {name.lower(): value for name, value in options["customRequestHeaders"].items()}
        headers = [(n, v) for n, v in headers if n.lower() not in changed]
        headers += [(n, v) for n, v in changed.items() if v]
        return self.through(rest, service, method, uri, headers, body)
