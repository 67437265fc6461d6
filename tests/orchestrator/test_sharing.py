"""Configs with other tasks: not ranked, not judged, and what a task gains or loses by sharing a model."""

from dataclasses import replace

import numpy as np
import pytest

from model.files import write_json
from model.tasks import TASKS
from orchestrator import show
from orchestrator.judgement import Judge
from orchestrator.leaderboard import JUDGED, OTHER_TASKS, groups, leaderboard
from orchestrator.plan import shown
from orchestrator.progress import Progress
from orchestrator.retention import kept_trials
from orchestrator.sharing import sharing_pairs
from tests.predicted import EXAMPLES, answers, predicted_trial

EVERY = tuple(EXAMPLES)


@pytest.fixture
def sweep(bare_plan, paths):
    """Return a function from configs, their skills and seeds to a plan and completed trials."""

    def made(bases, skills, seeds=1):
        configs = [replace(config, seed=seed) for seed in range(seeds) for config in bases]
        plan = bare_plan(configs, seeds=seeds, tasks=[TASKS[name].to_dict() for name in EVERY])
        rng = np.random.default_rng(2)
        trials = [
            predicted_trial(paths, number, config, answers(skills[number % len(bases)] + rng.normal(0, 0.002), rng))
            for number, config in enumerate(configs)
        ]
        return plan, trials

    return made


@pytest.fixture
def alone_and_shared(sweep, tiny_config):
    """Return the sweep of search_spaces/single_task.py: sentiment is better alone by far."""
    return sweep(
        [tiny_config, *(replace(tiny_config, tasks=(task,)) for task in EVERY)], [0.5, 0.65, 0.5, 0.5], seeds=3
    )


def board_of(plan, paths, trials):
    """Return the judged leaderboard."""
    return leaderboard(plan, paths, trials, {}, Judge(plan, paths).judge(groups(plan, trials)))


def test_configs_with_other_tasks_are_neither_ranked_nor_judged(alone_and_shared, paths):
    """They come after those that are, in their order; a score of paraphrases alone beats nobody."""
    plan, trials = alone_and_shared

    board = board_of(plan, paths, trials)

    assert [(row["trial"], row["rank"]) for row in board["rows"]] == [(0, 1), (1, None), (2, None), (3, None)]
    for row in board["rows"][1:]:
        assert row["verdict"] == OTHER_TASKS
        assert {row[name] for name in (*JUDGED, "gap", "tied_with_best") if name != "verdict"} == {None}
    assert board["rows"][0]["verdict"] == "baseline"
    assert [row["rank"] for row in board["trials"]] == [1, 2, 3, *[None] * 9]


def test_each_task_is_told_what_sharing_does_to_it(alone_and_shared, paths):
    """Sentiment is hurt by it, in accuracy and beyond noise; the others are not."""
    plan, trials = alone_and_shared

    board = board_of(plan, paths, trials)

    found = {each["task"]: each for each in board["transfer"]}
    assert {task: each["verdict"] for task, each in found.items()} == {
        "sentiment": "hurt",
        "paraphrase": "may be noise",
        "similarity": "may be noise",
    }
    sentiment = found["sentiment"]
    assert (sentiment["alone"], sentiment["shared"]) == (1, 0)
    assert sentiment["alone_score"] == pytest.approx(board["rows"][1]["sentiment"])
    assert sentiment["shared_score"] == pytest.approx(board["rows"][0]["sentiment"])
    assert sentiment["low"] < sentiment["difference"] < sentiment["high"] < 0


def test_the_verdict_tells_it_in_words(alone_and_shared, paths):
    """A sentence a task, with its interval turned to the side that is told."""
    plan, trials = alone_and_shared

    said = show.verdict(board_of(plan, paths, trials), None)

    assert "Trained alone, sentiment reaches 0." in said
    assert "sharing costs it 0." in said
    assert said.count("which may be noise (-0.") == 2
    assert "own best epoch" not in said


def test_where_the_shared_model_has_a_better_epoch_for_the_task_it_is_told(alone_and_shared, paths):
    """Its epoch was chosen for all tasks: part of what sharing costs."""
    plan, trials = alone_and_shared
    trials = [
        replace(trial, history=[*trial.history, trial.history[0] | {"epoch": 2, "scores": dict.fromkeys(EVERY, 0.99)}])
        for trial in trials
    ]

    found = board_of(plan, paths, trials)

    assert found["transfer"][0]["shared_own_best"] == {"score": pytest.approx(0.99), "epoch": 2}
    assert "(0.990 at its own best epoch, 2): sharing costs it" in show.verdict(found, None)


