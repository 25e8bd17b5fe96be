"""An issuer for what providers do not do on request. own.py [CERT KEY]: with TLS. A line on stdin is a command in JSON, its answer a
line on stdout:

    {"key": "one", "alg": "RS256"}             one more key
    {"withdraw": "one"}                        one less
    {"sign": "one", "header": …, "claims": …}  a token; `header` over the usual one
    {"down": true, "delay": 0.5}               answers with 500, or late
    {"hold": true}                             does not answer requests for the keys, until it is false
    {}                                         `fetches`: how often the keys were asked for; `fetching`: how many wait for them"""

import http.server
import json
import ssl
import sys
import threading
import time

import signing

keys, state, fetches, fetched = {}, {"down": False, "delay": 0}, [], []
released = threading.Event()
released.set()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/keys":
            fetches.append(time.monotonic())
            time.sleep(state["delay"])
            released.wait()
            fetched.append(time.monotonic())
        published = [signing.jwk(key, kid=kid, use="sig") for kid, (key, alg, is_published) in keys.items() if is_published]
        documents = {"/.well-known/openid-configuration": {"issuer": issuer, "jwks_uri": f"{issuer}/keys"}, "/keys": {"keys": published}}
        body = json.dumps(documents.get(self.path)).encode()
        self.send_response(500 if state["down"] else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
scheme = "http"
if len(sys.argv) > 1:
    scheme, context = "https", ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[1], sys.argv[2])
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
issuer = f"{scheme}://localhost:{server.server_address[1]}"
threading.Thread(target=server.serve_forever, daemon=True).start()
print(json.dumps({"issuer": issuer}), flush=True)
for line in sys.stdin:
    command = json.loads(line)
    answer = {}
    if "key" in command:
        keys[command["key"]] = (signing.generate(command["alg"]), command["alg"], command.get("published", True))
    if "withdraw" in command:
        key, alg, _ = keys[command["withdraw"]]
        keys[command["withdraw"]] = (key, alg, False)
    if "sign" in command:
        key, alg, _ = keys[command["sign"]]
        header = {"alg": alg, "kid": command["sign"], "typ": "at+jwt", **command.get("header", {})}
        answer["token"] = signing.token(key, {n: v for n, v in header.items() if v is not None}, command["claims"])
    if "hold" in command:
        released.clear() if command["hold"] else released.set()
    state.update({name: command[name] for name in state if name in command})
    print(json.dumps({**answer, "fetches": len(fetches), "fetching": len(fetches) - len(fetched)}), flush=True)
server.shutdown()
