"""PostgreSQL and an S3, real processes of their own: to be killed and started again.

PostgreSQL is Debian's; S3 is moto's server, in an environment of its own, as its packages break MLflow's.
"""

import os
import pwd
import shutil
import signal
import subprocess
import time
import urllib.request
from pathlib import Path

from tests.faults.servers import STARTS_S, free_port

BUCKET = "sweeps"
S3_KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1"}
"""What moto takes; no secrets."""


def postgresql_programs():
    """Return the folder of PostgreSQL's programs, the newest, or None."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    return found[-1].parent if found else None


class PostgreSQL:
    """A server on loopback whose databases lie under a folder; it takes everybody from this machine."""

    def __init__(self, folder, programs):
        """Make the databases' folder; start nothing yet."""
        self._data, self._programs, self.port = folder / "data", programs, free_port()
        self._user = "postgres" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name
        folder.mkdir(parents=True)
        if os.getuid() == 0:  # whom it refuses to serve
            shutil.chown(folder, self._user)
        self._run("initdb", "-D", str(self._data), "-U", "sweeps", "--auth=trust", "--no-sync", "--encoding=UTF8")
        with (self._data / "postgresql.conf").open("a") as settings:
            settings.write(f"port={self.port}\nlisten_addresses='127.0.0.1'\nunix_socket_directories=''\n")

    def uri(self, database):
        """Return a database's URI."""
        return f"postgresql+psycopg://sweeps@127.0.0.1:{self.port}/{database}"

    def start(self):
        """Start it and wait until it serves, after a crash with what it had promised to keep."""
        log = str(self._data.parent / "log")
        self._run("pg_ctl", "-D", str(self._data), "-l", log, "-w", "-t", str(STARTS_S), "start")

    def create(self, *databases):
        """Make databases."""
        for database in databases:
            self._run("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "sweeps", database)

    def crash(self):
        """Kill it and all its processes."""
        pid = int((self._data / "postmaster.pid").read_text().split()[0])
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for each in (pid, *map(int, children)):
            try:
                os.kill(each, signal.SIGKILL)
            except ProcessLookupError:
                continue
        while any(Path(f"/proc/{each}").exists() for each in (pid, *children)):
            time.sleep(0.05)

    def stop(self):
        """End it."""
        try:
            self._run("pg_ctl", "-D", str(self._data), "-m", "immediate", "-w", "stop")
        except subprocess.CalledProcessError:
            return  # it does not run

    def _run(self, program, *words):
        line = [str(self._programs / program), *words]
        if os.getuid() == 0:
            line = ["runuser", "-u", self._user, "--", *line]
        subprocess.run(line, check=True, stdout=subprocess.DEVNULL, cwd="/", timeout=STARTS_S * 2)


def _words(keys):
    """Return keys as boto3's clients take them."""
    return {name.lower(): keys[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}


class S3:
    """moto's server on loopback; it keeps everything in its memory."""

    def __init__(self, program, log, host="127.0.0.1"):
        """Start nothing yet; `program` is moto_server, `host` the address at which it listens."""
        self._program, self._log, self._host, self.port = program, log, host, free_port()
        self.uri = f"http://{host}:{self.port}"
        self.environment = {**S3_KEYS, "MLFLOW_S3_ENDPOINT_URL": self.uri, "AWS_ENDPOINT_URL": self.uri}

    def start(self):
        """Start it, and make the bucket."""
        with self._log.open("a") as log:
            self._process = subprocess.Popen(
                [self._program, "-H", self._host, "-p", str(self.port)], stdout=log, stderr=log, start_new_session=True
            )
        end = time.monotonic() + STARTS_S
        while time.monotonic() < end:
            try:
                make = urllib.request.Request(f"{self.uri}/{BUCKET}", method="PUT")  # noqa: S310  (loopback)
                with urllib.request.urlopen(make, timeout=5):  # noqa: S310
                    return
            except OSError:
                time.sleep(0.3)
        raise TimeoutError(f"moto's server did not start: {self._log.read_text()[-2000:]}")

    def refuse(self):
        """Let moto check keys and policies from now on, and hold those of a user who may do nothing."""
        import boto3

        iam = boto3.client("iam", endpoint_url=self.uri, region_name="us-east-1", **_words(S3_KEYS))
        iam.create_user(UserName="nobody")
        key = iam.create_access_key(UserName="nobody")["AccessKey"]
        self.environment |= {
            "AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]
        }  # fmt: skip
        say = {"method": "POST", "headers": {"Content-Type": "text/plain"}}
        asked = urllib.request.Request(f"{self.uri}/moto-api/reset-auth", data=b"0", **say)  # noqa: S310  (loopback)
        urllib.request.urlopen(asked, timeout=5).close()  # noqa: S310

    def stop(self):
        """End it."""
        self._process.kill()
        self._process.wait()
