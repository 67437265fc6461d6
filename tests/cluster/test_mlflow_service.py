"""MLflow as cluster/mlflow.service starts it, over PostgreSQL: who may ask what, route by route."""

import base64
import contextlib
import http.client
import importlib.util
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cluster.head import ROOT, new_head, sh

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (importlib.util.find_spec("flask_wtf") and importlib.util.find_spec("psycopg")),
        reason="needs flask-wtf and psycopg (pip install -e '.[cluster]')",
    ),
]

START_S = 420
SEARCH = "/api/2.0/mlflow/experiments/search"
OPEN = {"/health", "/version", "/api/3.0/mlflow/server-info", "/ajax-api/3.0/mlflow/server-info"}
"""For probes, and for clients that ask what kind of server it is: nothing in them is anybody's."""
UP = ("..", "%2e%2e", "%252e%252e", "..%00", "....", "..;")
SLASH = ("/", "%2f", "%5c")


class Service:
    """The server, as the unit's lines say, on a free port."""

    def __init__(self, head):
        self.settings = head.disk.mounted / "settings"
        self.unit = (self.settings / "mlflow.service").read_text()
        self.password = (self.settings / "password").read_text().strip()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.log = (self.settings / "log").open("w+b")
        self.process = None

    def start(self):
        """Start it and wait until it answers."""
        line = re.search(r"^ExecStart=((?:.*\\\n)*.*)$", self.unit, re.MULTILINE)[1].replace("\\\n", " ")
        program, *arguments = shlex.split(line.replace("5000", str(self.port)))
        assert program == str(ROOT / ".venv/bin/mlflow")
        lines = []
        for file in re.findall(r"^EnvironmentFile=(.*)$", self.unit, re.MULTILINE):
            lines += shlex.split(Path(file).read_text(), comments=True)
        lines += shlex.split(" ".join(re.findall(r"^Environment=(.*)$", self.unit, re.MULTILINE)))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *arguments],
            env=os.environ | dict(line.split("=", 1) for line in lines),
            cwd=self.settings.parent,
            stdout=self.log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        end = time.monotonic() + START_S
        while self.status("GET", "/health") != 200:
            assert self.process.poll() is None, self.log_text()
            assert time.monotonic() < end, self.log_text()
            time.sleep(0.5)

    def log_text(self):
        """Return what it said."""
        self.log.seek(0)
        return self.log.read().decode()

    def ask(self, method, path, body=None, *, user=None, **headers):
        """Return status and content; the path goes out as it stands. `user` is (name, password)."""
        if user:
            headers["Authorization"] = "Basic " + base64.b64encode(":".join(user).encode()).decode()
        content = b"" if body is None else json.dumps(body).encode()
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            connection.putrequest(method, path, skip_host="Host" in headers)
            for name, value in {
                "Content-Type": "application/json", "Content-Length": str(len(content)), **headers,
            }.items():  # fmt: skip
                connection.putheader(name, value)
            connection.endheaders(content)
            answer = connection.getresponse()
            return answer.status, answer.read()

    def status(self, *arguments, **options):
        """Return the status alone; 0 where nobody listens yet."""
        try:
            return self.ask(*arguments, **options)[0]
        except OSError:
            return 0

    @property
    def admin(self):
        """Return who may do everything."""
        return "admin", self.password

    def stop(self):
        """End it and its workers."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)  # PostgreSQL has what was acknowledged
            self.process.wait(60)
        self.log.close()


@pytest.fixture(scope="module")
def service(head):
    """Return the running server with one experiment of the admin's."""
    service = Service(head)
    try:
        service.start()
        assert service.ask("POST", "/api/2.0/mlflow/experiments/create", {"name": "exp4"}, user=service.admin)[0] == 200
        yield service
    finally:
        service.stop()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_the_unit_is_one_that_systemd_takes(head):
    """It verifies, with nothing to say of it."""
    unit = head.disk.mounted / "settings" / "mlflow.service"
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    assert (done.returncode, [line for line in done.stderr.splitlines() if "mlflow" in line]) == (0, [])


