"""What can be held without a GPU of steps that are replayed on one: how batches are filled up, and that it is exact."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.batches import epoch_batches
from model.config import HeadConfig
from model.frozen_prefix import FrozenPrefix
from model.graphed_steps import (
    GatheredGroup,
    batch_indices,
    filled_batch,
    filled_up,
    in_gpu_memory,
    make_capturable,
    shape_of,
)
from model.inputs import StateInputs, TokenInputs
from model.multitask import MultitaskModel
from model.packing import Group
from model.prefix_cache import PrefixCache
from model.training import adamw, descend, set_learning_rate, take_step

CPU = torch.device("cpu")
MAX_LOSS = 1e-6
WIDTH = 3
LENGTHS = st.lists(st.one_of(st.integers(1, 16), st.integers(1, 512)), min_size=1, max_size=24)


def kept(lengths):
    """Return kept states of sequences of these lengths, all different, the first sequence twice in the data."""
    rows = torch.arange(1.0, 1 + sum(lengths) * WIDTH).view(-1, WIDTH)
    index = np.array([0, *range(len(lengths))])
    return StateInputs(rows, np.array(lengths), index, CPU)


def filled(inputs, sequences):
    """Return the filled batch of these sequences, an example each, with its shape and examples."""
    shape, indices = batch_indices(inputs, np.asarray(sequences), np.asarray(sequences))
    examples, batch = filled_batch(inputs, shape, torch.from_numpy(indices))
    return shape, examples, batch


@settings(max_examples=200)
@given(st.integers(1, 100_000), st.sampled_from([8, 128]))
def test_filling_up_adds_less_than_a_step_or_an_eighth(count, step):
    """And what is filled up already stays as it is."""
    found = filled_up(count, step)

    assert found % step == 0
    assert count <= found < count + max(step, count / 8)
    assert filled_up(found, step) == found


@pytest.mark.parametrize("step", [8, 128])
def test_few_sizes_do_for_all_counts(step):
    """Sixteen below sixteen steps, and eight for each time that the count doubles beyond."""
    assert len({filled_up(count, step) for count in range(1, 16 * step + 1)}) == 16
    assert len({filled_up(count, step) for count in range(16 * step + 1, 64 * step + 1)}) == 16


@settings(max_examples=100)
@given(LENGTHS)
def test_a_shape_has_room_for_all_tokens_and_a_place_that_no_token_has(lengths):
    """However long the sequences are, and where all are equally long."""
    shape = shape_of(7, np.sort(lengths))

    assert (shape.examples, shape.sequences) == (7, len(lengths))
    assert shape.rows >= sum(lengths)
    assert shape.places >= max(lengths)
    assert shape.places > min(lengths)


@settings(max_examples=100)
@given(LENGTHS, st.data())
def test_a_filled_batch_holds_its_sequences_and_says_which_tokens_are_real(unpacked, lengths, data):
    """The same rows as a batch that is not filled, in the same order; then any; and attention sees the tokens alone."""
    inputs = kept(lengths)
    sequences = data.draw(st.lists(st.integers(0, len(lengths)), min_size=1, max_size=8))
    shape, examples, batch = filled(inputs, sequences)
    plain = inputs.batch(np.array(sequences))
    tokens = len(plain.hidden_ND)

    assert examples.tolist() == sequences
    assert batch.hidden_ND.shape == (shape.rows, WIDTH)
    assert torch.equal(batch.hidden_ND[:tokens], plain.hidden_ND)
    assert torch.equal(batch.packing.firsts_B, plain.packing.firsts_B)
    assert torch.equal(batch.packing.restore_B, plain.packing.restore_B)
    (group,), (padded,) = batch.packing.groups, batch.packing.split(batch.hidden_ND)
    assert padded.shape == (shape.sequences, shape.places, WIDTH)
    own = unpacked(plain.hidden_ND, plain.packing)
    for real, rows, place in zip(group.attend_GT, padded, plain.packing.order, strict=True):
        assert torch.equal(rows[real], own[place])
        assert torch.equal(rows[~real], own[place][:1].expand(int((~real).sum()), -1))


@settings(max_examples=100)
@given(LENGTHS)
def test_splitting_and_joining_gives_the_tokens_back_and_padding_beyond(lengths):
    """Rows beyond the tokens come from a place that attention leaves out."""
    shape, _, batch = filled(kept(lengths), range(1, len(lengths) + 1))
    (group,) = batch.packing.groups

    joined = batch.packing.join(batch.packing.split(batch.hidden_ND))

    assert joined.shape == (shape.rows, WIDTH)
    assert torch.equal(joined[: sum(lengths)], batch.hidden_ND[: sum(lengths)])
    assert not group.attend_GT.flatten()[group.real_N[sum(lengths) :]].any()


@settings(max_examples=50)
@given(LENGTHS)
def test_gathered_gradients_are_those_that_indexing_adds_up(lengths):
    """Where padding has none, as attention gives it: of padding, of joining, and of both."""
    shape, _, batch = filled(kept(lengths), range(1, len(lengths) + 1))
    (group,) = batch.packing.groups
    plain = Group(group.rows, group.sequences, group.longest, group.places_GT, group.attend_GT, group.real_N)
    draw = torch.Generator().manual_seed(len(lengths))
    weight_GTD = torch.randn(shape.sequences, shape.places, WIDTH, generator=draw) * group.attend_GT[..., None]
    weight_ND = torch.randn(shape.rows, WIDTH, generator=draw)
    weight_ND[sum(lengths) :] = 0
    assert isinstance(group, GatheredGroup)

    gradients = []
    for each in (group, plain):
        rows_ND, both_ND = (torch.zeros_like(weight_ND, requires_grad=True) for _ in range(2))
        padded_GTD = torch.zeros_like(weight_GTD, requires_grad=True)
        (each.pad(rows_ND) * weight_GTD).sum().backward()
        (each.unpad(padded_GTD) * weight_ND).sum().backward()
        (each.unpad(each.pad(both_ND) * group.attend_GT[..., None]) * weight_ND).sum().backward()
        gradients.append((rows_ND.grad, padded_GTD.grad, both_ND.grad))

    for one, other in zip(*gradients, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("unfrozen", [0, 1, 2])
def test_steps_on_filled_batches_are_those_on_plain_ones(
    fresh_encoder, tiny_task_data, tiny_config, tmp_path, unfrozen, record_property
):
    """Without dropout, losses of three epochs of all tasks are the same to rounding."""
    config = replace(tiny_config, unfrozen_layers=unfrozen, heads=HeadConfig(dropout=0.0), learning_rate=1e-4)
    data, encoder = tiny_task_data(config), fresh_encoder(0.0)
    entries = {entry.task.name: entry for entry in data}
    sizes = {name: len(entry.train) for name, entry in entries.items()}
    prefix = FrozenPrefix(config, encoder, CPU, PrefixCache(tmp_path))
    list(prefix.build([entry.train.tokens for entry in data]))
    inputs = dict(zip(entries, prefix.inputs([entry.train.tokens for entry in data]), strict=True))

    losses = []
    for is_filled in (False, True):
        model = MultitaskModel(config, [entry.task for entry in data], prefix.top()).train()
        optimizer = adamw(model, config)
        found = []
        for epoch in (1, 2, 3):
            for name, examples in epoch_batches(sizes, config, epoch):
                entry = entries[name]
                labels = torch.from_numpy(entry.train.labels[examples]).float()
                if is_filled:
                    sequences = entry.train.tokens.sequences_of(examples)
                    shape, indices = batch_indices(inputs[name], examples, sequences)
                    _, batch = filled_batch(inputs[name], shape, torch.from_numpy(indices))
                    found.append(descend(model, optimizer, config, entry, batch, labels).item())
                else:
                    found.append(take_step(model, optimizer, config, entry, inputs[name], examples, labels).item())
        losses.append(found)

    record_property("losses", losses)
    assert losses[1] == pytest.approx(losses[0], rel=MAX_LOSS)


def test_the_learning_rate_of_a_captured_step_is_written_where_it_lies(fresh_encoder, tiny_config, course_tasks):
    """A graph holds its address: a new rate goes to the same place, and an eager optimizer's is a number as ever."""
    model = MultitaskModel(tiny_config, course_tasks, fresh_encoder())
    captured, eager = adamw(model, tiny_config), adamw(model, tiny_config)
    make_capturable(captured, CPU)
    places = [group["lr"].data_ptr() for group in captured.param_groups]

    set_learning_rate(captured, 0.25)
    set_learning_rate(eager, 0.25)

    assert all(group["capturable"] for group in captured.param_groups)
    assert [group["lr"].item() for group in captured.param_groups] == [0.25, 0.25]
    assert [group["lr"].data_ptr() for group in captured.param_groups] == places
    assert [group["lr"] for group in eager.param_groups] == [0.25, 0.25]


def test_nothing_is_captured_but_states_in_a_gpus_memory(random_tokens):
    """On a CPU, and of tokens, steps stay as they are."""
    assert not in_gpu_memory(kept([2, 3]))
    assert not in_gpu_memory(TokenInputs(random_tokens([2, 3]), CPU))
