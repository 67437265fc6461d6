"""A finished sweep as its report needs it, from OUT/NAME: plan, leaderboard, and what each trial's verdict adds."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from model.table_file import escaped
from orchestrator.errors import SweepError
from orchestrator.leaderboard import JUDGED
from orchestrator.named import require_sweep
from orchestrator.paths import SweepPaths
from orchestrator.plan import Plan, read_plan, shown
from orchestrator.progress import value_text
from orchestrator.tables import titles
from orchestrator.trial_files import read_verdict

COLUMNS = ("rank", "trial", "state", "config", "best", "best_epoch", "train_seconds", "trainable_params")
"""Of every row of the leaderboard."""
OF_CONFIGS = ("trials", "seeds", "seed_sd", *JUDGED)
"""Of the rows of configs, beside these."""


@dataclass(frozen=True, kw_only=True)
class Finished:
    """One sweep with all its trials behind it."""

    plan: Plan
    paths: SweepPaths
    board: Mapping[str, Any]
    """As leaderboard.json has it."""
    histories: Mapping[int, Sequence[Mapping[str, Any]]]
    """Trial to its epochs; empty where its folder is gone."""
    parameters: Mapping[int, int]
    """Trial to the parameters of the whole model, where its verdict knows them."""

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Return the leaderboard's rows: a config each, the best first."""
        return list(self.board["rows"])

    @property
    def baseline(self) -> dict[str, Any] | None:
        """Return the baseline's row where it completed."""
        return next((row for row in self.rows if row["rank"] and row["trial"] == self.board["baseline"]), None)

    @property
    def titles(self) -> list[str]:
        """Return what varies, as columns' titles."""
        return [escaped(title) for title in titles(self.plan.varies, [task["name"] for task in self.plan.tasks])]

    def values(self, row: Mapping[str, Any]) -> list[Any]:
        """Return a config's values of what varies; None where it has no such parameter."""
        config = shown(self.plan, row["config"])
        return [config.get(path) for path in self.plan.varies]

    def differing(self, rows: Sequence[Mapping[str, Any]]) -> list[str]:
        """Return of each config what varies with its values, but for what is the same in all of these."""
        values = [self.values(row) for row in rows]
        places = [place for place in range(len(self.titles)) if any(each[place] != values[0][place] for each in values)]
        return [
            ", ".join(f"{self.titles[place]} {words(each[place])}" for place in places if each[place] is not None)
            for each in values
        ]

    def label(self, row: Mapping[str, Any]) -> str:
        """Return a config in words: what varies, with its values."""
        pairs = zip(self.titles, self.values(row), strict=True)
        said = [f"{title} {words(value)}" for title, value in pairs if value is not None]
        return ", ".join(said) or f"trial {row['trial']:04d}"


def words(value: Any) -> str:
    """Return a config's value on one line."""
    return escaped(value_text(value))


def number(value: Any) -> float | None:
    """Return a number that is one; None for what is missing, or not finite."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def read_finished(paths: SweepPaths) -> Finished:
    """Return a sweep that has run to its end. Raises SweepError where there is none, or it is not whole."""
    require_sweep(paths.name, paths.out)
    plan = read_plan(paths.plan)
    board = _read_board(paths, plan)
    verdicts = {row["trial"]: read_verdict(paths.trial(row["trial"])) or {} for row in board["trials"]}
    return Finished(
        plan=plan,
        paths=paths,
        board=board,
        histories={trial: list(verdict.get("history") or ()) for trial, verdict in verdicts.items()},
        parameters={trial: int(said["parameters"]) for trial, said in verdicts.items() if said.get("parameters")},
    )


def _read_board(paths: SweepPaths, plan: Plan) -> dict[str, Any]:
    again = "run the same sweep command again, it goes on"
    try:
        board: dict[str, Any] = json.loads(
            paths.leaderboard.read_text(encoding="utf-8"),
            parse_constant=lambda _: None,  # NaN is no score
        )
        problem = _problem(board, plan)
    except FileNotFoundError:
        ended = len(list(paths.root.glob("trials/*/verdict.json")))
        raise SweepError(
            f"{paths.root}: is not finished: {ended} of {plan.trials} trials have ended, and no leaderboard.json is "
            f"there; {again}"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        problem = f"{type(error).__name__}: {escaped(str(error))}"
    if problem:
        raise SweepError(
            f"{paths.leaderboard}: is damaged or of another version ({problem}); the same sweep command writes it anew"
        )
    ended = sum(row["state"] != "running" for row in board["trials"])
    if ended < plan.trials:
        raise SweepError(f"{paths.root}: is not finished: {ended} of {plan.trials} trials have ended; {again}")
    if not any(row["best"] is not None for row in board["rows"]):
        failed = next((row for row in board["rows"] if row.get("error")), None)
        why = f"; trial {failed['trial']:04d} {failed['failure']}: {failed['error']}" if failed else ""
        raise SweepError(
            f"{paths.root}: no table can be made: none of its {plan.trials} trials has a score{why}; mend that, and "
            f"run the sweep again with --new"
        )
    return board


def _problem(board: Any, plan: Plan) -> str | None:
    """Return what is wrong with a leaderboard."""
    if board["sweep"] != plan.name:
        return f"it is of sweep {board['sweep']!r}"
    if not board["rows"] or not board["trials"]:
        return "it has no rows"
    tasks = {task["name"] for task in plan.tasks}
    for rows, columns in ((board["rows"], (*COLUMNS, *OF_CONFIGS)), (board["trials"], COLUMNS)):
        for row in rows:
            needed = (*columns, *(task for task in row["config"]["tasks"] if task in tasks))
            if lacking := [column for column in needed if column not in row]:
                return f"a row has no {', '.join(lacking)}"
    of_configs = {trial for row in board["rows"] for trial in row["trials"]}
    return None if of_configs == {row["trial"] for row in board["trials"]} else "its rows are of other trials"
