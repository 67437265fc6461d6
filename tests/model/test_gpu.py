"""What differs on a GPU: where kept states lie, and that training agrees with the cache and without."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from model.config import HeadConfig, TrialConfig
from model.frozen_prefix import ComputedInputs, FrozenPrefix
from model.inputs import StateInputs, TokenInputs
from model.prefix_cache import PrefixCache
from model.training import fine_tune

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

GPU = torch.device("cuda")
MAX_STATE = 2e-3
"""A kernel is chosen by the batch: sums in another order, then rounded to fp16 (2 ** -10 of a value)."""
MAX_LOSS = 1e-3


@pytest.fixture
def kept(tiny_source, random_tokens, tmp_path):
    """Return a prefix of the tiny encoder whose states are in the cache, and its tokens."""
    tokens = random_tokens([9, 2, 3, 64, 17, 9, 40] * 3, 90)
    prefix = FrozenPrefix(TrialConfig(unfrozen_layers=1), tiny_source, GPU, PrefixCache(tmp_path))
    list(prefix.build([tokens]))
    return prefix, tokens


def short_of(monkeypatch, *, device, host):
    """Say that so many bytes are free on the device, and so many in the host's memory."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _=None: (device, device))
    monkeypatch.setattr("model.placement.available_bytes", lambda: host)


def test_states_lie_on_the_device_where_they_take_half_of_it_at_most(kept, monkeypatch):
    """They are copied there once a process, however many trials ask and however little they leave."""
    prefix, tokens = kept

    first = prefix.inputs([tokens])[0]
    short_of(monkeypatch, device=1_000, host=1_000)
    second = prefix.inputs([tokens])[0]

    assert isinstance(first, StateInputs)
    assert first.rows_RD.device.type == "cuda"
    assert first.rows_RD.data_ptr() == second.rows_RD.data_ptr()


def test_states_lie_in_pinned_memory_where_the_device_has_no_room(kept, monkeypatch):
    """A device with too little left reads them from the host."""
    prefix, tokens = kept
    short_of(monkeypatch, device=1_000, host=10**9)

    inputs = prefix.inputs([tokens])[0]

    assert isinstance(inputs, StateInputs)
    assert inputs.rows_RD.is_pinned()
    assert inputs.batch(np.arange(3)).hidden_ND.device.type == "cuda"


def test_states_are_computed_where_neither_has_room(kept, monkeypatch):
    """A disk is slower than the frozen layers."""
    prefix, tokens = kept
    short_of(monkeypatch, device=1_000, host=1_000)

    assert isinstance(prefix.inputs([tokens])[0], ComputedInputs)


@pytest.mark.parametrize("host", [None, 10**9])
def test_kept_states_agree_with_computed_ones(kept, monkeypatch, host):
    """From the device's memory or from pinned memory, of one sequence or of many."""
    prefix, tokens = kept
    if host:
        short_of(monkeypatch, device=1_000, host=host)
    inputs, computed = prefix.inputs([tokens])[0], ComputedInputs(prefix, TokenInputs(tokens, GPU))

    for sequences in ([0], [3, 3, 1], range(21)):
        one, other = (of.batch(np.asarray(sequences)).hidden_ND for of in (inputs, computed))
        torch.testing.assert_close(one, other, atol=MAX_STATE, rtol=MAX_STATE)


@pytest.mark.parametrize("unfrozen", [0, 1])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_training_with_the_cache_and_without_agrees(
    fresh_encoder, tiny_task_data, tiny_config, tmp_path, precision, unfrozen, record_property
):
    """Losses of the same config are the same to rounding, but for dropout: with the cache, batches are filled up."""
    encoder = fresh_encoder(0.0)
    config = replace(
        tiny_config, epochs=2, unfrozen_layers=unfrozen, precision=precision, heads=HeadConfig(dropout=0.0)
    )
    data, cache = tiny_task_data(config), PrefixCache(tmp_path)
    splits = [split.tokens for entry in data for split in (entry.train, entry.dev)]
    list(FrozenPrefix(config, encoder, GPU, cache).build(splits))

    pairs = zip(
        fine_tune(config, data, encoder, device=GPU, cache=cache),
        fine_tune(config, data, encoder, device=GPU),
        strict=True,
    )

    losses = [(one.train_loss, other.train_loss) for one, other in pairs]
    record_property("losses", losses)
    for one, other in losses:
        assert one == pytest.approx(other, rel=MAX_LOSS)
