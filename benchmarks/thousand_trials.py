"""What a sweep of 1,000 trials asks of leaderboard, MLflow and its page: `python -m benchmarks.thousand_trials`.

A finished sweep is written as its trials would leave it, with predictions of known truth (benchmarks/synthetic.py) on
dev sets of the study's sizes; then each part is timed in a process of its own, the page in a real browser.
"""

import hashlib
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import typer
from numpy.typing import NDArray

from benchmarks.synthetic import synthetic
from evidence.scores import Answers
from model.checkpoint import FORMAT, MODEL, PREDICTIONS
from model.config import HeadConfig, TrialConfig
from model.data import SAMPLE
from model.files import new_folder, write_json, write_manifest
from model.tasks import METRICS, overall_score
from orchestrator.inspection import Options, inspect
from orchestrator.paths import SweepPaths
from orchestrator.plan import draft
from orchestrator.resources import Machine, Node
from orchestrator.spec import LoadedSweep, Sweep
from orchestrator.study import TrialStudy
from orchestrator.trial_files import write_verdict

NAME = "thousand"
KEPT = 10
"""Trials with weights, as --keep-checkpoints has it; the others' were released."""
WEIGHTS_BYTES = 15_000_000
"""Of a trial of exp4 on MiniLM."""
EPOCHS = 3
BOARD_S = 30.0
"""What the leaderboard may take from files to leaderboard.json: a promise of the project."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def main(
    out: Annotated[Path | None, typer.Option(help="Where the sweep goes and stays; nowhere by default.")] = None,
    trials: Annotated[int, typer.Option(min=2, max=1000)] = 1000,
    parts: Annotated[str, typer.Option(help="Of leaderboard, mlflow, page.")] = "leaderboard,mlflow,page",
) -> None:
    """Write the sweep unless OUT has it, and say what each part takes."""
    with tempfile.TemporaryDirectory() as temporary:
        place = (out or Path(temporary)).resolve()
        if not SweepPaths(place, NAME).data_report.exists():
            say("written", alone(write_sweep, place, trials))
        for part in parts.split(","):
            say(part, measure_page(place) if part == "page" else alone(PARTS[part], place))


def say(part: str, found: Mapping[str, float | str]) -> None:
    """Print what was found, a line each."""
    for name, value in found.items():
        print(f"{part:12} {name:60} {value if isinstance(value, str) else f'{value:,.2f}':>10}")
    sys.stdout.flush()


def alone(function: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """Return what a function finds in a process of its own, with the most memory that it held."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(_measured, function, *arguments).result()


