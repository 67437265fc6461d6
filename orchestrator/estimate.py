"""What a sweep will take before it starts: the prefix cache's size."""

from collections.abc import Sequence

import torch

from model.config import TrialConfig, encoding_of
from model.data import Corpus
from model.encoder_files import EncoderSource
from model.frozen_prefix import FrozenPrefix
from model.tokens import PackedTokens
from model.training import tokenized


def prefix_cache_sizes(
    configs: Sequence[TrialConfig], corpus: Corpus, encoder: EncoderSource, max_dev_examples: int | None
) -> list[int]:
    """Return the bytes of each entry that these configs have in the prefix cache, what they share counted once."""
    tokenizer = encoder.tokenizer()
    tokens: dict[tuple[object, ...], PackedTokens] = {}
    sizes: dict[str, int] = {}
    for config in configs:
        prefix = FrozenPrefix(config, encoder, torch.device("cpu"))
        if not prefix.depth:
            continue
        for name in config.tasks:
            for split in (
                corpus[name]["train"].capped(config.max_train_examples), corpus[name]["dev"].capped(max_dev_examples)
            ):  # fmt: skip
                key = (name, split.name, encoding_of(config, split.task), config.max_tokens, len(split))
                if key not in tokens:
                    tokens[key] = tokenized(split, config, tokenizer, encoder.tokenizer_sha256).tokens
                entry = prefix.entry(tokens[key], prefix.depth)
                sizes[entry.name] = entry.bytes
    return list(sizes.values())
