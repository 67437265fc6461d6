"""The same faults from the same seeds for the sweep and for bare Tune, counted side by side.

    PYTHONPATH=. python -m tests.faults.side_by_side --seeds 1 2

Both train the same tiny configs with the same code, an MLflow server each, and whoever watches starts the same command
again whenever it ended before it was done. What bare is: tests/faults/bare_sweep.py.
"""

import argparse
import json
import re
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path

from tests.faults.bare_sweep import BareLab, InMemoryLab
from tests.faults.checker import LEAVE_S, final_weights
from tests.faults.lab import Lab
from tests.faults.nemesis import Nemesis
from tests.faults.servers import MlflowServer
from tests.tiny import write_data, write_encoder

SIGNALS = ("worker killed", "worker stopped 3 s", "driver killed", "driver stopped 3 s")
SIGNALS += ("Ctrl-C", "Ctrl-C twice", "SIGTERM")
OUTAGES = "MLflow stopped 10 s", "MLflow killed"
"""The faults that exist for both; outages come last, for the sweep trains on meanwhile and would be done too soon."""
PATIENCE = 3
"""Starts in a row that ended undone by themselves and trained nothing new, after which nobody would go on."""
PAUSE_S = (0.5, 1.5)
"""Seconds of training before a fault."""
LONGEST_S = 600
"""Seconds that a sweep is given in all."""
VARIANTS = {Lab: "this sweep", BareLab: "bare", InMemoryLab: "bare, study in memory"}
ERROR = re.compile(r"^[\w.]*(?:Error|Exception|Interrupt)\b.*", re.MULTILINE)


class SameFaults(Nemesis):
    """Injects the same list of faults into either lab, one at a time, and keeps a book of how the driver ended."""

    def __init__(self, lab, mlflow, seed):
        """Start nothing yet."""
        super().__init__(lab, mlflow, None, seed)
        self.exits, self.deaths, self.gave_up, self.until = defaultdict(Counter), Counter(), None, 0
        self.expected, self.offset, self.lines, self.reached, self.vain = False, 0, 0, 0, 0

    def run(self, rounds):
        """Inject each kind of fault so many times, each when trials train after the one before; let the sweep end."""
        started = time.monotonic()
        self.until = started + LONGEST_S
        self.mlflow.start()
        self.start()
        kinds = [*self.kind.sample(SIGNALS * rounds, len(SIGNALS) * rounds), *OUTAGES * rounds]
        faults = [(kind, self.kind.uniform(*PAUSE_S)) for kind in kinds]
        while not self.over():
            self.settle_debts()
            if not faults or self.owed or not self.trains():
                time.sleep(0.2)
                continue
            kind, pause = faults[0]
            time.sleep(pause)
            if self.injected(kind):
                faults.pop(0)
                self.done[kind] += 1
                self.lines = len(self.lab.log())
                print(f"{time.monotonic() - started:6.0f} s  {kind}", flush=True)
        return time.monotonic() - started

    def start(self):
        """Run the command (again)."""
        self.expected, self.offset = False, len(self.lab.output()) if self.starts else 0
        self.lines = len(self.lab.log())
        super().start()

    def trains(self):
        """Return whether a step was taken since the driver's start or the fault before."""
        return any(line["at"] == "step: taken" for line in self.lab.log()[self.lines :])

    def injected(self, kind):
        """Inject a fault, return whether it happened; note whether and how the driver ended with it."""
        if self.driver.poll() is not None:
            return False
        stuck = self.stuck
        happened = self.kinds[kind]()
        if self.stuck > stuck:
            self.exits[kind]["still there after 60 s"] += 1
        elif self.driver.poll() is not None and not kind.startswith(("worker", "MLflow")):
            self.expected = True
            self.exits[kind][self.driver.returncode] += 1
        return happened

    def over(self):
        """Return whether the sweep is done, or nobody would start it again; start it again where it ended."""
        if time.monotonic() > self.until:
            self.gave_up = f"not done in {LONGEST_S} s"
            return True
        code = self.driver.poll()
        if code is None:
            return False
        said = self.lab.output()[self.offset :]
        if code in (0, 3) and "finished" in said[-2000:]:
            return True
        reached = len({(line["trial"], line["epoch"]) for line in self.lab.log() if line["at"] == "state: saved"})
        if not self.expected:
            found = (code and ERROR.findall(said)) or said.strip().splitlines()[-1:] or [f"exit code {code}"]
            self.deaths[found[-1][:160]] += 1
            self.vain = 0 if reached > self.reached else self.vain + 1
        self.reached = reached
        if self.vain >= PATIENCE:
            self.gave_up = f"{PATIENCE} starts in a row trained nothing new"
            return True
        self.settle_debts(now=True)
        self.start()
        return False


def study_of(lab):
    """Return the trials of the lab's study; None where it is kept in memory."""
    import optuna

    from orchestrator.paths import SweepPaths

    uri = lab.study_uri if isinstance(lab, BareLab) else SweepPaths(lab.out, lab.name).study_uri
    return uri and optuna.load_study(study_name=None, storage=optuna.storages.RDBStorage(uri)).get_trials()


def records(lab):
    """Yield what the executor says of each trial: config (by its seed), whether it ended, epochs."""
    from orchestrator.paths import SweepPaths
    from orchestrator.trial_files import read_verdict

    if isinstance(lab, BareLab):
        yield from lab.records()
        return
    for number, trial in enumerate(study_of(lab)):
        verdict = read_verdict(SweepPaths(lab.out, lab.name).trial(number)) or {}
        yield trial.user_attrs["config"]["seed"], "state" in verdict, len(verdict.get("history", ()))


