"""What the name of an EC2 machine says of it: vCPUs by the size, GPUs by family and size. Unknown is None.

The rule of the sizes holds for the 930 types of these families that moto 5.2.5 lists, GPUs are that list's too
(AWS: "Amazon EC2 instance types by accelerated computing").
"""

import re

NAME = re.compile(r"(?P<kind>[a-z]+)(?P<generation>\d+)[a-z0-9-]*\.(?P<size>large|\d*xlarge)")
MODERN = {"c": 5, "m": 5, "r": 5, "t": 3, "g": 4, "gr": 4, "p": 3}
"""Family: the first generation in which an xlarge has 4 vCPUs, and N of them 4 N."""
GPU_MACHINE = re.compile(r"(g|gr|p)\d")
"""The families with GPUs: g4dn, g5, g6, gr6, p4d, p5 and their like; no other begins so."""
UP_TO_EIGHT = {"": 1, "2": 1, "4": 1, "8": 1, "16": 1, "12": 4, "24": 4, "48": 8}
OF_BLACKWELL = {"2": 1, "4": 1, "8": 1, "12": 2, "24": 4, "48": 8}
GPUS = {
    "g4dn": {"": 1, "2": 1, "4": 1, "8": 1, "16": 1, "12": 4}, "g5": UP_TO_EIGHT, "g6": UP_TO_EIGHT, "g6e": UP_TO_EIGHT,
    "gr6": {"4": 1, "8": 1}, "g5g": {"": 1, "2": 1, "4": 1, "8": 1, "16": 2}, "g7": OF_BLACKWELL, "g7e": OF_BLACKWELL,
    "p3dn": {"24": 8}, "p4d": {"24": 8}, "p4de": {"24": 8}, "p5": {"4": 1, "48": 8}, "p5e": {"48": 8},
    "p5en": {"48": 8},
}  # fmt: skip
"""Family: how many GPUs a machine of so many times xlarge has. Those with a part of a GPU (g6f) are left out."""


def has_gpu(machine: str) -> bool:
    """Say whether it is of a family with GPUs."""
    return GPU_MACHINE.match(machine) is not None


def gpus_of(machine: str) -> int | None:
    """Return how many GPUs a machine has, as g5.12xlarge 4."""
    family, _, size = machine.partition(".")
    return GPUS.get(family, {}).get(size.removesuffix("xlarge")) if size.endswith("xlarge") else None


def vcpus_of(machine: str) -> int | None:
    """Return how many vCPUs a machine has by default, as g6.2xlarge 8."""
    name = NAME.fullmatch(machine)
    if name is None or name["kind"] not in MODERN or int(name["generation"]) < MODERN[name["kind"]]:
        return None
    return 2 if name["size"] == "large" else 4 * int(name["size"].removesuffix("xlarge") or 1)
