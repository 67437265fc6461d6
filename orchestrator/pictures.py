"""The report's figures of configs as plotly takes them, plain data and layout, and the look that all figures share.

Pure functions of plain values; nothing is imported from plotly. What is a name is text and not markup: plotly reads
some tags in a text.
"""

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Figure = dict[str, Any]
"""What Plotly.newPlot takes: data and layout."""

INK, FAINT, GREY, GRID, INTERVAL = "#1f2933", "#5f6b76", "#9aa5b1", "#e6eaee", "#d5dbe1"
ACCENT, BELOW = "#1f5fa8", "#c2550a"
"""What is to be looked at; what is worse. Blue and orange stay apart in every kind of colour blindness."""
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
NO_VERDICT = "no verdict"
MARKS = {
    "baseline": (INK, "diamond"),
    "better": (ACCENT, "triangle-up"),
    "tentatively better": (ACCENT, "triangle-up-open"),
    "tied": (GREY, "circle"),
    "tentatively worse": (BELOW, "triangle-down-open"),
    "worse": (BELOW, "triangle-down"),
    NO_VERDICT: (GREY, "circle-open"),
}
"""A verdict's colour and symbol: either alone tells it."""
LOGARITHMIC = 20
"""An axis is where its largest value is so many times the smallest."""
NAMED = 40
"""Configs that have a line of their own each, with its name; more stand side by side."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """One ranked config."""

    rank: int
    name: str
    """Short enough to stand at an axis."""
    label: str
    """What varies, in full."""
    best: float
    low: float | None
    high: float | None
    """Ends of the 95 % interval of the score."""
    verdict: str
    """A key of MARKS."""
    seconds: float | None
    """Training time."""
    values: Sequence[Any] = ()
    """Of what varies; None where it has no such parameter."""


def text(words: str) -> str:
    """Return a name as plotly shows it, whatever it holds."""
    return html.escape(words)


def layout(height: int, **more: Any) -> dict[str, Any]:
    """Return a layout with the common look."""
    return {
        "height": height,
        "font": {"family": FONT, "size": 13, "color": INK},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "margin": {"l": 64, "r": 24, "t": 48, "b": 56},
        "hovermode": "closest",
        "hoverlabel": {"bgcolor": "white", "bordercolor": GREY, "font": {"family": FONT, "size": 13, "color": INK}},
        "legend": {"orientation": "h", "x": 0, "xanchor": "left", "y": 1, "yanchor": "bottom", "font": {"size": 12}},
        **more,
    }


def axis(title: str = "", **more: Any) -> dict[str, Any]:
    """Return an axis with the common look."""
    return {
        "title": {"text": title, "font": {"size": 13, "color": FAINT}, "standoff": 12},
        "gridcolor": GRID,
        "linecolor": GREY,
        "zeroline": False,
        "automargin": False,
        "tickfont": {"size": 12, "color": FAINT},
        **more,
    }


def heading(words: str, x: float, y: float) -> dict[str, Any]:
    """Return the title of a part of a figure, above its upper left corner."""
    broken = text(words).replace(".", ".<br>")
    return {
        "text": f"<b>{broken}</b>", "x": x, "y": y, "xref": "paper", "yref": "paper", "xanchor": "left",
        "yanchor": "bottom", "showarrow": False, "font": {"size": 13, "color": INK},
    }  # fmt: skip


def scores(points: Sequence[Point]) -> Figure:
    """Return the scores by rank with their intervals, the baseline's score as a line."""
    few = len(points) <= NAMED
    traces = [_scores_of(verdict, points, few=few) for verdict in MARKS if any(p.verdict == verdict for p in points)]
    base = next((point.best for point in points if point.verdict == "baseline"), None)
    ranks = [point.rank for point in points]
    if few:
        names = [f"{text(point.name)}  " for point in points]
        down = axis(
            "",
            range=[len(points) + 0.6, 0.4],
            tickvals=ranks,
            ticktext=names,
            showgrid=False,
            showline=False,
            automargin=True,
        )
        down["tickfont"] = {"size": 13, "color": INK}
        made = layout(130 + 30 * len(points), xaxis=axis("dev score", showline=True), yaxis=down)
    else:
        made = layout(
            460, xaxis=axis("rank", showgrid=False, showline=True, range=[0, len(points) + 1]), yaxis=axis("dev score")
        )
    if base is not None:
        along, across = ("x", "y") if few else ("y", "x")
        line: dict[str, Any] = {"type": "line", "layer": "below", "line": {"color": INK, "width": 1, "dash": "dot"}}
        line |= {f"{along}0": base, f"{along}1": base, f"{across}0": 0, f"{across}1": 1, f"{across}ref": "paper"}
        made["shapes"] = [line]
    return {"data": traces, "layout": made}


