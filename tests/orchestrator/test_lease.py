"""The lease's contract: one holder at a time, whose number grows, and no write to the study by any earlier one.

Runs on SQLite, and on PostgreSQL too where LEASE_TEST_POSTGRESQL is the URL of an empty database.
"""

import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import optuna
import pytest
import sqlalchemy as sa
from filelock import FileLock, Timeout
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState

from model.config import TrialConfig
from orchestrator import lease as lease_module
from orchestrator.errors import RUNNING_ELSEWHERE, RunningElsewhereError, UnreachableError
from orchestrator.lease import FencedError, Holder, Lease, LeaseKeeper
from orchestrator.study import TrialStudy

ROOT = Path(__file__).parents[2]
POSTGRESQL = os.environ.get("LEASE_TEST_POSTGRESQL")
DATABASES = ["sqlite", *(["postgresql"] if POSTGRESQL else [])]
TTL_S = 30.0
SHORT_TTL_S = 0.3
A, B = Holder("host-a", 11), Holder("host-b", 22)
START = 1_000_000_000.0
CLOCK = "(SELECT seconds FROM clock)"


class Database:
    """A study's database with a clock that a test moves; each engine is as a process of its own has it."""

    def __init__(self, uri):
        self.uri = uri
        self.engines = []
        self.plain = self.engine()
        self.is_sqlite = self.plain.dialect.name == "sqlite"
        with self.plain.begin() as connection:
            connection.execute(sa.text("CREATE TABLE clock (seconds DOUBLE PRECISION)"))
            connection.execute(sa.text("INSERT INTO clock VALUES (:start)"), {"start": START})
            connection.execute(sa.text("CREATE TABLE written (word VARCHAR(40))"))

    def engine(self):
        """Return a new engine, with the options of the study's."""
        options = {"connect_args": {"timeout": 60}} if self.uri.startswith("sqlite") else {}
        return self.close_later(sa.create_engine(self.uri, **options))

    def close_later(self, engine):
        """Have an engine closed when the test ends."""
        self.engines.append(engine)
        return engine

    def storage(self):
        """Return a new Optuna storage, with the options of the study's."""
        storage = optuna.storages.RDBStorage(
            self.uri, engine_kwargs={"connect_args": {"timeout": 60}} if self.is_sqlite else None
        )
        self.close_later(storage.engine)
        return storage

    def step(self, seconds):
        """Move the database's clock."""
        with self.plain.begin() as connection:
            connection.execute(sa.text("UPDATE clock SET seconds = seconds + :by"), {"by": seconds})

    def take(self, holder=A, name="exp", **options):
        """Take the lease as a new process does."""
        return Lease.take(self.engine(), name, holder, **({"ttl_s": TTL_S, "clock_sql": CLOCK} | options))

    def write(self, engine, word):
        """Write one row in a transaction."""
        with engine.begin() as connection:
            connection.execute(sa.text("INSERT INTO written VALUES (:word)"), {"word": word})

    def content(self):
        """Return every row of every table but the clock."""
        tables = sa.MetaData()
        with self.plain.connect() as connection:
            tables.reflect(connection)
            return {
                name: sorted(map(repr, connection.execute(sa.select(table))))
                for name, table in tables.tables.items()
                if name != "clock"
            }

    def written(self):
        """Return what was written by `write`."""
        with self.plain.connect() as connection:
            return list(connection.scalars(sa.text("SELECT word FROM written")))

    def row(self, name="exp"):
        """Return the lease's row."""
        with self.plain.connect() as connection:
            return connection.execute(sa.text("SELECT * FROM sweep_lease WHERE name = :n"), {"n": name}).one()


@contextmanager
def opened(kind, folder):
    """Yield an empty database of a kind; for SQLite in a folder, in the mode in which the study keeps it."""
    uri = POSTGRESQL
    if kind == "sqlite":
        uri = f"sqlite:///{folder / 'study.db'}"
        with sqlite3.connect(folder / "study.db") as connection:
            connection.execute("PRAGMA journal_mode=WAL")
    else:
        engine = sa.create_engine(uri)
        with engine.begin() as connection:
            connection.execute(sa.text("DROP SCHEMA public CASCADE"))
            connection.execute(sa.text("CREATE SCHEMA public"))
        engine.dispose()
    database = Database(uri)
    try:
        yield database
    finally:
        for engine in database.engines:
            engine.dispose()


