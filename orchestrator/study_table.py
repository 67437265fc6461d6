"""The study's kind of table: a row a config, with what varies, its scores, and what it takes of the baseline's time."""

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from model.encoder_files import MINILM_SHA256
from model.table_file import escaped
from orchestrator.finished import Finished, number, words
from orchestrator.leaderboard import OTHER_TASKS
from orchestrator.show import MINILM_NOTE

NOTHING = "-"
"""In a cell that has no value."""
OWN_BEST = "own best (epoch)"
FRESH = ("fresh mean", "fresh sd", "confirmed", "fresh seeds")
"""What a confirmation gives: its mean over fresh seeds with its spread, and its verdict with their number."""


@dataclass(frozen=True, kw_only=True)
class StudyTable:
    """Cells as they are read, whatever they are written on."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: frozenset[int]
    """Columns of words; numbers are aligned to the right."""
    under: Mapping[int, int]
    """Column to one that may stand under it: a task's score to its own best, a mean to its spread."""
    best: frozenset[tuple[int, int]]
    """Row and column of the highest scores of a column."""
    baseline: int | None
    """The baseline's row."""
    notes: Sequence[str]

    def first(self, rows: int) -> "StudyTable":
        """Return the table with so many rows at most, and a note that says so."""
        if len(self.rows) <= rows:
            return self
        kept = [*range(rows)]
        if self.baseline is not None and self.baseline >= rows:
            kept[-1] = self.baseline
        return StudyTable(
            title=self.title,
            columns=self.columns,
            rows=[self.rows[row] for row in kept],
            left=self.left,
            under=self.under,
            best=frozenset((kept.index(row), column) for row, column in self.best if row in kept),
            baseline=None if self.baseline is None else kept.index(self.baseline),
            notes=[f"{rows} of {len(self.rows)} rows.", *self.notes],
        )


def study_table(sweep: Finished, *, by_rank: bool = False) -> StudyTable:
    """Return the table of a sweep: a list's configs in its own order unless they go by rank, a space's by rank."""
    tasks = [
        (task.name, f"{task.name} r" if task.metric == "pearson" else task.name) for task in sweep.plan.task_list()
    ]
    rows = sweep.rows
    if sweep.plan.configs and not by_rank:
        rows = sorted(rows, key=lambda row: row["trial"])
    of_seeds = ["seeds", "sd"] if sweep.plan.seeds > 1 else []
    fresh = FRESH if any(row.get("confirmed") for row in rows) else ()
    scored = ["best overall", *(title for _, title in tasks)]
    columns = [
        "rank", *sweep.titles, scored[0], *of_seeds, *scored[1:], "epoch",
        *(f"{title} {OWN_BEST}" for _, title in tasks),
        "verdict", *fresh, "score of baseline", "time of baseline", "train seconds", "trainable", "parameters",
    ]  # fmt: skip
    names = [name for name, _ in tasks]
    return StudyTable(
        title=f"{sweep.plan.name}: {escaped(sweep.plan.question)}",
        columns=columns,
        rows=[_cells(sweep, row, names, seeds=bool(of_seeds), fresh=bool(fresh)) for row in rows],
        left=frozenset({*_of_words(sweep, rows), *(columns.index(n) for n in ("verdict", *fresh[2:3]))}),
        under={
            columns.index(above): columns.index(below)
            for above, below in [
                *((title, f"{title} {OWN_BEST}") for _, title in tasks),
                *zip(fresh[::2], fresh[1::2], strict=True),
                *((scored[0], spread) for spread in of_seeds[1:]),
                ("score of baseline", "time of baseline"),
                ("trainable", "parameters"),
            ]
        },
        best=frozenset(
            (place, columns.index(title))
            for title, values in {
                title: [number(_overall(row) if name == "best" else row.get(name)) for row in rows]
                for title, name in zip(scored, ("best", *names), strict=True)
            }.items()
            for place in _highest(values)
        ),
        baseline=next((place for place, row in enumerate(rows) if row["trial"] == sweep.board["baseline"]), None),
        notes=_notes(sweep),
    )


def _of_words(sweep: Finished, rows: Sequence[Mapping[str, Any]]) -> list[int]:
    """Return the columns of what varies whose values are not all numbers."""
    values = zip(*(sweep.values(row) for row in rows), strict=True)
    return [place for place, column in enumerate(values, start=1) if any(number(value) is None for value in column)]


