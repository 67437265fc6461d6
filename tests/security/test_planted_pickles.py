"""A pickle is never loaded, wherever it is planted: each would leave a mark, and none does.

Where a manifest guards the place, it is written anew over the pickle, as whoever can write there would.
"""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet
from typer.testing import CliRunner

from model.files import read_manifest, write_manifest
from orchestrator import clean, export, predict, rebuild, sweep
from tests.environment import own_environment
from tests.faults.lab import ROOT, Lab
from tests.security.traps import Traps

MODEL = "model.safetensors"
MOVED = {
    "experiments": "artifact_location",
    "runs": "artifact_uri",
    "logged_models": "artifact_location",
    "model_versions": "storage_location",
}
"""Where MLflow's store says where files are, by its table."""


@pytest.fixture
def traps(tmp_path):
    """Return pickles to be planted; at the end none has been loaded."""
    (tmp_path / "traps").mkdir()
    traps = Traps(tmp_path / "traps")
    yield traps
    assert traps.sprung() == []


@pytest.fixture
def encoder(tiny_encoder, tmp_path):
    """Return a copy of the tiny encoder."""
    return Path(shutil.copytree(tiny_encoder, tmp_path / "encoder"))


@pytest.fixture
def data(tiny_data, tmp_path):
    """Return a copy of the tiny data."""
    return Path(shutil.copytree(tiny_data, tmp_path / "data"))


def invoke(app, *arguments):
    """Run a command in this process; whatever becomes of it, it is told in lines."""
    with own_environment():  # fixtures of a module call it too
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "Traceback" not in result.stderr
    return result


def errors(result):
    """Return the error lines of a command that ended with a code which says so."""
    assert result.exit_code in (1, 2, 4), result.output
    lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert lines
    return "\n".join(lines)


def swept(lab, *more):
    """Run the lab's sweep in this process."""
    given = ["--out", lab.out, "--data", lab.data, "--encoder", lab.encoder, "--cpus-per-trial", 1]
    return invoke(sweep.app, lab.file, *given, "--epochs", lab.epochs, *more)


def copied(lab, folder):
    """Return a copy of a lab, with MLflow's store brought up to where it lies."""
    shutil.copytree(lab.folder, folder)
    with sqlite3.connect(folder / "runs" / "mlflow.db") as store:
        for table, column in MOVED.items():
            store.execute(
                f"update {table} set {column} = replace({column}, ?, ?)",  # noqa: S608  (names of our own)
                (str(lab.folder), str(folder)),
            )
    return Lab(folder, lab.data, lab.encoder, trials=lab.trials, epochs=lab.epochs)


def seal(folder):
    """Write a folder's manifest anew over what lies in it."""
    facts = {key: value for key, value in _said(folder).items() if key not in ("files", "digest")}
    write_manifest(folder, facts)
    assert read_manifest(folder)


def _said(folder):
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))


# --- that the traps would spring ---


@pytest.mark.parametrize(
    "load",
    [
        "import pickle; pickle.load(open(sys.argv[1] + '/bare', 'rb'))",
        "import torch; torch.load(sys.argv[1] + '/torch', weights_only=False)",
        "import numpy; numpy.load(sys.argv[1] + '/numpy.npy', allow_pickle=True)",
    ],
    ids=["bare", "torch", "numpy"],
)
def test_a_planted_pickle_leaves_a_mark_where_it_is_loaded(tmp_path, load):
    """Otherwise nothing here would say anything."""
    (tmp_path / "traps").mkdir()
    traps = Traps(tmp_path / "traps")
    (tmp_path / "bare").write_bytes(traps.pickled("mark"))
    traps.of_torch(tmp_path / "torch", "mark")
    traps.of_numpy(tmp_path / "numpy.npy", "mark")

    subprocess.run([sys.executable, "-c", f"import sys; {load}", str(tmp_path)], check=False, capture_output=True)

    assert traps.sprung() == ["mark"]


