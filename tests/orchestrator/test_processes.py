"""The guardian: whatever the driver started ends with it, however it ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DRIVER = """
import os, subprocess, sys, time
from orchestrator.processes import guardian

SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]
ORPHAN = (
    "import subprocess, sys; "
    "print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'],"
    " stdout=subprocess.DEVNULL, start_new_session=True).pid)"
)
with guardian():
    own = subprocess.Popen(SLEEP, env={}, start_new_session=True)  # no mark: known as a child alone
    orphan = subprocess.check_output([sys.executable, "-c", ORPHAN], text=True).strip()
    time.sleep(1.5)
    print(own.pid, orphan, flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def driver():
    """Return a driver that has started a child and an orphan, and their pids."""
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    pids = [int(pid) for pid in process.stdout.readline().split()]
    yield process, pids
    process.kill()
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def alive(pid):
    """Return whether a process runs."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("how", ["killed", "ended"])
def test_nothing_outlives_the_driver(driver, how):
    """A child without the mark, and an orphan with it, are gone within seconds."""
    process, pids = driver
    assert len(pids) == 2
    assert all(alive(pid) for pid in pids)

    if how == "killed":
        process.kill()
    else:
        process.stdin.write("\n")
        process.stdin.flush()
    process.wait(30)

    end = time.monotonic() + 10
    while any(alive(pid) for pid in pids) and time.monotonic() < end:
        time.sleep(0.05)
    assert [pid for pid in pids if alive(pid)] == []
