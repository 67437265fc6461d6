"""The head's machine destroyed with its disk, after a sweep and its confirmation: `make head-test`.

`ray up` on test hosts, a head and a worker. On the head, by cluster/'s own scripts, a data volume (a disk in a file),
PostgreSQL on it and MLflow in front of that; artifacts go to an S3 outside. A sweep by cluster/sweep.sh, its champion
confirmed, its predictions. Then a power cut: what the volume's bytes were in that moment is all that is left of the
machine. A new one comes, with the volume; the same scripts, and everything is asked again.
"""

import argparse
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.cluster.boards import differences
from tests.cluster.head import require_postgres, require_root, tool
from tests.cluster.hosts import Hosts, lacking
from tests.cluster.launcher import CHECKOUT, SHIPPED, Launcher
from tests.cluster.services import BUCKET, S3
from tests.cluster.transcript import Transcript, write_page
from tests.faults.lab import SPACE
from tests.tiny import write_data, write_encoder

VOLUME = "/mnt/sweeps"
SHARED = "/mnt/shared"
MLFLOW = "http://127.0.0.1:5000"
DISK_BYTES = 2 << 30
WAIT_S = 400
TRIALS, EPOCHS = 20, 6
BRIDGE = "10.78.0.1"
SWEEP = f"{SHARED}/tiny.py --data {SHARED}/data --encoder {SHARED}/encoder --epochs {EPOCHS} --cpus-per-trial 1"
SWEEP += " --keep-checkpoints 3"  # few to send, among trials that go on for longer than MLflow's first sync
SETTINGS = f"{VOLUME}/settings"
COMMON = f"cd {CHECKOUT} && . {SETTINGS}/sweep.env && export SWEEP_SETTINGS={SETTINGS}/sweep.env && "


