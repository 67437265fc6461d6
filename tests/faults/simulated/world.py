"""A sweep in memory: the project's own code, run by processes, a disk, a training and an MLflow that are made up.

Of the processes one runs at a time, up to a place where something may happen: any write, any named failpoint.
"""

import errno
import hashlib
import json
import os
import random
import shutil
import socket
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import sqlalchemy as sa
from optuna.storages import RDBStorage
from optuna.storages._rdb.storage import _VersionManager

from model import failpoints, files
from model.checkpoint import MODEL
from model.config import CONFIG_VERSION, config_to_dict
from orchestrator import lease, registry, tracking, trial, trial_files
from orchestrator.driver import Driver
from orchestrator.errors import RunningElsewhereError, UnreachableError
from orchestrator.failures import Failure
from orchestrator.inspection import varying
from orchestrator.leaderboard import leaderboard, read_trials, write_leaderboard
from orchestrator.lease import ADVICE, FencedError
from orchestrator.paths import SweepPaths, attempt_number, state_folder
from orchestrator.plan import PLAN_VERSION, Plan, settle
from orchestrator.retention import remove_leftovers
from orchestrator.study import LEASE_S, TrialStudy
from orchestrator.tracking import Projection
from orchestrator.trial import Execution, SupersededError, run_trial
from orchestrator.trial_files import END, latest_state, read_verdict
from tests.faults.simulated.disk import LOST, MIXED, TORN, Disk
from tests.faults.simulated.store import Mlflow
from tests.faults.simulated.training import CONFIGS, TASK, course, data, training

KEEP = 1
"""Of so many trials the weights are kept."""
PLANTED = {errno.ENOSPC, errno.EIO}
CLOCK = "(SELECT seconds FROM clock)"
COUNTS = Counter()
"""What the simulations of this process came to: rules, faults, places of death."""


class Crash(BaseException):
    """The process that runs dies here: nothing of it handles this, and what it still tries to do does not happen."""


class Process:
    """Somebody who runs the project's code."""

    numbers = iter(range(5_000_000, 10**9))
    """Beyond what Linux gives: no real process is ever taken for one of these."""

    def __init__(self, host):
        self.host, self.pid, self.dead, self.place = host, next(Process.numbers), False, ""


class Run(Process):
    """One run of the sweep command, as orchestrator/session.py does it: a driver, its projection and its workers."""

    def __init__(self, world, host):
        super().__init__(host)
        self.world, self.workers, self.known = world, {}, {}
        self.study = self.lease = self.driver = self.trouble = None
        self.syncing = False

    def open(self):
        """Do what is done before the first trial, in that order."""
        paths = self.world.paths
        self.world.mlflow.catch_up()  # a process takes longer to start than a server for what it was sent
        remove_leftovers(paths)
        self.plan = settle(paths.plan, replace(self.world.plan, sweep_id=str(self.pid)))
        if not paths.data_report.exists():
            files.write_json(paths.data_report, {})
        self.study = TrialStudy(paths.study_uri, self.plan, None)
        self.lease = self.study.take_lease(ADVICE)
        self.world.leased(self)
        self.projection = Projection(self.plan, paths, "simulated", KEEP)
        self.driver = Driver(self.study, paths, lambda _: None, lambda: self.world.now)

    def sync(self):
        """Bring MLflow up to date as ProjectionThread does, whose thread is one of this process."""
        if self.syncing:
            return
        self.syncing = True
        try:
            if self.trouble is not None:
                self.projection.refresh()
            self.projection.sync(read_trials(self.study, self.world.paths, self.known), soon=True)
            self.trouble = None
        except (ConnectionError, OSError) as error:
            if not isinstance(error, ConnectionError) and error.errno not in PLANTED:
                raise
            self.trouble = error
        finally:
            self.syncing = False

    def finish(self):
        """Do what is done after the last trial."""
        paths = self.world.paths
        remove_leftovers(paths)
        trials = read_trials(self.study, paths)
        self.projection.refresh()
        self.projection.sync(trials)
        board = leaderboard(self.plan, paths, trials, self.projection.runs)
        write_leaderboard(paths, board)
        self.projection.finish(board, None)
        self.world.mlflow.catch_up()
        self.projection.settle(trials)
        self.world.release(self)

    def close(self):
        """Leave nothing open: what the kernel does for a process that ends."""
        self.dead = True
        if self.study is not None:
            self.study._storage.remove_session()
            self.study._storage.engine.dispose()


