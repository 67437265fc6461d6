"""Where kept states lie: as near to the device as they fit, and the choice is logged."""

import logging
from pathlib import Path

import pytest
import torch
from torch import Tensor

from model import placement as module
from model.placement import available_bytes, placement

GPU = torch.device("cuda")
MEMINFO = Path("/proc/meminfo")


@pytest.fixture
def memory(monkeypatch):
    """Return a function that says how many bytes are free on the GPU and beside it."""

    def free(gpu, host):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (gpu, 2 * gpu))
        monkeypatch.setattr(module, "available_bytes", lambda: host)

    return free


def test_on_a_cpu_states_stay_in_their_file():
    """Whatever their size."""
    where, move = placement(10**15, torch.device("cpu"))

    rows = torch.ones(2, 3)
    assert where == "memory-mapped from the cache"
    assert move is not None
    assert move(rows) is rows


@pytest.mark.parametrize(
    ("size", "said"),
    [(50, "in the GPU's memory"), (51, "in pinned memory"), (500, "in pinned memory")],
)
def test_on_a_gpu_states_take_half_of_what_is_free_at_most(memory, size, said):
    """First of its own memory, then of the host's."""
    memory(gpu=100, host=1000)

    where, move = placement(size, GPU)

    assert where == said
    assert (move is Tensor.pin_memory) == (said == "in pinned memory")


def test_what_fits_nowhere_is_computed_and_says_why(memory):
    """A cache slower than computing is not used."""
    memory(gpu=2 * 10**6, host=3 * 10**9)

    assert placement(2 * 10**9, GPU) == (
        "computed at every step, being more than half of the 2.0 MB free on the GPU and of the 3.0 GB beside it",
        None,
    )


def test_the_choice_is_logged_once_while_states_are_open(tiny_source, tiny_task_data, tmp_path, caplog):
    """Once for a trial's splits together; the next trial finds them where they are."""
    from model.config import TrialConfig
    from model.frozen_prefix import FrozenPrefix
    from model.prefix_cache import PrefixCache

    config = TrialConfig(unfrozen_layers=1, max_tokens=32)
    splits = [tokens for entry in tiny_task_data(config) for tokens in (entry.train.tokens, entry.dev.tokens)]
    prefix = FrozenPrefix(config, tiny_source, torch.device("cpu"), PrefixCache(tmp_path))
    for _ in prefix.build(splits):
        pass

    with caplog.at_level(logging.INFO, logger="model"):
        prefix.inputs(splits)
        prefix.inputs(splits)

    (line,) = caplog.messages
    assert line.endswith("MB of states after layer 2: memory-mapped from the cache")


def test_the_available_memory_is_what_the_kernel_says_at_most():
    """No more than the machine has, and something."""
    total = (
        next(int(line.split()[1]) for line in MEMINFO.read_text().splitlines() if line.startswith("MemTotal:")) * 1024
    )

    assert 0 < available_bytes() <= total
