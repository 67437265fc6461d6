"""The leaderboard as a person sees it: our server, MLflow's interface, a real browser.

The saved view relies on a format of MLflow's interface that is not a public API: these tests fail when a
release of MLflow changes it.
"""

import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest

from model.checkpoint import PREDICTIONS
from model.files import write_json, write_manifest
from orchestrator.inspection import Options, inspect
from orchestrator.leaderboard import TrialRecord, groups, leaderboard, write_leaderboard
from orchestrator.paths import SweepPaths
from orchestrator.plan import draft
from orchestrator.resources import Machine, Node
from orchestrator.spec import load_sweep
from orchestrator.tracking import Projection
from orchestrator.view import VIEW_KEY, VIEW_TAG, fallback_url
from scripts.pictures import CHROMIUM, ROWS, leaderboard_page, run_url, sweep_run
from tests.predicted import answers, table

pytestmark = pytest.mark.slow
if not CHROMIUM.is_file():
    pytest.skip(
        f"no Chromium at {CHROMIUM}: apt-get install --no-install-recommends chromium",
        allow_module_level=True,
    )

ROOT = Path(__file__).parents[2]
START_TIMEOUT_S = 180.0
WIDE_PX = 2600  # columns outside the window are not in the page at all

# By trial number, so that neither the trials' order nor the order of their names is the leaderboard's.
BEST_BY_TRIAL = (0.7012, 0.7191, 0.65, 0.708, 0.6902, 0.7134, 0.6981)
FIRST_LINES = (
    "Trial 0001 (common_layers 0, task_layers 1) has the best dev score, 0.7191",
    "It is 0.0179 above the baseline (0.7012)",
    "models:/exp4@best-dev",
)
BEST_FIRST = sorted(range(7), key=BEST_BY_TRIAL.__getitem__, reverse=True)


def write_sweep(out, encoder, data):
    """Let the projection write exp4 with seven ended trials; return the experiment's id and its view's state."""
    from mlflow import MlflowClient

    options = Options(
        name="exp4", profile="laptop", encoder=str(encoder), data=str(data), profile_settings={},
        settings={"max_tokens": 64}, trials=None, max_dev_examples=None, seed=0, gpus_per_trial=None, cpus_per_trial=1,
    )  # fmt: skip
    plan = draft(
        inspect(load_sweep(ROOT / "search_spaces" / "exp4.py"), options), Machine((Node(2, 0.0),), "this machine")
    ).plan
    paths = SweepPaths(out, plan.name)
    write_json(paths.plan, plan.to_dict())
    write_json(paths.data_report, {})
    projection = Projection(plan, paths, None)
    trials = [ended_trial(plan, paths, number, best) for number, best in enumerate(BEST_BY_TRIAL)]
    projection.sync(trials)
    judgement = projection.judge.judge(groups(plan, trials))
    board = leaderboard(plan, paths, trials, projection.runs, judgement)
    write_leaderboard(paths, board)
    projection.finish(board, 0.45)
    experiment = MlflowClient(projection.uri).get_experiment_by_name(plan.name)
    return experiment.experiment_id, json.loads(json.loads(experiment.tags[VIEW_TAG])["state"])


def ended_trial(plan, paths, number, best):
    """Return a trial that ended with this score, and leave a checkpoint's folder with predictions for it."""
    entry = {
        "epoch": 1, "dev_score": best, "train_loss": 0.7, "learning_rate": 1e-3, "train_seconds": 212.4,
        "scores": {"sentiment": 0.5, "paraphrase": 0.8, "similarity": 0.9}, "evaluation_seconds": 1.0,
        "ended_at_seconds": 1e9,
    }  # fmt: skip
    found = {**entry, "checkpoint": "attempt-1/best-0001"}
    folder = paths.trial(number).root / found["checkpoint"]
    folder.mkdir(parents=True)
    pq.write_table(table(answers(best, np.random.default_rng(number))), folder / PREDICTIONS)
    write_manifest(folder, {"format": 4, "trial": number})
    return TrialRecord(number, "completed", plan.configs[number], [entry], found, trainable_params=3_800_000)


