"""The pair together, from one server to another."""

from context import expect
from contest import Client, contest, goal, result, rows, speed
from process import run
from slapd import SUFFIX
from writing import UNSYNCED


def mirror(context):
    """(j) tap | target beside ldapsearch | ldapadd."""
    count = context.size(100_000)
    source = context.reading(count)
    destination = {}

    def renew():
        if destination:
            destination["server"].stop()
        # An empty database: the suffix itself is copied, too.
        destination["server"] = context.server([], database=UNSYNCED)

    def piped(first, second):
        servers = [source.pid, destination["server"].pid]
        return run(first, second, servers=servers)

    def openldap():
        search = source.command("ldapsearch", "-LLL", "-b", SUFFIX, "*")
        return piped(search, destination["server"].command("ldapadd"))

    def pair(tap, target):
        return piped(tap, context.target(target, destination["server"]))

    def complete():
        expect("from server to server", "entries", destination["server"].count(), count)

    peer = Client("ldapsearch \\| ldapadd", openldap, renew, complete)
    clients = [peer]
    for (tap_name, tap), (target_name, target) in zip(context.taps.items(), context.targets.items()):
        command = context.tap(tap, source)
        clients.append(
            Client(
                f"{tap_name} \\| {target_name}", lambda command=command, target=target: pair(command, target), renew, complete
            )
        )
    contest(clients, context.rounds, warm=0)
    destination["server"].stop()
    goals = [goal("tap to target / ldapsearch to ldapadd: times as fast", ">= 1.3", speed(clients[1], peer))]
    how = f"{count:,} entries into an empty directory, dbnosync; CPU of both programs, and of both servers."
    return result("From server to server", how, rows(clients, peer, faster=True), goals, faster=True)
