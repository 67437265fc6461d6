"""Successive halving: where rungs lie, and who goes on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.halving import Halving

SCORES = st.lists(st.floats(0, 1), max_size=40)


@pytest.mark.parametrize(
    ("first", "factor", "rungs"), [(1, 3, [1, 3, 9]), (2, 2, [2, 4, 8]), (3, 4, [3]), (10, 2, []), (20, 3, [])]
)
def test_rungs_grow_by_the_factor_and_the_last_epoch_is_none(first, factor, rungs):
    """Of ten epochs, these are judged."""
    halving = Halving(first=first, factor=factor)

    assert [epoch for epoch in range(1, 11) if halving.is_rung(epoch, 10)] == rungs


@given(SCORES, st.integers(2, 5))
def test_at_a_rung_that_all_have_reached_one_in_factor_goes_on_and_the_best_among_them(scores, factor):
    """Judged against all others, at most one in `factor` of distinct scores goes on, and at least one."""
    scores = list(dict.fromkeys(scores))
    halving = Halving(factor=factor)
    on = [s for i, s in enumerate(scores) if halving.goes_on(s, scores[:i] + scores[i + 1 :])]

    assert len(on) == (max(1, len(scores) // factor) if scores else 0)
    assert sorted(on) == sorted(scores)[len(scores) - len(on) :]


@given(st.floats(0, 1), SCORES, st.integers(2, 5))
def test_a_better_score_never_fares_worse(own, others, factor):
    """Whoever goes on would go on with more."""
    halving = Halving(factor=factor)

    assert halving.goes_on(own, others) <= halving.goes_on(own + 0.1, others)


def test_the_first_to_arrive_goes_on():
    """Nobody waits for others."""
    assert Halving().goes_on(0.0, [])


@pytest.mark.parametrize(("fields", "said"), [({"first": 0}, "first is 0"), ({"factor": 1}, "factor is 1")])
def test_what_stops_nothing_or_everything_is_refused(fields, said):
    """The error says what was given and what was expected."""
    with pytest.raises(ValueError, match=f"{said}; expected"):
        Halving(**fields)
