"""Steps replayed on a GPU: the same losses as launched one by one, left and taken up anywhere."""

import weakref
from dataclasses import dataclass, replace

import pytest
import torch

from model import graphed_steps
from model.checkpoint import load_state, open_checkpoint, save_checkpoint
from model.config import HeadConfig
from model.frozen_prefix import FrozenPrefix
from model.graphed_steps import GraphedSteps
from model.prefix_cache import PrefixCache
from model.training import EpochResult, TrainingState, fine_tune_by_steps

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

GPU = torch.device("cuda")
MAX_LOSS = {"fp32": 1e-6, "bf16": 5e-3}
"""Relative: filled up, a batch's products and sums run by other kernels."""
LARGER = {"batch_size": 18, "epochs": 4}
"""A loss of four examples is too noisy to compare."""


@dataclass
class Run:
    """What a run came to."""

    losses: list[list[float]]
    """Of each step of each epoch."""
    states: dict[tuple[int, int], TrainingState]
    """Those asked for, as a checkpoint gives them back."""
    captures: int
    replays: int


@pytest.fixture
def short(tiny_config):
    """Return a config of two epochs of 36 steps: the losses are looked at within one, and the rate changes."""
    return replace(tiny_config, epochs=2, batch_size=4, unfrozen_layers=2, learning_rate=1e-4, learning_rate_decay=0.5)


@pytest.fixture
def train(tiny_source, fresh_encoder, tiny_task_data, tmp_path):
    """Return a function that trains a config on the GPU with kept states.

    They lie in its memory, with `graphs` at most; or pinned beside it (None), where steps are as they are without any.
    The states at `positions` (epochs that ended, steps) are saved and read back.
    """

    def run(config, *, graphs=graphed_steps.MAX_GRAPHS, dropout=0.1, resume=None, positions=()):
        encoder, data = fresh_encoder(dropout), tiny_task_data(config)
        splits = [split.tokens for entry in data for split in (entry.train, entry.dev)]
        cache, found = PrefixCache(tmp_path / "cache"), Run([], {}, 0, 0)
        list(FrozenPrefix(config, encoder, GPU, cache).build(splits))
        with pytest.MonkeyPatch.context() as patch:
            if graphs is None:
                patch.setattr(torch.cuda, "mem_get_info", lambda _=None: (1_000, 1_000))
            else:
                patch.setattr(graphed_steps, "MAX_GRAPHS", graphs)
            count(patch, found)
            losses = []
            for reached in fine_tune_by_steps(config, data, encoder, device=GPU, resume=resume, cache=cache):
                if isinstance(reached, EpochResult):
                    found.losses.append(losses)
                    continue
                if reached.step == reached.steps:
                    losses = reached.state().within["losses"].tolist()
                if (position := (reached.epoch - 1, reached.step)) in positions:
                    found.states[position] = saved(reached.state(), config, data, tmp_path / f"state-{position}")
        return found

    def saved(state, config, data, folder):
        if not folder.exists():
            tasks = [entry.task for entry in data]
            facts = {"config": config, "tasks": tasks, "encoder": tiny_source, "facts": {}, "with_optimizer": True}
            save_checkpoint(folder, state=state, **facts)
        return load_state(open_checkpoint(folder))

    return run


def count(patch, found):
    """Count captures and replays."""
    captured, replay = GraphedSteps._captured, torch.cuda.CUDAGraph.replay

    def counting_capture(*given):
        found.captures += 1
        return captured(*given)

    def counting_replay(graph):
        found.replays += 1
        replay(graph)

    patch.setattr(GraphedSteps, "_captured", counting_capture)
    patch.setattr(torch.cuda.CUDAGraph, "replay", counting_replay)


def worst(found, expected):
    """Return the largest relative difference of a step's loss."""
    assert [len(losses) for losses in found] == [len(losses) for losses in expected]
    pairs = [pair for epochs in zip(found, expected, strict=True) for pair in zip(*epochs, strict=True)]
    return max(abs(one - other) / abs(other) for one, other in pairs)


@pytest.mark.parametrize("unfrozen", [0, 1, 2])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_replayed_training_agrees_with_eager_training(train, short, precision, unfrozen, record_property):
    """Without dropout every step's loss is the same to rounding, and most are replays."""
    config = replace(short, **LARGER, precision=precision, unfrozen_layers=unfrozen, heads=HeadConfig(dropout=0.0))

    eager, graphed = train(config, graphs=None, dropout=0.0), train(config, dropout=0.0)

    difference = worst(graphed.losses, eager.losses)
    record_property("difference", difference)
    print(precision, unfrozen, f"difference {difference:.1e}", graphed.captures, graphed.replays)
    assert (eager.captures, eager.replays) == (0, 0)
    assert 18 < graphed.replays < 36
    assert difference <= MAX_LOSS[precision]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_step_is_the_same_replayed_or_not(train, short, precision, record_property):
    """Dropout included, however few graphs there may be: each replay draws what the step would draw."""
    config = replace(short, precision=precision)

    none, one, all_of_them = (train(config, graphs=most) for most in (0, 1, 64))

    differences = [worst(each.losses, none.losses) for each in (one, all_of_them)]
    record_property("differences", differences)
    print(precision, "differences", differences)
    assert (none.captures, none.replays, one.captures) == (0, 0, 1)
    assert 0 < one.replays < all_of_them.replays
    assert max(differences) <= MAX_LOSS[precision]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_run_left_between_two_steps_goes_on_to_the_same_losses(train, short, precision, record_property):
    """Through a checkpoint on the disk, dropout included: the generator's state is what replays have made of it."""
    config = replace(short, precision=precision)
    positions = [(0, 1), (0, 20), (1, 5), (1, 35)]
    whole = train(config, positions=positions)

    assert sorted(whole.states) == positions
    differences = {}
    for epoch, step in positions:
        resumed = train(config, resume=whole.states[epoch, step])
        differences[epoch, step] = worst(resumed.losses, whole.losses[epoch:])
    record_property("differences", differences)
    print(precision, "differences", differences)
    assert max(differences.values()) <= MAX_LOSS[precision]


def test_states_pass_between_replayed_and_eager_runs(train, short, record_property):
    """Moments, step and rate mean the same to both: either goes on where the other was left."""
    config = replace(short, **LARGER, heads=HeadConfig(dropout=0.0))
    eager = train(config, graphs=None, dropout=0.0, positions=[(0, 5)])

    graphed = train(config, dropout=0.0, resume=eager.states[0, 5], positions=[(2, 5)])
    eager_again = train(config, graphs=None, dropout=0.0, resume=graphed.states[2, 5])

    differences = [worst(each.losses, eager.losses[-len(each.losses) :]) for each in (graphed, eager_again)]
    record_property("differences", differences)
    print("differences", differences)
    assert graphed.replays > 0
    assert eager_again.replays == 0
    assert max(differences) <= MAX_LOSS["fp32"]


def test_graphs_go_with_their_run(train, short, monkeypatch):
    """Nothing waits for the garbage collector: the next trial of the process needs the memory."""
    made = []
    init = GraphedSteps.__init__

    def remembered(self, *given):
        made.append(weakref.ref(self))
        init(self, *given)

    monkeypatch.setattr(GraphedSteps, "__init__", remembered)

    train(replace(short, epochs=1))

    assert [each() for each in made] == [None]