def free_port():
    """Return a port of the loopback that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def await_line(process, printed, start):
    """Return the lines that the process printed to a file, once one of them begins with `start`."""
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline_s:
        lines = printed.read_text().splitlines()
        if any(line.startswith(start) for line in lines):
            return lines
        assert process.poll() is None, f"the server ended: {lines}"
        time.sleep(0.2)
    pytest.fail(f"no line {start!r} within {START_TIMEOUT_S:.0f} s: {printed.read_text()}")


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """Return the folder that the sweep is written to."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def board(out, tiny_encoder, tiny_data):
    """Serve a sweep of seven trials; give the interface's address, experiment, view and the printed lines."""
    experiment, view = write_sweep(out, tiny_encoder, tiny_data)
    port = free_port()
    command = [sys.executable, "-m", "orchestrator.serve", "--out", str(out), "--port", str(port)]
    printed = out / "printed"
    with printed.open("wb") as sink:
        process = subprocess.Popen(command, cwd=ROOT, stdout=sink, stderr=subprocess.STDOUT)
    family = []
    try:
        lines = await_line(process, printed, "Ctrl-C")
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        yield f"http://127.0.0.1:{port}", experiment, view, lines
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(timeout=30)
        _, left = psutil.wait_procs(family, timeout=10)
        for straggler in left:
            straggler.kill()
    assert code == 0
    assert len(family) >= 2, "the server is a process of its own"
    assert not left, f"processes outlived the server: {left}"


@pytest.fixture(scope="module")
def page(board):
    """Open the link that the server printed, in Chromium."""
    *_, lines = board
    (line,) = [line for line in lines if line.startswith("exp4 ")]
    with leaderboard_page(line.split()[-1], wait_rows=7, width_px=WIDE_PX) as opened:
        yield opened


def cells(page, key):
    """Return a column's texts, from the first row to the last."""
    found = page.locator(f".ag-row .ag-cell[col-id='{key}']").evaluate_all(
        "cells => cells.map(c => [Number(c.closest('.ag-row').getAttribute('row-index')), c.innerText])"
    )
    return [text.splitlines()[-1] for _, text in sorted(found)]  # a run's colour stands above its name


def columns(page):
    """Return each column's key and width, from left to right, without that of the boxes to tick."""
    headers = page.locator(".ag-header-cell").evaluate_all(
        "headers => headers.map(h => [Number(h.getAttribute('aria-colindex')),"
        " h.getAttribute('col-id'), h.offsetWidth])"
    )
    _boxes, *shown = [(key, width_px) for _, key, width_px in sorted(headers)]
    return shown


def opened_view(page, board, out, name, state):
    """Save another view of the experiment and open it as one who has never seen the first; return the page."""
    from mlflow import MlflowClient

    from orchestrator.paths import tracking_uri

    _, experiment, _, lines = board
    client = MlflowClient(tracking_uri(out))
    envelope = json.loads(client.get_experiment(experiment).tags[VIEW_TAG]) | {"state": json.dumps(state)}
    client.set_experiment_tag(experiment, VIEW_TAG.removesuffix(VIEW_KEY) + name, json.dumps(envelope))
    (line,) = [line for line in lines if line.startswith("exp4 ")]
    tab = page.context.new_page()
    tab.add_init_script("localStorage.clear()")
    tab.goto(line.split()[-1].removesuffix(VIEW_KEY) + name)
    tab.locator(ROWS).nth(6).wait_for()
    return tab


def test_the_link_shows_exactly_the_trials_with_the_best_first(page):
    """The seven trials stand there by their best score; the sweep's own run does not."""
    assert page.locator(ROWS).count() == 7
    assert cells(page, "attributes.`Run Name`") == [f"{trial:04d}" for trial in BEST_FIRST]
    assert [float(text) for text in cells(page, "metrics.`best`")] == sorted(BEST_BY_TRIAL, reverse=True)
    assert cells(page, "metrics.`rank`") == [str(rank) for rank in range(1, 8)]


