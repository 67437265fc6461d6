"""The leaderboard: who is ranked, in what order, and that nothing depends on the order in which trials ended."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.config import config_to_dict
from orchestrator.driver import Driver
from orchestrator.failures import Failure
from orchestrator.leaderboard import CONFIRMED, JUDGED, TrialRecord, leaderboard, read_trials, write_leaderboard
from orchestrator.paths import SweepPaths
from orchestrator.study import TrialStudy
from orchestrator.trial import Execution, run_trial
from orchestrator.trial_files import failed, write_verdict

EXECUTION = Execution(10**9, report_s=3600)

PATHS = SweepPaths(Path("/runs"), "bare")
SCORES = st.sampled_from([0.25, 0.5, 0.5000000001, 0.75])
STATES = st.sampled_from(["running", "completed", "failed"])
HISTORIES = st.lists(SCORES, min_size=1, max_size=4)


def entry(epoch, dev_score):
    """Return an epoch as a trial's history has it."""
    scores = {"sentiment": dev_score, "paraphrase": dev_score, "similarity": 2 * dev_score - 1}
    return {"epoch": epoch, "dev_score": dev_score, "scores": scores, "train_seconds": 0.25}


def record(number, config, state="completed", scores=(0.5, 0.6)):
    """Return a trial with a history of these dev scores."""
    history = [entry(epoch, score) for epoch, score in enumerate(scores, start=1)]
    best = max(history, key=lambda e: e["dev_score"], default=None)
    return TrialRecord(
        number=number,
        state=state,
        config=config_to_dict(config),
        history=history,
        best=best and {**best, "checkpoint": f"attempt-1/best-{best['epoch']:04d}"},
        failure="diverged" if state == "failed" else None,
        error="the loss is nan" if state == "failed" else None,
        trainable_params=100 if state == "completed" else None,
    )


@pytest.fixture(scope="session")
def plan(bare_plan, tiny_config):
    """Return a plan over six configs, of which the first is the baseline."""
    return bare_plan([replace(tiny_config, seed=seed) for seed in range(6)])


@pytest.fixture(scope="session")
def record_of(tiny_config):
    """Return a function that makes the record of one of the plan's trials."""

    def made(number, *given):
        return record(number, replace(tiny_config, seed=number), *given)

    return made


@given(trials=st.lists(st.tuples(STATES, HISTORIES), max_size=6), random=st.randoms(use_true_random=False))
def test_the_leaderboard_does_not_depend_on_the_order_of_the_trials(plan, record_of, trials, random):
    """Whatever order they ended in, or are given in, the leaderboard is the same to the byte."""
    records = [record_of(number, *trial) for number, trial in enumerate(trials)]
    shuffled = random.sample(records, len(records))

    boards = [leaderboard(plan, PATHS, given) for given in (records, shuffled)]

    first, second = (json.dumps(board, allow_nan=False) for board in boards)
    assert first == second


@given(trials=st.lists(st.tuples(STATES, HISTORIES), max_size=6))
def test_ranks_go_by_the_best_score_and_then_by_number(plan, record_of, trials):
    """Completed trials have the ranks 1, 2, ... from the best down; all others stand below, without one."""
    records = [record_of(number, *trial) for number, trial in enumerate(trials)]

    rows = leaderboard(plan, PATHS, records)["rows"]

    ranked = [row for row in rows if row["state"] == "completed"]
    assert [row["rank"] for row in rows] == [*range(1, len(ranked) + 1), *[None] * (len(rows) - len(ranked))]
    assert [(-row["best"], row["trial"]) for row in ranked] == sorted((-row["best"], row["trial"]) for row in ranked)
    assert sorted(row["trial"] for row in rows) == list(range(len(trials)))
    for row in ranked:
        assert row["best"] == max(trials[row["trial"]][1])
        assert row["gap"] == ranked[0]["best"] - row["best"] >= 0


