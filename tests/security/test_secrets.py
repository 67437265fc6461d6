"""No secret is found in anything that a sweep prints, logs, stores or sends: 59 are planted, none may turn up."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.faults.lab import ROOT, Lab
from tests.faults.servers import free_port
from tests.security.canaries import NOISES, chatty_library, contents, hits, planted

pytestmark = pytest.mark.slow

TIMEOUT_S = 240
SPACE = '''"""Which dropout?"""

import os
from dataclasses import replace

from model.config import HeadConfig, TrialConfig
from orchestrator.spec import Sweep

BASE = TrialConfig(epochs=2, batch_size=16, learning_rate=3e-3, max_tokens=32, unfrozen_layers=1)


def space(trial):
    dropout = trial.suggest_float("heads.dropout", 0.0, 0.5)
    if trial.study.study_name == "tiny" and trial.number == 1:
        raise RuntimeError(f"the space fails: {os.environ}")
    return replace(BASE, heads=HeadConfig(dropout=dropout))


SWEEP = Sweep(question="QUESTION", baseline=BASE, space=space, trials=5, sampler="random")
'''
QUESTION = "Which dropout, on postgresql://me:{}@db.example/runs with API_TOKEN={} in use?"
"""Goes to the plan, the leaderboard, a tag of MLflow's experiment and the registered model's description."""
TELLING = '''"""A file that tells and fails."""

import logging
import os
import sys

print("printed by the file", os.environ)
print("printed by the file", dict(os.environ), file=sys.stderr)
logging.getLogger("mine").error("logged by the file %s", os.environ)
raise RuntimeError(f"raised by the file {dict(os.environ)}")
'''


@dataclass
class Told:
    """All that was said and left behind, by its place."""

    canaries: dict
    found: dict = field(default_factory=dict)
    codes: dict = field(default_factory=dict)
    seconds: float = 0.0

    def has(self, words, place=""):
        """Return the places, of those whose name has a part, in which the words stand."""
        return [name for name, content in self.found.items() if place in name and words.encode() in content]


class Commands:
    """Real commands with secrets around them."""

    def __init__(self, told, environment, short):
        """Start nothing yet; temporary files go under the short folder."""
        self.told, self.short = told, short
        self.environment = environment | {"TMPDIR": str(short), "PYTHONFAULTHANDLER": "1", "COLUMNS": "200"}

    def start(self, name, *words, environment=None):
        """Start a command whose output is kept under a name."""
        with (self.short / f"{name}.out").open("wb") as out, (self.short / f"{name}.err").open("wb") as err:
            return subprocess.Popen(
                [sys.executable, "-m", *map(str, words)],
                cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True,
                env=self.environment | (environment or {}),
            )  # fmt: skip

    def run(self, name, *words, environment=None):
        """Run a command to its end."""
        self.end(name, self.start(name, *words, environment=environment))

    def end(self, name, process):
        """Wait for a command, and take its exit code down."""
        self.told.codes[name] = process.wait(TIMEOUT_S)


@pytest.fixture(scope="module")
def told(tmp_path_factory, tiny_data, tiny_encoder):
    """Run sweeps that fail in every way that has words, with 59 secrets around; return what was said and stored."""
    canaries, environment, text = planted()
    lab = Lab(tmp_path_factory.mktemp("secrets"), tiny_data, tiny_encoder)
    told, started = Told(canaries), time.monotonic()
    question = QUESTION.format(canaries["the question's password"], canaries["the question's token"])
    lab.file.write_text(SPACE.replace("QUESTION", question), encoding="utf-8")
    telling = lab.folder / "telling.py"
    telling.write_text(TELLING, encoding="utf-8")
    library = lab.folder / "library"
    library.mkdir()
    (library / "sitecustomize.py").write_text(chatty_library(text), encoding="utf-8")
    with tempfile.TemporaryDirectory(prefix="s", dir="/tmp", ignore_cleanup_errors=True) as short:
        path = os.pathsep.join([str(library), *filter(None, [os.environ.get("PYTHONPATH")])])
        quiet = {"PYTHONPATH": path, "SWEEP_FAULTS": str(lab.faults), "OMP_NUM_THREADS": "1"}
        commands = Commands(told, os.environ | environment | quiet, Path(short))
        try:
            commands.environment.pop("RAY_TMPDIR", None)
            _fail_in_every_way(lab, commands, telling, f"a library says {environment} {text}")
            told.seconds = time.monotonic() - started
            told.found = contents(short, lab.out, lab.folder / "server")
        finally:
            lab.kill_all()
    return told


def _fail_in_every_way(lab, commands, telling, text):
    canaries, port = commands.told.canaries, free_port()
    secret, hub_secret = canaries["the tracking URI's password"], canaries["the hub endpoint's password"]
    hub = {"HF_ENDPOINT": f"http://me:{hub_secret}@127.0.0.1:9", "HF_HUB_OFFLINE": "0"}
    uri, nobody = f"http://me:{secret}@127.0.0.1:{port}", f"http://me:{secret}@127.0.0.1:9"
    server_out = lab.folder / "server"
    server_out.mkdir()
    (server_out / "mlflow.db").touch()
    given = ["--data", lab.data, "--encoder", lab.encoder, "--cpus-per-trial", 1, "--concurrent", 1, "--out", lab.out]
    serving = commands.start("serve", "orchestrator.serve", "--out", server_out, "--port", port)
    beside = {
        "telling": commands.start("telling", "orchestrator.sweep", telling, *given),
        "telling, --debug": commands.start("telling, --debug", "orchestrator.sweep", telling, *given, "--debug"),
        "hub": commands.start("hub", "orchestrator.sweep", lab.file, *given, "--encoder", "me/mine", environment=hub),
    }
    for name, process in beside.items():
        commands.end(name, process)
    _await_answer(port)
    lab.arm_all(
        {"at": "report: leaves", "do": f"outside the trial: {text}", "hit": 1, "facts": {"trial": 0}},
        *({"at": "step: taken", "do": text, "hit": 1, "facts": {"trial": number}} for number in (2, 3, 4)),
    )
    sweep = ["orchestrator.sweep", lab.file, *given, "--tracking-uri", uri]
    lab.sessions.add((process := commands.start("sweep", *sweep)).pid)
    commands.run("nobody", *sweep, "--name", "other", "--tracking-uri", nobody)
    commands.end("sweep", process)
    beside = {
        "serve, of a server": commands.start("serve, of a server", "orchestrator.serve", "--tracking-uri", uri),
        "doctor": commands.start(
            "doctor", "orchestrator.doctor", lab.file, *given[:4], "--tracking-uri", uri, environment={"PYTHONPATH": ""}
        ),
    }
    commands.run("again", *sweep, "--json")
    commands.run("rebuild", "orchestrator.rebuild", "tiny", "--out", lab.out, "--tracking-uri", uri)
    for name, process in beside.items():
        commands.end(name, process)
    serving.send_signal(signal.SIGTERM)
    commands.end("serve", serving)


def _await_answer(port):
    from urllib.error import URLError
    from urllib.request import urlopen

    end = time.monotonic() + TIMEOUT_S
    while time.monotonic() < end:
        try:
            with urlopen(f"http://127.0.0.1:{port}/health", timeout=2):
                return
        except (URLError, OSError):
            time.sleep(0.2)
    raise TimeoutError("MLflow did not start")


def test_of_59_secrets_none_is_found(told):
    """Outputs, OUT with its databases, MLflow's store and artifacts, and Ray's temporary folder: 0 hits."""
    print(f"{len(told.canaries)} secrets, {len(told.found)} files, {told.seconds:.0f} s")
    assert hits(told.canaries, told.found) == []


def test_all_that_could_tell_a_secret_did_speak(told):
    """Otherwise nothing here would say anything: what was told stands there, with stars in the secrets' place."""
    assert told.codes == {
        "telling": 2, "telling, --debug": 2, "hub": 2, "nobody": 4, "sweep": 1, "again": 3, "rebuild": 0,
        "serve, of a server": 0, "doctor": 0, "serve": 0,
    }  # fmt: skip
    for noise in NOISES:
        assert told.has(f"noise of {noise} ", "/sweep."), noise
        assert told.has(f"noise of {noise} ", "/logs/worker-"), noise
    for words in ("printed by the file", "logged by the file", "raised by the file"):
        assert told.has(words, "/telling."), words
    assert told.has("Traceback (most recent call last)", "/telling, --debug.err")
    failed = "a library says {'AWS_SECRET_ACCESS_KEY': '***'"
    for place in ("verdict.json", "error.txt", "leaderboard.json", "mlflow.db", "sweep.out", "sweep.err", "again.err"):
        assert told.has(failed, place), place
    assert told.has("outside the trial: a library says {'AWS_SECRET_ACCESS_KEY': '***'", "runs/tiny/ray/tune")
    assert told.has("the space fails: environ({", "study.db")
    assert told.has("http://***@127.0.0.1:", "sweep.err")
    asked = "Which dropout, on postgresql://***@db.example/runs with API_TOKEN=*** in use?"
    for place in ("plan.json", "leaderboard.json", "mlflow.db", "sweep.out"):
        assert told.has(asked, place), place


def test_links_can_be_opened(told):
    """They lead to the server by its bare address, without stars that no browser understands."""
    for name in ("again.err", "rebuild.out", "serve, of a server.out"):
        (content,) = [content for place, content in told.found.items() if place.endswith(f"/{name}")]
        assert re.search(rb"http://127\.0\.0\.1:\d+/#/experiments/\d+/runs", content), name


def test_the_token_of_ray_stands_in_its_own_file_alone(told):
    """Neither Ray's logs nor anything else that is stored has it."""
    (token,) = [content for place, content in told.found.items() if place.endswith("/.ray-token")]
    assert [place for place, content in told.found.items() if token in content and ".ray-token" not in place] == []