@pytest.mark.slow
def test_a_planted_mlflow_model_leaves_a_mark_where_mlflow_loads_it(tmp_path):
    """mlflow.pyfunc.load_model imports the module that the artifact names: with pickles forbidden, too."""
    (tmp_path / "traps").mkdir()
    (tmp_path / "model").mkdir()
    traps = Traps(tmp_path / "traps")
    traps.mlflow_model(tmp_path / "model", "mark")

    subprocess.run(
        [sys.executable, "-c", "import sys, mlflow; mlflow.pyfunc.load_model(sys.argv[1])", str(tmp_path / "model")],
        env=os.environ | {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}, check=False, capture_output=True,
    )  # fmt: skip

    assert traps.sprung() == ["mark"]


# --- what a sweep is given ---

SPACE = '''"""Which?"""
from model.config import TrialConfig
from orchestrator.spec import Sweep

BASE = TrialConfig(epochs=1, max_tokens=32)
SWEEP = Sweep(question="Which?", baseline=BASE, configs=[BASE])
'''


@pytest.fixture
def space(tmp_path):
    """Return a search-space file."""
    path = tmp_path / "given.py"
    path.write_text(SPACE, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "file", ["config.json", "tokenizer.json", MODEL, "as torch.save writes it", "pytorch_model.bin"]
)
def test_an_encoder_that_is_a_pickle_is_refused(space, encoder, tiny_data, tmp_path, traps, file):
    """Each of its three files, also as torch.save writes them, and weights under torch's own name: one line."""
    if file == "as torch.save writes it":
        traps.of_torch(encoder / MODEL, file)
    elif file == "pytorch_model.bin":
        (encoder / MODEL).unlink()
        traps.of_torch(encoder / file, file)
    else:
        (encoder / file).write_bytes(traps.pickled(file))

    result = invoke(sweep.app, space, "--encoder", encoder, "--data", tiny_data, "--out", tmp_path / "runs")

    assert (result.exit_code, str(encoder) in errors(result)) == (2, True)
    assert not (tmp_path / "runs").exists()


def test_data_that_are_a_pickle_are_refused(space, data, tiny_encoder, tmp_path, traps):
    """One line with the file's name."""
    (data / "ids-sst-train.csv").write_bytes(traps.pickled("data"))

    result = invoke(sweep.app, space, "--encoder", tiny_encoder, "--data", data, "--out", tmp_path / "runs")

    assert result.exit_code == 2
    assert f"{data / 'ids-sst-train.csv'}:1: no column" in errors(result)


def test_data_of_the_hub_whose_types_are_pickles_are_read_as_what_they_are(tmp_path, monkeypatch, traps):
    """Parquet can name types that unpickle themselves (CVE-2023-47248, CVE-2026-41486): to us they are text."""
    from huggingface_hub import constants

    from model.hub import download_split
    from model.tasks import TASKS

    task = next(task for task in TASKS.values() if task.hub["files"]["train"].endswith(".parquet"))
    repo, file = task.hub["repo"], task.hub["files"]["train"]
    commit = task.hub.get("revision") or "c" * 40
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    cache = tmp_path / "hub" / f"datasets--{repo.replace('/', '--')}"
    path = cache / "snapshots" / commit / file
    path.parent.mkdir(parents=True)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text(commit)
    names = [*task.hub["sentences"], task.hub["label"]]
    columns = [*([["good film", "bad film"]] * len(task.hub["sentences"])), [1, 0]]
    parquet.write_table(traps.of_arrow(pa.table(columns, names=names), "parquet"), path)

    assert len(download_split(task, "train")) == 2


