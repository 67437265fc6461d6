"""Real processes under real faults, a few of each kind; `make failpoints`, `make faults`, `make soak` do the rest."""

import json
import os
import signal
import time

import pytest

from model.failpoints import PAUSE_S
from orchestrator.paths import SweepPaths
from orchestrator.trial_files import read_ends, read_verdict
from tests.faults.checker import lasting, violations
from tests.faults.lab import Lab
from tests.faults.metadata import Metadata

pytestmark = pytest.mark.slow


def assert_nothing_lost(lab, twin, faults=1):
    """Hold a lab to the invariants, and to the leaderboard of the one that ran in peace."""
    assert violations(lab, twin, faults) == {}
    assert lasting(lab.board()) == lasting(twin.board())


@pytest.mark.parametrize(
    ("at", "hit"),
    [
        pytest.param("study: asked", 2, marks=pytest.mark.faults),
        ("state/: filled", 3),
        pytest.param("mlflow: created run", 2, marks=pytest.mark.faults),
        pytest.param("verdict.json: in place", 1, marks=pytest.mark.faults),
    ],
)
def test_a_driver_killed_anywhere_loses_nothing(lab, undisturbed, at, hit):
    """Killed when the place is reached, by whichever process, and run again: the same leaderboard."""
    lab.arm(at, "kill driver", hit)
    lab.start().wait(120)
    assert lab.fired
    lab.disarm()

    lab.run()

    assert_nothing_lost(lab, undisturbed)


def test_workers_that_die_hurt_no_innocent_trial(lab, undisturbed):
    """In a step, at a write, idle after a last report, in a reset: each time a fresh process goes on."""
    process = lab.start()
    for at in ("step: taken", "state/: filled", "report: leaves", "process: reset"):
        lab.arm(
            at, "kill", 1 + sum(line["at"] == at for line in lab.log()), **({"done": True} if "leaves" in at else {})
        )
        while not lab.fired and process.poll() is None:
            time.sleep(0.02)
        assert lab.fired, at
    lab.disarm()

    assert process.wait(120) == 0

    assert_nothing_lost(lab, undisturbed, faults=4)
    told = [json.loads(line) for line in lab.output().splitlines() if line.startswith("{")]
    deaths = [event["error"] for event in told if event["event"] == "interrupted"]
    assert deaths
    assert all("exit" in error for error in deaths), deaths  # Ray's own account of it
    for noise in ("Traceback", "tune_controller", "(raylet)", "Trials did not complete"):
        assert noise not in lab.output()


@pytest.mark.parametrize(
    "fault",
    ["disk full", *(pytest.param(fault, marks=pytest.mark.faults) for fault in ("out of memory", "exit 139"))],
)
def test_a_fault_that_another_attempt_mends_is_forgiven(lab, undisturbed, fault):
    """The trial is taken up again from its last state; what happened stands in the attempt's folder."""
    lab.arm("state/: filled", fault, 4)

    lab.run()

    assert lab.fired
    ends = [end for number in range(lab.trials) for end in read_ends(SweepPaths(lab.out, "tiny").trial(number))]
    expected = {"disk full": "disk", "out of memory": "out of memory", "exit 139": "process died"}[fault]
    assert [end.failure for end in ends] == [expected]
    assert_nothing_lost(lab, undisturbed)


def test_a_trial_without_gpu_memory_fails_alone_and_its_process_is_not_used_again(lab, undisturbed):
    """It is not tried again; the other trials end as if it had not been there, in other processes."""
    lab.arm("step: taken", "out of GPU memory", 5)

    lab.run(expect=(3,))

    paths = SweepPaths(lab.out, "tiny")
    verdicts = [read_verdict(paths.trial(number)) for number in range(lab.trials)]
    (bad,) = [number for number, verdict in enumerate(verdicts) if verdict["state"] == "failed"]
    assert verdicts[bad]["failure"] == "out of GPU memory"
    steps = [line for line in lab.log() if line["at"] == "step: taken"]
    spent = {line["pid"] for line in steps if line["trial"] == bad}
    assert all(
        line["pid"] not in spent for line in steps if line["time"] > max(s["time"] for s in steps if s["trial"] == bad)
    )
    found = violations(lab, undisturbed, 1)
    assert found.keys() <= {"I6"}
    assert all(text.startswith(f"trial {bad}:") for text in found.get("I6", []))


@pytest.mark.faults
@pytest.mark.parametrize("fault", ["hang", "stop"])
def test_a_process_in_which_nothing_moves_is_given_up(lab, undisturbed, fault):
    """Asleep, it ends itself and says where it stood; stopped, the driver ends it. The trial goes on elsewhere."""
    lab.arm("step: taken", fault, 30)
    process = lab.start("--hang-after", "6")
    while not lab.fired and process.poll() is None:
        time.sleep(0.05)
    fired = time.monotonic()

    assert process.wait(120) == 0

    assert time.monotonic() - fired < 60
    paths = SweepPaths(lab.out, "tiny")
    ends = [(number, end) for number in range(lab.trials) for end in read_ends(paths.trial(number))]
    assert [end.failure for _, end in ends] == ["hang"]
    if fault == "hang":
        number, end = ends[0]
        assert "_fail" in (paths.trial(number).attempt(end.attempt) / "hang.txt").read_text(encoding="utf-8")
    assert_nothing_lost(lab, undisturbed)


