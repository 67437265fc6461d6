"""A real sweep on a cluster of machines that get lost: `make cluster-test`.

`ray up` on test hosts, exp4 on workers of one declared GPU each: one has lost its checkout, one does not see the shared
folder. A worker's host is cut off in mid-trial and booted again; the head is destroyed with its disk, a new one comes,
and the same command goes on; `ray down`. The leaderboard is held against that of the same sweep run on this machine
alone. The command on the head is docs/cluster.md's, in the shell that `ray exec` gives a person. What happened, and
when, is printed, and written as a page with --page FILE.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from mlflow import MlflowClient

from orchestrator.paths import SweepPaths, tracking_uri
from orchestrator.plan import read_plan
from orchestrator.study import TrialStudy
from orchestrator.trial_files import read_verdict
from tests.cluster.boards import differences, same_best
from tests.cluster.hosts import Hosts, lacking
from tests.cluster.launcher import CACHE, CHECKOUT, ROOT, SHIPPED, SPACE, Launcher, documented
from tests.cluster.transcript import Transcript, machine

EPOCHS = 12
"""Enough that trials are left when Ray has seen that a host is lost, after a minute, also on a fast machine."""
SMALL = ["--profile", "laptop", "--epochs", str(EPOCHS), "--cpus-per-trial", "1"]
SMALL += ["--max-train-examples", "160", "--max-dev-examples", "60"]
HOSTS, BAD = 4, 4
"""A head and three workers, of which the last does not see the shared folder."""
REFUSED = f"node {Hosts.name(BAD)}: does not see /mnt/shared/runs/exp4"
DOWN_S = 120
"""Seconds that workers are given to see that their head has gone."""
LIMIT_S = 900
"""Seconds for each wait: the machine is shared."""


class Walk(Transcript):
    """One run of the story, and its transcript."""

    def __init__(self, folder):
        """Start nothing yet."""
        super().__init__()
        self.folder = folder

    def run(self):
        """Go through it all; return the figures."""
        own = self.alone()
        with Hosts(self.folder / "hosts", HOSTS) as hosts:
            self.hosts = hosts
            launcher = Launcher(hosts)
            started = time.monotonic()
            launcher.up()
            self.say(f"ray up: the head is ready after {time.monotonic() - started:.1f} s")
            for number in range(2, HOSTS + 1):
                self.until(f"host {number} has a raylet", lambda n=number: self.has_raylet(n))
            self.say(f"all workers have joined: {time.monotonic() - started:.1f} s")
            # A node needs the environment alone, and the shared folder.
            hosts.ssh(3, f"rm -rf {CHECKOUT}/model {CHECKOUT}/orchestrator {CHECKOUT}/evidence")
            hosts.ssh(BAD, "umount /mnt/shared && rmdir /mnt/shared")
            self.say(f"host 3 loses its checkout, host {BAD} the shared folder")
            driver = self.sweep(launcher)
            self.until(f"host {BAD} is told of", lambda: REFUSED in self.printed(), driver)
            self.say(f"the driver has said of host {BAD} that it gets no more trials")
            self.loss = self.lose_worker(driver)
            self.head = self.lose_head(driver, launcher)
            ran = self.ended()
            for number in (2, 3):
                kept = hosts.ssh(number, f"du -sh {CACHE}/prefix | cut -f1").strip()
                self.say(f"host {number} keeps the frozen layers' states on its own disk: {kept}")
            launcher.down()
            down = time.monotonic()
            while (left := self.raylets()) and time.monotonic() - down < DOWN_S:
                time.sleep(1)
            after = time.monotonic() - down
            self.expect(f"`ray down` leaves no raylet on any host, {after:.0f} s after it {left or ''}", holds=not left)
        self.compare(own, ran)
        return not self.failures

    def raylets(self):
        """Return the hosts on which Ray runs."""
        return [number for number in range(1, HOSTS + 1) if self.has_raylet(number)]

    def has_raylet(self, number):
        """Return whether Ray runs on a host."""
        return "raylet" in self.hosts.ssh(number, "ps -A -o comm=")

    def alone(self):
        """Run the sweep on this machine; return its leaderboard."""
        out = self.folder / "alone"
        line = [sys.executable, "-m", "orchestrator.sweep", SPACE, *SMALL]
        line += ["--concurrent", "2", "--out", str(out), "--quiet"]
        started = time.monotonic()
        # Hosts know nothing of this: another kernel of the same library gives a correlation another last bit.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("OPENBLAS_")}
        subprocess.run(line, cwd=ROOT, check=True, timeout=LIMIT_S, env=environment | {"PYTHONPATH": str(ROOT)})
        self.say(f"the sweep on this machine alone: {time.monotonic() - started:.0f} s")
        return json.loads(SweepPaths(out, "exp4").leaderboard.read_text(encoding="utf-8"))

    def sweep(self, launcher):
        """Start the sweep on the head."""
        command = f"{documented()} {' '.join(SMALL)}"
        self.say(f"on the head: {command}")
        return launcher.exec(f"{command} >>/mnt/shared/driver.log 2>&1", self.folder / "exec.log")

    def lose_worker(self, driver):
        """Cut off host 3 in mid-trial, and boot it again; return the seconds until its trial went on."""
        name = self.hosts.name(3)
        self.until(f"a trial runs on {name} beyond its first epoch", lambda: self.running(name), driver)
        number, attempt = self.running(name)[0]
        self.hosts.cut(3)
        cut, before = time.monotonic(), time.time()
        self.say(f"host 3 is cut off; on it ran trial {number}, attempt {attempt}, beyond its first epoch")
        self.until("the driver says that the node is lost", lambda: "interrupted (node lost)" in self.printed(), driver)
        noticed = time.monotonic() - cut
        self.hosts.start(3)
        booted = time.monotonic() - cut
        self.say(f"host 3 is booted again, with its disk; nothing else is done to it ({booted:.1f} s after the cut)")
        self.until(
            f"trial {number} goes on", lambda: any(a > attempt for n, a, _ in self.started() if n == number), driver
        )
        where = next(host for n, a, host in self.started() if n == number and a > attempt)
        resumed = time.monotonic() - cut
        self.say(f"trial {number} goes on, on {where}: {resumed:.1f} s after the cut")
        self.until(f"{name} takes a trial again", lambda: self.fresh(name, before), driver)
        back = time.monotonic() - cut
        return {"noticed_s": noticed, "booted_s": booted, "resumed_s": resumed, "host_back_s": back}

    def lose_head(self, driver, launcher):
        """Destroy the head with its disk and the driver in mid-trial; run the same command to its end on a new one."""
        self.until("another trial is in its midst", lambda: self.running(*map(self.hosts.name, (2, 3))), driver)
        ended, before = self.verdicts(), time.time()
        self.hosts.cut(1)
        cut = time.monotonic()
        self.say(f"the head is cut off, with the driver, MLflow's store open; {ended} of 7 trials have ended")
        driver.kill()
        driver.wait()
        self.hosts.wipe(1)
        self.hosts.start(1)
        launcher.down()  # else `ray up` takes the new machine, at the old address, for one that is set up
        launcher.up()
        again = time.monotonic() - cut
        self.say(
            f"a new head is there, with an empty disk; `ray down` and `ray up` are done: {again:.1f} s after the cut"
        )
        driver = self.sweep(launcher)
        self.until("a trial goes on", lambda: any(self.fresh(self.hosts.name(n), before) for n in (2, 3)), driver)
        resumed = time.monotonic() - cut
        self.say(f"the first trial goes on: {resumed:.1f} s after the cut")
        self.until("the command ends", lambda: driver.poll() is not None)
        self.expect(f"the command ends with exit code {driver.returncode}", holds=driver.returncode == 0)
        return {"up_again_s": again, "resumed_s": resumed}

    def ended(self):
        """Return the cluster's leaderboard."""
        return json.loads(self.paths.leaderboard.read_text(encoding="utf-8"))

    def compare(self, own, ran):
        """Hold what the cluster did against the sweep alone, and count what was lost and doubled."""
        other = differences(own, ran)
        self.expect("leaderboard equal but for times, paths and run ids", holds=not other)
        for line in other[:20]:
            self.say(f"     {line}")
        plan = read_plan(self.paths.plan)
        uri = tracking_uri(self.hosts.shared / "runs")
        client = MlflowClient(uri, registry_uri=uri)
        experiment = client.get_experiment_by_name("exp4")
        runs = client.search_runs([experiment.experiment_id], "tags.kind = 'trial'", max_results=1000)
        in_mlflow = Counter(run.data.tags["trial"] for run in runs)
        in_study = TrialStudy(self.paths.study_uri, plan, None).ended()
        verdicts = [read_verdict(self.paths.trial(number)) or {} for number in range(plan.trials)]
        lost = [n for n, v in enumerate(verdicts) if v.get("state") != "completed" or in_study.get(n) != "completed"]
        lost += [n for n in range(plan.trials) if not in_mlflow[str(n)] and n not in lost]
        doubled = [trial for trial, count in in_mlflow.items() if count > 1]
        epochs = [[entry["epoch"] for entry in verdict.get("history", ())] for verdict in verdicts]
        self.expect(f"trials lost: {len(lost)}", holds=not lost)
        self.expect(
            f"trials doubled: {len(doubled)}; {len(in_study)} in the study of {plan.trials} in the plan",
            holds=not doubled and len(in_study) == plan.trials,
        )
        self.expect("every epoch of every trial stands once", holds=epochs == [list(range(1, EPOCHS + 1))] * 7)
        own_paths = SweepPaths(self.folder / "alone", "exp4")
        same = [n for n in range(plan.trials) if same_best(own_paths, self.paths, n)]
        self.expect(
            f"weights and dev predictions equal to the bit: {len(same)} of {plan.trials} trials",
            holds=len(same) == plan.trials,
        )
        attempts = [len(self.paths.trial(number).attempts()) for number in range(plan.trials)]
        self.say(f"attempts a trial: {attempts}")

    @property
    def paths(self):
        """Return the sweep's paths as this machine sees them."""
        return SweepPaths(self.hosts.shared / "runs", "exp4")

    def started(self):
        """Return number, attempt and host of each attempt that has begun."""
        found = []
        for path in sorted(self.paths.root.glob("trials/*/attempt-*/started.json")):
            attempt = int(path.parent.name.removeprefix("attempt-"))
            found.append((int(path.parents[1].name), attempt, json.loads(path.read_text(encoding="utf-8"))["host"]))
        return found

    def running(self, *hosts):
        """Return trial and attempt of what runs on these hosts beyond its first epoch, and before its last one."""
        newest = {number: (attempt, at) for number, attempt, at in self.started()}
        return [(number, attempt) for number, (attempt, at) in newest.items() if at in hosts and self.midst(number)]

    def midst(self, number):
        """Return whether a trial has saved an epoch, and has not ended."""
        states = {path.name for path in self.paths.trial(number).root.glob("attempt-*/state-????")}
        return bool(states) and f"state-{EPOCHS:04d}" not in states and not self.paths.trial(number).verdict.exists()

    def fresh(self, host, since):
        """Return whether an attempt has begun on a host since then, by the clock."""
        return any(
            at == host and (self.paths.trial(n).attempt(a) / "started.json").stat().st_mtime > since
            for n, a, at in self.started()
        )

    def verdicts(self):
        """Return how many trials have ended."""
        return len(list(self.paths.root.glob("trials/*/verdict.json")))

    def printed(self):
        """Return what the drivers printed."""
        output = self.hosts.shared / "driver.log"
        return output.read_text(encoding="utf-8", errors="replace") if output.exists() else ""

    def until(self, what, holds, driver=None):
        """Wait until something holds; say so where it does not come, or the driver ends before."""
        end = time.monotonic() + LIMIT_S
        while not holds():
            over = driver is not None and driver.poll() is not None
            if over or time.monotonic() > end:
                why = f"the driver ended with {driver.returncode}" if over else f"not within {LIMIT_S} s"
                raise RuntimeError(f"{what}: {why}\n{self.printed()[-3000:]}")
            time.sleep(0.1)


