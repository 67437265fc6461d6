"""The doctor: a sweep's checks as a list, each told whatever another found."""

import contextlib
import socket
import sqlite3

import pytest
from typer.testing import CliRunner

from orchestrator.doctor import app
from tests.environment import own_environment

GOOD = """\
import os
from model.config import TrialConfig
from orchestrator.spec import Sweep
print(os.environ.get("MY_TOKEN"))
BASE = TrialConfig(max_tokens=32)
SWEEP = Sweep(question="Which?", baseline=BASE, configs=[BASE])
"""


@pytest.fixture(autouse=True)
def _own_environment():
    """Undo what a command sets in the environment for the processes that it starts."""
    with own_environment():
        yield


@pytest.fixture
def examine(tiny_encoder, tiny_data, tmp_path):
    """Return a function that runs the doctor on a search space and gives exit code, lines by check, and the output."""
    file = tmp_path / "given.py"
    file.write_text(GOOD, encoding="utf-8")

    def run(*more):
        line = [str(file), "--encoder", str(tiny_encoder), "--data", str(tiny_data), "--out", str(tmp_path / "runs")]
        result = CliRunner().invoke(app, [*line, *map(str, more)])
        found = {row[5:20].strip(): row for row in result.stdout.splitlines() if row[:5] in ("ok   ", "FAIL ")}
        assert not (tmp_path / "runs").exists()
        return result.exit_code, found, result.output

    return run


def test_what_is_in_order_is_listed_with_what_would_be_used(examine):
    """Versions, folders, machine, profile, search space, sweep and MLflow; exit code 0; nothing is written."""
    code, found, _ = examine()

    assert code == 0
    assert list(found) == [
        "versions", "options", "folders", "addresses", "search space", "sweep", "machine", "profile", "share", "study",
        "MLflow",
    ]  # fmt: skip
    assert all(row.startswith("ok ") for row in found.values())
    assert "torch " in found["versions"]
    assert "1 configs" in found["sweep"]


def test_what_is_wrong_is_told_beside_what_is_not(examine, tmp_path):
    """A missing data folder hides no other check; exit code 2."""
    code, found, output = examine("--data", tmp_path / "nowhere")

    assert code == 2
    assert found["sweep"].startswith("FAIL")
    assert "no such data folder" in found["sweep"]
    assert found["MLflow"].startswith("ok ")
    assert "Traceback" not in output


def test_an_address_that_is_wrong_hides_nothing_either(examine):
    """What does not depend on it is told; it is not asked."""
    code, found, _ = examine("--address", "nowhere", "--set", "batch_size=0", "--gpus-per-trial", "0")

    assert code == 2
    assert found["addresses"].startswith("FAIL")
    assert "batch_size is 0" in found["sweep"]
    assert not {"machine", "share", "MLflow"} & set(found)


def test_a_trial_that_the_machine_cannot_hold_is_told(examine):
    """As the sweep would tell it."""
    code, found, _ = examine("--cpus-per-trial", "4096")

    assert code == 2
    assert "--cpus-per-trial 4096: there are" in found["share"]


def test_a_server_alone_that_does_not_answer_has_its_own_exit_code(examine):
    """It may come up; nothing else has to be mended."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        code, found, _ = examine("--tracking-uri", f"http://127.0.0.1:{nobody.getsockname()[1]}")

    assert code == 4
    assert found["MLflow"].startswith("FAIL")


def test_what_a_search_space_prints_carries_no_secret(examine, monkeypatch):
    """As in a sweep."""
    monkeypatch.setenv("MY_TOKEN", "q7x-doctor-secret")

    code, _, output = examine()

    assert code == 0
    assert "q7x-doctor-secret" not in output
    assert "***" in output


def test_a_sweep_that_cannot_be_gone_on_with_is_told(examine, tmp_path):
    """Its plan lies damaged: the sweep would refuse, and so the doctor says so; --new would put it aside."""
    folder = tmp_path / "results" / "given"
    folder.mkdir(parents=True)
    (folder / "plan.json").write_text("{", encoding="utf-8")

    code, found, _ = examine("--out", tmp_path / "results")

    assert code == 2
    assert "no readable plan" in found["earlier sweep"]
    assert examine("--out", tmp_path / "results", "--new")[0] == 0
    assert [path.name for path in folder.iterdir()] == ["plan.json"]


@pytest.mark.parametrize("kind", ["empty", "of somebody else"])
def test_a_database_is_looked_at_and_not_written_to(examine, tmp_path, kind):
    """MLflow would make two hundred tables in either."""
    path = tmp_path / "store.db"
    with contextlib.closing(sqlite3.connect(path)) as store, store:
        if kind == "of somebody else":
            store.execute("CREATE TABLE accounts (name TEXT)")
    before = path.read_bytes()

    code, found, _ = examine("--tracking-uri", f"sqlite:///{path}")

    assert path.read_bytes() == before
    if kind == "empty":
        assert code == 0
    else:
        assert code == 2
        assert "is a database without MLflow's tables and with others (accounts)" in found["MLflow"]


def test_a_folder_that_is_no_folder_is_not_looked_into(examine):
    """Nothing is said, or asked, of another one in its place."""
    code, found, output = examine("--out", "")

    assert code == 2
    assert found["options"].startswith("FAIL")
    assert not {"folders", "MLflow"} & set(found)
    assert "mlflow.db" not in output


def test_what_nobody_foresaw_hides_nothing(examine, monkeypatch, tmp_path):
    """An error of our own in one check is told beside what the others found; wrong input decides the exit code."""
    from orchestrator import preflight

    def broken(_):
        raise ZeroDivisionError("planted")

    monkeypatch.setattr(preflight, "load_sweep", broken)

    code, found, output = examine("--data", tmp_path / "nowhere")

    assert code == 2
    assert found["search space"] == "FAIL search space   ZeroDivisionError: planted; --debug shows the traceback"
    assert "no such data folder" in found["sweep"]
    assert "Traceback" not in output
