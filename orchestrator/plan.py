"""The plan: all that a sweep's results follow from, settled before anything starts and kept in plan.json.

Running the same command again finds the plan and goes on; a command that means another plan is refused.
"""

import json
import re
import uuid
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from model.config import (
    CONFIG_VERSION,
    TrialConfig,
    config_from_dict,
    config_to_dict,
    encoding_of,
    flatten,
    loss_of,
)
from model.data import Corpus
from model.encoder_files import EncoderSource
from model.files import write_json
from model.tasks import Task
from orchestrator.errors import SweepError, refuse
from orchestrator.inspection import Inspected
from orchestrator.redaction import redacted
from orchestrator.resources import Machine, share_out, too_large

PLAN_VERSION = 5


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Plain values only: it goes to plan.json and to every worker."""

    version: int
    sweep_id: str
    """Random; tells this sweep from an earlier one of the same name."""
    name: str
    question: str
    profile: str
    configs: list[dict[str, Any]]
    """The exact list with all settings applied; empty for a space."""
    baseline: dict[str, Any]
    space_code: str | None
    """Hash of a space's code; None for a list, whose configs say everything."""
    sampler: str
    early_stopping: dict[str, int] | None
    """Fields of Halving; None: every trial is trained to its end."""
    trials: int
    """The total, all seeds counted: a target, not an addition."""
    seeds: int
    """So many trials a config: of a list all configs on one seed, then on the next; of a space point after point."""
    seed: int
    varies: list[str]
    """Dotted fields that differ between configs: the leaderboard's columns."""
    settings: dict[str, Any]
    """What profile and command line set in every config."""
    tasks: list[dict[str, Any]]
    encoder: dict[str, Any]
    data: dict[str, Any]
    cpus_per_trial: float
    gpus_per_trial: float
    threads: int
    """Of torch in each trial: part of the plan, since sums in another order differ in the last bits."""

    def task_list(self) -> list[Task]:
        """Return the tasks of the sweep."""
        return [Task.from_dict(values) for values in self.tasks]

    def ranked_tasks(self) -> list[Task]:
        """Return the baseline's tasks: a dev score is a mean over a config's tasks, so others' are not ranked."""
        return [task for task in self.task_list() if task.name in self.baseline["tasks"]]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Draft:
    """A plan, and the live things that were checked on the way to it."""

    plan: Plan
    configs: list[TrialConfig]
    """The list, or probes of the space."""
    encoder: EncoderSource
    corpus: Corpus


def draft(inspected: Inspected, machine: Machine) -> Draft:
    """Return the plan of what was inspected. Raises SweepError where it asks for more than the machine has."""
    options, sweep = inspected.options, inspected.loaded.sweep
    asked = {"cpus_per_trial": options.cpus_per_trial, "gpus_per_trial": options.gpus_per_trial}
    configs, encoder, corpus = inspected.configs, inspected.encoder, inspected.corpus
    total = sweep.total(options.trials)
    share = share_out(machine, total, **asked)
    refuse(too_large(machine, share))
    plan = Plan(
        version=PLAN_VERSION * 100 + CONFIG_VERSION,
        sweep_id=uuid.uuid4().hex,
        name=options.name,
        question=redacted(sweep.question),
        profile=options.profile,
        configs=[config_to_dict(config) for config in configs] if sweep.configs else [],
        baseline=config_to_dict(inspected.baseline),
        space_code=inspected.loaded.code_sha256 if sweep.space else None,
        sampler=sweep.sampler,
        early_stopping=asdict(sweep.early_stopping) if sweep.early_stopping else None,
        trials=total,
        seeds=sweep.seeds,
        seed=options.seed,
        varies=inspected.varies,
        settings=inspected.settings,
        tasks=[task.to_dict() for task in inspected.tasks],
        encoder={**encoder.identity(), "given": _given(encoder, options.encoder), "revision": encoder.revision},
        data={
            "source": absolute(options.data),
            "max_dev_examples": options.max_dev_examples,
            "content": {f"{t}/{n}": s.content_hash() for t, splits in corpus.items() for n, s in splits.items()},
            "sealed": {task: asdict(found) for task, found in inspected.sealed.items()},
        },
        cpus_per_trial=share.cpus,
        gpus_per_trial=share.gpus,
        threads=share.threads,
    )
    return Draft(plan, configs, encoder, corpus)


