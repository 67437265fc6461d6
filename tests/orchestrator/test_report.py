"""`python -m orchestrator.report`: what it prints and draws, one clear line an error, and a page that needs nothing."""

import json
import re
from dataclasses import replace
from types import SimpleNamespace

import pytest
from rich.console import Console
from typer.testing import CliRunner

from model.config import TrialConfig
from orchestrator import errors, session
from orchestrator import report as command
from orchestrator.finished import read_finished
from orchestrator.judgement import Judgement
from orchestrator.leaderboard import TrialRecord
from orchestrator.paths import SweepPaths
from orchestrator.report_material import MOST_CURVES, Report, Section
from orchestrator.report_page import POLICY, draw_report, page
from orchestrator.report_sections import SECTIONS
from tests.environment import own_environment
from tests.finished import entry, finished, trial, write_sweep

RATES = (2e-5, 1e-5, 3e-5)
CONFIGS = [TrialConfig(learning_rate=rate) for rate in RATES]


@pytest.fixture(autouse=True)
def _own_environment():
    """Undo what a command sets in the environment."""
    with own_environment():
        yield


@pytest.fixture
def write(tmp_path, bare_plan):
    """Return a function that writes a finished sweep of three rates under a name, and gives its paths."""

    def written(name="exp2", configs=CONFIGS, states=("completed",) * 3, **changes):
        paths = SweepPaths(tmp_path / "runs", name)
        trials = [
            trial(
                n,
                config,
                [entry(e, (0.4 + n / 50, 0.7, 0.5 + e / 50), 60) for e in (1, 2)] if how != "failed" else [],
                how,
            )
            for n, (config, how) in enumerate(zip(configs, states, strict=True))
        ]
        write_sweep(paths, replace(bare_plan(configs), **changes), trials)
        return paths

    return written


def run(paths, *names):
    """Return the result of the command on sweeps beside this one."""
    return CliRunner().invoke(command.app, [*(names or [paths.name]), "--out", str(paths.out)])


def error_of(result):
    """Return what an error says: one line, exit code 2."""
    assert result.exit_code == errors.BAD_INPUT, result.output
    (line,) = result.stderr.splitlines()
    return line.removeprefix("error: ")


def drawn(paths):
    """Return the page without plotly.js."""
    text = paths.report.read_text(encoding="utf-8")
    return re.sub(r"<script>/\*\*.*?</script>", "", text, count=1, flags=re.DOTALL)


def test_the_command_prints_the_table_and_draws_it_and_the_report(write):
    """Of each sweep in turn, with where the files are."""
    first, second = write("exp2"), write("again")

    result = run(first, "exp2", "again")

    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.count("| rank | learning_rate | best overall |") == 2
    assert "### 2 sweeps beside each other" in result.stdout
    assert f"table   {first.table_image}" in result.stdout
    for paths in (first, second):
        assert paths.table_image.read_bytes().startswith(b"\x89PNG")
        assert "has the best dev score" in drawn(paths)


def test_one_sweep_is_not_compared_with_itself(write):
    """Named twice it is one."""
    paths = write()

    assert "sweeps beside each other" not in run(paths, "exp2", "exp2").stdout


def test_why_no_ranking_is_compared_is_told_in_a_line_and_is_no_failure(write):
    """The tables are what was asked for; of three sweeps no ranking is asked for."""
    one = write("exp2")
    write("again")

    result = run(one, "exp2", "again")

    assert result.exit_code == 0
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("No ranking")]
    assert "no trial that completed has predictions" in line
    write("more")
    assert "No ranking" not in run(one, "exp2", "again", "more").stdout


# --- errors ---


def test_a_sweep_that_is_not_there_is_told_with_those_that_are(write):
    """A slip of the finger, or the file in place of the name."""
    paths = write("exp2")

    for given in ("expp2", "search_spaces/exp2.py"):
        assert f"{given!r}: no such sweep in {paths.out}; did you mean 'exp2'? there are exp2; --out" in error_of(
            run(paths, given)
        )


def test_an_out_without_sweeps_is_told(tmp_path):
    """Most likely it is another folder."""
    result = run(SweepPaths(tmp_path / "none", "exp1"))

    assert error_of(result) == (
        f"'exp1': no such sweep in {tmp_path / 'none'}; no sweep is there; --out names another folder"
    )


def test_an_unfinished_sweep_is_told_with_how_far_it_is(write):
    """The same command goes on with it."""
    paths = write()
    paths.leaderboard.unlink()

    assert error_of(run(paths)) == (
        f"{paths.root}: is not finished: 3 of 3 trials have ended, and no leaderboard.json is there; run the same "
        "sweep command again, it goes on"
    )


