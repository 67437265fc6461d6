"""Noise pair by pair: what a trial has of its own, and which trials are one."""

import numpy as np
import pytest

from evidence.pairs import LEAST, distinct_trials, own_noise


@pytest.mark.parametrize("size", [2, 3, 6])
def test_own_and_shared_noise_are_told_apart(size):
    """A covariance that is made of the two gives them back; of two trials only the sum is known."""
    own = np.linspace(1.0, 1.0 if size == 2 else 3.0, size)

    found, shared = own_noise(5.0 + np.diag(own))

    assert found == pytest.approx(own)
    assert shared == pytest.approx(5.0)


def test_one_trial_shares_all_of_its_noise():
    """There is nobody to differ from, and nothing is divided by 0."""
    found, shared = own_noise(np.array([[4.0]]))

    assert (found.tolist(), shared) == ([LEAST], 4.0)


def test_rows_of_one_model_are_one():
    """Equal scores with equal noise; equal scores alone are a coincidence."""
    noise = np.array([[1.0, 1.0, 0.5], [1.0, 1.0, 0.5], [0.5, 0.5, 1.0]])

    place, distinct = distinct_trials(np.array([0.7, 0.7, 0.7]), noise)

    assert (place.tolist(), distinct) == ([0, 0, 1], [0, 2])
