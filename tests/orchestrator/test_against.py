"""A cheap sweep's ranking against the full one's: which configs are paired, what is said, and what is refused."""

import json
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from model.config import CONFIG_VERSION
from model.files import write_json
from model.tasks import TASKS
from orchestrator import report
from orchestrator.against import against
from orchestrator.errors import SweepError
from orchestrator.judgement import Judge
from orchestrator.leaderboard import groups, leaderboard, write_leaderboard
from orchestrator.paths import SweepPaths
from orchestrator.plan import PLAN_VERSION
from orchestrator.trial_files import write_verdict
from tests.environment import own_environment
from tests.predicted import EXAMPLES, answers, predicted_trial

RATES = (1e-3, 2e-3, 3e-3, 4e-3, 5e-3, 6e-3)
SKILLS = (0.40, 0.60, 0.45, 0.55, 0.50, 0.65)
DATA = {
    "source": "there",
    "max_dev_examples": None,
    "content": {f"{t}/{s}": t for t in EXAMPLES for s in ("train", "dev")},
}


@pytest.fixture
def finished(bare_plan, tiny_config, tmp_path):
    """Return a function that lays a finished sweep down: rates with their skills, all with other changes."""

    def made(name, skills=SKILLS, rates=RATES, seeds=1, plan_changes=None, **changes):
        bases = [replace(tiny_config, learning_rate=rate, **changes) for rate in rates]
        configs = [replace(config, seed=seed) for seed in range(seeds) for config in bases]
        own = {
            "name": name, "seeds": seeds, "data": DATA, "tasks": [TASKS[task].to_dict() for task in EXAMPLES],
            "encoder": {"name": "tiny", "weights": "0" * 64},
        }  # fmt: skip
        plan = bare_plan(configs, **own | (plan_changes or {}))
        paths = SweepPaths(tmp_path, name)
        rng, trials = np.random.default_rng(len(name)), []
        for number, config in enumerate(configs):
            found = answers(skills[number % len(skills)], rng)
            trials.append(predicted_trial(paths, number, config, found))
            verdict = {"state": "completed", "history": trials[-1].history, "best": trials[-1].best}
            write_verdict(paths.trial(number), verdict)
        write_json(paths.plan, plan.to_dict() | {"version": PLAN_VERSION * 100 + CONFIG_VERSION})
        write_leaderboard(paths, leaderboard(plan, paths, trials, {}, Judge(plan, paths).judge(groups(plan, trials))))
        return paths

    return made


def test_a_ranking_that_holds_is_said_to_hold(finished):
    """The same skills with more layers trained: tau is near 1, both choose the same, and little is lost."""
    found = against(finished("cheap"), finished("full", unfrozen_layers="all"))

    values = found.values
    assert (values["pairs"], values["varies"]) == (6, ["learning_rate"])
    assert values["differs"] == {"unfrozen_layers": [1, "all"]}
    assert values["tau"] > 0.7
    assert values["cheap_choice"] == values["full_choice"] == 5
    assert values["regret"] < 0.005
    assert "So the cheap ranking says something of the full one. Both choose learning_rate 0.006" in found.markdown
    assert "which differ in unfrozen_layers 1 and all; the former took 100% of" in found.markdown
    assert "all this is of these very models" in found.markdown


def test_a_ranking_that_is_turned_round_costs_what_it_costs(finished):
    """The cheap sweep's choice is the full one's last; the numbers are plain values."""
    found = against(finished("cheap"), finished("full", [1 - skill for skill in SKILLS], unfrozen_layers="all"))

    values = json.loads(json.dumps(found.values, allow_nan=False))
    assert values["tau"] < -0.7
    assert (values["cheap_choice"], values["full_choice"]) == (5, 0)
    assert values["regret_interval"][0] > 0.05
    assert "is turned round" in found.markdown
    assert (
        "cheap chooses learning_rate 0.006, which is number 6 in full; that chooses learning_rate 0.001."
        in found.markdown
    )


def test_the_table_has_a_row_a_config_by_the_full_rank(finished):
    """With score, rank and time in both sweeps."""
    found = against(finished("cheap"), finished("full", unfrozen_layers="all"))

    lines = [line for line in found.markdown.split("\n") if line.startswith("|")]
    assert lines[0] == "| learning_rate | cheap | rank | time | full | rank | time |"
    assert len(lines) == 2 + 6
    assert [row["full_rank"] for row in found.values["rows"]] == [1, 2, 3, 4, 5, 6]
    first = found.values["rows"][0]
    assert f"| 0.006 | {first['cheap_score']:.4f} | 1 | 1s | {first['full_score']:.4f} | 1 | 1s |" == lines[2]


