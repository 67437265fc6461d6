"""The commands as a person gives them: help at once, one line an error, nothing written before all is checked."""

import json
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from filelock import FileLock
from safetensors.torch import save_file

from model.encoder import Encoder
from model.encoder_config import parse_encoder_config
from orchestrator import serve, sweep
from orchestrator.paths import SweepPaths
from orchestrator.plan import settle
from tests.commands import ROOT, invoke, one_error, run
from tests.environment import own_environment

HELP_TIMEOUT_S = 0.5
"""What --help may take: a promise of the project."""
HEAVY = {
    "torch", "ray", "optuna", "mlflow", "numpy", "scipy", "pyarrow", "pydantic", "tokenizers", "safetensors", "plotly",
    "matplotlib",
}  # fmt: skip
SPACE = '''\
"""Which rate?"""

from dataclasses import replace

from model.config import TrialConfig
from orchestrator.spec import Sweep

BASE = TrialConfig(max_tokens=32, epochs=2, batch_size=16)
SWEEP = Sweep(
    question="Which rate?",
    baseline=BASE,
    configs=[replace(BASE, learning_rate=rate) for rate in (2e-5, 1e-4)],
)
'''


@pytest.fixture(autouse=True)
def _own_environment():
    """Undo what a command sets in the environment for the processes that it starts."""
    with own_environment():
        yield


@pytest.fixture
def space(tmp_path):
    """Return a search-space file over two rates."""
    path = tmp_path / "given.py"
    path.write_text(SPACE, encoding="utf-8")
    return path


@pytest.fixture
def own_data(tiny_data, tmp_path):
    """Return a copy of the tiny data that a test may spoil."""
    return Path(shutil.copytree(tiny_data, tmp_path / "own-data"))


@pytest.fixture
def command(tiny_encoder, tiny_data, tmp_path):
    """Return a function that gives a sweep's command line on the tiny encoder and data, with others after it."""

    def arguments(*given):
        out = tmp_path / "runs"
        return [*map(str, ("--encoder", tiny_encoder, "--data", tiny_data, "--out", out, *given))]

    return arguments


# --- help ---


def test_help_comes_within_half_a_second():
    """The best of five counts: a busy machine is no failure, a heavy import is."""
    times = []
    for _ in range(5):
        started = time.monotonic()
        result = run("orchestrator.sweep", "--help")
        times.append(time.monotonic() - started)
        assert result.returncode == 0
        assert "--dry-run" in result.stdout

    assert min(times) < HELP_TIMEOUT_S


@pytest.mark.parametrize("module", [f"orchestrator.{name}" for name in ("sweep", "predict", "serve", "report")])
def test_help_imports_nothing_heavy(module):
    """Not one of the libraries that the work needs is imported before the command line is read."""
    result = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", module, "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )

    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in result.stderr.splitlines()}
    assert "typer" in imported
    assert imported & HEAVY == set()


def test_help_names_every_option_of_the_contract():
    """What people and tools rely on is there, with the exit codes."""
    said = invoke(sweep.app, "--help").stdout

    options = (
        "profile data encoder trials epochs max-train-examples max-dev-examples set name new out tracking-uri "
        "address gpus-per-trial cpus-per-trial concurrent seed debug dry-run local json quiet"
    )
    assert [option for option in options.split() if f"--{option}" not in said] == []
    assert "130 interrupted" in " ".join(said.split())


# --- real processes ---


def test_without_a_file_the_search_spaces_are_listed_with_their_questions():
    """A person who does not know what to ask is shown what there is."""
    result = run("orchestrator.sweep")

    assert one_error(result) == "no search space given; there are:"
    assert re.search(r"^  search_spaces/exp2\.py +Which learning rate suits the partly", result.stderr, re.MULTILINE)
    listed = re.findall(r"search_spaces/(\w+)\.py", result.stderr)
    assert listed == ["exp1", "exp2", "exp3", "exp4", "final", "joint", "pairs", "single_task"]


