"""What a sweep will take on the disk, estimated without torch: from shapes, and from the tokens of a sample."""

import stat
from pathlib import Path

from model.config import encoding_of
from model.encoder_config import frozen_depth
from model.sizes import parameter_counts
from orchestrator.inspection import Inspected
from orchestrator.token_counts import TokenCounts

BYTES_A_PARAMETER = 4
BYTES_A_STATE = {"fp16": 2, "fp32": 4}


def needs(
    inspected: Inspected, *, trials: int, at_once: int, keep: int, cache_limit: int, cache: Path
) -> list[tuple[str, int]]:
    """Return what takes room, and about how many bytes: `keep` checkpoints, states of running trials, the cache.

    What lies in the cache's folder is taken for states of this sweep: a sweep that fits is never refused for them.
    """
    held = sum(_size(file) for file in cache.rglob("*"))
    shape = inspected.encoder.config
    largest = max(parameter_counts(config, inspected.tasks, shape)[1] for config in inspected.configs)
    return [
        *checkpoint_bytes(largest * BYTES_A_PARAMETER, trials=trials, at_once=at_once, keep=keep),
        ("the frozen layers' cache", max(0, min(cache_limit, cache_bytes(inspected)) - held)),
    ]


def _size(file: Path) -> int:
    """Return the bytes of a file; another sweep may remove it meanwhile."""
    try:
        found = file.lstat()
    except OSError:
        return 0
    return found.st_size if stat.S_ISREG(found.st_mode) else 0


def checkpoint_bytes(each: int, *, trials: int, at_once: int, keep: int) -> list[tuple[str, int]]:
    """Return what checkpoints of so many bytes take.

    Of a trial that is kept, the best-dev checkpoint lies in its folder and in MLflow; while one runs, two states with
    AdamW's two moments lie there too.
    """
    return [("checkpoints", 2 * min(trials, keep) * each), ("trials that run", at_once * 2 * 3 * each)]


def cache_bytes(inspected: Inspected) -> int:
    """Return about how many bytes the states of all configs take, what they share counted once."""
    lengths, shape = TokenCounts(inspected.encoder), inspected.encoder.config
    sizes: dict[tuple[object, ...], int] = {}
    for config in inspected.configs:
        depth = None if config.prefix_dropout else frozen_depth(config.unfrozen_layers, shape.num_hidden_layers)
        if not depth:
            continue
        for split in (split for name in config.tasks for split in inspected.corpus[name].values()):
            cap = config.max_train_examples if split.name == "train" else inspected.options.max_dev_examples
            count = min(len(split), cap or len(split))
            encoding = encoding_of(config, split.task)
            vectors = 2 if split.task.is_pair and encoding == "separate" else 1
            rows = vectors if depth == shape.num_hidden_layers else lengths.mean(split, config)
            read = split.task.name, split.name, encoding, config.max_tokens, count
            key = *read, depth, config.prefix_format, config.precision
            sizes[key] = int(count * rows * shape.hidden_size * BYTES_A_STATE[config.prefix_format])
    return sum(sizes.values())