def test_its_settings_are_its_users_alone(head):
    """Password, key and users' settings are readable for nobody else."""
    settings = head.disk.mounted / "settings"
    assert settings.stat().st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in settings.iterdir())


def routes():
    """Return MLflow's routes with their methods, Flask's and FastAPI's, with something for each argument."""
    os.environ["MLFLOW_FLASK_SERVER_SECRET_KEY"] = "only to look at the routes"  # noqa: S105
    from mlflow.server import app
    from mlflow.server.fastapi_app import create_fastapi_app

    found = set()
    for rule in app.url_map.iter_rules():
        found |= {(method, re.sub(r"<[^>]+>", "1", rule.rule)) for method in rule.methods - {"HEAD", "OPTIONS"}}
    for route in create_fastapi_app().routes:
        for method in getattr(route, "methods", None) or ():
            if method not in ("HEAD", "OPTIONS"):
                found.add((method, re.sub(r"{[^}]+}", "1", route.path)))
    return sorted(found)


def test_without_credentials_every_route_is_refused(service):
    """401 on each route that MLflow has, but for the probes, which say nothing."""
    every = routes()
    answered = {(method, path): service.status(method, path) for method, path in every}
    let_in = {route: status for route, status in answered.items() if status != 401 and route[1] not in OPEN}
    assert let_in.pop(("GET", "/static-files/1")) == 404  # the pages' own scripts and pictures, the same for all
    print(f"\n{len(every)} routes, 401 on {sum(status == 401 for status in answered.values())}")

    assert len(every) > 200
    assert let_in == {}
    said = b"".join(service.ask("GET", path)[1] for path in sorted(OPEN))
    print(said.decode())
    assert not re.search(rb"exp4|postgres|/sweeps|settings|password", said)


def test_a_wrong_password_is_refused_and_the_right_one_is_not(service):
    """Else the refusals would say nothing."""
    assert service.status("POST", SEARCH, {"max_results": 5}, user=("admin", "password1234")) == 401
    status, content = service.ask("POST", SEARCH, {"max_results": 5}, user=service.admin)
    assert status == 200
    assert "exp4" in {experiment["name"] for experiment in json.loads(content)["experiments"]}


def test_a_new_user_sees_nothing(service):
    """Without a permission somebody else's experiment cannot be read, changed or found."""
    user = {"username": "guest", "password": "a long enough one"}
    assert service.status("POST", "/api/2.0/mlflow/users/create", user, user=service.admin) == 200
    guest = tuple(user.values())
    _, content = service.ask("GET", "/api/2.0/mlflow/experiments/get-by-name?experiment_name=exp4", user=service.admin)
    identity = json.loads(content)["experiment"]["experiment_id"]

    assert service.status("GET", f"/api/2.0/mlflow/experiments/get?experiment_id={identity}", user=guest) == 403
    assert service.status("POST", "/api/2.0/mlflow/experiments/delete", {"experiment_id": identity}, user=guest) == 403
    status, content = service.ask("POST", SEARCH, {"max_results": 50}, user=guest)
    assert (status, json.loads(content).get("experiments", [])) == (200, [])


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "169.254.169.254", "10.0.0.7:5000"])
def test_another_host_is_refused_even_with_the_password(service, host):
    """A name that points here, or the machine's own address, gets 403."""
    assert service.status("POST", SEARCH, {"max_results": 5}, user=service.admin, Host=host) == 403


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1.evil.example"])
def test_a_page_of_another_origin_changes_nothing(service, origin):
    """A form that a web page sends through a browser that knows the password gets 403."""
    create = {"name": f"by {origin}"}

    assert (
        service.status("POST", "/api/2.0/mlflow/experiments/create", create, user=service.admin, Origin=origin) == 403
    )


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_no_path_leads_to_a_file(service, method):
    """The server passes no artifacts on (503, or 401 without the password): no spelling of the way up gets a word."""
    for user, allowed in ((None, {401}), (service.admin, {400, 403, 404, 405, 503})):
        for up in UP:
            for slash in SLASH:
                path = f"/api/2.0/mlflow-artifacts/artifacts/{(up + slash) * 2}settings/password"
                status, content = service.ask(method, path, user=user)
                assert status in allowed, (path, status)
                assert service.password.encode() not in content


