"""How long examples are in tokens, told by a sample of each split: known before anything heavy is loaded."""

import numpy as np

from model.config import TrialConfig, encoding_of
from model.data import Split
from model.encoder_files import EncoderSource

SAMPLE = 200
"""Examples of a split whose tokens are counted."""


class TokenCounts:
    """Mean lengths of splits as configs read them, each counted once."""

    def __init__(self, encoder: EncoderSource) -> None:
        """Load the encoder's tokenizer."""
        self._tokenizer = encoder.tokenizer()
        self._means: dict[tuple[object, ...], float] = {}

    def mean(self, split: Split, config: TrialConfig) -> float:
        """Return the mean number of tokens of an example, both sentences of a pair together."""
        key = split.task.name, split.name, encoding_of(config, split.task), config.max_tokens
        if key not in self._means:
            self._means[key] = self._counted(split, config)
        return self._means[key]

    def _counted(self, split: Split, config: TrialConfig) -> float:
        chosen = np.linspace(0, len(split) - 1, min(SAMPLE, len(split))).astype(int)
        texts = [split.sentences[position] for position in chosen]
        encode = self._tokenizer.encode_batch
        if split.task.is_pair and encoding_of(config, split.task) == "separate":
            encoded = [encode([text[side] for text in texts]) for side in (0, 1)]
        else:
            encoded = [encode([text if len(text) == 2 else text[0] for text in texts])]
        return float(sum(min(len(one.ids), config.max_tokens) for batch in encoded for one in batch) / len(texts))