def test_a_row_says_all_of_a_completed_trial(plan, record_of):
    """Score, epoch and tasks are those of the best epoch; time is that of all epochs."""
    board = leaderboard(plan, PATHS, [record_of(3, "completed", (0.5, 0.75, 0.25))], {3: "abc"})

    assert board["rows"] == [
        {
            "rank": 1,
            "trial": 3,
            "trials": [3],
            "seeds": 1,
            "state": "completed",
            "config": plan.configs[3],
            "best": 0.75,
            "gap": 0.0,
            "best_epoch": 2,
            "sentiment": 0.75,
            "paraphrase": 0.75,
            "similarity": 0.5,
            "train_seconds": 0.75,
            "trainable_params": 100,
            "checkpoint": "/runs/bare/trials/0003/attempt-1/best-0002",
            "mlflow_run": "abc",
            "own_best": {
                "sentiment": {"score": 0.75, "epoch": 2},
                "paraphrase": {"score": 0.75, "epoch": 2},
                "similarity": {"score": 0.5, "epoch": 2},
            },
            **dict.fromkeys((*JUDGED, *CONFIRMED)),
            "tied_with_best": None,
            "seed_mean": None,
            "seed_sd": None,
        }
    ]
    head = {key: board[key] for key in ("sweep", "question", "objective", "varies")}
    assert head == {"sweep": "bare", "question": "Which?", "objective": "dev_score", "varies": ["seed"]}


@pytest.mark.parametrize("state", ["failed", "running"])
def test_a_trial_that_did_not_complete_has_no_score(plan, record_of, state):
    """However good its epochs were, it has neither rank nor score nor checkpoint, and no one's gap counts it."""
    board = leaderboard(plan, PATHS, [record_of(0, state, (0.9,)), record_of(1, "completed", (0.5,))])

    first, second = board["rows"]
    assert (first["trial"], first["gap"]) == (1, 0.0)
    empty = ("rank", "best", "gap", "best_epoch", "sentiment", "paraphrase", "similarity", "checkpoint")
    assert {second[key] for key in empty} == {None}
    assert second["train_seconds"] == 0.25


def test_a_failed_row_says_why(plan, record_of):
    """The failure's class and text stand in the row; other rows have neither."""
    board = leaderboard(plan, PATHS, [record_of(0, "failed", ()), record_of(1)])

    completed, failed = board["rows"]
    assert (failed["failure"], failed["error"]) == ("diverged", "the loss is nan")
    assert {"failure", "error"} & set(completed) == set()


def test_ties_go_to_the_lower_number(plan, record_of):
    """Equal scores are told apart by nothing else."""
    board = leaderboard(plan, PATHS, [record_of(number, "completed", (0.5,)) for number in (4, 1, 3)])

    assert [row["trial"] for row in board["rows"]] == [1, 3, 4]


def test_equal_configs_are_one_row(plan, record_of, tiny_config):
    """The first of them stands for all, however they are given; the trials are told one by one beside the rows."""
    records = [record(5, replace(tiny_config, seed=0)), record_of(2), record_of(0)]

    for given_records in (records, records[::-1]):
        board = leaderboard(plan, PATHS, given_records)
        assert board["baseline"] == 0
        assert [(row["trial"], row["trials"]) for row in board["rows"]] == [(0, [0, 5]), (2, [2])]
        assert sorted(row["trial"] for row in board["trials"]) == [0, 2, 5]


def test_repeated_seeds_are_one_row_with_mean_and_standard_deviation(bare_plan, tiny_config):
    """Of a config that was trained on several seeds the mean is ranked; a seed that failed is left out of it."""
    other = replace(tiny_config, learning_rate=0.5)
    configs = [replace(config, seed=seed) for seed in range(3) for config in (tiny_config, other)]
    plan = replace(bare_plan(configs), seeds=3, varies=["learning_rate"])
    scores = [0.5, 0.75, 0.25, 0.25, 0.75, None]
    records = [
        record(number, config, "failed" if score is None else "completed", () if score is None else (score,))
        for number, (config, score) in enumerate(zip(configs, scores, strict=True))
    ]

    board = leaderboard(plan, PATHS, records)

    first, second = board["rows"]
    assert (first["trials"], first["seeds"], first["best"], first["seed_mean"]) == ([0, 2, 4], 3, 0.5, 0.5)
    assert first["seed_sd"] == pytest.approx(0.25)
    assert (second["trials"], second["seeds"], second["best"], second["rank"]) == ([1, 3, 5], 2, 0.5, 2)
    assert [row["rank"] for row in board["trials"]] == [1, 2, 3, 4, 5, None]
    assert board["seeds"] == 3


