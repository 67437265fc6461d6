"""The values of EC2's RunInstances in a `node_config`: what it would refuse at once, lists, mappings, ids, markets."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.aws_fields import KNOWN, OF_RAY, Fields

LISTS = {
    "BlockDeviceMappings", "ElasticGpuSpecification", "ElasticInferenceAccelerators", "Groups", "Ipv4Prefixes",
    "Ipv6Addresses", "Ipv6Prefixes", "LicenseSpecifications", "MetricCategoryIds", "NetworkInterfaces",
    "PrivateIpAddresses", "SecondaryInterfaces", "SecurityGroupIds", "SecurityGroups", "SubnetIds",
    "TagSpecifications", "Tags",
}  # fmt: skip
"""The fields that are lists, as of botocore 1.44.8; no other field has the name of one."""
IDS = {"ImageId": "ami", "SubnetId": "subnet", "SubnetIds": "subnet", "SecurityGroupIds": "sg", "Groups": "sg"}
"""Field: how an id in it begins; 8 or 17 hexadecimal digits follow."""
OTHER_IMAGES = re.compile(r"(resolve:ssm:\S+|latest_dlami)?", re.IGNORECASE)
"""What stands for an image's id: AWS's word, and Ray's; none is told as missing."""
MARKETS = ("spot", "capacity-block", "interruptible-capacity-reservation", "on-demand")
ALL: Fields = {**KNOWN, **{name: {} for name in OF_RAY}}


def wrong_values(node_config: Mapping[str, Any]) -> list[str]:
    """Return a line for each value that is not of its field's form. Misspelt fields are unknown_fields' to tell."""
    return list(_within(node_config, ALL, ""))


def _within(given: Mapping[str, Any], known: Fields, path: str) -> Iterator[str]:
    for name, value in given.items():
        if name not in known or value is None:
            continue
        if line := _form(str(name), value, known[name]):
            yield f"{path}{name}: {line}"
            continue
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, Mapping):
                yield from _within(one, known[name], f"{path}{name}.")
            elif line := _content(str(name), one, known[name]):
                yield f"{path}{name}: {line}"


def _form(name: str, value: Any, inner: Fields) -> str:
    """Return what is wrong with it as a whole: a list that is none, and the other way round."""
    if name in LISTS and not isinstance(value, list):
        return f"{_short(value)} is no list; expected one in brackets, as [{_expected(name, inner)}]"
    if name == "SubnetIds" and not value:
        return "empty; name a subnet"
    if name not in LISTS and isinstance(value, list):
        return f"{_short(value)} is a list; expected {_expected(name, inner)}"
    if isinstance(value, Mapping) and not inner:
        return f"{_short(value)} is a mapping; expected {_expected(name, inner)}"
    return ""


def _content(name: str, value: Any, inner: Fields) -> str:
    """Return what is wrong with one value, or one of a list."""
    if inner:
        return f"{_short(value)} is no mapping; expected {_expected(name, inner)}"
    if name == "MarketType" and value not in MARKETS:
        return f"{_short(value)} is no market; expected spot, or no InstanceMarketOptions for on demand"
    if name in IDS and not re.fullmatch(rf"{IDS[name]}-([0-9a-f]{{8}}|[0-9a-f]{{17}})", str(value)):
        known = name == "ImageId" and OTHER_IMAGES.fullmatch(str(value))
        return "" if known else f"{_short(value)} is no such id; expected {IDS[name]}- and 8 or 17 hexadecimal digits"
    return ""


def _expected(name: str, inner: Fields) -> str:
    """Return what a value looks like."""
    if inner:
        return f"{{{', '.join(sorted(inner)[-2:])}{'' if len(inner) < 3 else ', ...'}}}, each with its value"
    return f"{IDS[name]}-..." if name in IDS else "one value"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
