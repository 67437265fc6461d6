"""A space is tried at its corners and at random points before a sweep starts."""

import itertools
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.config import HeadConfig, TrialConfig
from orchestrator import probing
from orchestrator.errors import SweepError
from orchestrator.probing import probe

BASE = TrialConfig(max_tokens=32, epochs=2, batch_size=16)
FILE = Path("s.py")


def small(trial):
    """Return a config of a space with every kind of parameter."""
    return replace(
        BASE,
        unfrozen_layers=trial.suggest_categorical("unfrozen_layers", [1, 2, "all"]),
        learning_rate=trial.suggest_float("learning_rate", 1e-5, 1e-3, log=True),
        heads=HeadConfig(common_layers=trial.suggest_int("heads.common_layers", 0, 2)),
    )


def test_probing_gives_random_points_and_every_corner():
    """All combinations of the ranges' ends and of the choices are there."""
    found = [point.config for point in probe(small, FILE)]
    corners = {
        (unfrozen, rate, common) for unfrozen, rate, common in itertools.product([1, 2, "all"], [1e-5, 1e-3], [0, 2])
    }

    assert {(c.unfrozen_layers, c.learning_rate, c.heads.common_layers) for c in found} >= corners
    assert len(found) == 64 + len(corners)
    assert found == [point.config for point in probe(small, FILE)]


def test_a_parameter_that_only_one_choice_brings_up_has_its_corners_too():
    """Of two branches, each with its own range, both ends of both are tried."""

    def branches(trial):
        if trial.suggest_categorical("unfrozen_layers", [1, "all"]) == "all":
            return replace(BASE, unfrozen_layers="all", learning_rate=trial.suggest_float("rate.all", 1e-6, 1e-5))
        return replace(BASE, unfrozen_layers=1, learning_rate=trial.suggest_float("rate.one", 1e-4, 1e-3))

    found = {(c.unfrozen_layers, c.learning_rate) for c in (point.config for point in probe(branches, FILE))}

    assert found >= {("all", 1e-6), ("all", 1e-5), (1, 1e-4), (1, 1e-3)}


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4))
@settings(max_examples=40, deadline=None)
def test_corners_are_each_tried_once(sizes):
    """Of choices of any number, as many points as there are combinations, none of them twice."""
    seen = []

    def space(trial):
        seen.append(tuple(trial.suggest_categorical(f"c{i}", list(range(size))) for i, size in enumerate(sizes)))
        return replace(BASE, seed=trial.suggest_int("seed", 0, 1))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probing, "RANDOM_POINTS", 0)
        probe(space, FILE)

    every = list(itertools.product(*(range(size) for size in sizes)))
    assert sorted(seen) == sorted(every * 2)


def test_a_huge_space_is_tried_at_some_corners_alone():
    """Ten parameters have a thousand corners: each end of each is among those that are tried."""

    def wide(trial):
        values = [trial.suggest_int(f"p{i}", 0, 1) for i in range(12)]
        wide.ends |= {(i, value) for i, value in enumerate(values)}
        return replace(BASE, seed=sum(values))

    wide.ends = set()

    assert len(probe(wide, FILE)) == 64 + probing.CORNERS
    assert len(wide.ends) == 24


def _raises(trial):
    trial.suggest_int("epochs", 1, 1)
    raise KeyError("nowhere")


def _wrong_type(trial):
    return {"learning_rate": trial.suggest_float("learning_rate", 0, 1)}


def _nothing_varies(trial):
    trial.suggest_int("epochs", 1, 9)
    return BASE


def _low_above_high(trial):
    return replace(BASE, epochs=trial.suggest_int("epochs", 9, 1))


def _log_of_zero(trial):
    return replace(BASE, learning_rate=trial.suggest_float("learning_rate", 0.0, 1e-3, log=True))


def _no_choice(trial):
    return replace(BASE, epochs=trial.suggest_categorical("epochs", []))


def _exits(_):
    raise SystemExit(3)


def _two_ranges(trial):
    trial.suggest_int("epochs", 1, 3)
    return replace(BASE, epochs=trial.suggest_float("epochs", 1, 3))


def _only_an_end_is_wrong(trial):
    return replace(BASE, epochs=trial.suggest_int("epochs", 0, 100_000))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (_raises, "s.py: the space fails at {'epochs': 1}: KeyError: 'nowhere'"),
        (_wrong_type, "the space returns a dict; expected a TrialConfig"),
        (_nothing_varies, "s.py: nothing varies in the space; expected trial.suggest_..."),
        (_low_above_high, "must hold, but got (low=9, high=1)"),
        (_log_of_zero, "low=0.0"),
        (_no_choice, "The `choices` must contain one or more elements"),
        (_exits, "the space fails at {}: SystemExit: 3"),
        (_two_ranges, "the space fails at {'epochs': "),
        (_only_an_end_is_wrong, "the space fails at {'epochs': 0}: epochs is 0: input should be greater than or equal"),
        (_only_an_end_is_wrong, "input should be less than or equal to 10000"),
    ],
)
def test_a_space_that_is_wrong_is_refused_before_a_sweep_starts(wrong, said):
    """The error names the file, what the space did and where; each problem is told once."""
    with pytest.raises(SweepError) as caught:
        probe(wrong, FILE)

    lines = str(caught.value).split("\n")
    assert said in str(caught.value)
    assert len(lines) <= 2
    assert all(line.startswith("s.py") for line in lines)


def test_a_slow_space_is_tried_at_as_many_points_as_the_time_allows(monkeypatch):
    """Its corners first; that some are left is no fault of the space."""
    monkeypatch.setattr(probing, "PROBE_S", 0.5)

    def slow(trial):
        time.sleep(0.02)
        return replace(BASE, seed=trial.suggest_int("seed", 0, 9), batch_size=trial.suggest_int("batch_size", 1, 9))

    found = {(point.config.seed, point.config.batch_size) for point in probe(slow, FILE)}

    assert found >= {(0, 1), (0, 9), (9, 1), (9, 9)}
    assert len(found) < 64


def test_a_space_that_never_returns_is_given_up(monkeypatch):
    """A loop without an end is told after the limit."""
    monkeypatch.setattr(probing, "PROBE_S", 0.2)

    def endless(_):
        while True:
            pass

    with pytest.raises(SweepError, match="the space took 0 s for 0 points"):
        probe(endless, FILE)