def test_a_missing_file_is_an_error_that_lists_those_that_exist(tmp_path):
    """The name that was given, then the search spaces."""
    result = run("orchestrator.sweep", "search_spaces/exp9.py", "--out", tmp_path / "runs")

    assert one_error(result) == "search_spaces/exp9.py: no such search-space file; there are:"
    assert "search_spaces/exp4.py" in result.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_a_syntax_error_is_shown_with_its_line(space, command, tmp_path):
    """FILE:LINE, the line, a caret."""
    space.write_text(SPACE + "SWEEP = = 3\n", encoding="utf-8")

    result = run("orchestrator.sweep", space, *command())

    assert one_error(result).startswith(f"{space}:14:9: ")
    assert result.stderr.splitlines()[1:] == ["    SWEEP = = 3", "            ^"]
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_a_label_out_of_range_is_shown_with_its_file_and_line(space, command, own_data, tmp_path):
    """FILE:LINE, what stands there, what is allowed; and nothing is written."""
    path = own_data / "sts-dev.csv"
    path.write_text(path.read_text(encoding="utf-8").removesuffix("5.0\n") + "7.5\n", encoding="utf-8")

    result = run("orchestrator.sweep", space, *command("--data", own_data))

    assert one_error(result) == f"{path}:25: label '7.5' of task 'similarity'; expected a number in 0..5"
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_a_dry_run_starts_nothing(space, command, tmp_path):
    """No Ray, no database, no folder: one look at what would run."""
    program = (
        "import sys; from orchestrator.sweep import app\n"
        "try: app(sys.argv[1:])\n"
        "except SystemExit as end: sys.exit(end.code or ('ray' if 'ray' in sys.modules else 0))"
    )
    arguments = [sys.executable, "-c", program, str(space), *command("--dry-run")]

    result = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=False)

    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.endswith("nothing was started\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["given.py"]


# --- bad input, in this process ---


def spoil(path, before, after):
    """Replace bytes of a file."""
    content = path.read_bytes()
    assert before in content
    path.write_bytes(content.replace(before, after, 1))


@pytest.mark.parametrize(
    ("file", "before", "after", "said"),
    [
        ("sts-train.csv", b"similarity", b"likeness", ":1: no column 'similarity'; found "),
        ("ids-sst-dev.csv", b"\t4\n", b"\t5\n", ":6: label '5' of task 'sentiment'; expected a whole number in 0..4"),
        ("quora-dev.csv", b"how", b"h\xf6w", ":2: byte 0xF6 at offset "),
        ("quora-dev.csv", b"\t0.0\n", b"\t0.0\t1\n", ":2: 6 fields, the header has 5"),
        ("quora-train.csv", b"how", b'"how', " a quote that is never closed"),
    ],
    ids=["missing column", "label out of range", "not UTF-8", "a tab too many", "open quote"],
)
def test_bad_data_is_one_line_with_file_and_line(space, command, own_data, tmp_path, file, before, after, said):
    """FILE:LINE and what was expected; exit code 2; nothing is written."""
    spoil(own_data / file, before, after)

    error = one_error(invoke(sweep.app, space, *command("--data", own_data)))

    assert error.startswith(f"{own_data / file}:")
    assert said in error
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--set", "heads.dropuot=0.5"], "unknown field 'heads.dropuot' (did you mean 'heads.dropout'?)"),
        (["--set", "learning_rate=1e-3"], "learning_rate varies in this sweep"),
        (["--set", "unfrozen_layers=9"], "unfrozen_layers is 9: the encoder has 3 layers"),
        (["--set", "batch_size=many"], "batch_size is 'many': input should be a valid integer"),
        (["--set", "heads.dropout=NaN"], "heads.dropout is "),
        (["--set", "dropout"], "--set 'dropout': expected FIELD=VALUE"),
        (["--set", "batch_size=8", "--set", "batch_size=16"], "--set batch_size is given twice"),
        (["--epochs", "0"], "epochs is 0: input should be greater than or equal to 1"),
        (["--encoder", "/nowhere/bert"], "encoder '/nowhere/bert': no such folder"),
        (["--data", "/nowhere/data"], "/nowhere/data: no such data folder"),
        (["--name", "a/b"], "--name 'a/b': expected 1 to 64 of A-Z a-z 0-9 . _ -"),
        (["--name", ".."], "--name '..': expected"),
        (["--name", "-x"], "--name '-x': expected"),
        (["--name", "x" * 65], "expected 1 to 64"),
        (["--name", "cache"], "--name 'cache'"),
        (["--name", "mlflow.db"], "--name 'mlflow.db'"),
        (["--out", "has%20percent"], "--out 'has%20percent'"),
        (["--out", "has?mark"], "--out 'has?mark'"),
        (["--trials", "1"], "--trials"),
        (["--gpus-per-trial", "1"], "--gpus-per-trial"),
        (["--cpus-per-trial", "4096"], "--cpus-per-trial"),
    ],
    ids=lambda value: "=".join(value)[:40] if isinstance(value, list) else "",
)
def test_a_bad_option_is_one_line(space, command, tmp_path, given, said):
    """What was given, what is allowed; exit code 2; nothing is written."""
    result = invoke(sweep.app, space, *command(*given, "--dry-run"))

    assert said in one_error(result)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--concurrent", "0"], "'--concurrent'"),
        (["--seed", "-1"], "'--seed'"),
        (["--profile", "cluster"], "'cluster' is not one of"),
        (["--dropout", "0.5"], "No such option"),
    ],
)
def test_bad_usage_is_told_with_exit_code_2(space, command, tmp_path, given, said):
    """An option that does not exist, or a value that it does not take."""
    result = invoke(sweep.app, space, *command(*given))

    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "defines no SWEEP"),
        (b'"""Caf\xe9?"""\n', "is not UTF-8"),
        (b"SWEEP = 3\n", "defines SWEEP as a int"),
        (b"import nowhere_at_all\n", ":1: ModuleNotFoundError: No module named 'nowhere_at_all'"),
        (b"a = 1\0\n", "null bytes"),
    ],
    ids=["empty", "not UTF-8", "a number", "missing import", "NUL"],
)
def test_a_bad_search_space_is_one_line(space, command, tmp_path, text, said):
    """The file, and the line where there is one."""
    space.write_bytes(text)

    error = one_error(invoke(sweep.app, space, *command()))

    assert error.startswith(f"{space}:")
    assert said in error
    assert not (tmp_path / "runs").exists()


