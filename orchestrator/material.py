"""What a worker process keeps from trial to trial: data, tokens, encoder, prefix cache."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from model.config import TrialConfig, config_from_dict, config_to_dict
from model.data import SAMPLE, Corpus, load_corpus
from model.encoder_config import EncoderConfig, frozen_depth
from model.encoder_files import EncoderSource
from model.encoder_store import encoder_of
from model.files import canonical_json
from model.prefix_cache import PrefixCache
from model.sealed import readable
from model.tasks import Task
from model.tokens import TokenCacheError
from model.training import TaskData, prepare
from orchestrator.failures import InputChangedError
from orchestrator.paths import SweepPaths
from orchestrator.plan import Plan

_EXAMPLES_FOLLOW_FROM = ("tasks", "pair_encoding", "max_tokens", "max_train_examples")
_STATES_FOLLOW_FROM = (*_EXAMPLES_FOLLOW_FROM, "precision", "prefix_format", "prefix_dropout")


@dataclass(frozen=True)
class Material:
    """What is the same for all trials of a sweep."""

    encoder: EncoderSource
    corpus: Corpus
    cache: PrefixCache
    examples: dict[str, list[TaskData]] = field(default_factory=dict)
    """The last trial's, by what of its config they follow from."""


def material_of(plan: Plan, paths: SweepPaths) -> Material:
    """Return data and encoder of a plan, checked to be those that were planned; kept in the process."""
    return _material(canonical_json([plan.encoder, plan.data, plan.tasks]), paths)


def examples_of(
    material: Material, plan: Plan, paths: SweepPaths, config: TrialConfig, tell: Callable[[str], object]
) -> list[TaskData]:
    """Return the tasks' examples: those of the trial before where this one reads the same.

    `tell` is given a line where their tokens cannot be kept on this node's disk, and are computed without that.
    """
    key = canonical_json({name: config_to_dict(config)[name] for name in _EXAMPLES_FOLLOW_FROM})
    if key not in material.examples:
        material.examples.clear()
        try:
            material.examples[key] = _prepared(material, plan, config, paths.token_cache)
        except TokenCacheError as error:
            tell(f"{error}; tokens are computed by each process: make room there")
            material.examples[key] = _prepared(material, plan, config, None)
    return material.examples[key]


def _prepared(material: Material, plan: Plan, config: TrialConfig, cache: Path | None) -> list[TaskData]:
    return prepare(
        material.corpus,
        config,
        material.encoder.tokenizer(),
        tokenizer_sha256=material.encoder.tokenizer_sha256,
        max_dev_examples=plan.data["max_dev_examples"],
        cache=cache,
    )


def depths_alike(plan: Plan, config: TrialConfig, shape: EncoderConfig) -> set[int]:
    """Return the freeze depths of the listed configs that read the same states: one pass gives them all."""
    own = {name: getattr(config, name) for name in _STATES_FOLLOW_FROM}
    others = [config_from_dict(values) for values in plan.configs]
    alike = [other for other in others if {name: getattr(other, name) for name in _STATES_FOLLOW_FROM} == own]
    depths = {frozen_depth(other.unfrozen_layers, shape.num_hidden_layers) for other in alike}
    return {depth for depth in depths if depth is not None}


@lru_cache(maxsize=1)
def _material(of_plan: str, paths: SweepPaths) -> Material:
    encoder_values, data, tasks = json.loads(of_plan)
    encoder = encoder_of(encoder_values, encoder_values["given"], paths.encoders)
    return Material(
        encoder, planned_corpus(data, [Task.from_dict(task) for task in tasks]), PrefixCache(paths.prefix_cache)
    )


def planned_corpus(data: Mapping[str, Any], tasks: Sequence[Task]) -> Corpus:
    """Return what trials read of a plan's data. Raises InputChangedError where it is no longer that."""
    corpus = readable(load_corpus(_here(data["source"]), tasks), data["sealed"])
    for task, splits in corpus.items():
        for name, split in splits.items():
            if split.content_hash() != data["content"][f"{task}/{name}"]:
                raise InputChangedError(f"{split.source}: changed since the sweep was planned")
    return corpus


def _here(source: str) -> str:
    """Return where data lie on this node: the bundled sample comes with the code, wherever the driver has it."""
    place = Path(source)
    return str(SAMPLE) if place.parts[-2:] == SAMPLE.parts[-2:] and not place.is_dir() else source
