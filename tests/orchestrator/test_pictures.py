"""The report's figures: known answers, and plotly's own word that it would draw what they say."""

import pytest
from plotly.graph_objects import Figure

from orchestrator.curves import OVERALL, RATE, TOLD_APART, Curve, panels
from orchestrator.parallel_axes import BELOW_ALL, parallel, scale
from orchestrator.pictures import MARKS, NAMED, Point, front, score_by_time, scores


def point(rank, best=0.7, seconds=10.0, verdict="tied", values=(1,), **more):
    """Return a config's point."""
    name = f"rate {rank}"
    more = {"low": best - 0.01, "high": best + 0.01} | more
    return Point(rank=rank, name=name, label=name, best=best, verdict=verdict, seconds=seconds, values=values, **more)


def curve(number, *, epochs=2, is_best=False, is_baseline=False, score=0.5):
    """Return a trial's curve."""
    values = {OVERALL: [score] * epochs, RATE: [1e-5] * epochs, "sentiment": [None] * epochs}
    name = f"trial {number:04d}"
    return Curve(
        name=name, label=name, is_best=is_best, is_baseline=is_baseline, epochs=range(1, epochs + 1), values=values
    )


def test_the_front_is_what_no_other_beats_in_as_little_time():
    """By time; of two in the same time the better, and nothing without a time."""
    cheap, good, best = point(3, 0.6, 10.0), point(2, 0.7, 20.0), point(1, 0.8, 40.0)
    worse, slower, untimed = point(5, 0.5, 10.0), point(4, 0.7, 30.0), point(6, 0.9, None)

    assert front([best, good, cheap, slower, worse, untimed]) == [cheap, good, best]
    assert front([untimed]) == []


@pytest.mark.parametrize("size", [1, 2, 7, NAMED, NAMED + 1, 300])
@pytest.mark.parametrize("missing", [False, True])
def test_plotly_takes_every_figure(size, missing):
    """Of one config or hundreds, also where intervals, times or values are missing."""
    gaps = {"low": None, "high": None, "seconds": None} if missing else {}
    points = [
        point(n + 1, 0.8 - n / 1000, verdict=list(MARKS)[n % len(MARKS)], values=(n, None if missing else "a"), **gaps)
        for n in range(size)
    ]
    curves = [curve(n, is_best=n == 0, is_baseline=n == 1, epochs=3) for n in range(size)]

    for made in (
        scores(points),
        score_by_time(points),
        parallel(points, ["a", "b"]),
        panels(curves, [(OVERALL, "overall"), ("sentiment", "sentiment"), (RATE, "rate")]),
    ):
        assert Figure(made).data  # raises where a property is unknown or a value is none that it takes


def test_a_verdict_is_told_by_colour_and_by_symbol():
    """Either alone tells it, but for tentative ones, whose symbol is the open one."""
    assert len({symbol for _, symbol in MARKS.values()}) == len(MARKS)
    traces = scores([point(1, verdict="better"), point(2, verdict="worse"), point(3, verdict="baseline")])["data"]

    assert {t["name"]: (t["marker"]["color"], t["marker"]["symbol"]) for t in traces} == {
        name: MARKS[name] for name in ("better", "worse", "baseline")
    }


def test_the_interval_and_the_baselines_line_stand_at_the_scores():
    """Bars reach from the score to the interval's ends; the line is the baseline's score."""
    made = scores([point(1, 0.75, low=0.70, high=0.77), point(2, 0.5, verdict="baseline")])

    bars = next(trace for trace in made["data"] if trace["name"] == "tied")["error_x"]
    assert (bars["arrayminus"], bars["array"]) == ([pytest.approx(0.05)], [pytest.approx(0.02)])
    assert [shape["x0"] for shape in made["layout"]["shapes"]] == [0.5]


def test_names_are_text_and_not_markup():
    """Plotly reads tags in texts: none that a person wrote."""
    bad = Point(
        rank=1,
        name="<b>x",
        label="<a href=y>x",
        best=0.5,
        low=None,
        high=None,
        verdict="tied",
        seconds=1.0,
        values=("<i>",),
    )

    for made in (scores([bad]), score_by_time([bad]), parallel([bad, bad], ["<u>t"])):
        assert not any(tag in str(made) for tag in ("<b>x", "<a", "<i>", "<u>"))


def test_few_curves_are_told_apart_and_many_are_a_crowd():
    """Each of few has a name, a colour and a symbol; of many only the best and the baseline have a name."""
    for size, named in ((TOLD_APART, TOLD_APART), (TOLD_APART + 1, 2)):
        curves = [curve(n, is_best=n == 1, is_baseline=n == 0) for n in range(size)]
        traces = panels(curves, [(OVERALL, "overall"), (RATE, "rate")])["data"]
        assert len(traces) == 2 * size
        assert sum(trace["showlegend"] for trace in traces) == named
        assert [trace["name"] for trace in traces[size - 2 : size]] == ["trial 0000 (baseline)", "trial 0001 (best)"]


def test_learning_rates_far_apart_have_a_logarithmic_axis():
    """3e-4 beside 5e-6 would hide the latter."""
    near, far = curve(0), curve(1)
    far.values[RATE][0] = 3e-4

    assert "type" not in panels([near], [(RATE, "rate")])["layout"]["yaxis"]
    assert panels([near, far], [(RATE, "rate")])["layout"]["yaxis"]["type"] == "log"


def test_scores_that_are_alike_are_drawn_so():
    """An axis is never so fine that noise looks like a difference."""
    low, high = panels([curve(0, score=0.5)], [(OVERALL, "overall")])["layout"]["yaxis"]["range"]

    assert low < 0.5 < high
    assert high - low > 0.05


@pytest.mark.parametrize(
    ("values", "places", "ticks"),
    [
        ([1, 3, 2], [0.0, 1.0, 0.5], ["1", "2", "3"]),
        ([1e-5, 1e-3, 1e-4], [0.0, 1.0, 0.5], ["1e-05", "0.0001", "0.001"]),
        ([2, "all", 1], [0.5, 1.0, 0.0], ["1", "2", "all"]),
        (["separate", "joint"], [1.0, 0.0], ["joint", "separate"]),
        ([0.5, 0.5], [0.5, 0.5], ["0.5"]),
        ([None, 1.0, 2.0], [0.0, BELOW_ALL, 1.0], ["-", "1", "2"]),
        ([None, None], [0.5, 0.5], ["-"]),
        ([True, False], [1.0, 0.0], ["False", "True"]),
    ],
)
def test_an_axis_orders_numbers_and_words(values, places, ticks):
    """Numbers by size, on a logarithmic axis where they are far apart; words after them; what is missing below all."""
    axis = scale("x", values)

    assert list(axis.places) == pytest.approx(places)
    assert [word for _, word in axis.ticks] == ticks


def test_the_best_configs_are_in_front():
    """The best tenth, forty at most; the baseline dashed; all others behind."""
    points = [point(n + 1, 0.9 - n / 1000, verdict="baseline" if n == 150 else "tied") for n in range(200)]

    others, baseline, best = parallel(points, ["a"])["data"]

    assert (others["name"], baseline["name"], best["name"]) == ("the others", "baseline", "the best 20")
    assert [sum(x is None for x in trace["x"]) for trace in (others, baseline, best)] == [179, 1, 20]