@pytest.fixture(params=DATABASES)
def database(request, tmp_path):
    """Return an empty database of each kind."""
    with opened(request.param, tmp_path) as found:
        yield found


@pytest.fixture
def sqlite(tmp_path):
    """Return an empty SQLite database."""
    with opened("sqlite", tmp_path) as found:
        yield found


def test_a_lease_that_was_never_taken_is_free(database):
    """The first taker has number 1 and stands in the table until its time is over."""
    lease = database.take(A)

    assert lease.token == 1
    assert database.row() == ("exp", 1, "host-a", 11, START, START + TTL_S)


def test_a_lease_that_is_held_is_refused(database):
    """The one refused learns who runs the sweep, where and since when, in the words of the lock; nothing changes."""
    database.take(A)
    before = database.row()
    database.step(TTL_S - 0.001)

    since = time.strftime("%F %T", time.localtime(START))
    words = f"sweep 'exp' is running already on host-a, pid 11, since {since}; go elsewhere"
    with pytest.raises(RunningElsewhereError, match=re.escape(words)) as refused:
        database.take(B, advice="go elsewhere")

    assert refused.value.exit_code == RUNNING_ELSEWHERE
    assert database.row() == before


def test_each_sweep_has_a_lease_of_its_own(database):
    """Another name in the same database is free."""
    database.take(A, "exp")

    assert database.take(B, "other").token == 1


def test_a_lease_that_expired_is_taken_over(database):
    """From the end of its time on a lease that was not renewed belongs to whoever takes it, under the next number."""
    database.take(A)
    database.step(TTL_S)

    assert database.take(B).token == 2
    assert database.row() == ("exp", 2, "host-b", 22, START + TTL_S, START + 2 * TTL_S)


def test_a_clock_that_is_set_back_gives_no_lease_away(database):
    """By a clock an hour slow nothing has expired; number and holder stay."""
    database.take(A)
    database.step(-3600)

    with pytest.raises(RunningElsewhereError):
        database.take(B)


@pytest.mark.parametrize("wrong_s", [-3600, 3600])
def test_the_hosts_own_clock_says_nothing(database, monkeypatch, wrong_s):
    """A taker whose clock is an hour wrong is refused as any other, and its lease lasts as long as any other."""
    right = time.time()
    monkeypatch.setattr(time, "time", lambda: right + wrong_s)
    held = database.take(A, clock_sql=None)
    with pytest.raises(RunningElsewhereError):
        database.take(B, clock_sql=None)
    monkeypatch.undo()

    assert database.row().expires == pytest.approx(right + TTL_S, abs=5)
    held.renew()


def test_the_databases_clock_has_fractions_of_a_second(database):
    """Seconds since 1970, finer than a hundredth."""
    before = time.time()
    since = [database.take(A, clock_sql=None, same_host_is_dead=True) and database.row().since for _ in range(5)]

    assert since == sorted(since)
    assert before - 0.01 < since[0] <= since[-1] < time.time() + 0.01
    assert any(abs(seconds - round(seconds)) > 0.001 for seconds in since)


def test_a_holder_that_is_known_dead_gives_way_at_once(database):
    """Whoever has the kernel's lock on the holder's host does not wait for the time to be over."""
    database.take(A)

    assert database.take(Holder(A.host, 12), same_host_is_dead=True).token == 2


def test_the_lock_of_one_host_says_nothing_of_another(database):
    """To have the kernel's lock here does not make a holder elsewhere dead."""
    database.take(A)

    with pytest.raises(RunningElsewhereError):
        database.take(B, same_host_is_dead=True)


def test_a_released_lease_is_free_and_keeps_its_number(database):
    """The next one takes it at once, under the next number."""
    database.take(A).release()

    assert database.row().token == 1
    assert database.take(B).token == 2


