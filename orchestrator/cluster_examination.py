"""What the doctor finds in a cluster file of `ray up`: all that is wrong at once, a line each; no cloud is asked.

Notes are what a file may be right with: on another machine, or for another purpose.
"""

from collections.abc import Iterator
from pathlib import Path

from orchestrator import cluster_checks
from orchestrator.cloud_access import cloud_access
from orchestrator.cluster_edits import still_the_examples
from orchestrator.cluster_file import read_written
from orchestrator.cluster_notes import notes
from orchestrator.cluster_places import origins, told_once
from orchestrator.cluster_schema import refusal, schema_problems
from orchestrator.errors import BAD_INPUT, SweepError
from orchestrator.examination import Finding


def examine_cluster(path: Path) -> Iterator[Finding]:
    """Make the checks in order: what Ray says, what it does not look at, and what is still to be filled in."""
    try:
        written = read_written(path)
    except SweepError as error:
        yield Finding("cluster file", str(error).split("\n"), BAD_INPUT, error)
        return
    cluster, known = written.cluster, origins(written.root)
    ours = cluster_checks.problems(cluster)
    wrong = schema_problems(cluster)
    if not wrong and not ours["counts"]:  # else Ray would say the same again, the first of it alone
        wrong = refusal(cluster)
    for name, lines in {"Ray's schema": wrong, **ours}.items():
        told = told_once(lines, known)
        yield Finding(name, told, BAD_INPUT) if told else Finding(name, ["nothing wrong"])
    to_read = {name: told_once(lines, known) for name, lines in notes(cluster).items()}
    to_read |= {"credentials": cloud_access(cluster), "to edit": still_the_examples(written)}
    yield from (Finding(name, lines, note=True) for name, lines in to_read.items() if lines)
