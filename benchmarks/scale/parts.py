"""What of a sweep's own work grows with its trials, part by part: `python -m benchmarks.scale.parts`.

Each is one call of the project's own function on a sweep of so many trials that ended, in seconds of CPU on one thread;
the simulation calls them all, in their proportions.
"""

import itertools
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import optuna
import sqlalchemy as sa
import typer
from optuna.distributions import distribution_to_json
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.trial import TrialState
from rich.console import Console

from benchmarks.scale.sweep import NAME, Setting, plan_of
from benchmarks.scale.tabulated import score
from evidence.comparisons import compare, own_intervals
from evidence.expected import expected
from evidence.scores import Scores
from evidence.seeds import configs
from model.config import TrialConfig, config_to_dict
from model.files import write_json
from orchestrator.leaderboard import TrialRecord, groups, leaderboard, read_trials
from orchestrator.paths import SweepPaths
from orchestrator.progress import Progress
from orchestrator.study import TrialStudy
from orchestrator.trial_files import write_verdict
from search_spaces.joint import space

RUNNING = 1000
"""Trials that run meanwhile."""
EPOCHS = 3
JUDGED = (500, 1000, 2000, 3000)

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def main(
    sizes: Annotated[str, typer.Option(help="Trials that ended.")] = "100,1000,3000,10000",
    judged: Annotated[str, typer.Option(help="Configs that are judged together.")] = ",".join(map(str, JUDGED)),
) -> None:
    """Measure each part at each size."""
    numbers = [int(size) for size in sizes.split(",")]
    print("| part | " + " | ".join(f"{size:,}" for size in numbers) + " |\n" + "| --- " * (len(numbers) + 1) + "|")
    rows: dict[str, list[float]] = {}
    for size in numbers:
        for name, seconds in measured(size).items():
            rows.setdefault(name, []).append(seconds)
    for name, seconds_ in rows.items():
        print(f"| {name} | " + " | ".join(f"{1000 * seconds:,.1f}" for seconds in seconds_) + " |")
    print()
    for size in [int(each) for each in judged.split(",")]:
        print(f"verdicts on {size:,} configs: {judge(size):,.1f} s of CPU", flush=True)


def cpu_s(call: Callable[[], object], times: int = 3) -> float:
    """Return the least CPU time of a few calls."""
    found = []
    for _ in range(times):
        started = time.thread_time()
        call()
        found.append(time.thread_time() - started)
    return min(found)


def measured(size: int) -> dict[str, float]:
    """Return the seconds of each part where so many trials have ended and RUNNING others run."""
    with tempfile.TemporaryDirectory(prefix="parts-", dir="/dev/shm") as temporary:
        setting = Setting(
            trials=10**6, epochs=EPOCHS, epoch_s=100, dev=2, sampler="tpe", halving={"first": 1, "factor": 3}
        )
        plan, paths = plan_of(setting), SweepPaths(Path(temporary), "parts")
        paths.root.mkdir()
        fill(paths, size)
        study = TrialStudy(paths.study_uri, plan, space)
        study.take_lease("")
        study._handed_out |= set(range(size, size + RUNNING))  # noqa: SLF001  (as the driver that runs them has it)
        known: dict[int, TrialRecord] = {}
        records = read_trials(study, paths, known)
        epoch, running = itertools.count(4), itertools.count(size)
        with Progress(plan, "quiet") as progress:
            for record in records:
                if record.state == "running":
                    progress.publish({"event": "started", "trial": record.number, "config": record.config})
                else:
                    progress.already_ended(record.number, {"best": record.best})
            console = Console(file=(Path(temporary) / "screen").open("w"), width=160, height=60, force_terminal=True)
            screen = cpu_s(lambda: console.print(progress._table()))  # noqa: SLF001
        return {
            "propose a trial, TPE, 8 parameters (study.next_proposal)": cpu_s(study.next_proposal, 5),
            "record an epoch (study.report)": cpu_s(lambda: study.report(size, next(epoch), 0.5)),
            "decide at a rung (study.goes_on)": cpu_s(lambda: study.goes_on(next(running), 1)),
            "look whether a trial has ended (study.ended)": cpu_s(study.ended),
            "read all trials without news (read_trials)": cpu_s(lambda: read_trials(study, paths, known)),
            "make the leaderboard": cpu_s(lambda: leaderboard(plan, paths, records)),
            "group trials by config": cpu_s(lambda: groups(plan, records)),
            f"draw the live table, {RUNNING:,} running, twice a second on a terminal": screen,
        }


