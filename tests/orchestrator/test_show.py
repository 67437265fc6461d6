"""What is printed at the end: the table at any width, the verdict, and the config as it holds."""

import re
from dataclasses import replace

import pytest
from rich.console import Console

from model.config import HeadConfig, config_to_dict
from model.tasks import TASKS
from orchestrator import show
from orchestrator.leaderboard import TrialRecord, leaderboard
from orchestrator.paths import SweepPaths
from orchestrator.plan import shown
from orchestrator.tables import Fitting, titles


@pytest.fixture
def board(bare_plan, tiny_config, tmp_path):
    """Return plan, paths and the leaderboard of three trials, the last of which failed."""
    heads = [HeadConfig(common_layers=n, task_layers=9) for n in (0, 5, 9)]
    configs = [
        replace(tiny_config, heads=each, learning_rate=rate)
        for each, rate in zip(heads, (1e-3, 1.2345678e-4, 1e-5), strict=True)
    ]
    tasks = [TASKS[name].to_dict() for name in tiny_config.tasks]
    plan = bare_plan(configs, tasks=tasks, encoder={"weights": "0" * 64})
    paths = SweepPaths(tmp_path, plan.name)
    trials = [record(number, config, 0.7123 + number / 100) for number, config in enumerate(configs[:2])]
    failed = TrialRecord(2, "failed", config_to_dict(configs[2]), [], None, failure="diverged", error="the loss is nan")
    return plan, paths, leaderboard(plan, paths, [*trials, failed])


def record(number, config, score):
    """Return a completed trial of one epoch."""
    entry = {
        "epoch": 1, "dev_score": score, "train_loss": 0.7, "learning_rate": 1e-3, "train_seconds": 212.4,
        "scores": dict.fromkeys(config.tasks, score), "evaluation_seconds": 1.0, "ended_at_seconds": 1e9,
    }  # fmt: skip
    best = {**entry, "checkpoint": "attempt-1/best-0001"}
    return TrialRecord(number, "completed", config_to_dict(config), [entry], best, trainable_params=3_800_000)


def printed(board, width):
    """Return what is printed on a terminal of this width."""
    plan, paths, found = board
    console = Console(width=width, highlight=False, markup=False, emoji=False, record=True, file=None, quiet=False)
    with console.capture() as capture:
        show.final(console, plan, paths, found, 0.5, "leaderboard  http://127.0.0.1:5000/#/x")
    return capture.get()


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120, 200])
def test_the_final_table_keeps_whole_numbers_at_any_width(board, width):
    """Rank, trial, best and gap stand in full, no cell is cut, and the columns left out are named."""
    said = printed(board, width)

    assert "…" not in said
    assert re.search(r"^ +1 +0001 +0\.7223 +0\.0000", said, re.MULTILINE)
    assert re.search(r"^ +2 +0000 baseline +0\.7123 +0\.0100", said, re.MULTILINE)
    assert ("no room here for" in said) == (width < 200)
    assert "trial 0002 failed (diverged): the loss is nan" in said


def test_the_verdict_writes_numbers_as_people_do(board):
    """The winner's learning rate has four digits, not seventeen."""
    assert "learning_rate 0.0001235) has the best dev score" in printed(board, 200)


def test_columns_that_would_share_a_name_keep_their_whole_name():
    """A pair encoding of a task is not called like the task's score, nor like another field's."""
    assert titles(["pair_encoding.similarity", "heads.dropout"], ["similarity"]) == [
        "pair_encoding.similarity",
        "dropout",
    ]
    assert titles(["losses.similarity", "pair_encoding.similarity"], []) == [
        "losses.similarity",
        "pair_encoding.similarity",
    ]


def test_a_config_is_shown_with_what_its_tasks_bring_along(bare_plan, tiny_config):
    """Where a config leaves the pair encoding or the loss to the task, the task's own is shown."""
    plan = bare_plan([tiny_config], tasks=[TASKS[name].to_dict() for name in tiny_config.tasks])

    values = shown(plan, config_to_dict(replace(tiny_config, pair_encoding={"similarity": "joint"})))

    assert values["pair_encoding.paraphrase"] == "separate"
    assert values["pair_encoding.similarity"] == "joint"
    assert values["losses.sentiment"] == "cross_entropy"


