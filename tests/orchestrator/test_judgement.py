"""What is said of configs from their trials' predictions: real tables in checkpoints, with planted answers."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from model.checkpoint import PREDICTIONS
from model.files import write_manifest
from orchestrator import judgement, show
from orchestrator.judgement import MOST_PROBLEMS, Judge
from orchestrator.leaderboard import JUDGED, groups, leaderboard, write_leaderboard
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


def test_more_configs_than_can_be_judged_together_have_ranks_and_a_note(sweep, paths, monkeypatch):
    """The square matrix of their noise would fill the memory of the machine that keeps everything."""
    monkeypatch.setattr(judgement, "MOST_JUDGED", 4)
    plan, trials = sweep([0.5, 0.6, 0.4, 0.5, 0.5])

    found = Judge(plan, paths).judge(groups(plan, trials))
    rows = leaderboard(plan, paths, trials, {}, found)["rows"]

    assert [row["rank"] for row in rows] == [1, 2, 3, 4, 5]
    assert {row["verdict"] for row in rows} == {None}
    said = "5 configs were trained to their end, and at most 4 are judged together; early_stopping leaves fewer"
    assert found.notes() == [f"no verdicts: {said}"]


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


def test_predictions_are_kept_in_a_byte_where_they_are_classes(sweep, paths):
    """A driver keeps those of every trial of a sweep: the numbers are the same, their room an eighth."""
    plan, trials = sweep([0.5])
    judge = Judge(plan, paths)
    judge.judge(groups(plan, trials))
    written = pq.read_table(paths.trial(0).root / trials[0].best["checkpoint"] / PREDICTIONS)

    for task, kept in judge._predictions[0].items():
        told = written.filter(pa.compute.field("task") == task)["prediction"].to_numpy()
        assert np.array_equal(kept, told)
        assert kept.itemsize == (1 if np.array_equal(told, told.round()) else told.itemsize)
    assert {kept.itemsize for kept in judge._predictions[0].values()} == {1, 8}


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


# --- predictions that cannot be used, up to what a person sees ---


def spoil(paths, number, change):
    """Let a trial's table of predictions be another one, whole by its manifest; None removes it."""
    folder = paths.trial(number).root / "attempt-1" / "best-0001"
    if change is None:
        (folder / PREDICTIONS).unlink()
        return
    found = change(pq.read_table(folder / PREDICTIONS))
    (folder / "manifest.json").unlink()
    pq.write_table(found, folder / PREDICTIONS)
    write_manifest(folder, {"format": 4})


def without(task):
    """Return a change that leaves out a task's examples."""
    return lambda found: found.filter(pa.compute.not_equal(found["task"], task))


def with_value(column, value):
    """Return a change of one value of a column."""
    place = 1_500

    def changed(found):
        values = found[column].to_pylist()
        values[place] = value
        return found.set_column(found.schema.get_field_index(column), column, pa.array(values, pa.float64()))

    return changed


def seen(plan, paths, trials):
    """Return the rows by trial, what is printed at the end, and the problems; leaderboard.json has no NaN."""
    plan = replace(plan, encoder={"weights": "0" * 64})
    judgement = Judge(plan, paths).judge(groups(plan, trials))
    board = leaderboard(plan, paths, trials, {}, judgement)
    write_leaderboard(paths, board)
    assert json.loads(paths.leaderboard.read_text(encoding="utf-8"), parse_constant=pytest.fail) == board
    console = Console(width=300, highlight=False, markup=False, emoji=False)
    with console.capture() as printed:
        show.final(console, plan, paths, board, 0.4, "leaderboard  nowhere")
    assert "nan" not in printed.get().lower()
    return {row["trial"]: row for row in board["rows"]}, printed.get(), judgement.notes()


def test_a_sweep_without_predictions_has_ranks_and_no_verdicts(sweep, paths):
    """The first problems are told one by one, the others counted; nobody is called noise, tied or better."""
    plan, trials = sweep([0.5, 0.6, 0.5, 0.5, 0.5, 0.5, 0.5])
    for number in range(7):
        spoil(paths, number, None)

    rows, printed, notes = seen(plan, paths, trials)

    assert [rows[n]["rank"] for n in range(2)][1] == 1
    assert {rows[n][name] for n in rows for name in (*JUDGED, "tied_with_best")} == {None}
    assert "without both's predictions nobody can say whether that is noise." in printed
    assert "tied" not in printed
    assert len(notes) == MOST_PROBLEMS + 1
    assert notes[0].startswith("no verdict on trial 0000: ")
    assert notes[-1] == "no verdict on 2 more trials"


