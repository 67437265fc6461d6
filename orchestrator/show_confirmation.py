"""What a person reads of a confirmation: before it, after it, and of the test set."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from evidence.confirm import settles
from evidence.confirmations import share
from model.config import flatten
from orchestrator.confirmation import UNSTABLE, Asked, champion_row
from orchestrator.plan import Plan, shown
from orchestrator.progress import clock_text, interval_text, value_text, varied_text
from orchestrator.resources import Machine
from orchestrator.tables import Fitting, titles

LEADER = "leader"
"""The best candidate of a confirmation without a winner."""


def header(plan: Plan, asked: Asked, at_once: int, machine: Machine) -> str:
    """Return what is confirmed, on how many seeds, and whether so many can settle anything."""
    last = asked.first_seed + asked.seeds - 1
    numbers = ", ".join(f"{number:04d}" for number in asked.candidates)
    return (
        f"{plan.name}  confirmation of trial{'s' * (len(asked.candidates) > 1)} {numbers} and the baseline\n"
        f"  fresh seeds {asked.first_seed} to {last}, a round a seed, until every verdict is settled\n"
        f"  {machine.where} · {at_once} at once\n"
        f"  note  {_note(asked)}"
    )


def _note(asked: Asked) -> str:
    """Return how large a lead so many seeds can settle, as far as the search tells."""
    if asked.known is None:
        return "the search tells nothing of the seeds' noise: how large a lead these can settle shows after the second"
    lead = settles(
        asked.seeds,
        asked.known,
        len(asked.candidates) - 1,
        alpha=share(asked.searched),
        example_error=asked.example_error,
    )
    if lead == float("inf"):
        return f"so few seeds (--seeds {asked.seeds}) settle nothing, however large"
    return f"by the noise of the search, {_seeds(asked.seeds)} can settle leads of about {lead:.3f} and more"


def _seeds(number: int, kind: str = "") -> str:
    return f"{number} {kind}seed{'s' * (number > 1)}"


def final(console: Console, plan: Plan, result: Mapping[str, Any], more: Sequence[str], file: Path) -> None:
    """Print the table of means over fresh seeds, what it says, and `more`: who is champion, and the test set."""
    console.print()
    console.print(_table(plan, result))
    console.print()
    for line in [*sentences(plan.varies, result), *more]:
        console.print(line, soft_wrap=True)
    console.print(f"table        {file}", soft_wrap=True)


def _table(plan: Plan, result: Mapping[str, Any]) -> Fitting:
    tasks = [task.name for task in plan.ranked_tasks()]
    varied = titles(plan.varies, tasks)
    columns = ["trial", "mean", "sd", "seeds", "difference", "95 % jointly", "verdict", *tasks, *varied, "time"]
    rows = []
    for row in result["rows"]:
        config = shown(plan, row["config"])
        rows.append(
            [
                "baseline" if row["is_baseline"] else f"{row['search_trial']:04d}",
                _score(row["mean"]),
                _score(row["sd"]),
                str(row["seeds"]),
                _signed(row["difference"]),
                "-" if row["is_baseline"] else interval_text(row["difference_low"], row["difference_high"]),
                row["verdict"] or "-",
                *(_score(row[task]) for task in tasks),
                *(value_text(config.get(path, "")) for path in plan.varies),
                clock_text(row["train_seconds"]),
            ]
        )
    return Fitting(columns, rows, [["time"], tasks, ["sd"], ["95 % jointly"]], left=["trial"])


def of_board(board: Mapping[str, Any]) -> list[str]:
    """Return what a leaderboard tells of the sweep's confirmation and its test set; nothing where there is neither."""
    found = board.get("confirmation")
    told = [*sentences(board["varies"], found), *_champion(found)] if found else []
    return [*told, *test_lines(board.get("test"))]


