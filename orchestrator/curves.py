"""The report's figures over epochs: learning curves of every score, and the study's Figure 2, as plotly takes them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.pictures import ACCENT, GREY, INK, LOGARITHMIC, Figure, axis, heading, layout, text

OVERALL, RATE = "overall dev score", "learning rate"
TOLD_APART = 8
"""So many curves have a colour, a symbol and a place in the legend each; more are a crowd behind the best."""
COLOURS = ("#e08e0b", "#3f9bcf", "#1b8a6b", "#c2550a", "#b3669a", "#8a8f2a", "#7a6ccf", "#6f7b87")
SYMBOLS = ("square", "diamond", "triangle-up", "triangle-down", "cross", "x", "star", "pentagon")
EACH_EPOCH = 15
"""More epochs than these have no symbol each."""
ACROSS = 2
"""Panels beside each other."""
LEAST_SPAN = 0.04
"""Of an axis of scores: what is closer together is alike, and is drawn so."""
BETWEEN = 0.09
"""Of the figure's width."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One trial over its epochs."""

    name: str
    label: str
    is_best: bool
    is_baseline: bool
    epochs: Sequence[int]
    values: Mapping[str, Sequence[float | None]]
    """OVERALL, RATE and each task to a value an epoch; None where there is none."""


def panels(curves: Sequence[Curve], shown: Sequence[tuple[str, str]], height: int = 300) -> Figure:
    """Return one panel for each (what, title) of `shown`, all over the same epochs, two beside each other.

    `height` is that of a row of panels in pixels.
    """
    rows = -(-len(shown) // ACROSS)
    few = len(curves) <= TOLD_APART
    made = layout(height * rows + 40, margin={"l": 64, "r": 24, "t": 84 if few else 60, "b": 48})
    made["annotations"] = []
    made["legend"]["y"] = 1 + 34 / (height * rows - 90)
    traces: list[dict[str, Any]] = []
    last = max((epoch for curve in curves for epoch in curve.epochs), default=1)
    for place, (what, title) in enumerate(shown):
        across, down = _domain(place % ACROSS, ACROSS, BETWEEN), _domain(rows - 1 - place // ACROSS, rows, 0.24 / rows)
        suffix = str(place + 1) if place else ""
        made[f"xaxis{suffix}"] = axis(
            "epoch" if place // ACROSS == rows - 1 else "", domain=across, anchor=f"y{suffix}", showgrid=False,
            showline=True, range=[1 - 0.06 * last, last + 0.06 * last], **({"dtick": 1} if last <= EACH_EPOCH else {}),
        )  # fmt: skip
        rising = _rates(curves) if what == RATE else _scores(curves, what)
        made[f"yaxis{suffix}"] = axis("", domain=down, anchor=f"x{suffix}", **rising)
        made["annotations"].append(heading(title, across[0], down[1]))
        for order, curve in _in_front(curves):
            look = _look(curve, order, few=few, symbols=last <= EACH_EPOCH)
            traces.append(look | _drawn(curve, what, suffix) | {"showlegend": place == 0 and "name" in look})
    return {"data": traces, "layout": made}


def _rates(curves: Sequence[Curve]) -> dict[str, Any]:
    """Return what an axis of learning rates is like: logarithmic where they are far apart."""
    known = [rate for curve in curves for rate in curve.values[RATE] if rate is not None and rate > 0]
    if known and max(known) / min(known) >= LOGARITHMIC:
        return {"type": "log", "exponentformat": "power"}
    return {"rangemode": "tozero", "exponentformat": "power"}


def _scores(curves: Sequence[Curve], what: str) -> dict[str, Any]:
    """Return what an axis of scores is like: never so fine that equal ones look far apart."""
    known = [score for curve in curves for score in curve.values[what] if score is not None]
    if not known or max(known) - min(known) >= LEAST_SPAN:
        return {}
    middle = (max(known) + min(known)) / 2
    return {"range": [middle - LEAST_SPAN, middle + LEAST_SPAN]}


def _domain(place: int, of: int, between: float) -> list[float]:
    """Return where one of so many equal parts begins and ends."""
    size = (1 - between * (of - 1)) / of
    return [place * (size + between), min(1.0, place * (size + between) + size)]


def _in_front(curves: Sequence[Curve]) -> list[tuple[int, Curve]]:
    """Return the curves with their places, the baseline and the best last: they lie on top."""
    return sorted(enumerate(curves), key=lambda each: (each[1].is_best, each[1].is_baseline))


def _drawn(curve: Curve, what: str, suffix: str) -> dict[str, Any]:
    written = "%{y:.3g}" if what == RATE else "%{y:.4f}"
    return {
        "type": "scatter",
        "x": list(curve.epochs),
        "y": list(curve.values[what]),
        "xaxis": f"x{suffix}",
        "yaxis": f"y{suffix}",
        "meta": text(curve.label).replace(", ", "<br>"),
        "hovertemplate": f"<b>{written}</b>, epoch %{{x}}<br>%{{meta}}<extra></extra>",
    }


def _look(curve: Curve, order: int, *, few: bool, symbols: bool) -> dict[str, Any]:
    """Return a curve's line and symbols; a name, and so a place in the legend, where it is told apart from others."""
    group = {"legendgroup": str(order), "name": text(curve.name)}
    mode = {"mode": "lines+markers" if symbols else "lines"}
    told = ", ".join(word for word, so in (("best", curve.is_best), ("baseline", curve.is_baseline)) if so)
    if told:
        line = {
            "color": ACCENT if curve.is_best else INK,
            "width": 2.6,
            "dash": "dash" if curve.is_baseline else "solid",
        }
        group["name"] += f" ({told})"
        return group | mode | {"line": line, "marker": {"symbol": "circle", "size": 7}}
    if few:
        colour, symbol = COLOURS[order % len(COLOURS)], SYMBOLS[order % len(SYMBOLS)]
        return group | mode | {"line": {"color": colour, "width": 1.4}, "marker": {"symbol": symbol, "size": 6}}
    return mode | {"line": {"color": GREY, "width": 1}, "marker": {"size": 3}, "opacity": 0.5}
