"""The study's kind of table: its numbers against made-up sweeps with known answers, as Markdown and as an image."""

import struct
from dataclasses import replace

import pytest

from model.config import TrialConfig
from model.encoder_files import MINILM_SHA256
from orchestrator.finished import read_finished
from orchestrator.paths import SweepPaths
from orchestrator.show import MINILM_NOTE
from orchestrator.study_table import FRESH, NOTHING, markdown, study_table
from orchestrator.table_image import ROWS, write_image
from tests.finished import entry, trial, write_confirmation, write_sweep

EVERYTHING = TrialConfig(unfrozen_layers="all")
TOP_TWO = TrialConfig()


@pytest.fixture
def exp1(tmp_path, bare_plan):
    """Return the paths of a made-up exp1: the top two layers keep 97 % of the score in half the time."""
    paths = SweepPaths(tmp_path, "exp1")
    plan = bare_plan([EVERYTHING, TOP_TWO], question="How deep can BERT be frozen?")
    whole = [entry(1, (0.5, 0.8, 0.5), 400), entry(2, (0.48, 0.85, 0.72), 400)]
    top = [entry(1, (0.47, 0.79, 0.6), 200), entry(2, (0.455, 0.82, 0.703), 200)]
    write_sweep(paths, plan, [trial(0, EVERYTHING, whole), trial(1, TOP_TWO, top)])
    return paths


def cells(table, row):
    """Return a row's cells by their columns."""
    return dict(zip(table.columns, table.rows[row], strict=True))


def test_exp1s_table_says_what_freezing_keeps_and_what_it_saves(exp1):
    """The study's Table 1: 97 % of the baseline's score in half of its time."""
    found = cells(study_table(read_finished(exp1)), 1)

    assert (found["unfrozen_layers"], found["score of baseline"], found["time of baseline"]) == ("2", "97 %", "50 %")
    assert (found["train seconds"], found["trainable"], found["parameters"]) == ("400", "3.8 M", "22.9 M")
    assert "| 97 % | 50 % | 400 |" in markdown(study_table(read_finished(exp1)))


def test_each_tasks_own_best_stands_beside_its_score_at_the_best_epoch(exp1):
    """Sentiment peaks before the overall score does."""
    found = cells(study_table(read_finished(exp1)), 0)

    assert found["best overall"] == "0.7300"
    assert (found["epoch"], found["sentiment"], found["sentiment own best (epoch)"]) == ("2", "0.4800", "0.5000 (1)")
    assert (found["similarity r"], found["similarity r own best (epoch)"]) == ("0.7200", "0.7200 (2)")


def test_a_lists_rows_are_in_its_own_order_and_a_spaces_by_rank(tmp_path, bare_plan):
    """A list is read as it was written; of a space the best are looked for."""
    configs = [replace(TOP_TWO, learning_rate=rate) for rate in (1e-5, 2e-5, 3e-5)]
    trials = [trial(n, c, [entry(1, (s, s, s))]) for n, (c, s) in enumerate(zip(configs, (0.5, 0.7, 0.6), strict=True))]
    for name, changes in (("list", {}), ("space", {"configs": [], "space_code": "f" * 64})):
        plan = replace(bare_plan(configs), **changes)
        write_sweep(SweepPaths(tmp_path, name), plan, trials)

    listed, space = (study_table(read_finished(SweepPaths(tmp_path, name))) for name in ("list", "space"))

    assert [row[0] for row in listed.rows] == ["3", "1", "2"]
    assert [row[0] for row in space.rows] == ["1", "2", "3"]
    assert [row[0] for row in study_table(read_finished(SweepPaths(tmp_path, "list")), by_rank=True).rows] == [
        "1",
        "2",
        "3",
    ]


