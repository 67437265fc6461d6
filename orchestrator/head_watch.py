"""Whether a cluster's head is there still: Ray itself would end this process with a line of its own C++."""

import socket
import threading
import time

from orchestrator.errors import UNREACHABLE
from orchestrator.signals import leave

PATIENCE_S = 60.0
"""Seconds without a sign of the head after which it is given up: Ray's own time."""
RAYS_PATIENCE_S = 90
"""What Ray is given instead, so that ours comes before; in seconds, for its environment."""
LOOK_S, ANSWER_S = 3.0, 5.0
"""How often it is looked for, and how long a connection may take."""
PAUSE_S = 5.0
"""A look that comes so late says that this process stood still itself."""


def watch_head(address: str, over: threading.Event) -> None:
    """Look for the head at HOST:PORT until `over`; end the process, with a line, where it stays away."""
    seen = before = time.monotonic()
    while not over.wait(LOOK_S):
        looked = time.monotonic()
        stood_still, before = looked - before > LOOK_S + ANSWER_S + PAUSE_S, looked
        if listens(address) or stood_still:  # then nobody was looked for meanwhile
            seen = time.monotonic()
        elif looked - seen > PATIENCE_S and not over.is_set():
            leave(
                UNREACHABLE,
                f"error: the Ray head at {address} has not answered for {PATIENCE_S:.0f} s; what is saved stays: start "
                "a head (ray start --head, or ray up), and the same command continues there",
            )


def listens(address: str) -> bool:
    """Return whether somebody takes connections at HOST:PORT."""
    try:
        dial(address, ANSWER_S).close()
    except OSError:
        return False
    return True


def dial(address: str, timeout_s: float) -> socket.socket:
    """Return a connection to HOST:PORT. Raises OSError, and ValueError where the port is no number."""
    host, _, port = address.rpartition(":")
    return socket.create_connection((host.strip("[]"), int(port)), timeout_s)
