"""A Ray cluster that runs already: whether its head answers, what the cluster has, what may come to it.

Import it after orchestrator.ray_environment.prepare.
"""

import logging
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray._common.usage.usage_lib import get_cluster_metadata
from ray._private import services
from ray._private.utils import check_version_info
from ray._raylet import GcsClient  # type: ignore[attr-defined]
from ray.util.placement_group import placement_group, remove_placement_group

from orchestrator.errors import UNREACHABLE, SweepError, UnreachableError
from orchestrator.head_watch import dial
from orchestrator.limits import within
from orchestrator.node_types import Growth, growth_of
from orchestrator.overheard import Overheard
from orchestrator.ray_environment import open_to_all, token_from
from orchestrator.redaction import redacted
from orchestrator.resources import Machine, Node, NodeWish, Share
from orchestrator.shipping import shipped
from orchestrator.signals import leave

CONNECT_TIMEOUT_S = 8
GREETING_S = 5
SETTINGS = b"\0\0\0\4\0\0\0\0\0"
"""An empty frame of this kind."""
ANSWER_S = 25
"""Seconds in which a head has to let us in, once it listens."""
HEAD = "node:__internal_head__"
"""What Ray gives the head alone."""
REFUSAL = "InvalidAuthToken"
"""What Ray's C++ writes over and over where a head refuses a token; what it raises says nothing of that."""
VERSIONS = re.compile(
    r"cluster was started with:\s+Ray: (\S+)\s+Python: (\S+)\s+This process on (.+?) was started with:\s+"
    r"Ray: (\S+)\s+Python: (\S+)"
)
"""Ray's own account of versions that differ: those there, who we are, those here."""
LOOK_S = 2.0
"""How often nodes are looked for that are waited for."""


def connect(address: str) -> Machine:
    """Connect to a Ray head and return what its cluster has, and may get. Raises UnreachableError.

    Raises SweepError where `auto` finds a head of another machine that takes everybody's code.
    """
    meant = _found() if address == "auto" else address
    address = meant if address == meant else f"{meant} ({address})"
    try:
        within(CONNECT_TIMEOUT_S + GREETING_S, lambda: _knock(meant))
    except (OSError, ValueError) as error:
        raise UnreachableError(f"no Ray head at {meant} ({error}); expected HOST:PORT of ray start --head") from error
    if not ray.is_initialized():
        # It waits in C++ for whoever listens there and is no head: no exception ends that.
        heard = Overheard()
        deadline = threading.Timer(ANSWER_S, _give_up, (address, heard))
        deadline.start()
        try:
            with shipped() as code, heard:
                _require_same_versions(meant, heard)
                ray.init(address=meant, log_to_driver=False, logging_level=logging.ERROR, runtime_env=code)
        except Exception as error:
            raise UnreachableError(_refused(address, str(error), heard.text)) from error
        finally:
            deadline.cancel()
    return room(address, growth_of(ray.get_runtime_context().gcs_address))


def _require_same_versions(meant: str, heard: Overheard) -> None:
    """Raise as Ray does where the head is of another Ray or Python, or wants another token.

    ray.init would look later, and not at all on a machine that no node runs on yet: the very one that was refused.
    """
    try:
        there = get_cluster_metadata(GcsClient(address=meant))
    except Exception:
        if REFUSAL in heard.text:
            raise
        return  # whatever it is, ray.init tries for longer
    if there is not None:
        check_version_info(there, f"node {services.get_node_ip_address()}")


def _give_up(address: str, heard: Overheard) -> None:
    """End the process: who listens there lets nobody in."""
    heard.end()
    if REFUSAL in heard.text:
        leave(UNREACHABLE, f"error: {_refused(address, '', heard.text)}")
    leave(
        UNREACHABLE,
        f"error: Ray at {address} has not answered for {ANSWER_S} s; is it ray start --head that listens there, and is "
        "this machine one of its nodes (ray start --address)?",
    )


def _refused(address: str, error: str, heard: str) -> str:
    """Return in a line why a head does not let us in: from what Ray raised, and what its C++ wrote meanwhile."""
    if REFUSAL in heard:
        return (
            f"Ray at {address} refuses our token ({token_from() or 'RAY_AUTH_MODE is not token, so none was sent'}); "
            "expected the one that its head was started with: copy that file here (mode 600), and name it with "
            "RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH"
        )
    if (found := VERSIONS.search(error)) is not None:
        ray_there, python_there, us, ray_here, python_here = found.groups()
        return (
            f"Ray at {address} is Ray {ray_there} on Python {python_there}, this process on {us} is Ray {ray_here} on "
            f"Python {python_here}; install the same Python and requirements.lock on both"
        )
    said = redacted(" ".join(error.split()))[:500]  # cut after that: half a secret is not known for one
    return f"Ray at {address} refused: {said}"


