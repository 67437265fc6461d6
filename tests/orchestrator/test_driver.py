"""The driver and the trial behind it: what is recorded, what lies in a trial's folder, how a trial goes on."""

import json
from dataclasses import replace
from importlib import import_module

import pytest
import torch
from typer.testing import CliRunner

from model.checkpoint import MODEL, open_checkpoint
from model.config import HeadConfig
from model.files import write_manifest, write_sealed
from model.table_file import DataError
from orchestrator.disk import cache_bytes
from orchestrator.driver import Driver
from orchestrator.estimate import prefix_cache_sizes
from orchestrator.failures import ALIKE_STOP, FORGIVEN, Failure, class_of, told
from orchestrator.inspection import inspect
from orchestrator.paths import attempt_number
from orchestrator.plan import draft
from orchestrator.study import TrialStudy
from orchestrator.trial import Execution, SupersededError, _Run, run_trial
from orchestrator.trial_files import STARTED, history, latest_state, read_ends, read_verdict, write_verdict

EXECUTION = Execution(10**9, report_s=3600)


def start(plan, paths, number, config, execution=EXECUTION, **more):
    """Start a new attempt at a trial, as a driver does; reports come by epochs unless the execution says otherwise."""
    attempt = attempt_number(paths.trial(number).new_attempt())
    return run_trial(plan, paths, number, config, attempt, execution, **more)


class Bench:
    """A driver on a study of its own, with the events that it published."""

    def __init__(self, plan, paths):
        self.plan, self.paths = plan, paths
        self.events = []
        self.now = 0.0
        self.study = TrialStudy(paths.study_uri, plan, None)
        self.driver = Driver(self.study, paths, self.events.append, lambda: self.now)

    def kinds(self):
        """Return the events' kinds with their trials."""
        return [(event["event"], event["trial"]) for event in self.events]

    def trials(self):
        """Return the trials as Optuna's own study has them."""
        return self.study._study.get_trials()


@pytest.fixture
def bench(bare_plan, paths, tiny_config):
    """Return a driver over a list of three configs."""
    return Bench(bare_plan([replace(tiny_config, seed=seed) for seed in range(3)]), paths)


def entry(epoch, dev_score):
    """Return an epoch as a trial reports it."""
    return {
        "epoch": epoch,
        "dev_score": dev_score,
        "scores": {"sentiment": dev_score, "paraphrase": dev_score, "similarity": 2 * dev_score - 1},
        "train_loss": 1.0,
        "learning_rate": 1e-3,
        "train_seconds": 0.5,
        "evaluation_seconds": 0.1,
        "ended_at_seconds": 1e9 + epoch,
    }


def best_of(entries):
    """Return the best epoch as a report has it."""
    if not entries:
        return None
    best = max(entries, key=lambda e: e["dev_score"])
    checkpoint = f"attempt-1/best-{best['epoch']:04d}"
    return {"epoch": best["epoch"], "dev_score": best["dev_score"], "scores": best["scores"], "checkpoint": checkpoint}


def report(number, *scores):
    """Return the report after an epoch."""
    entries = [entry(epoch, value) for epoch, value in enumerate(scores, start=1)]
    return {"number": number, "history": entries, "best": best_of(entries), "done": False}


def completed(*scores):
    """Return the verdict of a trial that was trained to its end."""
    said = report(0, *scores)
    return {
        "state": "completed",
        "best": said["best"],
        "history": said["history"],
        "parameters": 9,
        "trainable_params": 5,
    }


FAILED = {"state": "failed", "failure": "diverged", "error": "the loss is nan", "history": [entry(1, 0.4)]}


def test_a_proposal_is_published_as_started(bench):
    """Whoever watches is told of each trial that is handed out."""
    assert [bench.driver.propose()[0].number for _ in range(3)] == [0, 1, 2]
    assert bench.driver.propose() is None
    assert bench.kinds() == [("started", 0), ("started", 1), ("started", 2)]


def test_an_epoch_is_recorded_and_published(bench):
    """The study has the dev scores, and whoever watches the whole history."""
    bench.driver.propose()

    bench.driver.record(report(0, 0.5, 0.6))

    assert bench.trials()[0].intermediate_values == {1: 0.5, 2: 0.6}
    assert bench.events[-1] == {"event": "epoch", "trial": 0, **_shown(report(0, 0.5, 0.6))}


def test_a_driver_knows_whether_any_trial_has_trained(bench):
    """To begin, or to compute the frozen layers, is not yet to train."""
    bench.driver.propose()
    bench.driver.record(report(0) | {"prefix": 0.5})
    assert not bench.driver.has_trained

    bench.driver.record(report(0) | {"step": 1, "steps": 9})

    assert bench.driver.has_trained


def _shown(said):
    return {"history": said["history"], "best": said["best"]}


