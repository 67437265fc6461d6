"""Commands as a person gives them, in this process or in one of their own, and the one line that an error is."""

import subprocess
import sys
from pathlib import Path

from typer.testing import CliRunner

ROOT = Path(__file__).parents[1]


def invoke(app, *arguments):
    """Run a command in this process."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def run(module, *arguments, timeout_s=120):
    """Run a command as a process of its own, as a person does."""
    return subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def one_error(result, code=2):
    """Return the only error line of a command that ended with this code, without a traceback or output."""
    found = result.returncode if isinstance(result, subprocess.CompletedProcess) else result.exit_code
    assert (found, result.stdout) == (code, ""), result.stderr
    assert "Traceback" not in result.stderr
    lines = [line for line in result.stderr.splitlines() if not line.startswith(" ")]
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")
    return lines[0].removeprefix("error: ")
