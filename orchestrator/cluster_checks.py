"""What Ray's schema does not look at in a cluster file, check by check; here what things are called, and counts.

Each check takes the file by its parts, of any content, and returns a line for each mistake: where it stands, what is
there, what to do. What may be meant so is no mistake: cluster_notes.py. Ray's own defaults (ray 2.60) are the reason
behind many: a cluster that leaves something out is open to the world. Pure functions.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from orchestrator.cluster_access import access
from orchestrator.cluster_commands import commands
from orchestrator.cluster_machines import machines
from orchestrator.cluster_parts import CLOUDS, Cluster, count, mapping, one_line

NAMED_BY = {"aws": ("region",), "gcp": ("region", "availability_zone", "project_id")}
REGIONS = {
    "aws": (re.compile(r"[a-z]{2,4}(-[a-z]+)*-(central|(north|south)?(east|west)?)-\d"), "us-west-2"),
    "gcp": (re.compile(r"[a-z]+-[a-z]+\d+"), "us-west1"),
}
"""How a region is written, and one of them: a list of them would age. AWS has a point of the compass in each."""
ZONES = {
    "aws": (re.compile(r"-?[a-z0-9-]+"), "a"),
    "gcp": (re.compile(r"-[a-z]"), "-a"),
}
"""What a zone's name has beyond its region's."""
NAMES = {
    "aws": (re.compile(r"[\w\s.:/=+@-]{1,200}"), "AWS takes letters, digits, spaces and _.:/=+-@ in a tag"),
    "gcp": (re.compile(r"[a-z0-9-]{1,35}"), "Google takes a-z, 0-9 and - in a machine's name, 35 of them at most"),
    "local": (re.compile(r"[^/\0]{1,200}"), "Ray makes a file of that name, which has no /"),
}  # fmt: skip
"""By provider what becomes of the cluster's name (Ray 2.60): a tag of each machine, a part of its name, a file."""


def names(cluster: Cluster) -> Iterator[str]:
    """Find what is wrong with what the cluster is called, who signs in to it, and where it is."""
    name = cluster.file.get("cluster_name")
    pattern, reason = NAMES.get(cluster.kind, (None, ""))
    if not name:
        yield "cluster_name: missing; Ray would take 'default', whoever else's that is; give it a name of its own"
    elif pattern is not None and isinstance(name, str) and not pattern.fullmatch(name):
        yield f"cluster_name: {name!r} would be refused; {reason}; as multitask-sweeps"
    yield from _user(cluster)
    for field in NAMED_BY.get(cluster.kind, ()):
        if not cluster.provider.get(field):
            yield f"provider.{field}: missing; `ray up` would fail on its way to the cloud; say which"
    yield from _places(cluster)


def _user(cluster: Cluster) -> Iterator[str]:
    """Find a machine that Ray would rent, and not know how to sign in to."""
    auth = cluster.file.get("auth")
    of_ray = auth is None and cluster.kind in {"aws", "gcp"}  # whose defaults have one; `auth` given replaces them
    if cluster.kind in {*CLOUDS, "local"} and not of_ray and not mapping(auth).get("ssh_user"):
        yield "auth.ssh_user: missing; `ray up` would fail once the head is there; the image's user, as ubuntu"


def _places(cluster: Cluster) -> Iterator[str]:
    """Find a region or a zone that is none, and commands that ask another."""
    region, zone = cluster.provider.get("region"), cluster.provider.get("availability_zone")
    pattern, example = REGIONS.get(cluster.kind, (None, ""))
    if pattern is None or not isinstance(region, str) or not region:
        return
    if not pattern.fullmatch(region):
        yield f"provider.region: {region!r} is no region; expected one as {example}"
        return
    beyond, letter = ZONES[cluster.kind]
    for one in zone.split(",") if isinstance(zone, str) and cluster.kind == "aws" else [zone]:
        if isinstance(one, str) and one and not (one.startswith(region) and beyond.fullmatch(one[len(region) :])):
            yield f"provider.availability_zone: {one!r} is no zone of {region}; expected one as {region}{letter}"
            return
    asked = cluster.command_lists | {
        "auth.ssh_proxy_command": [str(mapping(cluster.file.get("auth")).get("ssh_proxy_command", ""))]
    }
    option, own = ("region", region) if cluster.kind == "aws" else ("zone", zone)
    for place, lines in asked.items():
        for other in dict.fromkeys(re.findall(rf"--{option}[ =](\S+)", "\n".join(lines))):
            if own and other != own and "$" not in other:
                who = "an aws command" if cluster.kind == "aws" else "a gcloud command"
                yield f"{place}: {who} asks {option} {other}, the nodes are in {own}; give both the same"


def counts(cluster: Cluster) -> Iterator[str]:
    """Find what is wrong with how many machines there may be."""
    most = count(cluster.file.get("max_workers"))
    if cluster.kind in CLOUDS and "max_workers" not in cluster.file:
        yield "max_workers: missing; Ray would take 2; say how many workers there may be at once"
    for name, node in cluster.types.items():
        place, least, own = (
            f"available_node_types.{name}",
            count(node.get("min_workers")) or 0,
            count(node.get("max_workers")),
        )
        if own is not None and least > own:
            yield f"{place}: min_workers {least} is more than its max_workers {own}; lower the one or raise the other"
        elif most is not None and least > most:
            yield (
                f"{place}: min_workers {least} is more than the cluster's max_workers {most}; "
                "lower the one or raise the other"
            )
        if most is not None and own is not None and own > most:
            yield (
                f"{place}: max_workers {own} is more than the cluster's max_workers {most}, which wins; "
                "give both the same"
            )


CHECKS: tuple[tuple[str, Callable[[Cluster], Iterator[str]]], ...] = (
    ("names", names), ("counts", counts), ("machines", machines), ("commands", commands), ("access", access),
)  # fmt: skip


def problems(file: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return, by check, a line for each mistake in a cluster file."""
    return {name: [one_line(line) for line in check(Cluster(file))] for name, check in CHECKS}