def test_all_problems_are_told_at_once(space, command, own_data, tmp_path):
    """One line each, all with the exit code 2."""
    (own_data / "sts-dev.csv").unlink()
    spoil(own_data / "quora-train.csv", b"is_duplicate", b"duplicate")

    result = invoke(sweep.app, space, *command("--data", own_data, "--encoder", "/nowhere", "--epochs", "-1"))

    assert (result.exit_code, result.stdout) == (2, "")
    lines = result.stderr.splitlines()
    assert len(lines) == 4
    assert all(line.startswith("error: ") for line in lines)
    assert not (tmp_path / "runs").exists()


def test_debug_shows_the_traceback(space, command):
    """It comes before the line, for who wants to see where the error rose; the exit code is the same."""
    result = invoke(sweep.app, space, *command("--set", "nothing=1", "--debug"))

    assert result.exit_code == 2
    assert result.stderr.startswith("Traceback (most recent call last):")
    assert "orchestrator/inspection.py" in result.stderr
    assert result.stderr.splitlines()[-1].startswith("error: unknown field 'nothing'")


# --- the dry run ---


def test_a_dry_run_prints_what_would_run(space, command, tmp_path):
    """Question, configs with their parameters, checkpoints' size, the data; and says that nothing was started."""
    result = invoke(sweep.app, space, *command("--dry-run"))

    assert (result.exit_code, result.stderr) == (0, "")
    said = result.stdout
    assert said.startswith(
        "given  Which rate?\n"
        "  2 configs, listed · baseline learning_rate 2e-05 · 2 epochs · batch 16 · learning rate 2e-05\n"
    )
    assert re.search(r"^0 +2e-05 .* baseline +$", said, re.MULTILINE)
    assert re.search(r"^1 +0\.0001 ", said, re.MULTILINE)
    assert re.search(r"110\.1 M +15\.4 M", said)
    assert "sentiment: train 48 · dev 24" in said
    assert said.endswith("nothing was started\n")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("path", sorted((ROOT / "search_spaces").glob("[a-z]*.py")), ids=lambda path: path.stem)