def test_only_what_both_have_is_paired_whatever_the_number_of_seeds(finished):
    """Ranks are among the pairs; repeated seeds on both sides leave nothing to warn of."""
    cheap = finished("cheap", seeds=2)
    full = finished("full", SKILLS[2:], RATES[2:], seeds=3, unfrozen_layers="all", epochs=5)

    found = against(cheap, full)

    assert found.values["pairs"] == 4
    assert sorted(row["cheap_rank"] for row in found.values["rows"]) == [1, 2, 3, 4]
    assert found.values["differs"] == {"unfrozen_layers": [1, "all"], "epochs": [2, 5]}
    assert not found.values["seed_noise_unknown"]
    assert "Of 4 configs that says little" in found.markdown
    assert "these very models" not in found.markdown


def test_the_report_command_prints_it_of_two_sweeps(finished):
    """After their own tables; what cannot be compared is a line, and no failure."""
    cheap, full = finished("cheap"), finished("full", unfrozen_layers="all")
    finished("other", plan_changes={"data": DATA | {"max_dev_examples": 9}})

    with own_environment():
        both, apart = (
            CliRunner().invoke(report.app, [*names, "--out", str(cheap.out)])
            for names in (("cheap", "full"), ("cheap", "other"))
        )

    assert (both.exit_code, apart.exit_code) == (0, 0), both.output + apart.output
    assert both.stdout.endswith(f"{against(cheap, full).markdown}\n")
    assert apart.stdout.splitlines()[-1].startswith("No ranking is compared: cheap and other were scored on other dev")
    assert "Scores on other dev data or of other tasks are not comparable: cheap and other were scored" in apart.stdout


def test_configs_with_other_tasks_are_no_part_of_it(finished):
    """They are not ranked in either sweep."""
    cheap, full = finished("cheap"), finished("full")
    board = json.loads(full.leaderboard.read_text())
    board["trials"][-1]["config"]["tasks"] = ["sentiment"]
    write_json(full.leaderboard, board)

    assert against(cheap, full).values["pairs"] == 5


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"rates": (1e-5, 2e-5, 3e-5, 4e-5, 5e-5, 6e-3)},
            "cheap and full share 1 config, and a ranking takes 2; they differ in learning_rate (0.001, 0.002",
        ),
        (
            {"plan_changes": {"data": DATA | {"content": DATA["content"] | {"sentiment/dev": "x"}}}},
            "cheap and full were scored on other dev data of sentiment (other examples or labels)",
        ),
        (
            {"plan_changes": {"data": DATA | {"max_dev_examples": 9}}},
            "other dev data of sentiment (--max-dev-examples None and 9)",
        ),
        (
            {"tasks": ("sentiment", "similarity")},
            "have other tasks (sentiment, paraphrase, similarity and sentiment, similarity)",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_line(finished, changes, said):
    """With what is in the way."""
    cheap, full = finished("cheap"), finished("full", **changes)

    with pytest.raises(SweepError) as caught:
        against(cheap, full)

    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_fields_that_are_combined_otherwise_are_named(finished):
    """Both sweeps have both epochs and both rates, and no config is in both."""
    one, other = (finished(name, SKILLS[:2], RATES[:2]) for name in ("cheap", "full"))
    for paths, epochs in ((one, (2, 3)), (other, (3, 2))):
        board = json.loads(paths.leaderboard.read_text())
        for row in board["trials"]:
            row["config"]["epochs"] = epochs[row["config"]["learning_rate"] == RATES[0]]
        write_json(paths.leaderboard, board)

    with pytest.raises(SweepError, match=r"share 0 configs, .* they differ in how they combine epochs, learning_rate"):
        against(one, other)


def test_a_sweep_that_is_not_there_or_not_finished_is_refused(finished, tmp_path):
    """In one line, with the folder."""
    cheap = finished("cheap")
    with pytest.raises(SweepError, match="nowhere: no sweep lies there"):
        against(cheap, SweepPaths(tmp_path, "nowhere"))
    full = finished("full")
    full.leaderboard.unlink()
    with pytest.raises(SweepError, match=r"full: has no leaderboard\.json yet"):
        against(cheap, full)
    full.leaderboard.write_text("{}")
    with pytest.raises(SweepError, match="no readable leaderboard"):
        against(cheap, full)
