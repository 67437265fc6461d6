"""When the test set is opened, and for whom: after a confirmation that is at its end, for whom that found."""

import json
from dataclasses import replace

import pytest

from model.checkpoint import open_checkpoint, release_weights
from model.files import write_json
from orchestrator.confirmation import champion_row
from orchestrator.confirming import ConfirmRequest, release_confirmed
from orchestrator.errors import SweepError
from orchestrator.opening import contestants, open_test_set
from orchestrator.openings import OPENED, SCORED, write_line
from tests import confirmed
from tests.tiny import write_data


@pytest.fixture
def search(paths, tiny_plan, tiny_config, tmp_path):
    """Return a finished sweep of a baseline and two others, on data of its own."""
    configs = [replace(tiny_config, weight_decay=0.001 * number) for number in range(3)]
    plan = replace(tiny_plan(*configs, data=str(write_data(tmp_path))), name="tiny")
    return confirmed.searched(paths, plan, [0.5, 0.6, 0.55])


def refused(search, request):
    """Return why the test set is not opened; that it was not is held."""
    with pytest.raises(SweepError) as caught:
        open_test_set(request)
    assert not search.paths.openings.exists()
    return str(caught.value)


def test_there_is_a_winner_first(search):
    """Or there is nobody whom the test set is opened for."""
    request = ConfirmRequest(name="tiny", out=search.paths.out, top=2, seeds=3)

    assert "has no confirmation" in (said := refused(search, request))
    assert "first: python -m orchestrator.confirm tiny --top 2 --seeds 5" in said


def test_more_seeds_that_were_asked_for_come_first(search):
    """Whoever was killed before their first round left the winner of fewer seeds, who may be another."""
    confirmed.confirmed(search, [0.5, 0.5, 0.5], seeds=2)
    _, request = confirmed.asked(search, seeds=4)

    said = refused(search, request)

    assert "its confirmation is not finished; first: python -m orchestrator.confirm tiny --top 2 --seeds 4" in said


def test_what_was_found_is_written_down_first(search):
    """A leaderboard that says another winner than the test set is scored for would be no record."""
    found, request = confirmed.confirmed(search, [0.5, 0.5, 0.5], seeds=2)
    written = json.loads(found.paths.confirmed.read_text())
    write_json(found.paths.confirmed, written | {"champion": 5})

    assert "not finished" in refused(search, request)
    found.paths.confirmed.unlink()
    assert "not finished" in refused(search, request)


def test_a_confirmation_that_goes_on_comes_first(search):
    """Its winner may be another."""
    found, request = confirmed.asked(search)
    found.study.next_proposal()

    assert "not finished" in refused(search, request)


def test_a_confirmation_in_which_no_trial_completed_has_nothing_to_score(search):
    """Neither winner nor baseline."""
    _, request = confirmed.confirmed(search, [0.5, 0.5, 0.5], failed=range(99), seeds=2)

    assert "no trial of its confirmation completed" in refused(search, request)


def test_a_sweep_that_was_planned_without_a_test_set_has_none_to_open(search):
    """Nothing was set apart then, and what trials have seen is no test."""
    _, request = confirmed.confirmed(search, [0.5, 0.5, 0.5], seeds=2)
    plan = json.loads(search.paths.plan.read_text())
    plan["data"]["sealed"]["sentiment"] = {"origin": "none", "examples": 0, "content": ""}
    write_json(search.paths.plan, plan)

    assert "has no test set of sentiment" in refused(search, request)


def test_a_test_set_that_changed_is_not_opened(search, tmp_path):
    """Its hash stands in the plan."""
    _, request = confirmed.confirmed(search, [0.5, 0.5, 0.5], seeds=2)
    file = tmp_path / "sts-test.csv"
    file.write_text(file.read_text().replace("bad", "good"))

    assert "sts-test.csv: changed since the sweep was planned" in refused(search, request)


def scored_as(found):
    """Return who would be scored: in what role, as which trial of the search."""
    return [(each.who, each.row["search_trial"]) for each in contestants(found.search, found.result())]


def test_the_winner_on_the_test_set_is_the_champion(search):
    """And no other that is better than the baseline too."""
    found, _ = confirmed.confirmed(search, [0.5, 0.7, 0.69], seeds=6)
    result = found.result()
    assert [row["verdict"] for row in result["rows"]] == ["baseline", "better", "better"]

    champion = champion_row(result)

    assert scored_as(found) == [("winner", champion["search_trial"]), ("baseline", None)]


def test_without_a_winner_the_best_that_is_still_in_question_stands_beside_the_baseline(search):
    """Not one that diverged, be its other seeds ever so good; where none is in question the baseline is alone."""
    found, _ = confirmed.confirmed(search, [0.5, 0.9, 0.5], seeds=2, failed=[1])
    rows = {row["search_trial"]: row["verdict"] for row in found.result()["rows"]}
    assert rows[1] == "unstable"

    assert scored_as(found) == [("leader", 2), ("baseline", None)]


def test_models_that_were_released_are_not_scored_but_what_was_scored_is_still_told(search, capsys):
    """The record has it: a disk that was cleaned takes no result along."""
    found, request = confirmed.confirmed(search, [0.5, 0.5, 0.5], seeds=2)
    for weights in found.paths.root.glob("trials/*/attempt-1/*/model.safetensors"):
        release_weights(open_checkpoint(weights.parent))
    models = {
        each.who: [checkpoint.predictions_sha256 for checkpoint in each.checkpoints.values()]
        for each in contestants(search, found.result())
    }

    assert "its weights were released to save space" in refused(search, request)
    opening = {"id": "1", "opened": "today", "sweep": "tiny", "sweep_id": search.plan.sweep_id}
    write_line(search.paths.openings, {"event": OPENED, **opening, "test_set": "t", "parts": {"sentiment": "x"}})
    rows = [{"who": "baseline", "trial": None, "seeds": 2, "mean": 0.5}]
    told = {"examples": 9, "rows": rows, "models": models}
    write_line(search.paths.openings, {"event": SCORED, "id": "1", "found": told})
    open_test_set(request)

    assert "these models were scored before: this is what the record says" in capsys.readouterr().out


def test_weights_stay_while_the_test_set_may_be_opened_for_another_winner(search):
    """Sealed, or with verdicts that more seeds may settle: `clean` says which."""
    found, _ = confirmed.confirmed(search, [0.5, 0.5, 0.5], seeds=2)

    assert release_confirmed(search, None, 1) == "all, while the test set is sealed"
    confirmed.asked(search, seeds=3)
    assert release_confirmed(search, None, 1) == "all, while it goes on"
    assert len(list(found.paths.root.glob("trials/*/attempt-1/*/model.safetensors"))) == len(found.plan.configs)