class HeadLoss(Transcript):
    """One run of the story."""

    def __init__(self, folder, moto, clients):
        """Make the disk; `clients` is a folder with psycopg, boto3 and flask-wtf."""
        super().__init__()
        self.folder, self._moto, self._clients = folder, moto, clients
        self.disk = folder / "disk"
        with self.disk.open("wb") as file:
            file.truncate(DISK_BYTES)
        self.moto_log = folder / "moto.log"
        self.device = None

    def run(self):
        """Go through it all; return whether everything holds."""
        with Hosts(self.folder / "hosts", 2) as self.hosts:
            self._fill_shared()
            s3 = S3(self._moto, self.moto_log, BRIDGE)
            s3.start()
            # What an instance profile gives on AWS; Ray's processes hand it on to the trials.
            self._environment = s3.environment | {"PYTHONPATH": f"{SHARED}/clients", "OMP_NUM_THREADS": "1"}
            try:
                self._story()
            finally:
                s3.stop()
                self._unplug()
        return not self.failures

    def _story(self):
        launcher = Launcher(self.hosts, self._environment)
        self.set_up(launcher)
        self.work(launcher)
        sent = Counter(re.findall(r'^(\S+) .*"PUT /\S+/model.safetensors', self.moto_log.read_text(), re.MULTILINE))
        self.expect(
            f"weights sent to S3, by address: {dict(sent)}; the worker's is among them",
            holds=sent[self.hosts.address(2)] > 0,
        )
        before = self.asked("before")
        sums = set(before["files"].values())
        weights = [version["files"].get("model.safetensors") for version in before["versions"].values()]
        self.expect("MLflow gives back each version's own weights", holds=weights and sums.issuperset(weights))
        trained = self.started()
        self.say(
            f"the study is in {before['study'].partition(':')[0]}; MLflow has {len(before['runs'])} runs and "
            f"{len(before['versions'])} model versions, {before['aliases']}; {len(before['files'])} leaderboards, "
            "verdicts and checkpoints"
        )
        self.lose(launcher)
        self.set_up(launcher)
        after = self.asked("after")
        for what in ("trials in the study", "runs", "versions", "aliases", "files"):
            self.expect(f"{what}: the same {len(before[what])}", holds=after[what] == before[what] and before[what])
        self.expect("the champion's predictions: the same bytes", holds=self.predicted("before", "after"))
        board = self.board()
        self.work(launcher)
        self.expect("the same commands again train nothing", holds=self.started() == trained)
        self.expect("and leave the same leaderboard", holds=not differences(board, self.board()))
        self.expect("and the same champion", holds=self.asked("at the end")["aliases"] == before["aliases"])
        launcher.down()

    def set_up(self, launcher):
        """Bring Ray up, and on the head what cluster/head.sh brings, but for systemd, which the host has not."""
        began = time.monotonic()
        launcher.up()
        self.device = tool("losetup", "--show", "-f", str(self.disk))
        self.on_head(f"bash cluster/mount_volume.sh {self.device} {VOLUME}")
        port = self.on_head(f"bash cluster/postgres.sh {VOLUME}/postgresql root study mlflow mlflow_users").strip()
        self.on_head(f"bash cluster/mlflow_service.sh $PWD root {port} s3://{BUCKET} {VOLUME}")
        # aws, which is not installed here, would bring the backups to the bucket.
        self.on_head(f"echo 'export SWEEP_BACKUPS={SHARED}/backups' >> {SETTINGS}/sweep.env")
        unit = self.on_head(f"cat {SETTINGS}/mlflow.service")
        line = re.search(r"^ExecStart=((?:.*\\\n)*.*)$", unit, re.MULTILINE)[1].replace("\\\n", " ")
        given = " ".join(re.findall(r"^Environment=(.*)$", unit, re.MULTILINE))
        self.on_head(  # systemd reads mlflow.env by lines, not as a shell
            f'while IFS= read -r line; do export "$line"; done < {SETTINGS}/mlflow.env; export {given}; '
            f"setsid nohup {line} > /tmp/mlflow.log 2>&1 < /dev/null & sleep 1"
        )
        health = f"curl -sf -o /dev/null {MLFLOW}/health && echo yes || true"
        self._until("MLflow answers", lambda: "yes" in self.on_head(health))
        self.say(f"`ray up`, volume, PostgreSQL and MLflow are there after {time.monotonic() - began:.0f} s")

    def work(self, launcher):
        """Run the sweep and its confirmation on the cluster, as a person does."""
        address = f"--address {self.hosts.address(1)}:6379"
        where = f"{address} --out {SHARED}/runs --tracking-uri {MLFLOW} --quiet"
        for what, command in (
            ("sweep", f"bash cluster/sweep.sh {SWEEP} {where}"),
            ("confirm", f".venv/bin/python -m orchestrator.confirm tiny --top 1 --seeds 2 {where}"),
        ):
            began = time.monotonic()
            process = launcher.exec(f"{self._exports()} {COMMON} {command}", self.folder / "exec.log")
            code = process.wait(WAIT_S)
            self.expect(f"{what} ends with {code} after {time.monotonic() - began:.0f} s", holds=code == 0)

    def lose(self, launcher):
        """Cut the head off and empty its own disk; of the volume, keep the bytes that it had in that moment."""
        for pid in tool("ip", "netns", "pids", Hosts.name(1)).split():
            os.kill(int(pid), signal.SIGSTOP)  # so that the bytes are of one moment
        shutil.copyfile(self.disk, self.folder / "image")
        self.hosts.cut(1)
        self._unplug()
        (self.folder / "image").replace(self.disk)
        self.hosts.wipe(1)
        self.hosts.start(1)
        launcher.down()
        left = self.hosts.ssh(1, f"ls -A /root /etc/postgresql; ls {VOLUME} 2>&1 || true")
        self.say("the head is cut off and its disk is empty; a new machine has booted in its place")
        self.expect("nothing of the old one is on it", holds="sweeps" not in left.replace(f"'{VOLUME}'", ""))

    def asked(self, when):
        """Return what study, MLflow, S3 and the shared folder hold, asked on the head; and let the champion predict."""
        text = self.on_head(
            f"{COMMON} .venv/bin/python -m tests.cluster.kept {SHARED}/runs tiny {MLFLOW} && "
            f".venv/bin/python -m orchestrator.predict --model tiny --data {SHARED}/data --tracking-uri {MLFLOW} "
            f"--out '{SHARED}/predicted {when}' > /dev/null"
        )
        return json.loads(text.splitlines()[-1])

    def predicted(self, *whens):
        """Return whether the champion wrote the same predictions."""
        folders = [self.hosts.shared / f"predicted {when}" for when in whens]
        one, other = ({path.name: path.read_bytes() for path in folder.glob("*.csv")} for folder in folders)
        return one == other and len(one) > 1

    def board(self):
        """Return the leaderboard."""
        return json.loads((self.hosts.shared / "runs/tiny/leaderboard.json").read_text(encoding="utf-8"))

    def started(self):
        """Return every attempt that was ever begun."""
        return sorted(path.parent for path in self.hosts.shared.glob("runs/tiny/**/started.json"))

    def on_head(self, command):
        """Run a command in the head's checkout; return its output."""
        try:
            return self.hosts.ssh(1, f"cd {CHECKOUT} && {self._exports()} {command}")
        except subprocess.CalledProcessError as error:
            raise RuntimeError(f"{command}: {error.stdout[-2000:]}{error.stderr[-3000:]}") from error

    def _exports(self):
        more = self._environment | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": "/root/.ray-token"}
        return "export " + " ".join(f"{name}={shlex.quote(value)}" for name, value in more.items()) + ";"

    def _fill_shared(self):
        shared = self.hosts.shared
        for name in ("data", "encoder"):
            (shared / name).mkdir()
        write_data(shared / "data")
        write_encoder(shared / "encoder")
        (shared / "tiny.py").write_text(SPACE.format(trials=TRIALS, epochs=EPOCHS, halving=None), encoding="utf-8")
        shutil.copytree(self._clients, shared / "clients")

    def _until(self, what, holds):
        end = time.monotonic() + WAIT_S
        while not holds():
            if time.monotonic() > end:
                raise TimeoutError(f"{what}: not within {WAIT_S} s\n{self.on_head('tail -n 30 /tmp/mlflow.log')}")
            time.sleep(1)

    def _unplug(self):
        if self.device is not None:
            subprocess.run(["losetup", "-d", self.device], check=False)
            self.device = None


def main():
    """Run it; the exit code is 1 where something does not hold, 0 too where this machine can have no test hosts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--moto", type=Path, required=True, help="moto_server")
    parser.add_argument("--clients", type=Path, required=True, help="folder of psycopg, boto3 and flask-wtf")
    parser.add_argument("--page", type=Path, help="write the transcript here")
    arguments = parser.parse_args()
    try:
        if why := lacking() or ("" if SHIPPED.exists() else f"there is no {SHIPPED}"):
            pytest.skip(why)
        require_root()
        require_postgres()
    except pytest.skip.Exception as why:
        print(f"skipped: {why}")
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # hosts are taken down then too
    # Not under /tmp, which is each host's own.
    with tempfile.TemporaryDirectory(prefix="mts-", dir="/var/tmp", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        walk = HeadLoss(Path(folder), arguments.moto.resolve(), arguments.clients.resolve())
        holds = walk.run()
        write_page(arguments.page, "The head's machine destroyed, with its disk", "make head-test", walk.lines)
    raise SystemExit(int(not holds))


if __name__ == "__main__":
    main()