def of_epochs(config, *sentiment, state="completed"):
    """Return a trial of which sentiment has these scores by epoch, and whose dev score rises."""
    trial = record(config.seed, config, state, [0.1 * n for n in range(1, len(sentiment) + 1)])
    for said, score in zip(trial.history, sentiment, strict=True):
        said["scores"]["sentiment"] = score
    return trial


def test_each_tasks_own_best_is_over_all_epochs(plan, tiny_config):
    """Of sentiment the first of two that are equal; the others rise with the dev score, to the last epoch."""
    (row,) = leaderboard(plan, PATHS, [of_epochs(tiny_config, 0.4, 0.6, 0.6, 0.5)])["rows"]

    assert row["best_epoch"] == 4
    assert row["own_best"]["sentiment"] == {"score": 0.6, "epoch": 2}
    assert row["own_best"]["paraphrase"] == {"score": pytest.approx(0.4), "epoch": 4}


def test_the_own_best_of_several_seeds_is_that_of_their_mean(bare_plan, tiny_config):
    """By epoch: 0.6 and 0.2, then 0.3 and 0.7 make 0.4 and 0.5; a seed that failed is left out."""
    configs = [replace(tiny_config, seed=seed) for seed in range(3)]
    trials = [of_epochs(configs[0], 0.6, 0.3), of_epochs(configs[1], 0.2, 0.7), of_epochs(configs[2], state="failed")]

    (row,) = leaderboard(bare_plan(configs, seeds=3, varies=[]), PATHS, trials)["rows"]

    assert row["own_best"]["sentiment"] == {"score": 0.5, "epoch": 2}


def test_what_has_no_score_has_no_own_best(plan, tiny_config):
    """As it has no best; one that was stopped early has that of its epochs."""
    trials = [
        of_epochs(replace(tiny_config, seed=seed), 0.5, 0.4, state=state)
        for seed, state in enumerate(("failed", "running", "pruned"))
    ]

    rows = {row["state"]: row["own_best"] for row in leaderboard(plan, PATHS, trials)["rows"]}

    assert (rows["failed"], rows["running"]) == ({}, {})
    assert rows["pruned"]["sentiment"] == {"score": 0.5, "epoch": 1}


def test_without_the_baseline_there_is_none(plan, record_of):
    """A sweep that has not come to it says so."""
    assert leaderboard(plan, PATHS, [record_of(2)])["baseline"] is None
    empty = {"rows": 0, "trials": 0}
    assert leaderboard(plan, PATHS, []) | empty == leaderboard(plan, PATHS, [record_of(2)]) | empty


def test_equal_runs_write_equal_bytes(plan, record_of, tmp_path):
    """The file is JSON without NaN, the same for the same trials."""
    written = []
    for name in ("one", "two"):
        there = SweepPaths(tmp_path / name, "bare")
        write_leaderboard(there, leaderboard(plan, PATHS, [record_of(0), record_of(1, "failed", ())]))
        written.append(there.leaderboard.read_bytes())

    assert written[0] == written[1]
    assert json.loads(written[0], parse_constant=pytest.fail)["rows"][0]["rank"] == 1


@pytest.mark.parametrize("score", [math.nan, math.inf])
def test_a_score_that_is_not_finite_never_enters(plan, record_of, tmp_path, score):
    """It is an error where the file is written, and what stood there stays."""
    there = SweepPaths(tmp_path, "bare")
    write_leaderboard(there, leaderboard(plan, PATHS, [record_of(0)]))
    before = there.leaderboard.read_bytes()

    with pytest.raises(ValueError, match="not JSON compliant"):
        write_leaderboard(there, leaderboard(plan, PATHS, [record_of(0, "completed", (score,))]))

    assert there.leaderboard.read_bytes() == before