# --- what a sweep has stored ---


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "codes"),
    [
        ("tiny/plan.json", {2}),
        ("tiny/study.db", {2}),
        ("mlflow.db", {4}),
        ("tiny/data.json", {0}),
        ("tiny/leaderboard.json", {0}),
        ("tiny/tracking.txt", {2}),
        ("tiny/trials/0001/verdict.json", {0}),
        ("tiny/trials/0001/verdict*.json", {0, 3}),
        ("tiny/trials/0001/attempt-1/started.json", {0}),
        ("tiny/trials/0001/attempt-1/best-*/model.safetensors", {0}),
        ("tiny/ray/tune/*", {0}),
        (".tiny.holder", {0}),
    ],
)
def test_a_finished_sweep_with_a_pickle_in_it_is_shown_or_refused(finished, tmp_path, traps, file, codes):
    """The same command again, and what else reads a sweep's records: a line, or the leaderboard."""
    lab = copied(finished, tmp_path / "lab")
    paths = sorted(path for path in lab.out.glob(file) if path.is_file())
    assert paths
    for path in paths:
        path.write_bytes(traps.pickled(file.replace("/", " ")))

    result = swept(lab)

    assert result.exit_code in codes, result.output
    if result.exit_code in (0, 3):
        assert "has the best dev score" in result.stdout
    else:
        errors(result)
    for app in (rebuild.app, clean.app):
        invoke(app, "tiny", "--out", lab.out)


@pytest.mark.slow
@pytest.mark.parametrize("sealed", [False, True], ids=["changed", "sealed anew"])
@pytest.mark.parametrize("file", [MODEL, "manifest.json", "predictions.parquet"])
def test_a_checkpoint_that_is_a_pickle_predicts_nothing(finished, tmp_path, traps, file, sealed):
    """Both predict and export end with a line, whether the manifest says what the file was or what it is."""
    lab = copied(finished, tmp_path / "lab")
    (folder,) = (lab.sweep / "trials" / "0000").glob("attempt-1/best-*")
    (folder / file).write_bytes(traps.pickled(file))
    if sealed and file != "manifest.json":
        seal(folder)

    given = ["--runs", lab.out]
    predicted = invoke(predict.app, "--model", folder, "--data", lab.data, "--out", tmp_path / "predictions", *given)
    exported = invoke(export.app, folder, tmp_path / "exported", *given)

    if sealed and file == "predictions.parquet":  # which neither reads
        assert (predicted.exit_code, exported.exit_code) == (0, 0)
    else:
        assert file in errors(predicted)
        assert file in errors(exported)
        assert not (tmp_path / "predictions").exists()
        assert not (tmp_path / "exported").exists()


@pytest.mark.slow
def test_a_registered_model_that_names_code_is_fetched_as_files(finished, tmp_path, traps):
    """An MLmodel file with a loader module and a python_model.pkl beside the checkpoint: neither is looked at."""
    lab = copied(finished, tmp_path / "lab")
    for folder in (lab.out / "mlartifacts" / "models").glob("*/artifacts"):
        traps.mlflow_model(folder, "loader")

    result = _predicted("tiny@best-dev", lab, tmp_path)

    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.endswith(": equal\n")


@pytest.mark.slow
def test_a_registered_model_whose_weights_are_a_pickle_predicts_nothing(finished, tmp_path, traps):
    """The weights in MLflow are a pickle, with a manifest that says so: one line."""
    lab = copied(finished, tmp_path / "lab")
    for folder in (lab.out / "mlartifacts" / "models").glob("*/artifacts"):
        (folder / MODEL).write_bytes(traps.pickled("weights"))
        seal(folder)

    result = _predicted("tiny@best-dev", lab, tmp_path)

    assert result.returncode in (1, 2)
    assert (result.stdout, len(result.stderr.splitlines())) == ("", 1)
    assert result.stderr.startswith("error: ")
    assert MODEL in result.stderr


