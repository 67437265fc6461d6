"""What the report's sections are made from: the sweep, its configs as points, its trials as curves; and what one is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.curves import OVERALL, RATE, Curve
from orchestrator.finished import Finished, number
from orchestrator.pictures import MARKS, NO_VERDICT, Figure, Point

MOST_CURVES = 50
"""Trials whose curves are drawn, the best; the baseline's beside them."""
LONGEST_NAME = 36
"""Characters of what varies that stand at an axis; else the trial's number stands there."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """One part of the report."""

    title: str
    says: str
    """A sentence or two: what there is to see."""
    figure: Figure | None = None
    content: str = ""
    """HTML."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """All that a section may want."""

    sweep: Finished
    verdict: str
    """As the terminal says it, a sentence a line."""
    links: Sequence[tuple[str, str]] = ()
    """What lies where, or is done how: a word, and a path, link or command."""
    points: Sequence[Point] = field(init=False)
    curves: Sequence[Curve] = field(init=False)

    def __post_init__(self) -> None:
        """Take from the sweep what figures show."""
        object.__setattr__(self, "points", _points(self.sweep))
        object.__setattr__(self, "curves", _curves(self.sweep))


def _points(sweep: Finished) -> list[Point]:
    """Return the ranked configs, the best first; their names leave out what all of them share."""
    ranked = [row for row in sweep.rows if row["rank"] and number(row["best"]) is not None]
    return [
        Point(
            rank=row["rank"],
            name=_short(name or sweep.label(row), row),
            label=sweep.label(row),
            best=float(row["best"]),
            low=number(row["ci_low"]),
            high=number(row["ci_high"]),
            verdict=_verdict(row, is_baseline=row["trial"] == sweep.board["baseline"]),
            seconds=number(row["train_seconds"]),
            values=sweep.values(row),
        )
        for row, name in zip(ranked, sweep.differing(ranked), strict=True)
    ]


def _verdict(row: Mapping[str, Any], *, is_baseline: bool) -> str:
    said = "baseline" if is_baseline else row["verdict"]
    return said if said in MARKS else NO_VERDICT


def _short(name: str, row: Mapping[str, Any]) -> str:
    return name if len(name) <= LONGEST_NAME else f"trial {row['trial']:04d}"


def _curves(sweep: Finished) -> list[Curve]:
    """Return the curves of the best trials and of the baseline's, in the order of their numbers."""
    of_config = {trial: row for row in sweep.rows for trial in row["trials"]}
    scored = [row for row in sweep.board["trials"] if number(row["best"]) is not None and sweep.histories[row["trial"]]]
    ranked = sorted(scored, key=lambda row: (row["rank"] is None, -row["best"]))
    chosen = ranked[:MOST_CURVES]
    chosen += [row for row in ranked[MOST_CURVES:] if of_config[row["trial"]]["trial"] == sweep.board["baseline"]]
    return [
        _curve(sweep, row, of_config[row["trial"]], is_best=row is ranked[0])
        for row in sorted(chosen, key=lambda row: row["trial"])
    ]


def _curve(sweep: Finished, row: Mapping[str, Any], config: Mapping[str, Any], *, is_best: bool) -> Curve:
    history = sweep.histories[row["trial"]]
    seed = f", seed {row['config'].get('seed')}" if sweep.plan.seeds > 1 else ""
    values = {
        task["name"]: [number(entry["scores"].get(task["name"])) for entry in history] for task in sweep.plan.tasks
    }
    values[OVERALL] = [number(entry.get("dev_score")) for entry in history]
    values[RATE] = [number(entry.get("learning_rate")) for entry in history]
    return Curve(
        name=_short(sweep.label(config), config) + seed,
        label=sweep.label(config) + seed,
        is_best=is_best,
        is_baseline=config["trial"] == sweep.board["baseline"],
        epochs=[int(entry["epoch"]) for entry in history],
        values=values,
    )
