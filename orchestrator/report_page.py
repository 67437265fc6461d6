"""The report of a finished sweep: one HTML file with all that it needs in it, plotly.js once, and no network.

Its own content policy forbids every request. What a person wrote, a question or a name, is text and never markup.
"""

import html
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from model.table_file import escaped
from orchestrator.curves import OVERALL, RATE, Curve, panels
from orchestrator.finished import Finished, number
from orchestrator.parallel_axes import parallel
from orchestrator.pictures import NO_VERDICT, Figure, Point, front, score_by_time, scores
from orchestrator.progress import clock_text
from orchestrator.redaction import redacted
from orchestrator.report_style import SCRIPT, STYLE
from orchestrator.show import MINILM_NOTE
from orchestrator.study_table import StudyTable, study_table

MOST_CURVES = 50
"""Trials whose curves are drawn, the best; the baseline's beside them."""
LONGEST_NAME = 36
"""Characters of what varies that stand at an axis; else the trial's number stands there."""
FAILURES_TOLD = 5


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
    """As the terminal has it: a sentence a line."""
    links: Sequence[tuple[str, str]] = ()
    """What lies where, or is done how: a word, and a path, link or command."""
    points: Sequence[Point] = field(init=False)
    curves: Sequence[Curve] = field(init=False)

    def __post_init__(self) -> None:
        """Take from the sweep what figures show."""
        object.__setattr__(self, "points", _points(self.sweep))
        object.__setattr__(self, "curves", _curves(self.sweep))


def page(report: Report) -> str:
    """Return the report as an HTML file's text."""
    from plotly.offline import get_plotlyjs

    sections = [section for make in SECTIONS if (section := make(report)) is not None]
    title = html.escape(f"{report.sweep.plan.name}: {escaped(report.sweep.plan.question)}")
    return "\n".join([
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; script-src \'unsafe-inline\'; '
        "style-src 'unsafe-inline'; img-src data: blob:\">",
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{title}</title>\n<style>{STYLE}</style>\n<script>{get_plotlyjs()}</script>\n</head>\n<body>\n<main>",
        _head(report),
        *(_section(place, section) for place, section in enumerate(sections)),
        f"</main>\n<script>{SCRIPT}</script>\n</body>\n</html>\n",
    ])  # fmt: skip


