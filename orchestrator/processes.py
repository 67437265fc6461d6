"""No process outlives its driver: a guardian ends what the driver started, when the driver is gone.

After kill -9 of a driver Ray's workers live on for two seconds and write, and its agents for minutes. The guardian is a
process of its own (`python -m orchestrator.processes PID MARK`) that waits for its standard input to end: the kernel
closes it, however the driver dies. It knows a process by having seen it under the driver, or by a mark in its
environment; neither is enough, since Ray's processes lose their parent, and their titles overwrite their environment.
"""

import os
import select
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

VARIABLE = "SWEEP_PROCESSES"
"""In the environment of every process that a driver starts: names the driver's run."""
LOOK_S = 0.5
AGAIN_S = 0.05
GONE_S = 5.0
GIVE_UP_S = 60.0
"""Seconds after which a process that the kernel does not let go of is left to it."""


@contextmanager
def guardian() -> Iterator[None]:
    """See to it that nothing that is started from here on is left afterwards."""
    mark = uuid.uuid4().hex
    command = [sys.executable, "-m", __name__, str(os.getpid()), mark]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
    os.environ[VARIABLE] = mark
    try:
        yield
    finally:
        del os.environ[VARIABLE]
        assert process.stdin is not None
        process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            process.wait(GONE_S)


Process = tuple[int, int]
"""A pid, and when the process started in the kernel's ticks since boot: pids are used again."""


def processes() -> dict[Process, int]:
    """Return the parent of every process."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError, ValueError, IndexError):
                # The name in parentheses may hold anything, parentheses too.
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                found[int(folder.name), int(fields[19])] = int(fields[1])
    return found


def under(roots: set[int], parents: dict[Process, int]) -> set[Process]:
    """Return the processes below these pids, however far."""
    found: set[Process] = set()
    while more := {each for each, parent in parents.items() if parent in roots} - found:
        found |= more
        roots = {pid for pid, _ in more}
    return found


def marked(mark: str) -> set[int]:
    """Return the pids of this user's processes that carry the mark."""
    wanted, found = f"{VARIABLE}={mark}".encode(), set()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError):  # gone, or somebody else's
                if wanted in (folder / "environ").read_bytes().split(b"\0"):
                    found.add(int(folder.name))
    return found


def guard(driver: int, mark: str) -> None:
    """Wait for the driver's end, then kill what it started."""
    ours = {os.getpid(), driver}
    seen: set[Process] = set()
    while not select.select([sys.stdin], [], [], LOOK_S)[0]:
        seen |= under({driver}, processes())
    end = time.monotonic() + GIVE_UP_S
    while time.monotonic() < end:  # a process that was being started when the others died comes up yet
        now = processes()
        seen |= under({pid for pid, _ in seen & now.keys()}, now)  # not the driver's: its pid may be another's by now
        left = ({pid for pid, _ in seen & now.keys()} | marked(mark)) - ours
        if not [pid for pid in left if _kill(pid)]:
            return
        time.sleep(AGAIN_S)


def _kill(pid: int) -> bool:
    """Kill a process; return whether there was one to kill, not just its entry in the table."""
    try:
        zombie = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        os.kill(pid, signal.SIGKILL)
    except OSError:
        return False
    return not zombie


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # a Ctrl-C reaches the whole terminal; the driver decides
    guard(int(sys.argv[1]), sys.argv[2])
