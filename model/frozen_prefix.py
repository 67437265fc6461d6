"""The frozen prefix: what a config freezes of an encoder, computed once for all trials and epochs.

In eval mode the embeddings and the frozen bottom layers are a function of the input alone. Their output, the hidden
states at the freeze depth, is kept for each distinct input in memory-mapped files (model/prefix_cache.py), or computed
anew for each batch where it cannot be. Both round it to the config's `prefix_format`, and on a CPU both give the same
bits: a row of a matrix product does not depend on the rows beside it, as long as there are some (FEWEST_ROWS), and
attention takes sequences of one length together, without padding.

Depth 0 (the embeddings alone) is cheaper to look up than to read back: it is always computed, and not rounded.
Depth L (nothing but pooler and heads trains) needs [CLS] alone: one row a sequence.
"""

import logging
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from model.batches import Indices
from model.config import TrialConfig
from model.encoder import Encoder, EncoderParts
from model.encoder_config import frozen_depth
from model.files import content_hash, size_text
from model.inputs import Batch, Inputs, StateInputs, TokenInputs
from model.packing import pack
from model.placement import Move, placement
from model.precision import PREFIX_DTYPES, autocast
from model.prefix_cache import Entry, PrefixCache, PrefixCacheError
from model.tokens import PackedTokens

log = logging.getLogger(__name__)

CODE_SHA256 = content_hash(
    [
        (Path(__file__).parent / name).read_text(encoding="utf-8")
        for name in ("encoder.py", "packing.py", "frozen_prefix.py")
    ]
)
"""Part of every key: a change of what computes the states, of however little, starts a new cache."""
CHUNK_ROWS = {"cpu": 2_048, "cuda": 8_192}
"""Tokens computed at a time by device, more where one sequence is longer."""
FEWEST_ROWS = 64
"""Small batches are filled up to so many rows and sequences: matrix products of few rows run by other kernels, whose
sums end in other bits."""


