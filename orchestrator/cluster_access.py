"""Who gets in that should not, in a cluster file: from the network and on the machine. Pure functions."""

import re
from collections.abc import Iterator

from orchestrator.cluster_parts import CLOUDS, HEAD, WORKER, Cluster, listed, mapping, option

ANYBODY = {"0.0.0.0/0", "::/0"}


def access(cluster: Cluster) -> Iterator[str]:
    """Find who gets in that should not, from the network and on the machine."""
    yield from _starts(cluster)
    if cluster.kind in CLOUDS and cluster.provider.get("use_internal_ips") is not True:
        yield (
            "provider.use_internal_ips: not true; Ray would speak to the nodes by public addresses; "
            "set it, and take private subnets"
        )
    if cluster.kind != "aws":
        return
    yield from _groups(cluster)
    for place, config in cluster.machines():
        if mapping(config.get("MetadataOptions")).get("HttpTokens") != "required":
            yield (
                f"{place}.MetadataOptions: IMDSv2 is not required; a forged request would get the machine's rights; "
                "HttpTokens: required"
            )
        disks = [mapping(disk) for disk in listed(config.get("BlockDeviceMappings"))]
        if not disks and "LaunchTemplate" not in config:
            yield f"{place}.BlockDeviceMappings: missing, so the disk is not encrypted; give it with Encrypted: true"
        for disk in disks:
            if mapping(disk.get("Ebs")).get("Encrypted") is not True and disk.get("Ebs"):
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
    for rule in map(mapping, listed(mapping(group).get("IpPermissions"))):
        ranges = [*listed(rule.get("IpRanges")), *listed(rule.get("Ipv6Ranges"))]
        for text in sorted({str(v) for item in ranges for v in mapping(item).values()} & ANYBODY):
            yield (
                f"provider.security_group.IpPermissions: port {rule.get('FromPort')} is open to {text}; "
                "name your own network"
            )
    for place, config in cluster.machines():
        interfaces = [mapping(interface) for interface in listed(config.get("NetworkInterfaces"))]
        own = config.get("SecurityGroupIds") or any(interface.get("Groups") for interface in interfaces)
        if group is None and not own and "LaunchTemplate" not in config:
            yield (
                f"{place}.SecurityGroupIds: missing; Ray would make a group that opens SSH to the world; "
                "name one of your own"
            )
        if any(interface.get("AssociatePublicIpAddress") for interface in interfaces):
            yield f"{place}.NetworkInterfaces: a public address is asked for; leave AssociatePublicIpAddress out"


def _starts(cluster: Cluster) -> Iterator[str]:
    """Find whether Ray asks for a token, and keeps its dashboard to itself."""
    for place in (HEAD, WORKER):
        if place not in cluster.file:
            yield (
                f"{place}: missing; Ray's own start without a token, and the dashboard open on all addresses; give them"
            )
        for command in cluster.commands(place):
            if not re.search(r"\bray start\b", command):
                continue
            if not re.search(r"\bRAY_AUTH_MODE=['\"]?token\b", command.partition("ray start")[0]):
                yield (
                    f"{place}: `ray start` without a token; whoever reaches Ray runs code on every node; "
                    "export RAY_AUTH_MODE=token in the same command"
                )
            host = option(command, "dashboard-host")
            if host is not None and host not in {"127.0.0.1", "localhost", "::1"}:
                yield (
                    f"{place}: the dashboard listens on {host}; "
                    "--dashboard-host=127.0.0.1, and `ray dashboard` leads there"
                )
