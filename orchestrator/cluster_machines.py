"""The machines of a cluster file: what is rented, or which there are, and what is promised of them. Pure functions."""

import ipaddress
import re
from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.aws_fields import unknown_fields
from orchestrator.aws_values import wrong_values
from orchestrator.cluster_parts import Cluster, listed, mapping
from orchestrator.ec2_types import gpus_of, has_gpu

HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?")


def machines(cluster: Cluster) -> Iterator[str]:
    """Find what is wrong with the machines."""
    if cluster.kind == "local":
        yield from _addresses(cluster)
    if cluster.kind != "aws":
        return
    for place, config in cluster.machines():
        unknown = unknown_fields(config)
        yield from (f"{place}.{line}" for line in (*unknown, *wrong_values(config)))
        if unknown or "LaunchTemplate" in config:  # what is misspelt, or is said elsewhere, is not missing
            continue
        if not config.get("InstanceType"):
            yield f"{place}.InstanceType: missing; say which machine"
        if not config.get("ImageId"):
            yield f"{place}.ImageId: missing; Ray would take an image of Ubuntu 18.04; say which"
    for name, node in cluster.types.items():
        yield from _gpus(name, node, is_head=name == cluster.head)
    market = mapping(mapping(mapping(cluster.types.get(cluster.head)).get("node_config")).get("InstanceMarketOptions"))
    if market.get("MarketType") == "spot":
        yield (
            f"available_node_types.{cluster.head}: the head is spot; driver and databases would go with it; "
            "take it on demand"
        )


def _gpus(name: str, node: Mapping[str, Any], *, is_head: bool) -> Iterator[str]:
    """Find GPUs that are promised and not there, or there and not promised; a head may keep its own back."""
    machine = str(mapping(node.get("node_config")).get("InstanceType", ""))
    promised = mapping(node.get("resources")).get("GPU")
    place = f"available_node_types.{name}"
    there = gpus_of(machine)
    if has_gpu(machine) and not promised and not (is_head and promised == 0):
        yield (
            f"{place}.resources: no GPU, and {machine} has {there or 'some'}; no trial would be given it; "
            f"say GPU: {there or 1}"
        )
    elif machine and promised and not has_gpu(machine):
        yield (
            f"{place}.resources: GPU: {promised}, and {machine} has none; trials would fail there; "
            "take another machine, or GPU: 0"
        )
    elif there and isinstance(promised, int | float) and promised > there:
        yield (
            f"{place}.resources: GPU: {promised}, and {machine} has {there}; trials would fail on those it has not; "
            f"GPU: {there}, or take a larger machine"
        )


def _addresses(cluster: Cluster) -> Iterator[str]:
    """Find addresses that are none, or are given to two machines: Ray asserts that they differ."""
    head, workers = cluster.provider.get("head_ip"), listed(cluster.provider.get("worker_ips"))
    for place, address in (("head_ip", head), *(("worker_ips", worker) for worker in workers)):
        if address is not None and not _is_host(address):
            yield f"provider.{place}: {address!r} is no address; expected one as 10.0.0.11, or a host's name"
    if head is not None and head in workers:
        yield f"provider.worker_ips: {head} is the head's (head_ip); name the other machines alone"
    for again in dict.fromkeys(str(worker) for worker in workers if workers.count(worker) > 1 and worker != head):
        yield f"provider.worker_ips: {again} is given twice; each machine once"


def _is_host(address: Any) -> bool:
    if not isinstance(address, str):
        return False
    if not re.fullmatch(r"[\d.]+|.*:.*", address):
        return HOST.fullmatch(address) is not None
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return False
    return True
