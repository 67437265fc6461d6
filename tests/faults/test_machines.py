"""What machines do to a sweep: disks that refuse, databases that are locked, files that shrink, clusters that go."""

import os
import resource
import sqlite3
import time

import pytest

from orchestrator.paths import SweepPaths
from orchestrator.trial_files import read_ends
from tests.faults.checker import lasting, violations
from tests.faults.lab import Lab
from tests.faults.servers import RayNodes

pytestmark = [pytest.mark.slow, pytest.mark.faults]


def assert_nothing_lost(lab, twin, faults=1):
    """Hold a lab to the invariants, and to the leaderboard of the one that ran in peace."""
    assert violations(lab, twin, faults) == {}
    assert lasting(lab.board()) == lasting(twin.board())


def ends(lab):
    """Return how a lab's attempts ended that left no verdict."""
    return [end for number in range(lab.trials) for end in read_ends(SweepPaths(lab.out, lab.name).trial(number))]


def test_a_disk_that_takes_no_more_fails_no_trial(lab, undisturbed):
    """The kernel refuses a worker's writes (RLIMIT_FSIZE): its trial goes on in another process from what was saved."""
    lab.arm("step: taken", "pause", 12)
    process = lab.start()
    while not lab.fired and process.poll() is None:
        time.sleep(0.02)
    worker = lab.log()[-1]["pid"]
    allowed = (lab.faults / "log").stat().st_size + 2000  # the log is no part of the sweep
    resource.prlimit(worker, resource.RLIMIT_FSIZE, (allowed, allowed))

    assert process.wait(180) == 0

    assert {end.failure for end in ends(lab)} <= {"disk", "process died"}
    assert ends(lab)
    assert_nothing_lost(lab, undisturbed, faults=len(ends(lab)))


def test_a_study_that_somebody_locks_is_waited_for(lab, undisturbed):
    """Another process holds the database for 15 s: no error is shown, nothing that was reported is lost."""
    process = lab.start()
    lab.wait_for("study: handed out")
    with sqlite3.connect(lab.sweep / "study.db", isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        time.sleep(15)
        other.execute("COMMIT")
    other.close()

    assert process.wait(180) == 0

    assert "error" not in lab.output().lower()
    assert_nothing_lost(lab, undisturbed, faults=0)


def test_a_cache_that_shrinks_under_its_reader_fails_no_trial(lab, undisturbed):
    """Whoever reads a mapped file that was cut dies of SIGBUS; the states are computed anew."""
    lab.arm("step: taken", "pause", 12)
    process = lab.start()
    while not lab.fired and process.poll() is None:
        time.sleep(0.02)
    cut = [path for path in (lab.out / "cache" / "prefix").rglob("*") if path.is_file() and path.suffix != ".json"]
    assert cut
    for path in cut:
        path.chmod(0o600)
        os.truncate(path, 0)

    assert process.wait(180) == 0

    assert_nothing_lost(lab, undisturbed, faults=max(1, len(ends(lab))))


def test_a_cluster_that_is_lost_with_its_driver_is_replaced(tmp_path, tiny_data, tiny_encoder, undisturbed):
    """Head, nodes and driver are killed at once; the same command on another cluster goes on."""
    lab = Lab(tmp_path, tiny_data, tiny_encoder)
    process = None
    for last in (False, True):
        nodes = RayNodes(tmp_path)
        lab.environment = nodes.environment
        try:
            nodes.start(2)
            process = lab.start("--address", nodes.address)
            if last:
                assert process.wait(240) == 0
            else:
                lab.wait_for("state: saved")
        finally:
            nodes.stop()
            if process is not None and process.poll() is None:
                process.kill()
                process.wait()

    assert_nothing_lost(lab, undisturbed, faults=1)


def test_a_head_that_is_gone_ends_the_driver_with_a_line(tmp_path, tiny_data, tiny_encoder, undisturbed):
    """The driver does not wait for ever, and the same command goes on with another head."""
    lab = Lab(tmp_path, tiny_data, tiny_encoder, trials=4)
    nodes = RayNodes(tmp_path)
    lab.environment = nodes.environment
    try:
        nodes.start(2)
        process = lab.start("--address", nodes.address)
        lab.wait_for("state: saved")
        nodes.stop()
        started = time.monotonic()
        code = process.wait(180)
        print(f"exit code {code} after {time.monotonic() - started:.0f} s: {lab.output().splitlines()[-3:]}")
    finally:
        nodes.stop()
    assert code == 4
    last = lab.output().splitlines()[-1]
    assert last.startswith("error: the Ray head at ")
    assert last.endswith(
        "what is saved stays: start a head (ray start --head, or ray up), and the same command continues there"
    )
    lab.environment = {}
    lab.run()
    assert_nothing_lost(lab, undisturbed, faults=1)


def test_a_head_that_wants_another_token_is_one_line(tmp_path, tiny_data, tiny_encoder):
    """Ray itself says nothing of the token but in twenty lines of its C++; ours names the file."""
    lab = Lab(tmp_path, tiny_data, tiny_encoder, trials=1)
    nodes = RayNodes(tmp_path / "cluster")
    other = tmp_path / "other-token"
    other.write_text("0" * 64, encoding="ascii")
    other.chmod(0o600)
    lab.environment = nodes.environment | {"RAY_AUTH_TOKEN_PATH": str(other)}
    try:
        nodes.start(0)
        lab.run("--address", nodes.address, expect=(4,))
    finally:
        nodes.stop()
    assert lab.output() == (
        f"error: Ray at {nodes.address} refuses our token (of {other}); expected the one that its head was started "
        "with: copy that file here (mode 600), and name it with RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH\n"
    )
    assert not lab.sweep.exists()
