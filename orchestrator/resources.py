"""What there is to run on, and how much of it a trial gets."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Self


@dataclass(frozen=True)
class Node:
    """One machine of a cluster: a trial runs on one, with what that one has."""

    cpus: float
    gpus: float

    def holds(self, cpus: float, gpus: float) -> int:
        """Return how many trials of such a share it takes at once."""
        counts = [int(has / each + 1e-9) for has, each in ((self.cpus, cpus), (self.gpus, gpus)) if each]
        return min(counts, default=0)


@dataclass(frozen=True)
class Machine:
    """This machine, or the cluster behind an address."""

    nodes: Sequence[Node]
    """Those that are up, and those that may come."""
    where: str
    gpu_bytes: int = 0
    """Memory of the smallest GPU; 0 where it is not known."""
    is_cluster: bool = False
    """Whether nodes come and go."""
    may_grow: bool = False
    """Whether more may come than are up."""

    @property
    def cpus(self) -> float:
        """Return the cores of all nodes."""
        return sum(node.cpus for node in self.nodes)

    @property
    def gpus(self) -> float:
        """Return the GPUs of all nodes."""
        return sum(node.gpus for node in self.nodes)

    def holds(self, cpus: float, gpus: float) -> int:
        """Return how many trials of such a share run at once."""
        return sum(node.holds(cpus, gpus) for node in self.nodes)


@dataclass(frozen=True)
class Share:
    """What one trial gets."""

    cpus: float
    gpus: float
    threads: int


@dataclass(frozen=True)
class NodeWish:
    """What a node must have for a trial to run on it, and how long such a node is waited for."""

    cpus: float
    gpus: float
    wait_s: float

    @classmethod
    def of(cls, cpus_per_trial: float | None, gpus_per_trial: float | None, wait_s: float) -> Self:
        """Return the least that is asked for on a command line."""
        return cls(cpus_per_trial or 1.0, gpus_per_trial or 0.0, wait_s)

    def __str__(self) -> str:
        """Return it as a person reads it."""
        return f"{self.cpus:g} CPU" + (f" and {self.gpus:g} GPU" if self.gpus else "")


def find_machine(address: str | None, wish: NodeWish, tell: Callable[[str], None]) -> Machine:
    """Return this machine, or the cluster behind the address once a node of it may hold a trial.

    `tell` is given a line where that is waited for. Raises UnreachableError. Imports torch, or Ray.
    """
    if address is not None:
        from orchestrator import connection

        return connection.connect_and_wait(address, wish, tell)
    return this_machine()


def this_machine() -> Machine:
    """Return this machine. Imports torch."""
    import torch

    cpus, gpus = len(os.sched_getaffinity(0)), torch.cuda.device_count()
    has = f"{cpus} core{'s' * (cpus > 1)}, {gpus or 'no'} GPU{'s' * (gpus > 1)}"
    if not gpus and (there := _device_files()):
        has += f" that torch {torch.__version__} can use ({there:g} in /dev: another torch, or a newer driver?)"
    sizes = [torch.cuda.get_device_properties(number).total_memory for number in range(gpus)]
    return Machine((Node(cpus, gpus),), f"this machine: {has}", min(sizes, default=0))


def visible_gpus() -> float:
    """Return how many NVIDIA GPUs torch may use, as far as files tell: the system's, and torch's own version.

    Known without loading torch, which has the last word.
    """
    try:
        if version("torch").endswith("+cpu"):
            return 0.0
    except PackageNotFoundError:
        return 0.0
    return _device_files()


def _device_files() -> float:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    there = len([path for path in Path("/dev").glob("nvidia*") if path.name.removeprefix("nvidia").isdigit()])
    if visible is None:
        return float(there)
    return float(min(there, len([part for part in visible.split(",") if part.strip() not in ("", "-1")])))


def share_out(machine: Machine, trials: int, *, cpus_per_trial: float | None, gpus_per_trial: float | None) -> Share:
    """Return each trial's share: one GPU where there are any, and as many cores as leave none of them out.

    Without GPUs the trials share the cores; with them the GPUs do, whatever the number of trials.
    """
    gpus = (1.0 if machine.gpus else 0.0) if gpus_per_trial is None else gpus_per_trial
    at_once = machine.holds(1, gpus) if gpus else min(trials, machine.holds(1, 0))
    most = int(max((node.cpus for node in machine.nodes), default=1))
    cpus = cpus_per_trial or next((cpus for cpus in range(most, 1, -1) if machine.holds(cpus, gpus) >= at_once), 1)
    return Share(float(cpus), float(gpus), max(1, int(cpus)))


def too_large(machine: Machine, share: Share) -> list[str]:
    """Return why no trial of such a share would ever start, where that is so: one node has to hold it."""
    wrong = []
    asked = {"gpus": (share.gpus, machine.gpus), "cpus": (share.cpus, machine.cpus)}
    on_cpus = "; --gpus-per-trial 0 runs on CPUs" if not machine.gpus else ""
    for name, (wanted, has) in asked.items():
        most = max((getattr(node, name) for node in machine.nodes), default=0)
        if wanted > has:
            wrong.append(
                f"--{name}-per-trial {wanted:g}: there are {has:g} ({machine.where}), no trial would start"
                + (on_cpus if name == "gpus" else "")
            )
        elif wanted > most:
            wrong.append(
                f"--{name}-per-trial {wanted:g}: no node has more than {most:g} of the {has:g} ({machine.where}), and "
                "a trial runs on one; no trial would start"
            )
    if not wrong and not machine.holds(share.cpus, share.gpus):
        wrong.append(
            f"--cpus-per-trial {share.cpus:g} with --gpus-per-trial {share.gpus:g}: no node has both "
            f"({machine.where}), no trial would start"
        )
    return wrong
