"""Failpoints: nothing happens unless it is asked for, and then once."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from model.failpoints import VARIABLE, reach, watched
from tests.faults.lab import Lab

ROOT = Path(__file__).parents[2]


@pytest.fixture
def faults(tmp_path, monkeypatch):
    """Return a lab's folder of faults, which this process logs into."""
    lab = Lab(tmp_path, tmp_path, tmp_path)
    monkeypatch.setenv(VARIABLE, str(lab.faults))
    return lab


def test_without_the_variable_nothing_is_written(tmp_path, monkeypatch):
    """A place that is reached leaves no trace."""
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)

    reach("a place")

    assert not watched()
    assert list(tmp_path.iterdir()) == []


def test_each_place_that_is_reached_is_a_line(faults):
    """In order, with what was said of it."""
    reach("one", trial=3)
    reach("two")

    assert [(line["at"], line.get("trial")) for line in faults.log()] == [("one", 3), ("two", None)]


def test_a_fault_happens_at_its_place_and_time_and_once(faults):
    """The second time that the place is reached with these facts, and never again."""
    faults.arm("write", "disk full", 2, trial=1)
    reach("write", trial=1)
    reach("other", trial=1)
    reach("write", trial=2)

    with pytest.raises(OSError, match="No space left") as caught:
        reach("write", trial=1)

    assert caught.value.errno == errno.ENOSPC
    reach("write", trial=1)
    assert faults.fired


def test_a_process_can_be_made_to_die_there(faults):
    """As by kill -9, with the line that says it was there."""
    faults.arm("write", "kill")

    done = subprocess.run(
        [sys.executable, "-c", "from model.failpoints import reach; reach('write')"], cwd=ROOT, check=False
    )

    assert done.returncode == -9
    assert [line["at"] for line in faults.log()] == ["write"]
