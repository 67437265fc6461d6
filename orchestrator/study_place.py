"""Which database a sweep's study is in: its own file, or a server's, noted in the sweep's folder.

A server is for a cluster whose shared folder is no place for SQLite, as NFS is none. Its password stands in no file of
ours: PostgreSQL's client finds it in PGPASSFILE, ~/.pgpass or PGPASSWORD.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from model.files import write_text
from orchestrator.errors import SweepError, UnreachableError
from orchestrator.limits import within
from orchestrator.paths import SweepPaths
from orchestrator.redaction import redacted

ANSWER_S = 8.0
GONE = re.compile(r"\(psycopg2?\.(?:OperationalError|InterfaceError|errors\.\w*Shutdown)\)\s*([\s\S]{1,2000})")
"""What SQLAlchemy says where PostgreSQL has ended a connection, or takes none."""


def wrong_study(uri: str | None) -> list[str]:
    """Return what is wrong with a study's URI as it is written."""
    if uri is None:
        return []
    at = f"--study-uri {redacted(uri)}"
    if uri.partition(":")[0].partition("+")[0] != "postgresql":
        return [f"{at}: expected postgresql+psycopg://HOST/NAME; left out, the study is OUT/NAME/study.db"]
    try:
        parts = urlsplit(uri)
        named = bool(parts.path.strip("/")) and (parts.port is None or parts.port > 0)
    except ValueError:
        named = False
    if not named:
        return [f"{at}: names no database, or no port that there is; expected postgresql+psycopg://HOST/NAME"]
    if parts.password is not None:
        return [f"{at}: holds a password, and the URI is noted in the sweep's folder; put it into ~/.pgpass (0600)"]
    return []


def require_study(paths: SweepPaths, uri: str | None, *, new: bool) -> str:
    """Return the URI of a sweep's study once its server has answered; write nothing.

    Raises UnreachableError, and SweepError where the sweep's study is in another place than is asked for.
    """
    begun = paths.plan.exists() and not new
    place = paths.study_uri if begun else uri or f"sqlite:///{paths.study_file}"
    if begun and uri is not None and place != uri:
        raise SweepError(
            f"--study-uri {redacted(uri)}: the study of sweep {paths.name!r} is in {redacted(place)}; leave the option "
            "out, or --new puts the sweep aside"
        )
    if not place.startswith("sqlite"):
        _require_answer(place)
    return place


def note_study(paths: SweepPaths, uri: str | None) -> None:
    """Note where the study of a new sweep will be, before its plan is written; one that has begun keeps its place.

    In this order, or a kill between the two would leave a sweep whose study is said to be in its own file.
    """
    if paths.plan.exists():
        return
    if uri is None:
        paths.study_place.unlink(missing_ok=True)
    else:
        write_text(paths.study_place, uri + "\n")


@contextmanager
def told_where_lost(uri: str) -> Iterator[None]:
    """Raise UnreachableError, in a line, where an error of a sweep that runs says that the study's database has gone.

    The error may be Tune's, which holds the driver's as text, or Optuna's, which came from it.
    """
    try:
        yield
    except Exception as error:
        found = None if uri.startswith("sqlite") else GONE.search("\n".join(_said(error)))
        if found is None:
            raise
        said = redacted(" ".join(found[1].split("[SQL")[0].split()).rstrip("."))[:300]
        raise UnreachableError(
            f"the study's database {redacted(uri)} has gone: {said}; what is saved stays: once it answers again, the "
            "same command continues"
        ) from error


def _said(error: BaseException | None) -> Iterator[str]:
    """Return what an error says, and those that it came from: Optuna's own says nothing of the driver's."""
    while error is not None:
        yield str(error)
        error = error.__cause__ or error.__context__


def _require_answer(uri: str) -> None:
    import sqlalchemy

    def ask() -> None:
        sqlalchemy.create_engine(uri).connect().close()

    try:
        within(ANSWER_S, ask)
    except ModuleNotFoundError as error:
        raise SweepError(f"--study-uri {redacted(uri)}: {error}; pip install 'psycopg[binary]'") from error
    except Exception as error:
        said = redacted(" ".join(str(error).split("\n(Background")[0].split()))[:300]
        raise UnreachableError(
            f"the study's database {redacted(uri)} does not answer: {said}; start it, or name another"
        ) from error
