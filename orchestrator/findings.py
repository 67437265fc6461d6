"""The report's figures of what the evidence says: fresh seeds, tasks alone and shared, what parameters do.

Scores stand on the left and differences with their intervals on the right: an interval of a difference is none of a
score. Pure functions of plain values, as those of pictures.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.pictures import ACCENT, FAINT, GREY, INK, MARKS, Figure, axis, heading, layout, text

ROW_PX = 46
LEFT, RIGHT = [0.0, 0.56], [0.64, 1.0]
"""Parts of the figure's width."""
LEAST_SPAN = 0.04
"""Of an axis of scores, as of the learning curves: what is closer together is alike, and is drawn so."""
LANE = 0.26
"""Of a row's height: so far below its line lie the single seeds."""
SEARCHED, FRESH, ALONE, FLOOR = "the search's own score", "one fresh seed", "alone", "noise alone, its 95th percentile"
BARS = {"matters": (ACCENT, ""), "not told apart": (ACCENT, "/"), "within noise": (GREY, "")}
"""A finding's colour and pattern."""
STRIPES = {"fillmode": "overlay", "fgcolor": "white", "size": 8}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One config or task: a score, another one beside it, and a difference."""

    name: str
    """What stands at the axis: its first line is bold."""
    detail: str = ""
    """The second line."""
    mark: str
    """A key of MARKS."""
    verdict: str
    score: float | None
    beside: float | None
    """What the score is to be seen beside: the search's own, or that of the task alone."""
    each: Sequence[float] = ()
    """The scores that the score is the mean of."""
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    """The 95 % interval of the difference."""


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One parameter."""

    name: str
    effect: float
    floor: float
    finding: str
    """A key of BARS."""
    says: str


def confirmed(rows: Sequence[Row]) -> Figure:
    """Return the means over fresh seeds and the seeds, the search's own scores hollow beside them."""
    made = _two_sides(rows, "dev score", "mean over fresh seeds", "difference to the baseline, 95 %")
    hollow = {"symbol": "square-open", "size": 12, "color": INK, "line": {"width": 1.5}}
    dots = {"symbol": "circle", "size": 7, "color": FAINT, "opacity": 0.75}
    seeds = [(place + LANE, score, row) for place, row in enumerate(rows) for score in row.each]
    own = [(place, row.beside, row) for place, row in enumerate(rows) if row.beside is not None]
    made["data"] += [_beside(FRESH, seeds, dots), *([_beside(SEARCHED, own, hollow)] if own else [])]
    return made


def shared(rows: Sequence[Row]) -> Figure:
    """Return each task's score alone and shared, joined by a line, and what sharing does to it."""
    made = _two_sides(rows, "task's score", "score", "shared less alone, 95 %")
    hollow = {"symbol": "square-open", "size": 12, "color": INK, "line": {"width": 1.5}}
    own = [(place, row.beside, row) for place, row in enumerate(rows) if row.beside is not None]
    joined: dict[str, Any] = {"type": "scatter", "mode": "lines", "x": [], "y": [], "showlegend": False}
    for place, row in enumerate(rows):
        joined["x"] += [row.beside, row.score, None]
        joined["y"] += [place, place, None]
    made["data"].insert(0, joined | {"line": {"color": GREY, "width": 1.5}, "hoverinfo": "skip"})
    made["data"].append(_beside(ALONE, own, hollow))
    return made


def _two_sides(rows: Sequence[Row], unit: str, left: str, right: str) -> Figure:
    """Return a line a row: its score, and its difference with the interval, both by the verdict's mark."""
    traces: list[dict[str, Any]] = []
    for mark in MARKS:
        chosen = [(place, row) for place, row in enumerate(rows) if row.mark == mark]
        if any(row.score is not None for _, row in chosen):
            traces += _of_mark(mark, chosen)
    height = 130 + ROW_PX * len(rows)
    made = layout(height, margin={"l": 64, "r": 24, "t": 78, "b": 56})
    made["legend"]["y"] = 1 + 30 / (ROW_PX * len(rows))
    made["xaxis"] = axis(unit, domain=LEFT, anchor="y", showline=True, **_span(rows))
    made["xaxis2"] = axis("difference", domain=RIGHT, anchor="y", showline=True, **_around_nothing(rows))
    names = [f"<b>{text(row.name)}</b>" + (f"  <br>{text(row.detail)}" if row.detail else "") for row in rows]
    made["yaxis"] = axis(
        "", range=[len(rows) - 0.4, -0.6], tickvals=list(range(len(rows))), ticktext=[f"{name}  " for name in names],
        showgrid=False, showline=False, automargin=True,
    )  # fmt: skip
    made["yaxis"]["tickfont"] = {"size": 13, "color": INK}
    line = {"color": INK, "width": 1, "dash": "dot"}
    made["shapes"] = [
        {"type": "line", "layer": "below", "xref": "x2", "x0": 0, "x1": 0, "yref": "paper", "y0": 0, "y1": 1}
        | {"line": line}
    ]
    made["annotations"] = [heading(left, LEFT[0], 1), heading(right, RIGHT[0], 1)]
    return {"data": traces, "layout": made}


