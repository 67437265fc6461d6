"""Simulated sweeps: whatever happens between any two writes, a sweep ends as if nothing had.

Hypothesis draws what happens: processes die, are held up or lose their lease, power is cut, disks fail, bits flip,
clocks jump, MLflow goes away or loses answers. `make simulate` plays more than `make test` does.
"""

import os
import threading
from functools import partial

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from orchestrator.errors import RunningElsewhereError
from orchestrator.lease import FencedError, Holder, Lease
from orchestrator.study import LEASE_S
from tests.faults.simulated.disk import LOST, MIXED, TORN
from tests.faults.simulated.ending import ended, undisturbed
from tests.faults.simulated.one_fault import broken_by, broken_by_call, calls, places
from tests.faults.simulated.training import CONFIGS
from tests.faults.simulated.world import CLOCK, COUNTS, World

pytestmark = pytest.mark.slow
EXAMPLES = int(os.environ.get("SWEEP_SIMULATIONS", "20"))
"""So many in `make test`; `make simulate` takes 1,000."""
DERANDOMIZE = "SWEEP_SIMULATIONS" not in os.environ
"""`make test` plays the same ones each time; `make simulate` draws new ones, and shows how one that fails is played."""
LEASES = int(os.environ.get("SWEEP_PAIRS_SIMULATED", "100"))
"""So many in `make test`; `make simulate` takes 1,000."""

EVENTS = ["death", "power cut", "full disk", "disk error", "sync", "given up", "another driver"]
"""What happens in the middle of what a process does."""
BETWEEN = [
    *(("jump", seconds) for seconds in (1.0, LEASE_S, 3600.0, -5.0, -3600.0)),
    *(("end", how) for how in ("killed", "killed, its workers live on", "interrupted")),
    *(("cut_power", policy) for policy in (LOST, TORN, MIXED)),
    *(("trouble_mlflow", what) for what in ("before", "after", "twice", "late", "away", None)),
    *(("wake", what) for what in ("propose", "renew", "end")),
    *((name, None) for name in ("kill_worker", "give_notice", "flip", "flip", "renew", "start")),
]
"""What happens while all processes wait, by the machine's method."""


class Simulation(RuleBasedStateMachine):
    """A sweep goes on, and things happen to it. Few rules: of many, Hypothesis leaves out most in each example."""

    @initialize(early_stopping=st.sampled_from([None, None, {"first": 1, "factor": 3}]))
    def begin(self, early_stopping):
        """Start the sweep."""
        self.early_stopping, self.world = early_stopping, World(early_stopping)
        self.world.start()

    @rule(which=st.integers(0, 5), reports=st.integers(0, 6))
    def go_on(self, which, reports):
        """Have a worker go on, which may be one whose driver is no more, or a driver start or hand out a trial."""
        world, worker = self.world, self._worker(which)
        if world.driver is None:
            world.start()
        elif reports and worker is not None:
            world.work(worker, reports)
        else:
            world.hand_out(world.driver)
        if world.driver is not None:
            world.act(world.driver, world.driver.sync)

    @rule(which=st.integers(0, 5), reports=st.integers(0, 6), places=st.integers(1, 40), what=st.sampled_from(EVENTS))
    def go_on_until(self, which, reports, places, what):
        """Have the same done until something happens in the middle of it."""
        self.world.ambush = (self.world.ticks + places, what)
        self.go_on(which, reports)

    @rule(what=st.sampled_from(BETWEEN), seed=st.integers(0, 2**16))
    def happen(self, what, seed):
        """Have something happen between two turns."""
        COUNTS[f"between: {what[0]} {what[1] or ''}"] += 1
        getattr(self, f"_{what[0]}")(what[1], seed)

    def _worker(self, which):
        workers = [worker for worker in self.world.workers if not worker.dead]
        return workers[which % len(workers)] if workers else None

    def _start(self, _, seed):
        self.world.start(("host-a", "host-b")[seed % 2])

    def _end(self, how, _seed):
        if (run := self.world.driver) is not None:
            self.world.end(run, leave=how == "interrupted", orphans="live on" in how)

    def _cut_power(self, policy, seed):
        self.world.cut_power(policy, seed)

    def _jump(self, seconds, _seed):
        self.world.jump(seconds)

    def _renew(self, _, _seed):
        if (run := self.world.driver) is not None:
            self.world.act(run, partial(self.world.renew, run))

    def _flip(self, _, seed):
        self.world.flip(seed)

    def _trouble_mlflow(self, what, seed):
        self.world.mlflow.mend()
        self.world.mlflow.away = what == "away"
        self.world.mlflow.fault = what and (seed % 10, what)

    def _wake(self, what, seed):
        """Have a driver go on that was held up while another took its sweep over."""
        world = self.world
        if world.old:
            run = world.old[seed % len(world.old)]
            if what == "propose":
                assert world.hand_out(run) is None, "a driver without a lease handed out a trial"
            elif what == "renew":
                world.act(run, partial(world.renew, run))
            else:
                world.end(run)

    def _kill_worker(self, _, seed):
        if (worker := self._worker(seed)) is not None:
            self.world.kill(worker)
            self.world.over(worker, self.world.cause_of_death(worker))

    def _give_notice(self, _, seed):
        if (worker := self._worker(seed)) is not None:
            worker.notice = "the machine is taken"

    @invariant()
    def kept(self):
        """Nothing that was acknowledged is gone."""
        COUNTS["steps"] += 1
        self.world.ambush = None
        self.world.check_kept()

    def teardown(self):
        """Run what is left in peace, and check everything."""
        COUNTS["sweeps"] += 1
        board = ended(self.world)
        assert self.early_stopping or board == undisturbed()


