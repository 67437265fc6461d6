"""What a model is fed: the sequences that were asked for, in their order, as tokens or as states."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.inputs import StateInputs, TokenInputs
from model.tokens import PackedTokens

CPU = torch.device("cpu")


def counted(lengths, per_example=1):
    """Return packed sequences with ids 1, 2, 3, ... all through."""
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    ids = np.arange(1, offsets[-1] + 1, dtype=np.int32)
    return PackedTokens(ids, (ids % 2).astype(np.int8), offsets, per_example)


@settings(max_examples=40)
@given(st.data(), st.integers(1, 2), st.booleans())
def test_a_batch_holds_its_sequences_end_to_end(unpacked, data, per_example, unpadded):
    """The rows of sequence i * per_example + side are that example's tokens and types, none beside them."""
    examples = data.draw(st.integers(1, 5))
    lengths = data.draw(st.lists(st.integers(2, 9), min_size=examples * per_example, max_size=examples * per_example))
    chosen = data.draw(st.lists(st.integers(0, examples - 1), min_size=1, max_size=4))
    tokens = counted(lengths, per_example)

    batch = TokenInputs(tokens, CPU).batch(tokens.sequences_of(np.array(chosen)), unpadded=unpadded)

    sequences = [example * per_example + side for example in chosen for side in range(per_example)]
    assert batch.hidden_ND is None
    for values, all_values in zip(batch.tokens, (tokens.ids, tokens.types), strict=True):
        assert values.dtype == torch.int64
        assert len(values) == sum(lengths[i] for i in sequences)
        for found, i in zip(unpacked(values, batch.packing), sequences, strict=True):
            assert found.tolist() == all_values[tokens.offsets[i] : tokens.offsets[i + 1]].tolist()


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_states_are_those_of_each_sequences_distinct_one(unpacked, dtype):
    """Sequences that are alike have the same rows, asked for in any order and more than once; fp32 comes out."""
    rows = torch.randn(2 + 3 + 5, 4, generator=torch.Generator().manual_seed(0)).to(dtype)
    inputs = StateInputs(rows, np.array([2, 3, 5]), np.array([2, 0, 2, 1]), CPU)

    batch = inputs.batch(np.array([0, 3, 1, 2, 3]))

    assert batch.tokens is None
    assert batch.hidden_ND.dtype == torch.float32
    first, second, third = rows.float().split([2, 3, 5])
    expected = [third, second, first, third, second]
    assert all(map(torch.equal, unpacked(batch.hidden_ND, batch.packing), expected))


def test_a_batch_of_states_is_a_copy():
    """Writing to a batch does not reach what is kept."""
    rows = torch.ones(3, 2)
    inputs = StateInputs(rows, np.array([1, 2]), np.array([0, 1]), CPU)

    inputs.batch(np.array([0, 1])).hidden_ND.zero_()

    assert torch.equal(rows, torch.ones(3, 2))
