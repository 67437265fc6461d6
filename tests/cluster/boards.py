"""Where two leaderboards differ, beyond times, paths and run ids."""

import json

from model.files import sha256_of
from orchestrator.trial_files import read_verdict
from tests.faults.checker import lasting


def differences(one, other):
    """Return a line for each value that differs."""
    before, after = (dict(_leaves("", json.loads(lasting(board)))) for board in (one, other))
    return [
        f"{path}: {before.get(path, 'absent')} and {after.get(path, 'absent')}"
        for path in dict.fromkeys([*before, *after])
        if before.get(path, "absent") != after.get(path, "absent")
    ]


def same_best(one, other, number):
    """Return whether a trial's best checkpoint has the same weights and predictions, bit for bit, in two sweeps."""
    sums = []
    for paths in (one, other):
        folder = paths.trial(number)
        best = folder.root / read_verdict(folder)["best"]["checkpoint"]
        sums.append({path.name: sha256_of(path) for path in (best / "model.safetensors", *best.glob("*.parquet"))})
    return sums[0] == sums[1] and len(sums[0]) > 1


def _leaves(path, value):
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if inner is None:
        yield path, value
        return
    for key, below in inner:
        yield from _leaves(f"{path}.{key}" if path else str(key), below)
