"""Training steps as CUDA graphs: captured once for each shape of a batch, replayed from then on.

A step is some 250 kernels, which take the host many times longer to launch than the GPU to run; a graph is one launch.
It holds addresses, so all that a step reads lies in the GPU's memory at a fixed place: kept states, labels, learning
rate, AdamW's steps, and the batch's indices, which go over in one copy. It holds sizes too, so batches are filled up to
few shapes. What fills them changes no output and has no gradient.

What a step computes does not depend on whether it is replayed: where there is no graph, the same kernels run one by one
on the same filled batch and draw the same random numbers. So training can be left and taken up between any two steps.

Shape letters: E examples, B sequences of them, T places of each, N rows of all, D any width.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

import numpy as np
import torch
from torch import Tensor

from model.batches import Indices
from model.inputs import Batch, Inputs, StateInputs
from model.packing import Group, Packing, spans

MAX_GRAPHS = 64
"""An epoch of the study's data has so many shapes; later ones bring some ten more each, whose steps are launched one by
one. On bert-base's shape 39 graphs took 0.3 GB together (docs/results/2026-11-26-gpu.md)."""
PLACES, ROWS = 8, 128
"""What a sequence's places and a batch's rows are multiples of; see `filled_up`."""

Step = Callable[[str, Batch, Tensor], Tensor]
"""Takes a step on a batch of a task, with labels [E], and returns the loss; it may not wait for the GPU."""


def in_gpu_memory(inputs: Inputs) -> TypeGuard[StateInputs]:
    """Say whether these are kept states in the GPU's memory: what a graph can read."""
    return isinstance(inputs, StateInputs) and inputs.rows_RD.is_cuda


def make_capturable(optimizer: torch.optim.Optimizer, device: torch.device) -> None:
    """Let graphs hold the optimizer's steps; from now on learning rates are tensors, to be written in place."""
    for group in optimizer.param_groups:
        group["capturable"] = True
        group["lr"] = torch.tensor(group["lr"], device=device)


class GraphedSteps:
    """The steps of one run on a GPU. It and its graphs belong to one thread."""

    def __init__(self, step: Step, inputs: Mapping[str, StateInputs], labels: Mapping[str, Tensor]) -> None:
        """Take what a step does, and for each task its training inputs and labels, which stay where they are."""
        self._step, self._inputs, self._labels = step, inputs, labels
        self._seen: set[tuple[str, Shape]] = set()
        self._graphs: dict[tuple[str, Shape], _Graph] = {}
        self._pool = torch.cuda.graph_pool_handle()  # one replay at a time: all graphs share their memory

    def take(self, name: str, examples: Indices, sequences: Indices) -> Tensor:
        """Take a step of a task on these examples [E], whose sequences are these [B].

        Return the loss, still on the device, where a later step may write another.
        """
        inputs = self._inputs[name]
        shape, indices = batch_indices(inputs, examples, sequences)
        staged = torch.from_numpy(indices).pin_memory()
        key = name, shape
        if key not in self._graphs:
            # Nothing is captured before it ran once: libraries and AdamW's moments are made at first use.
            if key not in self._seen or len(self._graphs) >= MAX_GRAPHS:
                self._seen.add(key)
                return self._run(name, shape, staged.to(inputs.device, non_blocking=True))
            self._graphs[key] = self._captured(
                name, shape, torch.empty(len(indices), dtype=torch.int64, device=inputs.device)
            )
        captured = self._graphs[key]
        captured.indices.copy_(staged, non_blocking=True)
        captured.graph.replay()
        return captured.loss

    def _captured(self, name: str, shape: "Shape", indices: Tensor) -> "_Graph":
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            loss = self._run(name, shape, indices)
        return _Graph(graph, indices, loss)

    def _run(self, name: str, shape: "Shape", indices: Tensor) -> Tensor:
        examples, batch = filled_batch(self._inputs[name], shape, indices)
        return self._step(name, batch, self._labels[name].index_select(0, examples))


@dataclass(frozen=True)
class _Graph:
    """A captured step, the indices that it reads and the loss that it writes."""

    graph: torch.cuda.CUDAGraph
    indices: Tensor
    loss: Tensor


@dataclass(frozen=True)
class Shape:
    """What a batch is filled up to."""

    examples: int
    sequences: int
    places: int
    """Of each sequence: more than the shortest one's tokens, so that there is a place that no token has."""
    rows: int


def shape_of(examples: int, lengths: Indices) -> Shape:
    """Return what a batch is filled up to that has sequences of these lengths [B], ascending."""
    places = max(int(lengths[-1]), int(lengths[0]) + 1)
    return Shape(examples, len(lengths), filled_up(places, PLACES), filled_up(int(lengths.sum()), ROWS))


