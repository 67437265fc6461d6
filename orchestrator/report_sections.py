"""What the report says and shows, section by section: each a function of the sweep, in a list.

What a person wrote, a question or a name, is text and never markup.
"""

import html
from collections.abc import Callable, Sequence
from typing import Any

from model.table_file import escaped
from orchestrator.curves import OVERALL, RATE, panels
from orchestrator.parallel_axes import parallel
from orchestrator.pictures import front, score_by_time, scores
from orchestrator.redaction import redacted
from orchestrator.report_findings import fresh_seeds, importance, sharing
from orchestrator.report_material import MOST_CURVES, Report, Section
from orchestrator.study_table import OWN_BEST, StudyTable, study_table


def _scores(report: Report) -> Section | None:
    unranked = len(report.sweep.rows) - len(report.points)
    of = "its models, whatever the seed," if report.sweep.plan.seeds > 1 else "this very model"
    return Section(
        title="Scores by rank",
        says=f"Each config's best dev score with its 95 % interval for {of} on new examples; the best was "
        "chosen and is lucky more often. Colour and symbol say how it stands to the baseline "
        "(diamond, dotted line), all comparisons together."
        + (f" {unranked} without a rank {'are' if unranked > 1 else 'is'} in the table alone." if unranked else ""),
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
        says="A line a config, from its values on the left to its dev score on the right: where the blue lines meet, "
        "the best have something in common.",
        figure=parallel(report.points, report.sweep.titles),
    )


def _table(report: Report) -> Section | None:
    table = study_table(report.sweep, by_rank=True)
    return Section(title="The table", says=" ".join(table.notes), content=_html_table(table))


def _html_table(table: StudyTable) -> str:
    """Return the table with what may stand under another column there: so it needs no more than the page's width."""
    shown = [place for place in range(len(table.columns)) if place not in table.under.values()]

    def cell(tag: str, row: Sequence[str], place: int, look: str = "") -> str:
        kind = f"{'words' * (place in table.left)}{look}"
        under = f"<small>{html.escape(row[table.under[place]])}</small>" if place in table.under else ""
        words = html.escape(row[place])
        if tag == "th":  # broken where a name has a joint, so that the column is narrow; "similarity r" is not
            words = words.replace(" r", "&nbsp;r").replace("_", "_<wbr>").replace(".", ".<wbr>")
        elif place in table.left:
            words = words.replace("+", "+<wbr>")
        return f'<{tag} class="{kind}">{words}{under}</{tag}>'

    names = ["own best" if name.endswith(OWN_BEST) else name for name in table.columns]
    head = "".join(cell("th", names, place) for place in shown)
    rows = [
        f'<tr class="{"baseline" * (number == table.baseline)}">'
        + "".join(cell("td", row, place, " top" * ((number, place) in table.best)) for place in shown)
        + "</tr>"
        for number, row in enumerate(table.rows)
    ]
    body = "\n".join(rows)
    return (
        f'<div class="wide" tabindex="0"><table>\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody></table></div>\n"
    )


def _links(report: Report) -> Section | None:
    said = "".join(
        f"<dt>{html.escape(word)}</dt><dd>{_link(escaped(redacted(place)))}</dd>" for word, place in report.links
    )
    return Section(
        title="Where things are", says="Files, commands and pages that belong to it.", content=f"<dl>{said}</dl>"
    )


def _link(place: str) -> str:
    shown = html.escape(place)
    if place.startswith(("http://", "https://")):
        return f'<a href="{shown}" rel="noreferrer">{shown}</a>'
    return f"<code>{shown}</code>"


SECTIONS: list[Callable[[Report], Section | None]] = [
    _scores,
    fresh_seeds,
    importance,
    sharing,
    _learning_curves,
    _rates,
    _time,
    _parallel,
    _table,
    _links,
]
"""In the order of the page; each says None where it has nothing to show."""
