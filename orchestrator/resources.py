"""What there is to run on, and how much of it a trial gets."""

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Machine:
    """This machine, or the cluster behind an address."""

    cpus: int
    gpus: float
    where: str
    gpu_bytes: int = 0
    """Memory of the smallest GPU; 0 where it is not known."""


@dataclass(frozen=True)
class Share:
    """What one trial gets."""

    cpus: float
    gpus: float
    threads: int


def find_machine(address: str | None) -> Machine:
    """Return this machine, or the cluster behind the address. Raises UnreachableError. Imports torch, or Ray."""
    if address is not None:
        from orchestrator import runner

        return runner.connect(address)
    import torch

    cpus, gpus = len(os.sched_getaffinity(0)), torch.cuda.device_count()
    has = f"{cpus} core{'s' * (cpus > 1)}, {gpus or 'no'} GPU{'s' * (gpus > 1)}"
    if not gpus and (there := visible_gpus()):
        has += f" that torch {torch.__version__} can use ({there:g} in /dev: another torch, or a newer driver?)"
    sizes = [torch.cuda.get_device_properties(number).total_memory for number in range(gpus)]
    return Machine(cpus, float(gpus), f"this machine: {has}", min(sizes, default=0))


def visible_gpus() -> float:
    """Return how many NVIDIA GPUs a process may use, as far as the system's files tell; torch has the last word."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    there = len([path for path in Path("/dev").glob("nvidia*") if path.name.removeprefix("nvidia").isdigit()])
    if visible is None:
        return float(there)
    return float(min(there, len([part for part in visible.split(",") if part.strip() not in ("", "-1")])))


def share_out(machine: Machine, trials: int, *, cpus_per_trial: float | None, gpus_per_trial: float | None) -> Share:
    """Return each trial's share: one GPU where there are any, and the cores shared out evenly."""
    gpus = (1.0 if machine.gpus else 0.0) if gpus_per_trial is None else gpus_per_trial
    slots = max(1, int(machine.gpus / gpus)) if gpus else min(trials, machine.cpus)
    cpus = cpus_per_trial or max(1, machine.cpus // max(1, slots))
    return Share(float(cpus), float(gpus), max(1, int(cpus)))


def too_large(machine: Machine, *, cpus_per_trial: float | None, gpus_per_trial: float | None) -> list[str]:
    """Return what was asked for and is not there: no trial would ever start."""
    asked = {"gpus": (gpus_per_trial or 0, machine.gpus), "cpus": (cpus_per_trial or 0, machine.cpus)}
    on_cpus = "; --gpus-per-trial 0 runs on CPUs" if not machine.gpus else ""
    return [
        f"--{name}-per-trial {wanted:g}: there are {has:g} ({machine.where}), no trial would start"
        + (on_cpus if name == "gpus" else "")
        for name, (wanted, has) in asked.items()
        if wanted > has
    ]