class Worker(Process):
    """The process of one attempt at a trial."""

    def __init__(self, world, run, proposal, attempt):
        super().__init__(run.host)
        self.run, self.number, self.attempt = run, proposal.number, attempt
        self.notice, self.over = None, False
        execution = Execution(0, report_s=0.0, save_s=0.0 if attempt % 2 else 45.0)
        given = run.plan, world.paths, proposal.number, proposal.config, attempt, execution
        self.reports = run_trial(*given, notice=lambda: self.notice)
        run.workers[proposal.number] = self


class World:
    """One sweep, with all that happens to it. Of its processes one runs at a time, up to a place where others may."""

    def __init__(self, early_stopping=None):
        shared = Path("/dev/shm")  # noqa: S108  (no disk has to be waited for; the folder is a new one)
        self.root = Path(tempfile.mkdtemp(prefix="simulation-", dir=shared if os.access(shared, os.W_OK) else None))
        self.paths = SweepPaths(self.root, "sweep")
        self.paths.root.mkdir()
        (self.paths.root / "study.db").write_bytes(_empty_database())
        self.disk = Disk(self.root, ["sweep", "study.db*"])
        self.now = self.wall = 1_700_000_000.0
        self.mlflow = Mlflow(lambda: self.wall)
        self.plan = _plan(early_stopping)
        self.runs, self.workers, self.running = [], [], []
        self.token, self.host, self.expires = 0, None, None
        self.ambush, self.ticks, self.planted = None, 0, 0
        self.saved, self.told, self.deaths = {}, {}, Counter()
        """Of each trial: how far it was saved, how it ended for the study, how often it was killed."""
        self.patch = pytest.MonkeyPatch()
        self._patch_processes()
        self._patch_training()
        self._patch_mlflow()
        self.clock = sa.create_engine(self.paths.study_uri)
        self.jump(0)

    def _patch_processes(self):
        put = self.patch.setattr
        self.patch.setenv(failpoints.VARIABLE, str(self.root))
        put(trial_files.log, "disabled", True)
        put(failpoints, "_reach", self._reached)
        fsync = os.fsync
        put(os, "fsync", lambda handle: (self.tick("fsync"), fsync(handle), self.disk.fsynced(handle))[1])
        for name in ("mkdir", "rename", "replace", "unlink", "rmdir"):
            put(os, name, partial(self._changing, name, getattr(os, name)))
        exists = Path.exists
        put(Path, "exists", lambda path: self._lives(path.name) if path.parent.name == "proc" else exists(path))
        put(tempfile, "_name_sequence", (f"{number:06d}" for number in range(10**6)))
        here = {"getpid": lambda: self.running[-1].pid if self.running else os.getpid()}
        host = {"gethostname": lambda: self.running[-1].host if self.running else socket.gethostname()}
        for module in (files, trial, lease):
            put(module, "os", _Module(os, **here))
            put(module, "socket", _Module(socket, **host))
        self.patch.setitem(lease._CLOCKS, "sqlite", CLOCK)
        version = _head_version()  # takes 50 ms each time
        put(_VersionManager, "get_head_version", lambda _: version)

    def _patch_training(self):
        put = self.patch.setattr
        put(trial, "time", SimpleNamespace(time=lambda: 1e9, monotonic=lambda: self.now))
        put(trial, "fine_tune_by_steps", training)
        source = SimpleNamespace(config=None, revision=None, identity=lambda: {"name": "simulated"})
        material = SimpleNamespace(encoder=source, cache=SimpleNamespace(limit_bytes=0))
        prefix = SimpleNamespace(encoder=source, build=lambda *_: iter(()))
        for name, value in (
            ("material_of", material), ("examples_of", data()), ("FrozenPrefix", prefix),
            ("depths_alike", set()), ("bound_heap", None), ("parameter_counts", (9, 5)),
        ):  # fmt: skip
            put(trial, name, lambda *_, value=value: value)

    def _patch_mlflow(self):
        put, call = self.patch.setattr, self.mlflow.call
        put(tracking, "time", _Module(time, time=lambda: self.wall, monotonic=lambda: self.now))
        put(tracking, "SETTLE_S", 0.0)
        put(tracking, "connect", self.mlflow.client)
        gone = partial(partial, call, "delete_artifacts")
        put(registry, "get_artifact_repository", lambda where: SimpleNamespace(delete_artifacts=gone(where)))

    def _lives(self, pid):
        return any(str(each.pid) == pid and not each.dead for each in [*self.runs, *self.workers, *self.running])

    def _reached(self, _folder, name, facts):
        if not self.running:
            return
        self.running[-1].place = name
        self.tick(name)
        if name == "state: saved":
            number, place = facts["trial"], (facts["epoch"], facts["step"])
            attempts = self.paths.trial(number).attempts()
            content = (state_folder(attempts[0].with_name(facts["attempt"]), *place) / MODEL).read_bytes()
            expected = course(CONFIGS[number])[1][place]
            assert hashlib.sha256(content).hexdigest() == expected, f"trial {number} has other weights at {place}"
            if attempts[-1].name == facts["attempt"]:  # nobody counts on the word of one that is late
                self.saved[number] = max(place, self.saved.get(number, (0, 0)))
        if name == "study: told":
            self.told[facts["trial"]] = facts["state"]

    def _changing(self, name, change, *args, **kwargs):
        self.tick(name)
        return change(*args, **kwargs)

    def tick(self, name):
        """Let happen what is to happen at this place of the process that runs."""
        if not self.running:
            return
        process = self.running[-1]
        if process.dead:
            raise Crash
        self.ticks += 1
        if self.ambush is not None and self.ticks >= self.ambush[0]:
            what = self.ambush[1]
            # Between its last look for a newer attempt and what it then does a worker is not held up: so short a
            # while that nothing but a lock could make it safe.
            if what != "given up" or not (name in ("unlink", "rmdir") or process.place.startswith("verdict")):
                self.ambush = None
                COUNTS[f"fault: {what}"] += 1
                COUNTS[f"at: {name}"] += 1
                getattr(self, f"_{what.replace(' ', '_')}")(process)
        if process.dead:
            raise Crash

    # --- what may happen between two writes ---

    def _death(self, process):
        process.dead = True

    def _power_cut(self, _process):
        self.cut_power((LOST, TORN, MIXED)[self.ticks % 3], self.ticks)

    def _full_disk(self, _process):
        self.planted += 1
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _disk_error(self, _process):
        self.planted += 1
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    def _sync(self, process):
        if isinstance(process, Worker) and not process.run.dead:
            self.act(process.run, process.run.sync)

    def _given_up(self, process):
        """Have the trial of a worker that is held up here done by another."""
        run = getattr(process, "run", None)
        if run is None or run.dead or run.workers.get(process.number) is not process:
            return
        del run.workers[process.number]
        self.act(run, partial(run.driver.close, process.number, (Failure.NODE, "not seen any more")))
        self.jump(61)
        for _ in range(self.ticks % 3 + 1):
            if not run.dead and (worker := self.hand_out(run)) is not None:
                self.work(worker, self.ticks % 9 + 1)

    def _another_driver(self, process):
        """Have another host's driver take the sweep over from one that is held up here."""
        if not isinstance(process, Run) or process.syncing or process.driver is None:
            return
        self.jump(2 * LEASE_S)
        if self.start() and (worker := self.hand_out(self.driver)) is not None:
            self.work(worker, self.ticks % 9 + 1)

    # --- drivers ---

    @property
    def driver(self):
        """Return the run that has the lease, None where that one is no more."""
        return next((run for run in self.runs if run.lease.token == self.token and not run.dead), None)

    @property
    def old(self):
        """Return the runs that lost their lease and do not know."""
        return [run for run in self.runs if run.lease.token != self.token and not run.dead]

    def start(self, host=None):
        """Give the sweep's command on a host; return whether it runs now."""
        host = host or f"host-{len(self.runs)}"
        if any(run.host == host and not run.dead for run in self.runs):
            return False  # the kernel's lock
        run, free, before = Run(self, host), self.free(host), self.mlflow.failures + self.planted
        self.running.append(run)
        try:
            run.open()
        except RunningElsewhereError:
            assert not free, "a free lease was refused"
        except UnreachableError:
            assert self.mlflow.failures + self.planted > before
            self.release(run)
        except OSError as error:
            if error.errno not in PLANTED:
                raise
        except Crash:
            pass
        else:
            return True
        finally:
            self.running.remove(run)
        run.close()
        return False

    def act(self, run, action):
        """Have a run do something. It ends where it loses its lease, and where the disk fails it."""
        self.running.append(run)
        try:
            return action()
        except Crash:
            self.end(run)
        except Exception as error:
            lost = run.lease is not None and run.lease.token != self.token  # as `leased` has it: all follows from that
            if not lost and (isinstance(error, FencedError) or getattr(error, "errno", None) not in PLANTED):
                raise
            self.end(run, leave=True)
        finally:
            self.running.remove(run)
        return None

    def free(self, host):
        """Return whether the lease is to be had."""
        return self.expires is None or self.wall >= self.expires or self.host == host

    def leased(self, run):
        """Take down that a run has taken the lease."""
        assert self.free(run.host), "a lease that is held was given away"
        assert run.lease.token == self.token + 1
        self.token, self.host, self.expires = run.lease.token, run.host, self.wall + LEASE_S
        self.runs.append(run)

    def release(self, run):
        """Have a run give its lease back."""
        run.lease.release()
        if run.lease.token == self.token:
            self.expires = None

    def renew(self, run):
        """Have a run renew its lease."""
        run.lease.renew()
        assert run.lease.token == self.token, "a lease that was lost is held"
        self.expires = self.wall + LEASE_S

    def end(self, run, *, leave=False, orphans=False):
        """End a run: killed, or by itself with its workers paused; with `orphans` they live on for a while."""
        workers = list(run.workers.values())
        if leave and not run.dead:
            for worker in workers:
                self.stop(worker)
            self.release(run)
        run.close()
        for worker in [] if orphans else workers:
            self.kill(worker)

    def hand_out(self, run):
        """Have a run hand out a trial; return the worker that takes it up."""
        found = self.act(run, run.driver.propose)
        if found is None or run.dead:
            return None
        proposal, attempt = found
        assert config_to_dict(proposal.config) == self.plan.configs[proposal.number]
        self.workers.append(Worker(self, run, proposal, attempt))
        return self.workers[-1]

    # --- workers ---

    def work(self, worker, reports=1):
        """Have a worker go on for so many reports, each of which its driver is told of."""
        for _ in range(reports):
            if not worker.dead:
                self._step(worker)

    def _step(self, worker):
        death, report, run = None, None, worker.run
        self.running.append(worker)
        try:
            report = json.loads(json.dumps(next(worker.reports)))
        except Crash:
            death = self.cause_of_death(worker)
        except SupersededError as error:
            death = (Failure.DIED, str(error))
        finally:
            self.running.remove(worker)
        worker.dead = worker.dead or report is None or report["done"]
        if not worker.dead and not run.dead and run.workers.get(worker.number) is worker:
            if self.act(run, partial(run.driver.record, report)) != "stop":
                return
            self.stop(worker)
        if worker.dead:
            self.over(worker, death)

    def cause_of_death(self, worker):
        """Return what is said of a worker that was killed, so that no trial dies of it too often."""
        self.deaths[worker.number] += 1
        return (Failure.DIED if self.deaths[worker.number] < 3 else Failure.NODE), "killed"

    def over(self, worker, death):
        """Tell a worker's driver, where it still counts on it, that the worker is no more."""
        run = worker.run
        if run.dead or run.workers.get(worker.number) is not worker:
            return
        del run.workers[worker.number]
        self.act(run, partial(run.driver.close, worker.number, death))
        if not run.dead and run.driver.trouble is not None:
            self.end(run, leave=True)

    def stop(self, worker):
        """Have a worker save where it stands, and end."""
        self._end_by(worker, worker.reports.close)

    def kill(self, worker):
        """End a worker where it stands."""
        worker.dead = True
        self._end_by(worker, partial(worker.reports.throw, Crash))

    def _end_by(self, worker, how):
        if worker not in self.running and not worker.over:  # else it dies when it is its turn again
            worker.over = True
            self.running.append(worker)
            with suppress(Crash):
                how()
            self.running.remove(worker)
        worker.dead = True

    # --- disk and clocks ---

    def cut_power(self, policy, seed):
        """Cut the power of all machines at once."""
        for run in self.runs:
            self.end(run)
        for process in [*self.workers, *self.running]:
            process.dead = True
        for worker in self.workers:
            self.kill(worker)
        running, self.running = self.running, []
        self.disk.cut_power(policy, seed)
        self.running = running

    def jump(self, seconds):
        """Have the clocks jump; those that only go forward take no part in a jump back."""
        self.wall += seconds
        self.now += max(0, seconds)
        with self.clock.begin() as connection:
            connection.execute(sa.text("UPDATE clock SET seconds = :now"), {"now": self.wall})

    def flip(self, seed):
        """Flip a bit in what a trial can do without: states, bests while nobody counts on them, one verdict of two."""
        rng = random.Random(seed)
        number = rng.randrange(len(CONFIGS))
        folder = self.paths.trial(number)
        places = list(folder.root.glob("attempt-*/state-*/*"))
        ended = read_verdict(folder) is not None
        if all(worker.dead or worker.number != number for worker in self.workers) and not ended:
            places += folder.root.glob("attempt-*/best-*/*")
        if ended:
            places = [folder.verdict] if folder.verdict_copy.exists() and folder.verdict.exists() else []
        elif rng.random() < 0.5:
            places = [path for path in places if path.name == files.MANIFEST]
        if places:
            path = rng.choice(sorted(places))
            content = bytearray(path.read_bytes())
            digits = [at for at, byte in enumerate(content) if chr(byte).isdigit() and path.suffix == ".json"]
            content[rng.choice(digits or range(len(content)))] ^= 1 if digits else 1 << rng.randrange(8)
            path.write_bytes(content)
        if read_verdict(folder) is None:
            self.saved[number] = place_of(latest_state(folder))

    # --- what must hold ---

    def check_kept(self):
        """Assert that what was saved or told is there still, and that nobody says of a live attempt that it is over."""
        for number, place in self.saved.items():
            folder = self.paths.trial(number)
            if read_verdict(folder) is None:
                found = place_of(latest_state(folder))
                assert found >= place, f"trial {number} was saved at {place}, there is {found}"
        for number, ended in self.told.items():
            verdict = read_verdict(self.paths.trial(number))
            assert verdict is not None, f"trial {number} is {ended} in the study, its folder says nothing"
            assert verdict["state"] == ended
        for worker in self.driver.workers.values() if self.driver else ():
            latest = self.paths.trial(worker.number).attempts()[-1]
            if not worker.dead and attempt_number(latest) == worker.attempt:
                assert not (latest / END).exists(), f"trial {worker.number}: its live attempt is said to be over"

    def go_on(self):
        """Do the next thing that a sweep does in peace; return whether there was any."""
        run = self.driver
        if run is None:
            self.jump(0 if self.expires is None else max(0, self.expires - self.wall))
            failed = self.mlflow.failures
            assert self.start() or self.ambush is None or self.mlflow.failures > failed
            return True
        worker = next((each for each in run.workers.values() if not each.dead), None) or self.hand_out(run)
        if worker is not None:
            self.work(worker)
        elif not run.dead and run.driver.waits:
            self.jump(61)
        else:
            return run.dead
        return True

    def finish(self):
        """Let nothing happen any more but what is left of the sweep; who was held up until now goes on after it."""
        self.ambush = None
        self.mlflow.mend()
        while self.go_on():
            pass
        run = self.driver
        self.act(run, run.finish)
        assert not run.dead
        run.close()
        for worker in self.workers:
            self.work(worker, 30)
        for old in self.old:
            self.hand_out(old)

    def close(self):
        """Leave nothing behind."""
        for run in self.runs:
            run.close()
        for worker in self.workers:
            self.kill(worker)
        self.clock.dispose()
        self.patch.undo()
        self.disk.close()
        shutil.rmtree(self.root)