def test_trials_without_a_whole_run_have_no_shares(tmp_path, bare_plan):
    """What was stopped early or failed is told, and its time is not called a saving."""
    configs = [replace(TOP_TWO, learning_rate=rate) for rate in (1e-5, 2e-5, 3e-5)]
    states = ("completed", "pruned", "failed")
    paths = SweepPaths(tmp_path, "exp2")
    histories = ([entry(1, (0.5, 0.5, 0.5)), entry(2, (0.6, 0.6, 0.6))], [entry(1, (0.4, 0.4, 0.4))], [])
    trials = [trial(n, *each) for n, each in enumerate(zip(configs, histories, states, strict=True))]
    write_sweep(paths, bare_plan(configs), trials)

    table = study_table(read_finished(paths))

    assert [cells(table, n)["verdict"] for n in range(3)] == ["baseline", "stopped early", "failed: diverged"]
    assert [cells(table, n)["time of baseline"] for n in range(3)] == ["100 %", NOTHING, NOTHING]
    assert [cells(table, n)["best overall"] for n in range(3)] == ["0.6667", "0.5000", NOTHING]


def test_without_the_baseline_the_table_says_so(tmp_path, bare_plan):
    """Shares of nothing are not numbers."""
    paths = SweepPaths(tmp_path, "exp1")
    trials = [trial(0, EVERYTHING, [], "failed"), trial(1, TOP_TWO, [entry(1, (0.5, 0.5, 0.5))])]
    write_sweep(paths, bare_plan([EVERYTHING, TOP_TWO]), trials)

    table = study_table(read_finished(paths))

    assert cells(table, 1)["score of baseline"] == NOTHING
    assert any("The baseline did not complete" in note for note in table.notes)


def test_seeds_are_told_with_their_spread(tmp_path, bare_plan):
    """A config of three seeds is one row; its own bests are of the mean over the seeds, as its scores are."""
    configs = [replace(TOP_TWO, seed=seed) for seed in range(3)]
    paths = SweepPaths(tmp_path, "seeds")
    trials = [trial(n, c, [entry(1, (0.5 + n / 10, 0.6, 0.6))]) for n, c in enumerate(configs)]
    write_sweep(paths, replace(bare_plan(configs), seeds=3, varies=[]), trials)

    (row,) = (cells(study_table(read_finished(paths)), 0),)

    assert (row["seeds"], row["sd"], row["sentiment"], row["sentiment own best (epoch)"]) == (
        "3",
        "0.0333",
        "0.6000",
        "0.6000 (1)",
    )


def test_what_fresh_seeds_say_stands_beside_the_configs_that_were_confirmed(tmp_path, bare_plan):
    """Mean, spread, number and verdict; without a confirmation there are no such columns."""
    configs = [replace(TOP_TWO, learning_rate=rate) for rate in (1e-5, 2e-5, 3e-5)]
    trials = [trial(n, config, [entry(1, (0.5, 0.6, 0.6))]) for n, config in enumerate(configs)]
    paths = SweepPaths(tmp_path, "exp2")
    write_sweep(paths, bare_plan(configs), trials)
    assert not set(FRESH) & set(study_table(read_finished(paths)).columns)
    write_confirmation(paths, trials[:2], ("baseline", "better"))
    write_sweep(paths, bare_plan(configs), trials)

    table = study_table(read_finished(paths))

    assert [[cells(table, n)[name] for name in FRESH] for n in range(3)] == [
        ["0.6100", "0.0100", "baseline", "3"],
        ["0.6100", "0.0100", "better", "3"],
        [NOTHING] * 4,
    ]
    assert "| verdict | fresh mean | fresh sd | confirmed | fresh seeds |" in markdown(table)
    assert any(note.startswith("Fresh: on seeds that the search has not seen") for note in table.notes)


