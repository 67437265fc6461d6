"""Where the values of a cluster file are written, so that what aliases and merges repeat is told once."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import yaml

TOLD = 4
"""So many places are named, the rest counted."""


@dataclass(frozen=True)
class Origin:
    """Where a value stands in the text."""

    place: str
    """The first that holds it, as `metadata.gpus`; aliases of it are other places."""
    line: int
    """From 1; that of its key, where it has one."""
    node: yaml.Node = field(repr=False, compare=False)


def origins(root: yaml.Node) -> dict[str, Origin]:
    """Return where the value of each place is written, as `a.b.0.c`, and for the first of a list `a.b.c` too."""
    found: dict[str, Origin] = {}
    first: dict[int, Origin] = {}
    for place, line, node in _walk(root, "", root.start_mark.line):
        origin = first.setdefault(id(node), Origin(place, line + 1, node))
        found.setdefault(place, origin)
        found.setdefault(".".join(part for part in place.split(".") if not part.isdigit()), origin)
    return found


def _walk(node: yaml.Node, place: str, line: int) -> Iterator[tuple[str, int, yaml.Node]]:
    yield place, line, node
    children: dict[str, tuple[int, yaml.Node]] = {}  # a key's own value stands after a merged one, and wins
    if isinstance(node, yaml.MappingNode):
        pairs = ((key, value) for key, value in node.value if isinstance(key, yaml.ScalarNode))
        children = {str(key.value): (key.start_mark.line, value) for key, value in pairs}
    elif isinstance(node, yaml.SequenceNode):
        children = {str(number): (value.start_mark.line, value) for number, value in enumerate(node.value)}
    for name, (start, child) in children.items():
        yield from _walk(child, f"{place}.{name}" if place else name, start)


def told_once(lines: Iterable[str], known: dict[str, Origin]) -> list[str]:
    """Return the lines `place: what`, with those that are of one value of the text as one, which says where it is."""
    groups: dict[tuple[Origin | str, str], list[str]] = {}
    for line in lines:
        place, _, what = line.partition(": ")
        groups.setdefault((known.get(place, line), what), []).append(place)
    return [_line(origin, what, places) for (origin, what), places in groups.items()]


def _line(origin: Origin | str, what: str, places: list[str]) -> str:
    if isinstance(origin, str):
        return origin
    more = f" and {len(places) - TOLD} more" if len(places) > TOLD else ""
    line = f"{', '.join(places[:TOLD])}{more}: {what}"
    if len(places) == 1 and origin.place == places[0]:
        return line
    at = f", at {origin.place}" if origin.place not in places else ""
    return f"{line} (written in line {origin.line}{at})"
