"""A sweep under random faults until it is done, then the invariants: `make faults` (10 min), `make soak` (an hour).

The seed is printed; the same seed draws the same kinds of faults in the same order, with the same pauses between; what
they hit depends on where the processes stand then. Trials are tiny, all else is real: processes, signals, Ray, an
MLflow server, databases, files.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.faults.checker import lasting, violations
from tests.faults.lab import Lab
from tests.faults.servers import MlflowServer, RayNodes
from tests.tiny import write_data, write_encoder

PAUSE_S = (2.0, 8.0)
"""Seconds between two faults."""
PYTHON_STARTS_S = 2.0
"""Seconds in which a signal meets Python itself, and none of our code."""
DRIVER_ENDS_S = 60
MAY_END = (0, 3, 4, 130, -signal.SIGKILL)
"""Done, MLflow away, interrupted, killed by us: any other exit code is a crash."""
LONGEST_S = 3600
WRITES = ("state/: begun", "state/: filled", "state/: flushed", "state/: in place", "best/: filled", "states: pruned")
WRITES += ("verdict.json: flushed", "verdict.json: in place", "verdict: tidying up", "report: leaves", "state: saved")


class Nemesis:
    """Draws faults and injects them into one lab; knows how to bring back what they took."""

    def __init__(self, lab, mlflow, nodes, seed):
        """Start nothing yet."""
        self.lab, self.mlflow, self.nodes = lab, mlflow, nodes
        self.kind, self.detail = random.Random(seed), random.Random(seed + 1)  # how often one is asked depends on time
        self.driver, self.done, self.starts, self.stuck, self.since = None, Counter(), 0, 0, 0.0
        self.crashes = []
        """How drivers ended that had no reason to."""
        self.owed = []
        """What is to be done later: when, and what."""
        self.kinds = {
            "worker killed": self.kill_worker,
            "worker killed at a write": lambda: self.arm("kill"),
            "worker exits 139": lambda: self.arm("exit 139"),
            "worker stopped 3 s": self.stop_worker,
            "disk full at a write": lambda: self.arm("disk full", WRITES[:5]),
            "out of memory": lambda: self.arm("out of memory", ("step: taken",)),
            "state damaged, worker killed": self.damage_state,
            "driver killed": self.kill_driver,
            "driver killed at a write": lambda: self.arm("kill driver"),
            "driver stopped 3 s": self.stop_driver,
            "Ctrl-C": lambda: self.interrupt(signal.SIGINT),
            "Ctrl-C twice": lambda: self.interrupt(signal.SIGINT, signal.SIGINT),
            "SIGTERM": lambda: self.interrupt(signal.SIGTERM),
            "SIGHUP": lambda: self.interrupt(signal.SIGHUP),
            "MLflow killed": self.kill_mlflow,
            "MLflow stopped 10 s": self.stop_mlflow,
        }
        if nodes:
            self.kinds["node lost"] = self.lose_node

    def run(self, seconds):
        """Disturb the sweep for so long, then let it end; return the seconds that it took in all."""
        started = time.monotonic()
        self.mlflow.start()
        self.start()
        while time.monotonic() - started < seconds:
            time.sleep(self.kind.uniform(*PAUSE_S))
            self.settle_debts()
            if self.over():
                break
            kind = self.kind.choice(list(self.kinds))
            if self.kinds[kind]():
                self.done[kind] += 1
                print(f"{time.monotonic() - started:6.0f} s  {kind}", flush=True)
        self.lab.disarm()
        self.settle_debts(now=True)
        while not self.over():
            if time.monotonic() - started > seconds + LONGEST_S:
                raise TimeoutError(f"the sweep does not end\n{self.lab.output()[-4000:]}")
            time.sleep(1)
        return time.monotonic() - started

    def start(self):
        """Run the command (again)."""
        self.lab.disarm()
        self.starts += 1
        self.since = time.monotonic()
        self.driver = self.lab.start()

    def over(self):
        """Return whether the sweep is done; start its driver again where it died."""
        code = self.driver.poll()
        if code is None:
            return False
        if code in (0, 3) and "finished" in self.lab.output()[-2000:]:
            return True
        if code not in MAY_END:
            self.crashes.append(f"exit code {code}: {self.lab.output().strip().splitlines()[-1:]}")
        self.settle_debts(now=True)
        self.start()
        return False

    def settle_debts(self, *, now=False):
        """Do what is due."""
        for debt in [debt for debt in self.owed if now or debt[0] <= time.monotonic()]:
            self.owed.remove(debt)
            debt[1]()

    def worker(self):
        """Return the pid of a process that took a step lately, or None."""
        lines = [line for line in self.lab.log()[-300:] if line["at"] == "step: taken"]
        pids = [pid for pid in {line["pid"] for line in lines} if alive(pid)]
        return self.detail.choice(pids) if pids else None

    def kill_worker(self):
        """Kill a worker wherever it is."""
        return signalled(self.worker(), signal.SIGKILL)

    def stop_worker(self):
        """Stop a worker for a while."""
        pid = self.worker()
        if pid:
            self.owed.append((time.monotonic() + 3, lambda: signalled(pid, signal.SIGCONT)))
        return signalled(pid, signal.SIGSTOP)

    def arm(self, what, places=WRITES):
        """Ask for a fault at one of the places, the next time that it is reached."""
        place = self.detail.choice(places)
        hit = 1 + sum(line["at"] == place for line in self.lab.log())
        self.lab.arm(place, what, hit)
        end = time.monotonic() + 20
        while time.monotonic() < end and not self.lab.fired and self.driver.poll() is None:
            time.sleep(0.1)
        self.lab.disarm()
        return self.lab.fired

    def damage_state(self):
        """Flip a bit of the newest state of a trial that runs, and kill its process."""
        states = sorted(self.lab.sweep.glob("trials/*/attempt-*/state-*/model.safetensors"), key=mtime)
        pid = self.worker()
        if not states or not pid:
            return False
        try:
            content = bytearray(states[-1].read_bytes())
            content[self.detail.randrange(len(content))] ^= 1
            states[-1].write_bytes(content)
        except OSError:  # pruned meanwhile
            return False
        self.lab.note(at="state: damaged", trial=int(states[-1].parents[2].name))
        return signalled(pid, signal.SIGKILL)

    def kill_driver(self):
        """Kill the driver and wait for its end."""
        if self.driver.poll() is not None:
            return False
        signalled(self.driver.pid, signal.SIGKILL)
        self.await_driver()
        return True

    def stop_driver(self):
        """Stop the driver for a while."""
        pid = self.driver.pid
        self.owed.append((time.monotonic() + 3, lambda: signalled(pid, signal.SIGCONT)))
        return signalled(pid, signal.SIGSTOP)

    def interrupt(self, *signals):
        """Send signals to the driver's whole group, as a terminal does, and wait for its end."""
        if not any(line["at"] == "study: opened" for line in self.lab.log()):
            return False
        self.settle_debts(now=True)  # a stopped driver, or MLflow, would not hear
        time.sleep(max(0.0, self.since + PYTHON_STARTS_S - time.monotonic()))
        for number in signals:
            try:
                os.killpg(self.driver.pid, number)
            except OSError:
                return False
            time.sleep(0.5)
        self.await_driver()
        return True

    def await_driver(self):
        """Wait for the driver's end; where it does not come, take down where it stands, and end it."""
        try:
            self.driver.wait(DRIVER_ENDS_S)
        except subprocess.TimeoutExpired:
            self.stuck += 1
            print("        the driver did not end; its stacks are in the lab's output", flush=True)
            signalled(self.driver.pid, signal.SIGABRT)
            time.sleep(2)
            signalled(self.driver.pid, signal.SIGKILL)
            self.driver.wait(DRIVER_ENDS_S)

    def kill_mlflow(self):
        """Kill MLflow; it comes back after a while."""
        self.mlflow.kill()
        self.owed.append((time.monotonic() + 8, self.mlflow.start))
        while self.owed:
            time.sleep(0.5)
            self.settle_debts()
        return True

    def stop_mlflow(self):
        """Stop MLflow for a while: it listens, and never answers."""
        self.mlflow.signal(signal.SIGSTOP)
        self.owed.append((time.monotonic() + 10, lambda: self.mlflow.signal(signal.SIGCONT)))
        return True

    def lose_node(self):
        """Take a node away and bring another a little later."""
        self.nodes.lose(self.detail.choice(self.nodes.nodes))
        self.owed.append((time.monotonic() + 3, self.nodes.add))
        return True


