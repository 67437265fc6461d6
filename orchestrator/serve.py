"""`python -m orchestrator.serve`: MLflow's interface on this machine's store, with links to the leaderboards.

The server is MLflow's own program, as a process of its own: bound to loopback, without job execution, pickles
or telemetry. Everything here talks to it over HTTP, so that nothing heavy is imported.
"""

import base64
import ctypes
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn
from urllib.parse import unquote, urlsplit

import typer

from model.files import make_folder
from orchestrator import paths
from orchestrator.errors import BAD_INPUT, UNREACHABLE
from orchestrator.folders import private_files
from orchestrator.redaction import bare, redacted
from orchestrator.view import VIEW_TAG, leaderboard_url

HOST = "127.0.0.1"
START_TIMEOUT_S = 180.0  # a first start takes about 25 s, and more on a busy machine
STOP_TIMEOUT_S = 10.0

SERVER_ENVIRONMENT = {
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # nothing here is run by the server
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",  # artifacts are data, never code
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_MODEL_CATALOG_URI": "",  # fetched from the internet otherwise
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # its links open a page without runs; ours do not
}
"""What the server runs with, on top of the caller's environment."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def serve(
    out: Annotated[Path, typer.Option(help="The folder that the sweeps wrote to.")] = Path("runs"),
    tracking_uri: Annotated[
        str | None,
        typer.Option(help="A database other than OUT/mlflow.db; of a server (http://), only print the links."),
    ] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="The port, on 127.0.0.1 alone.")] = 5000,
) -> None:
    """Show the leaderboards in MLflow's interface, until Ctrl-C.

    Exit codes: 0 stopped; 2 no store, or the port is taken; 4 the server or its database does not answer.
    """
    out = out.resolve()
    uri = tracking_uri or paths.tracking_uri(out)
    if urlsplit(uri).scheme in {"http", "https"}:
        _print_links(uri)
        return
    _require_store(uri)
    _require_free(port)
    ui_base = f"http://{HOST}:{port}"
    make_folder(out)
    log = out / "mlflow-server.log"
    print(f"MLflow is starting on {ui_base} (10 to 30 s) · log {log}", flush=True)
    with _server(uri, artifacts=paths.artifact_root(out), port=port, log=log) as server:
        _await_ready(server, ui_base, log)
        _print_links(ui_base)
        print("Ctrl-C stops the server", flush=True)
        code = server.wait()
        _fail(f"MLflow ended by itself (exit code {code}){_last_words(log)}", UNREACHABLE)


def server_command(artifacts: str, port: int) -> Sequence[str]:
    """Return MLflow's own command. The store's URI, which may hold a password, goes by the environment."""
    return (
        *(sys.executable, "-m", "mlflow", "server"),
        *("--host", HOST, "--port", str(port), "--workers", "1"),
        *("--artifacts-destination", artifacts),
        *("--uvicorn-opts", "--log-level warning"),
    )


def view_links(ui_base: str) -> dict[str, str]:
    """Return the link to each experiment's leaderboard by the experiment's name, the latest changed first.

    Experiments without the view tag are left out. Raises OSError when the server does not answer, and
    ValueError when what answers is not MLflow.
    """
    links: dict[str, str] = {}
    page: dict[str, Any] = {"max_results": 1000, "order_by": ["last_update_time DESC"]}
    while True:
        answer = json.loads(_get(ui_base, "/api/2.0/mlflow/experiments/search", page))
        if not isinstance(answer, dict):
            raise ValueError(f"{ui_base} answers, but not as MLflow does")  # noqa: TRY004 (the user's input)
        for experiment in answer.get("experiments", []):
            if any(tag["key"] == VIEW_TAG for tag in experiment.get("tags", [])):
                links[experiment["name"]] = leaderboard_url(bare(ui_base), experiment["experiment_id"])
        if not answer.get("next_page_token"):
            return links
        page["page_token"] = answer["next_page_token"]


@contextmanager
def _server(uri: str, *, artifacts: str, port: int, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run the server for the block's length; Ctrl-C, TERM and HUP end the block without a word.

    The server has a session of its own, so that a Ctrl-C of the terminal reaches it through us alone, once.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, signal.default_int_handler)
    environment = os.environ | SERVER_ENVIRONMENT | {"MLFLOW_BACKEND_STORE_URI": uri}
    with private_files(), log.open("wb") as sink:
        server = subprocess.Popen(
            server_command(artifacts, port),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_end_with_parent,  # noqa: PLW1509 (one thread, and one system call in it)
        )
    try:
        yield server
    except KeyboardInterrupt:
        pass
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        _stop(server)


def _end_with_parent() -> None:
    """Ask Linux to end the server when this program is killed outright; elsewhere, do nothing."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)


