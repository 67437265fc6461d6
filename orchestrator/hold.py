"""One driver a sweep: a lock that the kernel frees on this machine, and a lease in the study's database over all."""

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from model.failpoints import DRIVER, reach
from model.files import flush_folder, make_folder, write_json
from orchestrator.errors import RunningElsewhereError
from orchestrator.lease import ADVICE, FencedError, Lease, LeaseKeeper
from orchestrator.paths import SweepPaths
from orchestrator.study import TrialStudy

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


@contextmanager
def leased(study: TrialStudy, advice: str = ADVICE) -> Iterator[LeaseKeeper]:
    """Hold the sweep's lease, and let this process write to the study only while it does; call it within `hold`.

    Raises RunningElsewhereError where another machine's driver has it, also in place of an error that comes of that.
    """
    lease = study.take_lease(advice)
    reach("lease: taken", token=lease.token)
    keeper = LeaseKeeper(lease)
    try:
        yield keeper
    except Exception as error:
        if (lost := _lost(lease)) is not None:
            raise lost from error
        raise
    finally:
        keeper.close()
        with suppress(Exception):  # it ends by itself
            lease.release()
            reach("lease: released")


def _lost(lease: Lease) -> FencedError | None:
    """Return that the lease was lost, if it was: everything after that fails."""
    try:
        lease.renew()
    except FencedError as lost:
        return lost
    except Exception:  # noqa: BLE001  (the database's own trouble says nothing about the lease)
        return None
    return None
