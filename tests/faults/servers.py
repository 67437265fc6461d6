"""An MLflow server and a Ray cluster of several nodes on this machine, to be killed, stopped and started again."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.request

from orchestrator.serve import server_command
from tests.faults.lab import ROOT

STARTS_S = 60


def free_port():
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class MlflowServer:
    """The real server, on a database and artifacts of its own under a folder."""

    def __init__(self, folder):
        """Start nothing yet."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self.port = folder, free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self._process = None

    def start(self):
        """Start it and wait until it answers."""
        environment = os.environ | {
            "MLFLOW_BACKEND_STORE_URI": f"sqlite:///{self._folder / 'mlflow.db'}",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        }
        environment.pop("SWEEP_FAULTS", None)
        with (self._folder / "log").open("a") as log:
            self._process = subprocess.Popen(
                server_command((self._folder / "artifacts").as_uri(), self.port),
                stdout=log, stderr=log, env=environment, start_new_session=True,
            )  # fmt: skip
        end = time.monotonic() + STARTS_S
        while time.monotonic() < end:
            try:
                with urllib.request.urlopen(f"{self.uri}/health", timeout=2):  # noqa: S310  (loopback)
                    return
            except OSError:
                time.sleep(0.2)
        raise TimeoutError(f"MLflow did not start: {(self._folder / 'log').read_text()[-2000:]}")

    def signal(self, number):
        """Send a signal to the server and all its workers."""
        if self._process is not None:
            os.killpg(self._process.pid, number)

    def kill(self):
        """End it as a crash would."""
        if self._process is not None:
            self.signal(signal.SIGKILL)
            self._process.wait()
            self._process = None


class RayNodes:
    """A head without cores for trials and nodes of one core each, with a token of their own."""

    def __init__(self, folder):
        """Start nothing yet."""
        token = folder / "ray-token"
        folder.mkdir(parents=True, exist_ok=True)
        token.write_text(secrets.token_hex(32), encoding="ascii")
        token.chmod(0o600)
        self.environment = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token), "OMP_NUM_THREADS": "1"}
        self.environment |= {"RAY_USAGE_STATS_ENABLED": "0", "SWEEP_FAULTS": str(folder / "faults")}
        self.environment["PYTHONPATH"] = str(ROOT)  # the nodes' workers import this checkout
        self.port, self.nodes, self._code = free_port(), [], None

    @property
    def address(self):
        """Return what --address takes."""
        return f"127.0.0.1:{self.port}"

    def start(self, nodes=2):
        """Start the head and so many nodes."""
        self._head = self._ray("--head", f"--port={self.port}", "--num-cpus=0", "--include-dashboard=false")
        end = time.monotonic() + STARTS_S
        while time.monotonic() < end:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                break
            except OSError:
                time.sleep(0.2)
        time.sleep(2)
        for number in range(nodes):  # one by one: two that look for free ports at once may take the same
            self.add()
            self._await(number + 1)

    def _await(self, nodes):
        """Wait until the nodes have joined."""
        ask = f"import ray; ray.init(address={self.address!r}, log_to_driver=False)"
        ask += "; print('CPUS', ray.cluster_resources().get('CPU'))"
        end = time.monotonic() + STARTS_S
        while time.monotonic() < end:
            asked = subprocess.run(
                [sys.executable, "-c", ask],
                env=os.environ | self.environment, capture_output=True, text=True, check=False,
            )  # fmt: skip
            if f"CPUS {float(nodes)}" in asked.stdout:
                return
        raise TimeoutError(f"{nodes} nodes did not join: {asked.stdout} {asked.stderr[-2000:]}")

    def add(self):
        """Start one more node."""
        self.nodes.append(self._ray(f"--address={self.address}", "--num-cpus=1"))

    def lose(self, node):
        """Take a node away without notice: its raylet, agents and workers at once."""
        os.killpg(node.pid, signal.SIGKILL)
        for pid in workers_of(node.pid):
            os.kill(pid, signal.SIGKILL)
        node.wait()
        self.nodes.remove(node)

    def stop(self):
        """Take all away."""
        for node in [*self.nodes, self._head]:
            for pid in [*workers_of(node.pid), node.pid]:
                try:
                    os.kill(pid, signal.SIGKILL)
                except OSError:
                    continue
            try:
                os.killpg(node.pid, signal.SIGKILL)
            except OSError:
                continue

    def _ray(self, *arguments):
        line = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats", *arguments]
        return subprocess.Popen(
            line, env=os.environ | self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip


def workers_of(session):
    """Return the processes of a session: Ray gives its workers groups of their own."""
    found = []
    for name in os.listdir("/proc"):  # noqa: PTH208
        if name.isdigit():
            try:
                if os.getsid(int(name)) == session and int(name) != session:
                    found.append(int(name))
            except OSError:
                continue
    return found