def filled_up(count: int, step: int) -> int:
    """Return the next multiple of `step`, or of an eighth of the power of two below `count` where that is more."""
    step = max(step, 1 << max(0, count.bit_length() - 4))
    return -(-count // step) * step


def batch_indices(inputs: StateInputs, examples: Indices, sequences: Indices) -> tuple[Shape, Indices]:
    """Return the shape of a batch of these examples [E] and their sequences [B], and all indices its step reads.

    They lie end to end, as `filled_batch` takes them apart. The sequences are packed as by `pack`, in one group.
    """
    chosen = inputs.index[sequences]
    order = np.argsort(inputs.lengths[chosen], kind="stable")
    chosen = chosen[order]
    lengths = inputs.lengths[chosen]
    shape, tokens = shape_of(len(examples), lengths), int(lengths.sum())
    firsts = np.cumsum(lengths) - lengths
    steps = np.arange(shape.places)
    is_token_BT = steps < lengths[:, None]
    rows_BT = np.where(is_token_BT, firsts[:, None] + steps, firsts[:, None])
    states_N = np.zeros(shape.rows, np.int64)  # rows beyond the tokens have any state, and
    states_N[:tokens] = spans(inputs.starts[chosen], lengths)
    places_N = np.full(shape.rows, shape.places - 1)  # the shortest sequence's last place, which no token has
    places_N[:tokens] = np.flatnonzero(is_token_BT)
    restore_B = np.argsort(order, kind="stable")
    parts = (examples, states_N, places_N, firsts, restore_B, lengths, rows_BT.ravel())
    return shape, np.concatenate(parts)


def filled_batch(inputs: StateInputs, shape: Shape, indices: Tensor) -> tuple[Tensor, Batch]:
    """Return the examples [E] and the filled batch that these indices, on the states' device, speak of."""
    e, b, t, n = shape.examples, shape.sequences, shape.places, shape.rows
    examples, states_N, places_N, firsts_B, restore_B, lengths_B, rows_BT = indices.split([e, n, n, b, b, b, b * t])
    attend_BT = torch.arange(t, device=indices.device) < lengths_B[:, None]
    group = GatheredGroup(n, b, t, rows_BT.view(b, t), attend_BT, places_N)
    unknown = np.zeros(0, np.int64)  # on the host: a replay's lengths are other ones, and nothing above depth 0 asks
    packing = Packing(unknown, unknown, (group,), firsts_B, restore_B)
    return examples, Batch(packing, hidden_ND=inputs.rows_RD.index_select(0, states_N).float())


class GatheredGroup(Group):
    """A group whose gradients are gathered, where indexing's own are added up one by one: padding has none."""

    def pad(self, rows_ND: Tensor) -> Tensor:
        """Return the group's rows as [G, T, D]."""
        assert self.places_GT is not None
        rows: Tensor = _Pad.apply(rows_ND, self.places_GT.flatten(), self.real_N)  # type: ignore[no-untyped-call]
        return rows.view(self.sequences, self.longest, *rows.shape[1:])

    def unpad(self, padded_GTD: Tensor) -> Tensor:
        """Return the rows of [G, T, D], those beyond the tokens from a place of padding."""
        rows: Tensor = _Unpad.apply(padded_GTD.flatten(0, 1), self.real_N)  # type: ignore[no-untyped-call]
        return rows


class _Pad(torch.autograd.Function):
    """Rows [N, D] to places [G * T, D]; a row's gradient is its own place's."""

    @staticmethod
    def forward(ctx: Any, rows_ND: Tensor, rows_GT: Tensor, places_N: Tensor) -> Tensor:
        ctx.save_for_backward(places_N)
        return rows_ND.index_select(0, rows_GT)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (places_N,) = ctx.saved_tensors
        return gradient.index_select(0, places_N), None, None


class _Unpad(torch.autograd.Function):
    """Places [G * T, D] to rows [N, D]; a place's gradient is its row's, and zero where it has none.

    Rows beyond the tokens share a place: their gradients are zeros, whichever is written.
    """

    @staticmethod
    def forward(ctx: Any, padded: Tensor, places_N: Tensor) -> Tensor:
        ctx.save_for_backward(places_N)
        ctx.places = len(padded)
        return padded.index_select(0, places_N)

    @staticmethod
    def backward(ctx: Any, gradient_ND: Tensor) -> tuple[Tensor, None]:
        (places_N,) = ctx.saved_tensors
        gradient = gradient_ND.new_zeros(ctx.places, *gradient_ND.shape[1:])
        return gradient.index_copy_(0, places_N, gradient_ND), None
