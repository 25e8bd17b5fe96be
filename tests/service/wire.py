"""A relay between the service and a directory that sees each request, and can lose or delay requests and answers."""

import socket
import threading
import time

BIND, SEARCH, MODIFY, EXTENDED = 0x60, 0x63, 0x66, 0x77


def _element(octets, at=0):
    """Tag, and the positions of content and end of a BER element; None until it is complete."""
    if len(octets) < at + 2:
        return None
    tag, length, start = octets[at], octets[at + 1], at + 2
    if length & 0x80:
        count = length & 0x7F
        if len(octets) < start + count:
            return None
        length, start = int.from_bytes(octets[start:start + count], "big"), start + count
    return (tag, start, start + length) if len(octets) >= start + length else None


def _operation(message):
    """The tag of a request, and the DN of a bind."""
    _, start, _ = _element(message)
    _, _, after_id = _element(message, start)
    tag, content, _ = _element(message, after_id)
    if tag != BIND:
        return tag, None
    _, _, after_version = _element(message, content)
    _, name, end = _element(message, after_version)
    return tag, message[name:end].decode()


def _refusal(message, code):
    """The answer to a request with a result code alone."""
    _, start, _ = _element(message)
    tag, _, after_id = _element(message, start)
    tag = {SEARCH: 0x65, EXTENDED: 0x78}.get(message[after_id], message[after_id] + 1)
    body = message[start:after_id] + bytes([tag, 7, 0x0A, 1, code, 4, 0, 4, 0])
    return bytes([0x30, len(body)]) + body


class Wire:
    """`url` stands for the directory's. `requests` are (connection, tag, DN of a bind) in their order.

    - `cut_answers_to`: a DN whose binds get no answer.
    - `lose(octets)`: the next request with these octets arrives, and its connection ends without an answer.
    - `late`: requests with these octets arrive once `released` is set, also if their sender has gone by then.
    - `ahead(tag, octets)`: called before each request is passed on. A number that it returns is the request's result code, and the
      directory does not get it; for `False` the connection is closed in its place.
    - `delay`: seconds before each answer. `down`: connections are closed at once.

    `seen` counts the lost and late requests."""

    def __init__(self, url):
        self.host, port = url.removeprefix("ldap://").rstrip("/").split(":")
        self.port = int(port)
        self.requests, self.sockets, self.lock = [], {}, threading.Lock()
        self.cut_answers_to = None
        self.lost, self.down_then, self.late, self.released = None, False, None, threading.Event()
        self.delay, self.down, self.seen, self.ahead = 0.0, False, 0, None
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"ldap://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        number = 0
        while True:
            try:
                client, _ = self.listener.accept()
                if self.down:
                    client.close()
                    continue
                server = socket.create_connection((self.host, self.port))
            except OSError:
                return
            number += 1
            with self.lock:
                self.sockets[number] = (client, server)
            cut = threading.Event()
            threading.Thread(target=self._requests, args=(number, client, server, cut), daemon=True).start()
            threading.Thread(target=self._answers, args=(client, server, cut), daemon=True).start()

    def _requests(self, number, client, server, cut):
        inbox, waiting = b"", []
        try:
            while octets := client.recv(65536):
                inbox += octets
                while (found := _element(inbox)) is not None:
                    message, inbox = inbox[:found[2]], inbox[found[2]:]
                    tag, dn = _operation(message)
                    with self.lock:
                        self.requests.append((number, tag, dn))
                    if dn is not None and dn == self.cut_answers_to:
                        cut.set()
                    if self.late and self.late in message:
                        self.seen += 1
                        waiting.append(threading.Thread(target=self._deliver, args=(message, server), daemon=True))
                        waiting[-1].start()
                        continue
                    refused = self.ahead(tag, message) if self.ahead else None
                    if refused is False:
                        raise OSError("closed")
                    if refused is not None:
                        client.sendall(_refusal(message, refused))
                        continue
                    if self.lost and self.lost in message:
                        self.lost, self.down = None, self.down_then
                        self.seen += 1
                        cut.set()
                    server.sendall(message)
        except OSError:
            pass
        for thread in waiting:
            thread.join()
        self._close(client, server)

    def _deliver(self, message, server):
        self.released.wait(60)
        try:
            server.sendall(message)
        except OSError:
            pass

    def _answers(self, client, server, cut):
        try:
            while octets := server.recv(65536):
                if cut.is_set():
                    break
                time.sleep(self.delay)
                client.sendall(octets)
        except OSError:
            pass
        self._close(client, server)

    @staticmethod
    def _close(*sockets):
        for one in sockets:
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            one.close()

    def close_all(self, bound_as=None):
        """Ends all connections, as a server does with idle ones; or those on which a DN was bound."""
        with self.lock:
            chosen = {n for n, _, dn in self.requests if dn == bound_as} if bound_as else set(self.sockets)
            sockets = [one for n in chosen for one in self.sockets.pop(n, ())]
        self._close(*sockets)

    def lose(self, octets, down=False):
        """Loses the answer to the next request with these octets; with `down`, nobody can connect from then on."""
        self.lost, self.down_then = octets, down

    def binds(self, dn=None):
        """The DNs of the binds so far, or how many there were of one."""
        with self.lock:
            dns = [name for _, tag, name in self.requests if tag == BIND]
        return dns if dn is None else dns.count(dn)

    def forget(self):
        with self.lock:
            self.requests.clear()

    def stop(self):
        self.listener.close()
        self.released.set()
        self.close_all()
