"""What a trial's folder says: how far it got, and how it ended."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from model.checkpoint import Checkpoint, open_checkpoint
from model.files import DamagedFileError, write_json
from orchestrator.paths import TrialPaths

STATES_KEPT = 2


def read_verdict(folder: TrialPaths) -> dict[str, Any] | None:
    """Return how a trial ended, or None where it has not."""
    try:
        verdict: dict[str, Any] = json.loads(folder.verdict.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return verdict


def write_verdict(folder: TrialPaths, verdict: Mapping[str, Any]) -> None:
    """Say how a trial ended, and let go of what only its going on needed."""
    write_json(folder.verdict, verdict)
    kept = verdict["best"]["checkpoint"] if verdict.get("best") else None
    for path in [*_states(folder), *folder.root.glob("attempt-*/best-*")]:
        if str(path.relative_to(folder.root)) != kept:
            shutil.rmtree(path, ignore_errors=True)


def latest_state(folder: TrialPaths) -> Checkpoint | None:
    """Return the newest resumable checkpoint that is whole and whose best-dev checkpoint is, over all attempts."""
    for path in reversed(_states(folder)):
        try:
            state = open_checkpoint(path)
            open_checkpoint(folder.root / state.manifest["best"]["checkpoint"])
        except DamagedFileError:
            continue
        return state
    return None


def history(folder: TrialPaths) -> list[dict[str, Any]]:
    """Return the results of a trial's epochs so far, for showing: checks nothing but the newest manifest."""
    verdict = read_verdict(folder)
    if verdict is not None:
        return list(verdict["history"])
    for path in reversed(_states(folder)):
        try:
            return list(json.loads((path / "manifest.json").read_text(encoding="utf-8"))["history"])
        except (OSError, ValueError):  # pruned or being written at this moment
            continue
    return []


def prune(folder: TrialPaths, best: Mapping[str, Any], attempt: Path) -> None:
    """Keep the newest states that are whole, the bests that they name, and the best of all.

    What the `attempt` that calls has written itself is looked at by its sizes, the rest by its contents.
    """
    states: list[Path] = []
    bests = {best["checkpoint"]}
    for path in reversed(_states(folder)):
        if len(states) == STATES_KEPT:
            break
        try:
            bests.add(open_checkpoint(path, contents=path.parent != attempt).manifest["best"]["checkpoint"])
        except DamagedFileError:
            continue
        states.append(path)
    for path in _states(folder):
        if path not in states:
            shutil.rmtree(path, ignore_errors=True)
    for path in folder.root.glob("attempt-*/best-*"):
        if str(path.relative_to(folder.root)) not in bests:
            shutil.rmtree(path, ignore_errors=True)


def _states(folder: TrialPaths) -> list[Path]:
    """Return the resumable checkpoints, by epoch and then attempt."""
    found = folder.root.glob("attempt-*/state-*")
    return sorted(found, key=lambda path: (path.name, int(path.parent.name.removeprefix("attempt-"))))
