"""A cluster file by its parts. What is of another type than it should be is taken as empty: the schema tells that."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

CLOUDS = {"aws", "gcp", "azure"}
"""The providers that rent machines."""
HEAD, WORKER = "head_start_ray_commands", "worker_start_ray_commands"
"""The lists of commands that start Ray."""


@dataclass(frozen=True)
class Cluster:
    """A cluster file of any content."""

    file: Mapping[str, Any]

    @cached_property
    def provider(self) -> Mapping[str, Any]:
        """Return the provider's settings."""
        return mapping(self.file.get("provider"))

    @property
    def kind(self) -> str:
        """Return the provider's name."""
        return str(self.provider.get("type", ""))

    @cached_property
    def types(self) -> dict[str, Mapping[str, Any]]:
        """Return the node types by name."""
        return {str(name): mapping(node) for name, node in mapping(self.file.get("available_node_types")).items()}

    @property
    def head(self) -> str:
        """Return the name of the head's type."""
        return str(self.file.get("head_node_type"))

    def machines(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Return where each node type's node_config stands, and what it says."""
        for name, node in self.types.items():
            yield f"available_node_types.{name}.node_config", mapping(node.get("node_config"))

    def commands(self, name: str) -> list[str]:
        """Return a list of shell commands."""
        return strings(self.file.get(name))

    @cached_property
    def command_lists(self) -> dict[str, list[str]]:
        """Return every list of shell commands by its name."""
        return {str(name): self.commands(name) for name in self.file if str(name).endswith("_commands")}


def mapping(value: Any) -> Mapping[str, Any]:
    """Return a mapping, or an empty one in the place of anything else."""
    return value if isinstance(value, Mapping) else {}


def listed(value: Any) -> list[Any]:
    """Return a list, or an empty one in the place of anything else."""
    return value if isinstance(value, list) else []


def strings(value: Any) -> list[str]:
    """Return the strings of a list."""
    return [item for item in listed(value) if isinstance(item, str)]


def option(command: str, name: str) -> str | None:
    """Return what a command gives as an option, without quotation marks; None where it does not."""
    found = re.search(rf"--{name}[ =]['\"]?([^\s'\"]+)", command)
    return found and found[1]


def one_line(text: str) -> str:
    """Return a text whose names of the file's may hold line ends as one line."""
    return " ".join(text.splitlines())


def count(value: Any) -> int | None:
    """Return a whole number, or None in the place of anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None
