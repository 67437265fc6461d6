"""Which examples make which step: everything once, shares by quota, and always the same for a seed."""

import math
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.batches import epoch_batches
from model.config import TrialConfig

SIZES = st.dictionaries(st.sampled_from(["a", "b", "c", "d"]), st.integers(1, 200), min_size=1)
STUDY = {"sentiment": 8_544, "paraphrase": 141_506, "similarity": 6_040}


def config(**fields):
    """Return a config with these fields."""
    return TrialConfig(**fields)


def dealt(batches, name):
    """Return how often each example of a task was dealt."""
    return Counter(int(i) for task, examples in batches if task == name for i in examples)


def steps(batches):
    """Return the number of steps of each task."""
    return Counter(name for name, _ in batches)


def plain(batches):
    """Return batches as values that compare."""
    return [(name, examples.tolist()) for name, examples in batches]


@settings(max_examples=40)
@given(SIZES, st.integers(1, 64), st.integers(0, 99), st.integers(1, 9))
def test_proportional_mixing_deals_every_example_once(sizes, batch_size, seed, epoch):
    """Each epoch has each example of each task exactly once, no batch too large, none empty."""
    batches = epoch_batches(sizes, config(batch_size=batch_size, seed=seed), epoch)

    for name, size in sizes.items():
        assert dealt(batches, name) == dict.fromkeys(range(size), 1)
    assert steps(batches) == {name: math.ceil(size / batch_size) for name, size in sizes.items()}
    assert all(0 < len(examples) <= batch_size for _, examples in batches)


@settings(max_examples=40)
@given(SIZES, st.integers(1, 64), st.sampled_from(["proportional", "uniform", "annealed"]), st.integers(1, 9))
def test_an_epoch_is_a_pure_function(sizes, batch_size, sampling, epoch):
    """The same arguments give the same batches, whatever random numbers were drawn in between."""
    chosen = config(batch_size=batch_size, sampling=sampling, epochs=9)

    first = plain(epoch_batches(sizes, chosen, epoch))
    np.random.default_rng().random()
    torch.rand(3)

    assert plain(epoch_batches(sizes, chosen, epoch)) == first


def test_epochs_and_seeds_have_their_own_order():
    """Another epoch or another seed deals in another order."""
    orders = [
        plain(epoch_batches({"a": 50, "b": 50}, config(batch_size=8, seed=seed), epoch))
        for seed in (0, 1)
        for epoch in (1, 2)
    ]

    assert all(orders[i] != orders[j] for i in range(4) for j in range(i))


def test_tasks_are_mixed_within_an_epoch():
    """Batches of the tasks alternate at random, they do not come in blocks."""
    names = [name for name, _ in epoch_batches({"a": 100, "b": 100}, config(batch_size=1), 1)]

    changes = sum(x != y for x, y in pairwise(names))
    assert 70 < changes < 130


@settings(max_examples=40)
@given(SIZES, st.integers(1, 64), st.sampled_from(["uniform", "annealed"]), st.integers(1, 5))
def test_quotas_keep_the_number_of_steps(sizes, batch_size, sampling, epoch):
    """However an epoch is shared out, it has as many steps, so that trials cost the same."""
    chosen = config(batch_size=batch_size, sampling=sampling, epochs=5)

    batches = epoch_batches(sizes, chosen, epoch)

    assert len(batches) == sum(math.ceil(size / batch_size) for size in sizes.values())
    assert all(0 < len(examples) <= batch_size for _, examples in batches)


@settings(max_examples=40)
@given(SIZES, st.integers(1, 64), st.sampled_from(["uniform", "annealed"]), st.integers(1, 5))
def test_no_example_comes_round_again_before_all_others_did(sizes, batch_size, sampling, epoch):
    """Within a task and an epoch two examples are dealt equally often, or one of them once more."""
    batches = epoch_batches(sizes, config(batch_size=batch_size, sampling=sampling, epochs=5), epoch)

    for name, size in sizes.items():
        times = dealt(batches, name)
        counts = [times[i] for i in range(size)]
        assert max(counts) - min(counts) <= 1


def test_uniform_shares_are_equal_to_a_step():
    """Large and small tasks have as many steps; the rest of the division goes round."""
    counts = steps(epoch_batches(STUDY, config(sampling="uniform"), 1))

    assert sum(counts.values()) == 267 + 4_423 + 189
    assert max(counts.values()) - min(counts.values()) <= 1


@pytest.mark.parametrize(("epoch", "exponent"), [(1, 1.0), (3, 0.8), (5, 0.6), (9, 0.2)])
def test_annealed_shares_follow_the_sizes_power(epoch, exponent):
    """Steps are proportional to size ** a, a falling from 1 in the first epoch to 0.2 in the last."""
    counts = steps(epoch_batches(STUDY, config(sampling="annealed", epochs=9), epoch))

    powers = {name: size**exponent for name, size in STUDY.items()}
    for name, power in powers.items():
        assert abs(counts[name] - 4_879 * power / sum(powers.values())) < 1


def test_steps_are_rounded_by_largest_remainder():
    """Six steps over sizes 96, 33 and 10 are 4.14, 1.42 and 0.43: the last has the largest remainder."""
    counts = steps(epoch_batches({"a": 96, "b": 33, "c": 10}, config(sampling="annealed"), 1))

    assert counts == {"a": 4, "b": 1, "c": 1}


def test_annealing_over_a_single_epoch_is_proportional_to_size():
    """One epoch has no later one to fall to."""
    counts = steps(epoch_batches({"a": 320, "b": 640}, config(sampling="annealed", epochs=1), 1))

    assert counts == {"a": 10, "b": 20}