def test_reports_repeated_and_out_of_order_are_harmless(bench):
    """However the reports come, the study ends as it does when each comes once, in order."""
    for _ in range(2):
        bench.driver.propose()
    done = {**completed(0.5, 0.7, 0.6), "done": True}

    for number, reports in (
        (0, [report(0, 0.5), report(0, 0.5, 0.7), {**done, "number": 0}]),
        (1, [report(1, 0.5, 0.7), report(1, 0.5), report(1, 0.5), *[{**done, "number": 1}] * 2, report(1, 0.5)]),
    ):
        for said in reports:
            assert said["number"] == number
            if said["done"]:  # the verdict lies there before it is told
                write_verdict(bench.paths.trial(number), completed(0.5, 0.7, 0.6))
            bench.driver.record(said)

    first, second, *_ = bench.trials()
    assert first.intermediate_values == second.intermediate_values == {1: 0.5, 2: 0.7, 3: 0.6}
    assert first.value == second.value == 0.7
    assert bench.study.ended() == {0: "completed", 1: "completed"}


def test_the_objective_is_the_best_dev_score_not_the_last(bench):
    """A completed trial's value is its best epoch's."""
    bench.driver.propose()
    write_verdict(bench.paths.trial(0), completed(0.7, 0.5))

    bench.driver.record({**completed(0.7, 0.5), "number": 0, "done": True})

    assert bench.trials()[0].value == 0.7


def test_a_trial_whose_folder_has_a_verdict_is_recorded_without_being_run(bench):
    """A trial that ended before its driver knew is settled when it is proposed, and the next one is returned."""
    bench.driver.propose()
    bench.driver.propose()
    write_verdict(bench.paths.trial(0), completed(0.5, 0.6))
    write_verdict(bench.paths.trial(1), FAILED)

    again = Bench(bench.plan, bench.paths)
    proposal, attempt = again.driver.propose()

    assert (proposal.number, attempt) == (2, 1)
    assert again.study.ended() == {0: "completed", 1: "failed"}
    assert again.kinds() == [("completed", 0), ("failed", 1), ("started", 2)]


def test_a_sweep_whose_folders_have_all_verdicts_has_nothing_left_to_run(bench):
    """The verdicts alone end it."""
    for number in range(3):
        bench.driver.propose()
        write_verdict(bench.paths.trial(number), completed(0.5))

    again = Bench(bench.plan, bench.paths)

    assert again.driver.propose() is None
    assert set(again.study.ended()) == {0, 1, 2}


def test_closing_without_a_verdict_hands_the_trial_out_again(bench):
    """An error of the runner's alone is no failure of the trial: same number, equal config, the next attempt."""
    first, attempt = bench.driver.propose()
    bench.driver.record(report(0, 0.5))

    bench.driver.close(0)

    assert bench.study.running() == [0]
    assert bench.driver.propose() == (first, attempt + 1)


def test_closing_with_a_verdict_records_it_once_and_for_all(bench):
    """The verdict in the folder is the trial's end, also when it is closed again."""
    bench.driver.propose()
    write_verdict(bench.paths.trial(0), completed(0.5, 0.6))

    bench.driver.close(0)
    bench.driver.close(0)

    assert bench.study.ended() == {0: "completed"}
    assert bench.trials()[0].value == 0.6
    assert bench.driver.propose()[0].number == 1


def test_a_failed_verdict_is_recorded_with_its_class(bench):
    """The study has the failure's class, and whoever watches its class and text."""
    bench.driver.propose()
    write_verdict(bench.paths.trial(0), FAILED)

    bench.driver.close(0)

    assert bench.study.ended() == {0: "failed"}
    assert bench.trials()[0].user_attrs["failure"] == "diverged"
    assert bench.trials()[0].intermediate_values == {1: 0.4}
    assert bench.events[-1] == {"event": "failed", "trial": 0, "failure": "diverged", "error": "the loss is nan"}


# --- the trial itself, on the tiny encoder and data ---


def plain(verdict):
    """Return a verdict without what differs between equal runs: seconds and paths."""
    kept = json.loads(json.dumps(verdict))
    for values in kept["history"]:
        del values["train_seconds"], values["evaluation_seconds"], values["ended_at_seconds"]
    if kept.get("best"):
        del kept["best"]["checkpoint"]
    return kept


def in_folder(folder):
    """Return the names of the checkpoints in a trial's folder."""
    return sorted(str(path.relative_to(folder.root)) for path in folder.root.glob("attempt-*/*-*"))


@pytest.fixture
def settled(tiny_plan):
    """Return the plan of two configs that differ in their seed."""
    return tiny_plan()


@pytest.fixture
def uninterrupted(settled, paths, tiny_config):
    """Return the reports of a trial of two epochs that nothing disturbed, in another sweep's folder.

    Without those on the way, which a machine that is slow at that moment sends.
    """
    reports = start(settled, replace(paths, name="uninterrupted"), 0, tiny_config, EXECUTION)
    return [report for report in reports if not {"step", "prefix"} & report.keys()]


def test_a_trial_reports_each_epoch_and_then_its_verdict(uninterrupted):
    """One report an epoch; the last epoch's comes with the verdict, and only it is done."""
    first, last = uninterrupted

    assert (first["done"], last["done"]) == (False, True)
    assert [len(first["history"]), len(last["history"])] == [1, 2]
    assert last["history"][:1] == first["history"]
    assert last["state"] == "completed"
    assert last["best"]["dev_score"] == max(values["dev_score"] for values in last["history"])
    assert json.loads(json.dumps(uninterrupted)) == uninterrupted