def _scores_of(verdict: str, points: Sequence[Point], *, few: bool) -> dict[str, Any]:
    """Return the configs of one verdict as a trace: along the scores where they are few, along the ranks else."""
    colour, symbol = MARKS[verdict]
    chosen = [point for point in points if point.verdict == verdict]
    score, rank = ("x", "y") if few else ("y", "x")
    bars = {
        "type": "data",
        "symmetric": False,
        "array": [None if p.high is None else p.high - p.best for p in chosen],
        "arrayminus": [None if p.low is None else p.best - p.low for p in chosen],
        "color": colour if few else INTERVAL,
        "thickness": 1.4 if few else 0.8,
        "width": 4 if few else 0,
    }
    return {
        "type": "scatter",
        "mode": "markers",
        "name": verdict,
        score: [point.best for point in chosen],
        rank: [point.rank for point in chosen],
        f"error_{score}": bars,
        "marker": {
            "color": colour,
            "symbol": symbol,
            "size": 11 if few else 6,
            "line": {"color": colour, "width": 1.5},
        },
        "text": [_said(point) for point in chosen],
        "hovertemplate": "%{text}<extra></extra>",
    }


def _said(point: Point) -> str:
    """Return what a point tells when it is pointed at."""
    lines = [f"<b>{point.best:.4f}</b>, rank {point.rank}: {point.verdict}"]
    if point.low is not None and point.high is not None:
        lines.append(f"95 %: {point.low:.4f} to {point.high:.4f}")
    if point.seconds is not None:
        lines.append(f"trained for {point.seconds:,.0f} s")
    return "<br>".join([*lines, *map(text, point.label.split(", "))])


def front(points: Sequence[Point]) -> list[Point]:
    """Return the configs that no other beats in less time or as little, by time."""
    timed = sorted(
        (point for point in points if point.seconds is not None),
        key=lambda point: (point.seconds, -point.best, point.rank),
    )
    found: list[Point] = []
    for point in timed:
        if not found or point.best > found[-1].best:
            found.append(point)
    return found


def score_by_time(points: Sequence[Point]) -> Figure:
    """Return the scores against the time of training, with the Pareto front."""
    timed = [point for point in points if point.seconds is not None]
    longest = max((point.seconds or 0.0 for point in timed), default=0.0)
    unit, name = (1, "seconds") if longest < 300 else (60, "minutes") if longest < 4 * 3600 else (3600, "hours")
    best_for_time = front(timed)
    named = len(timed) <= NAMED
    size = 10 if len(timed) <= NAMED else 6
    traces: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "mode": "lines+markers+text" if named else "lines+markers",
            "name": "no other is better in as little time",
            "x": [(point.seconds or 0.0) / unit for point in best_for_time],
            "y": [point.best for point in best_for_time],
            "line": {"shape": "hv", "color": ACCENT, "width": 1.5},
            "marker": {"symbol": "circle-open", "size": 19, "color": ACCENT, "line": {"width": 1.5}},
            "text": [f"  {text(point.name)}  " for point in best_for_time] if named else None,
            "textposition": [
                "top right" if (point.seconds or 0.0) < longest / 3 else "top left" for point in best_for_time
            ],
            "textfont": {"size": 12, "color": ACCENT},
            "cliponaxis": False,
            "hoverinfo": "skip",
        }
    ]
    for verdict, (colour, symbol) in MARKS.items():
        if chosen := [point for point in timed if point.verdict == verdict]:
            traces.append({
                "type": "scatter",
                "mode": "markers",
                "name": verdict,
                "x": [(point.seconds or 0.0) / unit for point in chosen],
                "y": [point.best for point in chosen],
                "marker": {"color": colour, "symbol": symbol, "size": size, "line": {"color": colour, "width": 1.5}},
                "text": [_said(point) for point in chosen],
                "hovertemplate": "%{text}<extra></extra>",
            })  # fmt: skip
    across = axis(f"training time, {name}", rangemode="tozero", showline=True, showgrid=False)
    return {"data": traces, "layout": layout(460, xaxis=across, yaxis=axis("dev score"))}
