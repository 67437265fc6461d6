"""An MLflow that is gone, silent, slow or wrong costs the sweep nothing, and has everything afterwards, once."""

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from orchestrator.paths import SweepPaths
from tests.faults.checker import lasting, violations
from tests.faults.lab import ROOT, Lab
from tests.faults.proxy import Proxy
from tests.faults.servers import MlflowServer

pytestmark = pytest.mark.slow
OUTAGE_S = float(os.environ.get("SWEEP_OUTAGE_S", "6"))
"""So long in `make test`; `make outages` takes a minute each."""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Return a running MLflow."""
    server = MlflowServer(tmp_path_factory.mktemp("mlflow"))
    server.start()
    yield server
    server.kill()


def outage(name, server, proxy):
    """Return how an outage begins and how it ends."""
    if name == "killed":
        return server.kill, server.start
    if name == "paused":
        return lambda: server.signal(signal.SIGSTOP), lambda: server.signal(signal.SIGCONT)
    return lambda: setattr(proxy, "mode", name), lambda: setattr(proxy, "mode", "pass")


@pytest.mark.parametrize(
    "name",
    [
        "hole",
        *(
            pytest.param(name, marks=pytest.mark.faults)
            for name in ("killed", "paused", "reset", "error", "garbage", "slow")
        ),
    ],
)
def test_an_outage_in_mid_sweep_loses_and_doubles_nothing(tmp_path, tiny_data, tiny_encoder, server, undisturbed, name):
    """The trials go on meanwhile; when MLflow is back it has every epoch of every trial, once."""
    proxy = Proxy(server.port)
    lab = Lab(tmp_path, tiny_data, tiny_encoder, more=["--tracking-uri", proxy.uri, "--name", f"tiny{name}"])
    lab.name, lab.mlflow = f"tiny{name}", server.uri
    begin, end = outage(name, server, proxy)
    process = lab.start()
    try:
        lab.wait_for("study: handed out")
        begin()
        lab.wait_for("study: told")
        trained = time.monotonic()
        while time.monotonic() - trained < OUTAGE_S or ended(lab) < lab.trials:
            assert time.monotonic() - trained < OUTAGE_S + 60
            time.sleep(0.1)
        end()
        code = process.wait(240)
        if code == 4:  # it was away when the sweep ended: the same command brings it up to date
            assert "the same command brings it up to date" in lab.output()
            lab.run()
        else:
            assert code == 0
    finally:
        end() if process.poll() is None else None
        proxy.close()
        lab.kill_all()
    assert name in ("killed", "paused") or proxy.seen
    assert violations(lab, undisturbed) == {}
    assert lasting(lab.board(), undisturbed.board()["sweep"]) == lasting(undisturbed.board())
    ours, theirs = training(lab), training(undisturbed)
    print(
        f"{name}: calls that met it {proxy.seen}; from the first step to the last {ours:.1f} s, in peace {theirs:.1f} s"
    )


def training(lab):
    """Return the seconds from a lab's first step to its last."""
    times = [line["time"] for line in lab.log() if line["at"] == "step: taken"]
    return times[-1] - times[0]


def ended(lab):
    """Return how many trials the study has been told the end of."""
    return sum(line["at"] == "study: told" for line in lab.log())


@pytest.mark.parametrize("how", ["refused", pytest.param("hole", marks=pytest.mark.faults)])
def test_mlflow_away_at_the_start_is_an_error_before_any_work(tmp_path, tiny_data, tiny_encoder, how):
    """Nobody listens, or nobody answers: exit code 4 before the first trial; the store is not noted."""
    proxy = Proxy(9)
    proxy.mode = "hole"
    uri = "http://127.0.0.1:9" if how == "refused" else proxy.uri
    lab = Lab(tmp_path, tiny_data, tiny_encoder, more=["--tracking-uri", uri])

    try:
        _, seconds = lab.run(expect=(4,))
    finally:
        proxy.close()

    print(f"{how}: exit code 4 after {seconds:.0f} s")
    assert "does not answer" in lab.output()
    assert not any(line["at"] == "attempt: created" for line in lab.log())
    assert not SweepPaths(lab.out, lab.name).tracking.exists()


def test_a_sweep_is_written_into_mlflow_anew_by_one_command(undisturbed, server):
    """Into a store that has never heard of it, everything comes once; a second time changes nothing."""
    line = [sys.executable, "-m", "orchestrator.rebuild", "tiny", "--out", str(undisturbed.out)]
    line += ["--tracking-uri", server.uri]
    before = lasting(undisturbed.board())
    try:
        for _ in range(2):
            done = subprocess.run(
                [*line, "--tracking-uri", server.uri],
                cwd=ROOT,
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            assert "4 trials of tiny are in MLflow" in done.stdout
        undisturbed.mlflow = server.uri
        assert violations(undisturbed) == {}
        assert lasting(undisturbed.board()) == before
    finally:
        undisturbed.mlflow = None
        (undisturbed.sweep / "tracking.txt").write_text("OUT/mlflow.db\n", encoding="utf-8")


@pytest.mark.faults
def test_a_server_that_cannot_keep_artifacts_is_told_as_that(tmp_path, tiny_data, tiny_encoder):
    """At the start a line says whose credentials and rights are wanted; where it comes later, the sweep goes on."""
    server = MlflowServer(tmp_path / "mlflow")
    artifacts = tmp_path / "mlflow" / "artifacts"
    artifacts.write_text("a file in the store's place", encoding="utf-8")
    said = f"its server at {server.uri} cannot keep artifacts (status 500); why stands in the server's log: "
    lab = Lab(tmp_path, tiny_data, tiny_encoder, trials=2, more=["--tracking-uri", server.uri])
    try:
        server.start()
        lab.run(expect=(4,))
        (line,) = lab.output().splitlines()[-1:]
        assert line.startswith(f"error: MLflow at {server.uri}: {said}")

        artifacts.unlink()
        process = lab.start()
        lab.wait_for("state: saved")
        shutil.move(artifacts, tmp_path / "away")
        artifacts.write_text("again", encoding="utf-8")
        assert process.wait(180) == 4
        assert lab.output().splitlines()[-1].startswith(f"error: MLflow is not up to date ({said}")
        assert len(lab.board()["trials"]) == 2

        artifacts.unlink()
        shutil.move(tmp_path / "away", artifacts)
        lab.run()
    finally:
        server.kill()