def test_a_running_trials_folder_has_its_states_and_its_best(settled, paths, tiny_config):
    """After an epoch there are the state to go on from and the best-dev checkpoint, whole, and nothing partial."""
    folder = paths.trial(7)
    reports = start(settled, paths, 7, tiny_config, EXECUTION)
    next(reports)

    assert in_folder(folder) == ["attempt-1/best-0001", "attempt-1/state-0001"]
    assert open_checkpoint(folder.root / "attempt-1/best-0001").manifest["trial"] == 7
    assert latest_state(folder).manifest["epoch"] == 1
    assert history(folder) == latest_state(folder).manifest["history"]
    assert read_verdict(folder) is None
    reports.close()


def test_a_completed_trials_folder_keeps_the_best_dev_checkpoint_alone(uninterrupted, paths):
    """The states, and bests that were bettered, are gone once the verdict lies there."""
    folder = replace(paths, name="uninterrupted").trial(0)
    last = uninterrupted[-1]

    assert in_folder(folder) == [last["best"]["checkpoint"]] == [f"attempt-1/best-{last['best']['epoch']:04d}"]
    assert {**read_verdict(folder), "number": 0, "done": True} == last
    best = open_checkpoint(folder.root / last["best"]["checkpoint"])
    assert best.manifest["dev_score"] == last["best"]["dev_score"]
    assert {"predictions.parquet", MODEL} == set(best.manifest["files"])
    assert not folder.error.exists()


def test_a_trial_that_ended_only_gives_its_verdict(uninterrupted, settled, paths, tiny_config):
    """Run again, it trains nothing."""
    there = replace(paths, name="uninterrupted")

    assert list(run_trial(settled, there, 0, tiny_config, 1, EXECUTION)) == uninterrupted[-1:]


def test_a_resumed_trial_repeats_the_saved_epoch_and_ends_as_if_uninterrupted(
    uninterrupted, settled, paths, tiny_config
):
    """Stopped after the first report and run again, it gives the same verdict but for seconds and paths."""
    stopped = start(settled, paths, 0, tiny_config, EXECUTION)
    first = next(stopped)
    stopped.close()

    again = list(start(settled, paths, 0, tiny_config, EXECUTION))

    assert again[0] == {**first, "resumed": True}
    assert len(again) == 2
    assert plain(again[-1]) == plain(uninterrupted[-1])
    assert [path.name for path in paths.trial(0).attempts()] == ["attempt-1", "attempt-2"]


def test_a_trial_that_died_between_its_last_epoch_and_its_verdict_trains_no_more(
    uninterrupted, settled, paths, tiny_config
):
    """With the last epoch's state saved, the verdict follows from the folder."""
    died = list(_Run(settled, paths, 0, tiny_config, attempt_of(paths), EXECUTION, lambda: None, lambda: None).epochs())

    again = list(start(settled, paths, 0, tiny_config, EXECUTION))

    assert len(died) == 1
    assert [len(said["history"]) for said in again] == [2, 2]
    assert plain(again[-1]) == plain(uninterrupted[-1])
    assert [path.split("/")[0] for path in in_folder(paths.trial(0))] == ["attempt-1"]


def attempt_of(paths, number=0):
    """Return the number of a new attempt at a trial."""
    return attempt_number(paths.trial(number).new_attempt())


def test_a_damaged_newest_state_gives_way_to_the_one_before(settled, paths, tiny_config):
    """The trial goes on from the last state that is whole, and ends as if nothing had been damaged."""
    config, folder = replace(tiny_config, epochs=3), paths.trial(0)
    whole = list(start(settled, replace(paths, name="uninterrupted"), 0, config, EXECUTION))
    stopped = start(settled, paths, 0, config, EXECUTION)
    next(stopped)
    next(stopped)
    stopped.close()
    damage(folder.root / "attempt-1" / "state-0002" / MODEL)

    again = list(start(settled, paths, 0, config, EXECUTION))

    assert [len(said["history"]) for said in again] == [1, 2, 3]
    assert plain(again[-1]) == plain(whole[-1])


def damage(path):
    """Flip the last byte of a file."""
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def test_a_damaged_state_does_not_push_out_a_whole_one(settled, paths, tiny_config):
    """Two whole states are kept while the trial runs, whatever damaged ones lie beside them."""
    config, folder = replace(tiny_config, epochs=4), paths.trial(0)
    stopped = start(settled, paths, 0, config, EXECUTION)
    next(stopped)
    next(stopped)
    stopped.close()
    damage(folder.root / "attempt-1" / "state-0002" / MODEL)

    again = start(settled, paths, 0, config, EXECUTION)
    next(again)
    next(again)
    again.close()
    damage(folder.root / "attempt-2" / "state-0002" / MODEL)

    assert latest_state(folder) is not None
    assert latest_state(folder).manifest["epoch"] == 1


def test_a_state_whose_best_checkpoint_is_damaged_is_not_gone_on_from(settled, paths, tiny_config):
    """A verdict would name a checkpoint that cannot be used: the trial starts over."""
    stopped = start(settled, paths, 0, tiny_config, EXECUTION)
    next(stopped)
    stopped.close()
    damage(paths.trial(0).root / "attempt-1" / "best-0001" / MODEL)

    last = list(start(settled, paths, 0, tiny_config, EXECUTION))[-1]

    assert last["state"] == "completed"
    assert open_checkpoint(paths.trial(0).root / last["best"]["checkpoint"])