def test_without_predictions_of_one_side_there_is_nothing_to_tell(alone_and_shared, paths):
    """As while the sweep runs: the list is empty, and the shared ones are judged."""
    plan, trials = alone_and_shared
    shared = [trial for trial in trials if len(trial.config["tasks"]) == 3]

    board = board_of(plan, paths, shared)

    assert (board["transfer"], board["rows"][0]["verdict"]) == ([], "baseline")
    assert leaderboard(plan, paths, trials)["transfer"] == []


def test_only_configs_that_are_otherwise_equal_are_paired(tiny_config, sweep):
    """What is another task's alone is no difference; what is the task's own is, however it is written."""
    similarity = replace(tiny_config, tasks=("similarity",))
    configs = [
        replace(tiny_config, pair_encoding={"paraphrase": "joint"}),
        replace(similarity, pair_encoding={"similarity": "joint"}),  # its own default
        replace(similarity, pair_encoding={"similarity": "separate"}),
        replace(similarity, learning_rate=0.5),
    ]
    plan, trials = sweep(configs, [0.5] * 4)

    pairs = sharing_pairs(plan, groups(plan, trials))

    assert [(pair.task, pair.alone.shown.number, pair.shared.shown.number) for pair in pairs] == [("similarity", 1, 0)]


def test_tasks_in_another_order_are_the_same_tasks(sweep, paths, tiny_config):
    """Their scores are means over the same, and are compared."""
    plan, trials = sweep([tiny_config, replace(tiny_config, tasks=EVERY[::-1])], [0.5, 0.5])

    rows = board_of(plan, paths, trials)["rows"]

    assert {row["trial"]: row["verdict"] for row in rows} == {0: "baseline", 1: "tied"}


def test_a_baseline_of_one_task_is_measured_by_it(sweep, paths, tiny_config):
    """Then it is the shared model that is not ranked, and still tells what sharing does."""
    plan, trials = sweep([replace(tiny_config, tasks=("sentiment",)), tiny_config], [0.6, 0.5])

    board = board_of(plan, paths, trials)

    assert [(row["trial"], row["rank"]) for row in board["rows"]] == [(0, 1), (1, None)]
    assert board["transfer"][0]["verdict"] == "tentatively hurt"


def test_the_table_shows_a_dash_for_a_task_that_a_trial_lacks(alone_and_shared, paths):
    """And none for its dev score, which is no score of the sweep's; tasks are joined by plus."""
    plan, trials = alone_and_shared

    table = show._leaderboard(plan, paths, board_of(plan, paths, trials))

    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    assert [rows[1][name] == "-" for name in ("rank", "best", "gap", *EVERY)] == [True, True, True, False, True, True]
    assert [row["tasks"] for row in rows] == ["+".join(EVERY), *EVERY]
    assert "losses.similarity" not in shown(plan, trials[1].config)


def test_the_best_so_far_is_of_the_baselines_tasks(alone_and_shared):
    """A running model of paraphrases alone is not the best of the sweep."""
    plan, _ = alone_and_shared
    progress = Progress(plan, "quiet")
    for number, score in enumerate((0.5, 0.9)):
        progress.publish({"event": "started", "trial": number})
        progress.publish({"event": "epoch", "trial": number, "history": [{"dev_score": score}]})

    assert progress._best() == (0, 0.5)


def test_weights_of_other_tasks_are_kept_where_there_is_room(alone_and_shared, paths):
    """After those of the ranked trials."""
    plan, trials = alone_and_shared
    board = board_of(plan, paths, trials)

    assert kept_trials(board, 2, ()) < kept_trials(board, 4, ())
    assert kept_trials(board, 4, ()) == {0, 4, 8, 1}


@pytest.mark.slow  # a real MLflow store takes seconds to make
def test_mlflows_page_does_not_sort_by_scores_of_other_tasks(alone_and_shared, paths):
    """They have no best and no rank there, their verdict says why; best-dev is the best of the ranked ones."""
    from mlflow import MlflowClient

    from orchestrator.tracking import Projection

    plan, trials = alone_and_shared
    write_json(paths.plan, plan.to_dict())
    write_json(paths.data_report, {})
    plan = replace(plan, name=paths.name, encoder={"name": "none"}, data={"source": "none"})
    projection = Projection(plan, paths, None)

    projection.sync(trials)

    client = MlflowClient(projection.uri)
    shared, alone = (client.get_run(projection.runs[number]).data for number in (0, 1))
    assert {"best", "rank"} <= shared.metrics.keys()
    assert not {"best", "rank", "gap", "expected", "p"} & alone.metrics.keys()
    assert alone.metrics["sentiment"] > 0
    assert (alone.params["tasks"], alone.tags["verdict"]) == ("sentiment", OTHER_TASKS)
    best = board_of(plan, paths, trials)["trials"][0]["trial"]
    assert client.get_model_version_by_alias(plan.name, "best-dev").run_id == projection.runs[best]