def connect_and_wait(address: str, wish: NodeWish, tell: Callable[[str], None]) -> Machine:
    """Connect, and wait for a node that holds a trial where none is up and none is known to come.

    `tell` is given a line when the wait begins. Raises UnreachableError, also where no such node has come in time.
    """
    machine = connect(address)
    if machine.holds(wish.cpus, wish.gpus):
        return machine
    if not wish.wait_s:
        raise UnreachableError(
            f"no node with {wish} is up ({machine.where}){_instead(machine, wish)}; look at `ray status`"
        )
    since = time.monotonic()
    tell(f"waiting for a node with {wish}, {wish.wait_s:.0f} s at most: {machine.where}")
    with _asked_for(wish):
        while not machine.holds(wish.cpus, wish.gpus):
            if time.monotonic() - since >= wish.wait_s:
                raise UnreachableError(
                    f"no node with {wish} has come in {wish.wait_s:.0f} s ({machine.where}){_instead(machine, wish)}; "
                    "look at `ray status`, or wait longer with --wait-for-nodes SECONDS"
                )
            time.sleep(LOOK_S)
            machine = room(address, Growth())
    return machine


def _instead(machine: Machine, wish: NodeWish) -> str:
    """Return what the nodes that are up would take in place of what is wished for."""
    return "; --gpus-per-trial 0 trains on CPUs" if wish.gpus and machine.holds(wish.cpus, 0) else ""


@contextmanager
def _asked_for(wish: NodeWish) -> Iterator[None]:
    """Let Ray's autoscaler see that such a node is wanted, where it is one of which we know nothing.

    By a placement group: what request_resources asks for stays asked for after its asker has died.
    """
    wanted = placement_group([{"CPU": wish.cpus} | ({"GPU": wish.gpus} if wish.gpus else {})])
    try:
        yield
    finally:
        remove_placement_group(wanted)


def room(address: str, growth: Growth) -> Machine:
    """Return what a cluster that we are connected to has now, and what may come to it."""
    up, workers = _nodes()
    has = [f"{sum(getattr(node, name) for node in up):g} {name.upper()[:-1]}s" for name in ("cpus", "gpus")]
    where = f"Ray at {address}: {len(up)} node{'s' * (len(up) > 1)} up with {' and '.join(has)}"
    if growth.types:
        where += f"; {growth.workers} at most may come: {', '.join(map(str, growth.types))}"
    return Machine((*up, *growth.to_come(workers)), where, is_cluster=True, may_grow=bool(growth.types))


def any_holds(share: Share, avoided: Collection[str]) -> bool:
    """Return whether a node that is up, beside those with these ids, holds a trial of such a share."""
    return any(
        _node(found).holds(share.cpus, share.gpus)
        for found in ray.nodes()
        if found["Alive"] and found["NodeID"] not in avoided
    )


def workers() -> list[str]:
    """Return the ids of the nodes that are up and not the head, the same order each time."""
    return sorted(node["NodeID"] for node in ray.nodes() if node["Alive"] and HEAD not in node["Resources"])


def node_at(address: str) -> str:
    """Return Ray's id of the node that is up at an address; nothing where there is none, or more than one."""
    found = (
        [node["NodeID"] for node in ray.nodes() if node["Alive"] and address == node["NodeManagerAddress"]]
        if address
        else []
    )
    return str(found[0]) if len(found) == 1 else ""


def _nodes() -> tuple[list[Node], int]:
    """Return the nodes that are up, and how many of them are not the head."""
    alive = [node for node in ray.nodes() if node["Alive"]]
    return [_node(node) for node in alive], sum(HEAD not in node["Resources"] for node in alive)


def _node(found: dict[str, Any]) -> Node:
    return Node(found["Resources"].get("CPU", 0.0), found["Resources"].get("GPU", 0.0))


def _found() -> str:
    """Return the address that Ray finds for `auto`: RAY_ADDRESS, or of the head or the node that runs here.

    Raises SweepError where there are several: Ray would take the newest, whoever's that is.
    """
    several = sorted(services.find_gcs_addresses()) if not os.environ.get("RAY_ADDRESS") else []
    if len(several) > 1:
        raise SweepError(
            f"--address auto: several Ray clusters run here ({', '.join(several)}); name one by --address HOST:PORT, "
            "or in RAY_ADDRESS"
        )
    try:
        meant = str(services.canonicalize_bootstrap_address_or_die("auto"))
    except Exception as error:
        said = redacted(" ".join(str(error).split()))[:300]
        raise UnreachableError(f"no Ray runs on this machine ({said}); --address HOST:PORT names one") from error
    own = meant.rpartition(":")[0] == services.get_node_ip_address()
    if not own and (wrong := open_to_all(meant)):
        raise SweepError(f"--address auto (this machine is a node of {meant}): {wrong}")
    return meant


def _knock(address: str) -> None:
    with dial(address, CONNECT_TIMEOUT_S) as connection:
        _greet(connection, address)


def _greet(connection: socket.socket, address: str) -> None:
    """Raise UnreachableError unless who listens there speaks gRPC, as Ray does: it would be waited for in C++.

    RFC 9113, section 3.4: a server's first frame is SETTINGS.
    """
    if os.environ.get("RAY_USE_TLS", "0") == "1":
        return
    connection.settimeout(GREETING_S)
    connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + SETTINGS)
    try:
        first = connection.recv(9)
    except TimeoutError as error:
        raise UnreachableError(
            f"Ray at {address} has not answered for {GREETING_S} s; is it ray start --head that listens there?"
        ) from error
    if first[3:4] != SETTINGS[3:4]:
        raise UnreachableError(f"what listens at {address} is no Ray head; expected HOST:PORT of ray start --head")
