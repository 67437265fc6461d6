"""A real sweep on a cluster whose nodes each lack something: `make bad-nodes-test`.

Test hosts (hosts.py), one good worker among them: one has another numpy, one no data, of one the cache's disk is full,
of one /tmp; and two cannot join: another token, another Ray and Python. Each must be told in a line with what to do,
and the sweep must end with every trial completed. What was printed is shown, and written as a page with --page FILE.
Skips, with the reason, where there can be no test hosts.
"""

import argparse
import json
import secrets
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from orchestrator.paths import SweepPaths
from orchestrator.shipping import PACKAGES, ROOT
from tests.cluster.hosts import Hosts, lacking
from tests.cluster.transcript import Transcript, write_page
from tests.faults.lab import SPACE
from tests.tiny import write_data, write_encoder

GOOD, NUMPY, NO_DATA, FULL_CACHE, FULL_TMP, TOKEN, VERSION = range(2, 9)
HOSTS, TRIALS, EPOCHS = 8, 8, 3
PYTHON = (ROOT / ".venv").resolve() / "bin" / "python"
HEAD = f"{Hosts.address(1)}:6379"
SETTINGS = (
    "export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=/root/token OMP_NUM_THREADS=1 RAY_USAGE_STATS_ENABLED=0 "
    "PYTHONPATH=/mnt/shared/code"
)
SWEEP = "-m orchestrator.{} /mnt/shared/tiny.py --out /mnt/shared/runs --data /root/data --encoder /mnt/shared/encoder"
LIMIT_S, JOIN_S = 480, 60
OTHER_RAY = "import ray._private.utils as u\nu.compute_version_info = lambda: ('2.55.0', '3.12.3')\n"
FULL = "head -c 1G /dev/zero >{0}/filler 2>/dev/null || true"