class _Module:
    """A module of which some functions are others."""

    def __init__(self, module, **functions):
        self.__dict__.update(functions)
        self._module = module

    def __getattr__(self, name):
        return getattr(self._module, name)


def place_of(state):
    """Return after which epoch and step a state was saved."""
    return (state.manifest["epoch"], state.manifest["step"]) if state else (0, 0)


@cache
def _head_version():
    return RDBStorage("sqlite://")._version_manager.get_head_version()


@cache
def _empty_database():
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "study.db"
        engine = RDBStorage(f"sqlite:///{path}").engine
        with engine.begin() as connection:
            connection.execute(sa.text("CREATE TABLE clock (seconds DOUBLE PRECISION)"))
            connection.execute(sa.text("INSERT INTO clock VALUES (0)"))
        engine.dispose()
        return path.read_bytes()


def _plan(early_stopping):
    plain = [config_to_dict(config) for config in CONFIGS]
    return Plan(
        version=PLAN_VERSION * 100 + CONFIG_VERSION, sweep_id="", name="sweep", question="Which?", profile="laptop",
        configs=plain, baseline=plain[0], space_code=None, sampler="random", early_stopping=early_stopping,
        trials=len(plain), seed=0, varies=varying(CONFIGS), settings={}, tasks=[TASK.to_dict()],
        encoder={"name": "simulated", "given": "simulated"},
        data={"source": "simulated", "max_dev_examples": None, "content": {f"{TASK.name}/dev": "0" * 64}},
        cpus_per_trial=1.0, gpus_per_trial=0.0, threads=1, seeds=1,
    )  # fmt: skip
