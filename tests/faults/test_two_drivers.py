"""Two drivers of one sweep, started together: one works, the other is refused at once and told who has it."""

import os

import pytest

from tests.faults.checker import lasting

pytestmark = pytest.mark.slow
PAIRS = int(os.environ.get("SWEEP_PAIRS", "2"))
"""So many in `make test`; `make pairs` takes 20."""


def test_of_two_drivers_started_together_one_is_refused(undisturbed):
    """Whichever comes second ends with exit code 5 and names the first; never do both hold the sweep."""
    lines, board = len(undisturbed.log()), lasting(undisturbed.board())
    refused = []
    for _ in range(PAIRS):
        both = [undisturbed.start(), undisturbed.start()]
        codes = sorted(process.wait(120) for process in both)
        assert codes in ([0, 5], [0, 0])  # one after the other, where the second was slow to start
        refused.append(codes.count(5))
    held = None
    for line in undisturbed.log()[lines:]:
        if line["at"] == "lease: taken":
            assert held is None, f"{line['pid']} took what {held} held"
            held = line["pid"]
        elif line["at"] == "lease: released":
            assert held == line["pid"]
            held = None
    print(f"{sum(refused)} of {PAIRS} refused")
    assert sum(refused) >= PAIRS / 2
    assert f"sweep {undisturbed.name!r} is running already on" in undisturbed.output()
    assert lasting(undisturbed.board()) == board
