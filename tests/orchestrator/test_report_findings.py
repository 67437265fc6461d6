"""The report's sections on evidence: fresh seeds, the test set, what matters, what sharing does; none for nothing."""

import html
import re

import pytest
from plotly.graph_objects import Figure

from model.config import TrialConfig
from orchestrator.findings import BARS, FLOOR, FRESH, SEARCHED, Bar, Row, confirmed, effects, shared
from orchestrator.finished import read_finished
from orchestrator.paths import SweepPaths
from orchestrator.pictures import MARKS
from orchestrator.report_findings import fresh_seeds, importance, sharing
from orchestrator.report_material import Report
from orchestrator.report_page import page
from orchestrator.report_sections import SECTIONS
from tests.finished import PAIR, entry, trial, write_confirmation, write_sweep, write_test

CONFIGS = [TrialConfig(learning_rate=rate) for rate in (2e-5, 1e-5, 3e-5)]
TRIALS = [trial(n, config, [entry(1, (0.5 + n / 50, 0.7, 0.6))]) for n, config in enumerate(CONFIGS)]
VERDICTS = ("baseline", "better", "undecided")
EFFECT = {"parameter": "learning_rate", "levels": 3, "effect": 0.012, "floor": 0.004, "p": 0.001, "p_apart": 0.001}


@pytest.fixture
def report(tmp_path, bare_plan):
    """Return a function that gives the report of a sweep, of which all this was found."""

    def made(confirmed=(), champion=None, openings=0, **judged):
        paths = SweepPaths(tmp_path, "exp2")
        if confirmed:
            write_confirmation(paths, TRIALS, confirmed, champion=champion)
        if openings:
            write_test(paths, openings)
        write_sweep(paths, bare_plan(CONFIGS), TRIALS, **judged)
        return Report(sweep=read_finished(paths), verdict="Won.")

    return made


def said(section):
    """Return what a section says in words below its figure."""
    return [html.unescape(line) for line in re.findall(r"<li>(.*?)</li>", section.content)]


def trace(section, name):
    """Return the figure's trace of this name."""
    (found,) = [each for each in section.figure["data"] if each.get("name") == name and each.get("xaxis") != "x2"]
    return found


def test_a_sweep_of_which_nothing_was_found_has_none_of_these_sections(report):
    """An empty section is none."""
    bare = report()

    assert [make(bare) for make in (fresh_seeds, importance, sharing)] == [None, None, None]


def test_they_come_right_after_the_scores(report):
    """Fresh seeds first: what the search found is held against them."""
    text = page(report(VERDICTS, importances=[EFFECT | {"finding": "matters", "seed_noise_unknown": False}]))

    titles = re.findall(r"<h2>(.*?)</h2>", text)
    assert titles[:3] == ["Scores by rank", "Confirmed on fresh seeds", "What matters"]
    assert SECTIONS.index(fresh_seeds) == 1


# --- fresh seeds and the test set ---


def test_fresh_seeds_are_dots_beside_their_mean_and_the_searchs_own_score_is_hollow(report):
    """A dot a seed and config; the search's own, too high on average, is told apart by its symbol."""
    made = report(VERDICTS)
    section = fresh_seeds(made)

    assert trace(section, FRESH)["x"] == [0.6, 0.61, 0.62] * 3
    own = trace(section, SEARCHED)
    assert own["marker"]["symbol"].endswith("-open")
    by_trial = {row["trial"]: row["best"] for row in made.sweep.rows}
    assert own["x"] == [by_trial[0], by_trial[1], by_trial[2]]
    assert trace(section, "better")["x"] == [0.61]
    assert section.figure["layout"]["yaxis"]["ticktext"][1] == "<b>trial 0001</b>  <br>learning_rate 1e-05  "


def test_the_interval_is_that_of_the_difference_to_the_baseline(report):
    """On an axis of its own, with 0 in the middle."""
    figure = fresh_seeds(report(VERDICTS)).figure

    (better,) = [each for each in figure["data"] if each.get("xaxis") == "x2" and each["name"] == "better"]
    assert better["x"] == [0.01]
    assert better["error_x"]["array"] == pytest.approx([0.005])
    assert better["error_x"]["arrayminus"] == pytest.approx([0.005])
    low, high = figure["layout"]["xaxis2"]["range"]
    assert low == -high
    assert not [each for each in figure["data"] if each.get("xaxis") == "x2" and each["name"] == "baseline"]


def test_it_says_what_the_terminal_says_and_who_is_champion(report):
    """A candidate that is better, or the baseline where none is."""
    won, none, lost = report(VERDICTS, champion=3), report(VERDICTS, champion=None), report(VERDICTS, champion=0)

    lines = said(fresh_seeds(won))
    assert lines[0].startswith("Trial 0001 (learning_rate 1e-05) is better than the baseline: +0.0100 over 3 fresh")
    assert lines[-1] == "On fresh seeds trial 0001 is champion (learning_rate 1e-05): it is better than the baseline."
    assert said(fresh_seeds(lost))[-1] == "On fresh seeds the baseline is champion: nothing was shown to be better."
    assert not any("champion" in line for line in said(fresh_seeds(none)))