def _champion(result: Mapping[str, Any]) -> list[str]:
    """Return who came out of the confirmation as champion; whether an earlier one stays only MLflow knows."""
    row = champion_row(result)
    if row is None:
        return []
    who = (
        "the baseline, for nothing was shown to be better" if row["is_baseline"] else f"trial {row['search_trial']:04d}"
    )
    return [f"Champion of this confirmation: {who}; {row['mean']:.4f} over {row['seeds']} fresh seeds."]


def sentences(varies: Sequence[str], result: Mapping[str, Any]) -> list[str]:
    """Return what a confirmation says: of each candidate, and what it cost."""
    base = next((row for row in result["rows"] if row["is_baseline"]), None)
    if base is None or base["mean"] is None:
        return ["The baseline completed on no fresh seed: nothing is confirmed."]
    said = [sentence(varies, row) for row in result["rows"] if not row["is_baseline"]]
    failed = [number for row in result["rows"] for number in row["failed"]]
    if failed:
        said.append(
            f"Failed on fresh seeds: {', '.join(f'{number:04d}' for number in failed)}; their pairs are left out."
        )
    each = f", {result['spent_a_decision']:,.0f} a verdict" if result["spent_a_decision"] is not None else ""
    said.append(
        f"{result['decided']} of {result['candidates']} settled with {result['spent']:,.0f} {result['unit']}{each}; "
        "the search's own scores are in none of these means."
    )
    return said


def sentence(varies: Sequence[str], row: Mapping[str, Any]) -> str:
    """Return what fresh seeds say of one candidate."""
    varied = varied_text(varies, flatten(row["config"]))
    who = f"Trial {row['search_trial']:04d}" + (f" ({varied})" if varied else "")
    if row["difference"] is None and row["verdict"] == UNSTABLE:
        return f"{who} diverged on a fresh seed, has none to compare, and is no candidate any more."
    if row["difference"] is None:
        return f"{who} shares no completed fresh seed with the baseline: nothing is known of it."
    range_ = interval_text(row["difference_low"], row["difference_high"])
    over = _seeds(row["paired_seeds"], "fresh ")
    found = {
        "better": "is better than the baseline",
        "worse": "is worse than the baseline",
        "undecided": "is not shown to differ from the baseline",
        UNSTABLE: "diverged on a fresh seed and is no candidate any more",
    }[row["verdict"]]
    chosen = row["verdict"] in ("better", "worse")  # of those alone that are so far from zero
    early = "; being settled, it is too far from zero on average" if chosen else ""
    return f"{who} {found}: {row['difference']:+.4f} over {over} ({range_}){early}."


def test_lines(test: Mapping[str, Any] | None) -> list[str]:
    """Return what the test set said, and how often it was opened; nothing while it is sealed."""
    if test is None:
        return []
    rows: Sequence[Mapping[str, Any]] = test["rows"]
    scores = _scored(rows)
    times = test["openings"]
    said = [f"Scored before, at {each['opened']}: {_scored(each['rows'])}." for each in test.get("earlier", ())]
    said.append(
        f"Test set ({test['examples']:,} examples, sha256 {test['test_set'][:12]}), opened {test['opened']}: {scores}."
    )
    if len(rows) == 2:
        who = f"the {rows[0]['who']}, trial {rows[0]['trial']:04d}"
        if rows[0]["who"] == LEADER:
            who += " (the best candidate, which was not shown to be better)"
        side = "above" if test["difference"] >= 0 else "below"
        said.append(
            f"There {who} is {abs(test['difference']):.4f} {side} the baseline "
            f"({interval_text(test['difference_low'], test['difference_high'])}): {test['verdict']}."
        )
    if times > 1:
        said.append(f"These test data were opened {times} times: no fair test of what was chosen after the first.")
    return said


def _scored(rows: Sequence[Mapping[str, Any]]) -> str:
    return "; ".join(f"{row['who']} {row['mean']:.4f} (mean of {row['seeds']} seeds)" for row in rows)


def _score(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.4f}"
