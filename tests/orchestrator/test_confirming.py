"""What the confirm command refuses, a line each, before anything is trained."""

import shutil
from dataclasses import replace

import pytest

from model.files import write_json
from orchestrator.confirming import ConfirmRequest, finished_sweep
from orchestrator.errors import RunningElsewhereError, SweepError
from orchestrator.hold import hold
from orchestrator.study import TrialStudy
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
