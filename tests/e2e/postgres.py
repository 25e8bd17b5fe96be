"""A PostgreSQL for the end-to-end tests: in a temporary directory, on loopback, gone at the end."""

import glob
import os
import pwd
import shutil
import subprocess
import tempfile
import time

from slapd import die_with_parent, free_port


class Postgres:
    """A running server; `stop` ends it. It refuses to run as root, so that root runs it as nobody."""

    def __init__(self, folder):
        self.bin = sorted(glob.glob("/usr/lib/postgresql/*/bin"))[-1]
        # A folder that nobody can reach, also where pytest's are root's alone.
        self.dir = tempfile.mkdtemp(prefix="postgres-")
        self.port, self.log = free_port(), folder / "postgres.log"
        self.user = {}
        if os.getuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(self.dir, nobody.pw_uid, nobody.pw_gid)
            self.user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        data = os.path.join(self.dir, "data")
        initdb = [f"{self.bin}/initdb", "-D", data, "-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C.UTF-8"]
        subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL, cwd="/", **self.user)
        command = [f"{self.bin}/postgres", "-D", data, "-p", str(self.port), "-k", self.dir, "-c", "fsync=off"]
        command += ["-c", "listen_addresses=127.0.0.1"]
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(command, stderr=log, stdout=log, cwd="/", preexec_fn=die_with_parent, **self.user)
        try:
            self.wait()
        except BaseException:
            self.stop()
            raise

    def wait(self):
        """Until it takes connections."""
        deadline = time.monotonic() + 30
        while subprocess.run([f"{self.bin}/pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)]).returncode:
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise RuntimeError(f"PostgreSQL does not start: {self.log.read_text()}")
            time.sleep(0.05)

    def query(self, sql):
        """Rows of a query, as lists of texts."""
        command = [f"{self.bin}/psql", "-X", "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", "-AtF", "\t"]
        done = subprocess.run([*command, "-v", "ON_ERROR_STOP=1", "-c", sql], check=True, capture_output=True, text=True)
        return [line.split("\t") for line in done.stdout.splitlines()]

    def stop(self):
        """Ends the server and removes its directory."""
        self.process.terminate()
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)