def test_a_config_with_other_tasks_has_no_overall_score_to_compare(tmp_path, bare_plan):
    """It is a mean over other things, and never the column's best."""
    configs = [TOP_TWO, replace(TOP_TWO, tasks=("similarity",)), replace(TOP_TWO, learning_rate=1e-5)]
    trials = [trial(n, config, [entry(1, (0.5, 0.6, 0.6 + n / 10))]) for n, config in enumerate(configs)]
    paths = SweepPaths(tmp_path, "alone")
    write_sweep(paths, bare_plan(configs), trials)

    table = study_table(read_finished(paths))

    assert (cells(table, 1)["best overall"], cells(table, 1)["similarity r"]) == (NOTHING, "0.7000")
    assert (2, table.columns.index("best overall")) in table.best


def test_a_sweep_of_one_trial_has_a_table_of_one_row(tmp_path, bare_plan):
    """It is the baseline."""
    paths = SweepPaths(tmp_path, "one")
    write_sweep(paths, bare_plan([TOP_TWO]), [trial(0, TOP_TWO, [entry(1, (0.5, 0.5, 0.5))])])

    table = study_table(read_finished(paths))

    assert (len(table.rows), table.baseline, table.best) == (1, 0, frozenset())


def test_a_trial_whose_folder_is_gone_keeps_its_row(exp1):
    """The leaderboard has its scores; what the verdict alone knew is missing."""
    for path in (exp1.trial(1).verdict, exp1.trial(1).verdict_copy):
        path.unlink()

    found = cells(study_table(read_finished(exp1)), 1)

    assert found["score of baseline"] == "97 %"
    assert found["sentiment own best (epoch)"] == "0.4700 (1)"
    assert found["parameters"] == NOTHING


def test_markdown_shows_what_was_written_as_it_is(bare_plan, tmp_path):
    """A question's bars, brackets and tags stay text, and one line."""
    paths = SweepPaths(tmp_path, "asked")
    plan = bare_plan([TOP_TWO], question="a|b <script> [x](y)\n# c")
    write_sweep(paths, plan, [trial(0, TOP_TWO, [entry(1, (0.5, 0.5, 0.5))])])

    first = markdown(study_table(read_finished(paths))).splitlines()[0]

    assert first == r"### asked: a\|b &lt;script&gt; \[x\](y)\\n# c"


def test_what_the_packaged_encoder_scores_is_no_claim(exp1, bare_plan, tmp_path):
    """The note stands wherever its scores are shown."""
    paths = SweepPaths(tmp_path, "small")
    plan = bare_plan([TOP_TWO], encoder={"weights": MINILM_SHA256})
    write_sweep(paths, plan, [trial(0, TOP_TWO, [entry(1, (0.5, 0.5, 0.5))])])

    assert MINILM_NOTE in study_table(read_finished(paths)).notes
    assert MINILM_NOTE not in study_table(read_finished(exp1)).notes


def test_the_image_is_as_large_as_its_table(exp1, tmp_path, bare_plan):
    """A PNG for two rows, a higher one for many, of which it says that not all are there; formulas are no formulas."""
    many = SweepPaths(tmp_path, "many")
    configs = [replace(TOP_TWO, learning_rate=1e-5 * (n + 1)) for n in range(ROWS + 30)]
    trials = [trial(n, c, [entry(1, (0.5 + n / 1000,) * 3)]) for n, c in enumerate(configs)]
    write_sweep(many, replace(bare_plan(configs, question="Is $x$ < $y?"), configs=[], space_code="f" * 64), trials)

    sizes = []
    for paths in (exp1, many):
        write_image(study_table(read_finished(paths)), paths.table_image)
        content = paths.table_image.read_bytes()
        assert content.startswith(b"\x89PNG")
        sizes.append(struct.unpack(">II", content[16:24]))

    assert sizes[0][0] > 1500
    assert sizes[1][1] > sizes[0][1] * 4
    cut = study_table(read_finished(many)).first(ROWS)
    assert cut.notes[0] == f"{ROWS} of {ROWS + 30} rows."
    assert (len(cut.rows), cut.baseline) == (ROWS, ROWS - 1)