def test_releasing_what_is_ours_no_more_does_nothing(database):
    """An earlier holder that ends late does not end its successor's lease."""
    stale = database.take(A)
    database.step(TTL_S)
    database.take(B)
    before = database.row()

    stale.release()

    assert database.row() == before


def test_a_renewed_lease_lasts_from_then_on(database):
    """Its end moves to a full time from now; number and beginning stay."""
    lease = database.take(A)
    database.step(20)

    lease.renew()

    assert database.row() == ("exp", 1, "host-a", 11, START, START + 20 + TTL_S)


def test_an_expired_lease_that_nobody_took_is_renewed(database):
    """A holder that was paused for too long goes on where no other came."""
    lease = database.take(A)
    database.step(10 * TTL_S)

    lease.renew()

    with pytest.raises(RunningElsewhereError):
        database.take(B)


def test_a_lease_that_was_taken_over_is_not_renewed(database):
    """The earlier holder learns who took over and when, and changes nothing."""
    stale = database.take(A)
    database.step(TTL_S)
    database.take(B)
    before = database.row()

    when = time.strftime("%F %T", time.localtime(START + TTL_S))
    with pytest.raises(FencedError, match=f"'exp' was taken over by host-b, pid 22, at {when}; this process writes"):
        stale.renew()

    assert database.row() == before


def test_a_lease_that_was_released_is_not_renewed(database):
    """Nor does the guard let its engine write."""
    lease = database.take(A)
    lease.guard(lease.engine)

    lease.release()

    with pytest.raises(FencedError, match="'exp' was released by this process"):
        lease.renew()
    with pytest.raises(FencedError):
        database.write(lease.engine, "late")


def test_a_lease_whose_row_is_gone_is_lost(database):
    """A database that was put back to before the taking refuses the holder."""
    lease = database.take(A)
    lease.guard(lease.engine)
    with database.plain.begin() as connection:
        connection.execute(sa.text("DELETE FROM sweep_lease"))

    with pytest.raises(FencedError, match="'exp' has no lease in its database any more"):
        database.write(lease.engine, "late")
    assert database.written() == []


def test_the_transaction_has_the_write_lock_from_its_start(sqlite):
    """Before its first statement nobody else can write, and the engine's own patience is as before."""
    engine = sqlite.engine()

    with lease_module._transaction(engine) as connection:
        assert connection.connection.dbapi_connection.in_transaction
        other = sqlite3.connect(sqlite.uri.removeprefix("sqlite:///"), timeout=0)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")

    other.execute("BEGIN IMMEDIATE")
    other.close()
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar_one() == 60_000


def test_an_engine_that_begins_transactions_itself_is_not_taken_for_the_other_kind(sqlite):
    """It fails at once; no lease is taken without the lock."""
    engine = sqlite.engine()
    sa.event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))

    with pytest.raises(UnreachableError, match="within a transaction"):
        Lease.take(engine, "exp", A, ttl_s=TTL_S)


def test_a_locked_database_refuses_within_two_seconds(sqlite):
    """Whatever the engine's own timeout, here a minute."""
    path = sqlite.uri.removeprefix("sqlite:///")
    other = sqlite3.connect(path)
    other.execute("BEGIN EXCLUSIVE")
    began = time.monotonic()

    with pytest.raises(UnreachableError, match="the database of sweep 'exp' cannot be written: database is locked"):
        sqlite.take(A)

    assert time.monotonic() - began < 2
    other.close()
    assert sqlite.take(A).token == 1


def _trial_value(study, trial):
    study._storage.set_trial_intermediate_value(trial._trial_id, 0, 0.7)


def _end(study, trial):
    study._storage.set_trial_state_values(trial._trial_id, TrialState.PRUNED, [0.5])