def test_one_trial_without_predictions_is_the_baseline_alone(sweep, paths):
    """No comparison is made up for it."""
    plan, trials = sweep([0.5])
    spoil(paths, 0, None)

    rows, printed, (note,) = seen(plan, paths, trials)

    assert rows[0]["verdict"] is None
    assert "It is the baseline itself." in printed
    assert note.startswith("no verdict on trial 0000: ")


def test_a_sweep_whose_trials_all_failed_says_that_none_completed(sweep, paths):
    """Each failure has its line, and there is no rank, no winner and no verdict."""
    plan, trials = sweep([0.5, 0.5])
    lost = [replace(trial, state="failed", best=None, failure="diverged", error="the loss is nan") for trial in trials]
    told = [replace(trial, error="its loss is no number") for trial in lost]

    rows, printed, notes = seen(plan, paths, told)

    assert {(row["rank"], row["best"], row["verdict"]) for row in rows.values()} == {(None, None, None)}
    assert "No trial completed." in printed
    assert "trial 0001 failed (diverged): its loss is no number" in printed
    assert notes == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without("similarity"), "its predictions have no example of similarity"),
        (with_value("prediction", float("nan")), "1 of its 3960 predictions are no numbers"),
        (with_value("prediction", float("-inf")), "1 of its 3960 predictions are no numbers"),
        (with_value("prediction", None), "1 of its 3960 predictions are no numbers"),
        (with_value("label", float("nan")), "1 of its 3960 labels are no numbers"),
        (with_value("label", 4.0), "it was scored on other examples than the first"),
    ],
    ids=["a task missing", "NaN", "infinite", "null", "NaN label", "another label"],
)
@pytest.mark.parametrize("number", [0, 1, 3])
def test_a_table_that_says_nothing_true_costs_its_own_trial_the_verdict(sweep, paths, number, change, said):
    """Also where it is read first: the others are judged as if it were not there."""
    plan, trials = sweep([0.5, 0.6, 0.5, 0.5])
    spoil(paths, number, change)
    others = [trial for trial in trials if trial.number != number]

    rows, _, notes = seen(plan, paths, trials)

    if (number, said) != (0, "it was scored on other examples than the first"):  # the first is what others are held to
        assert notes == [f"no verdict on trial {number:04d}: {said}"]
        assert {rows[number][name] for name in JUDGED} == {None}
        alone = rows_of(plan, paths, others)
        assert {n: {name: rows[n][name] for name in JUDGED} for n in alone} == {
            n: {name: alone[n][name] for name in JUDGED} for n in alone
        }


def test_a_task_that_no_table_has_leaves_all_without_a_verdict(sweep, paths):
    """As after a change of the tasks by hand: a line each, and the ranks stand."""
    plan, trials = sweep([0.5, 0.6])
    for number in range(2):
        spoil(paths, number, without("paraphrase"))

    rows, _, notes = seen(plan, paths, trials)

    assert [rows[n]["rank"] for n in (0, 1)] == [2, 1]
    assert notes == [f"no verdict on trial {n:04d}: its predictions have no example of paraphrase" for n in range(2)]


def test_nobody_is_tied_with_a_best_whose_predictions_cannot_be_used(sweep, paths):
    """What ties with the best of the others does not tie with the best."""
    plan, trials = sweep([0.5, 0.9, 0.5])
    spoil(paths, 1, with_value("prediction", float("nan")))
    fast = [*trials[:2], replace(trials[2], history=[{**trials[2].history[0], "train_seconds": 0.1}])]

    rows, printed, _ = seen(plan, paths, fast)

    assert [rows[n]["rank"] for n in range(3)][1] == 1
    assert {row["tied_with_best"] for row in rows.values()} == {None}
    assert "Cheapest" not in printed


def test_repeated_seeds_without_predictions_are_not_called_one_seed(sweep, paths):
    """What another seed changes is not known, for another reason than that there is none."""
    plan, trials = sweep([0.5, 0.5], seeds=2)
    for number in range(4):
        spoil(paths, number, None)

    _, printed, _ = seen(plan, paths, trials)

    assert "What another seed would change is not known: no config has two seeds' predictions." in printed
    assert "One seed each" not in printed