def shown(plan: Plan, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a plain config flat, with its tasks' own pair encodings and losses where it does not say."""
    full = config_from_dict(config)
    tasks = [task for task in plan.task_list() if task.name in full.tasks]
    own: dict[str, Any] = {f"pair_encoding.{task.name}": encoding_of(full, task) for task in tasks if task.is_pair}
    own |= {f"losses.{task.name}": loss_of(full, task) for task in tasks}
    own |= {f"loss_weights.{task.name}": 1.0 for task in tasks}
    return own | flatten(config)


def settle(path: Path, plan: Plan) -> Plan:
    """Return the plan that stands in the file, or write this one there. Raises SweepError where they differ.

    A space's total may be raised or lowered, and data and encoder may lie elsewhere now; threads and resources
    stay as they were first settled.
    """
    now = settled(path, plan)
    if not path.exists() or now != read_plan(path):
        write_json(path, now.to_dict())
    return now


def settled(path: Path, plan: Plan) -> Plan:
    """Return the plan that `settle` would, and write nothing. Raises as it does."""
    if not path.exists():
        return plan
    kept = read_plan(path)
    found = [line for name in _COMPARED for line in _differences(name, getattr(kept, name), getattr(plan, name))]
    of_configs = {_OF_A_CONFIG.sub("", line).partition(":")[0] for line in found if line.startswith("configs[")}
    found = [line for line in found if line.partition(":")[0].removeprefix("settings.") not in of_configs]
    changes = Counter(_OF_A_CONFIG.sub("", line) for line in found)
    short = [(line, _OF_A_CONFIG.sub("", line)) for line in found]
    changed = list(dict.fromkeys(bare if changes[bare] > 1 else line for line, bare in short))
    if changed:
        raise SweepError(
            f"{path.parent} holds another sweep of this name; changed are:\n  "
            + "\n  ".join(changed[:20])
            + "\n--new puts it aside and starts afresh, --name NAME gives this one another name"
        )
    total = plan.trials if kept.space_code else kept.trials
    return replace(kept, data=plan.data, encoder=plan.encoder, trials=total)


def read_plan(path: Path) -> Plan:
    """Return the plan in a file. Raises SweepError where it is none of this version."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values["version"] != PLAN_VERSION * 100 + CONFIG_VERSION:
            raise SweepError(f"{path}: was written by another version; --new puts it aside and starts afresh")
        return Plan(**{field.name: values[field.name] for field in fields(Plan)})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SweepError(f"{path}: no readable plan ({error}); --new puts it aside and starts afresh") from error


def concurrency(plan: Plan, machine: Machine, asked: int | None) -> int:
    """Return how many trials run at once: on a cluster as many as are asked for, so that nodes come for them."""
    if machine.is_cluster and asked is not None:
        return min(plan.trials, asked)
    return max(1, min(plan.trials, machine.holds(plan.cpus_per_trial, plan.gpus_per_trial), asked or plan.trials))


_COMPARED = [
    "configs", "baseline", "space_code", "sampler", "early_stopping", "seeds", "seed", "settings", "tasks", "encoder",
    "data", "gpus_per_trial",
]  # fmt: skip
_OF_A_CONFIG = re.compile(r"^(configs\[\d+\]|baseline|settings)\.")
"""What changed alike in many configs is told once."""
_PLACES = ("data.source", "encoder.given", "encoder.name")
"""Where a thing lay, not what it is."""


def _differences(name: str, old: Any, new: Any) -> list[str]:
    before, after = (_leaves(name, value) for value in (old, new))
    return [
        f"{path}: was {before.get(path, 'absent')}, is now {after.get(path, 'absent')}"
        for path in dict.fromkeys([*before, *after])
        if before.get(path, "absent") != after.get(path, "absent") and path not in _PLACES
    ]


def _leaves(path: str, value: Any) -> dict[str, Any]:
    if isinstance(value, Mapping):
        items = [(f"{path}.{key}", inner) for key, inner in value.items()]
    elif isinstance(value, list):
        items = [(f"{path}[{i}]", inner) for i, inner in enumerate(value)]
    else:
        return {path: value}
    return {leaf: v for key, inner in items for leaf, v in _leaves(key, inner).items()}


def _given(encoder: EncoderSource, asked: str) -> str:
    """Return what finds this very encoder again, on any worker: a branch of the hub by its commit."""
    return f"{encoder.name}@{encoder.revision}" if encoder.revision else absolute(asked)


def absolute(place: str) -> str:
    """Return a folder's absolute path, so that workers find it; other names as they are."""
    return str(Path(place).resolve()) if Path(place).is_dir() else place