WRITES = {
    "ask": lambda study, _: study.ask(),
    "ask with params": lambda study, _: study.ask({"x": FloatDistribution(0, 1)}),
    "suggest": lambda _, trial: trial.suggest_float("y", 0, 1),
    "report": lambda _, trial: trial.report(0.5, 1),
    "change a reported value": _trial_value,
    "tell": lambda study, trial: study.tell(trial, 0.5),
    "tell a failure": lambda study, trial: study.tell(trial, state=TrialState.FAIL),
    "end as TrialStudy does": _end,
    "set a trial's attribute": lambda _, trial: trial.set_user_attr("config", {"a": 1}),
    "change a trial's attribute": lambda _, trial: trial.set_user_attr("old", 2),
    "set a study's attribute": lambda study, _: study.set_user_attr("a", 1),
    "change a study's attribute": lambda study, _: study.set_user_attr("a", 2),
    "enqueue": lambda study, _: study.enqueue_trial({"x": 0.5}),
    "delete": lambda study, _: optuna.delete_study(study_name=study.study_name, storage=study._storage),
}


def guarded_study(database):
    """Return a lease of A's, a study whose storage it guards, and a trial that has begun."""
    storage = database.storage()
    lease = Lease.take(storage.engine, "exp", A, ttl_s=TTL_S, clock_sql=CLOCK)
    lease.guard(storage.engine)
    study = optuna.create_study(study_name="exp", storage=storage, direction="maximize")
    return lease, study, begun(study)


def begun(study):
    """Return a new trial with a value and an attribute."""
    trial = study.ask()
    trial.report(0.1, 0)
    trial.set_user_attr("old", 1)
    return trial


def test_the_holder_writes_to_its_study(database):
    """Each of Optuna's writes goes through the guard of a lease that is ours."""
    _, study, _ = guarded_study(database)

    for name, write in WRITES.items():
        trial, before = begun(study), database.content()
        write(study, trial)
        assert database.content() != before, name


def test_an_earlier_holder_writes_nothing_to_the_study(database):
    """Each of Optuna's writes is refused and leaves the whole database as it was, locked by nobody."""
    stale, study, trial = guarded_study(database)
    database.step(TTL_S)
    database.take(B)
    before = database.content()

    for name, write in WRITES.items():
        with pytest.raises(FencedError, match="taken over by host-b"):  # not an error that Optuna tries again
            write(study, trial)
        assert database.content() == before, name
        assert stale.engine.pool.checkedout() == 0, name
    database.write(database.plain, "free")


def test_an_earlier_holder_still_reads(database):
    """Only what writes is refused."""
    _, study, _ = guarded_study(database)
    database.step(TTL_S)
    database.take(B)

    assert [trial.number for trial in study.get_trials()] == [0]


def test_reads_cost_nothing_and_a_write_one_query(database):
    """A transaction that only reads does not look at the lease; one that writes does so once."""
    lease, study, trial = guarded_study(database)
    seen = []
    sa.event.listen(lease.engine, "before_cursor_execute", lambda *args: seen.append(args[2]))

    study.get_trials(deepcopy=False)
    study._storage._backend.get_all_trials(study._study_id)
    _ = study.user_attrs, study.best_trials
    reads, seen[:] = list(seen), []
    trial.report(0.5, 1)

    assert reads
    assert not [statement for statement in reads if "sweep_lease" in statement]
    assert len([statement for statement in seen if "sweep_lease" in statement]) == 1


def test_what_one_transaction_wrote_is_not_held_against_the_next(database):
    """After a write that was rolled back, reading on the same connection is reading."""
    stale = database.take(A)
    engine = database.engine()
    stale.guard(engine)
    database.step(TTL_S)
    database.take(B)

    with engine.connect() as connection:
        connection.execute(sa.text("INSERT INTO written VALUES ('dropped')"))
        connection.rollback()
        connection.execute(sa.text("SELECT * FROM written"))
        connection.commit()


