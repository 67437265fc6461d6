"""A sweep to be disturbed: the real command on tiny data, and the log of what its processes did, which never lies.

The log is written by model/failpoints.py, a line a reached place, appended whole before what it announces.
"""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.environment import hear_signals

hear_signals()  # for every program that disturbs a lab, however it was started
ROOT = Path(__file__).parents[2]
TIMEOUT_S = 300
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "PYTHONFAULTHANDLER": "1"}
"""The second lets SIGABRT show where a driver stands that does not end."""

SPACE = '''"""Which of these tiny configs is best?"""

from dataclasses import replace

from model.config import HeadConfig, TrialConfig
from orchestrator.halving import Halving
from orchestrator.spec import Sweep

PLAIN = HeadConfig(dropout=0.0)
BASE = TrialConfig(epochs={epochs}, batch_size=8, learning_rate=3e-3, max_tokens=32, unfrozen_layers=1, heads=PLAIN)

SWEEP = Sweep(
    question="Which of these tiny configs is best?",
    baseline=BASE,
    early_stopping={halving},
    configs=[replace(BASE, seed=seed, heads=HeadConfig(dropout=0.1 * (seed % 3))) for seed in range({trials})],
)
'''


@dataclass
class Lab:
    """One sweep in a folder of its own."""

    folder: Path
    data: Path
    encoder: Path
    trials: int = 4
    epochs: int = 3
    more: list[str] = field(default_factory=list)
    name: str = "tiny"
    halving: bool = False
    """Whether trials are stopped early."""
    mlflow: str | None = None
    """The MLflow server, where it is not the file under OUT."""
    environment: dict[str, str] = field(default_factory=dict)
    sessions: set[int] = field(default_factory=set)
    """Of every driver that was started; a process keeps its session whatever becomes of its parent and its title."""

    def __post_init__(self):
        """Make the folder and the search space."""
        self.faults.mkdir(parents=True, exist_ok=True)
        halving = "Halving(first=1, factor=2)" if self.halving else None
        text = SPACE.format(trials=self.trials, epochs=self.epochs, halving=halving)
        self.file.write_text(text, encoding="utf-8")

    @property
    def faults(self):
        """Return the folder of the log."""
        return self.folder / "faults"

    @property
    def file(self):
        """Return the search space."""
        return self.folder / "tiny.py"

    @property
    def out(self):
        """Return where results go."""
        return self.folder / "runs"

    @property
    def sweep(self):
        """Return the sweep's folder."""
        return self.out / self.name

    def arm(self, at, do, hit=1, **facts):
        """Ask for a fault, which happens once."""
        self.arm_all({"at": at, "do": do, "hit": hit, "facts": facts})

    def arm_all(self, *faults):
        """Ask for several, in any order."""
        self.disarm()
        for path in self.faults.glob("fired-*"):
            path.unlink()
        whole = self.faults / ".armed"
        whole.write_text(json.dumps(faults), encoding="utf-8")
        whole.rename(self.faults / "armed")

    def disarm(self):
        """Ask for no more faults."""
        (self.faults / "armed").unlink(missing_ok=True)

    @property
    def fired(self):
        """Return how many of the faults that were asked for last have happened."""
        return len(list(self.faults.glob("fired-*")))

    def log(self):
        """Return what was reached so far, in order."""
        path = self.faults / "log"
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []

    def note(self, **facts):
        """Take down what was done to the sweep, among what its processes did."""
        with (self.faults / "log").open("a", encoding="utf-8") as log:
            log.write(json.dumps({**facts, "pid": os.getpid(), "time": time.time()}) + "\n")

    def start(self, *more, output=subprocess.DEVNULL):
        """Start the command; it leads a process group of its own, as from a terminal."""
        line = [sys.executable, "-m", "orchestrator.sweep", str(self.file), "--out", str(self.out), "--json"]
        line += ["--data", str(self.data), "--encoder", str(self.encoder), "--cpus-per-trial", "1"]
        line += ["--epochs", str(self.epochs), *self.more, *more]  # a profile sets what is left at its default
        with (self.folder / "output").open("a") as shown:
            process = subprocess.Popen(
                line,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output if output != subprocess.DEVNULL else shown,
                stderr=shown,
                text=True,
                start_new_session=True,
                env=os.environ | {"SWEEP_FAULTS": str(self.faults)} | ENVIRONMENT | self.environment,
            )
        self.sessions.add(process.pid)
        return process

    def run(self, *more, expect=(0,), timeout=TIMEOUT_S):
        """Run the command to its end; return its exit code and the seconds that it took."""
        started = time.monotonic()
        process = self.start(*more)
        code = process.wait(timeout)
        assert code in expect, f"exit code {code}\n{self.output()[-4000:]}"
        return code, time.monotonic() - started

    def output(self):
        """Return what all starts printed."""
        return (self.folder / "output").read_text(encoding="utf-8")

    def board(self):
        """Return the leaderboard as it was written."""
        return json.loads((self.sweep / "leaderboard.json").read_text(encoding="utf-8"))

    def wait_for(self, at, timeout=120, **facts):
        """Wait until a place is reached, and return the line."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            for line in self.log():
                if line["at"] == at and all(line.get(key) == value for key, value in facts.items()):
                    return line
            time.sleep(0.05)
        raise TimeoutError(f"{at} was not reached\n{self.output()[-2000:]}")

    def processes(self):
        """Return the processes that belong to this lab: of its drivers' sessions, or such as log into its folder."""
        mark = f"SWEEP_FAULTS={self.faults}".encode()
        found = []
        for path in Path("/proc").iterdir():
            if path.name.isdigit() and int(path.name) != os.getpid():
                try:
                    state, session = stat_of(path)
                    if state != "Z" and (session in self.sessions or mark in (path / "environ").read_bytes()):
                        found.append(int(path.name))
                except OSError:
                    continue
        return found

    def kill_all(self):
        """End whatever is left, for a test that failed."""
        for pid in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                continue


def stat_of(process):
    """Return a process's state letter and its session in /proc."""
    fields = (process / "stat").read_text().rpartition(")")[2].split()
    return fields[0], int(fields[3])
