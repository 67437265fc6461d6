"""Packing: every row of a batch once, whatever the lengths, and what attention is shown of them."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model import packing
from model.packing import pack

CPU = torch.device("cpu")
LENGTHS = st.lists(st.one_of(st.integers(1, 16), st.integers(1, 512)), min_size=1, max_size=24)


def packed(lengths, most=8, *, unpadded=False):
    """Return a packing of at most so many padded groups."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(packing.MAX_GROUPS, "cpu", most)
        return pack(lengths, CPU, unpadded=unpadded)


@settings(max_examples=100)
@given(LENGTHS, st.integers(1, 9), st.booleans())
def test_splitting_and_joining_gives_the_same_rows(lengths, most, unpadded):
    """Of any lengths, padded or not, joining what was split is what there was, in its order."""
    found = packed(lengths, most, unpadded=unpadded)
    rows = torch.arange(sum(lengths) * 3).view(-1, 3)

    assert torch.equal(found.join(found.split(rows)), rows)


@settings(max_examples=100)
@given(LENGTHS, st.integers(1, 9), st.booleans())
def test_a_group_holds_whole_sequences_and_says_which_tokens_are_real(lengths, most, unpadded):
    """Sequence for sequence a group has the rows of one, marked real, and then rows that attention leaves out."""
    found = packed(lengths, most, unpadded=unpadded)
    ids = torch.arange(sum(lengths))
    sequences = iter(ids.split(found.lengths.tolist()))

    for group, padded in zip(found.groups, found.split(ids[:, None]), strict=True):
        assert padded.shape == (group.sequences, group.longest, 1)
        real = torch.ones(group.sequences, group.longest, dtype=torch.bool)
        for row, marked in zip(padded[..., 0], real if group.attend_GT is None else group.attend_GT, strict=True):
            own = next(sequences)
            assert marked.tolist() == [True] * len(own) + [False] * (group.longest - len(own))
            assert torch.equal(row[marked], own)
    assert next(sequences, None) is None


@settings(max_examples=100)
@given(LENGTHS)
def test_sequences_lie_by_ascending_length_and_equal_ones_in_the_batchs_order(lengths):
    """Order, places back, first rows and positions all speak of the same stable sort."""
    found = packed(lengths)

    assert found.order.tolist() == sorted(range(len(lengths)), key=lengths.__getitem__)
    assert found.lengths.tolist() == sorted(lengths)
    assert found.order[found.restore_B.numpy()].tolist() == list(range(len(lengths)))
    assert found.positions_N.tolist() == [i for length in sorted(lengths) for i in range(length)]
    assert found.firsts_B.tolist() == np.flatnonzero(found.positions_N.numpy() == 0).tolist()


@settings(max_examples=100)
@given(LENGTHS, st.integers(1, 9))
def test_a_batch_has_no_more_groups_than_are_worth_a_call(lengths, most):
    """Few different lengths are not padded; many are shared out among at most so many groups."""
    found = packed(lengths, most)

    assert len(found.groups) <= most
    if len(set(lengths)) <= most:
        assert len(found.groups) == len(set(lengths))
        assert all(group.attend_GT is None for group in found.groups)


@settings(max_examples=50)
@given(LENGTHS)
def test_unpadded_has_a_group_of_each_length(lengths):
    """However many lengths there are, no sequence stands beside a longer one."""
    found = packed(lengths, most=1, unpadded=True)

    assert [group.longest for group in found.groups] == sorted(set(lengths))
    assert all(group.attend_GT is None for group in found.groups)


def test_padding_repeats_a_row_of_the_batch_and_adds_none():
    """What stands beyond a sequence's end is a row that is there anyway: finite wherever the batch is."""
    found = packed([2, 3], most=1)

    (padded,) = found.split(torch.tensor([[1.0], [2.0], [3.0], [4.0], [5.0]]))

    assert padded[..., 0].tolist() == [[1.0, 2.0, 1.0], [3.0, 4.0, 5.0]]


def test_a_gradient_reaches_every_row_once():
    """Joining what was split has the gradient of the identity: padding takes none."""
    found = packed([2, 5, 3], most=1)
    rows = torch.zeros(10, 4, requires_grad=True)

    found.join(found.split(rows)).sum().backward()

    assert torch.equal(rows.grad, torch.ones(10, 4))
