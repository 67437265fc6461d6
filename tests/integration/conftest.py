"""Real sweeps as a person starts them: a process with Ray, MLflow and a database, on tiny data."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 300

LIST = '''"""Which heads suit the tiny encoder?"""

from dataclasses import replace

from model.config import HeadConfig, TrialConfig
from orchestrator.spec import Sweep

BASE = TrialConfig(epochs=3, batch_size=8, learning_rate=1e-2, max_tokens=64)

SWEEP = Sweep(
    question="Which heads suit the tiny encoder?",
    baseline=BASE,
    configs=[
        replace(BASE, heads=HeadConfig(common_layers=common, task_layers=task))
        for common, task in [(1, 1), (0, 1), (0, 2), (2, 1)]
    ],
)
'''


@dataclass
class Command:
    """A sweep's command line, to be run once or again."""

    file: Path
    out: Path
    data: Path
    encoder: Path
    more: list = field(default_factory=list)

    @property
    def folder(self):
        """Return where the sweep's files are."""
        return self.out / self.file.stem

    def start(self, *more):
        """Start the process, with its output to be read line by line."""
        line = [sys.executable, "-m", "orchestrator.sweep", str(self.file), "--out", str(self.out)]
        line += ["--data", str(self.data), "--encoder", str(self.encoder), *self.more, *more]
        return subprocess.Popen(
            line,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"COLUMNS": "200"},
        )

    def run(self, *more, expect=0):
        """Run to the end and return its output, which is shown where the exit code is another."""
        process = self.start(*more)
        output, errors = process.communicate(timeout=TIMEOUT_S)
        assert process.returncode == expect, f"exit code {process.returncode}\n{output}\n{errors}"
        return output

    def stop_at(self, event, number, *more):
        """Run until an event of a kind came so often, then send a signal; return exit code and the rest's output."""
        process = self.start("--json", *more)
        seen = 0
        for line in process.stdout:
            seen += json.loads(line)["event"] == event
            if seen >= 2:
                break
        process.send_signal(number)
        output, errors = process.communicate(timeout=TIMEOUT_S)
        return process.returncode, output + errors

    def board(self):
        """Return the leaderboard as it was written."""
        return json.loads((self.folder / "leaderboard.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def space_file(tmp_path_factory):
    """Return a search-space file of four configs."""
    path = tmp_path_factory.mktemp("space") / "tiny.py"
    path.write_text(LIST, encoding="utf-8")
    return path


@pytest.fixture
def command(space_file, tmp_path, tiny_data, tiny_encoder):
    """Return a sweep that was not started yet."""
    return Command(space_file, tmp_path / "runs", tiny_data, tiny_encoder)


@pytest.fixture(scope="session")
def finished(space_file, tmp_path_factory, tiny_data, tiny_encoder):
    """Return a sweep that ran to its end undisturbed."""
    command = Command(space_file, tmp_path_factory.mktemp("finished"), tiny_data, tiny_encoder)
    command.run()
    return command
