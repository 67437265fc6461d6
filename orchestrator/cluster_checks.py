"""What Ray's schema does not look at in a cluster file: names, counts, machines, and who gets in. Pure functions.

Each check takes the file as a mapping, of any content, and returns a line for each mistake: where it stands, what is
there, what to do. Ray's own defaults (ray 2.60) are the reason behind many: a cluster that leaves something out is
open to the world.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from orchestrator.aws_fields import unknown_fields

CLOUDS = {"aws", "gcp", "azure"}
"""The providers that rent machines."""
NAMED_BY = {"aws": ("region",), "gcp": ("region", "availability_zone", "project_id")}
GPU_MACHINE = re.compile(r"(g|gr|p)\d")
"""EC2's families with NVIDIA's GPUs: g4dn, g5, g6, gr6, p4d, p5 and their like; no other begins so."""
ANYBODY = {"0.0.0.0/0", "::/0"}
STARTS = ("head_start_ray_commands", "worker_start_ray_commands")


@dataclass(frozen=True)
class Cluster:
    """A cluster file, with what is of another type than it should be taken as empty: that is the schema's to tell."""

    file: Mapping[str, Any]

    @cached_property
    def provider(self) -> Mapping[str, Any]:
        """Return the provider's settings."""
        return _mapping(self.file.get("provider"))

    @property
    def kind(self) -> str:
        """Return the provider's name."""
        return str(self.provider.get("type", ""))

    @cached_property
    def types(self) -> dict[str, Mapping[str, Any]]:
        """Return the node types by name."""
        return {str(name): _mapping(node) for name, node in _mapping(self.file.get("available_node_types")).items()}

    @property
    def head(self) -> str:
        """Return the name of the head's type."""
        return str(self.file.get("head_node_type"))

    def machines(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Return where each node type's node_config stands, and what it says."""
        for name, node in self.types.items():
            yield f"available_node_types.{name}.node_config", _mapping(node.get("node_config"))

    def commands(self, name: str) -> list[str]:
        """Return a list of shell commands."""
        return [command for command in _list(self.file.get(name)) if isinstance(command, str)]


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def names(cluster: Cluster) -> Iterator[str]:
    """Find what is wrong with what the cluster is called, and where it is."""
    if not cluster.file.get("cluster_name"):
        yield "cluster_name: missing; Ray would take 'default', whoever else's that is; give it a name of its own"
    for field in NAMED_BY.get(cluster.kind, ()):
        if not cluster.provider.get(field):
            yield f"provider.{field}: missing; `ray up` would fail on its way to the cloud; say which"
    region = cluster.provider.get("region")
    places = {name: cluster.commands(name) for name in cluster.file if str(name).endswith("_commands")}
    places["auth.ssh_proxy_command"] = [str(_mapping(cluster.file.get("auth")).get("ssh_proxy_command", ""))]
    for place, commands in places.items():
        for other in dict.fromkeys(re.findall(r"--region[ =](\S+)", "\n".join(commands))):
            if region and other != region:
                yield f"{place}: an aws command asks region {other}, the nodes are in {region}; give both the same"


def counts(cluster: Cluster) -> Iterator[str]:
    """Find what is wrong with how many machines there may be."""
    most = _count(cluster.file.get("max_workers"))
    if cluster.kind in CLOUDS and "max_workers" not in cluster.file:
        yield "max_workers: missing; Ray would take 2; say how many workers there may be at once"
    for name, node in cluster.types.items():
        place, least, own = (
            f"available_node_types.{name}",
            _count(node.get("min_workers")) or 0,
            _count(node.get("max_workers")),
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


def machines(cluster: Cluster) -> Iterator[str]:
    """Find what is wrong with what is rented."""
    if cluster.kind != "aws":
        return
    for place, config in cluster.machines():
        unknown = unknown_fields(config)
        yield from (f"{place}.{line}" for line in unknown)
        if unknown or "LaunchTemplate" in config:  # what is misspelt, or is said elsewhere, is not missing
            continue
        if not config.get("InstanceType"):
            yield f"{place}.InstanceType: missing; say which machine"
        if not config.get("ImageId"):
            yield f"{place}.ImageId: missing; Ray would take an image of Ubuntu 18.04; say which"
    for name, node in cluster.types.items():
        yield from _gpus(name, node, is_head=name == cluster.head)
    market = _mapping(
        _mapping(_mapping(cluster.types.get(cluster.head)).get("node_config")).get("InstanceMarketOptions")
    )
    if market.get("MarketType") == "spot":
        yield (
            f"available_node_types.{cluster.head}: the head is spot; driver and databases would go with it; "
            "take it on demand"
        )


def _gpus(name: str, node: Mapping[str, Any], *, is_head: bool) -> Iterator[str]:
    """Find GPUs that are promised and not there, or there and not promised; a head may keep its own back."""
    machine = str(_mapping(node.get("node_config")).get("InstanceType", ""))
    promised = _mapping(node.get("resources")).get("GPU")
    place = f"available_node_types.{name}"
    if GPU_MACHINE.match(machine) and not promised and not (is_head and promised == 0):
        yield f"{place}.resources: no GPU, and {machine} has one; no trial would be given it; say GPU: 1"
    elif machine and promised and not GPU_MACHINE.match(machine):
        yield (
            f"{place}.resources: GPU: {promised}, and {machine} has none; trials would fail there; "
            "take another machine, or GPU: 0"
        )


def access(cluster: Cluster) -> Iterator[str]:
    """Find who gets in that should not, from the network and on the machine."""
    yield from _commands(cluster)
    if cluster.kind in CLOUDS and cluster.provider.get("use_internal_ips") is not True:
        yield (
            "provider.use_internal_ips: not true; Ray would speak to the nodes by public addresses; "
            "set it, and take private subnets"
        )
    if cluster.kind != "aws":
        return
    yield from _groups(cluster)
    for place, config in cluster.machines():
        if _mapping(config.get("MetadataOptions")).get("HttpTokens") != "required":
            yield (
                f"{place}.MetadataOptions: IMDSv2 is not required; a forged request would get the machine's rights; "
                "HttpTokens: required"
            )
        disks = [_mapping(disk) for disk in _list(config.get("BlockDeviceMappings"))]
        if not disks and "LaunchTemplate" not in config:
            yield f"{place}.BlockDeviceMappings: missing, so the disk is not encrypted; give it with Encrypted: true"
        for disk in disks:
            if _mapping(disk.get("Ebs")).get("Encrypted") is not True and disk.get("Ebs"):
                yield f"{place}.BlockDeviceMappings: {disk.get('DeviceName')} is not encrypted; Encrypted: true"
        if cluster.head in place.split(".") and not config.get("IamInstanceProfile"):
            yield (
                f"{place}.IamInstanceProfile: missing; Ray would make a role with all of EC2 and S3; "
                "name one of your own"
            )


def _groups(cluster: Cluster) -> Iterator[str]:
    """Find ports that are open to the world."""
    group = cluster.provider.get("security_group")
    if group is not None:
        yield (
            "provider.security_group: Ray opens SSH to the world in a group that it makes; "
            "make your own, and name it as SecurityGroupIds"
        )
    for rule in map(_mapping, _list(_mapping(group).get("IpPermissions"))):
        ranges = [*_list(rule.get("IpRanges")), *_list(rule.get("Ipv6Ranges"))]
        for text in sorted({str(v) for item in ranges for v in _mapping(item).values()} & ANYBODY):
            yield (
                f"provider.security_group.IpPermissions: port {rule.get('FromPort')} is open to {text}; "
                "name your own network"
            )
    for place, config in cluster.machines():
        interfaces = [_mapping(interface) for interface in _list(config.get("NetworkInterfaces"))]
        own = config.get("SecurityGroupIds") or any(interface.get("Groups") for interface in interfaces)
        if group is None and not own and "LaunchTemplate" not in config:
            yield (
                f"{place}.SecurityGroupIds: missing; Ray would make a group that opens SSH to the world; "
                "name one of your own"
            )
        if any(interface.get("AssociatePublicIpAddress") for interface in interfaces):
            yield f"{place}.NetworkInterfaces: a public address is asked for; leave AssociatePublicIpAddress out"


def _commands(cluster: Cluster) -> Iterator[str]:
    """Find whether Ray asks for a token, and keeps its dashboard to itself."""
    for place in STARTS:
        starts = [command for command in cluster.commands(place) if re.search(r"\bray start\b", command)]
        if place not in cluster.file:
            yield (
                f"{place}: missing; Ray's own start without a token, and the dashboard open on all addresses; give them"
            )
        elif not starts:
            yield f"{place}: no `ray start` among them; the node would not join"
        for command in starts:
            if not re.search(r"\bRAY_AUTH_MODE=['\"]?token\b", command.partition("ray start")[0]):
                yield (
                    f"{place}: `ray start` without a token; whoever reaches Ray runs code on every node; "
                    "export RAY_AUTH_MODE=token in the same command"
                )
            host = re.search(r"--dashboard-host[ =]['\"]?([^\s'\"]+)", command)
            if host is not None and host[1] not in {"127.0.0.1", "localhost", "::1"}:
                yield (
                    f"{place}: the dashboard listens on {host[1]}; "
                    "--dashboard-host=127.0.0.1, and `ray dashboard` leads there"
                )


CHECKS: tuple[tuple[str, Callable[[Cluster], Iterator[str]]], ...] = (
    ("names", names), ("counts", counts), ("machines", machines), ("access", access),
)  # fmt: skip


def problems(file: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return, by check, a line for each mistake in a cluster file."""
    return {name: list(check(Cluster(file))) for name, check in CHECKS}