def test_trials_are_read_from_study_and_folders(tiny_plan, tiny_config, paths):
    """A completed, a failed and a running trial come back as they stand, in the order of their numbers."""
    configs = [replace(tiny_config, seed=seed) for seed in range(4)]
    plan = tiny_plan(*configs)
    study = TrialStudy(paths.study_uri, plan, None)
    driver = Driver(study, paths, lambda _: None)
    proposals = [driver.propose() for _ in range(3)]
    assert [(proposal.number, attempt) for proposal, attempt in proposals] == [(0, 1), (1, 1), (2, 1)]
    running = run_trial(plan, paths, 0, configs[0], 1, EXECUTION)
    driver.record(next(report for report in running if report.get("history")))  # under load others come before
    *_, completed = run_trial(plan, paths, 1, configs[1], 1, EXECUTION)
    driver.record(completed)
    write_verdict(paths.trial(2), failed(Failure.DIED, "killed", []))
    driver.close(2)

    records = read_trials(TrialStudy(paths.study_uri, plan, None), paths)

    assert [(r.number, r.state, len(r.history)) for r in records] == [
        (0, "running", 1),
        (1, "completed", 2),
        (2, "failed", 0),
    ]
    assert records[1].best == completed["best"]
    assert records[1].trainable_params == completed["trainable_params"]
    assert records[2].failure == "process died"
    assert [r.config for r in records] == plan.configs[:3]
    board = leaderboard(plan, paths, records)
    assert Path(board["rows"][0]["checkpoint"]).is_dir()
    running.close()


def test_who_asks_again_has_trials_read_again_that_have_news_alone(tiny_config, bare_plan, paths):
    """A trial's folder is looked at again once the study has an epoch of it more, or its end; until then it is not."""
    plan = bare_plan([replace(tiny_config, seed=seed) for seed in range(3)])
    study = TrialStudy(paths.study_uri, plan, None)
    for _ in range(3):
        study.next_proposal()
    known = {}
    assert [trial.history for trial in read_trials(study, paths, known)] == [[], [], []]
    for number in range(3):
        state = paths.trial(number).root / "attempt-1" / "state-0001"
        state.mkdir(parents=True)
        (state / "manifest.json").write_text(json.dumps({"history": [entry(1, 0.5)]}), encoding="utf-8")
    study.report(0, 1, 0.5)
    study.end(1, "completed", best=0.5)

    again = read_trials(study, paths, known)

    assert [(trial.state, len(trial.history)) for trial in again] == [("running", 1), ("completed", 1), ("running", 0)]
    assert [len(trial.history) for trial in read_trials(study, paths)] == [1, 1, 1]


def test_pruned_trials_stand_once_however_many_there_are(plan, record_of):
    """They come after the ranked ones, and before what failed or runs."""
    states = ("pruned", "failed", "completed", "running") * 5
    board = leaderboard(plan, PATHS, [record_of(n, state, (0.5 + n / 100,)) for n, state in enumerate(states)])

    order = [(row["state"], row["trial"]) for row in board["rows"]]
    assert sorted(number for _, number in order) == list(range(20))
    ranked, pruned, rest = order[:5], order[5:10], order[10:]
    assert ranked == [("completed", number) for number in (18, 14, 10, 6, 2)]
    assert pruned == [("pruned", number) for number in (16, 12, 8, 4, 0)]
    assert {state for state, _ in rest} == {"failed", "running"}


def test_a_completed_trial_whose_folder_is_gone_is_still_told(tiny_config, bare_plan, paths):
    """The study has its score: a person who cleared a folder gets a leaderboard, not a crash."""
    plan = bare_plan([tiny_config])
    study = TrialStudy(paths.study_uri, plan, None)
    study.next_proposal()
    study.end(0, "completed", best=0.5)

    board = leaderboard(plan, paths, read_trials(study, paths))

    assert board["rows"][0]["state"] == "completed"


@pytest.mark.parametrize("score", [math.nan, math.inf])
def test_an_epoch_whose_score_is_no_number_is_left_out_of_a_trial(tiny_config, bare_plan, paths, caplog, score):
    """Whatever wrote it into a state: the trial is told by its other epochs, and a line says so."""
    plan = bare_plan([tiny_config])
    study = TrialStudy(paths.study_uri, plan, None)
    study.next_proposal()
    state = paths.trial(0).root / "attempt-1" / "state-0002"
    state.mkdir(parents=True)
    history = [entry(1, 0.5), entry(2, 0.6) | {"dev_score": score}]
    (state / "manifest.json").write_text(json.dumps({"history": history}), encoding="utf-8")

    (trial,) = read_trials(study, paths)

    assert ([e["epoch"] for e in trial.history], trial.best["dev_score"]) == ([1], 0.5)
    assert f"trial 0000: epoch 2 has a score of {score}; it is left out" in caplog.text
