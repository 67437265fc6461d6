"""What is said of configs from their trials' predictions: real tables in checkpoints, with planted answers."""

import json
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest

from model.checkpoint import PREDICTIONS
from model.files import write_manifest
from orchestrator.judgement import Judge
from orchestrator.leaderboard import JUDGED, groups, leaderboard
from tests.predicted import answers, table


def rows_of(plan, paths, trials):
    """Return the leaderboard's rows by trial."""
    judgement = Judge(plan, paths).judge(groups(plan, trials))
    return {row["trial"]: row for row in leaderboard(plan, paths, trials, {}, judgement)["rows"]}


def test_configs_that_differ_by_noise_alone_are_tied(sweep, paths):
    """Seven of equal skill on three seeds each: none is better or worse than the baseline, and all are tied."""
    plan, trials = sweep([0.5] * 7, seeds=3, seed_noise=0.005)

    rows = rows_of(plan, paths, trials)

    assert [rows[n]["verdict"] for n in range(7)] == ["baseline", *["tied"] * 6]
    assert all(rows[n]["seeds"] == 3 and rows[n]["tied_with_best"] for n in rows)


def test_a_better_config_is_found_and_a_worse_one_too(sweep, paths):
    """Beyond the noise of examples and seeds, corrected for all comparisons."""
    plan, trials = sweep([0.5, 0.5, 0.6, 0.4], seeds=3, seed_noise=0.003)

    rows = rows_of(plan, paths, trials)

    assert [rows[n]["verdict"] for n in range(4)] == ["baseline", "tied", "better", "worse"]
    assert rows[2]["difference_low"] > 0 > rows[3]["difference_high"]
    assert rows[2]["p_beats_baseline"] > 0.99
    assert [n for n in rows if rows[n]["tied_with_best"]] == [2]


def test_without_repeated_seeds_a_verdict_is_tentative_at_most(sweep, paths):
    """That another seed would not change it nobody knows."""
    plan, trials = sweep([0.5, 0.6, 0.4])

    rows = rows_of(plan, paths, trials)

    assert [rows[n]["verdict"] for n in range(3)] == ["baseline", "tentatively better", "tentatively worse"]


def test_an_interval_holds_the_score_and_the_expectation_of_the_best_lies_below_it(sweep, paths):
    """The best of many is the luckiest too."""
    plan, trials = sweep([0.5] * 10)

    rows = rows_of(plan, paths, trials)

    assert all(row["ci_low"] < row["best"] < row["ci_high"] for row in rows.values())
    best = max(rows.values(), key=lambda row: row["best"])
    assert best["expected"] < best["best"]


@pytest.mark.parametrize("damage", ["missing", "changed", "of other examples"])
def test_a_trial_whose_predictions_cannot_be_used_has_no_verdict_and_the_others_have(sweep, paths, damage):
    """Nothing wrong is shown, and the reason is told."""
    plan, trials = sweep([0.5, 0.5, 0.5])
    folder = paths.trial(1).root / "attempt-1" / "best-0001"
    if damage == "missing":
        (folder / PREDICTIONS).unlink()
    elif damage == "changed":
        content = (folder / PREDICTIONS).read_bytes()
        (folder / PREDICTIONS).write_bytes(content[:-9] + b"x" + content[-8:])
    else:
        (folder / "manifest.json").unlink(missing_ok=True)
        pq.write_table(table(answers(0.5, np.random.default_rng(3))).slice(5), folder / PREDICTIONS)
        write_manifest(folder, {"format": 4})
    judge = Judge(plan, paths)

    judgement = judge.judge(groups(plan, trials))

    assert len(judgement.columns) == 2
    (problem,) = judgement.problems
    assert problem.startswith("no verdict on trial 0001: ")
    rows = rows_of(plan, paths, trials)
    assert {rows[1][name] for name in JUDGED} == {None}
    assert rows[2]["verdict"] == "tied"


def test_without_the_baseline_configs_have_intervals_and_no_verdict(sweep, paths):
    """Nothing is there to be compared with."""
    plan, trials = sweep([0.5, 0.5, 0.5])

    rows = rows_of(plan, paths, trials[1:])

    assert all(row["verdict"] is None and row["ci_low"] is not None for row in rows.values())


def test_a_sweep_of_one_trial_is_judged_alone(sweep, paths):
    """It is the baseline, with an interval."""
    plan, trials = sweep([0.5])

    (row,) = rows_of(plan, paths, trials).values()

    assert (row["verdict"], row["tied_with_best"]) == ("baseline", True)


def test_the_judgement_does_not_depend_on_when_trials_ended(sweep, paths):
    """Judged as they came, or all at once: the same to the last digit."""
    plan, trials = sweep([0.5, 0.52, 0.49, 0.5], seeds=2)
    grown = Judge(plan, paths)
    for upto in range(1, len(trials) + 1):
        last = grown.judge(groups(plan, trials[-upto:]))

    assert last == Judge(plan, paths).judge(groups(plan, trials))


def test_what_the_varied_parameter_does_stands_in_the_board(sweep, paths):
    """Of configs that differ it matters, of equal ones it is within noise; a seed is no parameter."""
    found = []
    for place, skills in (("apart", [0.4, 0.5, 0.6]), ("alike", [0.5] * 3)):
        there = replace(paths, name=place)
        plan, trials = sweep(skills, seeds=2, seed_noise=0.003, there=there)
        board = leaderboard(plan, there, trials, {}, Judge(plan, there).judge(groups(plan, trials)))
        (entry,) = json.loads(json.dumps(board["importances"]))
        found.append((entry["parameter"], entry["levels"], entry["finding"], entry["effect"] > entry["floor"]))

    assert found == [("weight_decay", 3, "matters", True), ("weight_decay", 3, "within noise", False)]
    assert leaderboard(plan, there, trials)["importances"] == []
