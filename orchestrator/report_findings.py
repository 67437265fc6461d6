"""The report's sections on evidence: what fresh seeds and the test set say, what matters, what sharing does."""

import html
from collections.abc import Mapping, Sequence
from typing import Any

from evidence.confirm import Outcome
from evidence.importance import Finding
from evidence.sharing import Outcome as Sharing
from orchestrator import show_confirmation
from orchestrator.confirmation import alias_said, champion_row
from orchestrator.findings import BARS, Bar, Row, confirmed, effects, shared
from orchestrator.finished import Finished, number
from orchestrator.pictures import NAMED, NO_VERDICT
from orchestrator.report_material import LONGEST_NAME, Report, Section
from orchestrator.sentences import on_sharing
from orchestrator.tables import titles

CONFIRMED_MARKS = {
    "baseline": "baseline",
    Outcome.BETTER: "better",
    Outcome.WORSE: "worse",
    Outcome.UNDECIDED: "tied",
}
SHARING_MARKS = {
    Sharing.HELPED: "better",
    Sharing.TENTATIVELY_HELPED: "tentatively better",
    Sharing.NOISE: "tied",
    Sharing.TENTATIVELY_HURT: "tentatively worse",
    Sharing.HURT: "worse",
}
"""A verdict's mark in a figure, a key of pictures.MARKS."""


def fresh_seeds(report: Report) -> Section | None:
    """Return what the confirmation found, and the test set where it was opened."""
    board = report.sweep.board
    result, test = board.get("confirmation"), board.get("test")
    if not result or not result["rows"]:
        return None
    rows = _confirmed_rows(report.sweep, result)
    said = [*show_confirmation.sentences(board["varies"], result), *champion(report.sweep)]
    return Section(
        title="Confirmed on fresh seeds",
        says="The best configs and the baseline, trained again on seeds that the search has not seen. A square is what "
        "the search itself found: of a candidate it is one of the best of many, and so too high on average.",
        figure=confirmed(rows) if any(row.score is not None for row in rows) else None,
        content=_list(said) + (f"<h3>The test set</h3>\n{_list(_on_test(test))}" if test else ""),
    )


def _confirmed_rows(sweep: Finished, result: Mapping[str, Any]) -> list[Row]:
    searched = {row["trial"]: number(row["best"]) for row in sweep.rows}
    base = next((row for row in sweep.rows if row["trial"] == sweep.board["baseline"]), None)
    details = [each if len(each) <= LONGEST_NAME else "" for each in sweep.differing(result["rows"])]
    return [
        Row(
            name="baseline" if row["is_baseline"] else f"trial {row['search_trial']:04d}",
            detail=detail,
            mark=CONFIRMED_MARKS.get(row["verdict"], NO_VERDICT),
            verdict=row["verdict"] or NO_VERDICT,
            score=number(row["mean"]),
            beside=(number(base["best"]) if base else None)
            if row["is_baseline"]
            else searched.get(row["search_trial"]),
            each=[score for each in row["scores"] if (score := number(each)) is not None],
            difference=number(row["difference"]),
            low=number(row["difference_low"]),
            high=number(row["difference_high"]),
        )
        for row, detail in zip(result["rows"], details, strict=True)
    ]


def champion(sweep: Finished) -> list[str]:
    """Say whom the confirmation chose, in a sentence; nothing where there is none."""
    result = sweep.board.get("confirmation")
    row = champion_row(result) if result else None
    if result is None or row is None:
        return []
    kept = [f"{said[0].upper()}{said[1:]}."] if (said := alias_said(result)) else []
    if row["is_baseline"]:
        return ["On fresh seeds the baseline is champion: nothing was shown to be better.", *kept]
    who = f"trial {row['search_trial']:04d}"
    return [f"On fresh seeds {who} is champion ({sweep.label(row)}): it is better than the baseline.", *kept]


def _on_test(test: Mapping[str, Any]) -> list[str]:
    """Say what the test set said, and how often it was opened."""
    once = ["These test data were opened once."] if test["openings"] == 1 else []
    return [*show_confirmation.test_lines(test), *once]


def importance(report: Report) -> Section | None:
    """Return how much each parameter moves the score, beside noise."""
    board = report.sweep.board
    named = dict(zip(board["varies"], titles(board["varies"], ()), strict=True))
    found = [entry for entry in board.get("importances") or () if entry["finding"] in BARS]
    if not found:
        return None
    bars = [
        Bar(
            name=named.get(entry["parameter"], entry["parameter"]),
            effect=number(entry["effect"]) or 0.0,
            floor=number(entry["floor"]) or 0.0,
            finding=entry["finding"],
            says=_on_parameter(named.get(entry["parameter"], entry["parameter"]), entry),
        )
        for entry in found
    ]
    unknown = any(entry["seed_noise_unknown"] for entry in found)
    return Section(
        title="What matters",
        says="How much each parameter moves the dev score: the standard deviation between configs that its values "
        "explain, noise taken out. A bar that does not reach its mark is what noise alone would look like."
        + (" No config was repeated on another seed, so that the marks are too low." if unknown else ""),
        figure=effects(bars),
        content=_list([bar.says for bar in bars]),
    )


def _on_parameter(name: str, entry: Mapping[str, Any]) -> str:
    effect, floor = f"{entry['effect']:.4f}", f"{entry['floor']:.4f}"
    moves = f"{name} moves the score by {effect}, noise alone by up to {floor}"
    return {
        Finding.MATTERS: f"{moves}: it matters.",
        Finding.NOT_APART: f"{moves}; it cannot be told apart from what varies along with it.",
        Finding.NOISE: f"{name} is within noise: {effect}, and noise alone reaches {floor}. A smaller effect may be "
        "there.",
    }[Finding(entry["finding"])]


def sharing(report: Report) -> Section | None:
    """Return each task alone beside shared."""
    board = report.sweep.board
    found = list(board.get("transfer") or ())
    if not found:
        return None
    left_out = len(found) - NAMED
    rows = [
        Row(
            name=pair["task"],
            detail=f"trials {pair['alone']:04d}, {pair['shared']:04d}",
            mark=SHARING_MARKS.get(pair["verdict"], NO_VERDICT),
            verdict=pair["verdict"],
            score=number(pair["shared_score"]),
            beside=number(pair["alone_score"]),
            difference=number(pair["difference"]),
            low=number(pair["low"]),
            high=number(pair["high"]),
        )
        for pair in found[:NAMED]
    ]
    return Section(
        title="Alone and shared",
        says="Each task trained alone, and among others by a config that is otherwise equal; scores in the task's own "
        "metric. All these intervals hold together with 95 % probability."
        + (f" {left_out} more pairs are in leaderboard.json." if left_out > 0 else ""),
        figure=shared(rows),
        content=_list(on_sharing(board)),
    )


def _list(lines: Sequence[str]) -> str:
    """Return sentences, one below the other."""
    return f'<ul class="said">{"".join(f"<li>{html.escape(line)}</li>" for line in lines)}</ul>\n'
