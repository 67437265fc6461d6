"""Nobody beyond this machine reaches a local sweep or its MLflow server; on it, nobody without the token."""

import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import urllib.request
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

import psutil
import pytest

from tests.faults.lab import ROOT, Lab
from tests.faults.servers import free_port

pytestmark = pytest.mark.slow

TIMEOUT_S = 120
METHODS = (
    "CoreWorkerService/PushTask",
    "CoreWorkerService/GetCoreWorkerStats",
    "NodeManagerService/GetNodeStats",
    "NodeManagerService/RequestWorkerLease",
    "ActorInfoGcsService/RegisterActor",
    "InternalKVGcsService/InternalKVPut",
    "JobInfoGcsService/AddJob",
    "ObjectManagerService/Push",
)
"""Of every kind of server that Ray starts; the first of each kind would run code, or lead to it."""
UNAUTHENTICATED, UNIMPLEMENTED = "16", "12"
"""gRPC's status codes."""
JOIN = """
import sys
from ray._raylet import GcsClient
print(len(GcsClient(address=sys.argv[1]).get_all_node_info()), "nodes")
"""


@dataclass
class Running:
    """A sweep that runs, with a server beside it."""

    lab: Lab
    driver: subprocess.Popen
    server: subprocess.Popen
    folder: Path
    """The temporary folder that both were given."""

    @property
    def token(self):
        """Return what the sweep's own processes show each other."""
        return (self.lab.out / ".ray-token").read_text(encoding="ascii")

    @property
    def head(self):
        """Return the address of the head."""
        (command,) = [each for each in map(_command, self.lab.processes()) if "/gcs_server" in each]
        return f"127.0.0.1:{_listening(int(command.split()[0]))[0].port}"


def _command(pid):
    try:
        return f"{pid} {' '.join(psutil.Process(pid).cmdline())}"
    except psutil.NoSuchProcess:
        return ""


def _listening(pid):
    try:
        found = psutil.Process(pid).net_connections("tcp")
    except psutil.NoSuchProcess:
        return []
    return [each.laddr for each in found if each.status == psutil.CONN_LISTEN]


def is_loopback(address):
    """Return whether only this machine reaches an address that is listened on."""
    found = ip_address(address)
    return (getattr(found, "ipv4_mapped", None) or found).is_loopback


