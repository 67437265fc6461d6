"""What may be meant so in a cluster file, and is to be read before machines are rented: notes, and no mistakes.

A note is what another machine would not say, or another purpose make right.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from orchestrator.cluster_parts import CLOUDS, Cluster, count, mapping, one_line
from orchestrator.ec2_types import gpus_of, vcpus_of

MAKES = re.compile(r"(?<![\w./-])(?:mkdir|clone|ln|venv|cp|mv|tar|unzip|install)\s[^;&|]*")
"""A command that may make a folder, with its words."""


def mounts(cluster: Cluster) -> Iterator[str]:
    """Find files that are not here to be sent; Ray takes them from the folder in which `ray up` is given."""
    for target, source in mapping(cluster.file.get("file_mounts")).items():
        if isinstance(source, str) and source and not _is_here(source):
            yield (
                f"file_mounts: {source}, for {target}, is not here; `ray up` from here would fail once the head is "
                "there; make it, or stand where it is"
            )
    yield from _folders(cluster)


def _is_here(source: str) -> bool:
    try:
        return Path(source).expanduser().exists()
    except (OSError, ValueError, RuntimeError):  # no such user, a name too long
        return False


def _folders(cluster: Cluster) -> Iterator[str]:
    """Find folders at home that look like a mount, and are none; a hidden file is nobody's misspelt folder."""
    known = {name for target in mapping(cluster.file.get("file_mounts")) for name in _home(str(target))}
    made: set[str] = set()  # also by an earlier list
    for place, lines in cluster.command_lists.items():
        made |= {name for line in lines for words in MAKES.findall(line) for name in _home(words)}
        for name in sorted({name for line in lines for name in _home(line)} - known - made):
            near = [] if name.startswith(".") else get_close_matches(name, sorted(known), n=1, cutoff=0.85)
            if near:
                yield f"{place}: ~/{name} is no mount of this file (did you mean ~/{near[0]}?)"


def _home(text: str) -> list[str]:
    return re.findall(r"(?:~|\$HOME|\$\{HOME\})/([\w.-]+)", text)


def workers(cluster: Cluster) -> Iterator[str]:
    """Find that no worker can come."""
    most = count(cluster.file.get("max_workers"))
    if cluster.kind not in {*CLOUDS, "local"}:
        return
    if most == 0:
        yield "max_workers: 0, so no worker can come, and trials have the head alone; say how many there may be"
    elif cluster.provider.get("worker_ips") == []:
        yield "provider.worker_ips: empty, so no worker can come, and trials have the head alone; name the machines"
    elif cluster.types and all(
        name == cluster.head or node.get("max_workers") == 0 for name, node in cluster.types.items()
    ):
        yield (
            "available_node_types: no type of workers may have a machine, so trials have the head alone; "
            "give one a max_workers above 0"
        )


def sizes(cluster: Cluster) -> Iterator[str]:
    """Find machines that are promised more CPUs than they have, or would leave GPUs unused."""
    if cluster.kind != "aws":
        return
    for name, node in cluster.types.items():
        config, resources = mapping(node.get("node_config")), mapping(node.get("resources"))
        machine, place = str(config.get("InstanceType", "")), f"available_node_types.{name}.resources"
        cpus, gpus = resources.get("CPU"), resources.get("GPU")
        vcpus, there = vcpus_of(machine), gpus_of(machine)
        if vcpus and "CpuOptions" not in config and isinstance(cpus, int | float) and cpus > vcpus:
            yield f"{place}: CPU: {cpus}, and {machine} has {vcpus} vCPUs; trials would share them; CPU: {vcpus}"
        if there and isinstance(gpus, int | float) and 0 < gpus < there:
            yield f"{place}: GPU: {gpus}, and {machine} has {there}; the rest would be paid for, and idle"


NOTES: tuple[tuple[str, Callable[[Cluster], Iterator[str]]], ...] = (
    ("workers", workers), ("sizes", sizes), ("mounts", mounts),
)  # fmt: skip


def notes(file: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return, by what they are about, a line for each thing to be read before `ray up`."""
    return {name: [one_line(line) for line in find(Cluster(file))] for name, find in NOTES}
