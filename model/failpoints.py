"""Named places at which tests make the program die, stop or fail: every write and every hand-over has one.

Nothing happens unless SWEEP_FAULTS names a folder. Then each place that is reached is a line of JSON in its file
`log`, appended whole, and where the file `armed` asks for faults at that place, they happen there, each once.
The names and what was seen at each: docs/failpoints.md. The idea: FreeBSD's fail(9).
"""

import errno
import json
import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

VARIABLE = "SWEEP_FAULTS"
PAUSE_S = 12
"""Longer than the 5 s between two questions for a spot notice."""
DRIVER = "driver: holds the sweep"
"""The place whose latest line in the log gives the driver's pid."""


def reach(name: str, **facts: Any) -> None:
    """Say that a place was reached; `facts` are plain values for the log."""
    folder = os.environ.get(VARIABLE)
    if folder is not None:
        _reach(Path(folder), name, facts)


def watched() -> bool:
    """Return whether anybody reads the log: what only it is told is not worth computing otherwise."""
    return VARIABLE in os.environ


def _reach(folder: Path, name: str, facts: dict[str, Any]) -> None:
    line = json.dumps({"at": name, "pid": os.getpid(), "time": time.time(), **facts}) + "\n"
    with (folder / "log").open("ab", buffering=0) as log:
        log.write(line.encode())
    try:
        armed = json.loads((folder / "armed").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    for number, fault in enumerate(armed):
        wanted = all(facts.get(key) == value for key, value in fault["facts"].items())
        if fault["at"] == name and wanted and _reached(folder, name) >= fault["hit"]:
            with suppress(FileExistsError):
                (folder / f"fired-{number}").touch(exist_ok=False)
                _fail(folder, fault["do"])


def _fail(folder: Path, what: str) -> None:
    if what == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif what == "kill driver":
        os.kill(_driver(folder), signal.SIGKILL)
    elif what == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif what == "exit 139":
        os._exit(139)
    elif what == "hang":
        time.sleep(10**6)
    elif what == "pause":
        time.sleep(PAUSE_S)
    elif what == "Ctrl-C":
        os.killpg(_driver(folder), signal.SIGINT)
        time.sleep(2)  # or a tiny trial is done before anybody has stopped it
    else:
        _raise(what)


def _raise(what: str) -> NoReturn:
    if what == "disk full":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if what == "input/output error":
        raise OSError(errno.EIO, os.strerror(errno.EIO))
    if what == "out of memory":
        raise MemoryError
    if what == "out of GPU memory":
        import torch

        raise torch.OutOfMemoryError("CUDA out of memory (a fault that was asked for)")
    raise RuntimeError(f"{what} (a fault that was asked for)")


def _lines(folder: Path) -> list[dict[str, Any]]:
    text = (folder / "log").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def _reached(folder: Path, name: str) -> int:
    return sum(line["at"] == name for line in _lines(folder))


def _driver(folder: Path) -> int:
    return next(int(line["pid"]) for line in reversed(_lines(folder)) if line["at"] == DRIVER)
