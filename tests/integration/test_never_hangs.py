"""Who does not answer, or answers nonsense, costs a line within a minute, before anything is written."""

import contextlib
import http.server
import os
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
from ray._private import services
from typer.testing import CliRunner

from orchestrator.sweep import app
from tests.environment import own_environment

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60


@pytest.fixture(autouse=True)
def _own_environment():
    """Undo what a command sets in the environment for the processes that it starts."""
    with own_environment():
        yield


def line_of(folder, encoder, data):
    """Return the command's arguments on the tiny encoder and data."""
    line = [str(ROOT / "search_spaces" / "exp4.py"), "--encoder", str(encoder), "--data", str(data)]
    return [*line, "--out", str(folder / "runs"), "--profile", "laptop", "--set", "max_tokens=32"]


def sweep(folder, encoder, data, *arguments, environment=None):
    """Run the command as a process; return its exit code, its error lines, and the seconds it took."""
    line = [sys.executable, "-m", "orchestrator.sweep", *line_of(folder, encoder, data), *arguments]
    started = time.monotonic()
    done = subprocess.run(
        line, cwd=ROOT, capture_output=True, text=True, timeout=2 * PATIENCE_S, check=False,
        env=os.environ | (environment or {}),
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert not (folder / "runs").exists()
    return done.returncode, done.stderr.splitlines(), time.monotonic() - started


def sweep_here(folder, encoder, data, *arguments):
    """Do the same in this process, which has loaded all that is heavy."""
    started = time.monotonic()
    done = CliRunner().invoke(app, [*line_of(folder, encoder, data), *arguments])
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert not (folder / "runs").exists()
    return done.exit_code, done.stderr.splitlines(), time.monotonic() - started


@contextlib.contextmanager
def black_hole():
    """Yield a port that takes connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        yield listener.getsockname()[1]


@contextlib.contextmanager
def trickling():
    """Yield a port that answers whoever comes with a line of a header that grows by a byte a second, for ever."""
    over = threading.Event()
    threads = []

    def trickle(connection):
        with connection, contextlib.suppress(OSError):
            connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
            while not over.wait(1):
                connection.sendall(b"x")

    def take(listener):
        with contextlib.suppress(OSError):
            while True:
                threads.append(threading.Thread(target=trickle, args=(listener.accept()[0],)))
                threads[-1].start()

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        taking = threading.Thread(target=take, args=(listener,))
        taking.start()
        try:
            yield listener.getsockname()[1]
        finally:
            over.set()
            listener.shutdown(socket.SHUT_RDWR)
            taking.join()
            for thread in threads:
                thread.join()


@contextlib.contextmanager
def answering(status, content):
    """Yield the address of a server that answers everything alike."""

    class Handler(http.server.BaseHTTPRequestHandler):
        """Says the same to all."""

        def do_GET(self):
            """Answer."""
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET

        def log_message(self, *_):
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_head_that_never_answers_is_one_line(tiny_encoder, tiny_data, tmp_path):
    """Something listens at the address, and it is no Ray."""
    with black_hole() as port:
        code, lines, seconds = sweep(tmp_path, tiny_encoder, tiny_data, "--address", f"127.0.0.1:{port}")

    assert (code, len(lines)) == (4, 1)
    assert lines[0].startswith(f"error: Ray at 127.0.0.1:{port} has not answered for")
    assert seconds < PATIENCE_S


def test_an_mlflow_that_never_answers_is_one_line(tiny_encoder, tiny_data, tmp_path):
    """MLflow's own client would wait for minutes."""
    with black_hole() as port:
        uri = f"http://127.0.0.1:{port}"
        code, lines, seconds = sweep(tmp_path, tiny_encoder, tiny_data, "--tracking-uri", uri)

    assert (code, len(lines)) == (4, 1)
    assert lines[0].startswith(f"error: MLflow at {uri} does not answer: ")
    assert seconds < PATIENCE_S


def test_a_database_whose_driver_is_not_installed_is_one_line(tiny_encoder, tiny_data, tmp_path):
    """What to install; MLflow would try for a minute and a half."""
    uri = "mssql+pymssql://me:hunter22@127.0.0.1/mlflow"
    code, lines, seconds = sweep_here(tmp_path, tiny_encoder, tiny_data, "--tracking-uri", uri)

    assert (code, len(lines)) == (2, 1)
    assert lines[0].endswith("No module named 'pymssql'; install the database's driver, as pip install pymssql")
    assert "hunter22" not in lines[0]
    assert seconds < PATIENCE_S


def test_a_head_and_an_mlflow_that_never_answer_are_a_line_each_within_a_minute(tiny_encoder, tiny_data, tmp_path):
    """What each may take adds up to less; a byte a second is no answer, though it starts a client's patience anew."""
    with black_hole() as head, trickling() as mlflow:
        addresses = ["--address", f"127.0.0.1:{head}", "--tracking-uri", f"http://127.0.0.1:{mlflow}"]
        code, lines, seconds = sweep(tmp_path, tiny_encoder, tiny_data, *addresses)

    assert (code, len(lines)) == (4, 2)
    assert lines[1].startswith(f"error: MLflow at http://127.0.0.1:{mlflow} does not answer: no whole answer in ")
    assert seconds < PATIENCE_S


def test_a_node_of_an_open_head_elsewhere_does_not_join_it_by_auto(tiny_encoder, tiny_data, tmp_path):
    """Ray notes in a file which head a machine's node was started for; --address auto would join that."""
    if services.find_gcs_addresses():
        pytest.skip("another Ray runs on this machine, which auto finds first")
    with tempfile.TemporaryDirectory(prefix="r", dir="/tmp") as folder:
        noted = Path(folder) / "ray" / "ray_current_cluster"
        noted.parent.mkdir()
        noted.write_text("192.0.2.7:6379", encoding="utf-8")
        environment = {"RAY_TMPDIR": folder, "RAY_AUTH_MODE": "disabled"}
        code, lines, seconds = sweep(tmp_path, tiny_encoder, tiny_data, "--address", "auto", environment=environment)

    assert (code, len(lines)) == (2, 1)
    assert "this machine is a node of 192.0.2.7:6379): listens beyond this machine's loopback" in lines[0]
    assert seconds < PATIENCE_S


def test_of_several_clusters_on_a_machine_auto_takes_none(tiny_encoder, tiny_data, tmp_path):
    """Ray would join the newest, whoever's that is: all are named."""
    raylet = tmp_path / "raylet"
    raylet.symlink_to(sys.executable)
    line = [str(raylet), "-c", "import time; time.sleep(120)"]
    others = [subprocess.Popen([*line, f"--gcs-address=192.0.2.{n}:6379"]) for n in (7, 8)]
    try:
        code, lines, _ = sweep(tmp_path, tiny_encoder, tiny_data, "--address", "auto", environment={"RAY_ADDRESS": ""})
    finally:
        for other in others:
            other.kill()
            other.wait()

    assert (code, len(lines)) == (2, 1)
    assert "error: --address auto: several Ray clusters run here (" in lines[0]
    assert "192.0.2.7:6379, 192.0.2.8:6379" in lines[0]
    assert lines[0].endswith("name one by --address HOST:PORT, or in RAY_ADDRESS")


def test_a_web_server_is_no_head(tiny_encoder, tiny_data, tmp_path):
    """Ray would wait for it in C++."""
    with answering(200, b"hello") as uri:
        code, lines, seconds = sweep(tmp_path, tiny_encoder, tiny_data, "--address", uri.removeprefix("http://"))

    assert (code, len(lines)) == (4, 1)
    assert lines[0].endswith("is no Ray head; expected HOST:PORT of ray start --head")
    assert seconds < PATIENCE_S


@pytest.mark.parametrize(
    ("status", "content", "said"),
    [
        (401, b"who are you?", "refuses us"),
        (403, b"not for you", "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"),
        (200, b"<!DOCTYPE html><html>a router's page</html>", "does not answer"),
        (500, b"{}", "does not answer"),
    ],
)
def test_a_server_that_is_no_mlflow_for_us_is_one_line(tiny_encoder, tiny_data, tmp_path, status, content, said):
    """It wants a password, or is something else; who it is, and what to do."""
    with answering(status, content) as uri:
        code, lines, seconds = sweep_here(tmp_path, tiny_encoder, tiny_data, "--tracking-uri", uri)

    assert (code, len(lines)) == (4, 1)
    assert lines[0].startswith(f"error: MLflow at {uri} ")
    assert said in lines[0]
    assert seconds < PATIENCE_S


@pytest.mark.parametrize("kind", ["of another version", "not a database"])
def test_a_database_that_mlflow_cannot_use_is_one_line(tiny_encoder, tiny_data, tmp_path, kind):
    """Nothing is migrated, nothing is written over."""
    path = tmp_path / "store.db"
    if kind == "not a database":
        path.write_bytes(b"certainly not a database\n" * 200)
    else:
        from mlflow import MlflowClient

        MlflowClient(f"sqlite:///{path}", registry_uri=f"sqlite:///{path}").search_experiments()
        with contextlib.closing(sqlite3.connect(path)) as store, store:
            store.execute("UPDATE alembic_version SET version_num = 'ffffffffffff'")
    before = path.read_bytes()

    code, lines, seconds = sweep(tmp_path, tiny_encoder, tiny_data, "--tracking-uri", f"sqlite:///{path}")

    assert (code, len(lines)) == (4, 1)
    assert lines[0].startswith(f"error: MLflow at sqlite:///{path}")
    assert seconds < PATIENCE_S
    assert path.read_bytes() == before
    assert [found.name for found in tmp_path.iterdir()] == ["store.db"]


def test_an_experiment_that_was_deleted_is_told_before_anything_is_written(tiny_encoder, tiny_data, tmp_path):
    """MLflow keeps its name: how to bring it back, or what else to do."""
    from mlflow import MlflowClient

    uri = f"sqlite:///{tmp_path / 'store.db'}"
    client = MlflowClient(uri, registry_uri=uri)
    client.delete_experiment(client.create_experiment("exp4"))

    code, lines, _ = sweep_here(tmp_path, tiny_encoder, tiny_data, "--tracking-uri", uri)

    assert (code, len(lines)) == (2, 1)
    assert lines[0].startswith(f"error: MLflow at {uri}: its experiment 'exp4' was deleted; restore it")
