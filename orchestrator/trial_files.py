"""What a trial's folder says: how far it got, how its attempts ended, and how it ended itself."""

import json
import logging
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from model.checkpoint import Checkpoint, open_checkpoint
from model.failpoints import reach
from model.files import DamagedFileError, flush_folder, read_sealed, write_sealed
from orchestrator.failures import End, Failure
from orchestrator.paths import TrialPaths, attempt_number

log = logging.getLogger(__name__)
STATES_KEPT = 2
STARTED, END, HANG = "started.json", "end.json", "hang.txt"
"""In an attempt's folder: who works on it; how it ended without a verdict; where it stood when it was given up."""


def read_verdict(folder: TrialPaths) -> dict[str, Any] | None:
    """Return how a trial ended, from either of its copies that is whole; None where neither says so."""
    for path in (folder.verdict, folder.verdict_copy):
        try:
            return read_sealed(path, _verdict_of(folder))
        except FileNotFoundError:
            continue
        except DamagedFileError as error:
            log.warning("%s", error)
    return None


def _verdict_of(folder: TrialPaths) -> str:
    return f"verdict of trial {folder.root.name}"


def failed(failure: Failure, error: str, history: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the verdict of a trial that has failed."""
    return {"state": "failed", "failure": str(failure), "error": error, "history": history}


def write_verdict(folder: TrialPaths, verdict: Mapping[str, Any]) -> None:
    """Say how a trial ended, unless that is said already, and let go of what only its going on needed."""
    reach("verdict: known", trial=folder.root.name, state=verdict["state"])
    if (said := read_verdict(folder)) is None:
        said = dict(verdict)
        write_sealed(folder.verdict_copy, _verdict_of(folder), said)
        write_sealed(folder.verdict, _verdict_of(folder), said)
    tidy(folder, said)


def tidy(folder: TrialPaths, verdict: Mapping[str, Any]) -> None:
    """Remove what an ended trial needs no more: its states, and every best but the one that the verdict names.

    From then on the verdict outlives a power cut: whoever wrote it may have died between its name and the flush.
    """
    flush_folder(folder.root)
    kept = verdict["best"]["checkpoint"] if verdict.get("best") else None
    for path in [*_states(folder), *folder.root.glob("attempt-*/best-*")]:
        if str(path.relative_to(folder.root)) != kept:
            shutil.rmtree(path, ignore_errors=True)
            reach("verdict: tidying up", trial=folder.root.name)
    for path in folder.root.glob(f"attempt-*/{HANG}"):
        with suppress(OSError):
            if not path.stat().st_size:  # of a process that was killed
                path.unlink()


def write_end(attempt: Path, failure: Failure, error: str) -> None:
    """Say how an attempt ended that left no verdict; the first word stands."""
    if not (attempt / END).exists():
        write_sealed(attempt / END, END, End(attempt_number(attempt), failure, error).to_dict())


def read_ends(folder: TrialPaths) -> list[End]:
    """Return how the attempts ended that left no verdict and whose end somebody saw, in their order.

    One that died with its driver, or was paused, has none: nothing speaks against its trial.
    """
    ends = []
    for attempt in folder.attempts():
        try:
            said = read_sealed(attempt / END, END)
            ends.append(End(attempt_number(attempt), Failure(said["failure"]), said["error"]))
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return ends


def saved_by(folder: TrialPaths) -> int:
    """Return which attempt wrote the newest whole state; 0 where there is none."""
    state = latest_state(folder)
    return attempt_number(state.folder.parent) if state else 0


def latest_state(folder: TrialPaths) -> Checkpoint | None:
    """Return the newest state that training can go on from, over all attempts."""
    return next((state for path in reversed(_states(folder)) if (state := _usable(folder, path))), None)


def _usable(folder: TrialPaths, path: Path, *, contents: bool = True) -> Checkpoint | None:
    """Return a state if it is whole, this trial's, and its best-dev checkpoint is whole too; None otherwise.

    Without `contents` files are looked at by their sizes.
    """
    try:
        state = open_checkpoint(path, contents=contents)
        if state.manifest["trial"] != int(folder.root.name):
            raise DamagedFileError(f"{path}: is of trial {state.manifest['trial']}")  # noqa: TRY301  (one way out)
        if state.manifest["best"] is not None:  # none before the first epoch's end
            best = folder.root / state.manifest["best"]["checkpoint"]
            open_checkpoint(best, contents=contents)
    except DamagedFileError as error:
        log.warning("%s; the state before it is gone on from, or the start", error)
        return None
    return state


def history(folder: TrialPaths) -> list[dict[str, Any]]:
    """Return the results of a trial's epochs so far, for showing: checks nothing but the newest manifest."""
    return list(progress(folder).get("history", ()))


def progress(folder: TrialPaths) -> dict[str, Any]:
    """Return a trial's verdict, else what its newest state says of it: history, best, parameters; {} if there is none.

    A look: the state's own files are not checked.
    """
    verdict = read_verdict(folder)
    if verdict is not None:
        return verdict
    for path in reversed(_states(folder)):
        try:
            said: dict[str, Any] = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):  # pruned or being written at this moment
            continue
        return said
    return {}


def prune(folder: TrialPaths, best: Mapping[str, Any] | None, attempt: Path) -> None:
    """Keep the newest states that are usable, the bests that they name, and the best of all.

    What the `attempt` that calls has written itself is looked at by its sizes, the rest by its contents. Where there is
    a later attempt, the caller is a leftover and removes nothing: what it holds for old may be what counts.
    """
    states: list[Path] = []
    bests = {best["checkpoint"] if best else None}
    found = _states(folder)
    for path in reversed(found):
        if len(states) == STATES_KEPT:
            break
        if (state := _usable(folder, path, contents=path.parent != attempt)) is not None:
            known = state.manifest["best"]
            bests.add(known["checkpoint"] if known else None)
            states.append(path)
    old = [path for path in found if path not in states]
    old += [path for path in folder.root.glob("attempt-*/best-*") if str(path.relative_to(folder.root)) not in bests]
    for path in old:
        if folder.attempts()[-1] != attempt:  # asked each time: this process may have stood still meanwhile
            return
        shutil.rmtree(path, ignore_errors=True)
        reach("states: pruned", trial=folder.root.name)


def _states(folder: TrialPaths) -> list[Path]:
    """Return the resumable checkpoints, by epoch, step and attempt."""
    return sorted(folder.root.glob("attempt-*/state-*"), key=lambda path: (path.name, attempt_number(path.parent)))
