"""What a step costs: each way to train in turn on the same machine, in process CPU time."""

import gc
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from benchmarks.material import CPU, STUDY, task_data
from benchmarks.references import Reference, engineer, labels, packed, real_rows, student, tuned
from model.batches import Indices, epoch_batches
from model.config import TrialConfig
from model.encoder_files import EncoderSource
from model.frozen_prefix import FrozenPrefix
from model.heap import MMAP_THRESHOLD_BYTES, bound_heap
from model.multitask import MultitaskModel
from model.prefix_cache import PrefixCache
from model.training import TaskData, adamw, take_step

DEPTHS: tuple[int | Literal["all"], ...] = ("all", 3, 2, 1)
AGAINST = {
    "step_vs_reference": "student",
    "step_vs_still_reference": "student, frozen still",
    "step_vs_best_practice": "engineer",
    "step_vs_tuned_practice": "tuned",
    "step_vs_padding_free": "packed",
}
GLIBC_HIGHEST_BYTES = 32 * 2**20
"""Where glibc's own threshold ends up: the heap of everybody but us."""
STEP_EXAMPLES = 512
"""Examples of each task that steps are drawn from, by a hash of their sentences."""


class Ours:
    """Our own step, as model/training.py takes it."""

    def __init__(
        self, config: TrialConfig, data: Sequence[TaskData], source: EncoderSource, cache: PrefixCache
    ) -> None:
        prefix = FrozenPrefix(config, source, CPU, cache)
        layers = source.config.num_hidden_layers
        for _ in prefix.build([entry.train.tokens for entry in data], [layers - d for d in DEPTHS if d != "all"]):
            pass
        self.config, self.by_name = config, {entry.task.name: entry for entry in data}
        self.model = MultitaskModel(config, [entry.task for entry in data], prefix.top()).train()
        self.optimizer = adamw(self.model, config)
        inputs = prefix.inputs([entry.train.tokens for entry in data])
        self.inputs = dict(zip(self.by_name, inputs, strict=True))
        sizes = {entry.task.name: len(entry.train) for entry in data}
        self.batches = epoch_batches(sizes, config, 1)

    def rows(self, name: str, examples: Indices) -> int:
        """Return the tokens of these examples."""
        return real_rows(self.by_name[name].train.tokens, examples)

    def step(self, name: str, examples: Indices) -> float:
        """Take a step; return the loss."""
        entry = self.by_name[name]
        chosen = labels(entry, examples)
        return take_step(self.model, self.optimizer, self.config, entry, self.inputs[name], examples, chosen).item()


def step_costs(
    source: EncoderSource, data: str, steps: int, repeats: int, folder: Path, *, log: bool
) -> dict[str, dict[str, Any]]:
    """Return the ratios of step times by depth and precision: against student, engineer and packed rows."""
    weights = source.part().state_dict()
    found: dict[str, dict[str, Any]] = {key: {} for key in (*AGAINST, "step_cpu_seconds")}
    capped = replace(STUDY, max_train_examples=STEP_EXAMPLES)
    cache = PrefixCache(folder / "steps")
    for depth in DEPTHS:
        config = replace(capped, unfrozen_layers=depth)
        entries = task_data(source, config, data, dev=32)
        bf16 = replace(config, precision="bf16")
        given = (entries, source.config, weights)
        variants: dict[str, Reference | Ours] = {
            "student": student(config, *given),
            "student, frozen still": student(config, *given, still=True),
            "engineer": engineer(config, *given),
            "engineer bf16": engineer(bf16, *given),
            "tuned": tuned(config, *given),
            "packed": packed(config, *given),
            "ours": Ours(config, entries, source, cache),
            "ours bf16": Ours(bf16, entries, source, cache),
        }
        count = max(2, steps // 2) if depth == "all" else steps
        times = interleaved(variants, count, repeats)
        found["step_cpu_seconds"][str(depth)] = {name: statistics.median(values) for name, values in times.items()}
        for key, reference in AGAINST.items():
            found[key][str(depth)] = {
                "fp32": ratio(times[reference], times["ours"]),
                "bf16": ratio(times[reference], times["ours bf16"]),
            }
        both = ratio(times["engineer bf16"], times["ours bf16"])
        found["step_vs_best_practice"][str(depth)]["bf16 against its bf16"] = both
        if log:
            print(
                source.name,
                depth,
                {k: round(v, 4) for k, v in found["step_cpu_seconds"][str(depth)].items()},
                file=sys.stderr,
            )
        del variants
        gc.collect()
    return found


def interleaved(variants: Mapping[str, Reference | Ours], steps: int, repeats: int) -> dict[str, list[float]]:
    """Return each variant's mean CPU seconds a step, for each repetition, the variants in turn at every step."""
    shares = {name: spread(variant.batches, steps) for name, variant in variants.items()}
    for name, variant in variants.items():  # a step to warm up
        own_heap(variant)
        variant.step(*shares[name][0])
    times: dict[str, list[float]] = {name: [] for name in variants}
    # Few batches stand for an epoch: their time is scaled by the rows that an epoch's batches have on average.
    scale = {
        name: mean_rows(variant, variant.batches) / mean_rows(variant, shares[name])
        for name, variant in variants.items()
    }
    for _ in range(repeats):
        spent = dict.fromkeys(variants, 0.0)
        for i in range(steps):
            for name, variant in variants.items():
                own_heap(variant)
                started = time.process_time()
                variant.step(*shares[name][i])
                spent[name] += time.process_time() - started
        for name, seconds in spent.items():
            times[name].append(scale[name] * seconds / steps)
    return times


def own_heap(variant: "Reference | Ours | None") -> None:
    """Give the process the heap that a variant has by itself: a worker of ours bounds it, and pays for it."""
    bound_heap(MMAP_THRESHOLD_BYTES if isinstance(variant, Ours) else GLIBC_HIGHEST_BYTES)


def mean_rows(variant: "Reference | Ours", batches: Sequence[tuple[str, Indices]]) -> float:
    """Return the token rows, padding included, that the variant computes for a batch on average."""
    return statistics.mean(variant.rows(name, examples) for name, examples in batches)


def spread(batches: Sequence[tuple[str, Indices]], steps: int) -> list[tuple[str, Indices]]:
    """Return so many full batches, the tasks by their share of the epoch, from all over it."""
    full = max(len(examples) for _, examples in batches)
    by_task: dict[str, list[tuple[str, Indices]]] = {}
    for name, examples in batches:
        if len(examples) == full:
            by_task.setdefault(name, []).append((name, examples))
    total = sum(len(found) for found in by_task.values())
    chosen = []
    for found in by_task.values():
        share = max(1, round(steps * len(found) / total))
        chosen += [found[int(i)] for i in np.linspace(0, len(found) - 1, share)]
    return (chosen * steps)[:steps]


def ratio(reference: Sequence[float], ours: Sequence[float]) -> dict[str, float]:
    """Return the median, smallest and largest ratio over the repetitions."""
    ratios = [a / b for a, b in zip(reference, ours, strict=True)]
    return {
        "median": round(statistics.median(ratios), 2),
        "low": round(min(ratios), 2),
        "high": round(max(ratios), 2),
    }
