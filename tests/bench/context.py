"""What the measures share: the executables, the sizes, and servers that are started once and stopped at the end."""

import contextlib
import os
import subprocess
import tempfile

from contest import Client
from people import UNITS
from process import Failed, run
from slapd import SUFFIX, Slapd, tree

INDEXES = "index objectClass,entryUUID,entryCSN,employeeNumber eq\n"
# What the tap reads: user attributes, and the operational ones that every stream has.
ATTRIBUTES = ("*", "entryUUID", "createTimestamp", "modifyTimestamp", "entryCSN")


class Context(contextlib.ExitStack):
    """`taps` and `targets` are names and paths of executables; the first of each is the one the goals are about."""

    def __init__(self, taps, targets, sdk_python=None, scale=1.0, rounds=5, large=200_000):
        super().__init__()
        self.taps, self.targets, self.sdk_python = taps, targets, sdk_python
        self.scale, self.rounds, self.large = scale, rounds, large
        self.dir = self.enter_context(tempfile.TemporaryDirectory(prefix="bench-"))
        self.readers, self.made = {}, 0

    def size(self, full, least=100):
        """A number of entries, scaled."""
        return max(least, int(full * self.scale))

    def folder(self, name):
        """A path in the temporary directory that nobody has had."""
        self.made += 1
        return os.path.join(self.dir, f"{self.made}-{name}")

    def server(self, entries, **options):
        """A server that is stopped at the end of the benchmarks at the latest."""
        options.setdefault("database", f"dbnosync\n{INDEXES}")
        server = Slapd(self.folder("slapd"), entries, **options)
        self.callback(server.stop)
        return server

    def reading(self, count):
        """A server with so many entries, TLS included, which is only read: the measures of one size share it."""
        if count not in self.readers:
            self.readers[count] = self.server(tree(count, UNITS, mixed=True), tls=True)
        return self.readers[count]

    def tap(self, path, server, **settings):
        """The tap's command that reads one stream of everything, typed, with a catalog made beforehand: discovery is not
        part of the time. Raises `Failed` where the tap refuses a setting."""
        name = os.path.basename(self.folder("tap"))
        settings = {"schemas": [{"name": "all"}], "enable_metrics": False, **settings}
        config = server.config(f"{name}.json", **settings)
        catalog = os.path.join(server.dir, f"{name}.catalog.json")
        command = [path, "--config", config, "--log-level", "error"]
        with open(catalog, "w") as f:
            done = subprocess.run([*command, "--discover"], stdout=f, stderr=subprocess.PIPE)
        if done.returncode != 0:
            raise Failed(done.stderr.decode(errors="replace").strip())
        return [*command, "--catalog", catalog]

    def target(self, path, server, **settings):
        """The target's command that mirrors what it is given into a server."""
        name = os.path.basename(self.folder("target"))
        settings = {"base_dn": None, "enable_metrics": False, **settings}
        config = server.config(f"{name}.json", **settings)
        return [path, "--config", config, "--log-level", "error"]

    def search(self, server, *options, url=None, base=SUFFIX):
        """ldapsearch of everything the tap reads, as LDIF."""
        return server.command("ldapsearch", "-LLL", *options, "-b", base, *ATTRIBUTES, url=url)

    def timed(self, server, *commands, **options):
        """A `Client.run`: the commands, with the server's CPU."""
        return lambda: run(*commands, servers=[server.pid], **options)

    def reader(self, name, server, command, count):
        """A client that reads `count` entries as Singer messages, once looked at: what does less is soon done."""
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
        expect(name, "records", output.count(b'"type":"RECORD"') + output.count(b'"type": "RECORD"'), count)
        return Client(name, self.timed(server, command))


def expect(name, what, found, wanted):
    """Raises `Failed` where a client did not do what it was measured for."""
    if found != wanted:
        raise Failed(f"{name}: {found} {what}, not {wanted}")


# What both are measured with where pages are: the tap keeps every size but its default, 1,000, from which pages may grow.
PAGE_SIZE = 1001
PAGES = f"pages of {PAGE_SIZE:,}"
PAGED = ("-E", f"pr={PAGE_SIZE}/noprompt")
