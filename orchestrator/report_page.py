"""The report of a finished sweep: one HTML file with all that it needs in it, plotly.js once, and no network.

Its own content policy forbids every request.
"""

import html
import json
import shlex
from collections.abc import Mapping
from typing import Any

from model.files import write_text
from model.table_file import escaped
from orchestrator.finished import Finished, number, read_finished
from orchestrator.paths import SweepPaths
from orchestrator.progress import clock_text
from orchestrator.redaction import redacted
from orchestrator.report_findings import champion
from orchestrator.report_material import Report, Section
from orchestrator.report_sections import SECTIONS
from orchestrator.report_style import SCRIPT, STYLE
from orchestrator.sentences import on_importance, on_sharing
from orchestrator.show import MINILM_NOTE, verdict
from orchestrator.show_confirmation import of_board, test_lines
from orchestrator.study_table import study_table

POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
"""What the page may load: what stands in it, and the picture that a person saves of a figure."""
FAILURES_TOLD = 5


def draw_report(
    paths: SweepPaths,
    board: Mapping[str, Any],
    majority: float | None,
    link: str | None = None,
    *,
    sweep: Finished | None = None,
) -> None:
    """Draw the report.html of a sweep that has ended, from what lies in its folder; an older one goes first.

    A sweep without any score has none. `link` is the leaderboard's in MLflow where it is known, `sweep` what was read
    of the folder already.
    """
    paths.report.unlink(missing_ok=True)
    if any(row["best"] is not None for row in board["rows"]):
        sweep = sweep or read_finished(paths)
        write_text(
            paths.report, page(Report(sweep=sweep, verdict=verdict(board, majority), links=_places(sweep, link)))
        )


def _places(sweep: Finished, link: str | None) -> list[tuple[str, str]]:
    """Return what belongs to a sweep: files, the best checkpoint, and the commands that go on from here."""
    paths, name = sweep.paths, sweep.plan.name
    out, uri = (
        shlex.quote(str(paths.out)),
        paths.tracking.read_text(encoding="utf-8") if paths.tracking.exists() else "",
    )
    store = f" --tracking-uri {shlex.quote(redacted(uri.strip()))}" if "://" in uri else ""
    served = [] if uri.startswith("http") else [("what serves it", f"python -m orchestrator.serve --out {out}{store}")]
    best = next((row for row in sweep.rows if row["rank"] == 1), None)
    return [
        *([("leaderboard", link)] if link else []),
        *served,
        *([("best checkpoint", str(best["checkpoint"]))] if best else []),
        ("its predictions", f"python -m orchestrator.predict --model {name}@best-dev --runs {out}{store}"),
        ("for transformers", f"python -m orchestrator.export {name}@best-dev DIR --runs {out}{store}"),
        ("the table in Markdown", f"python -m orchestrator.report {name} --out {out}"),
        *((path.name, str(path)) for path in (paths.leaderboard, paths.plan, paths.data_report)),
    ]


def page(report: Report) -> str:
    """Return the report as an HTML file's text."""
    from plotly.offline import get_plotlyjs

    sections = [section for make in SECTIONS if (section := make(report)) is not None]
    title = html.escape(f"{report.sweep.plan.name}: {escaped(report.sweep.plan.question)}")
    return "\n".join([
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
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
    told_below = {*on_sharing(sweep.board), *on_importance(sweep.board), *of_board(sweep.board)}
    rest = [line for line in rest if line not in told_below]
    rest += [*champion(sweep), *test_lines(sweep.board.get("test"))]
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
        f'<header>\n<p class="eyebrow">sweep {html.escape(plan.name)}</p>\n'
        f"<h1>{html.escape(escaped(plan.question))}</h1>\n"
        f'<p class="verdict">{html.escape(first)}</p>\n'
        + "".join(f"<p>{html.escape(line)}</p>\n" for line in rest)
        + "".join(f'<p class="note">{html.escape(note)}</p>\n' for note in notes)
        + f"<dl>{said}</dl>\n</header>"
    )


def _failures(sweep: Finished) -> list[str]:
    """Return why trials failed, a line each reason."""
    reasons: dict[str, list[int]] = {}
    for row in sweep.board["trials"]:
        if row["state"] == "failed":
            reasons.setdefault(f"{row.get('failure')}: {row.get('error')}", []).append(row["trial"])
    said = []
    for reason, trials in list(reasons.items())[:FAILURES_TOLD]:
        named = ", ".join(f"{trial:04d}" for trial in trials[:FAILURES_TOLD]) + " …" * (len(trials) > FAILURES_TOLD)
        said.append(f"{len(trials)} trial{'s' * (len(trials) > 1)} failed, {redacted(escaped(reason))} ({named})")
    more = len(reasons) - FAILURES_TOLD
    return [*said, f"Others failed for {more} more reasons; the table has them."] if more > 0 else said
