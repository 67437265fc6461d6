"""The driver and the trial behind it: what is recorded, what lies in a trial's folder, how a trial goes on."""

import json
from dataclasses import replace
from importlib import import_module

import pytest
import torch
from typer.testing import CliRunner

from model.checkpoint import MODEL, open_checkpoint
from model.config import HeadConfig
from orchestrator.driver import Driver
from orchestrator.estimate import prefix_cache_sizes
from orchestrator.plan import draft
from orchestrator.study import TrialStudy
from orchestrator.trial import FRUITLESS_ATTEMPTS, Execution, SupersededError, _Run, failure_class, run_trial
from orchestrator.trial_files import history, latest_state, read_verdict, write_verdict

EXECUTION = Execution("a test's driver", 10**9)


class Bench:
    """A driver on a study of its own, with the events that it published."""

    def __init__(self, plan, paths):
        self.plan, self.paths = plan, paths
        self.events = []
        self.study = TrialStudy(paths.study_uri, plan, None)
        self.driver = Driver(self.study, paths, self.events.append)

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
    }


def best_of(entries):
    """Return the best epoch as a report has it."""
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
    assert [bench.driver.propose().number for _ in range(3)] == [0, 1, 2]
    assert bench.driver.propose() is None
    assert bench.kinds() == [("started", 0), ("started", 1), ("started", 2)]


def test_an_epoch_is_recorded_and_published(bench):
    """The study has the dev scores, and whoever watches the whole history."""
    bench.driver.propose()

    bench.driver.record(report(0, 0.5, 0.6))

    assert bench.trials()[0].intermediate_values == {1: 0.5, 2: 0.6}
    assert bench.events[-1] == {"event": "epoch", "trial": 0, **_shown(report(0, 0.5, 0.6))}


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
            bench.driver.record(said)

    first, second, *_ = bench.trials()
    assert first.intermediate_values == second.intermediate_values == {1: 0.5, 2: 0.7, 3: 0.6}
    assert first.value == second.value == 0.7
    assert bench.study.ended() == {0: "completed", 1: "completed"}


def test_the_objective_is_the_best_dev_score_not_the_last(bench):
    """A completed trial's value is its best epoch's."""
    bench.driver.propose()

    bench.driver.record({**completed(0.7, 0.5), "number": 0, "done": True})

    assert bench.trials()[0].value == 0.7


def test_a_trial_whose_folder_has_a_verdict_is_recorded_without_being_run(bench):
    """A trial that ended before its driver knew is settled when it is proposed, and the next one is returned."""
    bench.driver.propose()
    bench.driver.propose()
    write_verdict(bench.paths.trial(0), completed(0.5, 0.6))
    write_verdict(bench.paths.trial(1), FAILED)

    again = Bench(bench.plan, bench.paths)
    proposal = again.driver.propose()

    assert proposal.number == 2
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
    """An error of the runner's alone is no failure of the trial: same number, equal config."""
    first = bench.driver.propose()
    bench.driver.record(report(0, 0.5))

    bench.driver.close(0)

    assert bench.study.running() == [0]
    assert bench.driver.propose() == first


def test_closing_with_a_verdict_records_it_once_and_for_all(bench):
    """The verdict in the folder is the trial's end, also when it is closed again."""
    bench.driver.propose()
    write_verdict(bench.paths.trial(0), completed(0.5, 0.6))

    bench.driver.close(0)
    bench.driver.close(0)

    assert bench.study.ended() == {0: "completed"}
    assert bench.trials()[0].value == 0.6
    assert bench.driver.propose().number == 1


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
        del values["train_seconds"], values["evaluation_seconds"]
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
    """Return the reports of a trial of two epochs that nothing disturbed, in another sweep's folder."""
    return list(run_trial(settled, replace(paths, name="uninterrupted"), 0, tiny_config, EXECUTION))


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
    reports = run_trial(settled, paths, 7, tiny_config, EXECUTION)
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
    """Run again, it trains nothing and makes no attempt."""
    there = replace(paths, name="uninterrupted")

    assert list(run_trial(settled, there, 0, tiny_config, EXECUTION)) == uninterrupted[-1:]
    assert len(there.trial(0).attempts()) == 1


