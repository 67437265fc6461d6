"""The watchdog: a process that stands still ends and says where it stood."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys, time
from pathlib import Path
from orchestrator import watchdog

watchdog.REARM_S = 0.1
dog = watchdog.Watchdog(Path(sys.argv[1]), 0.8)
dog.arm()

def stands_still():
    end = time.monotonic() + 3
    while time.monotonic() < end:
        if sys.argv[2] == "beats":
            dog.beat()
        time.sleep(0.05)

if sys.argv[2] == "rests":
    dog.rest()
stands_still()
dog.close()
print("went on")
"""


@pytest.mark.parametrize("how", ["beats", "rests", "hangs"])
def test_only_a_process_without_a_beat_is_ended(tmp_path, how):
    """Its stacks lie in the file; one that went on leaves none."""
    file = tmp_path / "hang.txt"

    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(file), how],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ("went on" in done.stdout) == (how != "hangs"), done.stderr
    assert (done.returncode == 0) == (how != "hangs")
    assert file.exists() == (how == "hangs")
    if how == "hangs":
        assert "stands_still" in file.read_text(encoding="utf-8")