def made_run(service, user, name, **where):
    """Return a new run of a new experiment."""
    create = {"name": name, **where}
    status, content = service.ask("POST", "/api/2.0/mlflow/experiments/create", create, user=user)
    assert status == 200, content
    experiment = json.loads(content)["experiment_id"]
    _, content = service.ask("POST", "/api/2.0/mlflow/runs/create", {"experiment_id": experiment}, user=user)
    return json.loads(content)["run"]["info"]["run_id"]


def test_no_artifacts_path_leads_out_of_the_run(service):
    """The page that shows a run's files shows those: every way up is refused."""
    run = made_run(service, service.admin, "up")
    for up in UP:
        for slash in SLASH:
            for depth in range(1, 7):
                path = f"{(up + slash) * depth}settings/password"
                status, content = service.ask("GET", f"/get-artifact?run_uuid={run}&path={path}", user=service.admin)
                assert 400 <= status < 500, (path, status)
                assert service.password.encode() not in content


@pytest.mark.parametrize("scheme", ["file://", ""])
def test_a_user_cannot_name_the_servers_own_files_as_artifacts(service, scheme):
    """An experiment whose artifacts are to lie in the settings' folder hands out no password."""
    user = {"username": f"reader{len(scheme)}", "password": "a long enough one"}
    assert service.status("POST", "/api/2.0/mlflow/users/create", user, user=service.admin) == 200
    reader = tuple(user.values())
    run = made_run(service, reader, f"of {user['username']}", artifact_location=f"{scheme}{service.settings}")
    _, content = service.ask("GET", f"/get-artifact?run_uuid={run}&path=../../../password", user=reader)
    _, more = service.ask("GET", f"/get-artifact?run_uuid={run}&path=password", user=reader)
    assert service.password.encode() not in content + more
    model = {"name": user["username"]}
    assert service.status("POST", "/api/2.0/mlflow/registered-models/create", model, user=reader) == 200
    version = model | {"source": f"{scheme}{service.settings}"}
    assert service.status("POST", "/api/2.0/mlflow/model-versions/create", version, user=reader) == 400


def test_restored_onto_an_empty_volume_the_new_volumes_password_is_the_admins(service, head):
    """The volume lost, sweeps get in by what the new one's sweep.env says, users by what they always had."""
    user = {"username": "colleague", "password": "a long enough one"}
    assert service.status("POST", "/api/2.0/mlflow/users/create", user, user=service.admin) == 200
    made_run(service, tuple(user.values()), "of a colleague")
    backup = head.back_up()

    with new_head("of_a_new_volume") as new:
        sh("restore.sh", backup, SWEEP_SETTINGS=str(new.settings))
        restored = Service(new)
        try:
            restored.start()
            assert restored.password != service.password
            status, content = restored.ask("POST", SEARCH, {"max_results": 50}, user=restored.admin)
            assert status == 200
            assert {"exp4", "of a colleague"} <= {one["name"] for one in json.loads(content)["experiments"]}
            status, content = restored.ask("POST", SEARCH, {"max_results": 50}, user=tuple(user.values()))
            assert (status, [one["name"] for one in json.loads(content)["experiments"]]) == (200, ["of a colleague"])
            assert restored.status("POST", SEARCH, {"max_results": 5}, user=service.admin) == 401
        finally:
            restored.stop()
