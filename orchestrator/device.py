"""What a trial's process computes on."""

import os

import torch

from orchestrator.failures import InfrastructureError

DECLARED_GPUS = "SWEEP_DECLARED_GPUS"
"""1 in the environment that a node's Ray was started in: its GPUs are declared and not there, and a trial that gets
one runs on the CPU. For tests of clusters on machines without GPUs."""


def device_of(gpus_per_trial: float) -> torch.device:
    """Return where a trial with so many GPUs runs. Raises InfrastructureError where it was promised one in vain."""
    if not gpus_per_trial or os.environ.get(DECLARED_GPUS) == "1":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise InfrastructureError("the plan gives each trial a GPU and torch sees none here: driver, or CPU build?")
    return torch.device("cuda")