@pytest.mark.parametrize(
    ("openings", "often"), [(1, "were opened once."), (3, "were opened 3 times: no fair test of what was chosen")]
)
def test_the_test_set_is_told_with_how_often_it_was_opened(report, openings, often):
    """While it is sealed nothing is said of it."""
    section = fresh_seeds(report(VERDICTS, openings=openings))

    lines = said(section)
    assert any(line.startswith("Test set (72 examples") and "winner 0.5800" in line for line in lines)
    assert often in lines[-1]
    assert "<h3>The test set</h3>" in section.content


def test_a_sealed_test_set_is_not_spoken_of(report):
    """Nothing is known of it."""
    assert "est set" not in fresh_seeds(report(VERDICTS)).content


def test_what_completed_on_no_fresh_seed_has_a_line_and_no_score(report):
    """The baseline is gone too: words are all there is."""
    made = report(VERDICTS)
    for row in made.sweep.board["confirmation"]["rows"]:
        row |= {"mean": None, "sd": None, "scores": [], "seeds": 0, "verdict": None, "difference": None}

    section = fresh_seeds(made)

    assert section.figure is None
    assert said(section) == ["The baseline completed on no fresh seed: nothing is confirmed."]


# --- what matters ---


@pytest.mark.parametrize(
    ("finding", "words"),
    [
        ("matters", "learning_rate moves the score by 0.0120, noise alone by up to 0.0040: it matters."),
        ("not told apart", "it cannot be told apart from what varies along with it."),
        ("within noise", "learning_rate is within noise: 0.0120, and noise alone reaches 0.0040."),
    ],
)
def test_a_parameter_is_a_bar_with_noise_as_a_mark_and_a_finding_in_words(report, finding, words):
    """Colour and pattern tell a finding, the words tell it again."""
    section = importance(report(importances=[EFFECT | {"finding": finding, "seed_noise_unknown": False}]))

    assert trace(section, finding)["x"] == [0.012]
    assert trace(section, FLOOR)["x"] == [0.004]
    assert words in said(section)[0]
    assert "too low" not in section.says


def test_where_no_seed_was_repeated_the_marks_are_said_to_be_too_low(report):
    """The noise is that of the examples alone."""
    section = importance(report(importances=[EFFECT | {"finding": "matters", "seed_noise_unknown": True}]))

    assert "No config was repeated on another seed, so that the marks are too low." in section.says


# --- alone and shared ---


def test_a_task_alone_is_hollow_beside_the_shared_one_with_the_interval_of_what_sharing_does(report):
    """In the task's own metric; the sentences are the terminal's."""
    section = sharing(report(transfer=[PAIR]))

    assert trace(section, "alone")["x"] == [0.5]
    assert trace(section, "hurt")["x"] == [0.45]
    (apart,) = [each for each in section.figure["data"] if each.get("xaxis") == "x2"]
    assert apart["x"] == [-0.05]
    assert said(section)[0].startswith("Trained alone, sentiment reaches 0.500 and shared 0.450: sharing costs it")


def test_the_head_leaves_to_the_sections_what_they_say(report):
    """Once is enough; who is champion and what the test set said stand in both."""
    made = report(VERDICTS, champion=3, openings=1, transfer=[PAIR])
    line = "Trained alone, sentiment reaches 0.500 and shared 0.450: sharing costs it 0.050 (0.020 to 0.080)."

    candidate = said(fresh_seeds(made))[0]

    text = page(Report(sweep=made.sweep, verdict=f"Won.\n{line}\nAnother line.\n{candidate}"))

    assert text.count(line) == text.count(candidate) == 1
    assert text.count("On fresh seeds trial 0001 is champion") == text.count("Test set (72 examples") == 2
    assert "<p>Another line.</p>" in text


# --- figures ---


@pytest.mark.parametrize("size", [1, 3, 40])
@pytest.mark.parametrize("missing", [False, True])
def test_plotly_takes_every_figure(size, missing):
    """Of one row or many, also where scores and intervals are missing."""
    marks = list(MARKS)
    ends = (
        {"beside": None}
        if missing
        else {"beside": 0.7, "difference": 0.01, "low": 0.0, "high": 0.02, "each": (0.6, 0.62)}
    )
    rows = [
        Row(
            name=f"row {n}",
            mark=marks[n % len(marks)],
            verdict="said",
            score=0.6,
            **ends,
        )
        for n in range(size)
    ]
    rows.append(Row(name="none", mark="tied", verdict="no verdict", score=None, beside=None))
    found = [Bar(name="a", effect=0.1, floor=0.2, finding=list(BARS)[n % 3], says="said") for n in range(size)]

    for made in (confirmed(rows), shared(rows), effects(found)):
        assert Figure(made).data  # raises where a property is unknown or a value is none that it takes


def test_a_name_is_text_and_no_markup():
    """Plotly reads some tags in a text."""
    row = Row(name="<i>x", detail="<sub>y", mark="tied", verdict="<b>z", score=0.6, beside=0.5)

    made = confirmed([row])

    assert made["layout"]["yaxis"]["ticktext"] == ["<b>&lt;i&gt;x</b>  <br>&lt;sub&gt;y  "]
    assert made["data"][0]["text"] == ["<b>0.6000</b>, &lt;i&gt;x: &lt;b&gt;z<br>&lt;sub&gt;y"]
