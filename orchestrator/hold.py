"""One driver a sweep on this machine: a lock that the kernel frees. Over all machines it is orchestrator/lease.py."""

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from model.failpoints import DRIVER, reach
from model.files import flush_folder, make_folder, write_json
from orchestrator.errors import ADVICE, RunningElsewhereError
from orchestrator.paths import SweepPaths

PROBE_S = 0.3
"""Seconds that a lock is waited for: longer than somebody's look whether it is held, and than a new holder takes to
write down who it is."""


@contextmanager
def hold(paths: SweepPaths, advice: str = ADVICE) -> Iterator[None]:
    """Hold the sweep's name on this machine. The kernel lets go when the holder dies, however it dies.

    Raises RunningElsewhereError, which ends with the `advice`.
    """
    make_folder(paths.out)
    flush_folder(paths.out.parent)  # whoever made it may have died at it
    lock = _acquired(paths, advice)
    try:
        since = time.strftime("%F %T")
        reach(DRIVER, sweep=paths.name)
        write_json(_holder(paths), {"host": socket.gethostname(), "pid": os.getpid(), "since": since})
        yield
    finally:
        lock.release()


def refuse_if_held(paths: SweepPaths) -> None:
    """Raise RunningElsewhereError where another process of this machine holds the name; leave nothing behind."""
    if paths.lock.exists():
        _acquired(paths, ADVICE).release()


def _acquired(paths: SweepPaths, advice: str) -> FileLock:
    lock = FileLock(paths.lock)
    try:
        lock.acquire(timeout=PROBE_S, poll_interval=PROBE_S / 10)
    except Timeout as error:
        try:
            who = json.loads(_holder(paths).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            who = {"host": "this machine", "pid": "?", "since": "?"}
        raise RunningElsewhereError(
            f"sweep {paths.name!r} is running already on {who['host']}, pid {who['pid']}, since {who['since']}; "
            f"{advice}"
        ) from error
    return lock


def _holder(paths: SweepPaths) -> Path:
    return paths.lock.with_suffix(".holder")
