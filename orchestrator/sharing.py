"""Which configs of a sweep say what a task gains or loses by sharing a model: one trained alone, one that shares it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.leaderboard import Group
from orchestrator.plan import Plan, shown

OF_A_TASK = ("pair_encoding.", "losses.", "loss_weights.")
"""Fields that hold a value a task."""


@dataclass(frozen=True)
class Pair:
    """Two configs that differ in nothing but the other tasks."""

    task: str
    alone: Group
    shared: Group


def sharing_pairs(plan: Plan, groups: Sequence[Group]) -> list[Pair]:
    """Return each config of one task with each that trains it among others and is otherwise equal, by their order."""
    alone = [group for group in groups if len(_tasks(group)) == 1]
    shared = [group for group in groups if len(_tasks(group)) > 1]
    return [
        Pair(task, one, several)
        for one in alone
        for task in _tasks(one)
        for several in shared
        if task in _tasks(several) and _seen_by(plan, one, task) == _seen_by(plan, several, task)
    ]


def _tasks(group: Group) -> Sequence[str]:
    tasks: Sequence[str] = group.shown.config["tasks"]
    return tasks


def _seen_by(plan: Plan, group: Group, task: str) -> Mapping[str, Any]:
    """Return all fields of a config that this task's training depends on, but for the tasks beside it."""
    return {
        path: value
        for path, value in shown(plan, group.shown.config).items()
        if path != "tasks"
        and not (path == "seed" and plan.seeds > 1)
        and not (path.startswith(OF_A_TASK) and not path.endswith(f".{task}"))
    }
