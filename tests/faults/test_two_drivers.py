"""Two drivers of one sweep, started together: one works, the other is refused at once and told who has it."""

import os
import re
import subprocess
import time

import pytest

from tests.faults.checker import violations
from tests.faults.lab import Lab

pytestmark = pytest.mark.slow
PAIRS = int(os.environ.get("SWEEP_PAIRS", "1"))
"""So many in `make test`; `make pairs` takes 20."""


def test_of_two_drivers_started_together_one_is_refused(tmp_path, tiny_data, tiny_encoder):
    """One trains the sweep, each trial in one process; the other ends with exit code 5 and names it."""
    took = []
    for number in range(PAIRS):
        lab = Lab(tmp_path / str(number), tiny_data, tiny_encoder, trials=2, epochs=1)
        started = time.monotonic()
        both = [lab.start(output=subprocess.PIPE) for _ in range(2)]
        while all(process.poll() is None for process in both):
            time.sleep(0.02)
        refused, other = sorted(both, key=lambda process: process.poll() is None)
        took.append(time.monotonic() - started)
        assert refused.returncode == 5
        other.communicate(timeout=120)
        assert other.returncode == 0

        named = re.search(r"sweep 'tiny' is running already on .*, pid (\d+), since", lab.output())
        assert named is not None
        assert int(named[1]) == other.pid
        assert [line["pid"] for line in lab.log() if line["at"] == "driver: holds the sweep"] == [other.pid]
        trained = {(line["trial"], line["pid"]) for line in lab.log() if line["at"] == "step: taken"}
        assert sorted(trial for trial, _ in trained) == [0, 1]
        assert violations(lab, None, again=False) == {}
    print(f"{PAIRS} of {PAIRS} refused, {min(took):.1f} to {max(took):.1f} s after both were started")