def test_the_columns_stand_in_the_views_order_and_widths(board, page):
    """From left to right stand rank, scores and the params that vary, as wide as the view says."""
    _, _, view, _ = board
    shown = columns(page)

    assert [key for key, _ in shown] == view["columnOrder"]
    assert dict(shown) == {key: view["columnWidths"][key] for key in view["columnOrder"]}
    assert [key for key, _ in shown][2:15] == [
        *(f"metrics.`{name}`" for name in ("rank", "best", "gap", "ci_low", "ci_high")),
        "tags.`verdict`",
        *(f"params.`heads.{name}`" for name in ("common_layers", "task_layers")),
        *(f"metrics.`{name}`" for name in ("expected", "p_beats_baseline", "sentiment", "paraphrase", "similarity")),
    ]


def test_the_columns_are_the_views_own(board, page, out):
    """Another view of the same runs shows other columns in another order: none of them is MLflow's own choice."""
    _, _, view, _ = board
    chosen = [f"metrics.`{name}`" for name in ("similarity", "gap", "best")]
    first, second, *_, last = view["columnOrder"]
    changed = view | {"selectedColumns": chosen, "columnOrder": [first, second, *chosen, last], "orderByAsc": True}

    tab = opened_view(page, board, out, "others", changed)

    assert [key for key, _ in columns(tab)] == [first, second, *chosen, last]
    assert cells(tab, "attributes.`Run Name`") == [f"{trial:04d}" for trial in BEST_FIRST[::-1]]


@pytest.mark.parametrize("renamed", ["selectedColumns", "columnOrder", "orderByKey"])
def test_a_view_in_another_format_is_not_shown_as_ours(board, page, out, renamed):
    """Were a release of MLflow to call a part of a view otherwise, the tests above would fail: it is so here."""
    _, _, view, _ = board
    changed = {f"{key}Renamed" if key == renamed else key: value for key, value in view.items()}

    tab = opened_view(page, board, out, f"without-{renamed}", changed)

    shown = [key for key, _ in columns(tab)], cells(tab, "attributes.`Run Name`")
    assert shown != (view["columnOrder"], [f"{trial:04d}" for trial in BEST_FIRST])


def test_the_sweeps_own_run_says_who_by_how_much_and_where_in_three_lines(board, page):
    """Whoever opens it reads them without a click."""
    ui_base, experiment, *_ = board
    tab = page.context.new_page()
    tab.set_viewport_size({"width": 1600, "height": 900})
    tab.goto(run_url(ui_base, sweep_run(ui_base, experiment)))
    for line in FIRST_LINES:
        place = tab.get_by_text(line).first
        place.wait_for()
        box = place.bounding_box()
        assert box["height"] > 0
        assert box["y"] + box["height"] < 900


@pytest.mark.usefixtures("board")
def test_pictures_are_taken_of_board_run_model_and_report(out, tmp_path):
    """Four PNGs of the browser's own width, from the folder that the sweep wrote to."""
    (out / "exp4" / "report.html").write_text("<h1>A report</h1>", encoding="utf-8")
    line = [sys.executable, "scripts/pictures.py", str(out), str(tmp_path)]

    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    taken = [Path(path) for path in done.stdout.splitlines()]
    assert [path.name for path in taken] == ["leaderboard.png", "run.png", "model.png", "report.png"]
    for path in taken:
        head = path.read_bytes()[:24]
        assert head[1:4] == b"PNG"
        assert int.from_bytes(head[16:20], "big") == 1600


def test_nothing_stands_in_front_of_the_table(page):
    """Every row can be clicked: no pop-up or banner covers it."""
    for name in page.locator(".ag-row a").all():
        name.click(trial=True, timeout=5000)


def test_the_fallback_link_shows_the_same_rows_in_the_same_order(board, page):
    """Without the saved view, the plain link shows the trials by their best score too."""
    ui_base, experiment, *_ = board
    tab = page.context.new_page()
    tab.add_init_script("localStorage.clear()")  # as a browser that has never seen the saved view

    tab.goto(fallback_url(ui_base, experiment))
    tab.locator(ROWS).nth(6).wait_for()

    assert tab.locator(ROWS).count() == 7
    assert cells(tab, "attributes.`Run Name`") == [f"{trial:04d}" for trial in BEST_FIRST]
