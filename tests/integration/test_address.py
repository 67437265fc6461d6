"""The same sweep on a Ray head that runs already."""

import contextlib
import json
import os
import platform
import socket
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import psutil
import pytest

from tests.faults.checker import lasting
from tests.integration.conftest import TIMEOUT_S

pytestmark = pytest.mark.slow


@pytest.fixture
def head():
    """Start a Ray head of two CPUs on loopback, as `ray start --head` does; yield its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # Ray's sockets need a short path.
    with tempfile.TemporaryDirectory(prefix="ray", dir=tempfile.gettempdir()) as folder:
        line = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", f"--port={port}"]
        line += ["--node-ip-address=127.0.0.1", "--num-cpus=2", "--include-dashboard=false", f"--temp-dir={folder}"]
        line += ["--disable-usage-stats"]
        process = subprocess.Popen(
            line,
            env=os.environ | {"RAY_AUTH_MODE": "disabled"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline_s = time.monotonic() + 60
        while time.monotonic() < deadline_s:
            with socket.socket() as knock:
                if knock.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.5)
        yield f"127.0.0.1:{port}"
        children = psutil.Process(process.pid).children(recursive=True)
        for each in (*children, process):  # asked to end, --block waits for more than a minute
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        process.wait(timeout=30)
        psutil.wait_procs(children, timeout=30)


def test_a_sweep_on_a_running_head_gives_the_local_leaderboard(finished, command, head):
    """--address runs the trials on that head's workers, with the local sweep's leaderboard as result."""
    output = command.run("--address", head)
    assert f"Ray at {head}" in output
    assert lasting(command.board()) == lasting(finished.board())


HOLD = """
import ray, sys, time
ray.init(address=sys.argv[1], log_to_driver=False)
@ray.remote(num_cpus=2)
def hold():
    return time.sleep(900)
ref = hold.remote()
while ray.available_resources().get("CPU"):
    time.sleep(0.2)
print("held", flush=True)
sys.stdin.read()
ray.cancel(ref, force=True)
"""
"""Takes all CPUs of a head until its input ends."""


def test_a_head_that_is_full_is_waited_for_and_the_person_is_told(command, head):
    """Another job has all its cores: within a minute a line says what is missing; once they are free, trials run."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, head], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        stderr=subprocess.DEVNULL, env=os.environ | {"RAY_AUTH_MODE": "disabled"},
    )  # fmt: skip
    assert holder.stdout.readline() == "held\n"
    command.more += ["--set", "epochs=1"]
    process = command.start("--address", head)
    started, told = time.monotonic(), ""
    for line in process.stdout:
        if "no trial has begun in" in line:
            told = line
            holder.communicate(timeout=TIMEOUT_S)
    process.wait(timeout=TIMEOUT_S)

    assert process.returncode == 0, process.stderr.read()
    assert "0 of 2 CPUs are free, a trial needs 1 on one node" in told
    assert time.monotonic() - started < TIMEOUT_S


PENDING = """
import json, ray, sys, time
ray.init(address=sys.argv[1], log_to_driver=False)
while True:
    groups = ray.util.placement_group_table().values()
    print(json.dumps([list(group["bundles"].values()) for group in groups if group["state"] == "PENDING"]), flush=True)
    time.sleep(0.5)
"""
"""Says what Ray is asked for and has no place for."""


@pytest.mark.parametrize("end", ["in vain", "killed"])
def test_a_node_that_is_waited_for_is_asked_for(command, head, end):
    """An autoscaler that tells us nothing sees the demand; when the wait is over, however it ends, it is gone."""
    watch = subprocess.Popen(
        [sys.executable, "-c", PENDING, head], stdout=subprocess.PIPE, text=True, stderr=subprocess.DEVNULL,
        env=os.environ | {"RAY_AUTH_MODE": "disabled"},
    )  # fmt: skip
    process = command.start("--address", head, "--gpus-per-trial", "1", "--wait-for-nodes", "8")
    try:
        said = next(json.loads(line) for line in watch.stdout if line.strip() != "[]")
        if end == "killed":
            process.kill()
        _, errors = process.communicate(timeout=TIMEOUT_S)
        next(line for line in watch.stdout if line.strip() == "[]")
    finally:
        watch.kill()
        watch.communicate()

    assert said == [[{"CPU": 1.0, "GPU": 1.0}]]
    if end == "in vain":
        assert process.returncode == 4
        assert "error: no node with 1 CPU and 1 GPU has come in 8 s" in errors
        assert "--gpus-per-trial 0 trains on CPUs" in errors


def test_a_head_of_another_ray_is_refused_with_both_versions(command, head):
    """Both, where we are, and what to do; nothing is started."""
    line = "import ray; ray.__version__ = '2.55.0'; from orchestrator.sweep import app; app()"
    given = [str(command.file), "--out", str(command.out)]
    given += ["--data", str(command.data), "--encoder", str(command.encoder)]
    done = subprocess.run(
        [sys.executable, "-c", line, *given, "--address", head],
        env=os.environ | {"RAY_AUTH_MODE": "disabled"}, capture_output=True, text=True, timeout=TIMEOUT_S, check=False,
    )  # fmt: skip

    assert done.returncode == 4
    (error,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    python = platform.python_version()
    assert error.startswith(f"error: Ray at {head} is Ray {version('ray')} on Python {python}, this process on node ")
    assert error.endswith(f" is Ray 2.55.0 on Python {python}; install the same Python and requirements.lock on both")
    assert not command.folder.exists()


def test_an_address_without_a_head_is_refused_in_one_line(command):
    """Nothing listens at the address: exit code 4, one line, nothing started."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    process = command.start("--address", f"127.0.0.1:{free}")
    _, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 4
    assert errors.startswith("error: no Ray head at 127.0.0.1")
    assert errors.count("\n") == 1
    assert not command.folder.exists()