class FrozenPrefix:
    """What lies below the layers that a config trains, and the inputs that it makes of tokens."""

    def __init__(
        self,
        config: TrialConfig,
        encoder: EncoderParts,
        device: torch.device,
        cache: PrefixCache | None = None,
    ) -> None:
        """Cut the encoder at the config's freeze depth; nothing is loaded or computed yet."""
        self.encoder, self.device, self.cache = encoder, device, cache
        depth = frozen_depth(config.unfrozen_layers, encoder.config.num_hidden_layers)
        self.depth = None if config.prefix_dropout else depth
        """None: nothing is computed apart, the model takes tokens."""
        self.precision, self.dtype = config.precision, PREFIX_DTYPES[config.prefix_format]

    def top(self) -> Encoder:
        """Return the part that a model is made of: all above the freeze depth, or the whole encoder."""
        return self.encoder.part(start=self.depth).to(self.device)

    def inputs(self, splits: Sequence[PackedTokens]) -> list[Inputs]:
        """Return what the top is fed for each split: kept states where the cache has them, or computed ones.

        What the cache has open for earlier trials and these splits do not need is let go.
        """
        of_tokens = [TokenInputs(tokens, self.device) for tokens in splits]
        if self.depth is None:
            return list(of_tokens)
        if self.cache is None or self.depth == 0:
            return [ComputedInputs(self, each) for each in of_tokens]
        entries = [self.entry(tokens, self.depth) for tokens in splits]
        self.cache.keep_open(entries)
        opened = [self.cache.open(entry) for entry in entries]
        fresh = [
            rows
            for rows, entry in zip(opened, entries, strict=True)
            if rows is not None and not self.cache.moved(entry)
        ]
        move: Move | None = None
        if fresh:
            size = sum(rows.nbytes for rows in fresh)
            where, move = placement(size, self.device)
            level = logging.WARNING if move is None else logging.INFO
            log.log(level, "%s of states after layer %d: %s", size_text(size), self.depth, where)
        if missing := sum(rows is None for rows in opened):
            log.warning("states after layer %d of %d data splits: computed at every step", self.depth, missing)
        found: list[Inputs] = []
        for each, entry, rows in zip(of_tokens, entries, opened, strict=True):
            if rows is None or (move is None and not self.cache.moved(entry)):
                found.append(ComputedInputs(self, each))
            else:
                lengths, index = self._lengths(each.tokens, self.depth), each.tokens.distinct.index
                found.append(StateInputs(self.cache.move(entry, move), lengths, index, self.device))
        return found

    def build(self, splits: Sequence[PackedTokens], depths: Collection[int] = ()) -> Iterator[float]:
        """Fill the cache with the states of these splits that it lacks; yield the share that is done.

        One pass over a split gives this prefix's depth and the others asked for. Several processes may build
        at once: each split is computed by one. Raises PrefixCacheError where the cache cannot take them.
        """
        if self.cache is None or not self.depth:
            return
        wanted = sorted({self.depth, *(depth for depth in depths if depth > 0)})
        pending = [tokens for tokens in splits if self.cache.open(self.entry(tokens, self.depth)) is None]
        done, rows = 0, sum(_distinct_rows(tokens) for tokens in pending)
        while pending:
            waiting = []
            for tokens in pending:
                entries = {depth: self.entry(tokens, depth) for depth in wanted}
                with self.cache.sole_builder(entries[self.depth]) as is_ours:
                    if is_ours and self.cache.open(entries[self.depth]) is None:
                        for part in self._fill(tokens, entries):
                            yield (done + part) / rows
                        if self.cache.open(entries[self.depth]) is None:
                            raise PrefixCacheError(f"{self.cache.folder}: what was just written there cannot be read")
                if is_ours:
                    done += _distinct_rows(tokens)
                else:
                    waiting.append(tokens)
            if len(waiting) == len(pending):
                self.cache.wait()
            pending = waiting
            yield done / rows

    def entry(self, tokens: PackedTokens, depth: int) -> Entry:
        """Return what names these states in the cache: everything that they follow from."""
        facts: dict[str, Any] = {
            "code": CODE_SHA256,
            "torch": torch.__version__,
            "config": asdict(self.encoder.config),
            "weights": self.encoder.weights_sha256,
            "tokens": tokens.content_sha256,
            "precision": self.precision,
            "device": self.device.type,
            "cpu": torch.backends.cpu.get_cpu_capability() if self.device.type == "cpu" else "",
            "threads": torch.get_num_threads() if self.device.type == "cpu" else 0,
        }
        shape = int(self._lengths(tokens, depth).sum()), self.encoder.config.hidden_size
        return Entry(facts, depth, shape, str(self.dtype).removeprefix("torch."))

    @cached_property
    def below(self) -> Encoder:
        """Return the frozen part itself, in eval mode."""
        return self._loaded(self.depth)

    def _loaded(self, depth: int | None) -> Encoder:
        return self.encoder.part(stop=depth).requires_grad_(requires_grad=False).eval().to(self.device)

    def _lengths(self, tokens: PackedTokens, depth: int) -> Indices:
        lengths = tokens.lengths[tokens.distinct.sequences]
        return np.ones_like(lengths) if depth == self.encoder.config.num_hidden_layers else lengths

    def _fill(self, tokens: PackedTokens, entries: dict[int, Entry]) -> Iterator[int]:
        """Compute the states that the cache lacks into it; yield the rows done. Without room for all, this depth's."""
        assert self.cache is not None
        assert self.depth
        own = {self.depth: entries[self.depth]}
        missing = own | {depth: entry for depth, entry in entries.items() if not self.cache.has(entry)}
        try:
            yield from self._pass(tokens, missing)
        except PrefixCacheError:
            if missing == own:
                raise
            yield from self._pass(tokens, own)

    def _pass(self, tokens: PackedTokens, entries: dict[int, Entry]) -> Iterator[int]:
        """Compute the states at all these depths in one pass over the split; yield the rows done."""
        assert self.cache is not None
        with self.cache.writers(entries) as write:
            below, inputs = self._loaded(max(entries)), TokenInputs(tokens, self.device)
            done = 0
            for sequences in tokens.chunks(tokens.distinct.sequences, CHUNK_ROWS[self.device.type]):
                for depth, rows in self.states(below, inputs, sequences, entries).items():
                    write(depth, rows)
                done += int(tokens.lengths[sequences].sum())
                yield done

    @torch.no_grad()
    def states(
        self, below: Encoder, inputs: TokenInputs, sequences: Indices, depths: Collection[int]
    ) -> dict[int, Tensor]:
        """Return the rounded states at each depth: the sequences' rows by ascending length, as they are packed.

        At the last depth, one row a sequence, in the order given.
        """
        lengths = inputs.tokens.lengths[sequences]
        rows, longest = int(lengths.sum()), sequences[lengths.argmax()]
        # Copies of the longest are packed last: cutting them off again leaves what was asked for.
        copies = max(0, -(-(FEWEST_ROWS - rows) // int(lengths.max())))
        if self.encoder.config.num_hidden_layers in depths:  # there the products have one row a sequence
            copies = max(copies, FEWEST_ROWS - len(sequences))
        batch = inputs.batch(np.append(sequences, np.repeat(longest, copies)), unpadded=self.device.type == "cpu")
        assert batch.tokens is not None
        found: dict[int, Tensor] = {}
        with autocast(self.device, self.precision):
            hidden_ND = below.embed(*batch.tokens, batch.packing)
            if 0 in depths:
                found[0] = hidden_ND[:rows]
            for depth, layer in enumerate(below.layers, start=1):
                if depth == self.encoder.config.num_hidden_layers:
                    first_BD = layer.of_first(hidden_ND, batch.packing).index_select(0, batch.packing.restore_B)
                    found[depth] = first_BD[: len(sequences)].to(self.dtype)
                    break
                hidden_ND = layer(hidden_ND, batch.packing)
                if depth in depths:
                    found[depth] = hidden_ND[:rows].to(self.dtype)
        return found


@dataclass(frozen=True)
class ComputedInputs:
    """Hidden states computed anew for each batch, rounded as the kept ones are."""

    prefix: FrozenPrefix
    of_tokens: TokenInputs

    def batch(self, sequences: Indices) -> Batch:
        """Return these sequences' hidden states, in fp32."""
        depth, below = self.prefix.depth, self.prefix.below
        assert depth is not None
        hidden = self.prefix.states(below, self.of_tokens, sequences, {depth})[depth].float()
        lengths = self.of_tokens.tokens.lengths[sequences]
        if depth == below.config.num_hidden_layers:
            lengths = np.ones_like(lengths)
        return Batch(pack(lengths, self.of_tokens.device), hidden_ND=hidden)


def _distinct_rows(tokens: PackedTokens) -> int:
    return int(tokens.lengths[tokens.distinct.sequences].sum())
