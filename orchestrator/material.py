"""What a worker process keeps from trial to trial: data, tokens, encoder, prefix cache."""

import json
from dataclasses import dataclass, field
from functools import lru_cache

from model.config import TrialConfig, config_from_dict, config_to_dict
from model.data import Corpus, load_corpus
from model.encoder_config import EncoderConfig, frozen_depth
from model.encoder_files import EncoderSource
from model.encoder_store import encoder_of
from model.files import canonical_json
from model.prefix_cache import PrefixCache
from model.sealed import readable
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
    return _material(canonical_json(plan.to_dict()), paths)


def examples_of(material: Material, plan: Plan, paths: SweepPaths, config: TrialConfig) -> list[TaskData]:
    """Return the tasks' examples: those of the trial before where this one reads the same."""
    key = canonical_json({name: config_to_dict(config)[name] for name in _EXAMPLES_FOLLOW_FROM})
    if key not in material.examples:
        source = material.encoder
        material.examples.clear()
        material.examples[key] = prepare(
            material.corpus,
            config,
            source.tokenizer(),
            tokenizer_sha256=source.tokenizer_sha256,
            max_dev_examples=plan.data["max_dev_examples"],
            cache=paths.token_cache,
        )
    return material.examples[key]


def depths_alike(plan: Plan, config: TrialConfig, shape: EncoderConfig) -> set[int]:
    """Return the freeze depths of the listed configs that read the same states: one pass gives them all."""
    own = {name: getattr(config, name) for name in _STATES_FOLLOW_FROM}
    others = [config_from_dict(values) for values in plan.configs]
    alike = [other for other in others if {name: getattr(other, name) for name in _STATES_FOLLOW_FROM} == own]
    depths = {frozen_depth(other.unfrozen_layers, shape.num_hidden_layers) for other in alike}
    return {depth for depth in depths if depth is not None}


@lru_cache(maxsize=1)
def _material(plan_json: str, paths: SweepPaths) -> Material:
    plan = Plan(**json.loads(plan_json))
    encoder = encoder_of(plan.encoder, plan.encoder["given"], paths.encoders)
    corpus = readable(load_corpus(plan.data["source"], plan.task_list()), plan.data["sealed"])
    for task, splits in corpus.items():
        for name, split in splits.items():
            if split.content_hash() != plan.data["content"][f"{task}/{name}"]:
                raise InputChangedError(f"{split.source}: changed since the sweep was planned")
    return Material(encoder, corpus, PrefixCache(paths.prefix_cache))
