"""OIDC providers that issue JWTs: oauth2-mock-server and oidc-provider (Node), Canaille by pytest-iam (Python)."""

import json
import pathlib
import subprocess

from slapd import die_with_parent

HERE = pathlib.Path(__file__).parent


class Issuer:
    """A running issuer. `token(…)` sends its arguments as a command; see the script for what it accepts."""

    def __init__(self, command, folder):
        self.log = folder / "issuer.log"
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                [str(c) for c in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
                preexec_fn=die_with_parent,
            )
        about = self.answer()
        self.issuer, self.audience = about["issuer"], about.get("audience")

    def answer(self):
        line = self.process.stdout.readline()
        assert line, f"the issuer ended: exit code {self.process.wait()}\n{self.log.read_text()}"
        return json.loads(line)

    def ask(self, **command):
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        return self.answer()

    def token(self, **command):
        return self.ask(**command)["token"]

    def stop(self):
        """Ends the issuer; more than once is no harm."""
        self.process.terminate()
        self.process.wait(timeout=30)
        self.process.stdin.close()
        self.process.stdout.close()


def mock_server(tools, folder):
    return Issuer(["node", HERE / "mock.mjs", tools / "node"], folder)


def oidc_provider(tools, folder):
    return Issuer(["node", HERE / "provider.mjs", tools / "node"], folder)


def iam(tools, folder):
    return Issuer([tools / "oidc" / "bin" / "python", HERE / "iam.py"], folder)


def own(tools, folder, *certificate):
    return Issuer([tools / "oidc" / "bin" / "python", HERE / "own.py", *certificate], folder)
