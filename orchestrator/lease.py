"""The lease on a sweep's name: one driver a sweep over all machines, kept in the study's own database.

A lease is a row of the table sweep_lease. Its token, the fencing number, grows by one at each taking and never goes
back. A driver that has lost the lease, whether it knows or not, writes nothing to the study any more: each of its
transactions compares the token before it commits (`Lease.guard`). So safety rests on the token alone; times only
decide how soon a lease that nobody renews may be taken. They are the database's clock, in seconds since 1970: what
a host's clock says changes nothing. (SQLite's clock is that of the host it runs on; its file belongs to one host.)
"""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self
from weakref import WeakSet

import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from model.failpoints import reach
from orchestrator.errors import ADVICE, RunningElsewhereError, SweepError, UnreachableError

if TYPE_CHECKING:
    from orchestrator.study import TrialStudy

LOCK_WAIT_S = 1.0
"""How long a lease waits for the database's write lock, whatever the engine's own timeout."""
_CLOCKS = {
    "sqlite": "(julianday('now') - 2440587.5) * 86400.0",  # to the millisecond
    "postgresql": "CAST(EXTRACT(EPOCH FROM clock_timestamp()) AS DOUBLE PRECISION)",  # now() is when we began to wait
}
_LEASES = sa.Table(
    "sweep_lease",
    sa.MetaData(),
    sa.Column("name", sa.String(512), primary_key=True),
    sa.Column("token", sa.BigInteger, nullable=False),
    sa.Column("host", sa.String(255), nullable=False),
    sa.Column("pid", sa.BigInteger, nullable=False),
    sa.Column("since", sa.Double, nullable=False),
    sa.Column("expires", sa.Double),  # null: released
)


class FencedError(RunningElsewhereError):
    """This process holds the sweep's lease no more; what it was about to write was not written."""


@dataclass(frozen=True)
class Holder:
    """The process that holds a lease, as whoever is refused is told of it."""

    host: str
    pid: int

    @classmethod
    def here(cls) -> Self:
        """Return this process."""
        return cls(socket.gethostname(), os.getpid())


