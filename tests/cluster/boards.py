"""Where two leaderboards differ, beyond times, paths and run ids."""

import json

from tests.faults.checker import lasting


def differences(one, other):
    """Return a line for each value that differs."""
    before, after = (dict(_leaves("", json.loads(lasting(board)))) for board in (one, other))
    return [
        f"{path}: {before.get(path, 'absent')} and {after.get(path, 'absent')}"
        for path in dict.fromkeys([*before, *after])
        if before.get(path, "absent") != after.get(path, "absent")
    ]


def _leaves(path, value):
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if inner is None:
        yield path, value
        return
    for key, below in inner:
        yield from _leaves(f"{path}.{key}" if path else str(key), below)