def test_divergence_becomes_a_failed_verdict(settled, paths, tiny_config):
    """The class is diverged, the text names task, epoch and step, and error.txt has the traceback."""
    exploding = replace(tiny_config, learning_rate=0.9, heads=HeadConfig(common_layers=64))

    last = list(start(settled, paths, 0, exploding, EXECUTION))[-1]

    assert (last["state"], last["failure"], last["done"]) == ("failed", "diverged", True)
    assert "epoch 1, step" in last["error"]
    assert "DivergedError" in paths.trial(0).error.read_text(encoding="utf-8")
    assert read_verdict(paths.trial(0))["state"] == "failed"
    assert list(start(settled, paths, 0, exploding, EXECUTION)) == [last]


def test_divergence_at_an_epochs_very_last_step_is_divergence_too(tiny_plan, paths, tiny_config):
    """Weights that explode after the last loss was looked at give no finite score: that is no error of the code."""
    config = replace(
        tiny_config, tasks=("similarity",), batch_size=64, learning_rate=0.9, heads=HeadConfig(common_layers=64)
    )

    last = list(start(tiny_plan(config), paths, 0, config, EXECUTION))[-1]

    assert (last["state"], last["failure"]) == ("failed", "diverged")


def test_an_error_of_the_code_becomes_a_failed_verdict(settled, paths, tiny_config):
    """What no check foresaw is the trial's verdict, with the traceback beside it, and later trials go on."""
    impossible = replace(tiny_config, tasks=("sentiment", "nowhere"))

    last = list(start(settled, paths, 0, impossible, EXECUTION))[-1]

    assert (last["state"], last["failure"]) == ("failed", "code")
    assert last["history"] == []
    assert "nowhere" in last["error"]
    assert "Traceback" in paths.trial(0).error.read_text(encoding="utf-8")
    assert list(start(settled, paths, 1, tiny_config, EXECUTION))[-1]["state"] == "completed"


def test_a_failure_names_the_errors_type(settled, paths, tiny_config):
    """A KeyError's text is a bare key: the verdict says what kind of error it was."""
    impossible = replace(tiny_config, tasks=("sentiment", "nowhere"))

    last = list(start(settled, paths, 0, impossible, EXECUTION))[-1]

    assert last["error"].startswith("KeyError: ")


def test_data_that_changed_since_the_plan_is_refused(settled, paths, tiny_config):
    """A worker never trains on other data than was planned."""
    content = {**settled.data["content"], "similarity/dev": "0" * 64}
    other = replace(settled, data={**settled.data, "content": content})

    last = list(start(other, paths, 0, tiny_config, EXECUTION))[-1]

    assert (last["state"], last["failure"]) == ("open", "input changed")
    assert "changed since the sweep was planned" in last["error"]


@pytest.mark.parametrize("part", ["weights", "tokenizer"])
def test_an_encoder_that_is_not_the_planned_one_is_refused(settled, paths, tiny_config, part):
    """Weights and tokenizer are both held against the plan: either changes what is trained."""
    other = replace(settled, encoder={**settled.encoder, part: "0" * 64})

    last = list(start(other, paths, 0, tiny_config, EXECUTION))[-1]

    assert (last["state"], last["failure"]) == ("open", "input changed")
    assert "not the one that was planned" in last["error"]


def die(bench, failure=Failure.DIED, text="killed", *, taken_up=True):
    """Let the next attempt at a trial die after it was taken up, or before; return the events that followed."""
    bench.now += 1000
    proposal, _ = bench.driver.propose()
    if taken_up:
        (bench.paths.trial(proposal.number).attempts()[-1] / STARTED).write_text("{}", encoding="utf-8")
    before = len(bench.events)
    bench.driver.close(proposal.number, (failure, text))
    return bench.events[before:]


@pytest.mark.parametrize("failure", [Failure.DIED, Failure.MEMORY, Failure.HANG])
def test_each_class_of_death_is_forgiven_so_often_and_no_more(bench, failure):
    """Within its budget a trial is handed out again, at the next attempt; beyond it, it has failed with its class."""
    for _ in range(FORGIVEN[failure]):
        (event,) = die(bench, failure)
        assert (event["event"], event["failure"], event["error"]) == ("interrupted", failure, "killed")

    (event,) = die(bench, failure)

    assert (event["event"], event["failure"]) == ("failed", failure)
    assert bench.study.ended() == {0: "failed"}
    assert bench.driver.propose()[0].number == 1


@pytest.mark.parametrize("failure", [Failure.NODE, Failure.PREEMPTED])
def test_losing_machines_never_counts_against_a_trial(bench, failure):
    """A trial that lost its machine thirty times still goes on."""
    for _ in range(30):
        die(bench, failure)

    assert bench.study.running() == [0]


def test_a_process_that_died_before_it_took_the_trial_up_says_nothing_about_it(bench):
    """It costs the next, innocent trial a start and a wait that grows; nothing of it stands in its folder."""
    waits = [die(bench, taken_up=False)[0]["wait"] for _ in range(5)]

    assert waits == [0, 1, 2, 4, 8]
    bench.now += 1000
    assert bench.driver.propose()[0].number == 0
    assert read_ends(bench.paths.trial(0)) == []