def test_whatever_happens_to_a_sweep_it_ends_as_if_nothing_had():
    """Deaths, power cuts, flipped bits, second drivers, jumps of clocks, MLflow's outages, in any order."""
    kinds = {"max_examples": EXAMPLES, "stateful_step_count": 30, "derandomize": DERANDOMIZE}
    checks = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}
    try:
        run_state_machine_as_test(Simulation, settings=settings(**kinds, **checks))
    finally:
        print(*(f"{count:7,d} {what}" for what, count in sorted(COUNTS.items())), sep="\n")


def test_power_may_be_cut_at_any_place():
    """Of a sweep that is otherwise left alone nothing is lost or doubled."""
    some = range(1, places(), max(1, 1100 // EXAMPLES))
    assert [(place, error) for place in some if (error := broken_by("power cut", place)) is not None] == []


@pytest.mark.parametrize("what", ["before", "after", "twice", "late"])
def test_any_call_of_mlflow_may_fail(what):
    """From the first to the last: before it took effect, after, sent again by the client, or done only later."""
    some = range(0, calls(), max(1, 100 // EXAMPLES))
    assert [(number, error) for number in some if (error := broken_by_call(number, what)) is not None] == []


def test_half_an_hour_without_mlflow_costs_nothing():
    """Trials go on and end meanwhile; afterwards everything is there, once."""
    world = World()
    world.start()
    run = world.driver
    world.mlflow.away = True
    for _ in range(180):
        world.go_on()
        world.act(run, run.sync)
        world.jump(10)
        world.act(run, partial(world.renew, run))
    assert len(run.study.ended()) == len(CONFIGS)
    assert world.mlflow.active("trial") == []
    assert isinstance(run.trouble, ConnectionError)
    assert world.driver is run
    world.mlflow.away, world.mlflow.fault = False, (1, "after")
    world.act(run, run.sync)

    assert ended(world) == undisturbed()


def test_of_two_drivers_that_take_an_expired_lease_at_once_one_has_it(tmp_path):
    """A thousand times: one of two has it, the other is refused, and whoever had it before has it no more."""
    engines = [sa.create_engine(f"sqlite:///{tmp_path / 'study.db'}") for _ in range(2)]
    for engine in engines:  # not to wait for the disk
        sa.event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous=OFF"))
    with engines[0].begin() as connection:
        connection.exec_driver_sql("PRAGMA journal_mode=WAL")
        connection.exec_driver_sql("CREATE TABLE clock (seconds DOUBLE PRECISION)")
        connection.exec_driver_sql("INSERT INTO clock VALUES (0)")
    together, taken = threading.Barrier(3), [None, None]

    def drive(which):
        for _ in range(LEASES):
            together.wait(60)
            try:
                holder = Holder(f"host-{which}", which)
                taken[which] = Lease.take(engines[which], "sweep", holder, ttl_s=LEASE_S, clock_sql=CLOCK)
            except RunningElsewhereError:
                taken[which] = None
            together.wait(60)

    threads = [threading.Thread(target=drive, args=(which,)) for which in range(2)]
    for thread in threads:
        thread.start()
    before, both = None, 0
    for round_ in range(LEASES):
        with engines[0].begin() as connection:
            connection.execute(sa.text("UPDATE clock SET seconds = seconds + :ttl"), {"ttl": LEASE_S})
        together.wait(60)
        together.wait(60)
        held = [lease for lease in taken if lease is not None]
        both += len(held) - 1
        assert [lease.token for lease in held] == [round_ + 1]
        held[0].renew()
        if before is not None:
            with pytest.raises(FencedError):
                before.renew()
        before = held[0]
    for thread in threads:
        thread.join()
    for engine in engines:
        engine.dispose()
    assert both == 0