def _predicted(model, lab, folder):
    words = ["--model", model, "--runs", lab.out, "--data", lab.data, "--out", folder / "predictions"]
    return subprocess.run(
        [sys.executable, "-m", "orchestrator.predict", *map(str, words)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip


# --- what training goes on from ---


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory, tiny_data, tiny_encoder):
    """Return a lab whose sweep was killed after its first trial's first epoch."""
    lab = Lab(tmp_path_factory.mktemp("interrupted"), tiny_data, tiny_encoder, trials=1, epochs=3)
    lab.arm("state: saved", "kill", hit=2)
    lab.run("--local", expect=(-9,))
    lab.disarm()
    return lab


def _trial(lab):
    return lab.sweep / "trials" / "0000"


def _states(lab):
    return sorted(_trial(lab).glob("attempt-1/state-*"))


def _bests(lab):
    return sorted(_trial(lab).glob("attempt-1/best-*"))


def _prefixes(lab):
    return sorted(path for path in (lab.out / "cache" / "prefix").glob("*-[0-9]") if path.is_dir())


def _tokens(lab):
    return sorted(path for path in (lab.out / "cache" / "tokens").iterdir() if path.is_dir())


def _kept(lab):
    return sorted((lab.out / "encoders").iterdir())


def put(folders, file, traps, *, sealed=True):
    """Put a pickle in a file's place in these folders."""
    assert folders
    for folder in folders:
        (folder / file).unlink(missing_ok=True)
        (folder / file).write_bytes(traps.pickled(f"{folder.name} {file}"))
        if sealed:
            seal(folder)


def put_objects(folders, traps):
    """Put an array of objects in the states' place."""
    assert folders
    for folder in folders:
        (folder / "states.npy").unlink()
        traps.of_numpy(folder / "states.npy", f"{folder.name} array of objects")
        seal(folder)


def put_types(folders, traps):
    """Let the columns of the token ids be of types that unpickle themselves."""
    assert folders
    for folder in folders:
        path = folder / "tokens.arrow"
        planted = traps.of_arrow(pa.ipc.open_file(path.read_bytes()).read_all(), f"{folder.name} types")
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, planted.schema) as file:
            file.write_table(planted)
        seal(folder)


PLANTS = {
    "a state's weights, changed": lambda lab, traps: put(_states(lab), MODEL, traps, sealed=False),
    "a state's weights": lambda lab, traps: put(_states(lab), MODEL, traps),
    "a state's optimizer": lambda lab, traps: put(_states(lab), "optimizer.safetensors", traps),
    "a state's manifest": lambda lab, traps: put(_states(lab), "manifest.json", traps, sealed=False),
    "the best weights": lambda lab, traps: put(_bests(lab), MODEL, traps),
    "the best predictions": lambda lab, traps: put(_bests(lab), "predictions.parquet", traps),
    "hidden states": lambda lab, traps: put(_prefixes(lab), "states.npy", traps),
    "hidden states as objects": lambda lab, traps: put_objects(_prefixes(lab), traps),
    "token ids": lambda lab, traps: put(_tokens(lab), "tokens.arrow", traps),
    "token ids of types that unpickle": lambda lab, traps: put_types(_tokens(lab), traps),
    "started.json": lambda lab, traps: put([_trial(lab) / "attempt-1"], "started.json", traps, sealed=False),
    "end.json": lambda lab, traps: put([_trial(lab) / "attempt-1"], "end.json", traps, sealed=False),
    "verdict.json": lambda lab, traps: put([_trial(lab)], "verdict.json", traps, sealed=False),
    "the kept tokenizer": lambda lab, traps: put(_kept(lab), "tokenizer.json", traps, sealed=False),
    "the kept config": lambda lab, traps: put(_kept(lab), "config.json", traps, sealed=False),
    "the kept weights": lambda lab, traps: put(_kept(lab), MODEL, traps, sealed=False),
}
"""Where the next attempt at a trial looks."""
UNUSABLE = {"a state's weights", "a state's optimizer"}
"""Whole, by their manifests, and of no use: the trial fails and says so."""


@pytest.fixture(scope="module")
def expected(interrupted, tmp_path_factory):
    """Return the dev score of the sweep where nothing was planted."""
    lab = copied(interrupted, tmp_path_factory.mktemp("expected") / "lab")
    assert swept(lab, "--local").exit_code == 0
    return lab.board()["rows"][0]["best"]


@pytest.mark.slow
@pytest.mark.parametrize("where", PLANTS)
def test_training_goes_on_without_what_is_a_pickle(interrupted, expected, tmp_path, traps, where):
    """It is computed again, to the same score; where a manifest vouches for it, the trial fails and names the file."""
    lab = copied(interrupted, tmp_path / "lab")
    PLANTS[where](lab, traps)

    result = swept(lab, "--local")

    (row,) = lab.board()["rows"]
    if where in UNUSABLE:
        assert (result.exit_code, row["state"]) == (3, "failed")
        assert row["error"].endswith("not a safetensors file (Error while deserializing header: header too large)")
    else:
        assert (result.exit_code, row["best"]) == (0, expected)