@dataclass(kw_only=True)
class Lease:
    """A lease that was taken; `take` makes it. Any thread of the process may call its methods."""

    engine: sa.Engine
    name: str
    ttl_s: float
    token: int
    """The fencing number: greater than that of every earlier holder of this name."""
    good_until_s: float
    """By time.monotonic: until then nobody takes it over, unless the database's clock is set or we are thought dead."""
    clock: sa.ColumnElement[float]

    @classmethod
    def take(
        cls,
        engine: sa.Engine,
        name: str,
        holder: Holder,
        *,
        ttl_s: float,
        same_host_is_dead: bool = False,
        advice: str = ADVICE,
        clock_sql: str | None = None,
    ) -> Self:
        """Take the lease where it is free: never taken, released, not renewed for `ttl_s`, or its holder is dead.

        `same_host_is_dead` says that no other driver of this sweep lives on the holder's host: the caller has the
        kernel's lock of it. `clock_sql` gives seconds in place of the database's clock, for tests.
        Of several takers at once one succeeds. Raises RunningElsewhereError, which ends with the `advice`, and
        UnreachableError where the database fails or lets nobody write for LOCK_WAIT_S; both with nothing changed.
        """
        good_until_s = time.monotonic() + ttl_s
        clock: sa.ColumnElement[float] = sa.literal_column(clock_sql or _CLOCKS[engine.dialect.name], sa.Double)
        try:
            with _transaction(engine) as connection:
                _LEASES.create(connection, checkfirst=True)
                found = _locked_row(connection, name)
                now = connection.execute(sa.select(clock)).scalar_one()
                dead = same_host_is_dead and found is not None and found.host == holder.host
                if found is not None and not dead and found.expires is not None and now < found.expires:
                    who = f"{found.host}, pid {found.pid}, since {_local(found.since)}"
                    raise RunningElsewhereError(f"sweep {name!r} is running already on {who}; {advice}")
                token = 1 if found is None else found.token + 1
                write = sa.insert(_LEASES) if found is None else sa.update(_LEASES).where(_LEASES.c.name == name)
                who_and_when = {"host": holder.host, "pid": holder.pid, "since": now, "expires": now + ttl_s}
                connection.execute(write.values(name=name, token=token, **who_and_when))
        except OperationalError as error:
            text = f"the database of sweep {name!r} cannot be written: {_first_line(error)}"
            raise UnreachableError(f"{text}; the same command tries again") from error
        return cls(engine=engine, name=name, ttl_s=ttl_s, token=token, good_until_s=good_until_s, clock=clock)

    def renew(self) -> None:
        """Hold the lease for `ttl_s` from now, also where it had expired and nobody took it.

        Raises FencedError where it is ours no more, and whatever SQLAlchemy raises, within LOCK_WAIT_S of locks.
        """
        good_until_s = time.monotonic() + self.ttl_s
        with _transaction(self.engine) as connection:
            self._require(connection)
            row = sa.update(_LEASES).where(_LEASES.c.name == self.name)
            connection.execute(row.values(expires=self.clock + self.ttl_s))
        self.good_until_s = good_until_s

    def release(self) -> None:
        """Let the next one take the lease at once; do nothing where it is ours no more. Raises as SQLAlchemy does.

        The row stays, with its token: the number does not go back.
        """
        with _transaction(self.engine) as connection:
            row = sa.update(_LEASES).where(_LEASES.c.name == self.name, _LEASES.c.token == self.token)
            connection.execute(row.values(expires=None))

    def guard(self, engine: sa.Engine) -> None:
        """From now on let no transaction of this engine commit a write unless the lease is ours at that moment.

        The check comes just before COMMIT in the transaction itself, and no taker comes between: SQLite lets nobody
        else write from our first write on, PostgreSQL locks the lease's row. Where it fails, commit raises FencedError
        and nothing is kept. A transaction that only reads costs nothing. Not covered: statements that commit
        themselves (AUTOCOMMIT; in SQLite also DDL and WITH ... INSERT), and the new engine of an unpickled storage.
        """
        wrote: WeakSet[sa.Connection] = WeakSet()

        @sa.event.listens_for(engine, "begin")
        def begin(connection: sa.Connection) -> None:
            wrote.discard(connection)

        @sa.event.listens_for(engine, "before_cursor_execute")
        def note(connection: sa.Connection, _cursor: Any, statement: str, *_: Any) -> None:
            reads = statement.lstrip()[:6].upper() == "SELECT"  # whatever else it is may write
            if not reads and not connection.get_execution_options().get("sweep_lease"):
                wrote.add(connection)

        @sa.event.listens_for(engine, "commit")
        def check(connection: sa.Connection) -> None:
            if connection in wrote:
                try:
                    self._require(connection)
                except FencedError:
                    # A commit that failed counts as the end: SQLAlchemy's own rollback after it does nothing, and the
                    # write lock would stay until the connection is back in the pool.
                    connection.connection.rollback()
                    raise

    def _require(self, connection: sa.Connection) -> None:
        """Raise FencedError unless the lease is ours; until this transaction ends nobody else can take it."""
        found = _locked_row(connection, self.name, shared=True)
        if found is not None and found.token == self.token and found.expires is not None:
            return
        what = "has no lease in its database any more"
        if found is not None:
            what = f"was taken over by {found.host}, pid {found.pid}, at {_local(found.since)}"
            what = "was released by this process" if found.token == self.token else what
        raise FencedError(f"sweep {self.name!r} {what}; this process writes nothing more to its study")


