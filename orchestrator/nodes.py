"""Nodes of a cluster that cannot do this sweep's work: seen by their own trials, and given no more of them.

A node that does not see OUT, lacks the data or runs another torch ends every trial that comes to it at once, and so
would draw them all. Ray places by labels, of which a node's own id is one. Imports no Ray.
"""

import platform
import re
import socket
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from orchestrator.failures import Failure

OF_THE_NODE = frozenset({Failure.INFRASTRUCTURE, Failure.INPUT})
"""Ends of an attempt that say something of the node rather than of the trial."""
RESULTS_FOLLOW_FROM = ("ray", "torch", "numpy", "tokenizers", "safetensors")
"""Packages that must be the same on all nodes; Ray refuses others itself, where it sees them."""
ID_LABEL = "ray.io/node-id"
NO_ENVIRONMENT = re.compile(r"runtime env[\s\S]*?\[Node ([^\]\s]+)\]")
"""What Ray says of a node that cannot unpack what a driver sends along: the node's address."""
TAKES_NO_MORE = ("No space left on device", "Disk quota exceeded", "Read-only file system")
"""What the system says of a disk that is full, or gone."""
FEW, MOST = 3, 8
"""So many nodes that cannot do it: then it is the cluster that is wrong, and new nodes would be too. The former where
no other node has trained anything."""


def versions() -> dict[str, str]:
    """Return what runs in this process's environment."""
    found = {"Python": platform.python_version()}
    for package in RESULTS_FOLLOW_FROM:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "none"
    return found


def unfit(folder: Path, drivers: Mapping[str, str], own: Mapping[str, str]) -> str | None:
    """Return why trials of a sweep cannot run on this node, in a line; None where they can.

    `folder` is the sweep's, `drivers` and `own` are the versions there and here. Python's last number may differ.
    """
    if not folder.is_dir():
        return f"does not see {folder}: --out must be a folder that all nodes share, mounted at the same place"

    def counts(name: str, value: str) -> str:
        return value.rpartition(".")[0] if name == "Python" else value

    other = [name for name in drivers if counts(name, own.get(name, "none")) != counts(name, drivers[name])]
    if other:
        here, there = (", ".join(f"{name} {of.get(name, 'none')}" for name in other) for of in (own, drivers))
        return f"has {here}, the driver {there}: install requirements.lock on both"
    return None


def others_may_do(avoided: int, nodes: int, *, trained: bool) -> bool:
    """Return whether nodes that are yet to come may do what so many could not, of a cluster that has so many at most.

    `trained` says whether any node has. Where the first few have not, each further one is rented in vain.
    """
    return trained or avoided < min(FEW, nodes)


class Avoided:
    """The nodes that get no more trials of this sweep, by Ray's id, and why."""

    def __init__(self) -> None:
        """Avoid none."""
        self.nodes: dict[str, str] = {}

    def learn(self, node: str, failure: str, why: str) -> bool:
        """Take down how an attempt ended on a node; return whether that node is to be avoided from now on."""
        if failure not in OF_THE_NODE or node in self.nodes:
            return False
        self.nodes[node] = why
        return True

    def selector(self) -> dict[str, str]:
        """Return the labels of the nodes on which trials may run, as Ray takes them; empty for all."""
        return {ID_LABEL: f"!in({','.join(sorted(self.nodes))})"} if self.nodes else {}


def of_this_node(report: Mapping[str, Any], node: str) -> dict[str, Any]:
    """Return a trial's report with this node named where what it says is the node's doing; `node` is Ray's id of it."""
    name, said = f"node {socket.gethostname()}", dict(report)
    if "note" in report:
        said |= {"about": f"{report['about']} of {name}", "note": f"{name}: {report['note']}"}
    if (failure := report.get("failure")) in OF_THE_NODE:
        error = f"{name}: {report['error']}"
        if failure == Failure.INPUT:
            error += "; every node needs the driver's data and encoder at the same place: mount or copy them there"
        said |= {"node": node, "error": error}
    return said


def full_disk(account: str) -> tuple[str, str] | None:
    """Return a node's address and what is wrong, where Ray could not start a process there for want of room on a disk.

    `account` is what Ray says of an attempt's death. None where that is not it.
    """
    where = NO_ENVIRONMENT.search(account)
    why = next((words for words in TAKES_NO_MORE if words in account), None)
    if where is None or why is None:
        return None
    return where[1], (
        f"node {where[1]}: Ray can start nothing there ({why}): make room on the disk of its own folder (/tmp/ray, or "
        "--temp-dir of its ray start)"
    )