def test_where_process_after_process_dies_the_sweep_stops_with_the_reason(bench):
    """A node that cannot start any is not tried for ever, and no trial fails for it."""
    for _ in range(ALIKE_STOP[Failure.DIED]):
        assert bench.driver.trouble is None
        die(bench, taken_up=False, text="no such module")

    assert "no such module" in bench.driver.trouble
    assert bench.study.running() == [0]


def test_disk_trouble_that_the_disk_does_not_take_down_counts_too(bench, monkeypatch):
    """What a report says of an attempt's end counts where its folder cannot say it; file names do not matter."""

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("orchestrator.driver.write_end", full)
    for n in range(3):
        (event,) = die(bench, Failure.DISK, f"OSError: [Errno 28] No space left on device: '/x/.state.{n}'")
        assert event["failure"] == "disk"

    assert "No space left" in bench.driver.trouble


def test_a_pause_of_the_driver_itself_makes_nobody_silent(bench):
    """Frozen for an hour, it has not heard what its trials said meanwhile: they are given the time again."""
    bench.driver.propose()
    bench.driver.record({**report(0), "best": None, "step": 1, "steps": 9})
    bench.now += 3600

    bench.driver.pardon()

    assert bench.driver.silent(50) == []
    bench.now += 51
    assert bench.driver.silent(50) == [(0, 1)]


def test_a_process_that_began_and_never_reports_is_silent_too(bench):
    """Its silence counts from when it is seen to have begun; before that it may wait for a machine."""
    bench.driver.propose()
    bench.now += 1000
    assert bench.driver.silent(50) == []
    (bench.paths.trial(0).attempts()[-1] / STARTED).write_text("{}", encoding="utf-8")
    assert bench.driver.silent(50) == []
    bench.now += 51

    assert bench.driver.silent(50) == [(0, 1)]


def test_what_a_trial_left_that_died_in_tidying_up_goes_when_it_is_settled(bench, settled, paths, tiny_config):
    """Killed right after its verdict lay there, its states are removed by whoever records it."""
    stopped = start(settled, paths, 0, tiny_config)
    next(stopped)
    stopped.close()
    write_sealed(paths.trial(0).verdict, "verdict of trial 0000", completed(0.5))
    assert in_folder(paths.trial(0)) != []
    bench.driver.propose()

    assert in_folder(paths.trial(0)) == ["attempt-1/best-0001"]


def test_a_state_that_cannot_be_gone_on_from_does_not_push_out_one_that_can(settled, paths, tiny_config):
    """With the later states' best damaged, the progress made from an earlier one is kept."""
    config = replace(tiny_config, epochs=3)
    stopped = start(settled, paths, 0, config)
    next(stopped)
    next(stopped)
    stopped.close()
    for path in paths.trial(0).root.glob("attempt-1/best-*/model.safetensors"):
        damage(path)
    again = start(settled, paths, 0, config)
    next(again)
    again.close()

    assert latest_state(paths.trial(0)).manifest["epoch"] == 1
    assert latest_state(paths.trial(0)).folder.parent.name == "attempt-2"


def test_a_new_driver_counts_the_deaths_that_the_old_one_saw(bench):
    """The budget lies in the folder: a driver that dies does not renew it."""
    for _ in range(FORGIVEN[Failure.DIED]):
        die(bench)
    again = Bench(bench.plan, bench.paths)

    (event,) = die(again)

    assert (event["event"], event["failure"]) == ("failed", "process died")


def test_a_trial_that_gets_on_may_die_any_number_of_times(bench, settled, tiny_config, paths):
    """Deaths before the newest saved state do not count."""
    for _ in range(FORGIVEN[Failure.DIED]):
        die(bench)
    stopped = start(settled, paths, 0, tiny_config)
    next(stopped)
    stopped.close()

    bench.driver.record(report(0, 0.5))

    for _ in range(FORGIVEN[Failure.DIED]):
        die(bench)

    assert bench.study.running() == [0]
    (event,) = die(bench)
    assert event["event"] == "failed"
    assert [entry["epoch"] for entry in read_verdict(paths.trial(0))["history"]] == [1]
    assert in_folder(paths.trial(0)) == []


def test_deaths_without_progress_are_waited_out_ever_longer(bench):
    """The first is followed at once, then 1, 2, 4 seconds pass; another trial is handed out meanwhile."""
    waits = [die(bench)[0]["wait"] for _ in range(4)]

    assert waits == [0, 1, 2, 4]
    assert bench.driver.waits
    assert bench.driver.propose()[0].number == 1
    bench.now += 4
    assert bench.driver.propose()[0].number == 0
    assert not bench.driver.waits


def test_three_trials_that_fail_alike_in_their_code_stop_the_sweep(bench):
    """What is wrong with the code is wrong for all: nothing more is started, and the reason is there."""
    wrong = {**FAILED, "failure": "code", "error": "KeyError: 'x'"}
    for number in range(3):
        assert bench.driver.trouble is None
        bench.driver.propose()
        write_verdict(bench.paths.trial(number), wrong)
        bench.driver.close(number)
        bench.driver.close(number)

    assert "KeyError: 'x'" in bench.driver.trouble
    assert bench.driver.propose() is None


@pytest.mark.parametrize("failure", [Failure.DISK, Failure.INPUT])
def test_a_full_disk_fails_no_trial_and_stops_the_sweep(bench, failure):
    """Attempts that disk or input end in a row are not held against their trial; the third stops the sweep."""
    for _ in range(3):
        die(bench, failure, "OSError: [Errno 28] No space left on device")

    assert "No space left" in bench.driver.trouble
    assert bench.study.running() == [0]
    assert Bench(bench.plan, bench.paths).driver.propose()[0].number == 0