@pytest.mark.slow
def test_a_sweep_under_ray_goes_on_among_pickles(interrupted, expected, tmp_path, traps):
    """Nearly all places at once, and those of Ray Tune's own notes, which it could restore from: it does not."""
    lab = copied(interrupted, tmp_path / "lab")
    tune = lab.sweep / "ray" / "tune"
    tune.mkdir(parents=True)
    for name in RAY_TUNES:
        (tune / name).write_bytes(traps.pickled(name))
    others = UNUSABLE | {"hidden states", "token ids"}  # the latter two stand there in another form
    for where in [where for where in PLANTS if where not in others]:
        PLANTS[where](lab, traps)

    try:
        lab.run()
    finally:
        lab.kill_all()

    assert lab.board()["rows"][0]["best"] == expected
    assert "Traceback" not in lab.output()


RAY_TUNES = (
    "tuner.pkl",
    "trainable.pkl",
    "searcher-state-2026-01-01_00-00-00.pkl",
    "search_gen_state-2026-01-01_00-00-00.json",
    "experiment_state-2026-01-01_00-00-00.json",
    "basic-variant-state-2026-01-01_00-00-00.json",
)


# --- whose folders and files they are ---

OTHERS = 54321
"""A user that is nobody here."""
root_alone = pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")


@pytest.fixture
def given(tiny_data, tiny_encoder, tmp_path, space):
    """Return the command line of a sweep with a folder of its own."""
    (tmp_path / "runs" / "given").mkdir(parents=True, mode=0o700)
    return [space, "--out", tmp_path / "runs", "--data", tiny_data, "--encoder", tiny_encoder]


@root_alone
@pytest.mark.parametrize("folder", ["runs", "runs/given"])
def test_a_run_folder_of_another_user_is_refused(given, tmp_path, folder):
    """Who owns OUT or OUT/NAME can change every result: exit code 2, the owner and what to do; nothing is written."""
    os.chown(tmp_path / folder, OTHERS, OTHERS)

    result = subprocess.run(
        [sys.executable, "-m", "orchestrator.sweep", *map(str, given)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == (
        f"error: {tmp_path / folder}: belongs to another user (uid {OTHERS}); "
        "chown it, or name a folder of your own with --out\n"
    )
    assert [path.name for path in (tmp_path / "runs").rglob("*")] == ["given"]


@pytest.mark.parametrize("folder", ["runs", "runs/given"])
def test_a_run_folder_that_anybody_may_write_to_is_refused(given, tmp_path, folder):
    """Unless it is sticky, as /tmp is."""
    (tmp_path / folder).chmod(0o777)

    result = invoke(sweep.app, *given)

    assert result.exit_code == 2
    assert errors(result) == (
        f"error: {tmp_path / folder}: anybody may write to it (mode 777); chmod o-w {tmp_path / folder}, or where the "
        "file system has no modes, name a folder elsewhere with --out"
    )


def test_a_search_space_that_anybody_may_write_to_is_refused_unread(given, space, traps):
    """It is code; what stands in it does not run."""
    space.write_text(f"import os\nos.system({traps.command('space')!r})\n{SPACE}", encoding="utf-8")
    space.chmod(0o666)

    result = invoke(sweep.app, *given)

    assert result.exit_code == 2
    assert errors(result) == (f"error: {space}: anybody may write to it (mode 666), and it is code; chmod o-w {space}")


@root_alone
def test_a_search_space_of_another_user_is_refused_unread(given, space, traps):
    """Unless that user owns this program, or is root."""
    space.write_text(f"import os\nos.system({traps.command('space')!r})\n{SPACE}", encoding="utf-8")
    os.chown(space, OTHERS, OTHERS)

    result = invoke(sweep.app, *given)

    assert result.exit_code == 2
    assert errors(result) == (
        f"error: {space}: belongs to another user (uid {OTHERS}), and it is code; copy it, then it is yours"
    )