@pytest.mark.parametrize(
    ("signals", "within"),
    [
        pytest.param([signal.SIGINT], 30, marks=pytest.mark.faults),
        ([signal.SIGTERM], 30),
        pytest.param([signal.SIGHUP], 30, marks=pytest.mark.faults),
        pytest.param([signal.SIGINT, signal.SIGINT], 6, marks=pytest.mark.faults),
    ],
    ids=["Ctrl-C", "TERM", "HUP", "Ctrl-C twice"],
)
def test_signals_stop_a_sweep_with_all_saved_and_nobody_left(lab, undisturbed, signals, within):
    """The exit code is 130, no process stays, and the same command goes on without a step taken twice."""
    process = lab.start()
    lab.wait_for("state: saved")
    started = time.monotonic()
    for number in signals:
        os.killpg(process.pid, number)
        time.sleep(0.3)

    assert process.wait(60) == 130

    assert time.monotonic() - started < within
    assert len(signals) > 1 or "same command continues" in lab.output()
    while lab.processes() and time.monotonic() - started < within + 5:
        time.sleep(0.1)
    assert lab.processes() == []
    lab.run()
    assert_nothing_lost(lab, undisturbed)
    if len(signals) == 1:
        taken = [(line["trial"], line["epoch"], line["step"]) for line in lab.log() if line["at"] == "step: taken"]
        evaluated = {key for key in taken if key[2] == max(step for *_, step in taken)}  # told once a batch
        assert all(taken.count(key) == 1 for key in set(taken) - evaluated)
        assert "the same command continues" in lab.output().lower()


@pytest.mark.faults
def test_input_that_changes_under_a_sweep_stops_it_and_fails_no_trial(tmp_path, tiny_data, tiny_encoder):
    """A data file that is edited is wrong for all trials: exit 1 and the reason; mended, the same command goes on."""
    data = tmp_path / "data"
    data.mkdir()
    for path in tiny_data.iterdir():
        (data / path.name).write_bytes(path.read_bytes())
    lab = Lab(tmp_path / "lab", data, tiny_encoder, trials=8)
    process = lab.start()
    lab.wait_for("study: handed out")
    edited = data / "quora-dev.csv"
    before = edited.read_bytes()
    edited.write_bytes(before + b"99\tadded\thow is it ?\twhy is it ?\t0.0\n")

    assert process.wait(120) == 1

    assert "attempts in a row ended alike (input changed)" in lab.output()
    assert "changed since the sweep was planned" in lab.output()
    assert "the same command continues" in lab.output()
    edited.write_bytes(before)
    lab.run()
    assert {row["state"] for row in lab.board()["rows"]} == {"completed"}


@pytest.mark.faults
def test_an_early_stopped_sweep_that_is_killed_ends_whole(tmp_path, tiny_data, tiny_encoder):
    """Adaptive decisions differ with the order of results; each trial still has one end, and everything agrees."""
    lab = Lab(tmp_path, tiny_data, tiny_encoder, halving=True)
    lab.arm("study: decided", "kill driver", 2)
    lab.start().wait(120)
    assert lab.fired
    lab.disarm()

    lab.run()

    assert violations(lab, None, 1) == {}
    states = {row["state"] for row in lab.board()["rows"]}
    assert states == {"completed", "pruned"}


@pytest.mark.faults
def test_a_spot_notice_saves_the_trials_and_counts_against_nobody(lab, undisturbed):
    """Within the step the trials are saved and left; where the notice is withdrawn they go on, no step taken twice."""
    cloud = Metadata()
    lab.environment = {"SWEEP_SPOT_METADATA": cloud.address}
    lab.arm("step: taken", "pause", 10)  # the notice comes in mid-trial, however fast the machine is
    process = lab.start()
    try:
        while not lab.fired and process.poll() is None:
            time.sleep(0.02)
        noticed = time.time()
        cloud.announce("terminate", 120.0)
        lab.wait_for("end.json: in place")
        saved = lab.log()[-1]["time"]
        cloud.answers.clear()
        assert process.wait(180) == 0
    finally:
        cloud.close()
    assert saved - noticed < PAUSE_S + 10
    paths = SweepPaths(lab.out, lab.name)
    ends = [end for number in range(lab.trials) for end in read_ends(paths.trial(number))]
    assert ends
    assert {end.failure for end in ends} == {"preempted"}
    assert "the cloud will terminate this spot machine" in ends[0].error
    assert_nothing_lost(lab, undisturbed, faults=len(ends))