def test_a_trial_of_which_nothing_is_heard_is_named(bench):
    """Silence counts from the first report of an attempt, and any report ends it."""
    bench.driver.propose()
    bench.now += 100
    assert bench.driver.silent(50) == []
    bench.driver.record({**report(0), "best": None, "step": 1, "steps": 9})

    bench.now += 49
    assert bench.driver.silent(50) == []
    bench.now += 2
    assert bench.driver.silent(50) == [(0, 1)]

    bench.driver.close(0)
    assert bench.driver.silent(50) == []


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (MemoryError(), True),
        (OSError(28, "No space left on device"), True),
        (torch.OutOfMemoryError("CUDA out of memory"), False),
        (RuntimeError("shape"), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_error_ends_the_trial_or_only_its_attempt(settled, paths, tiny_config, monkeypatch, error, again):
    """What another attempt may mend leaves the trial open, with the error in the attempt's folder."""
    monkeypatch.setattr("orchestrator.trial.fine_tune_by_steps", lambda *_, **__: _raising(error))

    *_, last = start(settled, paths, 0, tiny_config)

    assert last["done"]
    assert last["failure"] == class_of(error)
    assert last["state"] == ("open" if again else "failed")
    assert (read_verdict(paths.trial(0)) is None) == again
    assert [end.failure for end in read_ends(paths.trial(0))] == ([class_of(error)] if again else [])
    assert type(error).__name__ in paths.trial(0).error.read_text(encoding="utf-8")


def _raising(error):
    raise error
    yield


def test_a_trial_reports_within_an_epoch_when_it_is_time(settled, paths, tiny_config):
    """Each step is told where the execution asks for it, and the epochs' reports are the same."""
    often = list(start(settled, paths, 0, tiny_config, replace(EXECUTION, report_s=0.0)))
    steps = [said for said in often if "step" in said]

    assert {said["step"] for said in steps} == set(range(1, 10))
    assert {said["steps"] for said in steps} == {9}
    assert [len(said["history"]) for said in often if "step" not in said] == [1, 2]


@pytest.mark.parametrize("at", [1, 7, 9, 12, 17])
def test_closing_a_trial_saves_where_it_stands(uninterrupted, settled, paths, tiny_config, at):
    """Closed at any step it goes on from there: no step is taken twice, and the verdict is the same."""
    stopped = start(settled, paths, 0, tiny_config, replace(EXECUTION, report_s=0.0))
    said = [next(stopped) for _ in range(at)][-1]
    stopped.close()
    state = latest_state(paths.trial(0)).manifest

    assert (state["epoch"], state["step"]) == (len(said["history"]), said.get("step", 0))
    again = list(start(settled, paths, 0, tiny_config))
    assert plain(again[-1]) == plain(uninterrupted[-1])


def test_a_trial_saves_within_an_epoch_when_it_is_time(settled, paths, tiny_config):
    """Killed without a word it has lost no more than the execution allows; two states are kept."""
    reports = start(settled, paths, 0, tiny_config, replace(EXECUTION, report_s=0.0, save_s=0.0))
    for _ in range(4):
        next(reports)

    assert in_folder(paths.trial(0)) == ["attempt-1/state-0000-000003", "attempt-1/state-0000-000004"]
    reports.close()


def test_closing_a_trial_that_was_stopped_early_leaves_nothing(settled, paths, tiny_config):
    """Once a verdict lies in the folder, closing saves no more."""
    reports = start(settled, paths, 0, tiny_config, replace(EXECUTION, report_s=0.0))
    next(reports)
    write_verdict(paths.trial(0), {**completed(0.5), "state": "pruned", "best": None})
    reports.close()

    assert in_folder(paths.trial(0)) == []


def test_a_notice_saves_and_ends_the_attempt(uninterrupted, settled, paths, tiny_config):
    """When the machine will be taken away, the trial saves at the next step and stays open."""
    noticed = []
    reports = start(
        settled, paths, 0, tiny_config, replace(EXECUTION, report_s=0.0),
        notice=lambda: "terminate in 120 s" if noticed else None,
    )  # fmt: skip
    next(reports)
    noticed.append(True)

    (last,) = reports

    assert (last["state"], last["failure"], last["error"]) == ("open", "preempted", "terminate in 120 s")
    assert latest_state(paths.trial(0)).manifest["step"] == 2
    assert plain(list(start(settled, paths, 0, tiny_config))[-1]) == plain(uninterrupted[-1])


# --- early stopping ---


@pytest.fixture
def halved(bare_plan, paths, tiny_config):
    """Return a driver over eight configs of four epochs, of which one in two goes on after epochs 1 and 2."""
    configs = [replace(tiny_config, seed=seed, epochs=4) for seed in range(8)]
    return Bench(bare_plan(configs, early_stopping={"first": 1, "factor": 2}), paths)


def state_of(bench, number, *scores):
    """Lay down what a trial's folder holds after these epochs, as far as the driver looks at it."""
    folder = bench.paths.trial(number)
    said = {**report(number, *scores), "format": 4, "trial": number, "parameters": 9, "trainable_params": 5}
    for path in (folder.attempts()[-1] / f"state-{len(scores):04d}", folder.root / said["best"]["checkpoint"]):
        path.mkdir(parents=True, exist_ok=True)
        write_manifest(path, said)
    return said


def test_a_trial_that_is_behind_at_a_rung_is_stopped_and_told_pruned(halved):
    """Its value is its best so far, its verdict lies in its folder before anyone is told to stop it."""
    for number, score in enumerate([0.5, 0.6]):
        halved.driver.propose()
        assert halved.driver.record(state_of(halved, number, score)) == "go on"
    halved.driver.propose()

    assert halved.driver.record(state_of(halved, 2, 0.4)) == "stop"

    assert read_verdict(halved.paths.trial(2))["state"] == "pruned"
    assert halved.study.ended() == {2: "pruned"}
    assert halved.trials()[2].value == 0.4
    assert halved.kinds()[-1] == ("pruned", 2)


def test_a_trial_is_held_against_those_of_its_own_tasks(bare_plan, paths, tiny_config):
    """A model of sentiment alone is not stopped because models of all tasks have higher scores."""
    alone = replace(tiny_config, epochs=4, tasks=("sentiment",))
    configs = [replace(tiny_config, seed=seed, epochs=4) for seed in range(2)] + [alone]
    bench = Bench(bare_plan(configs, early_stopping={"first": 1, "factor": 2}), paths)

    for number, score in enumerate([0.5, 0.6, 0.4]):
        bench.driver.propose()
        assert bench.driver.record(state_of(bench, number, score)) == "go on"


def test_a_restart_decides_as_before(halved):
    """A decision that was stored stands, whatever the study has learnt since."""
    halved.driver.propose()
    assert halved.driver.record(state_of(halved, 0, 0.1)) == "go on"
    for number in (1, 2, 3):
        halved.driver.propose()
        halved.driver.record(state_of(halved, number, 0.9))
    again = Bench(halved.plan, halved.paths)

    assert again.driver.record(report(0, 0.1)) == "go on"


def test_a_death_between_the_decision_and_its_verdict_is_made_good(halved):
    """A trial that was to be stopped is not run again by the next driver: it is told pruned."""
    for number, score in enumerate([0.6, 0.5]):
        halved.driver.propose()
        state_of(halved, number, score)
        halved.study.report(number, 1, score)
    assert halved.study.goes_on(0, 1)
    assert not halved.study.goes_on(1, 1)
    again = Bench(halved.plan, halved.paths)

    assert [again.driver.propose()[0].number for _ in range(2)] == [0, 2]
    assert again.study.ended() == {1: "pruned"}


def test_nothing_is_stopped_after_its_last_epoch_or_between_rungs(halved):
    """Rungs lie at 1, 2 and 4 epochs; the last epoch is none."""
    for number, scores in enumerate([(0.9,) * 4, (0.8, 0.95, 0.1, 0.1)]):
        halved.driver.propose()
        for epochs in range(1, 5):
            if number == 0 or epochs in (2, 3, 4):
                assert halved.driver.record(report(number, *scores[:epochs])) == "go on"


def test_attempts_are_ordered_by_number_beyond_nine(paths):
    """attempt-10 comes after attempt-9, and a new one gets the next number."""
    folder = paths.trial(0)
    for _ in range(10):
        folder.new_attempt()

    assert folder.new_attempt().name == "attempt-11"
    assert [path.name for path in folder.attempts()][-3:] == ["attempt-9", "attempt-10", "attempt-11"]


@pytest.mark.parametrize(
    ("error", "named"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), "out of GPU memory"),
        (MemoryError(), "out of memory"),
        (OSError(12, "Cannot allocate memory"), "out of memory"),
        (OSError(28, "No space left on device"), "disk"),
        (RuntimeError("shape"), "code"),
    ],
)
def test_failures_are_told_apart_by_class(error, named):
    """Memory, disk and code fail in different ways, and each is named."""
    assert class_of(error) == named


