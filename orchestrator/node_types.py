"""What an autoscaling cluster may become: the node types of the file that its head was started with.

Ray's autoscaler keeps them to itself, so the file is read: its monitor runs on the head, and names the file on its
command line. Where the driver runs elsewhere nothing is known, and the nodes that are up count. Imports no Ray.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import yaml

from orchestrator.resources import Node

MONITOR = re.compile(r"autoscaler/(_private|v2)/monitor\.py$")
CONFIG, HEAD = "--autoscaling-config=", "--gcs-address="


@dataclass(frozen=True)
class NodeType:
    """One kind of machine that may come."""

    name: str
    node: Node
    most: int
    """So many of it at once."""

    def __str__(self) -> str:
        """Return it as a person reads it."""
        return f"{self.most} x {self.name} ({self.node.cpus:g} CPUs, {self.node.gpus:g} GPUs)"


@dataclass(frozen=True)
class Growth:
    """What a cluster may become."""

    types: tuple[NodeType, ...] = ()
    """All but the head's."""
    workers: int = 0
    """So many machines at once, of whatever type."""

    def to_come(self, workers: int) -> list[Node]:
        """Return the machines that may still come where so many are up, in the file's order of types."""
        machines = [kind.node for kind in self.types for _ in range(kind.most)]
        return machines[: max(0, self.workers - workers)]


def growth_of(head: str) -> Growth:
    """Return what may come to the cluster of this head (HOST:PORT); nothing where nothing is known.

    Types whose resources are not said, as machines that are there already, are left out: they count once they join.
    """
    for words in _command_lines():
        if any(MONITOR.search(word) for word in words) and f"{HEAD}{head}" in words:
            path = next((word.removeprefix(CONFIG) for word in words if word.startswith(CONFIG)), None)
            if path:
                return read_growth(Path(path).expanduser())
    return Growth()


def read_growth(path: Path) -> Growth:
    """Return what a cluster file says of that; nothing where it cannot be read."""
    try:
        cluster = yaml.safe_load(path.read_text(encoding="utf-8"))
        types, head, workers = cluster["available_node_types"], cluster["head_node_type"], int(cluster["max_workers"])
        found = []
        for name, values in types.items():
            resources = values.get("resources") or {}
            node = Node(float(resources.get("CPU", 0)), float(resources.get("GPU", 0)))
            most = min(int(values.get("max_workers", workers)), workers)
            if name != head and most > 0 and resources:
                found.append(NodeType(name, node, most))
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError):
        return Growth()
    return Growth(tuple(found), workers)


def _command_lines() -> Iterator[list[str]]:
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError):  # gone, or somebody else's
                yield (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