def test_a_transaction_is_refused_as_a_whole(database):
    """Of several writes none is kept, the lock is let go at once, and the connection writes no more of it later."""
    stale = database.take(A)
    engine = database.engine()
    stale.guard(engine)
    database.step(TTL_S)
    database.take(B)

    with engine.connect() as connection:
        connection.execute(sa.text("INSERT INTO written VALUES ('one')"))
        connection.execute(sa.text("/* a note */ UPDATE written SET word = 'two'"))
        with pytest.raises(FencedError):
            connection.commit()
        database.write(database.plain, "others")
        with pytest.raises(sa.exc.InvalidRequestError):
            connection.commit()

    assert database.written() == ["others"]


def test_a_taker_comes_before_a_write_or_after_its_commit(database):
    """SQLite lets nobody take the lease between a write and its commit; elsewhere the commit is refused then."""
    lease = database.take(A)
    engine = database.engine()
    lease.guard(engine)
    database.step(TTL_S)

    with engine.connect() as connection:
        connection.execute(sa.text("INSERT INTO written VALUES ('begun')"))
        if database.is_sqlite:
            with pytest.raises(UnreachableError, match="locked"):
                database.take(B)
            connection.commit()
        else:
            database.take(B)
            with pytest.raises(FencedError):
                connection.commit()

    assert database.written() == (["begun"] if database.is_sqlite else [])
    assert database.row().token == (1 if database.is_sqlite else 2)


def test_nobody_takes_the_lease_between_the_check_and_the_commit(database):
    """Once the check has passed, the transaction commits before the lease is anyone else's."""
    lease = database.take(A)
    engine = database.engine()
    lease.guard(engine)
    database.step(TTL_S)
    refused = []

    @sa.event.listens_for(engine, "commit")
    def after_the_check(_):
        with pytest.raises(UnreachableError) as error:
            database.take(B)
        refused.append(error)

    database.write(engine, "ours")

    assert len(refused) == 1
    assert database.written() == ["ours"]
    assert database.take(B).token == 2


def test_the_lease_and_the_study_live_in_one_database(database, bare_plan):
    """Whichever comes first, each finds its own tables; a fenced driver is told so by the study's own methods."""
    plan = bare_plan([TrialConfig(), TrialConfig(seed=1)], name="exp")
    lease = database.take(A)
    study = TrialStudy(database.uri, plan, None)
    engine = database.close_later(study._storage.engine)
    lease.guard(engine)
    proposal = study.next_proposal()
    database.step(TTL_S)
    database.take(B)
    before = database.content()

    for write in (
        study.next_proposal,
        lambda: study.report(proposal.number, 1, 0.5),
        lambda: study.end(proposal.number, "completed", best=0.5),
        lambda: study.end(proposal.number, "failed", failure="disk"),
    ):
        with pytest.raises(FencedError):
            write()

    assert study.running() == [0]
    assert database.content() == before


@contextmanager
def kept(lease):
    """Yield a lease's keeper, the errors it told, and an event that says it told one."""
    told, lost = [], threading.Event()

    def on_lost(error):
        told.append(error)
        lost.set()

    keeper = LeaseKeeper(lease, on_lost)
    try:
        yield keeper, told, lost
    finally:
        keeper.close()


def test_a_kept_lease_is_held_beyond_its_time(database):
    """As long as its keeper lives it is renewed from wherever the clock stands, and nobody else gets it."""
    lease = database.take(A, ttl_s=SHORT_TTL_S)

    with kept(lease) as (keeper, told, _):
        end = database.row().expires
        for seconds in (1, 3600, 1):
            database.step(seconds)
            end, until = end + seconds, time.monotonic() + 10
            while database.row().expires < end and time.monotonic() < until:
                time.sleep(0.01)
            with pytest.raises(RunningElsewhereError):
                database.take(B)
    database.step(SHORT_TTL_S)

    assert database.take(B).token == 2
    assert (keeper.lost, told) == (None, [])


def test_a_keeper_tells_once_that_the_lease_was_taken_over(database):
    """The error says who took over; after it the keeper renews no more."""
    lease = database.take(A, ttl_s=SHORT_TTL_S)

    with kept(lease) as (keeper, told, lost):
        database.take(Holder(A.host, 12), same_host_is_dead=True)
        assert lost.wait(10)
        keeper._thread.join(10)

    assert told == [keeper.lost]
    assert isinstance(keeper.lost, FencedError)
    assert "taken over by host-a, pid 12" in str(keeper.lost)


