"""A TCP relay that can stop forwarding, as a firewall does that has forgotten a connection."""

import selectors
import socket
import threading


class Relay:
    """Forwards from `port` to a server on loopback. `hold()`: nothing passes, and nobody hears that the connection is dead."""

    def __init__(self, target):
        self.target, self.held, self.refusing = target, False, False
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.pairs, self.accepted, self.lock = {}, 0, threading.Lock()
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.listener, selectors.EVENT_READ)
        self.running = True
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while self.running:
            for key, _ in self.selector.select(0.1):
                with self.lock:
                    if key.fileobj is self.listener:
                        self.accept()
                    else:
                        self.forward(key.fileobj)

    def accept(self):
        client, _ = self.listener.accept()
        self.accepted += 1
        if self.refusing:
            client.close()
            return
        try:
            server = socket.create_connection(("127.0.0.1", self.target), timeout=5)
        except OSError:
            client.close()
            return
        self.pairs |= {client: server, server: client}
        if not self.held:
            self.selector.register(client, selectors.EVENT_READ)
            self.selector.register(server, selectors.EVENT_READ)

    def forward(self, source):
        other = self.pairs.get(source)
        if other is None or self.held:
            return
        try:
            data = source.recv(65536)
            if data:
                other.sendall(data)
                return
        except OSError:
            pass
        self.drop(source)

    def drop(self, source):
        for end in (source, self.pairs.pop(source, None)):
            if end is not None:
                self.pairs.pop(end, None)
                try:
                    self.selector.unregister(end)
                except KeyError:
                    pass
                end.close()

    def hold(self):
        """From now on nothing passes, on the connections that there are and on new ones."""
        with self.lock:
            self.held = True
            for end in list(self.pairs):
                try:
                    self.selector.unregister(end)
                except KeyError:
                    pass

    def let_new_ones_pass(self):
        """New connections work; those from before stay dead, and open."""
        with self.lock:
            self.pairs = {end: other for end, other in self.pairs.items() if not self.forget(end)}
            self.held = False

    def forget(self, end):
        # Kept open, and never read again.
        self.dead = [*getattr(self, "dead", []), end]
        return True

    def cut(self):
        """Closes all connections."""
        with self.lock:
            for end in list(self.pairs):
                if end in self.pairs:
                    self.drop(end)

    def stop(self):
        self.running = False
        self.thread.join(5)
        for end in [*self.pairs, *getattr(self, "dead", []), self.listener]:
            end.close()
        self.selector.close()
