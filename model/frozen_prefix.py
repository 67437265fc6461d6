"""The frozen prefix: what a config freezes of an encoder, computed once for all trials and epochs.

In eval mode the embeddings and the frozen bottom layers are a function of the input alone. Their output, the hidden
states at the freeze depth, is kept for each distinct input in memory-mapped files (model/prefix_cache.py), or computed
anew for each batch where it cannot be. Both round it to the config's `prefix_format` and give the same bits: a row of
a matrix product does not depend on the rows beside it, as long as there are some (FEWEST_ROWS).

Depth 0 (the embeddings alone) is cheaper to look up than to read back: it is always computed, and not rounded.
Depth L (nothing but pooler and heads trains) needs [CLS] alone: one row a sequence.
"""

import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from model.batches import Indices
from model.config import TrialConfig
from model.encoder import Encoder, EncoderParts, frozen_depth
from model.inputs import Batch, Inputs, StateInputs, TokenInputs
from model.packing import pack
from model.precision import PREFIX_DTYPES, autocast
from model.prefix_cache import Entry, PrefixCache, PrefixCacheError
from model.tokens import PackedTokens

PREFIX_VERSION = 1
"""Part of every key: raised when the same encoder and tokens would give other states."""
CHUNK_ROWS = 2_048
"""Tokens computed at a time, more where one sequence is longer."""
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

    def inputs(self, tokens: PackedTokens) -> Inputs:
        """Return what the top is fed for these tokens: kept states where the cache has them, or computed ones."""
        of_tokens = TokenInputs(tokens, self.device)
        if self.depth is None:
            return of_tokens
        if self.cache is not None and self.depth > 0:
            rows_RD = self.cache.open(self.entry(tokens, self.depth))
            if rows_RD is not None and (placed := self._placed(rows_RD)) is not None:
                distinct = tokens.distinct
                return StateInputs(placed, self._lengths(tokens, self.depth), distinct.index, self.device)
        return ComputedInputs(self, of_tokens)

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
            "version": PREFIX_VERSION,
            "torch": torch.__version__,
            "config": asdict(self.encoder.config),
            "weights": self.encoder.weights_sha256,
            "tokens": tokens.content_sha256,
            "precision": self.precision,
            "device": self.device.type,
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
        """Compute the states at all the depths in one pass into the cache; yield the rows done."""
        assert self.cache is not None
        missing = {depth: entry for depth, entry in entries.items() if not self.cache.has(entry)}
        missing[self.depth or 0] = entries[self.depth or 0]
        below, inputs = self._loaded(max(missing)), TokenInputs(tokens, self.device)
        done = 0
        with self.cache.writers(missing) as write:
            for sequences in tokens.chunks(tokens.distinct.sequences, CHUNK_ROWS):
                for depth, rows in self.states(below, inputs, sequences, missing).items():
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
        batch = inputs.batch(np.append(sequences, np.repeat(longest, copies)), unpadded=True)
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

    def _placed(self, rows_RD: Tensor) -> Tensor | None:
        """Return the states where the device reads them fast, or None where computing them is faster.

        On a GPU: in its own memory where they take half of what is free, else in pinned memory, else nowhere:
        a disk is slower than the frozen layers.
        """
        if self.device.type != "cuda":
            return rows_RD
        assert self.cache is not None
        return self.cache.placed(rows_RD, lambda: self._place(rows_RD))

    def _place(self, rows_RD: Tensor) -> Tensor | None:
        free, _ = torch.cuda.mem_get_info(self.device)
        host_free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        if rows_RD.nbytes <= free // 2:
            return rows_RD.to(self.device)
        if rows_RD.nbytes <= host_free // 2:
            return rows_RD.pin_memory()
        return None


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
