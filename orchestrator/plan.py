"""The plan: all that a sweep's results follow from, settled before anything starts and kept in plan.json.

Running the same command again finds the plan and goes on; a command that means another plan is refused.
"""

import json
import re
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from model.config import (
    CONFIG_VERSION,
    ConfigError,
    TrialConfig,
    check_against,
    config_from_dict,
    config_to_dict,
    encoding_of,
    flatten,
    loss_of,
    with_settings,
)
from model.data import Corpus, DataError, load_corpus
from model.encoder_files import EncoderError, EncoderSource, find_encoder
from model.files import write_json
from model.tasks import TASKS, Task
from orchestrator.errors import SweepError
from orchestrator.resources import Machine, share_out, too_large
from orchestrator.spec import LoadedSweep

PLAN_VERSION = 3
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Options:
    """The command line's say, already merged with the profile's."""

    name: str
    profile: str
    encoder: str
    data: str
    profile_settings: Mapping[str, Any]
    """Hold where the file neither varies the field nor gives it a value other than the default."""
    settings: Mapping[str, Any]
    """Hold everywhere; a field that the sweep varies is an error."""
    trials: int | None
    max_dev_examples: int | None
    seed: int
    gpus_per_trial: float | None
    cpus_per_trial: float | None


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
    """The total: a target, not an addition."""
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


def draft(loaded: LoadedSweep, options: Options, machine: Machine) -> Draft:
    """Return the plan that a file and a command line mean. Raises SweepError with all problems found."""
    problems: list[str] = []
    configs, baseline, varies, settings = _configs(loaded, options, problems)
    encoder = _attempt(lambda: find_encoder(options.encoder), problems)
    names = list(dict.fromkeys(name for config in [*configs, baseline] for name in config.tasks))
    known = [TASKS[name] for name in names if name in TASKS]
    corpus = _attempt(lambda: load_corpus(options.data, known), problems)
    if encoder is not None:
        for config in [*configs, baseline]:
            shape = encoder.config
            found = check_against(
                config, layers=shape.num_hidden_layers, positions=shape.max_position_embeddings, tasks=TASKS
            )
            problems += [f"{loaded.path}: {problem}" for problem in found]
    if options.trials is not None and loaded.sweep.configs:
        problems.append(f"--trials {options.trials}: {loaded.path} is an exact list, which is trained whole")
    problems += too_large(machine, cpus_per_trial=options.cpus_per_trial, gpus_per_trial=options.gpus_per_trial)
    if problems or encoder is None or corpus is None:
        raise SweepError("\n".join(list(dict.fromkeys(problems))[:20]))
    total = len(configs) if loaded.sweep.configs else options.trials or loaded.sweep.trials
    share = share_out(machine, total, cpus_per_trial=options.cpus_per_trial, gpus_per_trial=options.gpus_per_trial)
    plan = Plan(
        version=PLAN_VERSION * 100 + CONFIG_VERSION,
        sweep_id=uuid.uuid4().hex,
        name=options.name,
        question=loaded.sweep.question,
        profile=options.profile,
        configs=[config_to_dict(config) for config in configs] if loaded.sweep.configs else [],
        baseline=config_to_dict(baseline),
        space_code=loaded.code_sha256 if loaded.sweep.space else None,
        sampler=loaded.sweep.sampler,
        early_stopping=asdict(loaded.sweep.early_stopping) if loaded.sweep.early_stopping else None,
        trials=total,
        seed=options.seed,
        varies=varies,
        settings=settings,
        tasks=[task.to_dict() for task in known],
        encoder={**encoder.identity(), "given": _given(encoder, options.encoder), "revision": encoder.revision},
        data={
            "source": _absolute(options.data),
            "max_dev_examples": options.max_dev_examples,
            "content": {f"{t}/{n}": s.content_hash() for t, splits in corpus.items() for n, s in splits.items()},
        },
        cpus_per_trial=share.cpus,
        gpus_per_trial=share.gpus,
        threads=share.threads,
    )
    return Draft(plan, configs, encoder, corpus)


