"""Where the sweep prints."""

import os
import pty
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


@pytest.mark.parametrize("call", ["out.print('line')", "say('line')"])
def test_a_closed_terminal_ends_nothing(call, tmp_path):
    """As where a window is closed, or a connection lost: the program goes on to its end."""
    end = tmp_path / "end"
    program = PROGRAM.replace("PRINT", call).replace("import sys\n", "import sys\ninput()\n", 1)
    program = program.replace('print("reached the end", file=sys.stderr)', f"open({str(end)!r}, 'w').close()")
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    os.close(ours)
    process.communicate(b"\n", timeout=60)

    assert process.returncode == 0
    assert end.exists()
