"""Asks the cloud whether this spot machine will be taken away, from a thread beside the trial.

Nothing is asked unless SWEEP_SPOT_METADATA, in the environment that Ray was started in, holds the address of the
cloud's metadata service: http://169.254.169.254 on AWS (IMDSv2), gcp+http://metadata.google.internal on Google's.
Imports no Ray: whoever has its client passes it to `drain`.
"""

import json
import logging
import os
import re
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from http.client import HTTPConnection
from typing import Any

VARIABLE = "SWEEP_SPOT_METADATA"
ACTIONS = ("terminate", "stop", "hibernate")
GCP_LEFT_S = 30.0
"""Google says that, not when; the machine stops 30 s after."""
TOKEN_LIFE_S = 21600
"""The longest that AWS grants."""
REPLY_BYTES = 4096
DRAIN_NODE_REASON_PREEMPTION = 2
"""Of ray.core.generated.autoscaler_pb2: no raylet refuses it, and no actor that is lost by it counts as failed."""
DRAIN_TIMEOUT_S = 5.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SpotNotice:
    """The cloud's word that it takes this machine."""

    action: str
    left_s: float
    """Seconds that were left when it was seen; never negative."""

    def __str__(self) -> str:
        """Return what a person reads as the reason why a trial left."""
        return f"the cloud will {self.action} this spot machine in {self.left_s:.0f} s"


class SpotWatcher:
    """Asks every `poll_s` seconds until there is a notice; whatever the service does, the process is not disturbed.

    `notice` may be read from any thread, after every step: it is an attribute. `on_notice` is called once, from the
    watcher's thread, after `notice` was set. One a process; nobody needs to close it. Raises ValueError where the
    address is not a metadata service's.
    """

    def __init__(
        self,
        address: str,
        on_notice: Callable[[SpotNotice], object] = lambda _: None,
        *,
        poll_s: float = 5.0,
        timeout_s: float = 1.5,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Ask nothing yet; `clock` gives seconds since 1970."""
        found = re.fullmatch(r"(gcp\+)?http://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\])(:\d{1,5})?/?", address)
        if found is None:
            raise ValueError(
                f"{VARIABLE} is {address.rpartition('@')[2]!r}; expected http://HOST[:PORT] for AWS "
                "or gcp+http://HOST[:PORT] for Google's cloud"
            )
        cloud, host, port = found.groups()
        self._look = self._gcp if cloud else self._aws
        self._host = host + (port or "")
        self._on_notice, self._poll_s, self._timeout_s, self._clock = on_notice, poll_s, timeout_s, clock
        self._token = ""
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="spot notice", daemon=True)
        self.notice: SpotNotice | None = None

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def close(self) -> None:
        """Ask no more. Returns at once; a question that is out is not waited for."""
        self._closed.set()

    def _watch(self) -> None:
        told = False
        while not self._closed.is_set():
            try:
                notice = self._look()
            except Exception as error:  # noqa: BLE001  (whatever the service says, the trial goes on)
                notice, self._token = None, ""
                if not told:
                    told = True
                    log.warning("no word on spot notices from %s (told once): %r", self._host, error)
            if notice is not None:
                self._tell(notice)
                return
            self._closed.wait(self._poll_s)

    def _tell(self, notice: SpotNotice) -> None:
        self.notice = notice
        log.warning("%s", notice)
        try:
            self._on_notice(notice)
        except Exception:
            log.exception("a spot notice was seen, and what should follow from it failed")

    def _aws(self) -> SpotNotice | None:
        fresh = not self._token
        if fresh:
            life = {"X-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_LIFE_S)}
            status, token = self._ask("PUT", "/latest/api/token", life)
            if status != 200:
                raise ValueError(f"asked for a token, it answered {status}")
            self._token = token
        path = "/latest/meta-data/spot/instance-action"
        status, text = self._ask("GET", path, {"X-aws-ec2-metadata-token": self._token})
        if status == 404:
            return None
        if status == 401 and not fresh:  # it has grown old
            self._token = ""
            return self._aws()
        if status != 200:
            raise ValueError(f"asked for a notice, it answered {status}")
        told = json.loads(text)
        if told["action"] not in ACTIONS:
            raise ValueError(f"unknown action in {text[:80]!r}")
        when = datetime.strptime(told["time"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        return SpotNotice(told["action"], max(0.0, when.timestamp() - self._clock()))

    def _gcp(self) -> SpotNotice | None:
        status, text = self._ask("GET", "/computeMetadata/v1/instance/preempted", {"Metadata-Flavor": "Google"})
        if status != 200 or text.strip() not in ("TRUE", "FALSE"):
            raise ValueError(f"asked for a notice, it answered {status} {text[:80]!r}")
        return SpotNotice("terminate", GCP_LEFT_S) if text.strip() == "TRUE" else None

    def _ask(self, method: str, path: str, headers: Mapping[str, str]) -> tuple[int, str]:
        """Return status and text. http.client knows no proxies and follows no redirects: no other host is asked."""
        with closing(HTTPConnection(self._host, timeout=self._timeout_s)) as connection:
            connection.request(method, path, headers=dict(headers))
            reply = connection.getresponse()
            return reply.status, reply.read(REPLY_BYTES).decode("ascii")


def watch(on_notice: Callable[[SpotNotice], object] = lambda _: None) -> SpotWatcher | None:
    """Start to watch where the environment names a service; one that it names wrongly is logged, and not watched."""
    address = os.environ.get(VARIABLE)
    if not address:
        return None
    try:
        watcher = SpotWatcher(address, on_notice)
    except ValueError as error:  # a trial must not fail for it
        log.error("no spot notice will be seen: %s", error)  # noqa: TRY400  (one clear line)
        return None
    watcher.start()
    return watcher


def drain(client: Any, node_id: str, notice: SpotNotice, clock: Callable[[], float] = time.time) -> bool:
    """Tell Ray to place nothing more on a node, by its hex id; return whether it was told. May be told again.

    `client` is a ray._raylet.GcsClient; raises what that raises. What runs on the node runs on, also beyond the
    deadline; once nothing does, the node leaves the cluster. The head is left alone: the cluster would end with it.
    """
    nodes = {found.hex(): info for found, info in client.get_all_node_info(timeout=DRAIN_TIMEOUT_S).items()}
    if nodes[node_id].is_head_node:  # KeyError for an id that is none: Ray itself would take it without a word
        return False
    deadline_ms = int((clock() + notice.left_s) * 1000)
    told, why = client.drain_node(
        node_id, DRAIN_NODE_REASON_PREEMPTION, str(notice), deadline_ms, timeout=DRAIN_TIMEOUT_S
    )
    if not told:
        raise RuntimeError(f"Ray refuses to drain node {node_id}: {why}")
    return True
