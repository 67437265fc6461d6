"""What the confirm command refuses, a line each, before anything is trained."""

import shutil
from dataclasses import replace

import pytest

from model.files import write_json
from orchestrator.confirming import ConfirmRequest, asked_and_planned, finished_sweep
from orchestrator.errors import RunningElsewhereError, SweepError
from orchestrator.hold import hold
from orchestrator.study import TrialStudy
from tests import confirmed
from tests.tiny import write_data


@pytest.fixture
def sweep(paths, tiny_plan, tmp_path):
    """Return a function from how many of two trials have ended to the request to confirm that sweep."""

    def made(ended=2, data=None):
        source = data or write_data(tmp_path)
        plan = replace(tiny_plan(data=str(source)), name="tiny")
        write_json(paths.plan, plan.to_dict())
        study = TrialStudy(paths.study_uri, plan, None)
        for _ in range(ended):
            study.end(study.next_proposal().number, "completed", best=0.5)
        if ended == plan.trials:
            write_json(paths.leaderboard, {"rows": []})
        return ConfirmRequest(name="tiny", out=paths.out, top=2, seeds=3)

    return made


def opened(request):
    """Open the finished sweep as the command does, and close it."""
    with finished_sweep(request):
        pass


def test_an_unfinished_sweep_is_not_confirmed(sweep):
    """Its best may not have been trained yet."""
    with pytest.raises(SweepError, match=r"1 of 2 trials have ended; .* run its command again first"):
        opened(sweep(ended=1))


def test_a_finished_one_is(sweep):
    """It opens, with nothing else written."""
    opened(sweep())


def test_a_sweep_that_runs_is_left_alone(sweep, paths):
    """By the kernel's lock, which its driver holds."""
    request = sweep()
    with hold(paths), pytest.raises(RunningElsewhereError, match="confirm it when that one ends"):
        opened(request)


def test_data_that_changed_or_are_gone_are_told_with_where_to_name_them(sweep, tmp_path):
    """And data that moved are found again by --data."""
    request = sweep()
    moved = tmp_path / "moved"
    moved.mkdir()
    for file in tmp_path.glob("*.csv"):
        shutil.move(file, moved)

    with pytest.raises(SweepError, match=r"no such file.*--data DIR names the sweep's data where they lie now"):
        opened(request)
    opened(replace(request, data=str(moved)))
    dev = moved / "ids-sst-dev.csv"
    dev.write_text(dev.read_text().replace("the ", "a ", 3))
    with pytest.raises(SweepError, match=r"ids-sst-dev\.csv: changed since the sweep was planned"):
        opened(replace(request, data=str(moved)))


@pytest.fixture
def search(paths, tiny_plan, tiny_config):
    """Return a finished sweep of a baseline and two others."""
    configs = [replace(tiny_config, weight_decay=0.001 * number) for number in range(3)]
    return confirmed.searched(paths, replace(tiny_plan(*configs), name="tiny"), [0.5, 0.6, 0.55])


def test_fewer_seeds_may_be_asked_for_than_before_but_not_fewer_than_have_begun(search):
    """A confirmation that takes too long is ended so, and no trial is thrown away."""
    found, request = confirmed.asked(search, seeds=5)
    for _ in range(4):  # a round is three trials: the second has begun
        confirmed.train_next(found, lambda _: 0.5)

    assert asked_and_planned(replace(request, seeds=2), search)[0].seeds == 2
    with pytest.raises(SweepError, match=r"--seeds 1: this confirmation has begun its seed 2; say 2 or more"):
        asked_and_planned(replace(request, seeds=1), search)


def test_at_its_end_is_a_confirmation_of_which_no_trial_and_no_round_is_left(search):
    """It has a result then, which more seeds take back until they are trained, and fewer give again."""
    found, _ = confirmed.confirmed(search, [0.5, 0.5, 0.5], seeds=2)
    before = found.result()

    assert confirmed.asked(search, seeds=3)[0].result() is None
    assert confirmed.asked(search, seeds=2)[0].result() == before


def test_another_number_of_candidates_is_refused(search):
    """Those that were begun with are settled."""
    _, request = confirmed.asked(search)

    with pytest.raises(SweepError, match=r"--top 1: this confirmation was begun with --top 2, .* candidates stay"):
        asked_and_planned(replace(request, top=1), search)