def test_a_keeper_asks_a_failing_database_again(sqlite):
    """Renewals that fail within the lease's time cost nothing."""
    lease = sqlite.take(A, ttl_s=0.03)
    lease.good_until_s = time.monotonic() + 60
    attempts, renewed = [], threading.Event()

    def renew():
        attempts.append("renew")
        if len(attempts) < 3:
            raise sa.exc.OperationalError("UPDATE", {}, Exception("the server is starting"))
        renewed.set()

    lease.renew = renew
    with kept(lease) as (keeper, told, _):
        assert renewed.wait(10)

    assert (keeper.lost, told) == (None, [])


def test_a_keeper_gives_up_when_another_may_have_the_lease(database):
    """A database that fails for the lease's whole time is told as such, then and not before."""
    began = time.monotonic()
    lease = database.take(A, ttl_s=SHORT_TTL_S)
    with database.plain.begin() as connection:
        connection.execute(sa.text("DROP TABLE sweep_lease"))

    with kept(lease) as (keeper, told, lost):
        assert lost.wait(10)
        took_s = time.monotonic() - began

    assert told == [keeper.lost]
    assert isinstance(keeper.lost, UnreachableError)
    assert "sweep 'exp' could not renew its lease for 0.3 s" in str(keeper.lost)
    assert took_s >= SHORT_TTL_S


def test_a_keeper_that_was_closed_tells_nothing(sqlite):
    """Where the lease turns out lost in a renewal that had begun before, the driver that ends is left in peace."""
    lease = sqlite.take(A, ttl_s=0.03)
    began, go_on = threading.Event(), threading.Event()

    def renew():
        began.set()
        assert go_on.wait(5)
        raise FencedError

    lease.renew = renew
    with kept(lease) as (keeper, told, _):
        assert began.wait(5)
        closing = threading.Thread(target=keeper.close)
        closing.start()
        assert keeper._closed.wait(5)
        go_on.set()
        closing.join(5)

    assert not keeper._thread.is_alive()
    assert told == []


SECONDS = [0.001, 1.0, TTL_S / 3, TTL_S - 0.001, TTL_S, 3600.0]
LEASES_AGO = [0, 0, 0, 1, 2]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("take"), st.sampled_from([A, B]), st.booleans()),
        st.tuples(st.just("clock"), st.sampled_from([*SECONDS, *(-seconds for seconds in SECONDS)])),
        *(st.tuples(st.just(action), st.sampled_from(LEASES_AGO)) for action in ("renew", "release", "write", "write")),
    ),
    min_size=15,  # left to itself, Hypothesis plays games too short for an earlier holder to come back
    max_size=30,
)