class LeaseKeeper:
    """Renews a lease every third of its time, from a daemon thread, until closed or until the lease is lost.

    A database that fails is asked again until the lease may have been taken by another. Then, or where it was taken,
    `lost` is set and `on_lost` is called once with the same error, from the thread; it must not close the keeper.
    """

    def __init__(self, lease: Lease, on_lost: Callable[[SweepError], object] = lambda _: None) -> None:
        self.lost: SweepError | None = None
        self.on_lost = on_lost
        self._lease = lease
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Renew no more; `on_lost` is not called from now on. A renewal that hangs is left behind after 2 s."""
        self._closed.set()
        self._thread.join(2 * LOCK_WAIT_S)

    def _keep(self) -> None:
        lease, wait_s = self._lease, self._lease.ttl_s / 3
        while self.lost is None and not self._closed.wait(wait_s):
            try:
                lease.renew()
                wait_s = lease.ttl_s / 3
            except FencedError as error:
                self._lose(error)
            except Exception as error:  # noqa: BLE001  (whatever the driver raises; a dead keeper would tell nobody)
                left_s = lease.good_until_s - time.monotonic()
                wait_s = min(left_s, lease.ttl_s / 10)
                if left_s <= 0:
                    text = f"could not renew its lease for {lease.ttl_s:g} s: {_first_line(error)}"
                    self._lose(UnreachableError(f"sweep {lease.name!r} {text}; another driver may have it now"))

    def _lose(self, error: SweepError) -> None:
        self.lost = error
        if not self._closed.is_set():
            self.on_lost(error)


@contextmanager
def _transaction(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Yield the connection of a transaction that alone may change leases. OperationalError where it cannot begin.

    In sqlite3's legacy transaction mode, which SQLAlchemy and so Optuna leave on, the driver itself begins only before
    INSERT, UPDATE and DELETE, and without the lock: so BEGIN IMMEDIATE is sent as a statement, which it passes on. On
    an engine in another mode this fails with "within a transaction".
    """
    wait_ms = round(LOCK_WAIT_S * 1000)
    with engine.connect() as connection:
        connection.execution_options(sweep_lease=True)  # no guard looks at these
        if engine.dialect.name != "sqlite":
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = {wait_ms}")
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7305808)")  # any number that nobody else has
            yield connection
            connection.commit()
            return
        usual_ms = connection.exec_driver_sql("PRAGMA busy_timeout").scalar_one()
        try:
            connection.exec_driver_sql(f"PRAGMA busy_timeout = {wait_ms}")
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection
            connection.commit()
        finally:
            connection.rollback()
            connection.exec_driver_sql(f"PRAGMA busy_timeout = {usual_ms}")


def _locked_row(connection: sa.Connection, name: str, *, shared: bool = False) -> sa.Row[Any] | None:
    """Return a sweep's lease, its row locked; for SQLite, which locks the whole database, the words are left out."""
    query = sa.select(_LEASES).where(_LEASES.c.name == name).with_for_update(read=shared)
    return connection.execute(query).one_or_none()


def _local(seconds: float) -> str:
    return time.strftime("%F %T", time.localtime(seconds))


def _first_line(error: Exception) -> str:
    return (str(getattr(error, "orig", error)).splitlines() or [type(error).__name__])[0]


@contextmanager
def leased(study: "TrialStudy", advice: str = ADVICE) -> Iterator[LeaseKeeper]:
    """Hold the sweep's lease, and let this process write to the study only while it does; call it within `hold`.

    Raises RunningElsewhereError where another machine's driver has it, also in place of an error that comes of that.
    """
    lease = study.take_lease(advice)
    reach("lease: taken", token=lease.token)
    keeper = LeaseKeeper(lease)
    try:
        yield keeper
    except Exception as error:
        if (lost := _lost(lease)) is not None:
            raise lost from error
        raise
    finally:
        keeper.close()
        with suppress(Exception):  # it ends by itself
            lease.release()
            reach("lease: released")


def _lost(lease: Lease) -> FencedError | None:
    """Return that the lease was lost, if it was: everything after that fails."""
    try:
        lease.renew()
    except FencedError as lost:
        return lost
    except Exception:  # noqa: BLE001  (the database's own trouble says nothing about the lease)
        return None
    return None