def test_what_many_files_lack_is_told_of_the_first():
    """Data that are gone are a line, whatever the number of files."""
    assert told(DataError("a.csv: no such file\nb.csv: no such file\nc.csv: no such file")) == (
        "a.csv: no such file (and 2 problems more)"
    )


def test_a_superseded_attempt_writes_nothing_more(settled, paths, tiny_config):
    """A leftover process whose trial was started elsewhere neither saves nor ends the trial."""
    leftover = start(settled, paths, 0, tiny_config)
    next(leftover)
    newer = paths.trial(0).new_attempt()
    before = in_folder(paths.trial(0))

    with pytest.raises(SupersededError, match="attempt-2 has begun"):
        next(leftover)

    assert in_folder(paths.trial(0)) == before
    assert read_verdict(paths.trial(0)) is None
    newer.rmdir()


def lasting(report):
    """Return a verdict without its times, and without where its files lie."""
    history = [{k: v for k, v in entry.items() if not k.endswith("_seconds")} for entry in report["history"]]
    return {**report, "history": history}


@pytest.mark.parametrize("off", [True, False], ids=["no cache asked for", "a folder that cannot be written"])
def test_a_sweep_without_the_prefix_cache_gives_the_same_scores(settled, paths, tiny_config, uninterrupted, off):
    """Computed at every step or read from the cache, the verdict is equal; a cache that fails is told in a note."""
    there = replace(paths, out=paths.out.parent / "elsewhere")
    if not off:
        there.prefix_cache.parent.mkdir(parents=True)
        there.prefix_cache.write_text("a file in the folder's place", encoding="utf-8")

    *before, last = start(settled, there, 0, tiny_config, replace(EXECUTION, prefix_cache_bytes=0 if off else 10**9))

    assert lasting(last) == lasting(uninterrupted[-1])
    notes = [report["note"] for report in before if "note" in report]
    assert len(notes) == (0 if off else 1)
    assert all("\n" not in note and str(there.prefix_cache) in note for note in notes)


