"""What a trial's folder says: how far it got, how its attempts ended, and how it ended itself."""

import json
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from model.checkpoint import Checkpoint, open_checkpoint
from model.failpoints import reach
from model.files import DamagedFileError, read_sealed, write_sealed
from orchestrator.failures import End, Failure
from orchestrator.paths import TrialPaths, attempt_number

log = logging.getLogger(__name__)
STATES_KEPT = 2
STARTED, END, HANG = "started.json", "end.json", "hang.txt"
"""In an attempt's folder: who works on it; how it ended without a verdict; where it stood when it was given up."""


def read_verdict(folder: TrialPaths) -> dict[str, Any] | None:
    """Return how a trial ended, or None where it has not. Raises DamagedFileError where both its copies are damaged."""
    try:
        return read_sealed(folder.verdict, _verdict_of(folder))
    except FileNotFoundError:
        return None
    except DamagedFileError as error:
        log.warning("%s; its copy is read", error)
    try:
        return read_sealed(folder.verdict_copy, _verdict_of(folder))
    except FileNotFoundError as error:
        raise DamagedFileError(f"{folder.verdict}: is damaged, and has no copy") from error


def _verdict_of(folder: TrialPaths) -> str:
    return f"verdict of trial {folder.root.name}"


def failed(failure: Failure, error: str, history: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the verdict of a trial that has failed."""
    return {"state": "failed", "failure": str(failure), "error": error, "history": history}


def write_verdict(folder: TrialPaths, verdict: Mapping[str, Any]) -> None:
    """Say how a trial ended, and let go of what only its going on needed."""
    reach("verdict: known", trial=folder.root.name, state=verdict["state"])
    write_sealed(folder.verdict_copy, _verdict_of(folder), verdict)
    write_sealed(folder.verdict, _verdict_of(folder), verdict)
    kept = verdict["best"]["checkpoint"] if verdict.get("best") else None
    for path in [*_states(folder), *folder.root.glob("attempt-*/best-*")]:
        if str(path.relative_to(folder.root)) != kept:
            shutil.rmtree(path, ignore_errors=True)
            reach("verdict: tidying up", trial=folder.root.name)
    for path in folder.root.glob(f"attempt-*/{HANG}"):
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
    """Return the newest resumable checkpoint that is whole and whose best-dev checkpoint is, over all attempts.

    One that is another trial's is passed by, as one that is damaged: whoever copied it there.
    """
    for path in reversed(_states(folder)):
        try:
            state = _state_of(folder, path)
            if state.manifest["best"] is not None:  # none before the first epoch's end
                open_checkpoint(folder.root / state.manifest["best"]["checkpoint"])
        except DamagedFileError as error:
            log.warning("%s; the state before it is gone on from, or the start", error)
            continue
        return state
    return None


def _state_of(folder: TrialPaths, path: Path) -> Checkpoint:
    state = open_checkpoint(path)
    if state.manifest["trial"] != int(folder.root.name):
        raise DamagedFileError(f"{path}: is of trial {state.manifest['trial']}")
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
    """Keep the newest states that are whole, the bests that they name, and the best of all.

    What the `attempt` that calls has written itself is looked at by its sizes, the rest by its contents.
    """
    states: list[Path] = []
    bests = {best["checkpoint"] if best else None}
    for path in reversed(_states(folder)):
        if len(states) == STATES_KEPT:
            break
        try:
            known = open_checkpoint(path, contents=path.parent != attempt).manifest["best"]
            bests.add(known["checkpoint"] if known else None)
        except DamagedFileError:
            continue
        states.append(path)
    for path in _states(folder):
        if path not in states:
            shutil.rmtree(path, ignore_errors=True)
            reach("states: pruned", trial=folder.root.name)
    for path in folder.root.glob("attempt-*/best-*"):
        if str(path.relative_to(folder.root)) not in bests:
            shutil.rmtree(path, ignore_errors=True)


def _states(folder: TrialPaths) -> list[Path]:
    """Return the resumable checkpoints, by epoch, step and attempt."""
    return sorted(folder.root.glob("attempt-*/state-*"), key=lambda path: (path.name, attempt_number(path.parent)))
