"""Where the sweep prints."""

import subprocess
import sys

import pytest

PROGRAM = """
import sys
from orchestrator.console import console, say
out = console()
for _ in range(50_000):
    PRINT
print("reached the end", file=sys.stderr)
"""


@pytest.mark.parametrize("call", ["out.print('line')", "say('line')"])
def test_a_closed_pipe_ends_nothing(call):
    """As with `| head -1`: what nobody reads is not printed, and the program goes on to its end."""
    pipe = 'set -o pipefail; "$0" -c "$1" | head -1'
    done = subprocess.run(
        ["bash", "-c", pipe, sys.executable, PROGRAM.replace("PRINT", call)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "line\n", "reached the end\n")
