"""`ray up`, `ray exec` and `ray down` on test hosts, by a copy of cluster/local.yaml with their addresses."""

import os
import re
import secrets
import shlex
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "cluster" / "local.yaml"
CHECKOUT = "~/multitask-sweeps"
SPACE = "search_spaces/exp4.py"
CACHE = "/root/sweep-cache"
PASSED_ON = ("RAY_worker_niceness",)
"""Of this process's environment: on a busy machine Ray's own 15 is little."""
MAKES = ("python3 -m venv", "make .venv/.installed")
"""What makes the environment: of the set-up's commands test hosts leave out those."""
SMALL = "--object-store-memory=100000000"
UP_S = 180


class Launcher:
    """A cluster of which host 1 is the head, and each other one a worker of one core and one declared GPU."""

    def __init__(self, hosts, environment=()):
        """Write the cluster file and a token; `environment` is what nodes start with beside."""
        self.hosts, self.file, token = hosts, hosts.folder / "cluster.yaml", hosts.folder / "token"
        token.write_text(secrets.token_hex(32), encoding="ascii")
        token.chmod(0o600)
        cluster = yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))
        cluster["cluster_name"] = "test-hosts"
        cluster["provider"]["head_ip"] = hosts.address(1)
        cluster["provider"]["worker_ips"] = [hosts.address(number) for number in range(2, hosts.count + 1)]
        cluster["auth"] = {"ssh_user": "root", "ssh_private_key": str(hosts.key)}
        cluster["file_mounts"] = {CHECKOUT: str(ROOT), "~/.ray-token": str(token)}
        # The hosts have the environment already, where this machine has it.
        venv = (ROOT / ".venv").resolve()
        links = f"mkdir -p ~/runs && cd {CHECKOUT} && ln -sfn {venv} .venv && ln -sfn ~/runs runs"
        shipped = cluster["setup_commands"]
        left = [command for command in shipped if not any(made in command for made in MAKES)]
        assert len(left) == len(shipped) - len(MAKES), shipped
        cluster["setup_commands"] = [links, *left]
        for commands, more in (("head", SMALL), ("worker", f"--num-cpus=1 --num-gpus=1 {SMALL}")):
            name = f"{commands}_start_ray_commands"
            cluster[name] = [started(command, more, environment) for command in cluster[name]]
        self.file.write_text(yaml.safe_dump(cluster, sort_keys=False), encoding="utf-8")

    def up(self):
        """Bring the cluster up, or up to date."""
        return self._ray("up", "--yes", "--no-config-cache", str(self.file), timeout=UP_S)

    def down(self):
        """Take it down."""
        return self._ray("down", "--yes", str(self.file), timeout=UP_S)

    def exec(self, command, output):
        """Start a command on the head, as a person would, its output in a file; return the process."""
        with output.open("a", encoding="utf-8") as shown:
            return subprocess.Popen(
                [*RAY, "exec", str(self.file), command],
                env=self._environment(), stdin=subprocess.DEVNULL, stdout=shown, stderr=subprocess.STDOUT, cwd=ROOT,
                start_new_session=True,
            )  # fmt: skip

    def _ray(self, *words, timeout):
        done = subprocess.run(
            [*RAY, *words], env=self._environment(), cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=timeout, check=False,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"ray {words[0]} ended with {done.returncode}:\n{done.stdout[-4000:]}")
        return done.stdout

    def _environment(self):
        """Return what the launcher needs: Ray's newer autoscaler would start one of two workers."""
        more = {"RAY_UP_enable_autoscaler_v2": "0", "RAY_USAGE_STATS_ENABLED": "0"}
        more["RAY_TMPDIR"] = str(self.hosts.folder / "launcher")  # where it notes the state of clusters
        Path(more["RAY_TMPDIR"]).mkdir(exist_ok=True)
        return os.environ | more


RAY = (sys.executable, "-m", "ray.scripts.scripts")


def started(command, more, environment=()):
    """Return a start command for a small node whose GPU is declared and not there; another command as it is."""
    if "ray start" not in command:
        return command
    given = {name: os.environ[name] for name in PASSED_ON if name in os.environ} | dict(environment)
    kept = " ".join(f"{name}={shlex.quote(value)}" for name, value in given.items())
    return f"export SWEEP_DECLARED_GPUS=1 SWEEP_CACHE={CACHE} {kept}; {command} {more}"


def documented():
    """Return the command that docs/cluster.md gives `ray exec`, for the folder that test hosts share.

    Without `--tmux`: its end is waited for.
    """
    text = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")
    command = " ".join(re.search(r"ray exec cluster/local\.yaml --tmux '([^']*)'", text)[1].split())
    words = f"-m orchestrator.sweep {SPACE} ", " --out /shared/"
    if not all(word in command for word in words):
        raise RuntimeError(f"docs/cluster.md has another command: {command}")
    return command.replace("/shared/", "/mnt/shared/")
