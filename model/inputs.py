"""What a model is fed at a step: tokens, or the hidden states that the frozen layers made of them."""

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from model.batches import Indices
from model.packing import Packing, pack, spans
from model.tokens import PackedTokens


@dataclass(frozen=True)
class Batch:
    """Sequences packed end to end: their tokens (ids [N], types [N]), or hidden states [N, D] in their place."""

    packing: Packing
    tokens: tuple[Tensor, Tensor] | None = None
    hidden_ND: Tensor | None = None


class Inputs(Protocol):
    """Gives batches of one split's sequences."""

    def batch(self, sequences: Indices) -> Batch:
        """Return these sequences, in this order, as a batch."""


@dataclass(frozen=True)
class TokenInputs:
    """Token ids as they are."""

    tokens: PackedTokens
    device: torch.device

    def batch(self, sequences: Indices, *, unpadded: bool = False) -> Batch:
        """Return these sequences' token ids and types; `unpadded` as in `pack`."""
        packing = pack(self.tokens.lengths[sequences], self.device, unpadded=unpadded)
        rows = self.tokens.rows(sequences[packing.order])
        ids, types = (torch.from_numpy(a[rows].astype(np.int64)) for a in (self.tokens.ids, self.tokens.types))
        return Batch(packing, tokens=(ids.to(self.device), types.to(self.device)))


@dataclass(frozen=True)
class StateInputs:
    """Hidden states that were computed before: of each distinct sequence, its rows end to end."""

    rows_RD: Tensor
    """fp16 or fp32; in a memory-mapped file, in pinned memory or on the device."""
    lengths: Indices
    """Rows of each distinct sequence, in the order of `rows_RD`."""
    index: Indices
    """Of every sequence, its distinct one."""
    device: torch.device

    def batch(self, sequences: Indices) -> Batch:
        """Return these sequences' hidden states, in fp32."""
        chosen = self.index[sequences]
        packing = pack(self.lengths[chosen], self.device)
        ordered = chosen[packing.order]
        rows = torch.from_numpy(spans(self.starts[ordered], self.lengths[ordered])).to(self.rows_RD.device)
        hidden_ND = self.rows_RD.index_select(0, rows)
        return Batch(packing, hidden_ND=hidden_ND.to(self.device, non_blocking=True).float())

    @cached_property
    def starts(self) -> Indices:
        """Row in `rows_RD` of each distinct sequence's first token."""
        return np.cumsum(self.lengths) - self.lengths