def test_a_disk_that_takes_no_tokens_costs_a_trial_nothing_but_the_time(settled, paths, tiny_config, uninterrupted):
    """A node's own disk is full: the same verdict, and one note that says where and why."""
    there = replace(paths, out=paths.out.parent / "elsewhere")
    there.token_cache.parent.mkdir(parents=True)
    there.token_cache.write_text("a file in the folder's place", encoding="utf-8")

    *before, last = start(settled, there, 0, tiny_config)

    assert lasting(last) == lasting(uninterrupted[-1])
    (note,) = [report["note"] for report in before if "note" in report]
    assert note == (
        f"{there.token_cache}: the token cache cannot be written there (File exists); tokens are computed by each "
        "process: make room there"
    )


def test_one_pass_fills_the_cache_for_every_depth_of_the_list(tiny_plan, paths, tiny_config):
    """A list that varies the freeze depth alone has all its states after its first trial."""
    configs = [replace(tiny_config, unfrozen_layers=n) for n in (1, 2)]
    plan = tiny_plan(*configs)
    for _ in start(plan, paths, 0, configs[0], EXECUTION):
        pass
    before = sorted(paths.prefix_cache.glob("*-[0-9]"))

    for _ in start(plan, paths, 1, configs[1], EXECUTION):
        pass

    assert len(before) == 2 * len(tiny_config.tasks) * 2
    assert sorted(paths.prefix_cache.glob("*-[0-9]")) == before


def test_the_caches_estimated_size_is_the_one_it_takes(options_for, machine, loaded_list, paths, tiny_config):
    """What a dry run says, to the byte, but for a file's header: two depths, and a config that keeps nothing."""
    configs = [
        replace(tiny_config, unfrozen_layers=1, epochs=1),
        replace(tiny_config, unfrozen_layers=0, epochs=1, prefix_format="fp32"),
        replace(tiny_config, unfrozen_layers="all", epochs=1),
    ]
    inspected = inspect(loaded_list(*configs), options_for(cpus_per_trial=1.0, max_dev_examples=8))
    drafted = draft(inspected, machine)
    for number, config in enumerate(configs):
        for _ in start(drafted.plan, paths, number, config, EXECUTION):
            pass

    said = sum(prefix_cache_sizes(configs, drafted.corpus, drafted.encoder, 8))

    files = list(paths.prefix_cache.glob("*/states.npy"))
    assert len(files) == 12
    assert sum(path.stat().st_size - 128 for path in files) == said
    assert cache_bytes(inspected) == pytest.approx(said, rel=0.2)  # before anything heavy is loaded, and from a sample


def test_what_is_told_of_the_frozen_layers_is_published(bench):
    """A report of how far they are is an event, and so is a note; neither counts as an epoch."""
    proposal, _ = bench.driver.propose()
    plain = {"number": proposal.number, "history": [], "best": None, "done": False}

    bench.driver.record({**plain, "prefix": 0.5})
    bench.driver.record({**plain, "about": "prefix cache", "note": "no room"})

    assert bench.events[-2:] == [
        {"event": "prefix", "trial": proposal.number, "share": 0.5},
        {"event": "note", "trial": proposal.number, "about": "prefix cache", "text": "no room"},
    ]


def test_a_trial_that_goes_on_says_after_which_epoch(settled, paths, tiny_config, tmp_path):
    """The event of a trial that has epochs behind it says how many."""
    study = TrialStudy(f"sqlite:///{tmp_path / 'study.db'}", settled, None)
    stopped = start(settled, paths, 0, tiny_config, EXECUTION)
    next(stopped)
    stopped.close()
    events = []

    Driver(study, paths, events.append).propose()

    assert [(event["event"], event["epochs_done"]) for event in events] == [("started", 1)]


@pytest.mark.parametrize(
    ("inside", "said"),
    [("", "a trial's best is in its attempt-"), ("attempt-1/state-0001", "is for going on with the training")],
    ids=["a trial's folder", "a resumable state"],
)
@pytest.mark.parametrize("command", ["predict", "export"])
def test_a_folder_that_is_no_best_checkpoint_is_one_line(settled, paths, tiny_config, tmp_path, command, inside, said):
    """Both commands say which folder to name instead."""
    stopped = start(settled, paths, 0, tiny_config, EXECUTION)
    next(stopped)
    stopped.close()
    given = str(paths.trial(0).root / inside)
    arguments = (
        ["--model", given, "--out", str(tmp_path / "new")] if command == "predict" else [given, str(tmp_path / "new")]
    )

    result = CliRunner().invoke(import_module(f"orchestrator.{command}").app, arguments)

    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "new").exists()
