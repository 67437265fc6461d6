"""The commands of a cluster file: whether each node would join, and workers ever come. Pure functions."""

import re
from collections.abc import Iterator
from difflib import get_close_matches
from itertools import product

from orchestrator.cluster_parts import HEAD, WORKER, Cluster, option

PORT = "6379"
"""Ray's own, where none is said."""
RAY_COMMAND = re.compile(r"(?:^|[;&|(\n])\s*(?:\w+=\S*\s+)*(?:[\w.~$/{}-]*/)?ray\s+([a-z][\w-]*)")
"""`ray` where a shell takes it for a command, and the word after it."""
RAY_COMMANDS = {
    "attach", "check-open-ports", "cluster-dump", "cpp", "dashboard", "debug", "disable-usage-stats", "down",
    "drain-node", "enable-usage-stats", "exec", "get", "get-auth-token", "get-head-ip", "get-worker-ips",
    "global-gc", "health-check", "job", "kill-actor", "kill-random-node", "kuberay-autoscaler", "list",
    "local-dump", "logs", "memory", "metrics", "microbenchmark", "monitor", "rsync-down", "rsync-up",
    "sanity-check", "stack", "start", "status", "stop", "submit", "summary", "symmetric-run", "timeline", "up",
}  # fmt: skip
"""What `ray` knows, as of ray 2.60.0; here, as importing its command line takes a second."""
BUCKET = re.compile(r"(?!.*\.\.)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
"""A name that S3 takes (its "General purpose bucket naming rules")."""
OUR_SCRIPTS = {
    "aws_head.sh": ("bucket", BUCKET, "3 to 63 of a-z, 0-9, . and -, as multitask-sweeps-artifacts"),
    "aws_shared.sh": ("file system", re.compile(r"fs-([0-9a-f]{8}|[0-9a-f]{17})"), "fs-, then 8 or 17 hex digits"),
}
"""Script of cluster/: what its first word is, how that is written, and how to say so."""


def commands(cluster: Cluster) -> Iterator[str]:
    """Find what would keep a node from joining, and workers from coming."""
    for place, lines in cluster.command_lists.items():
        yield from _unknown(place, lines)
        yield from _words(place, lines)
    if HEAD in cluster.file:
        yield from _head(cluster)
    if WORKER in cluster.file:
        yield from _worker(cluster)


def _unknown(place: str, lines: list[str]) -> Iterator[str]:
    for number, line in enumerate(lines):
        for word in RAY_COMMAND.findall(line):
            if word not in RAY_COMMANDS:
                near = get_close_matches(word, sorted(RAY_COMMANDS), n=1)
                meant = f" (did you mean `ray {near[0]}`?)" if near else ""
                yield f"{place}.{number}: Ray has no command `ray {word}`{meant}"


def _words(place: str, lines: list[str]) -> Iterator[str]:
    """Find a bucket or a file system that is none."""
    for (number, line), (script, (what, pattern, form)) in product(enumerate(lines), OUR_SCRIPTS.items()):
        for word in re.findall(rf"\b{re.escape(script)}\s+([^\s;&|]+)", line):
            if "$" not in word and not pattern.fullmatch(word.strip("'\"")):
                yield f"{place}.{number}: {word!r} after {script} is the name of no {what}; expected {form}"


def _starts(cluster: Cluster, place: str) -> list[str]:
    """Return what follows each `ray start`, to the end of that command."""
    found = (re.findall(r"\bray start\b([^;&|]*)", command) for command in cluster.commands(place))
    return [options for each in found for options in each]


def _missing(cluster: Cluster, place: str) -> Iterator[str]:
    """Tell that no node is started, unless it is but misspelt, which is told already."""
    said = {word for command in cluster.commands(place) for word in RAY_COMMAND.findall(command)}
    if not any(get_close_matches(word, ["start"], cutoff=0.8) for word in said - RAY_COMMANDS):
        yield f"{place}: no `ray start` among them; the node would not join"


def _head(cluster: Cluster) -> Iterator[str]:
    starts = _starts(cluster, HEAD)
    if not starts:
        yield from _missing(cluster, HEAD)
    for options in starts:
        if not re.search(r"--head\b", options):
            yield f"{HEAD}: `ray start` without --head; the node would be none; add it"
        elif "--autoscaling-config" not in options:
            yield (
                f"{HEAD}: `ray start` without --autoscaling-config; no worker would ever come; "
                "--autoscaling-config=~/ray_bootstrap_config.yaml"
            )


def _worker(cluster: Cluster) -> Iterator[str]:
    starts = _starts(cluster, WORKER)
    if not starts:
        yield from _missing(cluster, WORKER)
    ports = {option(options, "port") or PORT for options in _starts(cluster, HEAD)} or {PORT}
    for options in starts:
        address = option(options, "address") or ""
        host, _, port = address.rpartition(":")
        right = f"--address=$RAY_HEAD_IP:{min(ports)}"
        if re.search(r"--head\b", options):
            yield f"{WORKER}: `ray start --head`; each worker would be a cluster of its own; {right} in its place"
        elif not address:
            yield f"{WORKER}: `ray start` without --address; the node would join no head; {right}"
        elif re.match(r"\{?RAY_HEAD_IP\b", address):
            yield f"{WORKER}: --address={address} lacks its $, so it is no address; {right}"
        elif re.fullmatch(r"\$(RAY_HEAD_IP|\{RAY_HEAD_IP\})", address):
            yield f"{WORKER}: --address={address} has no port; {right}"
        elif "RAY_HEAD_IP" in host and port.isdigit() and ports.isdisjoint({port}):
            yield f"{WORKER}: --address={address}, and the head listens at port {min(ports)} ({HEAD}); {right}"
