"""What is still the example's in a cluster file: the ids that nobody has, and values under an EDIT mark as shipped."""

import re
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

import yaml

from orchestrator.cluster_file import EXAMPLE, Written, left_to_edit, read_written
from orchestrator.cluster_places import origins
from orchestrator.errors import SweepError

CHECKOUT = Path(__file__).parents[1]
SHIPPED = {"aws": "ray_cluster.yaml", "gcp": "cluster/gcp.yaml", "local": "cluster/local.yaml"}
"""The example of each provider, in the checkout."""
MARK = re.compile(r"#\s*EDIT\b")


def still_the_examples(written: Written) -> list[str]:
    """Return a line for each value that is to be put in the place of the example's.

    An EDIT mark that is taken away says that the example's value is meant. Without a checkout the ids alone are known.
    """
    lines = left_to_edit(written.cluster)
    provider = written.cluster.get("provider")
    name = SHIPPED.get(str(provider.get("type"))) if isinstance(provider, dict) else None
    if name is None:
        return lines
    try:
        shipped = dict(_marked(read_written(CHECKOUT / name)))
    except SweepError:  # the package alone is installed
        return lines
    told: dict[str, str] = {}
    for place, value in _marked(written):
        again = EXAMPLE in value or place.rpartition(".")[0] in told or not {*told.values()}.isdisjoint(value.split())
        if shipped.get(place) == value and not again:
            told[place] = value
    put = "put your own there, or take the EDIT mark off"
    return lines + [f"{_with_brackets(place)} is the example's, {value}; {put}" for place, value in told.items()]


def _with_brackets(place: str) -> str:
    return re.sub(r"\.(\d+)(?=\.|$)", r"[\1]", place)


def _marked(written: Written) -> Iterator[tuple[str, str]]:
    """Return the values under an EDIT mark with where they stand: one value, or a list of them as `a, b`."""
    lines = set(_marked_lines(written.text.splitlines()))
    for place, origin in origins(written.root).items():
        value = _value(origin.node)
        if origin.place == place and value and origin.line - 1 in lines:
            yield place, value


def _value(node: yaml.Node) -> str:
    if isinstance(node, yaml.ScalarNode):
        return " ".join(str(node.value).split())
    items = node.value if isinstance(node, yaml.SequenceNode) else []
    return ", ".join(item.value for item in items if isinstance(item, yaml.ScalarNode))


def _marked_lines(lines: list[str]) -> Iterator[int]:
    """Return the numbers, from 0, of the lines that a mark is for: its own, or those that follow it as a comment."""
    for number, line in enumerate(lines):
        if MARK.search(line) and not _is_comment(line):
            yield number
        elif MARK.search(line):
            after = next((n for n in range(number + 1, len(lines)) if not _is_comment(lines[n])), len(lines))
            yield from takewhile(lambda n: _is_below(lines[n], line), range(after, len(lines)))  # noqa: B023


def _is_below(line: str, mark: str) -> bool:
    return bool(line.strip()) and not _is_comment(line) and _indent(line) >= _indent(mark)


def _is_comment(line: str) -> bool:
    return line.lstrip().startswith("#")


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())