def test_a_sweep_whose_total_was_raised_is_not_finished(write):
    """Its leaderboard is of the trials before."""
    paths = write()
    plan = json.loads(paths.plan.read_text(encoding="utf-8"))
    paths.plan.write_text(json.dumps(plan | {"trials": 5}), encoding="utf-8")

    assert "is not finished: 3 of 5 trials have ended; run the same sweep command again" in error_of(run(paths))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "JSONDecodeError"),
        (b"\xff\xfe", "UnicodeDecodeError"),
        (b"[]", "TypeError"),
        (b"{}", "KeyError: 'sweep'"),
        (b'{"sweep": "other"}', "it is of sweep 'other'"),
        (b'{"sweep": "exp2", "rows": [], "trials": []}', "it has no rows"),
        (b'{"sweep": "exp2", "rows": [{"config": {"tasks": []}}], "trials": [{}]}', "a row has no rank, trial, state"),
    ],
)
def test_a_damaged_leaderboard_is_told(write, content, said):
    """Whatever stands there."""
    paths = write()
    paths.leaderboard.write_bytes(content)

    line = error_of(run(paths))

    assert line.startswith(f"{paths.leaderboard}: is damaged or of another version ({said}")
    assert line.endswith("; the same sweep command writes it anew")


@pytest.mark.parametrize(
    ("content", "said"), [("{", "no readable plan"), ('{"version": 1}', "was written by another version")]
)
def test_a_damaged_plan_is_told(write, content, said):
    """And one of another version."""
    paths = write()
    paths.plan.write_text(content, encoding="utf-8")

    assert f"{paths.plan}: {said}" in error_of(run(paths))


def test_a_sweep_whose_trials_all_failed_has_no_table(write):
    """The first failure is told."""
    paths = write(states=("failed",) * 3)

    assert error_of(run(paths)) == (
        f"{paths.root}: no table can be made: none of its 3 trials has a score; trial 0000 diverged: the loss is nan; "
        "mend that, and run the sweep again with --new"
    )


def test_what_is_wrong_with_several_sweeps_is_told_at_once(write):
    """Before anything is printed."""
    paths = write()

    result = run(paths, "exp2", "nothing", "nowhere")

    assert (result.exit_code, result.stdout) == (errors.BAD_INPUT, "")
    assert [line.split(": no such")[0] for line in result.stderr.splitlines()] == [
        "error: 'nothing'",
        "error: 'nowhere'",
    ]


# --- the page ---


def test_the_page_has_all_it_needs_in_it_once(write):
    """Plotly.js stands there once, and nothing is fetched: the page's own policy forbids it."""
    paths = write()
    draw_report(paths, read_finished(paths).board, 0.4)
    text = paths.report.read_text(encoding="utf-8")

    assert text.count("plotly.js v") == 1
    assert f'content="{POLICY}"' in text
    assert "http" not in POLICY
    assert not re.search(r"(src|href)=", drawn(paths))
    assert [
        json.loads(found)["data"] for found in re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', text)
    ]


def test_the_link_to_the_leaderboard_stands_there_where_it_is_known(write):
    """The sweep knows it, the command does not."""
    paths = write()
    link = "http://127.0.0.1:5000/#/experiments/1/runs?a=b&c=d"

    draw_report(paths, read_finished(paths).board, 0.4, link)

    assert '<a href="http://127.0.0.1:5000/#/experiments/1/runs?a=b&amp;c=d" rel="noreferrer">' in drawn(paths)


def test_a_question_cannot_do_anything_but_be_read(write):
    """Tags in a question, the end of a script in a name: text, all of it."""
    bad = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\u2028"
    paths = write(question=bad, profile=bad, encoder={"name": bad})

    draw_report(paths, read_finished(paths).board, 0.4)

    assert "alert(1)" in drawn(paths)
    assert "<script>alert" not in drawn(paths)
    assert "<img" not in drawn(paths)


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), "much"])
@pytest.mark.parametrize(
    "column", ["ci_low", "train_seconds", "trainable_params", "sentiment", "verdict", "best_epoch"]
)
def test_what_is_missing_or_no_number_breaks_nothing(write, column, value):
    """Wherever it stands in the leaderboard."""
    paths = write()
    board = json.loads(paths.leaderboard.read_text(encoding="utf-8"))
    for row in (board["rows"][0], board["trials"][0]):
        row[column] = value
    paths.leaderboard.write_text(json.dumps(board), encoding="utf-8")

    assert run(paths).exit_code == 0
    assert "NaN" not in drawn(paths)


