"""The MLflow that we start serves this machine's own pages, and nothing else gets a word or a file out of it."""

import contextlib
import http.client
import json
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from orchestrator.paths import artifact_root, tracking_uri

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
START_S = 180
SECRET = b"nobody's business"
API = "/api/2.0/mlflow/experiments/search"
FILES = "/api/2.0/mlflow-artifacts/artifacts/"
UP = ("..", "%2e%2e", "%2E%2e", ".%2e", "%252e%252e", "..%00", "%c0%ae%c0%ae", "....", "..;")
SLASH = ("/", "%2f", "%5c", "\\")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Start `python -m orchestrator.serve` on a store with one run and one artifact; yield OUT and the port."""
    out = tmp_path_factory.mktemp("served") / "runs"
    out.mkdir()
    (out.parent / "secret.txt").write_bytes(SECRET)
    (out / "secret.txt").write_bytes(SECRET)
    uri = tracking_uri(out)
    client = MlflowClient(uri, registry_uri=uri)
    run = client.create_run(client.create_experiment("exp", artifact_root(out)))
    (out / "fine.txt").write_text("fine")
    client.log_artifact(run.info.run_id, str(out / "fine.txt"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "orchestrator.serve", "--out", str(out), "--port", str(port)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + START_S
        while "Ctrl-C stops" not in process.stdout.readline():
            assert process.poll() is None
            assert time.monotonic() < deadline
        yield out, port
    finally:
        process.terminate()
        process.wait(60)


def ask(port, method, path, body=None, **headers):
    """Return the status, the headers and the content of an answer; the path goes out as it stands."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.putrequest(method, path, skip_host="Host" in headers)
        content = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else b""
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(content)), **headers}.items():
            connection.putheader(name, value)
        connection.endheaders(content)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()


def test_its_own_page_and_its_own_requests_are_served(server):
    """Else the refusals below would say nothing."""
    _, port = server

    assert ask(port, "GET", "/")[0] == 200
    status, _, content = ask(port, "POST", API, {"max_results": 5})
    assert status == 200
    assert {experiment["name"] for experiment in json.loads(content)["experiments"]} >= {"exp"}


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "169.254.169.254"])
def test_a_name_that_points_here_is_refused(server, host):
    """A web page whose name was made to point at this machine (DNS rebinding) reads nothing."""
    _, port = server

    status, _, content = ask(port, "POST", API, {"max_results": 5}, Host=host)

    assert status == 403
    assert b"exp" not in content.replace(b"expected", b"")


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1.evil.example"])
def test_a_page_of_another_origin_changes_nothing(server, origin):
    """A form that another site sends through the person's browser is refused."""
    out, port = server
    uri = tracking_uri(out)

    status, _, _ = ask(port, "POST", "/api/2.0/mlflow/experiments/create", {"name": f"by {origin}"}, Origin=origin)

    assert status == 403
    assert MlflowClient(uri, registry_uri=uri).get_experiment_by_name(f"by {origin}") is None


def test_no_other_site_may_frame_it(server):
    """And no browser guesses another kind of content."""
    _, headers, _ = ask(server[1], "GET", "/")
    lower = {name.lower(): value for name, value in headers.items()}

    assert lower["x-frame-options"] in ("SAMEORIGIN", "DENY")
    assert lower["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_no_path_leads_out_of_the_artifacts(server, method):
    """Thirty-six spellings of the way up: none reads, writes or removes a file elsewhere."""
    out, port = server
    before = sorted(path for path in out.parent.rglob("*") if "mlflow" not in path.name)

    for up in UP:
        for slash in SLASH:
            for depth in (1, 2):
                path = FILES + (up + slash) * depth + ("secret.txt" if method != "PUT" else "planted.txt")
                status, _, content = ask(port, method, path, b"planted" if method == "PUT" else None)
                assert SECRET not in content, path
                inside = method == "PUT" and status == 200  # taken for a strange name, under the artifacts
                assert status >= 400 or inside or content in (b"{}", b""), (path, status, content)

    assert (out / "secret.txt").read_bytes() == (out.parent / "secret.txt").read_bytes() == SECRET
    after = sorted(path for path in out.parent.rglob("*") if "mlflow" not in path.name)
    added = [path for path in after if path not in before]
    assert all(path.is_relative_to(out / "mlartifacts") for path in added), added


def test_a_job_cannot_be_had(server):
    """Nothing is run by the server: its job service is off."""
    _, port = server

    status, _, _ = ask(port, "POST", "/ajax-api/3.0/jobs", {"function_fullname": "os.system", "params": {}})

    assert status >= 400
