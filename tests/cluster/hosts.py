"""Test hosts from Python: hosts.sh beside this makes them; here they are started, cut off and asked."""

import os
import subprocess
from pathlib import Path

SCRIPT = Path(__file__).with_name("hosts.sh")
OPTIONS = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "ConnectTimeout=5")


def lacking():
    """Return why this machine can have no test hosts, or nothing."""
    done = subprocess.run([SCRIPT, "check"], env=os.environ | {"HOSTS": "/nonexistent"}, capture_output=True, text=True)  # noqa: PLW1510
    return (done.stdout + done.stderr).strip()


class Hosts:
    """So many hosts under a folder, each a machine of its own but for the kernel, the clock and the cores.

    Number 1 is the head by custom. Use it as a context: whatever happens, they are gone afterwards.
    """

    def __init__(self, folder, count):
        """Make nothing yet."""
        self.folder, self.count = folder, count

    def __enter__(self):
        """Bring them up."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._run("up", self.count)
        return self

    def __exit__(self, *_):
        """End all that runs on them."""
        self._run("down")

    @property
    def shared(self):
        """Return the folder that they see as /mnt/shared."""
        return self.folder / "shared"

    @property
    def key(self):
        """Return the SSH key that every host takes."""
        return self.folder / "key"

    @staticmethod
    def address(number):
        """Return a host's address."""
        return f"10.78.0.1{number}"

    @staticmethod
    def name(number):
        """Return a host's name, as it says it itself."""
        return f"mts{number}"

    def cut(self, number):
        """Take a host away as a power cut does: no connection is closed, every process is gone."""
        self._run("cut", number)

    def start(self, number):
        """Boot it again, with the disk that it had."""
        self._run("start", number)

    def wipe(self, number):
        """Replace its disk by an empty one; it must be off."""
        self._run("wipe", number)

    def ssh(self, number, command):
        """Run a command there; return its output. Raises CalledProcessError."""
        return subprocess.run(
            self._line(number, command), capture_output=True, text=True, check=True, timeout=120
        ).stdout

    def asked(self, number, command, timeout_s):
        """Run a command there; return its exit code and all that it printed."""
        line = self._line(number, command)
        done = subprocess.run(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout_s)  # noqa: PLW1510
        return done.returncode, done.stdout

    def _line(self, number, command):
        options = [part for option in OPTIONS for part in ("-o", option)]
        return ["ssh", "-i", str(self.key), *options, f"root@{self.address(number)}", command]

    def _run(self, *words):
        environment = os.environ | {"HOSTS": str(self.folder)}
        subprocess.run([SCRIPT, *map(str, words)], env=environment, check=True, timeout=120)
