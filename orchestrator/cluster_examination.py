"""What the doctor finds in a cluster file of `ray up`: all that is wrong at once, a line each; no cloud is asked.

Whether there are credentials to ask it with is a note: a file can be right on a machine that has none.
"""

from collections.abc import Iterator
from pathlib import Path

from orchestrator import cluster_checks
from orchestrator.cloud_access import cloud_access
from orchestrator.cluster_file import left_to_edit, read_cluster
from orchestrator.cluster_schema import refusal, schema_problems
from orchestrator.errors import BAD_INPUT, SweepError
from orchestrator.examination import Finding


def examine_cluster(path: Path) -> Iterator[Finding]:
    """Make the checks in order: what Ray says, what it does not look at, and what is still to be filled in."""
    try:
        cluster = read_cluster(path)
    except SweepError as error:
        yield Finding("cluster file", str(error).split("\n"), BAD_INPUT, error)
        return
    ours = cluster_checks.problems(cluster)
    wrong = schema_problems(cluster)
    if not wrong and not ours["counts"]:  # else Ray would say the same again, the first of it alone
        wrong = refusal(cluster)
    yield _finding("Ray's schema", wrong)
    for name, lines in ours.items():
        yield _finding(name, lines)
    if lacking := cloud_access(cluster):
        yield Finding("credentials", lacking, note=True)
    if left := left_to_edit(cluster):
        yield Finding("to edit", left, note=True)


def _finding(name: str, wrong: list[str]) -> Finding:
    return Finding(name, wrong, BAD_INPUT) if wrong else Finding(name, ["nothing wrong"])