class Story(Transcript):
    """One run: the hosts, what was printed, and what does not hold."""

    def __init__(self, hosts):
        """Put code, data and encoder where the hosts see them."""
        super().__init__()
        self.hosts = hosts
        shared = hosts.shared
        for package in PACKAGES:
            shutil.copytree(ROOT / package, shared / "code" / package, ignore=shutil.ignore_patterns("__pycache__"))
        for name, write in (("data", write_data), ("encoder", write_encoder)):
            (shared / name).mkdir()
            write(shared / name)
        (shared / "tiny.py").write_text(SPACE.format(trials=TRIALS, epochs=EPOCHS, halving=None), encoding="utf-8")
        (shared / "token").write_text(secrets.token_hex(32), encoding="ascii")
        for number in range(1, HOSTS + 1):
            hosts.ssh(number, "install -m 600 /mnt/shared/token /root/token; cp -r /mnt/shared/data /root/data")

    def spoil(self):
        """Take from each host what it is to lack."""
        ssh = self.hosts.ssh
        ssh(NUMPY, "mkdir -p /root/other/numpy-9.9.9.dist-info")
        metadata = "'Metadata-Version: 2.1\\nName: numpy\\nVersion: 9.9.9\\n'"
        ssh(NUMPY, f"printf {metadata} >/root/other/numpy-9.9.9.dist-info/METADATA")
        ssh(NO_DATA, "rm -r /root/data")
        ssh(FULL_CACHE, "mkdir /root/cache; mount -t tmpfs -o size=1m tmpfs /root/cache; " + FULL.format("/root/cache"))
        ssh(FULL_TMP, "mount -t tmpfs -o size=96m tmpfs /tmp")
        ssh(TOKEN, f"printf {secrets.token_hex(32)} >/root/token")
        (self.hosts.shared / "other-ray").mkdir()
        (self.hosts.shared / "other-ray" / "sitecustomize.py").write_text(OTHER_RAY, encoding="utf-8")

    def join(self):
        """Start Ray on the head and on the hosts that can join; then fill a disk."""
        start = (
            f"{SETTINGS}; {{}} {PYTHON} -m ray.scripts.scripts start --disable-usage-stats {{}} >/root/start.log 2>&1"
        )
        self.hosts.ssh(1, start.format("", "--head --port=6379 --num-cpus=0 --include-dashboard=false"))
        more = {NUMPY: "export PYTHONPATH=/root/other;", FULL_CACHE: "export SWEEP_CACHE=/root/cache;"}
        for number in (GOOD, NUMPY, NO_DATA, FULL_CACHE, FULL_TMP):
            self.hosts.ssh(number, start.format(more.get(number, ""), f"--address={HEAD} --num-cpus=1"))
        self.hosts.ssh(FULL_TMP, FULL.format("/tmp"))  # noqa: S108  (a host's own)

    def cannot_join(self):
        """Hold what the doctor says on the two hosts that are refused."""
        doctor = f"{SETTINGS}{{}}; cd /mnt/shared && {PYTHON} {SWEEP.format('doctor')} --address {HEAD}"
        version = f"this process on node {Hosts.address(VERSION)} is Ray 2.55.0 on Python 3.12.3"
        for number, more, said in (
            (TOKEN, "", "refuses our token (of /root/token); expected the one that its head was started with"),
            (VERSION, ":/mnt/shared/other-ray", version),
        ):  # fmt: skip
            code, printed = self.hosts.asked(number, doctor.format(more), LIMIT_S)
            wrong = [line for line in printed.splitlines() if line.startswith("FAIL")]
            if len(wrong) != 1:
                print(printed[-3000:])
            for line in wrong:
                self.say(f"     doctor on {Hosts.name(number)}: {line}")
            self.expect(
                f"{Hosts.name(number)}: one line, exit code {code}",
                holds=code == 4 and len(wrong) == 1 and said in wrong[0],
            )

    def run(self):
        """Run the sweep; hold what it prints against what each host lacks."""
        began = time.monotonic()
        command = f"{SETTINGS}; cd /mnt/shared && {PYTHON} {SWEEP.format('sweep')} --address {HEAD} --cpus-per-trial 1"
        code, printed = self.hosts.asked(1, f"{command} --epochs {EPOCHS}", LIMIT_S)
        took = time.monotonic() - began
        told = [line for line in printed.splitlines() if "note: node " in line]
        for line in told:
            self.say(f"     {line[line.index('note: node ') :]}")
        for number, said in (
            (NUMPY, f"node {Hosts.name(NUMPY)}: has numpy 9.9.9, the driver numpy "),
            (NO_DATA, f"node {Hosts.name(NO_DATA)}: /root/data: no such data folder; expected "),
            (FULL_CACHE, f"node {Hosts.name(FULL_CACHE)}: /root/cache/tokens: the token cache cannot be written"),
            (FULL_CACHE, f"node {Hosts.name(FULL_CACHE)}: /root/cache/prefix: the prefix cache "),
            (FULL_TMP, f"node {Hosts.address(FULL_TMP)}: Ray can start nothing there (No space left on device)"),
        ):  # fmt: skip
            self.expect(f"{Hosts.name(number)}: one line, {said!r}", holds=sum(said in line for line in told) == 1)
        self.expect(f"no line of another node ({len(told)} lines)", holds=len(told) == 5)
        board = SweepPaths(self.hosts.shared / "runs", "tiny").leaderboard
        rows = json.loads(board.read_text(encoding="utf-8"))["trials"] if board.exists() else []
        states = [row["state"] for row in rows]
        self.expect(
            f"the sweep ends with {code}; completed: {states.count('completed')} of {TRIALS}, in {took:.0f} s",
            holds=code == 0 and states == ["completed"] * TRIALS,
        )
        if self.failures:
            print(printed[-6000:])


def main():
    """Run it; the exit code is 1 where something does not hold, 0 too where this machine can have no test hosts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--page", type=Path, help="write the transcript here")
    arguments = parser.parse_args()
    under_tmp = (ROOT / ".venv").resolve().is_relative_to("/tmp")  # noqa: S108
    if why := lacking() or ("the environment lies under /tmp, which a host here loses" if under_tmp else ""):
        print(f"skipped: {why}")
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # hosts are taken down then too
    with tempfile.TemporaryDirectory(prefix="mts-", dir="/var/tmp", ignore_cleanup_errors=True) as folder:
        with Hosts(Path(folder) / "hosts", HOSTS) as hosts:
            story = Story(hosts)
            story.spoil()
            story.join()
            story.cannot_join()
            story.run()
        write_page(arguments.page, "Nodes that each lack something", "make bad-nodes-test", story.lines)
    raise SystemExit(int(bool(story.failures)))


if __name__ == "__main__":
    main()