def test_every_shipped_search_space_passes_its_dry_run(command, tmp_path, path):
    """On an encoder that has the layers, every file is ready to run."""
    result = invoke(sweep.app, path, *command("--dry-run", "--set", "max_tokens=32"))

    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith(f"{path.stem}  ")
    assert not (tmp_path / "runs").exists()


def test_a_dry_run_of_a_space_shows_examples(command):
    """Eight of its points, marked as such."""
    result = invoke(sweep.app, ROOT / "search_spaces/joint.py", *command("--dry-run", "--set", "max_tokens=32"))

    assert "30 trials of a space" in result.stdout
    assert len(re.findall(r"^e\.g\.", result.stdout, re.MULTILINE)) == 8


def test_an_encoder_deeper_than_bert_base_has_its_dry_run(space, command, tiny_encoder, tmp_path):
    """Where a config's depth does not fit bert-base, that column is empty and the others stand."""
    deep = tmp_path / "deep"
    shutil.copytree(tiny_encoder, deep)
    shape = json.loads((deep / "config.json").read_text(encoding="utf-8")) | {"num_hidden_layers": 14}
    (deep / "config.json").write_text(json.dumps(shape), encoding="utf-8")
    save_file(Encoder(parse_encoder_config(shape)).state_dict(), deep / "model.safetensors")
    spoil(space, b"learning_rate=rate) for rate in (2e-5, 1e-4)", b"unfrozen_layers=depth) for depth in (13, 2)")

    result = invoke(sweep.app, space, *command("--dry-run", "--encoder", deep))

    assert (result.exit_code, result.stderr) == (0, "")
    assert re.search(r"^0 +13 +0\.1 M +0\.1 M {3,}", result.stdout, re.MULTILINE)
    assert re.search(r"^1 +2 .* 110\.1 M +15\.4 M +baseline", result.stdout, re.MULTILINE)


def test_a_dry_run_with_json_keeps_standard_output_for_events(space, command):
    """What is for people goes to standard error."""
    result = invoke(sweep.app, space, *command("--dry-run", "--json"))

    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.endswith("nothing was started\n")


def test_a_quiet_dry_run_prints_nothing(space, command):
    """Errors alone are printed."""
    result = invoke(sweep.app, space, *command("--dry-run", "--quiet"))

    assert (result.exit_code, result.output) == (0, "")


def test_settings_are_json_or_text(space, command):
    """Numbers, lists and words are told apart as a person means them."""
    given = ["--set", 'tasks=["sentiment"]', "--set", "heads.activation=relu", "--set", "unfrozen_layers=all"]

    result = invoke(sweep.app, space, *command("--dry-run", *given))

    assert result.exit_code == 0
    assert "sentiment: train 48" in result.stdout
    assert "paraphrase" not in result.stdout


def test_a_dry_run_knows_the_caches_limit(space, command):
    """No cache is said to be none, and what does not fit to come and go."""
    none, little = (invoke(sweep.app, space, *command("--dry-run", "--prefix-cache-gb", gb)) for gb in ("0", "1e-6"))

    assert "frozen layers' cache: none, they are computed at every step" in none.stdout
    assert "; what is larger than --prefix-cache-gb allows is computed at every step" in little.stdout


def test_the_header_tells_what_was_set(space, command):
    """Also as Python writes it, as in a search-space file."""
    given = ["--set", "prefix_dropout=True", "--set", "precision=bf16", "--max-dev-examples", "7"]
    result = invoke(sweep.app, space, *command("--dry-run", *given))

    assert result.exit_code == 0, result.stderr
    assert "prefix_dropout True · precision bf16" in result.stdout
    assert "max_dev_examples 7" in result.stdout