def _measured(function: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    found = function(*arguments)
    return found | {"peak memory, GB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9}


class Clock:
    """Seconds since the last question."""

    def __init__(self) -> None:
        self._since = time.perf_counter()

    def lap(self) -> float:
        """Return the seconds since the last lap."""
        now = time.perf_counter()
        passed, self._since = now - self._since, now
        return passed


# --- the sweep ---


def configs(count: int) -> list[TrialConfig]:
    """Return so many configs, the baseline first: heads, dropout and learning rate vary."""
    base = TrialConfig(epochs=EPOCHS)
    grid = [
        replace(base, learning_rate=rate, heads=HeadConfig(common_layers=common, task_layers=task, dropout=dropout))
        for rate in (3e-4, 1e-4, 2e-4, 4e-4, 5e-4, 6e-4, 7e-4, 8e-4, 9e-4, 1e-3)
        for dropout in (0.3, 0.0, 0.1, 0.4, 0.5)
        for common in (1, 0, 2, 5)
        for task in (1, 2, 3, 5, 9)
    ]
    return grid[:count]


def write_sweep(out: Path, count: int) -> dict[str, Any]:
    """Write a finished sweep into OUT, the data report last."""
    clock = Clock()
    listed = configs(count)
    options = Options(
        name=NAME, profile="laptop", encoder="minilm", data=str(SAMPLE), profile_settings={}, settings={}, trials=None,
        max_dev_examples=None, seed=0, gpus_per_trial=None, cpus_per_trial=1.0,
    )  # fmt: skip
    sweep = Sweep(question="What do 1,000 trials ask of the leaderboard?", baseline=listed[0], configs=listed)
    loaded = LoadedSweep(Path("thousand.py"), sweep, "0" * 64)
    plan = draft(inspect(loaded, options), Machine((Node(2, 0.0),), "this machine")).plan
    paths = SweepPaths(out, NAME)
    write_json(paths.plan, plan.to_dict())

    rng = np.random.default_rng(count)
    answers = synthetic(rng.normal(0, 0.005, count), 1, EPOCHS, rng).answers
    tables = Tables(answers, rng)
    scores = [tables.scores(number) for number in range(count)]
    tasks = [entry.task for entry in answers]
    order = sorted(range(count), key=lambda number: overall_score(tasks, scores[number]), reverse=True)
    for number in range(count):
        checkpoint = "attempt-1/best-0002"
        with new_folder(paths.trial(number).root / checkpoint) as folder:
            if number in order[:KEPT]:
                (folder / MODEL).write_bytes(rng.bytes(WEIGHTS_BYTES))
            pq.write_table(tables.table(number), folder / PREDICTIONS, write_page_checksum=True)
            write_manifest(folder, {"format": FORMAT, "trial": number})
        history = [_entry(epoch, tasks, scores[number], number) for epoch in range(1, EPOCHS + 1)]
        verdict = {
            "state": "completed",
            "history": history,
            "best": {**history[1], "checkpoint": checkpoint},
            "trainable_params": 3_800_000,
        }
        write_verdict(paths.trial(number), verdict)
    written_s = clock.lap()
    study = TrialStudy(paths.study_uri, plan, None)
    while (proposal := study.next_proposal()) is not None:
        study.end(proposal.number, "completed", best=overall_score(tasks, scores[proposal.number]))
    write_json(paths.data_report, {})
    size = sum(path.stat().st_size for path in paths.root.rglob(PREDICTIONS))
    return {"files, s": written_s, "study, s": clock.lap(), "predictions, MB a trial": size / 1e6 / count}


def _entry(epoch: int, tasks: list[Any], best: Mapping[str, float], number: int) -> dict[str, Any]:
    """Return an epoch of a trial; the second is its best."""
    scores = {name: value - 0.01 * (epoch != 2) for name, value in best.items()}
    return {
        "epoch": epoch, "dev_score": overall_score(tasks, scores), "scores": scores, "train_loss": 1 / epoch,
        "learning_rate": 3e-4, "train_seconds": 60.0 + number % 7, "evaluation_seconds": 5.0,
        "ended_at_seconds": 1.7e9 + 100 * number + epoch,
    }  # fmt: skip


class Tables:
    """Predictions as trials leave them, of answers with a known truth."""

    def __init__(self, answers: list[Answers], rng: np.random.Generator) -> None:
        """Give the examples ids and labels, and each answer the value that it stands for."""
        self._tasks = [entry.task for entry in answers]
        self._rng = rng
        self._ids = [
            hashlib.sha256(f"{entry.task.name} {row}".encode()).hexdigest()[:25]
            for entry in answers
            for row in range(entry.examples)
        ]
        self._labels: dict[str, NDArray[np.float64]] = {}
        self._predictions: dict[str, NDArray[np.float64]] = {}
        for entry in answers:
            name, given = entry.task.name, entry.predictions_NT
            if entry.task.metric == "pearson":
                self._labels[name] = np.round((entry.labels_N / 3**0.5 + 1) * 2.5, 1)
                self._predictions[name] = ((given / 3**0.5 + 1) * 2.5).astype(np.float32).astype(np.float64)
            else:  # where an answer is right, the label; else the next one
                classes = 2 if entry.task.kind == "binary" else entry.task.outputs
                labels = rng.integers(0, classes, entry.examples).astype(np.float64)
                self._labels[name] = labels
                self._predictions[name] = np.where(given == 1, labels[:, None], (labels[:, None] + 1) % classes)

    def scores(self, number: int) -> dict[str, float]:
        """Return a trial's metrics."""
        return {
            task.name: METRICS[task.metric](self._predictions[task.name][:, number], self._labels[task.name])
            for task in self._tasks
        }

    def table(self, number: int) -> pa.Table:
        """Return a trial's predictions.parquet."""
        names = [task.name for task in self._tasks]
        sizes = [len(self._labels[name]) for name in names]
        widths = np.repeat([task.outputs for task in self._tasks], sizes)
        outputs = self._rng.standard_normal(widths.sum(), np.float32)
        columns = {
            "task": pa.array(np.repeat(names, sizes), pa.string()),
            "id": pa.array(self._ids, pa.string()),
            "label": np.concatenate([self._labels[name] for name in names]),
            "prediction": np.concatenate([self._predictions[name][:, number] for name in names]),
            "outputs": pa.ListArray.from_arrays(np.concatenate([[0], np.cumsum(widths)]).astype(np.int32), outputs),
        }
        return pa.table(columns)


# --- what is measured ---


def measure_leaderboard(out: Path) -> dict[str, Any]:
    """Go from files to leaderboard.json, as a sweep that has ended does it."""
    from orchestrator.judgement import Judge
    from orchestrator.leaderboard import groups, leaderboard, read_trials, write_leaderboard
    from orchestrator.plan import read_plan

    paths = SweepPaths(out, NAME)
    plan, clock = read_plan(paths.plan), Clock()
    trials = read_trials(TrialStudy(paths.study_uri, plan, None), paths)
    read_s = clock.lap()
    judge = Judge(plan, paths)
    configs_ = groups(plan, trials)
    judge.judge(configs_)
    judged_s = clock.lap()
    judgement = judge.judge(configs_)  # predictions are read once
    statistics_s = clock.lap()
    write_leaderboard(paths, leaderboard(plan, paths, trials, {}, judgement))
    board_s = clock.lap()
    assert not judgement.problems
    assert len(judgement.columns) == len(trials)
    verdicts = [column["verdict"] for column in judgement.columns.values()]
    return {
        "study and verdicts, s": read_s,
        "predictions read and checked, s": judged_s - statistics_s,
        "statistics, s": statistics_s,
        "rows and leaderboard.json, s": board_s,
        f"all, s (promised: under {BOARD_S:.0f})": read_s + judged_s + board_s,
        "configs not tied": float(sum(verdict != "tied" for verdict in verdicts) - 1),
    }


def measure_mlflow(out: Path) -> dict[str, Any]:
    """Project it into an empty store, then once more as another process finds it."""
    from orchestrator.leaderboard import groups, leaderboard, read_trials
    from orchestrator.plan import read_plan
    from orchestrator.tracking import Projection

    paths = SweepPaths(out, NAME)
    plan = read_plan(paths.plan)
    trials = read_trials(TrialStudy(paths.study_uri, plan, None), paths)
    clock, found = Clock(), {}
    first = Projection(plan, paths, None, KEPT)
    found["empty store made, s"] = clock.lap()
    first.sync(trials)
    found["first sync, s"] = clock.lap()
    first.sync(trials)
    found["second sync of the same process, s"] = clock.lap()
    again = Projection(plan, paths, None, KEPT)
    found["found again by a new process, s"] = clock.lap()
    again.sync(trials)
    found["its sync, s"] = clock.lap()
    board = leaderboard(plan, paths, trials, again.runs, again.judge.judge(groups(plan, trials)))
    clock.lap()
    again.finish(board, None)
    found["finish, s"] = clock.lap()
    return found


FIRST_RANK = ".ag-center-cols-container .ag-row[row-index='0'] .ag-cell[col-id='metrics.`rank`']"
TABLE = ".ag-body-viewport"


def measure_page(out: Path) -> dict[str, Any]:
    """Open the saved view in a browser that has never been there; sort it, and scroll to its end."""
    from scripts.pictures import ROWS, browser, clear_the_way, served

    found: dict[str, Any] = {}
    with served(out) as links, browser() as opened:
        page, clock = opened.new_page(), Clock()
        page.goto(links[NAME], wait_until="domcontentloaded")
        page.locator(ROWS).first.wait_for()
        found["first rows stand there, s"] = clock.lap()
        clear_the_way(page)
        assert page.locator(FIRST_RANK).inner_text() == "1"
        for title, is_first in (("sorted the other way, s", "!=="), ("and back, s", "===")):
            clock.lap()
            page.get_by_test_id("sort-header-best").click()
            page.wait_for_function(f"cell => document.querySelector(cell)?.innerText {is_first} '1'", arg=FIRST_RANK)
            found[title] = clock.lap()
        most, more = page.locator(ROWS).count(), page.get_by_role("button", name="Load more")
        found["rows at first"] = float(most)
        pages_s = []
        while True:
            height = page.locator(TABLE).evaluate(
                "table => (table.scrollTo(0, table.scrollHeight), table.scrollHeight)"
            )
            page.wait_for_timeout(500)
            most = max(most, page.locator(ROWS).count())
            if not (more.count() and more.is_visible()):
                break
            clock.lap()
            more.click()
            page.wait_for_function(f"height => document.querySelector('{TABLE}').scrollHeight > height", arg=height)
            pages_s.append(clock.lap())
        found["times that Load more was pressed"] = float(len(pages_s))
        found["until its rows stood there, at most, s"] = max(pages_s, default=0.0)
        found["MLflow says"] = page.get_by_text("matching runs").first.inner_text()
        found["rows in the page at once, at most"] = float(most)
        clock.lap()
        page.locator(TABLE).evaluate("table => table.scrollTo(0, 0)")
        page.locator(FIRST_RANK).wait_for()
        found["back at the top, s"] = clock.lap()
        again = opened.new_page()
        clock.lap()
        again.goto(links[NAME], wait_until="domcontentloaded")
        again.locator(ROWS).first.wait_for()
        found["first rows of a second visit, s"] = clock.lap()
    return found


PARTS: Mapping[str, Callable[[Path], dict[str, Any]]] = {
    "leaderboard": measure_leaderboard,
    "mlflow": measure_mlflow,
}

if __name__ == "__main__":
    app()
