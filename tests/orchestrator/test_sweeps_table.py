"""Finished sweeps beside each other: a row each, columns only where there is something, and what cannot be compared."""

from dataclasses import replace

import pytest

from model.config import TrialConfig
from orchestrator.finished import read_finished
from orchestrator.paths import SweepPaths
from orchestrator.study_table import NOTHING, markdown
from orchestrator.sweeps_table import sweeps_table
from tests.finished import entry, trial, write_confirmation, write_sweep, write_test

CONFIGS = [TrialConfig(learning_rate=rate) for rate in (2e-5, 1e-5, 3e-5)]
TRIALS = [trial(n, config, [entry(1, (0.4 + n / 10, 0.7, 0.6), 60)]) for n, config in enumerate(CONFIGS)]


@pytest.fixture
def written(tmp_path, bare_plan):
    """Return a function that writes a sweep of three rates under a name, and reads it."""

    def made(name, trials=TRIALS, *, confirmed=(), openings=0, **changes):
        paths = SweepPaths(tmp_path, name)
        if confirmed:
            write_confirmation(paths, trials, confirmed)
        if openings:
            write_test(paths, openings)
        write_sweep(paths, replace(bare_plan(CONFIGS), **changes), trials)
        return read_finished(paths)

    return made


def cells(table, row):
    """Return a row's cells by their columns."""
    return dict(zip(table.columns, table.rows[row], strict=True))


def test_a_sweep_is_a_row_with_its_best_beside_its_baseline(written):
    """What nobody has is no column."""
    table = sweeps_table([written("exp2", question="Which rate?"), written("again")])

    assert cells(table, 0) == {
        "sweep": "exp2", "question": "Which rate?", "configs": "3", "seeds": "1", "baseline": "0.6333",
        "best": "0.7000", "verdict": "tied", "expected": "0.7000", "train seconds": "180",
    }  # fmt: skip
    assert [row[0] for row in table.rows] == ["exp2", "again"]
    assert "### 2 sweeps beside each other" in markdown(table)
    assert not any("comparable" in note for note in table.notes)


def test_fresh_seeds_and_the_test_set_have_columns_where_one_sweep_has_them(written):
    """The other one's cells are empty; a test set that was opened often is told."""
    verdicts = ("baseline", "undecided", "better")

    table = sweeps_table([written("exp2", confirmed=verdicts, openings=3), written("again")])

    columns = ("fresh mean", "fresh seeds", "confirmed", "test")
    assert [cells(table, 0)[name] for name in columns] == ["0.6100", "3", "better", "0.5800 (winner)"]
    assert [cells(table, 1)[name] for name in columns] == [NOTHING] * 4
    assert "exp2: the test data were opened 3 times." in table.notes


def test_encoder_and_data_are_columns_only_where_they_differ(written):
    """A copy of the same data elsewhere is no difference, a cap is."""
    one = written("one", encoder={"name": "minilm", "weights": "a"})
    moved = written("moved", encoder={"name": "minilm", "weights": "a"}, data={"source": "elsewhere"})
    other = written("other", encoder={"name": "bert", "weights": "b"}, data={"max_dev_examples": 96})

    assert not {"encoder", "data"} & set(sweeps_table([one, moved]).columns)
    table = sweeps_table([one, other])
    assert [cells(table, row)["encoder"] for row in (0, 1)] == ["minilm", "bert"]
    assert [cells(table, row)["data"] for row in (0, 1)] == ["nowhere", "nowhere, 96 dev examples a task"]


def test_scores_on_other_dev_data_are_said_not_to_be_comparable(written):
    """With what differs, of every sweep that is measured otherwise than the first."""
    measured = ({}, {}, {"max_dev_examples": 96}, {"content": {"sentiment/dev": "x"}})
    sweeps = [written(f"exp{n}", data=data) for n, data in enumerate(measured)]

    (note,) = [note for note in sweeps_table(sweeps).notes if "comparable" in note]

    assert note.startswith("Scores on other dev data or of other tasks are not comparable: exp0 and exp2 were scored")
    assert "exp0 and exp3 were scored on other dev data of sentiment (other examples or labels)" in note
    assert "exp1" not in note


def test_a_sweep_whose_baseline_failed_has_a_row(written):
    """Its cell is empty."""
    trials = [trial(0, CONFIGS[0], [], "failed"), *TRIALS[1:]]

    table = sweeps_table([written("one", trials), written("two")])

    assert (cells(table, 0)["baseline"], cells(table, 0)["best"]) == (NOTHING, "0.7000")