def test_a_resumed_trial_repeats_the_saved_epoch_and_ends_as_if_uninterrupted(
    uninterrupted, settled, paths, tiny_config
):
    """Stopped after the first report and run again, it gives the same verdict but for seconds and paths."""
    stopped = run_trial(settled, paths, 0, tiny_config, EXECUTION)
    first = next(stopped)
    stopped.close()

    again = list(run_trial(settled, paths, 0, tiny_config, EXECUTION))

    assert again[0] == {**first, "resumed": True}
    assert len(again) == 2
    assert plain(again[-1]) == plain(uninterrupted[-1])
    assert [path.name for path in paths.trial(0).attempts()] == ["attempt-1", "attempt-2"]


def test_a_trial_that_died_between_its_last_epoch_and_its_verdict_trains_no_more(
    uninterrupted, settled, paths, tiny_config
):
    """With the last epoch's state saved, the verdict follows from the folder."""
    died = list(_Run(settled, paths, 0, tiny_config, EXECUTION).epochs())

    again = list(run_trial(settled, paths, 0, tiny_config, EXECUTION))

    assert len(died) == 1
    assert [len(said["history"]) for said in again] == [2, 2]
    assert plain(again[-1]) == plain(uninterrupted[-1])
    assert [path.split("/")[0] for path in in_folder(paths.trial(0))] == ["attempt-1"]


def test_a_damaged_newest_state_gives_way_to_the_one_before(settled, paths, tiny_config):
    """The trial goes on from the last state that is whole, and ends as if nothing had been damaged."""
    config, folder = replace(tiny_config, epochs=3), paths.trial(0)
    whole = list(run_trial(settled, replace(paths, name="uninterrupted"), 0, config, EXECUTION))
    stopped = run_trial(settled, paths, 0, config, EXECUTION)
    next(stopped)
    next(stopped)
    stopped.close()
    damage(folder.root / "attempt-1" / "state-0002" / MODEL)

    again = list(run_trial(settled, paths, 0, config, EXECUTION))

    assert [len(said["history"]) for said in again] == [1, 2, 3]
    assert plain(again[-1]) == plain(whole[-1])


def damage(path):
    """Flip the last byte of a file."""
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def test_a_damaged_state_does_not_push_out_a_whole_one(settled, paths, tiny_config):
    """Two whole states are kept while the trial runs, whatever damaged ones lie beside them."""
    config, folder = replace(tiny_config, epochs=4), paths.trial(0)
    stopped = run_trial(settled, paths, 0, config, EXECUTION)
    next(stopped)
    next(stopped)
    stopped.close()
    damage(folder.root / "attempt-1" / "state-0002" / MODEL)

    again = run_trial(settled, paths, 0, config, EXECUTION)
    next(again)
    next(again)
    again.close()
    damage(folder.root / "attempt-2" / "state-0002" / MODEL)

    assert latest_state(folder) is not None
    assert latest_state(folder).manifest["epoch"] == 1


def test_a_state_whose_best_checkpoint_is_damaged_is_not_gone_on_from(settled, paths, tiny_config):
    """A verdict would name a checkpoint that cannot be used: the trial starts over."""
    stopped = run_trial(settled, paths, 0, tiny_config, EXECUTION)
    next(stopped)
    stopped.close()
    damage(paths.trial(0).root / "attempt-1" / "best-0001" / MODEL)

    last = list(run_trial(settled, paths, 0, tiny_config, EXECUTION))[-1]

    assert last["state"] == "completed"
    assert open_checkpoint(paths.trial(0).root / last["best"]["checkpoint"])


