"""A cluster file of `ray up`, read as data: no tags that make objects, no keys given twice, no endless aliases."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from orchestrator.errors import SweepError

MAX_BYTES = 1_000_000
MAX_VALUES = 100_000
"""With every alias written out: a few lines of aliases to aliases stand for billions."""
EXAMPLE = "0123456789abcdef0"
"""What stands in ray_cluster.yaml in the place of an id of one's own account."""


class _Loader(yaml.SafeLoader):
    """Refuses a key that is given twice: YAML would keep the last and say nothing."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:  # Any: as PyYAML declares it
        """Return the mapping, each of whose keys stands once; what `<<` merges in may be given again."""
        node = super().compose_mapping_node(anchor)
        assert isinstance(node, yaml.MappingNode)
        seen: dict[str, yaml.Node] = {}
        for key, _ in node.value:
            if key.value in seen and isinstance(key, yaml.ScalarNode):
                first = seen[key.value].start_mark.line + 1
                raise yaml.MarkedYAMLError(
                    problem=f"{key.value!r} is given twice (first in line {first})", problem_mark=key.start_mark
                )
            if isinstance(key, yaml.ScalarNode):
                seen[key.value] = key
        return node


@dataclass(frozen=True)
class Written:
    """A cluster file: what it says, and how that is written."""

    cluster: dict[str, Any]
    text: str
    root: yaml.MappingNode
    """Its nodes, with what `<<` merges in written out."""


def read_cluster(path: Path) -> dict[str, Any]:
    """Return what the file says. Raises SweepError with one line where it is not a cluster file of `ray up`."""
    return read_written(path).cluster


def read_written(path: Path) -> Written:
    """Return what the file says, and how. Raises SweepError as read_cluster."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SweepError(f"{path}: cannot be read ({error.strerror})") from error
    if len(content) > MAX_BYTES:
        raise SweepError(f"{path}: {len(content)} bytes; a cluster file has a few thousand")
    try:
        text = content.decode("utf-8")
        loader = _Loader(text)
        node = loader.get_single_node()
        _refuse_others(path, node)
        if node is not None and _values(node, {}) > MAX_VALUES:
            raise SweepError(f"{path}: its aliases stand for more than {MAX_VALUES} values; write them out")
        cluster = None if node is None else loader.construct_document(node)
    except UnicodeDecodeError as error:
        raise SweepError(f"{path}: byte {error.start} is not UTF-8") from error
    except yaml.YAMLError as error:
        raise SweepError(_line(path, error)) from error
    if not isinstance(cluster, dict) or not isinstance(node, yaml.MappingNode):
        raise SweepError(
            f"{path}: holds {'nothing' if cluster is None else type(cluster).__name__}; expected a cluster file"
        )
    return Written(cluster, text, node)


def _refuse_others(path: Path, node: yaml.Node | None) -> None:
    """Raise SweepError where it is a file for another program, whose tags may be unknown here."""
    pairs = node.value if isinstance(node, yaml.MappingNode) else ()
    says = {key.value: value for key, value in pairs if isinstance(key, yaml.ScalarNode)}
    if "apiVersion" in says and isinstance(says.get("kind"), yaml.ScalarNode):
        raise SweepError(
            f"{path}: is a {says['kind'].value} for Kubernetes; expected a file for `ray up`; "
            "kubectl apply --dry-run=server checks that"
        )
    if "AWSTemplateFormatVersion" in says or ("Resources" in says and "provider" not in says):
        raise SweepError(
            f"{path}: is a template of CloudFormation; expected a file for `ray up`; "
            f"aws cloudformation validate-template --template-body file://{path} checks that"
        )


def _line(path: Path, error: yaml.YAMLError) -> str:
    """Return a YAML error as one line."""
    mark = getattr(error, "problem_mark", None)
    problem = str(getattr(error, "problem", None) or error).splitlines()[0]
    advice = "; YAML is indented with spaces" if r"\t" in problem else ""
    return f"{path}:{mark.line + 1 if mark is not None else 1} {problem}{advice}"


def _values(node: yaml.Node, known: dict[int, int]) -> int:
    """Return how many values a node stands for, aliases written out. Raises YAMLError where it holds itself."""
    if id(node) in known:
        if known[id(node)] == 0:
            raise yaml.MarkedYAMLError(problem="an alias stands within what it names", problem_mark=node.start_mark)
        return known[id(node)]
    known[id(node)] = 0
    children: Iterator[yaml.Node] = iter(())
    if isinstance(node, yaml.MappingNode):
        children = (part for pair in node.value for part in pair)
    elif isinstance(node, yaml.SequenceNode):
        children = iter(node.value)
    known[id(node)] = 1 + sum(_values(child, known) for child in children)
    return known[id(node)]


def texts(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Return every string of a cluster file with where it stands, as `provider.region`."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from texts(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from texts(inner, f"{path}[{number}]")


def left_to_edit(cluster: Mapping[str, Any]) -> list[str]:
    """Return the values that are still the example's, each once, with the first place that holds it."""
    found: dict[str, str] = {}
    for path, text in texts(cluster):
        if EXAMPLE in text:
            found.setdefault(text.split()[-1], path)
    return [f"{path}: {value} is the example's; put your own there" for value, path in found.items()]