def page(walk, command):
    """Return the transcript as a page for docs/results."""
    loss, head = walk.loss, walk.head
    rows = [
        ("host lost: the driver says so after", loss["noticed_s"]),
        ("host lost: it is booted again after", loss["booted_s"]),
        ("host lost: its trial goes on after", loss["resumed_s"]),
        ("host lost: it takes a trial again after, by the autoscaler alone", loss["host_back_s"]),
        ("head lost with its disk: a new one booted and `ray up` done after", head["up_again_s"]),
        ("head lost: the first trial goes on after", head["resumed_s"]),
    ]
    shown = [line for line in walk.printed().splitlines() if line.startswith(("exp4", "  Ray", "error", "note"))]
    on = (
        f"{machine()}, shared with other jobs. Machines are network and PID namespaces with an sshd each "
        "(tests/cluster/hosts.sh); a cut takes the network first, so that no connection says goodbye. Command: "
        f"`{command}`."
    )
    return "\n".join([
        "# A sweep on a cluster of machines that get lost", "",
        on, "",
        "| what | seconds |", "| --- | --- |", *(f"| {name} | {value:.1f} |" for name, value in rows), "",
        "## Transcript", "", "```", *walk.lines, "```", "",
        "## What the drivers printed", "", "```", *shown, "```", "",
    ])  # fmt: skip


def main():
    """Run it; the exit code is 1 where something does not hold, 0 too where this machine can have no test hosts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--page", type=Path, help="write the transcript here")
    arguments = parser.parse_args()
    if why := lacking() or ("" if SHIPPED.exists() else f"there is no {SHIPPED}"):
        print(f"skipped: {why}")
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # hosts are taken down then too
    # Not under /tmp, which is each host's own.
    with tempfile.TemporaryDirectory(prefix="mts-", dir="/var/tmp", ignore_cleanup_errors=True) as folder:
        walk = Walk(Path(folder))
        holds = walk.run()
        if arguments.page is not None:
            arguments.page.write_text(page(walk, "make cluster-test"), encoding="utf-8")
    raise SystemExit(0 if holds else 1)


if __name__ == "__main__":
    main()