def shown(plan: Plan, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a plain config flat, with the tasks' own pair encodings and losses where it does not say."""
    tasks = plan.task_list()
    full = config_from_dict(config)
    own: dict[str, Any] = {f"pair_encoding.{task.name}": encoding_of(full, task) for task in tasks if task.is_pair}
    own |= {f"losses.{task.name}": loss_of(full, task) for task in tasks}
    own |= {f"loss_weights.{task.name}": 1.0 for task in tasks}
    return own | flatten(config)


def settle(path: Path, plan: Plan) -> Plan:
    """Return the plan that stands in the file, or write this one there. Raises SweepError where they differ.

    A space's total may be raised or lowered, and data and encoder may lie elsewhere now; threads and resources
    stay as they were first settled.
    """
    if not path.exists():
        write_json(path, plan.to_dict())
        return plan
    kept = read_plan(path)
    found = [line for name in _COMPARED for line in _differences(name, getattr(kept, name), getattr(plan, name))]
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
    now = replace(kept, data=plan.data, encoder=plan.encoder, trials=total)
    if now != kept:
        write_json(path, now.to_dict())
    return now


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
    """Return how many trials run at once."""
    by_cpu = int(machine.cpus / plan.cpus_per_trial) if plan.cpus_per_trial else plan.trials
    by_gpu = int(machine.gpus / plan.gpus_per_trial) if plan.gpus_per_trial else by_cpu
    return max(1, min(plan.trials, by_cpu, by_gpu, asked or plan.trials))


_COMPARED = [
    "configs", "baseline", "space_code", "sampler", "early_stopping", "seed", "settings", "tasks", "encoder", "data",
    "gpus_per_trial",
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


def _configs(
    loaded: LoadedSweep, options: Options, problems: list[str]
) -> tuple[list[TrialConfig], TrialConfig, list[str], dict[str, Any]]:
    """Return the configs (or probes of the space) with the settings applied, the fields that vary, the settings."""
    sweep = loaded.sweep
    raw = list(sweep.configs)
    if sweep.space:
        from orchestrator.study import probe

        raw = probe(sweep.space, loaded.path)
    varies = varying(raw)
    usual = flatten(config_to_dict(TrialConfig()))
    own = [flatten(config_to_dict(config)) for config in (*raw, sweep.baseline)]
    held = {
        path: value
        for path, value in options.profile_settings.items()
        if path not in varies and all(values[path] == usual[path] for values in own)
    }
    problems += [
        f"{loaded.path}: {path} varies in this sweep; --set {path} would make its configs alike"
        for path in options.settings
        if _touches(path, varies)
    ]
    settings = {**held, **{path: v for path, v in options.settings.items() if not _touches(path, varies)}}
    try:
        configs = [with_settings(config, settings) for config in raw]
        return configs, with_settings(sweep.baseline, settings), varies, settings
    except ConfigError as error:
        problems.append(str(error))
        return raw, sweep.baseline, varies, settings


def _touches(path: str, varies: Sequence[str]) -> bool:
    """Return whether setting a field, or the group that it is, sets one that varies."""
    return any(f"{varied}.".startswith(f"{path}.") for varied in varies)


def varying(configs: Sequence[TrialConfig]) -> list[str]:
    """Return the dotted fields in which the configs differ, in the fields' order."""
    flat = [flatten(config_to_dict(config)) for config in configs]
    paths = dict.fromkeys(path for values in flat for path in values)
    return [path for path in paths if any(values.get(path) != flat[0].get(path) for values in flat)]


def _attempt(action: Callable[[], T], problems: list[str]) -> T | None:
    try:
        return action()
    except (EncoderError, DataError) as error:
        problems += str(error).split("\n")
        return None


def _given(encoder: EncoderSource, asked: str) -> str:
    """Return what finds this very encoder again, on any worker: a branch of the hub by its commit."""
    return f"{encoder.name}@{encoder.revision}" if encoder.revision else _absolute(asked)


def _absolute(place: str) -> str:
    """Return a folder's absolute path, so that workers find it; other names as they are."""
    return str(Path(place).resolve()) if Path(place).is_dir() else place