@pytest.mark.parametrize(
    ("out", "uri", "served"),
    [
        ("runs", None, "python -m orchestrator.serve"),
        ("my runs", None, "python -m orchestrator.serve --out '{out}'"),
        ("runs", "sqlite:////srv/a.db", "python -m orchestrator.serve --tracking-uri sqlite:////srv/a.db"),
        ("runs", "http://127.0.0.1:5000", None),
    ],
)
def test_the_link_comes_with_what_serves_it(tmp_path, monkeypatch, out, uri, served):
    """The very store that the sweep wrote to; a server needs nothing."""
    monkeypatch.chdir(tmp_path)
    paths = SweepPaths(tmp_path / out, "exp")

    said = show.place(paths, "http://127.0.0.1:5000/#/x", uri)

    expected = [served.format(out=tmp_path / out)] if served else []
    assert said.splitlines()[0] == "leaderboard  http://127.0.0.1:5000/#/x"
    assert [line.strip().removeprefix("served by: ") for line in said.splitlines()[1:]] == expected


def test_the_tasks_scores_go_together(board):
    """Some of them alone would suggest that there are no others."""
    for width in range(40, 140):
        head = next(line for line in printed(board, width).splitlines() if line.split()[:2] == ["rank", "trial"])
        assert len({"sentiment", "paraphrase", "similarity"} & set(head.split())) in (0, 3)


@pytest.mark.parametrize("expendable", [(), [["long name"]], [["long name", "a"]]])
def test_one_column_always_stays(expendable):
    """A terminal narrower than any column still gets the first."""
    console = Console(width=3, record=True)
    with console.capture() as capture:
        console.print(Fitting(["a", "long name"], [["1", "2"]], expendable))

    assert capture.get().split() == ["a", "1"]


JUDGED = {"p": 0.2, "verdict": "tied", "expected": 0.7201, "p_beats_baseline": 0.83, "tied_with_best": True}


def with_judgement(found, *columns):
    """Return a leaderboard whose first rows have these columns too."""
    rows = [row | more for row, more in zip(found["rows"], columns, strict=False)]
    return found | {"rows": rows + found["rows"][len(rows) :]}


def test_the_verdict_says_whether_the_gap_is_noise_and_what_to_expect(board):
    """For all comparisons together, with the probability that the best beats the baseline."""
    _, _, found = board
    found = with_judgement(found, JUDGED, JUDGED | {"p": 1.0, "verdict": "baseline"})

    said = show.verdict(found, None)

    assert "0.0100 above the baseline (0.7123), which may be noise: tied (p 0.200, of 1 comparison together)" in said
    assert "On new data 0.7201 is to be expected; it beats the baseline with probability 0.83." in said
    assert "no verdict is more than tentative" in said


def test_the_verdict_names_what_is_as_good_for_less(board):
    """The cheapest config that the best is not better than, where it takes clearly less time."""
    _, _, found = board
    found = with_judgement(
        found, JUDGED | {"train_seconds": 100.0}, JUDGED | {"p": 1.0, "verdict": "baseline", "train_seconds": 40.0}
    )

    assert "Cheapest of those tied with it: Trial 0000" in show.verdict(found, None)
    assert "in 40% of the time" in show.verdict(found, None)


def test_the_verdict_says_how_much_a_seed_changes(board):
    """Where seeds were repeated."""
    _, _, found = board

    assert "Another seed changes a score by 0.0031" in show.verdict(found | {"seed_sd": 0.0031, "seeds": 3}, None)


def entry(parameter, finding, effect):
    """Return what the board says of a parameter."""
    return {"parameter": parameter, "finding": finding, "effect": effect, "floor": 0.004}


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (
            [entry("learning_rate", "matters", 0.012), entry("heads.dropout", "within noise", 0.001)],
            "not known): learning_rate moves the score by 0.012, noise alone by up to 0.004; dropout within noise.",
        ),
        (
            [entry("heads.dropout", "not told apart", 0.02), entry("learning_rate", "not told apart", 0.01)],
            "dropout (0.020) and learning_rate (0.010) cannot be told apart from what varies with them.",
        ),
        ([], "One seed each"),
    ],
)
def test_the_verdict_says_what_matters(board, found, said):
    """Beyond noise, not told apart, within noise; nothing where nothing varies."""
    _, _, rows = board

    told = show.verdict(rows | {"importances": found, "varies": ["learning_rate", "heads.dropout"]}, None)

    assert said in told
    assert ("What matters" in told) == bool(found)