def _section(place: int, section: Section) -> str:
    figure = ""
    if section.figure is not None:
        data = json.dumps(section.figure, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
        name = html.escape(section.title)
        figure = (
            f'<div class="figure" id="figure-{place}" role="img" aria-label="{name}" '
            f'style="height:{section.figure["layout"]["height"]}px"></div>\n'
            f'<script type="application/json" data-figure="figure-{place}">{data}</script>\n'
        )
    return (
        f"<section>\n<h2>{html.escape(section.title)}</h2>\n<p>{html.escape(section.says)}</p>\n"
        f"{figure}{section.content}</section>"
    )


def _head(report: Report) -> str:
    """Return the headline: the question, the verdict in words, and what the sweep was."""
    sweep = report.sweep
    plan, rows = sweep.plan, sweep.rows
    first, *rest = report.verdict.split("\n")
    seconds = sum(number(row["train_seconds"]) or 0.0 for row in sweep.board["trials"])
    facts = {
        "configs": f"{len(rows):,}",
        "seeds each": str(plan.seeds),
        "trials": f"{plan.trials:,}",
        "epochs": str(plan.baseline["epochs"]),
        "training in all": clock_text(seconds),
        "encoder": redacted(str(plan.encoder.get("name", "-"))),
        "data": redacted(str(plan.data.get("source", "-"))),
        "profile": plan.profile,
    }
    said = "".join(f"<div><dt>{html.escape(k)}</dt><dd>{html.escape(escaped(v))}</dd></div>" for k, v in facts.items())
    notes = [note for note in study_table(sweep).notes if note == MINILM_NOTE] + _failures(sweep)
    return (
        f'<header>\n<p class="eyebrow">sweep {html.escape(plan.name)}</p>\n<h1>{html.escape(escaped(plan.question))}</h1>\n'
        f'<p class="verdict">{html.escape(first)}</p>\n'
        + "".join(f"<p>{html.escape(line)}</p>\n" for line in rest)
        + "".join(f'<p class="note">{html.escape(note)}</p>\n' for note in notes)
        + f"<dl>{said}</dl>\n</header>"
    )


def _failures(sweep: Finished) -> list[str]:
    """Return the trials that failed, the first few with the reason."""
    failed = [row for row in sweep.board["trials"] if row["state"] == "failed"]
    said = [
        redacted(escaped(f"Trial {row['trial']:04d} failed ({row.get('failure')}): {row.get('error')}"))
        for row in failed[:FAILURES_TOLD]
    ]
    more = len(failed) - FAILURES_TOLD
    return [*said, f"{more} more trial{'s' * (more > 1)} failed; the table has them."] if more > 0 else said


def _points(sweep: Finished) -> list[Point]:
    """Return the ranked configs, the best first."""
    return [
        Point(
            rank=row["rank"],
            name=_name(sweep, row),
            label=sweep.label(row),
            best=score,
            low=number(row["ci_low"]),
            high=number(row["ci_high"]),
            verdict="baseline" if row["trial"] == sweep.board["baseline"] else row["verdict"] or NO_VERDICT,
            seconds=number(row["train_seconds"]),
            values=sweep.values(row),
        )
        for row in sweep.rows
        if row["rank"] and (score := number(row["best"])) is not None
    ]


def _name(sweep: Finished, row: Mapping[str, Any]) -> str:
    label = sweep.label(row)
    return label if len(label) <= LONGEST_NAME else f"trial {row['trial']:04d}"


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
    values = {task["name"]: [number(entry["scores"].get(task["name"])) for entry in history] for task in sweep.plan.tasks}
    values[OVERALL] = [number(entry.get("dev_score")) for entry in history]
    values[RATE] = [number(entry.get("learning_rate")) for entry in history]
    return Curve(
        name=_name(sweep, config) + seed,
        label=sweep.label(config) + seed,
        is_best=is_best,
        is_baseline=config["trial"] == sweep.board["baseline"],
        epochs=[int(entry["epoch"]) for entry in history],
        values=values,
    )


def _scores(report: Report) -> Section | None:
    unranked = len(report.sweep.rows) - len(report.points)
    return Section(
        title="Scores by rank",
        says="Each config's best dev score with its 95 % interval. Colour and symbol say how it stands to the baseline "
        "(diamond, dotted line), all comparisons together."
        + (f" {unranked} without a whole run {'are' if unranked > 1 else 'is'} in the table alone." if unranked else ""),
        figure=scores(report.points),
    )


def _chosen(report: Report) -> str:
    """Return a sentence where not all curves are drawn."""
    left_out = len(report.sweep.board["trials"]) - len(report.curves)
    return f" Drawn are the best {MOST_CURVES} trials and the baseline; {left_out:,} are left out." if (
        len(report.sweep.board["trials"]) > MOST_CURVES and left_out
    ) else ""  # fmt: skip


def _learning_curves(report: Report) -> Section | None:
    if not report.curves:
        return None
    tasks = [(t.name, t.name + (", Pearson's r" if t.metric == "pearson" else ", accuracy")) for t in _tasks(report)]
    return Section(
        title="Learning curves",
        says="Dev scores after each epoch, overall and of each task; a task that falls while the others rise has begun "
        f"to overfit.{_chosen(report)}",
        figure=panels(report.curves, [(OVERALL, OVERALL), *tasks]),
    )


def _tasks(report: Report) -> list[Any]:
    return report.sweep.plan.task_list()


def _rates(report: Report) -> Section | None:
    if not report.curves:
        return None
    alike = len({tuple(curve.values[RATE]) for curve in report.curves}) == 1 and len(report.curves) > 1
    return Section(
        title="Learning rate and score",
        says="The study's Figure 2: the learning rate as it decays, beside the overall dev score."
        + (" The rate is the same in all of these trials: its curves lie on one another." if alike else "")
        + _chosen(report),
        figure=panels(report.curves, [(RATE, RATE), (OVERALL, OVERALL)], height=340),
    )


def _time(report: Report) -> Section | None:
    if not any(point.seconds for point in report.points):
        return None
    offered = len(front(report.points))
    return Section(
        title="Score against training time",
        says=f"{'Ringed are the' if offered > 1 else 'Ringed is the'} "
        + (f"{offered} configs" if offered > 1 else "config")
        + " that no other beats in as little time: what is worth paying for.",
        figure=score_by_time(report.points),
    )


def _parallel(report: Report) -> Section | None:
    if not report.sweep.titles or len(report.points) < 2:
        return None
    return Section(
        title="What varies, and what it comes to",
        says="A line a config, from its values on the left to its dev score on the right: where the blue lines meet, the "
        "best have something in common.",
        figure=parallel(report.points, report.sweep.titles),
    )


def _table(report: Report) -> Section | None:
    table = study_table(report.sweep, by_rank=True)
    return Section(title="The table", says=" ".join(table.notes), content=_html_table(table))


def _html_table(table: StudyTable) -> str:
    side = ["words" if place in table.left else "" for place in range(len(table.columns))]
    head = "".join(f'<th class="{side[n]}" scope="col">{html.escape(title)}</th>' for n, title in enumerate(table.columns))
    body = []
    for place, row in enumerate(table.rows):
        cells = "".join(
            f'<td class="{side[n]}{" top" * ((place, n) in table.best)}">{html.escape(cell)}</td>'
            for n, cell in enumerate(row)
        )
        body.append(f"<tr{' class=baseline' * (place == table.baseline)}>{cells}</tr>")
    rows = "\n".join(body)
    return f'<div class="wide" tabindex="0"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody></table></div>\n'


def _links(report: Report) -> Section | None:
    said = "".join(
        f"<dt>{html.escape(word)}</dt><dd>{_link(escaped(redacted(place)))}</dd>" for word, place in report.links
    )
    return Section(title="Where things are", says="Files, commands and pages that belong to it.", content=f"<dl>{said}</dl>")


def _link(place: str) -> str:
    shown = html.escape(place)
    if place.startswith(("http://", "https://")):
        return f'<a href="{shown}" rel="noreferrer">{shown}</a>'
    return f"<code>{shown}</code>"


SECTIONS: list[Callable[[Report], Section | None]] = [
    _scores,
    _learning_curves,
    _rates,
    _time,
    _parallel,
    _table,
    _links,
]
"""In the order of the page; each says None where it has nothing to show."""
