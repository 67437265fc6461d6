"""What a sweep will take before it starts: the prefix cache's size."""

from collections.abc import Sequence

import numpy as np

from model.config import TrialConfig, encoding_of
from model.data import Corpus
from model.encoder import frozen_depth
from model.precision import PREFIX_DTYPES
from model.training import tokenized
from model.weights import EncoderSource


def prefix_cache_bytes(
    configs: Sequence[TrialConfig], corpus: Corpus, encoder: EncoderSource, max_dev_examples: int | None
) -> int:
    """Return the bytes that the frozen layers' states of these configs take, what they share counted once."""
    tokenizer, shape = encoder.tokenizer(), encoder.config
    rows: dict[tuple[object, ...], tuple[int, int]] = {}  # of a split: its distinct sequences, and their tokens
    states: dict[tuple[object, ...], int] = {}
    for config in configs:
        depth = frozen_depth(config.unfrozen_layers, shape.num_hidden_layers)
        if not depth or config.prefix_dropout:
            continue
        for name in config.tasks:
            for split in (
                corpus[name]["train"].capped(config.max_train_examples), corpus[name]["dev"].capped(max_dev_examples)
            ):  # fmt: skip
                key = (name, split.name, encoding_of(config, split.task), config.max_tokens, len(split))
                if key not in rows:
                    tokens = tokenized(split, config, tokenizer, encoder.tokenizer_sha256).tokens
                    lengths = tokens.lengths[tokens.distinct.sequences]
                    rows[key] = len(lengths), int(np.sum(lengths))
                kept = rows[key][0 if depth == shape.num_hidden_layers else 1]
                size = kept * shape.hidden_size * PREFIX_DTYPES[config.prefix_format].itemsize
                states[*key, depth, config.precision, config.prefix_format] = size
    return sum(states.values())
