"""A sweep confirmed on fresh seeds, end to end: killed and gone on with, its champion, the test set on the record."""

import json
import shutil
import subprocess
import sys

import pytest

from orchestrator.openings import read_lines
from tests.faults.confirm_lab import OPTIONS, SEEDS, TOP, confirm, confirm_lab, lasting_confirmation
from tests.integration.conftest import ROOT, TIMEOUT_S

pytestmark = pytest.mark.slow


def staged(lab, stage):
    """Return a stage's runs in MLflow."""
    from mlflow import MlflowClient

    from orchestrator.paths import tracking_uri

    client = MlflowClient(tracking_uri(lab.out))
    experiment = client.get_experiment_by_name("tiny").experiment_id
    return client.search_runs([experiment], f"tags.stage = '{stage}'")


@pytest.fixture(scope="module")
def confirmed(tmp_path_factory, tiny_data, tiny_encoder):
    """Return a lab whose confirmation was killed and gone on with, what it printed, and OUT of an undisturbed one."""
    lab = confirm_lab(tmp_path_factory.mktemp("confirm"), tiny_data, tiny_encoder)
    lab.run()
    undisturbed = lab.folder / "undisturbed"
    shutil.copytree(lab.out, undisturbed)
    confirm(lab, *OPTIONS, out=undisturbed)
    lab.arm("study: told", "kill driver", hit=len([e for e in lab.log() if e["at"] == "study: told"]) + 5)
    confirm(lab, *OPTIONS, expect=-9)
    assert lab.fired == 1
    output = confirm(lab, *OPTIONS)
    yield lab, output, undisturbed
    lab.kill_all()


def test_a_confirmation_that_was_killed_finds_what_an_undisturbed_one_finds(confirmed):
    """The same rounds, scores and champion, whatever was trained when its driver died."""
    lab, _, undisturbed = confirmed

    assert lasting_confirmation(lab.out) == lasting_confirmation(undisturbed)


def test_candidates_and_baseline_are_trained_on_seeds_that_the_search_has_not_seen(confirmed):
    """The same ones each, until a candidate is settled."""
    lab, output, _ = confirmed
    board, found = lab.board(), lasting_confirmation(lab.out)
    searched = {trial["config"]["seed"] for trial in board["trials"]}
    trials = json.loads((lab.sweep / "confirm" / "plan.json").read_text(encoding="utf-8"))["configs"]

    assert not searched & {config["seed"] for config in trials}
    base, *candidates = found["rows"]
    assert base["is_baseline"]
    assert base["seeds"] == max(row["seeds"] for row in candidates)
    assert [row["search_trial"] for row in candidates] == [row["trial"] for row in board["rows"] if row["trial"]][:TOP]
    assert "the search's own scores are in none of these means" in output


def test_the_leaderboard_shows_what_fresh_seeds_say(confirmed):
    """Beside the search's own score, and never in one number with it."""
    lab, _, _ = confirmed
    found = {row["search_trial"]: row for row in lasting_confirmation(lab.out)["rows"] if not row["is_baseline"]}

    rows = [row for row in lab.board()["rows"] if row["trial"] in found]
    assert len(rows) == TOP
    for row in rows:
        of_row = found[row["trial"]]
        assert (row["confirmed"], row["confirm_mean"]) == (of_row["verdict"], of_row["mean"])
        assert row["confirm_seeds"] == of_row["seeds"]


def test_the_champion_is_a_model_of_the_confirmation_in_mlflow(confirmed):
    """Of the config that won, with what it was confirmed by; best-dev stays the search's own."""
    from mlflow import MlflowClient

    from orchestrator.paths import tracking_uri

    lab, output, _ = confirmed
    uri = tracking_uri(lab.out)
    client = MlflowClient(uri, registry_uri=uri)
    champion, best = (client.get_model_version_by_alias("tiny", alias) for alias in ("champion", "best-dev"))
    run, found = client.get_run(champion.run_id), lasting_confirmation(lab.out)
    row = next(row for row in found["rows"] if row["best_trial"] == found["champion"])

    assert run.data.tags["stage"] == "confirm"
    assert int(run.data.tags["trial"]) == found["champion"]
    assert champion.tags["scores"] == json.dumps(row["scores"])
    assert client.get_run(best.run_id).data.tags["stage"] == "search"
    assert f"tiny@champion is version {champion.version}" in output


def test_a_run_on_a_fresh_seed_has_no_verdict_of_the_search(confirmed):
    """What the search says of a config stands beside the search's runs alone."""
    lab, _, _ = confirmed
    fresh, searched = (
        [run.data.tags for run in staged(lab, stage) if run.data.tags["kind"] == "trial"]
        for stage in ("confirm", "search")
    )

    assert len(fresh) >= 1 + TOP
    assert not [tags for tags in fresh if "verdict" in tags]
    assert len([tags for tags in searched if "verdict" in tags]) == len(searched) == 3


def test_the_test_set_is_opened_on_the_record_and_a_second_time_is_counted(confirmed):
    """The scores are the same, and that somebody has looked before is told for ever."""
    lab, _, _ = confirmed

    lab.arm("test set: opened", "kill")
    confirm(lab, "--open-test", expect=-9)  # on the record, and nobody has seen a score: it is gone on with
    first, again = confirm(lab, "--open-test"), confirm(lab, "--open-test")
    confirm(lab, "--top", str(TOP), "--seeds", str(SEEDS + 1))
    second = confirm(lab, "--open-test")

    test = lab.board()["test"]
    assert "scored before: this is what the record says" in again
    assert "opened 2 times" in second
    assert "opened 2 times" not in first + again
    assert test["openings"] == 2
    assert [line["event"] for line in read_lines(lab.out / "test-set-openings.jsonl")] == ["opened", "scored"] * 2
    assert len(test["earlier"]) == 1
    assert [row["who"] for row in test["rows"]][-1] == "baseline"
    assert test["examples"] == 72
    assert sorted(run.info.run_name for run in staged(lab, "test")) == sorted(
        2 * [f"{row['who']} test" for row in test["rows"]]
    )


def test_another_number_of_candidates_is_refused_and_an_unknown_sweep_is_told(confirmed):
    """One line each, and nothing is started."""
    lab, _, _ = confirmed

    assert "begun with --top 2" in confirm(lab, "--top", "1", expect=2)
    line = [sys.executable, "-m", "orchestrator.confirm", "tony", "--out", str(lab.out)]
    found = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert found.returncode == 2
    assert "did you mean 'tiny'?" in found.stderr
    assert found.stderr.count("\n") == 1


def test_a_confirmation_that_is_removed_takes_no_opening_along(confirmed):
    """Run last: what was looked at stays on the record, and on the leaderboard."""
    lab, _, _ = confirmed
    test = lab.board()["test"]
    shutil.rmtree(lab.sweep / "confirm")

    assert "has no confirmation" in confirm(lab, "--open-test", expect=2)
    subprocess.run(
        [sys.executable, "-m", "orchestrator.rebuild", "tiny", "--out", str(lab.out)],
        cwd=ROOT, capture_output=True, timeout=TIMEOUT_S, check=True,
    )  # fmt: skip
    assert lab.board()["test"] == test