class Law:
    """The lease's contract, played on a database and in memory: the number, its holder's host and end, the writes."""

    def __init__(self, database):
        self.database = database
        self.now, self.token, self.host, self.expires = START, 0, None, None
        self.leases, self.accepted = [], []
        with database.plain.begin() as connection:
            connection.execute(sa.text("UPDATE clock SET seconds = :start"), {"start": START})
            for table in ("written", "sweep_lease"):
                if sa.inspect(connection).has_table(table):
                    connection.execute(sa.delete(sa.table(table)))

    def clock(self, seconds):
        """Set the clock forward or back."""
        self.database.step(seconds)
        self.now += seconds

    def take(self, holder, same_host_is_dead):
        """Have a new process try to take the lease."""
        engine = sa.create_engine(self.database.uri)
        if self.database.is_sqlite:  # thousands of transactions: not to wait for the disk
            sa.event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous=OFF"))
        options = {"ttl_s": TTL_S, "same_host_is_dead": same_host_is_dead, "clock_sql": CLOCK}
        dead = same_host_is_dead and holder.host == self.host
        if self.expires is not None and self.now < self.expires and not dead:
            with pytest.raises(RunningElsewhereError):
                Lease.take(engine, "exp", holder, **options)
            engine.dispose()
            return
        self.leases.append(Lease.take(engine, "exp", holder, **options))
        self.leases[-1].guard(engine)
        assert self.leases[-1].token == self.token + 1
        self.token, self.host, self.expires = self.token + 1, holder.host, self.now + TTL_S

    def release(self, lease):
        """Have any holder so far release the lease."""
        lease.release()
        if lease.token == self.token:
            self.expires = None

    def renew(self, lease):
        """Have any holder so far renew the lease."""
        if self._allowed(lease, lease.renew):
            self.expires = self.now + TTL_S

    def write(self, lease):
        """Have any holder so far come back from a pause, however long, and write."""
        if self._allowed(lease, lambda: self.database.write(lease.engine, str(lease.token))):
            self.accepted.append(lease.token)

    def _allowed(self, lease, action):
        if lease.token == self.token and self.expires is not None:
            action()
            return True
        with pytest.raises(FencedError):
            action()
        return False

    def check(self):
        """Compare the database with what the contract says."""
        if self.leases:
            assert self.database.row().token == self.token
            assert self.database.row().expires == pytest.approx(self.expires, abs=1e-4)
        assert self.database.written() == [str(token) for token in self.accepted]
        assert self.accepted == sorted(self.accepted)  # no earlier holder after a later one


@pytest.fixture(scope="module")
def lasting_databases(tmp_path_factory):
    """Return one database of each kind, used again and again."""
    with ExitStack() as stack:
        yield [stack.enter_context(opened(kind, tmp_path_factory.mktemp(kind))) for kind in DATABASES]


@settings(max_examples=40)
@given(steps=STEPS)
def test_whatever_happens_at_most_one_holder_writes_and_the_number_never_falls(lasting_databases, steps):
    """Over any sequence of takings, steps of the clock either way, pauses, renewals, releases and writes.

    Every decision is the contract's, and the table holds what one holder after the other wrote, in order.
    """
    for database in lasting_databases:
        law = Law(database)
        for action, *arguments in steps:
            if action in ("clock", "take"):
                getattr(law, action)(*arguments)
            elif law.leases:
                getattr(law, action)(law.leases[-1 - arguments[0] % len(law.leases)])
            law.check()
        for lease in law.leases:
            lease.engine.dispose()


CHILD = """
import os, sys, time
import sqlalchemy as sa
from filelock import FileLock
from orchestrator.errors import RunningElsewhereError
from orchestrator.lease import FencedError, Holder, Lease, LeaseKeeper

def say(*words):
    os.write(1, (" ".join(map(str, words)) + chr(10)).encode())  # whole, also from two threads

def take(uri, ttl_s):
    began = time.monotonic()
    try:
        found = Lease.take(sa.create_engine(uri), "exp", Holder.here(), ttl_s=float(ttl_s))
    except RunningElsewhereError as error:
        say("refused", time.monotonic() - began, error)
        return None
    say("took", time.monotonic() - began, found.token)
    return found

say("ready")
for line in sys.stdin:
    command, *arguments = line.split()
    if command == "lock":
        lock = FileLock(arguments[0])
        lock.acquire(timeout=0)
        say("locked")
    elif command == "take":
        lease = take(*arguments)
    elif command == "keep":
        keeper = LeaseKeeper(lease, lambda error: say("lost", type(error).__name__))
        say("kept")
    elif command == "write":
        engine = sa.create_engine(lease.engine.url)
        lease.guard(engine)
        try:
            with engine.begin() as connection:
                connection.execute(sa.text("INSERT INTO written VALUES ('child')"))
            say("written")
        except FencedError:
            say("fenced")
"""


