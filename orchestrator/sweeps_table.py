"""Finished sweeps beside each other: a row a sweep, with its best, and what fresh seeds and the test set say of it."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from model.encoder_files import MINILM_SHA256
from model.table_file import escaped
from orchestrator.against import require_same_measure
from orchestrator.errors import collected
from orchestrator.finished import Finished, number
from orchestrator.plan import Plan
from orchestrator.redaction import redacted
from orchestrator.show import MINILM_NOTE
from orchestrator.study_table import NOTHING, StudyTable, score_text, verdict_text

WORDS = frozenset({"sweep", "question", "verdict", "confirmed", "test", "encoder", "data"})
"""Columns that are aligned to the left."""
NOTE = (
    "Best is the highest of a sweep's configs, and so too high on average; expected is what new data may bring, fresh "
    "its mean over seeds that the search has not seen. Train seconds are of all trials of the search, by the clock."
)


def sweeps_table(sweeps: Sequence[Finished]) -> StudyTable:
    """Return a row a sweep, in the order given; a column that none of them has anything for is left out."""
    rows = [_cells(sweep) for sweep in sweeps]
    alike = {name for name in ("encoder", "data") if len({_what(sweep.plan, name) for sweep in sweeps}) == 1}
    columns = [
        name
        for name in (
            "sweep", "question", "configs", "seeds", "baseline", "best", "verdict", "expected", "fresh mean",
            "fresh seeds", "confirmed", "test", "train seconds", "encoder", "data",
        )
        if name not in alike and any(name in row for row in rows)
    ]  # fmt: skip
    return StudyTable(
        title=f"{len(sweeps)} sweeps beside each other",
        columns=columns,
        rows=[[row.get(name, NOTHING) for name in columns] for row in rows],
        left=frozenset(place for place, name in enumerate(columns) if name in WORDS),
        under={},
        best=frozenset(),
        baseline=None,
        notes=_notes(sweeps),
    )


def _cells(sweep: Finished) -> dict[str, str]:
    """Return a sweep's cells by their columns; none of what was not done, a confirmation or the test."""
    plan, test = sweep.plan, sweep.board.get("test")
    best: Mapping[str, Any] = next((row for row in sweep.rows if row["rank"] == 1), {})
    seconds = sum(number(row["train_seconds"]) or 0.0 for row in sweep.board["trials"])
    cap = f", {most} dev examples a task" if (most := plan.data.get("max_dev_examples")) else ""
    found = {
        "sweep": plan.name,
        "question": escaped(plan.question),
        "configs": str(len(sweep.rows)),
        "seeds": str(plan.seeds),
        "baseline": score_text((sweep.baseline or {}).get("best")),
        "best": score_text(best.get("best")),
        "verdict": verdict_text(best) if best else NOTHING,
        "expected": score_text(best.get("expected")),
        "train seconds": f"{seconds:,.0f}",
        "encoder": escaped(redacted(str(plan.encoder.get("name", NOTHING)))),
        "data": escaped(redacted(str(plan.data.get("source", NOTHING)))) + cap,
    }
    if best.get("confirmed"):
        found |= {"fresh mean": score_text(best["confirm_mean"]), "fresh seeds": str(best["confirm_seeds"])}
        found["confirmed"] = str(best["confirmed"])
    if test and test["rows"]:
        found["test"] = f"{score_text(test['rows'][0]['mean'])} ({test['rows'][0]['who']})"
    return found


def _what(plan: Plan, name: str) -> str:
    """Return what makes two sweeps' encoders, or data, the same."""
    if name == "encoder":
        return str(plan.encoder.get("weights"))
    return str([sorted(plan.data.get("content", {}).items()), plan.data.get("max_dev_examples")])


def _notes(sweeps: Sequence[Finished]) -> list[str]:
    said, problems = [NOTE], list[str]()
    for other in sweeps[1:]:
        collected(partial(require_same_measure, sweeps[0].plan, other.plan), problems)
    if problems:
        said.append(f"Scores on other dev data or of other tasks are not comparable: {'; '.join(problems)}.")
    for sweep in sweeps:
        times = (sweep.board.get("test") or {}).get("openings", 0)
        if times > 1:
            said.append(f"{sweep.plan.name}: the test data were opened {times} times.")
    if any(sweep.plan.encoder.get("weights") == MINILM_SHA256 for sweep in sweeps):
        said.append(MINILM_NOTE)
    return said
