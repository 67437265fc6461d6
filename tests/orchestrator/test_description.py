"""A sweep's description in MLflow: who, by how much and where, in the three lines that are seen at once."""

import pytest

from orchestrator.description import BREAK, description

LINK = "http://127.0.0.1:5000/#/experiments/1/runs"


def row(trial, best, **more):
    """Return a leaderboard's row of a config that varies in its weight decay."""
    judged = {"p": 0.4, "verdict": "tied", "expected": best - 0.001, "p_beats_baseline": 0.6, "tied_with_best": True}
    config = {"weight_decay": trial / 1000, "tasks": ["sentiment"]}
    return {
        "rank": 1 + (trial == 0), "trial": trial, "state": "completed", "config": config, "best": best,
        "train_seconds": 1.0, **judged, **more,
    }  # fmt: skip


@pytest.fixture
def board():
    """Return a leaderboard of a baseline and a better config."""
    return {
        "sweep": "exp9", "question": "Which?", "baseline": 0, "varies": ["weight_decay"], "seeds": 1, "seed_sd": None,
        "rows": [row(1, 0.71), row(0, 0.7, verdict="baseline", p=None)],
        "trials": [{"state": "completed"}, {"state": "running"}],
        "confirmation": None, "test": None, "transfer": [], "importances": [],
    }  # fmt: skip


def lines(text):
    """Return the lines that stand before "Show more"."""
    return text.split("\n\n")[0].split(BREAK)


def test_the_first_three_lines_say_who_by_how_much_and_where(board):
    """The winner and what it varies; whether that is noise; checkpoint and leaderboard."""
    who, by, where = lines(description(board, 0.45, LINK, ended=True))

    assert who == (
        "**Trial 0001 (weight_decay 0.001) has the best dev score, 0.7100; answering with the majority always scores "
        "0.4500.**"
    )
    assert by.startswith("It is 0.0100 above the baseline (0.7000), which may be noise: tied")
    assert where == f"Checkpoint `models:/exp9@best-dev` · [leaderboard]({LINK}) · report.html under Artifacts"


def test_a_sweep_that_runs_says_so(board):
    """Its best so far is no winner."""
    who, *_ = lines(description(board, None, LINK, ended=False))

    assert who.startswith("**So far (1 trials have ended): Trial 0001")


@pytest.mark.parametrize("verdict", ["better", "undecided"])
def test_once_confirmed_the_champion_comes_first(board, verdict):
    """With its mean over fresh seeds, or the baseline where nothing was shown to be better."""
    candidate = {
        "search_trial": 1, "is_baseline": False, "config": board["rows"][0]["config"], "mean": 0.708, "seeds": 3,
        "difference": 0.01, "difference_low": 0.001, "difference_high": 0.02, "paired_seeds": 3, "verdict": verdict,
        "best_trial": 5, "failed": [],
    }  # fmt: skip
    base = {"search_trial": None, "is_baseline": True, "mean": 0.698, "seeds": 3, "best_trial": 4, "failed": []}
    board["confirmation"] = {
        "rows": [base, candidate], "champion": 5 if verdict == "better" else 4, "decided": 1, "candidates": 1,
        "spent": 9.0, "spent_a_decision": 9.0, "unit": "GPU seconds", "crowned": True,
    }  # fmt: skip

    who, by, where = lines(description(board, 0.45, LINK, ended=True))

    champion = "Trial 0001 (weight_decay 0.001) is champion, 0.7080 over 3 fresh seeds."
    if verdict == "undecided":
        champion = "Nothing was shown to be better: the baseline is champion, 0.6980 over 3 fresh seeds."
    assert who == f"**{champion}**"
    assert by.startswith("Trial 0001 (weight_decay 0.001) is ")
    assert "`models:/exp9@champion`" in where
    for crowned, said in ((False, "stays with another model"), (None, "is not given yet")):
        board["confirmation"]["crowned"] = crowned
        who, _, where = lines(description(board, 0.45, LINK, ended=True))
        assert who == f"**{champion[:-1].replace('is champion', 'is ahead')}; the alias champion {said}.**"
        assert "`models:/exp9@best-dev`" in where


def test_where_nothing_completed_that_is_what_it_says(board):
    """No winner is made up."""
    board["rows"] = []

    assert lines(description(board, 0.45, LINK, ended=True))[0] == "**No trial completed.**"


def test_a_confirmation_without_a_champion_leaves_the_search_its_word(board):
    """Where the baseline completed on no fresh seed there is no champion, and no row is taken for one."""
    base = {"search_trial": None, "is_baseline": True, "mean": None, "seeds": 0, "best_trial": None, "failed": [0]}
    board["confirmation"] = {"rows": [base], "champion": None, "decided": 0, "candidates": 1}

    who, _, where = lines(description(board, 0.45, LINK, ended=True))

    assert who.startswith("**Trial 0001 (weight_decay 0.001) has the best dev score")
    assert "`models:/exp9@best-dev`" in where


def test_a_plain_link_stands_at_the_end(board):
    """Should a release of MLflow not know the saved view."""
    assert description(board, 0.45, LINK, ended=True, fallback="http://plain").splitlines()[-1] == (
        "[The same runs without the saved view](http://plain), should MLflow not know it."
    )
