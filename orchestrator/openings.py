"""The record of every opening of a test set: a file that all sweeps of OUT share, to which lines are added alone.

An opening is a line before anything is scored, and one with the scores before anybody has seen them. What a sweep's
leaderboard says of its test set is read from here, so that no folder that is moved away takes an opening along.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from model.failpoints import reach
from model.files import flush_folder
from orchestrator.errors import SweepError

OPENED, SCORED = "opened", "scored"
LONGEST_WAIT_S = 60
"""A line is written in milliseconds: whoever holds the lock for longer is not going on."""
Line = Mapping[str, Any]
"""Of either kind: `event`, and the opening's `id`."""


def write_line(record: Path, line: Line) -> None:
    """Add a line, and see it to the disk; after one that was cut off, on a line of its own.

    It says the hash of all that stands before it, so that no line before the last can be changed or taken out unseen.
    Drivers of other sweeps of OUT wait meanwhile.
    """
    with _alone(record), record.open("a+b") as file:
        file.seek(0)
        before = file.read()
        if before and not before.endswith(b"\n"):
            file.write(b"\n")
            before += b"\n"
        file.write(json.dumps({**line, "after": _sha256(before)}, sort_keys=True).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    flush_folder(record.parent)
    reach(f"test set: {line['event']}")


def read_lines(record: Path) -> list[dict[str, Any]]:
    """Return every line. Raises SweepError where the record is not what was written: it must not count fewer openings.

    A line that was begun and not ended is none: whoever wrote it was killed before anything was scored, or writes it
    at this moment. What it holds is in the hash of the next one all the same.
    """
    try:
        whole = record.read_bytes()
    except FileNotFoundError:
        return []
    found, start = [], 0
    for number, line in enumerate(whole.split(b"\n"), start=1):
        before, start = whole[:start], start + len(line) + 1
        try:
            values = json.loads(line)
        except ValueError:  # the start of a line, which is no JSON wherever it was cut off
            continue
        try:
            known = values["event"] in (OPENED, SCORED) and values["after"] == _sha256(before)
        except (KeyError, TypeError):
            known = False
        if not known:
            raise SweepError(
                f"{record}:{number}: this line, or one before it, is not what was written there; nothing in this "
                "record is ever changed: put it back as it was"
            )
        found.append(values)
    return found


@contextmanager
def _alone(record: Path) -> Iterator[None]:
    """Keep other writers away. Raises SweepError where one does not let go."""
    lock = FileLock(record.with_name(f".{record.name}.lock"), timeout=LONGEST_WAIT_S)
    try:
        lock.acquire()
    except Timeout as error:
        raise SweepError(
            f"{record}: somebody else writes there since {LONGEST_WAIT_S} s; end that process, then say this again"
        ) from error
    try:
        yield
    finally:
        lock.release()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def unscored(lines: Sequence[Line], sweep_id: str) -> dict[str, Any] | None:
    """Return the opening of a sweep that nobody has seen a score of; None where there is none."""
    scored = {line["id"] for line in lines if line["event"] == SCORED}
    of_sweep = [line for line in lines if line["event"] == OPENED and line["sweep_id"] == sweep_id]
    return next((dict(line) for line in of_sweep if line["id"] not in scored), None)


def result_of(record: Path, sweep_id: str) -> dict[str, Any] | None:
    """Return what the test set said of a sweep, the last time with those before it; None while nobody has asked.

    `openings` counts those of the same data by whatever sweep: of the task whose data were opened most often.
    """
    lines = read_lines(record)
    opened = {line["id"]: line for line in lines if line["event"] == OPENED}
    scored = [line for line in lines if line["event"] == SCORED]
    if lost := [line["id"] for line in scored if line["id"] not in opened]:
        raise SweepError(f"{record}: of opening {lost[0]} there are scores alone; put the record back as it was")
    own = [line for line in scored if opened[line["id"]]["sweep_id"] == sweep_id]
    if not own:
        return None
    *earlier, last = own
    opening = opened[last["id"]]
    times = max(sum(part in other["parts"].values() for other in opened.values()) for part in opening["parts"].values())
    head = {"id": last["id"], "opened": opening["opened"], "test_set": opening["test_set"], "openings": times}
    told = [{"opened": opened[line["id"]]["opened"], "rows": line["found"]["rows"]} for line in earlier]
    found: dict[str, Any] = last["found"]
    return head | {"earlier": told} | found