def test_one_trial_has_a_report(write):
    """It has no parallel axes: one line has nothing beside it."""
    paths = write(configs=CONFIGS[:1], states=("completed",))

    draw_report(paths, read_finished(paths).board, None)

    titles = re.findall(r"<h2>(.*?)</h2>", drawn(paths))
    assert titles == [
        "Scores by rank",
        "Learning curves",
        "Learning rate and score",
        "Score against training time",
        "The table",
        "Where things are",
    ]


def test_a_thousand_trials_have_a_report_that_a_browser_takes(bare_plan, tmp_path):
    """Below 8 MB; the curves of the best stand there, and it says how many are left out."""
    configs = [TrialConfig(learning_rate=1e-6 * (n + 1), seed=n) for n in range(1000)]
    trials = [trial(n, c, [entry(e, (0.4, 0.7, n / 2000)) for e in range(1, 11)]) for n, c in enumerate(configs)]

    text = page(Report(sweep=finished(SweepPaths(tmp_path, "many"), bare_plan(configs), trials), verdict="Won."))

    assert len(text.encode()) < 8_000_000
    assert f"Drawn are the best {MOST_CURVES} trials and the baseline; 949 are left out." in text


def test_a_section_is_a_function_in_a_list(write, monkeypatch):
    """Another one is another entry, and one that has nothing to show is left out."""
    paths = write()
    more = [lambda _: Section(title="Importances", says="What matters."), lambda _: None]
    monkeypatch.setattr("orchestrator.report_page.SECTIONS", [*SECTIONS, *more])

    text = page(Report(sweep=read_finished(paths), verdict="Won."))

    assert "<h2>Importances</h2>\n<p>What matters.</p>" in text


# --- at the end of a sweep ---


@pytest.fixture
def finish(bare_plan, tmp_path, monkeypatch):
    """Return a function that ends a sweep of one trial, without MLflow, and gives the paths."""
    paths = SweepPaths(tmp_path / "runs", "exp2")
    trials = [trial(0, CONFIGS[0], [entry(1, (0.5, 0.6, 0.7))])]

    def ended(state="completed"):
        record = (
            trials[0] if state == "completed" else TrialRecord(0, state, trials[0].config, [], None, "died", "gone")
        )
        plan = write_sweep(paths, replace(bare_plan(CONFIGS[:1]), encoder={"weights": ""}), [record])
        monkeypatch.setattr(session, "read_trials", lambda *_: [record])
        monkeypatch.setattr(session.show, "majority_score", lambda *_: 0.4)
        projection = SimpleNamespace(
            refresh=lambda: None, sync=lambda _: None, runs={}, link="http://127.0.0.1:5000/#/x", settle=lambda _: None,
            judge=SimpleNamespace(judge=lambda _: Judgement()), finish=lambda *_: None,
        )  # fmt: skip
        request = SimpleNamespace(tracking_uri=None, local=False, as_json=False)
        console = Console(width=200)
        command = SimpleNamespace(console=console, request=request, drafted=SimpleNamespace(corpus=None))
        study = SimpleNamespace(ended=lambda: {0: state})
        opened = SimpleNamespace(plan=plan, paths=paths, study=study, projection=projection)
        return session._finish(command, opened), paths

    return ended


def test_a_sweep_that_ends_leaves_its_report_and_says_where(finish, capsys):
    """With the link to its leaderboard."""
    code, paths = finish()

    assert code == errors.DONE
    assert f"report       {paths.report}" in capsys.readouterr().out
    assert "http://127.0.0.1:5000/#/x" in drawn(paths)


def test_a_report_that_cannot_be_drawn_costs_the_sweep_a_line(finish, monkeypatch, capsys):
    """The exit code is that of the trials, and an old report is not taken for the new one."""
    _, paths = finish()
    capsys.readouterr()
    monkeypatch.setattr("orchestrator.report_page.page", lambda _: 1 / 0)

    code, _ = finish()

    said = capsys.readouterr()
    assert code == errors.DONE
    assert said.err == "warning: no report was drawn (division by zero); python -m orchestrator.report exp2\n"
    assert not paths.report.exists()
    assert "report       " not in said.out


def test_a_sweep_without_a_score_has_no_report_and_no_warning(finish, capsys):
    """What failed is told already."""
    code, paths = finish("failed")

    assert code == errors.TRIALS_FAILED
    assert capsys.readouterr().err == ""
    assert not paths.report.exists()
