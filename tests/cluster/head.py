"""A cluster's head on this machine, for tests: a disk in a file, with PostgreSQL and MLflow's settings on it."""

import os
import re
import shutil
import signal
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "cluster"


def sh(script, *arguments, check=True, **environment):
    """Run one of cluster/'s scripts and return what it printed."""
    done = subprocess.run(
        ["bash", SCRIPTS / script, *map(str, arguments)],
        env={**os.environ, "LC_ALL": "C", **environment},  # as a machine that is set up by a program
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert not check or done.returncode == 0, done.stderr
    return done if not check else done.stdout.strip()


def tool(*command):
    """Run a program of the system and return what it printed."""
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()


def require_root():
    """Skip where disks cannot be made and mounted."""
    if os.geteuid() != 0 or shutil.which("losetup") is None:
        pytest.skip("needs root and losetup, to make and mount a disk")
    if subprocess.run(["losetup", "-f"], capture_output=True, check=False).returncode != 0:
        pytest.skip("this kernel gives no loop devices")


def require_postgres():
    """Skip where Debian's PostgreSQL is missing."""
    if shutil.which("pg_createcluster") is None or not list(Path("/usr/lib/postgresql").glob("*/bin/postgres")):
        pytest.skip("needs Debian's PostgreSQL (apt-get install postgresql)")


class Disk:
    """A disk in a file: it stays when the machine that it hangs on is lost."""

    def __init__(self, megabytes=64):
        self.folder = Path(tempfile.mkdtemp(prefix="sweeps-disk-"))  # not under pytest's own: PostgreSQL must get in
        self.folder.chmod(0o755)
        self.file = self.folder / "disk"
        self.mounted = self.folder / "mounted"
        with self.file.open("wb") as file:
            file.truncate(megabytes << 20)
        self.device = None
        self.plug()

    def plug(self):
        """Attach it, as a new machine does."""
        self.device = tool("losetup", "--show", "-f", str(self.file))

    def unplug(self):
        """Detach it, mounted or not."""
        subprocess.run(["umount", self.mounted], capture_output=True, check=False)
        subprocess.run(["losetup", "-d", self.device], capture_output=True, check=False)

    def mount(self, **options):
        """Mount it by the script."""
        return sh("mount_volume.sh", self.device, self.mounted, **options)

    def remove(self):
        """Leave nothing behind, though a process that is being killed may still hold a file."""
        subprocess.run(["umount", "--lazy", self.mounted], capture_output=True, check=False)
        self.unplug()
        shutil.rmtree(self.folder, ignore_errors=True)


class Head:
    """PostgreSQL on a disk, under a name of the test's own."""

    def __init__(self, disk, name="sweeps_test"):
        self.disk = disk
        self.name = f"{name}_{os.getpid()}"
        self.folder = disk.mounted / "postgresql"
        self.port = None

    def start(self):
        """Do what a head does at its set-up."""
        self.disk.mount()
        self.port = sh("postgres.sh", self.folder, "root", "study", "mlflow", "mlflow_users", SWEEP_POSTGRES=self.name)
        sh("mlflow_service.sh", ROOT, "root", self.port, self.disk.mounted / "store", self.disk.mounted)

    @property
    def settings(self):
        """Return the file that a sweep reads."""
        return self.disk.mounted / "settings" / "sweep.env"

    def sql(self, text, database="study"):
        """Run a statement as the user that runs the sweeps."""
        return tool("psql", "-h", "/var/run/postgresql", "-p", self.port, "-qAtc", text, database)

    def back_up(self):
        """Dump the databases; return where to."""
        said = sh("backup.sh", SWEEP_SETTINGS=str(self.settings))
        return re.search(r"^backup: (.*)$", said, re.MULTILINE)[1]

    def kill(self):
        """End PostgreSQL as a power cut does."""
        pid = self.folder / "data" / "postmaster.pid"
        if pid.exists():
            parent = pid.read_text().split()[0]
            children = subprocess.run(["pgrep", "-P", parent], capture_output=True, text=True, check=False).stdout
            for process in [parent, *children.split()]:
                try:
                    os.kill(int(process), signal.SIGKILL)
                except ProcessLookupError:
                    continue

    def lose(self):
        """Lose the machine, with its processes and its root disk, and give the volume to a new one."""
        self.kill()
        (self.folder / "boot").write_text("of the machine that is gone\n")
        (self.folder / "data" / "postmaster.pid").write_text(
            f"{os.getpid()}\n{self.folder}/data\n"
        )  # alive, and not it
        for link in Path("/etc/postgresql").glob(f"*/{self.name}"):
            link.unlink()
        for socket in Path("/var/run/postgresql").glob(f".s.PGSQL.{self.port}*"):
            socket.unlink()
        for _ in range(50):
            self.disk.unplug()
            if not self.disk.mounted.is_mount():
                break
        self.disk.plug()

    def remove(self):
        """Leave nothing behind."""
        self.kill()
        for link in Path("/etc/postgresql").glob(f"*/{self.name}"):
            link.unlink()
        for log in Path("/var/log/postgresql").glob(f"*{self.name}*"):
            log.unlink()


@contextmanager
def new_head(*name):
    """Yield a head of a new machine with an empty volume, under a name of its own where one is given."""
    disk = Disk(megabytes=1024)
    head = Head(disk, *name)
    try:
        head.start()
        yield head
    finally:
        head.remove()
        disk.remove()
