"""Successive halving on epochs: which trials go on at a rung. Pure; the study remembers each decision.

Li et al., A System for Massively Parallel Hyperparameter Tuning (MLSys 2020), in its form without waiting: a trial that
reaches a rung goes on if it is among the best 1/factor of all that have reached it so far, so that no GPU waits for
the others. The first to arrive goes on, which costs at most its own epochs.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Halving:
    """Early stopping of a sweep."""

    first: int = 1
    """Epochs until the first rung."""
    factor: int = 3
    """One in so many goes on at a rung, and rungs lie at first, first * factor, first * factor ** 2 ... epochs."""

    def __post_init__(self) -> None:
        """Refuse what stops nothing, or everything."""
        if self.first < 1:
            raise ValueError(f"first is {self.first}; expected 1 or more epochs before the first rung")
        if self.factor < 2:
            raise ValueError(f"factor is {self.factor}; expected 2 or more: one in so many goes on")

    def is_rung(self, epoch: int, epochs: int) -> bool:
        """Return whether a trial of so many epochs is judged after this one; never after its last."""
        rung = self.first
        while rung < epoch:
            rung *= self.factor
        return rung == epoch < epochs

    def goes_on(self, own: float, others: Sequence[float]) -> bool:
        """Return whether a score is among the best 1/factor, itself counted; a tie goes on."""
        places = max(1, (len(others) + 1) // self.factor)
        return sum(other > own for other in others) < places
