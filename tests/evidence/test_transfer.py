"""Whether a ranking transfers: scipy's tau, perfect and reversed rankings, regret."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from evidence.transfer import transfer


def noise(size, variance=1e-6):
    """Return independent noise of equal variance."""
    return variance * np.eye(size)


@given(st.permutations(range(6)))
def test_tau_is_scipys(order):
    """Without ties tau-a and tau-b are one."""
    x, y = np.arange(6.0), np.array(order, float)

    found = transfer(x, y, noise(6), noise(6), draws=50)

    assert found.tau == pytest.approx(stats.kendalltau(x, y).statistic)
    assert found.tau_interval[0] <= found.tau <= found.tau_interval[1]


def test_a_ranking_that_transfers_costs_nothing():
    """Tau is 1, what repeats would reach too, and the cheap choice is the best one."""
    x = np.array([0.60, 0.65, 0.70, 0.62])

    found = transfer(x, x + 0.05, noise(4, 1e-9), noise(4, 1e-9))

    assert (found.tau, found.tau_of_repeats) == (1.0, 1.0)
    assert found.regret == pytest.approx(0.0, abs=1e-6)


def test_the_regret_of_a_wrong_choice():
    """The cheap sweep's best is 0.08 below the full sweep's best."""
    full = np.array([0.70, 0.78, 0.74])

    found = transfer(-full, full, noise(3, 1e-8), noise(3, 1e-8))

    assert found.tau == -1.0
    assert found.regret == pytest.approx(0.08, abs=1e-3)
    assert found.regret_interval[0] < 0.08 < found.regret_interval[1]


def test_noise_bounds_what_can_be_hoped_for():
    """Where noise is half the spread, two sweeps of equal truth would not agree either, nor is the best one known."""
    x = 0.7 + 0.004 * np.random.default_rng(0).standard_normal(30)

    found = transfer(x, x, noise(30, 4e-6), noise(30, 4e-6))

    assert 0.3 < found.tau_of_repeats < 0.8
    assert found.regret > 0


def test_other_configs_are_refused():
    """The two sweeps have the same configs, and more than one."""
    with pytest.raises(ValueError, match="expected the same two configs or more"):
        transfer(np.zeros(3), np.zeros(2), noise(3), noise(2))
    with pytest.raises(ValueError, match="expected the same two configs or more"):
        transfer(np.zeros(1), np.zeros(1), noise(1), noise(1))
