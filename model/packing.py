"""Sequences packed end to end in rows, without padding, and the views of them that attention takes.

Projections, feed-forward networks and norms act on a row alone, so they take the packed rows [N, D] and cost what
the real tokens cost. Only attention looks from row to row of a sequence: it takes groups of sequences of one length,
which are mere views of the rows.

Shape letters: B sequences, N tokens of all of them, G sequences of a group, T tokens of each, D any width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

MAX_GROUPS = {"cpu": 8, "cuda": 1}
"""Groups of a batch whose sequences are padded to the longest: on a GPU a call costs more than padding does."""


@dataclass(frozen=True)
class Group:
    """Consecutive sequences of a packing that attend in one call, padded where their lengths differ."""

    rows: int
    sequences: int
    longest: int
    places_GT: Tensor | None
    """Row, within the group's, of each token, the first row beyond a sequence's end. None: all are equally long."""
    attend_GT: Tensor | None
    """True at real tokens; None where all are."""
    real_N: Tensor | None
    """Places of the real tokens among the G * T; None where all are."""

    def pad(self, rows_ND: Tensor) -> Tensor:
        """Return the group's rows as [G, T, D]."""
        rows = rows_ND if self.places_GT is None else rows_ND.index_select(0, self.places_GT.flatten())
        return rows.view(self.sequences, self.longest, *rows.shape[1:])

    def unpad(self, padded_GTD: Tensor) -> Tensor:
        """Return the rows of [G, T, D] that are real."""
        flat = padded_GTD.flatten(0, 1)
        return flat if self.real_N is None else flat.index_select(0, self.real_N)


@dataclass(frozen=True)
class Packing:
    """How the sequences of a batch lie in its rows: by ascending length, equal ones in the batch's order."""

    lengths: NDArray[np.int64]
    """Tokens of each sequence, in packed order."""
    order: NDArray[np.int64]
    """The batch's index of each packed sequence."""
    groups: tuple[Group, ...]
    firsts_B: Tensor
    """Row of each packed sequence's [CLS]."""
    restore_B: Tensor
    """Place in packed order of each sequence of the batch."""

    @cached_property
    def positions_N(self) -> Tensor:
        """Position of each row in its sequence."""
        positions = spans(np.zeros_like(self.lengths), self.lengths)
        return torch.from_numpy(positions).to(self.firsts_B.device)

    def split(self, rows_ND: Tensor) -> list[Tensor]:
        """Return each group's rows as [G, T, D]."""
        parts = rows_ND.split([group.rows for group in self.groups])
        return [group.pad(part) for group, part in zip(self.groups, parts, strict=True)]

    def join(self, padded: Sequence[Tensor]) -> Tensor:
        """Return the packed rows of what `split` gave."""
        return torch.cat([group.unpad(part) for group, part in zip(self.groups, padded, strict=True)])


def pack(lengths: Sequence[int] | NDArray[np.int64], device: torch.device, *, unpadded: bool = False) -> Packing:
    """Return the packing of a batch's sequences by their lengths, in the order given; each is 1 or more.

    `unpadded` makes a group of each length, however many there are: what a sequence comes to then depends, to the
    last bit, on itself alone.
    """
    given = np.asarray(lengths, dtype=np.int64)
    order = np.argsort(given, kind="stable")
    ascending = given[order]
    starts = np.concatenate([[0], np.cumsum(ascending)[:-1]])
    return Packing(
        lengths=ascending,
        order=order,
        groups=tuple(_groups(ascending, device, unpadded=unpadded)),
        firsts_B=torch.from_numpy(starts).to(device),
        restore_B=torch.from_numpy(np.argsort(order, kind="stable")).to(device),
    )


def spans(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return start, start + 1, ... of each span, end to end."""
    before = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    return np.repeat(starts - before, lengths) + np.arange(lengths.sum())


def _groups(ascending: NDArray[np.int64], device: torch.device, *, unpadded: bool) -> list[Group]:
    cuts = np.flatnonzero(np.diff(ascending)) + 1
    most = MAX_GROUPS.get(device.type, 1)
    if not unpadded and len(cuts) >= most:
        every = -(-len(ascending) // most)
        cuts = np.arange(every, len(ascending), every)
    return [_group(part, device) for part in np.split(ascending, cuts)]


def _group(lengths: NDArray[np.int64], device: torch.device) -> Group:
    longest = int(lengths[-1])
    if lengths[0] == longest:
        return Group(int(lengths.sum()), len(lengths), longest, None, None, None)
    steps = np.arange(longest)
    real = steps < lengths[:, None]
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    places = np.where(real, starts[:, None] + steps, starts[:, None])
    return Group(
        int(lengths.sum()),
        len(lengths),
        longest,
        torch.from_numpy(places).to(device),
        torch.from_numpy(real).to(device),
        torch.from_numpy(np.flatnonzero(real)).to(device),
    )