def in_mlflow(lab):
    """Return what MLflow has of the trials."""
    from mlflow import MlflowClient

    client = MlflowClient(lab.mlflow, registry_uri=lab.mlflow)
    runs = client.search_runs([e.experiment_id for e in client.search_experiments()], max_results=5000)
    epochs, counted, wholes = defaultdict(set), Counter(), set()
    for run in runs:
        key = run.data.tags.get("trial") or run.data.params.get("seed")
        if key is None or run.data.tags.get("kind", "trial") != "trial":
            continue
        metric = "dev/score" if "kind" in run.data.tags else "dev_score"
        steps = {point.step for point in client.get_metric_history(run.info.run_id, metric)}
        counted[key] += 1
        epochs[key] |= steps
        wholes |= {key} if len(steps) == lab.epochs else set()
    return {
        "MLflow: runs of trials": counted.total(),
        "MLflow: of these doubled": counted.total() - len(counted),
        "MLflow: runs left RUNNING": sum(run.info.status == "RUNNING" for run in runs),
        "MLflow: configs without one run that has all epochs": lab.trials - len(wholes),
        "MLflow: epochs in no run": lab.trials * lab.epochs - sum(map(len, epochs.values())),
    }


def counts(lab, twin):
    """Return all that is counted after the end."""
    end = time.monotonic() + LEAVE_S
    while (left := lab.processes()) and time.monotonic() < end:
        time.sleep(0.2)
    found = list(records(lab))
    times = Counter(seed for seed, _, _ in found)
    whole = {seed for seed, ended, epochs in found if ended and epochs == lab.epochs}
    study, log = study_of(lab), [line for line in lab.log() if line["at"] == "step: taken"]
    taken = {(line["trial"], line["epoch"], line["step"], line["attempt"]) for line in log}
    states = Counter(trial.state.name for trial in study or ())
    ours, undisturbed = final_weights(lab.log(), lab.epochs), final_weights(twin.log(), lab.epochs)
    return {
        "configs asked for": lab.trials,
        "with exactly one record, ended": sum(ended and times[seed] == 1 for seed, ended, _ in found),
        "lost: no record with all epochs": lab.trials - len(whole),
        "run as more than one trial": sum(count > 1 for count in times.values()),
        "steps taken again": len(taken) - len({step[:3] for step in taken}),
        "final weights as undisturbed": sum(ours[seed] == undisturbed[seed] != set() for seed in range(lab.trials)),
        "Optuna: trials": len(study) if study else "in memory",
        "Optuna: left RUNNING": states["RUNNING"] if study else "in memory",
        "Optuna: FAIL": states["FAIL"] if study else "in memory",
        **in_mlflow(lab),
        "processes left": len(left),
    }


def disturbed(kind, root, shape, seed, rounds, twin):
    """Run one sweep under faults, in 0 rounds none; return the lab and what is to be said of it."""
    folder = root / f"{kind.__name__}-{seed}"
    mlflow = MlflowServer(folder / "mlflow")
    more = ["--tracking-uri", mlflow.uri] + ["--set", f"epochs={shape['epochs']}"] * (kind is Lab)
    lab = kind(folder / "lab", root / "data", root / "encoder", **shape, more=more, mlflow=mlflow.uri)
    nemesis = SameFaults(lab, mlflow, seed)
    try:
        lasted = nemesis.run(rounds)
        nemesis.driver.kill()
        said = {
            "of": VARIANTS[kind], "faults": f"seed {seed}" if rounds else "none", "given up": nemesis.gave_up or "no",
            "faults in all": sum(nemesis.done.values()), "seconds": round(lasted), "starts": nemesis.starts,
            "starts that ended undone by themselves": nemesis.deaths.total(), **counts(lab, twin or lab),
            "kinds": dict(nemesis.done), "exits": {fault: dict(codes) for fault, codes in nemesis.exits.items()},
            "said at such ends": dict(nemesis.deaths),
        }  # fmt: skip
    finally:
        mlflow.kill()
        lab.kill_all()
    print(json.dumps(said), flush=True)
    return lab, said


def table(columns):
    """Return what was counted as a Markdown table, a column a sweep."""
    rows = [key for key, value in columns[0].items() if not isinstance(value, dict)]
    lines = [[row, *(str(column[row]) for column in columns)] for row in rows]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main():
    """Run the sweep undisturbed, then all under each seed's faults; print each result at once, the table at the end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1, help="of each fault, in an order by the seed")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--folder", type=Path, default=None, help="kept afterwards; a temporary one by default")
    arguments = parser.parse_args()
    shape = {"trials": arguments.trials, "epochs": arguments.epochs}
    with tempfile.TemporaryDirectory(prefix="side-by-side-") as temporary:
        root = arguments.folder or Path(temporary)
        for name, write in (("data", write_data), ("encoder", write_encoder)):
            (root / name).mkdir(parents=True)
            write(root / name)
        twin, *columns = disturbed(Lab, root, shape, 0, 0, None)
        for seed in arguments.seeds:
            kinds = VARIANTS if seed == arguments.seeds[0] else (Lab, BareLab)
            columns += [disturbed(kind, root, shape, seed, arguments.rounds, twin)[1] for kind in kinds]
    print(json.dumps(columns, indent=1), table(columns), sep="\n", flush=True)


if __name__ == "__main__":
    main()