def _of_mark(mark: str, chosen: Sequence[tuple[int, Row]]) -> list[dict[str, Any]]:
    """Return the scores of one verdict, and its differences."""
    colour, symbol = MARKS[mark]
    look = {"color": colour, "symbol": symbol, "size": 12, "line": {"color": colour, "width": 1.5}}
    common: dict[str, Any] = {
        "type": "scatter", "mode": "markers", "legendgroup": mark, "marker": look,
        "hovertemplate": "%{text}<extra></extra>",
    }  # fmt: skip
    scored = [(place, row) for place, row in chosen if row.score is not None]
    apart = [(place, row) for place, row in scored if row.difference is not None]
    traces = [
        common
        | {"name": next(row.verdict for _, row in chosen), "x": [row.score for _, row in scored]}
        | {"y": [place for place, _ in scored], "text": [_said(row) for _, row in scored]}
    ]
    if apart:
        half = [(row.difference or 0.0, row.low, row.high) for _, row in apart]
        bars = {
            "type": "data", "symmetric": False, "color": colour, "thickness": 1.4, "width": 4,
            "array": [None if high is None else high - middle for middle, _, high in half],
            "arrayminus": [None if low is None else middle - low for middle, low, _ in half],
        }  # fmt: skip
        traces.append(
            common
            | {"x": [row.difference for _, row in apart], "y": [place for place, _ in apart], "xaxis": "x2"}
            | {"error_x": bars, "text": [_said(row) for _, row in apart], "showlegend": False, "name": mark}
        )
    return traces


def _beside(name: str, points: Sequence[tuple[float, float | None, Row]], look: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": [score for _, score, _ in points],
        "y": [place for place, _, _ in points],
        "marker": look,
        "text": [f"<b>{score:.4f}</b>, {name}<br>{text(row.name)}" for _, score, row in points],
        "hovertemplate": "%{text}<extra></extra>",
    }


def _said(row: Row) -> str:
    """Return what a row tells when it is pointed at."""
    lines = [f"<b>{row.score:.4f}</b>, {text(row.name)}: {text(row.verdict)}"]
    if row.difference is not None:
        range_ = "" if row.low is None or row.high is None else f" ({row.low:+.4f} to {row.high:+.4f})"
        lines.append(f"difference {row.difference:+.4f}{range_}")
    return "<br>".join([*lines, *([text(row.detail)] if row.detail else [])])


def _span(rows: Sequence[Row]) -> dict[str, Any]:
    """Return an axis' range where its scores are so close that they would look far apart."""
    known = [score for row in rows for score in (row.score, row.beside, *row.each) if score is not None]
    if not known or max(known) - min(known) >= LEAST_SPAN:
        return {}
    middle = (max(known) + min(known)) / 2
    return {"range": [middle - LEAST_SPAN, middle + LEAST_SPAN]}


def _around_nothing(rows: Sequence[Row]) -> dict[str, Any]:
    """Return a range of differences with 0 in its middle: which side one lies on is seen at once."""
    known = [abs(end) for row in rows for end in (row.difference, row.low, row.high) if end is not None]
    furthest = 1.1 * max([*known, LEAST_SPAN / 4])
    return {"range": [-furthest, furthest], "nticks": 5}


def effects(bars: Sequence[Bar]) -> Figure:
    """Return a bar a parameter, its effect, and what noise alone would reach as a mark on it."""
    traces: list[dict[str, Any]] = []
    for finding, (colour, pattern) in BARS.items():
        if chosen := [(place, bar) for place, bar in enumerate(bars) if bar.finding == finding]:
            traces.append({
                "type": "bar", "orientation": "h", "name": finding, "width": 0.5,
                "x": [bar.effect for _, bar in chosen], "y": [place for place, _ in chosen],
                "marker": {"color": colour, "pattern": STRIPES | {"shape": pattern}},
                "text": [text(bar.says) for _, bar in chosen], "textposition": "none",
                "hovertemplate": "%{text}<extra></extra>",
            })  # fmt: skip
    marks: dict[str, Any] = {
        "type": "scatter", "mode": "markers", "x": [bar.floor for bar in bars], "y": list(range(len(bars))),
        "marker": {"symbol": "line-ns", "size": 30, "line": {"color": "white", "width": 6}},
        "hoverinfo": "skip", "showlegend": False,
    }  # fmt: skip
    traces.append(marks)  # a white edge, so that the mark stands out from a dark bar
    traces.append(marks | {
        "name": FLOOR, "marker": {"symbol": "line-ns", "size": 30, "line": {"color": INK, "width": 2.5}},
        "hoverinfo": "text", "showlegend": True,
        "text": [f"noise alone: up to {bar.floor:.4f}" for bar in bars], "hovertemplate": "%{text}<extra></extra>",
    })  # fmt: skip
    made = layout(120 + ROW_PX * len(bars), margin={"l": 64, "r": 24, "t": 48, "b": 56})
    made["xaxis"] = axis("effect on the dev score", rangemode="tozero", showline=True)
    made["yaxis"] = axis(
        "", range=[len(bars) - 0.4, -0.6], tickvals=list(range(len(bars))),
        ticktext=[f"{text(bar.name)}  " for bar in bars], showgrid=False, showline=False, automargin=True,
    )  # fmt: skip
    made["yaxis"]["tickfont"] = {"size": 13, "color": INK}
    return {"data": traces, "layout": made}
