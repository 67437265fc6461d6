"""A config that no GPU of a size can hold is refused by what it takes at the very least."""

from dataclasses import replace

import pytest

from model.config import TrialConfig
from orchestrator.gpu_memory import least_bytes, too_large_for_the_gpu
from orchestrator.inspection import inspect
from orchestrator.token_counts import TokenCounts

BASE = TrialConfig(max_tokens=32, batch_size=16)


@pytest.fixture
def inspected(options_for, loaded_list):
    """Return a function from configs to the inspected sweep over them."""
    return lambda *configs: inspect(loaded_list(*configs), options_for())


def test_the_largest_config_is_told_with_what_drives_it(inspected):
    """Where the batch takes most it is named, else how much trains."""
    sweep = inspected(BASE, replace(BASE, batch_size=4_096), replace(BASE, unfrozen_layers="all"))

    (line,) = too_large_for_the_gpu(sweep, 1_000_000)
    assert line.startswith("given.py:1: the largest config needs at least ")
    assert line.endswith("the GPU has 1.0 MB; most of it comes of batch_size 4096")

    (line,) = too_large_for_the_gpu(inspected(replace(BASE, unfrozen_layers="all", batch_size=1)), 1_000)
    assert line.endswith("most of it comes of unfrozen_layers all")


def test_what_fits_and_what_is_not_known_is_not_refused(inspected):
    """A cluster's GPUs are not known before a trial runs there."""
    sweep = inspected(replace(BASE, batch_size=4_096))

    assert too_large_for_the_gpu(sweep, 10**12) == []
    assert too_large_for_the_gpu(sweep, 0) == []


def test_more_layers_and_examples_take_more_and_bf16_half_the_activations(inspected):
    """With two layers one is computed for all tokens, with three two; the last is for [CLS] alone."""
    sweep = inspected(BASE)
    lengths = TokenCounts(sweep.encoder)

    two, three = (least_bytes(replace(BASE, unfrozen_layers=n), sweep, lengths) for n in (2, 3))
    assert three[0] > two[0]
    assert three[1] == pytest.approx(2 * two[1], abs=2)
    assert least_bytes(replace(BASE, batch_size=32), sweep, lengths)[1] == pytest.approx(2 * two[1], abs=2)
    assert least_bytes(replace(BASE, precision="bf16"), sweep, lengths)[1] == pytest.approx(two[1] / 2, abs=2)
    assert least_bytes(replace(BASE, unfrozen_layers=1), sweep, lengths)[1] == 0