@pytest.fixture(scope="module")
def running(tmp_path_factory, tiny_data, tiny_encoder):
    """Yield a local sweep that trains, in a temporary folder that others may read, and orchestrator.serve beside it."""
    lab = Lab(tmp_path_factory.mktemp("ports"), tiny_data, tiny_encoder, trials=2, epochs=900)
    folder = Path(tempfile.mkdtemp(prefix="p", dir="/tmp"))
    folder.chmod(0o755)
    lab.environment["TMPDIR"] = str(folder)
    os.environ.pop("RAY_TMPDIR", None)
    (lab.folder / "mlflow.db").touch()
    server = subprocess.Popen(
        [sys.executable, "-m", "orchestrator.serve", "--out", str(lab.folder), "--port", str(free_port())],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    before = os.umask(0o022)
    try:
        driver = lab.start()
        os.umask(before)
        lab.wait_for("step: taken", timeout=TIMEOUT_S)
        for line in server.stdout:
            if "Ctrl-C stops the server" in line:
                break
        yield Running(lab, driver, server, folder)
        driver.send_signal(signal.SIGTERM)
        assert driver.wait(TIMEOUT_S) == 130
    finally:
        os.umask(before)
        server.terminate()
        server.wait(TIMEOUT_S)
        lab.kill_all()
        shutil.rmtree(folder, ignore_errors=True)


def test_a_local_sweep_listens_on_loopback_alone(running):
    """The driver and all of Ray's processes: head, raylet, agents, workers; none is reached from another machine."""
    pids = running.lab.processes()
    found = {(pid, address) for pid in pids for address in _listening(pid)}
    beyond = [f"{_command(pid)[:120]} listens on {address}" for pid, address in found if not is_loopback(address.ip)]
    assert running.driver.pid in {pid for pid, _ in found}
    print(f"{len(found)} ports of {len(pids)} processes, {len(beyond)} beyond loopback")
    assert len(found) >= 6
    assert beyond == []


def test_our_mlflow_server_listens_on_loopback_alone(running):
    """So do all processes of python -m orchestrator.serve, and the interface answers there."""
    pids = [running.server.pid, *(each.pid for each in psutil.Process(running.server.pid).children(recursive=True))]
    found = [address for pid in pids for address in _listening(pid)]
    assert found
    assert [address for address in found if not is_loopback(address.ip)] == []
    with urllib.request.urlopen(f"http://127.0.0.1:{found[0].port}/health", timeout=30) as answer:
        assert answer.status == 200


@pytest.mark.parametrize("mode", ["disabled", "another token", "the token"])
def test_the_head_refuses_a_client_without_the_token(running, mode):
    """Another process of this machine that does not have the sweep's token is not let in; one that has it is."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {"RAY_AUTH_MODE": "disabled" if mode == "disabled" else "token"}
    environment |= {"RAY_AUTH_TOKEN": running.token if mode == "the token" else "0" * 64} if "token" in mode else {}

    asked = subprocess.run(
        [sys.executable, "-c", JOIN, running.head],
        env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False,
    )  # fmt: skip

    assert ("1 nodes" in asked.stdout) == (mode == "the token"), asked.stdout + asked.stderr
    assert ("InvalidAuthToken" in asked.stdout + asked.stderr) == (mode != "the token")


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl speaks HTTP/2, Python does not")
def test_every_port_refuses_a_call_without_the_token(running):
    """Whatever Ray listens on, a call that it knows is answered with unauthenticated, also with a wrong token."""
    refused, known = {}, {}
    for pid in running.lab.processes():
        for address in _listening(pid):
            for method in METHODS:
                for token in (None, "0" * 64):
                    status = _call(address.port, method, token)
                    if status not in (None, UNIMPLEMENTED):
                        known.setdefault(address.port, set()).add(method)
                        refused.setdefault(status, []).append(f"{_command(pid)[:60]} {method}")
    print({port: sorted(methods) for port, methods in known.items()})
    assert set(refused) == {UNAUTHENTICATED}, refused
    assert {method for methods in known.values() for method in methods} == set(METHODS)
    assert _call(int(running.head.rpartition(":")[2]), "NodeInfoGcsService/GetAllNodeInfo", running.token) == "0"


def test_the_agent_of_environments_refuses_a_request_without_the_token(running):
    """Ray's agent that would install packages speaks HTTP, and answers 401."""
    agents = [pid for pid in running.lab.processes() if "RuntimeEnvAgent" in _command(pid)]
    ports = [address.port for pid in agents for address in _listening(pid)]
    assert ports
    for port in ports:
        for path in ("get_or_create_runtime_env", "delete_runtime_env_if_possible", "get_runtime_envs_info"):
            request = urllib.request.Request(f"http://127.0.0.1:{port}/{path}", data=b"")
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(request, timeout=30)  # noqa: S310
            assert refused.value.code in (401, 403)


def _call(port, method, token):
    """Return the status of an empty gRPC call, None where nobody speaks it there."""
    headers = ["content-type: application/grpc", "te: trailers"]
    headers += [f"authorization: Bearer {token}"] if token else []
    command = ["curl", "-s", "-m", "10", "--http2-prior-knowledge", "-D", "-", "-o", "/dev/null"]
    command += [word for header in headers for word in ("-H", header)]
    command += ["--data-binary", "@-", f"http://127.0.0.1:{port}/ray.rpc.{method}"]
    answer = subprocess.run(command, input=bytes(5), capture_output=True, check=False)
    found = re.search(r"^grpc-status: (\d+)", answer.stdout.decode(errors="replace"), re.MULTILINE)
    return found[1] if found else None


def test_no_other_user_enters_rays_temporary_folder(running):
    """Ray lets everybody write to its sockets' folder and read its logs; all of it lies in a folder that is ours."""
    sessions = [path for path in running.folder.rglob("session_2*") if path.is_dir()]
    assert len(sessions) == 1
    above = [path for path in sessions[0].parents if path.is_relative_to(running.folder)]
    assert [path for path in above if stat.S_IMODE(path.stat().st_mode) == 0o700 and path.stat().st_uid == os.getuid()]


def test_what_a_running_sweep_writes_is_its_owners_alone(running):
    """Every folder 0700, every file 0600, whoever of us, MLflow, Optuna and Ray wrote it and whatever the umask."""
    assert readable([*running.lab.out.iterdir()]) == []
    assert {path.name for path in running.lab.out.iterdir()} >= {"mlflow.db", ".ray-token", running.lab.sweep.name}


def test_what_a_finished_sweep_has_written_is_its_owners_alone(finished):
    """The same at the end, with checkpoints, MLflow's artifacts and Tune's notes in it; and OUT itself, made anew."""
    assert readable([finished.out]) == []
    assert {path.name for path in finished.out.iterdir()} >= {"mlflow.db", "mlartifacts", ".ray-token", "cache"}
    assert any((finished.sweep / "ray").rglob("*"))


def readable(places):
    """Return what others may read or write of some folders and all that is in them."""
    every = list(places)
    for place in places:
        for folder, folders, files in os.walk(place):
            every += [Path(folder) / name for name in folders + files]
    return [path for path in every if mode(path) & 0o077]


def mode(path):
    """Return a file's permissions; none for a link, nor for what a running sweep has taken away since it was listed."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return 0
    return 0 if stat.S_ISLNK(status.st_mode) else stat.S_IMODE(status.st_mode)


def test_addresses_are_told_apart():
    """What counts as loopback: also IPv6's way to write IPv4's; never an address that stands for all."""
    loopback = ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"]
    assert [is_loopback(each) for each in loopback] == [True] * 4
    beyond = ["0.0.0.0", "::", "192.0.2.2", "::ffff:192.0.2.2", "fe80::1"]  # noqa: S104  (nothing is bound)
    assert [is_loopback(each) for each in beyond] == [False] * 5