def _stop(server: subprocess.Popen[bytes]) -> None:
    """End the server and everything it started: asked first, then killed."""
    group = server.pid
    for number, timeout_s in ((signal.SIGTERM, STOP_TIMEOUT_S), (signal.SIGKILL, STOP_TIMEOUT_S)):
        try:
            os.killpg(group, number)
        except ProcessLookupError:
            return
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s:
            server.poll()  # collects it, so that its group can be seen to be empty
            try:
                os.killpg(group, 0)
            except ProcessLookupError:
                return
            time.sleep(0.05)


def _require_store(uri: str) -> None:
    """End with one line when a SQLite store's file is not there: MLflow would make an empty one."""
    path = paths.sqlite_file(uri)
    if path is not None and not path.is_file():
        _fail(
            f"no MLflow store at {path}: run a sweep first, or name the folder of one with --out",
            BAD_INPUT,
        )


def _require_free(port: int) -> None:
    """End with one line when something listens on the port already."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a server just stopped is no hindrance
        try:
            probe.bind((HOST, port))
        except OSError as error:
            reason = os.strerror(error.errno or 0).lower()
            _fail(f"port {port} on {HOST} cannot be used ({reason}): name another with --port", BAD_INPUT)


def _await_ready(server: subprocess.Popen[bytes], ui_base: str, log: Path) -> None:
    """Return once the server answers; end with one line when it ended, or never does."""
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline_s:
        if server.poll() is not None:
            _fail(
                f"MLflow did not start (exit code {server.returncode}){_last_words(log)}",
                UNREACHABLE,
            )
        try:
            _get(ui_base, "/health")
        except OSError:
            time.sleep(0.2)
        else:
            return
    _fail(f"MLflow did not answer within {START_TIMEOUT_S:.0f} s{_last_words(log)}", UNREACHABLE)


def _print_links(ui_base: str) -> None:
    """Print each leaderboard's link, one a line."""
    try:
        links = view_links(ui_base)
    except (OSError, ValueError) as error:
        _fail(f"no answer from MLflow at {redacted(ui_base)}: {error}", UNREACHABLE)
    width = max(map(len, links), default=0)
    for name, link in links.items():
        print(f"{name:{width}}  {link}", flush=True)
    if not links:
        print(
            f"no sweep has a leaderboard yet  {bare(ui_base)}/#/experiments?workflowType=machine_learning",
            flush=True,
        )


def _get(ui_base: str, path: str, body: dict[str, Any] | None = None) -> bytes:
    """Return what the server answers; with a body, as MLflow's searches take it, by POST.

    Raises OSError (urllib's errors are its kin) for no answer and for any status but success.
    """
    parts = urlsplit(ui_base)
    local = parts.hostname in {HOST, "localhost"}
    proxies = [urllib.request.ProxyHandler({})] if local else []  # a proxy cannot see this machine's loopback
    headers = {"Content-Type": "application/json"}
    if parts.username is not None:  # which urllib would take for a part of the host
        who = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Authorization"] = f"Basic {base64.b64encode(who.encode()).decode()}"
    request = urllib.request.Request(  # noqa: S310 (http or https: checked by `serve`)
        bare(ui_base).rstrip("/") + path,
        data=None if body is None else json.dumps(body).encode(),
        headers=headers,
    )
    with urllib.request.build_opener(*proxies).open(request, timeout=30) as answer:
        content: bytes = answer.read()
        return content


def _last_words(log: Path) -> str:
    """Return the log's last error, or else its last line, to be put behind a message."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"[\w.]*(Error|Exception)\b.*:", line)]
    last = (errors or lines)[-1:]
    return f": {last[0]} (all of it: {log})" if last else f" and said nothing (log: {log})"


def _fail(message: str, code: int) -> NoReturn:
    """End the program with one line on stderr."""
    print(redacted(message), file=sys.stderr)
    raise typer.Exit(code)


if __name__ == "__main__":
    app(prog_name="python -m orchestrator.serve")
