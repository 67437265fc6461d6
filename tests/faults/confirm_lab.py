"""A finished sweep of three tiny configs, and the confirm command on it, to be disturbed."""

import json
import os
import subprocess
import sys

from tests.faults.lab import ENVIRONMENT, ROOT, TIMEOUT_S, Lab

TOP, SEEDS = 2, 3
OPTIONS = ("--top", str(TOP), "--seeds", str(SEEDS))
SPACE = '''"""Which rate suits the tiny encoder?"""

from dataclasses import replace

from model.config import TrialConfig
from orchestrator.spec import Sweep

BASE = TrialConfig(epochs=1, batch_size=8, learning_rate=1e-3, max_tokens=32, unfrozen_layers=1)

SWEEP = Sweep(
    question="Which rate suits the tiny encoder?",
    baseline=BASE,
    configs=[replace(BASE, learning_rate=rate) for rate in (1e-3, 1e-2, 2e-3)],
)
'''


def confirm_lab(folder, data, encoder):
    """Return a lab of such a sweep, which has not begun."""
    lab = Lab(folder, data, encoder, epochs=1)
    lab.file.write_text(SPACE, encoding="utf-8")
    return lab


def confirm(lab, *more, out=None, expect=0):
    """Run the confirm command on a lab's sweep, and return what it printed; a negative exit code is a signal's."""
    line = [sys.executable, "-m", "orchestrator.confirm", "tiny", "--out", str(out or lab.out), *more]
    found = subprocess.run(
        line,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
        env=os.environ | ENVIRONMENT | {"SWEEP_FAULTS": str(lab.faults), "COLUMNS": "200"},
    )
    assert found.returncode == expect, f"exit code {found.returncode}\n{found.stdout[-3000:]}\n{found.stderr[-3000:]}"
    return found.stdout + found.stderr


def lasting_confirmation(out):
    """Return what a confirmation found, without times."""
    found = json.loads((out / "tiny" / "confirm" / "confirmation.json").read_text(encoding="utf-8"))
    for name in ("spent", "spent_a_decision"):
        del found[name]
    for row in found["rows"]:
        del row["train_seconds"]
    return found