def test_a_sweep_over_seeds_needs_no_option(space, command):
    """The seed of the command line holds where the file says none: repeats are a search space like any other."""
    spoil(space, b"learning_rate=rate) for rate in (2e-5, 1e-4)", b"seed=seed) for seed in range(3)")

    result = invoke(sweep.app, space, *command("--dry-run"))

    assert (result.exit_code, result.stderr) == (0, "")
    assert "3 configs" in result.stdout


def test_a_files_own_seed_holds_unless_another_is_given(space, command, tmp_path):
    """What the file says of the seed is not overruled by a default that nobody typed."""
    spoil(space, b"TrialConfig(", b"TrialConfig(seed=5, ")
    spoil(space, b"learning_rate=rate) for rate in (2e-5, 1e-4)", b"seed=seed) for seed in (5, 6)")

    result = invoke(sweep.app, space, *command("--dry-run"))

    assert re.search(r"^0 +5 .* baseline", result.stdout, re.MULTILINE), result.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("question", ["Which [rate] is best?", "Does [/rate] matter?", "Is :warning: shown?"])
def test_what_people_write_is_printed_as_it_is(space, command, question):
    """Brackets and colons in a question are no markup."""
    spoil(space, b'question="Which rate?"', f'question="{question}"'.encode())

    result = invoke(sweep.app, space, *command("--dry-run"))

    assert (result.exit_code, result.stderr) == (0, "")
    assert question in result.stdout


# --- another sweep of the name, and one that runs ---


def test_another_sweep_of_the_name_is_refused_with_what_changed(space, command, tiny_plan, tmp_path):
    """The changed fields are named, with the two ways on; the plan that stands is untouched."""
    paths = SweepPaths(tmp_path / "runs", "given")
    settle(paths.plan, tiny_plan(name="given"))
    before = paths.plan.read_bytes()

    result = invoke(sweep.app, space, *command())

    error = one_error_of_many(result)
    assert error == f"{paths.root} holds another sweep of this name; changed are:"
    assert "  learning_rate: was 0.001, is now 2e-05" in result.stderr
    assert "--new puts it aside" in result.stderr
    assert paths.plan.read_bytes() == before
    assert not paths.leaderboard.exists()


def one_error_of_many(result):
    """Return the first error line of a command that was refused."""
    assert (result.exit_code, result.stdout) == (2, "")
    return result.stderr.splitlines()[0].removeprefix("error: ")


def test_a_sweep_that_runs_elsewhere_is_refused_with_who_runs_it(space, command, tmp_path):
    """Exit code 5, and one line with host, process and time."""
    paths = SweepPaths(tmp_path / "runs", "given")
    paths.out.mkdir()
    paths.lock.with_suffix(".holder").write_text(
        json.dumps({"host": "elsewhere", "pid": 77, "since": "2030-01-02 03:04:05"}), encoding="utf-8"
    )

    with FileLock(paths.lock):
        result = invoke(sweep.app, space, *command())

    error = one_error(result, code=5)
    assert error.startswith("sweep 'given' is running already on elsewhere, pid 77, since 2030-01-02 03:04:05;")
    assert not paths.root.exists()


# --- serve ---


def test_serving_without_a_store_is_one_line(tmp_path):
    """Exit code 2; no server is started and no empty store is made."""
    result = run("orchestrator.serve", "--out", tmp_path / "runs")

    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith(f"no MLflow store at {tmp_path}/runs/mlflow.db: run a sweep first")
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "runs").exists()


def test_serving_on_a_port_that_is_taken_is_one_line(tmp_path):
    """Exit code 2, and the option that names another."""
    (tmp_path / "mlflow.db").touch()
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        result = invoke(serve.app, "--out", tmp_path, "--port", port)

    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"port {port} on 127.0.0.1 cannot be used (address already in use)")
    assert len(result.stderr.splitlines()) == 1


def test_a_server_that_does_not_answer_is_one_line():
    """Exit code 4, and no password in the message."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        result = invoke(serve.app, "--tracking-uri", f"http://me:secret@127.0.0.1:{port}")

    assert (result.exit_code, result.stdout) == (4, "")
    assert result.stderr.startswith(f"no answer from MLflow at http://***@127.0.0.1:{port}: ")
    assert "secret" not in result.stderr