def fill(paths: SweepPaths, size: int) -> None:
    """Write a study with so many trials that ended, and RUNNING that run with an epoch each; and verdicts."""
    engine = RDBStorage(paths.study_uri).engine
    optuna.create_study(study_name=NAME, storage=paths.study_uri, direction="maximize")
    points = optuna.create_study(sampler=optuna.samplers.RandomSampler(0))
    rows: dict[type, list[dict[str, Any]]] = {}

    def add(table: type, **values: Any) -> None:
        rows.setdefault(table, []).append(values)

    for number in range(size + RUNNING):
        trial_id, ended, asked = number + 1, number < size, points.ask()
        config = replace(space(asked), epochs=EPOCHS)
        reported = {epoch: score(config, epoch) for epoch in range(1, (EPOCHS if ended else 1) + 1)}
        state = TrialState.COMPLETE if ended else TrialState.RUNNING
        add(models.TrialModel, trial_id=trial_id, number=number, study_id=1, state=state)
        for name, distribution in asked.distributions.items():
            add(
                models.TrialParamModel,
                trial_id=trial_id,
                param_name=name,
                param_value=distribution.to_internal_repr(asked.params[name]),
                distribution_json=distribution_to_json(distribution),
            )
        text = json.dumps(config_to_dict(config))
        add(models.TrialUserAttributeModel, trial_id=trial_id, key="config", value_json=text)
        for epoch, value in reported.items():
            kind = models.TrialIntermediateValueModel.TrialIntermediateValueType.FINITE
            values = {"intermediate_value": value, "intermediate_value_type": kind}
            add(models.TrialIntermediateValueModel, trial_id=trial_id, step=epoch, **values)
        entries = [entry(epoch, value, config) for epoch, value in reported.items()]
        if not ended:
            write_json(paths.trial(number).root / "attempt-1" / "state-0001" / "manifest.json", {"history": entries})
        else:
            best = max(reported.values())
            kinds = models.TrialValueModel.TrialValueType
            add(models.TrialValueModel, trial_id=trial_id, objective=0, value=best, value_type=kinds.FINITE)
            best_entry = entries[-1] | {"checkpoint": "attempt-1/best-0003"}
            verdict = {"state": "completed", "history": entries, "best": best_entry, "trainable_params": 15_000_000}
            paths.trial(number).root.mkdir(parents=True)
            write_verdict(paths.trial(number), verdict)
    with engine.begin() as connection:
        for table, values_ in rows.items():
            connection.execute(sa.insert(table), values_)


def entry(epoch: int, value: float, config: TrialConfig) -> dict[str, Any]:
    """Return an epoch as a trial's history has it."""
    return {
        "epoch": epoch, "dev_score": value, "scores": dict.fromkeys(config.tasks, value), "train_loss": 1.0,
        "learning_rate": config.learning_rate, "train_seconds": 100.0, "evaluation_seconds": 1.0,
        "ended_at_seconds": 1.8e9,
    }  # fmt: skip


def judge(size: int) -> float:
    """Return the seconds of the statistics alone: intervals, comparisons with two configs, expectations."""
    rng = np.random.default_rng(0)
    influence_NT = rng.standard_normal((2000, size)) * 0.4
    covariance_TT = influence_NT.T @ influence_NT / 2000**2
    found = configs(
        Scores(overall_T=rng.normal(0.7, 0.01, size), covariance_TT=covariance_TT, resolution=1e-3), list(range(size))
    )

    def work() -> None:
        own_intervals(found)
        compare(found, 0)
        compare(found, int(np.argmax(found.overall_T)))
        expected(found.overall_T, found.noise_TT, 0)

    return cpu_s(work, 1)


if __name__ == "__main__":
    app(prog_name="python -m benchmarks.scale.parts")