def alive(pid):
    """Return whether there is such a process, and not its entry alone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def signalled(pid, number):
    """Send a signal; return whether there was somebody to get it."""
    try:
        os.kill(pid, number)
    except (OSError, TypeError):
        return False
    return True


def mtime(path):
    """Return when a file was written, 0 where it is gone."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def main():
    """Run the twin in peace, then the sweep under faults; print what was found as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=420, help="of faults")
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--nodes", type=int, default=0, help="a Ray cluster of so many nodes, which get lost too")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--folder", type=Path, default=None, help="kept afterwards; a temporary one by default")
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="nemesis-") as temporary:
        raise SystemExit(disturb(arguments, arguments.folder or Path(temporary)))


def disturb(arguments, root):
    """Run both sweeps under a folder; return the exit code."""
    for name in ("data", "encoder"):
        (root / name).mkdir(parents=True)
    data, encoder = write_data(root / "data"), write_encoder(root / "encoder")
    shape = {"trials": arguments.trials, "epochs": arguments.epochs}
    twin = Lab(root / "twin", data, encoder, **shape)
    _, peaceful = twin.run(timeout=LONGEST_S)
    print(f"undisturbed: {peaceful:.0f} s", flush=True)
    mlflow = MlflowServer(root / "mlflow")
    lab = Lab(root / "lab", data, encoder, **shape, more=["--tracking-uri", mlflow.uri], mlflow=mlflow.uri)
    nodes = RayNodes(lab.folder) if arguments.nodes else None
    if nodes:
        nodes.start(arguments.nodes)
        lab.more += ["--address", nodes.address]
        lab.environment = nodes.environment
    nemesis = Nemesis(lab, mlflow, nodes, arguments.seed)
    try:
        seconds = nemesis.run(arguments.seconds)
        if nodes:
            nodes.stop()
        faults = sum(nemesis.done.values())
        found = violations(lab, twin, faults)
        same = lasting(lab.board()) == lasting(twin.board())
    finally:
        mlflow.kill()
        if nodes:
            nodes.stop()
        lab.kill_all()
    said = {
        "date": time.strftime("%F"), "seed": arguments.seed, **shape, "nodes": arguments.nodes,
        "undisturbed_s": round(peaceful), "disturbed_s": round(seconds), "driver_starts": nemesis.starts,
        "faults": dict(sorted(nemesis.done.items())), "faults_in_all": faults,
        "drivers_that_did_not_end": nemesis.stuck, "drivers_that_crashed": nemesis.crashes,
        "leaderboard_equal": same, "violations": {f"I{n}": found.get(f"I{n}", []) for n in range(1, 9)},
    }  # fmt: skip
    print(json.dumps(said, indent=1), flush=True)
    return int(bool(found or nemesis.crashes or nemesis.stuck) or not same)


if __name__ == "__main__":
    main()