class Child:
    """A process that does one command after the other, and answers each with a line."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, "-c", CHILD], cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def send(self, *command):
        """Give a command; its answer comes later."""
        print(*command, file=self.process.stdin, flush=True)

    def answer(self):
        """Return the next line, without its end."""
        return self.process.stdout.readline().rstrip("\n")

    def do(self, *command):
        """Give a command and return its answer."""
        self.send(*command)
        return self.answer()

    def kill(self):
        """Kill the process and wait for its end."""
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


@pytest.fixture
def start():
    """Return a function that starts a child; all are killed when the test ends."""
    children = []

    def started():
        children.append(Child())
        return children[-1]

    yield started
    for child in children:
        child.kill()


def _one_of_two(first, second, uri):
    """Have two children take the same lease; one gets it, the other is refused within two seconds."""
    for child in (first, second):
        child.send("take", uri, 60)
    answers = sorted(child.answer().split(maxsplit=2) for child in (first, second))

    assert [answer[0] for answer in answers] == ["refused", "took"]
    assert float(answers[0][1]) < 2
    assert "sweep 'exp' is running already on" in answers[0][2]
    assert answers[1][2] == "1"


def test_of_two_processes_at_the_same_moment_one_gets_the_lease(start, tmp_path):
    """Twenty times, each on a database in which not even the table is there."""
    children = start(), start()
    assert [child.answer() for child in children] == ["ready", "ready"]

    for round_ in range(20):
        _one_of_two(*children, f"sqlite:///{tmp_path / f'{round_}.db'}")


@pytest.mark.slow
def test_of_two_processes_started_together_one_gets_the_lease(start, tmp_path):
    """Twenty times from the process's start on: the command given before it runs is done as soon as it can."""
    for round_ in range(20):
        children = start(), start()
        for child in children:
            child.send("take", f"sqlite:///{tmp_path / f'{round_}.db'}", 60)
        assert [child.answer() for child in children] == ["ready", "ready"]
        answers = sorted(child.answer().split(maxsplit=2) for child in children)
        assert [answer[0] for answer in answers] == ["refused", "took"]
        assert float(answers[0][1]) < 2


def test_a_killed_holder_gives_way_at_once_where_the_kernels_lock_tells(start, sqlite, tmp_path):
    """On its own host nobody waits for the lease's time to be over."""
    child, lock = start(), FileLock(tmp_path / "lock")
    assert child.answer() == "ready"
    assert child.do("lock", lock.lock_file) == "locked"
    assert child.do("take", sqlite.uri, 60).startswith("took")
    assert child.do("keep") == "kept"
    with pytest.raises(Timeout):
        lock.acquire(timeout=0)

    child.kill()

    with lock.acquire(timeout=0):
        assert sqlite.take(Holder.here(), clock_sql=None, same_host_is_dead=True).token == 2


def test_a_killed_holder_gives_way_elsewhere_once_its_time_is_over(start, sqlite):
    """Within a second of it, and not before."""
    child = start()
    assert child.answer() == "ready"
    assert child.do("take", sqlite.uri, SHORT_TTL_S).startswith("took")
    assert child.do("keep") == "kept"

    child.kill()
    expires = sqlite.row().expires
    while True:
        try:
            assert sqlite.take(B, clock_sql=None).token == 2
            break
        except RunningElsewhereError:
            time.sleep(0.02)

    assert expires <= sqlite.row().since < expires + 1


def test_a_holder_that_was_paused_for_too_long_writes_nothing(start, sqlite):
    """Stopped for twice its time and continued, it is told that it lost the lease; its write is refused."""
    child = start()
    assert child.answer() == "ready"
    assert child.do("take", sqlite.uri, SHORT_TTL_S).startswith("took")
    assert child.do("keep") == "kept"
    assert child.do("write") == "written"

    with sqlite3.connect(sqlite.uri.removeprefix("sqlite:///")) as connection:
        connection.execute("BEGIN IMMEDIATE")  # not to stop it inside a renewal: it would keep the database locked
        child.process.send_signal(signal.SIGSTOP)
        os.waitpid(child.process.pid, os.WUNTRACED)
    time.sleep(2 * SHORT_TTL_S)
    assert sqlite.take(B, clock_sql=None).token == 2
    child.process.send_signal(signal.SIGCONT)

    child.send("write")
    assert {child.answer(), child.answer()} == {"fenced", "lost FencedError"}
    assert sqlite.written() == ["child"]