def test_divergence_becomes_a_failed_verdict(settled, paths, tiny_config):
    """The class is diverged, the text names task, epoch and step, and error.txt has the traceback."""
    exploding = replace(tiny_config, learning_rate=0.9, heads=HeadConfig(common_layers=64))

    last = list(run_trial(settled, paths, 0, exploding, EXECUTION))[-1]

    assert (last["state"], last["failure"], last["done"]) == ("failed", "diverged", True)
    assert "epoch 1, step" in last["error"]
    assert "DivergedError" in paths.trial(0).error.read_text(encoding="utf-8")
    assert read_verdict(paths.trial(0))["state"] == "failed"
    assert list(run_trial(settled, paths, 0, exploding, EXECUTION)) == [last]


def test_divergence_at_an_epochs_very_last_step_is_divergence_too(tiny_plan, paths, tiny_config):
    """Weights that explode after the last loss was looked at give no finite score: that is no error of the code."""
    config = replace(
        tiny_config, tasks=("similarity",), batch_size=64, learning_rate=0.9, heads=HeadConfig(common_layers=64)
    )

    last = list(run_trial(tiny_plan(config), paths, 0, config, EXECUTION))[-1]

    assert (last["state"], last["failure"]) == ("failed", "diverged")


def test_an_error_of_the_code_becomes_a_failed_verdict(settled, paths, tiny_config):
    """What no check foresaw is the trial's verdict, with the traceback beside it, and later trials go on."""
    impossible = replace(tiny_config, tasks=("sentiment", "nowhere"))

    last = list(run_trial(settled, paths, 0, impossible, EXECUTION))[-1]

    assert (last["state"], last["failure"]) == ("failed", "code")
    assert last["history"] == []
    assert "nowhere" in last["error"]
    assert "Traceback" in paths.trial(0).error.read_text(encoding="utf-8")
    assert list(run_trial(settled, paths, 1, tiny_config, EXECUTION))[-1]["state"] == "completed"


def test_a_failure_names_the_errors_type(settled, paths, tiny_config):
    """A KeyError's text is a bare key: the verdict says what kind of error it was."""
    impossible = replace(tiny_config, tasks=("sentiment", "nowhere"))

    last = list(run_trial(settled, paths, 0, impossible, EXECUTION))[-1]

    assert last["error"].startswith("KeyError: ")


def test_data_that_changed_since_the_plan_is_refused(settled, paths, tiny_config):
    """A worker never trains on other data than was planned."""
    content = {**settled.data["content"], "similarity/dev": "0" * 64}
    other = replace(settled, data={**settled.data, "content": content})

    last = list(run_trial(other, paths, 0, tiny_config, EXECUTION))[-1]

    assert last["state"] == "failed"
    assert "changed since the sweep was planned" in last["error"]


@pytest.mark.parametrize("part", ["weights", "tokenizer"])
def test_an_encoder_that_is_not_the_planned_one_is_refused(settled, paths, tiny_config, part):
    """Weights and tokenizer are both held against the plan: either changes what is trained."""
    other = replace(settled, encoder={**settled.encoder, part: "0" * 64})

    last = list(run_trial(other, paths, 0, tiny_config, EXECUTION))[-1]

    assert last["state"] == "failed"
    assert "not the one that was planned" in last["error"]


def test_four_fruitless_attempts_end_a_trial(settled, paths, tiny_config):
    """A trial whose process dies again and again before an epoch ends is failed as infrastructure."""
    folder = paths.trial(0)
    for _ in range(FRUITLESS_ATTEMPTS):
        folder.new_attempt()

    last = list(run_trial(settled, paths, 0, tiny_config, EXECUTION))[-1]

    assert (last["state"], last["failure"]) == ("failed", "infrastructure")
    assert last["error"].startswith("4 attempts died before an epoch ended")
    assert folder.error.exists()