def _overall(row: Mapping[str, Any]) -> Any:
    """Return a config's best score; none of a config with other tasks, whose score is a mean over other things."""
    return None if row["verdict"] == OTHER_TASKS else row["best"]


def _cells(sweep: Finished, row: Mapping[str, Any], tasks: Sequence[str], *, seeds: bool, fresh: bool) -> list[str]:
    base = sweep.baseline or {}
    # A trial that was stopped early has had less time because of that, and a score of fewer epochs.
    whole = base if row["rank"] else {}
    own = row.get("own_best") or {}
    return [
        str(row["rank"] or NOTHING),
        *(NOTHING if value is None else words(value) for value in sweep.values(row)),
        score_text(_overall(row)),
        *([str(row["seeds"]), NOTHING if _overall(row) is None else score_text(row["seed_sd"])] if seeds else []),
        *(score_text(row.get(task)) for task in tasks),
        str(row["best_epoch"] or NOTHING),
        *(f"{score_text(own[task]['score'])} ({own[task]['epoch']})" if task in own else NOTHING for task in tasks),
        verdict_text(row),
        *(_fresh(row) if fresh else ()),
        _share(row["best"], whole.get("best")),
        _share(row["train_seconds"], whole.get("train_seconds")),
        NOTHING if (seconds := number(row["train_seconds"])) is None else f"{seconds:,.0f}",
        _millions(row["trainable_params"]),
        _millions(sweep.parameters.get(row["trial"])),
    ]


def verdict_text(row: Mapping[str, Any]) -> str:
    """Return what is said of a config: its verdict, or how it ended."""
    if row["state"] == "failed":
        return escaped(f"failed: {row.get('failure') or 'unknown'}")
    return "stopped early" if row["state"] == "pruned" else str(row["verdict"] or NOTHING)


def _fresh(row: Mapping[str, Any]) -> list[str]:
    """Return what fresh seeds say of a config, as FRESH has it; nothing of one that was not confirmed."""
    if not row.get("confirmed"):
        return [NOTHING] * len(FRESH)
    return [
        score_text(row["confirm_mean"]),
        score_text(row["confirm_sd"]),
        str(row["confirmed"]),
        str(row["confirm_seeds"]),
    ]


def _highest(values: Sequence[float | None]) -> list[int]:
    known = [value for value in values if value is not None]
    return [place for place, value in enumerate(values) if len(known) > 1 and value == max(known)]


def _notes(sweep: Finished) -> list[str]:
    """Return what a reader has to know of the numbers."""
    seeds = sweep.plan.seeds
    said = [
        "Scores stand at the epoch of the best overall dev score"
        + (f", means over {seeds} seeds; the epoch is the first seed's" if seeds > 1 else "")
        + "; own best: each task's over all epochs"
        + (", of the mean over the seeds at one epoch" if seeds > 1 else "")
        + ", with its epoch"
        + (" (scores, each seed's at its own best epoch, may be above it)" if seeds > 1 else "")
        + ". Time is of training alone, by the clock: "
        "trials beside each other slow each other."
    ]
    if any(row.get("confirmed") for row in sweep.rows):
        said.append("Fresh: on seeds that the search has not seen; the search's own scores are in none of these means.")
    if sweep.baseline is None:
        said.append("The baseline did not complete: nothing is compared with it.")
    if sweep.plan.encoder.get("weights") == MINILM_SHA256:
        said.append(MINILM_NOTE)
    return said


def markdown(table: StudyTable) -> str:
    """Return the table as Markdown, under its title."""
    rules = [":---" if place in table.left else "---:" for place in range(len(table.columns))]
    lines = [_line(table.columns), _line(rules), *(_line(row) for row in table.rows)]
    return "\n".join([f"### {_plain(table.title)}", "", *lines, "", *(_plain(note) for note in table.notes)])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(_plain(cell) for cell in cells)} |"


def _plain(text: str) -> str:
    """Return a text that Markdown shows as it is."""
    return re.sub(r"([\\`*\[\]|])", r"\\\1", html.escape(text, quote=False))


def score_text(value: Any) -> str:
    """Return a score as people write it."""
    known = number(value)
    return NOTHING if known is None else f"{known:.4f}"


def _share(value: Any, whole: Any) -> str:
    part, all_of_it = number(value), number(whole)
    return NOTHING if part is None or not all_of_it else f"{100 * part / all_of_it:.0f} %"


def _millions(value: Any) -> str:
    known = number(value)
    return NOTHING if known is None else f"{known / 1e6:.1f} M"
