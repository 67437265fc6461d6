"""Parallel coordinates as plotly takes them: an axis for all that varies and one for the score, a line a config."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.finished import number, words
from orchestrator.pictures import ACCENT, FAINT, GREY, INK, LOGARITHMIC, NAMED, Figure, Point, heading, layout, text

TOP_SHARE, MOST_ON_TOP = 0.1, 40
"""Of the configs, those with the best scores: they are drawn in front."""
FEW_VALUES = 6
"""Values that have a tick each."""
NEAREST = 0.05
"""Of an axis: ticks are not closer."""
BELOW_ALL = 0.14
"""Of an axis: how far under its numbers a config stands that has none."""
IN_FULL = 200
"""Of more configs a line does not tell all that varies: it would be said at every axis."""
SPREAD, GOLDEN = 0.06, 0.618
"""Of an axis: configs of one value stand so far apart in all, neighbours by rank far from each other."""


@dataclass(frozen=True)
class Axis:
    """Where each config stands on one axis, from 0 to 1, and what is written beside it."""

    title: str
    places: Sequence[float]
    ticks: Sequence[tuple[float, str]]
    has_steps: bool
    """Few values: configs of one value are drawn a little apart."""


def parallel(points: Sequence[Point], titles: Sequence[str]) -> Figure:
    """Return the figure: the best tenth in front, the baseline dashed, the others behind."""
    axes = [scale(title, [point.values[place] for point in points]) for place, title in enumerate(titles)]
    axes.append(scale("dev score", [point.best for point in points], decimals=3))
    leading = sorted(range(len(points)), key=lambda place: -points[place].best)
    leading = leading[: max(1, min(MOST_ON_TOP, round(TOP_SHARE * len(points))))]
    best = f"the best {len(leading)}" if len(leading) > 1 else "the best"
    few = len(points) <= NAMED
    looks: dict[str, dict[str, Any]] = {
        "the others": {"line": {"color": GREY, "width": 1.2 if few else 0.6}, "opacity": 0.7 if few else 0.35},
        "baseline": {"line": {"color": INK, "width": 2, "dash": "dash"}},
        best: {"line": {"color": ACCENT, "width": 2 if few else 1}},
    }
    groups: dict[str, list[int]] = {name: [] for name in looks}
    for place, point in enumerate(points):
        name = best if place in leading else "baseline" if point.verdict == "baseline" else "the others"
        groups[name].append(place)
    traces = [
        _lines(axes, points, members) | looks[name] | {"name": name} for name, members in groups.items() if members
    ]
    made = layout(
        420,
        xaxis={"visible": False, "range": [-0.3, len(axes) - 0.7], "fixedrange": True},
        yaxis={"visible": False, "range": [-0.05, 1.05], "fixedrange": True},
        margin={"l": 24, "r": 24, "t": 104, "b": 16},
        shapes=[
            {"type": "line", "x0": x, "x1": x, "y0": 0, "y1": 1, "layer": "below", "line": {"color": GREY, "width": 1}}
            for x in range(len(axes))
        ],
        annotations=[
            *_ticks(axes),
            *(heading(each.title, x, 1.03) | {"xref": "x", "xanchor": "center"} for x, each in enumerate(axes)),
        ],
    )  # fmt: skip
    made["legend"]["y"] = 1.18
    return {"data": traces, "layout": made}


def scale(title: str, values: Sequence[Any], decimals: int | None = None) -> Axis:
    """Return an axis of numbers where all are, of words else; what is missing stands below all, as a dash."""
    known = [value for value in values if value is not None]
    if any(number(value) is None for value in known) or not known:
        return _of_words(title, values)
    lowest, highest = min(known), max(known)
    logarithmic = lowest > 0 and highest / lowest >= LOGARITHMIC
    base = BELOW_ALL if len(known) < len(values) else 0.0

    def place(value: Any) -> float:
        if value is None:
            return 0.0
        if highest == lowest:
            return (1 + base) / 2
        share = (
            math.log(value / lowest) / math.log(highest / lowest)
            if logarithmic
            else (value - lowest) / (highest - lowest)
        )
        return base + (1 - base) * float(share)

    distinct = sorted(set(known))
    has_steps = len(distinct) <= FEW_VALUES and decimals is None
    if not has_steps:
        middle = math.sqrt(lowest * highest) if logarithmic else (lowest + highest) / 2
        distinct = [lowest, float(f"{middle:.2g}") if logarithmic else middle, highest]
    ticks = [(place(value), f"{value:.{decimals}f}" if decimals else words(value)) for value in distinct]
    if base:
        ticks.insert(0, (0.0, "-"))
    return Axis(title, [place(value) for value in values], _apart(ticks), has_steps)


def _of_words(title: str, values: Sequence[Any]) -> Axis:
    """Return an axis of equal steps: numbers first, then words."""
    distinct = sorted({words("-" if value is None else value): value for value in values}.items(), key=_before)
    place = {word: (at / (len(distinct) - 1) if len(distinct) > 1 else 0.5) for at, (word, _) in enumerate(distinct)}
    return Axis(
        title,
        [place[words("-" if value is None else value)] for value in values],
        _apart([(at, word) for word, at in place.items()]),
        has_steps=True,
    )


def _before(each: tuple[str, Any]) -> tuple[bool, bool, float, str]:
    known = number(each[1])
    return (each[1] is not None, known is None, known or 0.0, each[0])


def _apart(ticks: Sequence[tuple[float, str]]) -> list[tuple[float, str]]:
    """Return the ticks that have room, the last among them."""
    *rest, last = ticks
    kept: list[tuple[float, str]] = []
    for at, word in rest:
        if last[0] - at >= NEAREST and not (kept and at - kept[-1][0] < NEAREST):
            kept.append((at, word))
    return [*kept, last]


def _lines(axes: Sequence[Axis], points: Sequence[Point], members: Sequence[int]) -> dict[str, Any]:
    """Return configs as one trace, with a gap after each."""
    x: list[float | None] = []
    y: list[float | None] = []
    said: list[str | None] = []
    for member in members:
        point = points[member]
        aside = SPREAD * ((member * GOLDEN) % 1 - 0.5)
        x += [*range(len(axes)), None]
        y += [*(each.places[member] - aside * each.has_steps for each in axes), None]
        told = [f"<b>{point.best:.4f}</b>, rank {point.rank}"]
        told += map(text, point.label.split(", ") if len(points) <= IN_FULL else [point.name])
        said += [*["<br>".join(told)] * len(axes), None]
    return {
        "type": "scatter",
        "mode": "lines",
        "x": x,
        "y": y,
        "text": said,
        "connectgaps": False,
        "cliponaxis": False,
        "hovertemplate": "%{text}<extra></extra>",
    }


def _ticks(axes: Sequence[Axis]) -> list[dict[str, Any]]:
    """Return what is written beside the axes, readable over the lines."""
    return [
        {
            "text": text(word), "x": x, "y": at, "xref": "x", "yref": "y", "showarrow": False, "borderpad": 1,
            "xanchor": "left" if x == len(axes) - 1 else "right", "xshift": 8 if x == len(axes) - 1 else -8,
            "font": {"size": 12, "color": FAINT}, "bgcolor": "rgba(255,255,255,0.85)",
        }
        for x, each in enumerate(axes)
        for at, word in each.ticks
    ]  # fmt: skip