def test_three_fruitless_attempts_do_not(settled, paths, tiny_config):
    """The fourth attempt is made, and completes."""
    for _ in range(FRUITLESS_ATTEMPTS - 1):
        paths.trial(0).new_attempt()

    assert list(run_trial(settled, paths, 0, tiny_config, EXECUTION))[-1]["state"] == "completed"


def test_an_epoch_between_them_sets_the_count_of_fruitless_attempts_back(settled, paths, tiny_config):
    """Attempts before the last saved epoch do not count."""
    folder = paths.trial(0)
    for _ in range(FRUITLESS_ATTEMPTS - 1):
        folder.new_attempt()
    stopped = run_trial(settled, paths, 0, tiny_config, EXECUTION)
    next(stopped)
    stopped.close()
    for _ in range(FRUITLESS_ATTEMPTS - 1):
        folder.new_attempt()

    assert list(run_trial(settled, paths, 0, tiny_config, EXECUTION))[-1]["state"] == "completed"


def test_a_trial_that_fails_after_an_epoch_keeps_its_history(settled, paths, tiny_config):
    """What had been reached before stands in the failed verdict; its checkpoints are let go."""
    folder = paths.trial(0)
    stopped = run_trial(settled, paths, 0, tiny_config, EXECUTION)
    first = next(stopped)
    stopped.close()
    for _ in range(FRUITLESS_ATTEMPTS):
        folder.new_attempt()

    last = list(run_trial(settled, paths, 0, tiny_config, EXECUTION))[-1]

    assert last["failure"] == "infrastructure"
    assert last["history"] == first["history"]
    assert in_folder(folder) == []


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
        (OSError(28, "No space left on device"), "disk"),
        (RuntimeError("shape"), "code"),
    ],
)
def test_failures_are_told_apart_by_class(error, named):
    """Memory, disk and code fail in different ways, and each is named."""
    assert failure_class(error) == named


def test_a_superseded_attempt_writes_nothing_more(settled, paths, tiny_config):
    """A leftover process whose trial was started elsewhere neither saves nor ends the trial."""
    leftover = run_trial(settled, paths, 0, tiny_config, replace(EXECUTION, session="driver 1"))
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

    *before, last = run_trial(
        settled, there, 0, tiny_config, replace(EXECUTION, prefix_cache_bytes=0 if off else 10**9)
    )

    assert lasting(last) == lasting(uninterrupted[-1])
    notes = [report["note"] for report in before if "note" in report]
    assert len(notes) == (0 if off else 1)
    assert all("\n" not in note and str(there.prefix_cache) in note for note in notes)


def test_one_pass_fills_the_cache_for_every_depth_of_the_list(tiny_plan, paths, tiny_config):
    """A list that varies the freeze depth alone has all its states after its first trial."""
    configs = [replace(tiny_config, unfrozen_layers=n) for n in (1, 2)]
    plan = tiny_plan(*configs)
    for _ in run_trial(plan, paths, 0, configs[0], EXECUTION):
        pass
    before = sorted(paths.prefix_cache.glob("*-[0-9]"))

    for _ in run_trial(plan, paths, 1, configs[1], EXECUTION):
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
    drafted = draft(loaded_list(*configs), options_for(cpus_per_trial=1.0, max_dev_examples=8), machine)
    for number, config in enumerate(configs):
        for _ in run_trial(drafted.plan, paths, number, config, EXECUTION):
            pass

    said = sum(prefix_cache_sizes(configs, drafted.corpus, drafted.encoder, 8))

    files = list(paths.prefix_cache.glob("*/states.npy"))
    assert len(files) == 12
    assert sum(path.stat().st_size - 128 for path in files) == said


def test_what_is_told_of_the_frozen_layers_is_published(bench):
    """A report of how far they are is an event, and so is a note; neither counts as an epoch."""
    proposal = bench.driver.propose()
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
    stopped = run_trial(settled, paths, 0, tiny_config, EXECUTION)
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
    stopped = run_trial(settled, paths, 0, tiny_config, EXECUTION)
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
