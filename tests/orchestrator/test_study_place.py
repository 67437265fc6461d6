"""Where a sweep's study is, and what is wrong with how it is asked for."""

import pytest

from orchestrator.errors import SweepError, UnreachableError
from orchestrator.paths import SweepPaths
from orchestrator.study_place import note_study, require_study, told_where_lost, wrong_study

URI = "postgresql+psycopg://sweeps@db.internal/study"


@pytest.mark.parametrize("uri", [None, URI, "postgresql://db.internal:5432/study", "postgresql+psycopg:///study"])
def test_a_database_of_postgresql_is_right(uri):
    """With or without user, host and port; and nothing at all."""
    assert wrong_study(uri) == []


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("sqlite:///study.db", "expected postgresql+psycopg://HOST/NAME"),
        ("mysql://db/study", "expected postgresql+psycopg://HOST/NAME"),
        ("study", "expected postgresql+psycopg://HOST/NAME"),
        ("postgresql://db.internal", "names no database"),
        ("postgresql://db.internal:99999/study", "names no database, or no port"),
        ("postgresql://me:hunter2@db.internal/study", "holds a password"),
    ],
)
def test_what_is_wrong_is_one_line_without_the_password(uri, said):
    """The URI is noted in the sweep's folder, so a password is refused, and not shown."""
    (line,) = wrong_study(uri)
    assert said in line
    assert "hunter2" not in line


def test_a_new_sweeps_study_is_where_it_is_asked_for(tmp_path):
    """Noted once; whoever opens the sweep later finds it there, its confirmation too."""
    paths = SweepPaths(tmp_path, "exp4")
    own = f"sqlite:///{tmp_path / 'exp4' / 'study.db'}"
    assert paths.study_uri == own
    paths.root.mkdir()
    note_study(paths, URI)
    assert (paths.study_uri, paths.confirmation.study_uri) == (URI, URI)


def test_a_sweep_that_has_begun_keeps_its_study(tmp_path):
    """Whatever an option says later, the plan stands, and the study is where it was."""
    paths = SweepPaths(tmp_path, "exp4")
    paths.root.mkdir()
    note_study(paths, URI)
    paths.plan.touch()
    note_study(paths, "postgresql+psycopg://elsewhere/study")
    note_study(paths, None)
    assert paths.study_uri == URI


def test_before_there_is_a_plan_the_last_word_counts(tmp_path):
    """A driver was killed between the two: nothing has begun where it noted."""
    paths = SweepPaths(tmp_path, "exp4")
    note_study(paths, URI)
    note_study(paths, None)
    assert paths.study_uri.startswith("sqlite:")


def test_another_place_than_the_sweeps_is_refused(tmp_path):
    """Both are named; --new is the way out."""
    paths = SweepPaths(tmp_path, "exp4")
    paths.root.mkdir()
    paths.plan.touch()
    with pytest.raises(SweepError, match=r"the study of sweep 'exp4' is in sqlite:.*--new"):
        require_study(paths, URI, new=False)


def test_a_server_that_is_not_there_is_one_line(tmp_path):
    """Nothing listens there, or its driver is not installed: one line, nothing written."""
    paths = SweepPaths(tmp_path, "exp4")
    with pytest.raises(SweepError) as raised:
        require_study(paths, "postgresql+psycopg://127.0.0.1:9/study", new=False)
    assert "\n" not in str(raised.value)
    assert isinstance(raised.value, UnreachableError) or "pip install" in str(raised.value)
    assert not paths.root.exists()


TUNES = """Traceback (most recent call last):
  File "sqlalchemy/engine/base.py", line 1969, in _exec_single_context
sqlalchemy.exc.OperationalError: (psycopg.OperationalError) consuming input failed: server closed the connection
\tThis probably means the server terminated abnormally
[SQL: SELECT trials.trial_id FROM trials]
(Background on this error at: https://sqlalche.me/e/21/e3q8)
"""
"""What Tune made of a PostgreSQL that was killed under a sweep, shortened."""


def test_a_database_that_goes_while_a_sweep_runs_is_one_line():
    """Of a page of Tune's, what happened and what to do; exit code 4."""
    with pytest.raises(UnreachableError) as raised, told_where_lost(URI):
        raise RuntimeError(TUNES)
    assert str(raised.value) == (
        "the study's database postgresql+psycopg://***@db.internal/study has gone: consuming input failed: server "
        "closed the connection This probably means the server terminated abnormally; what is saved stays: once it "
        "answers again, the same command continues"
    )


def test_what_an_error_came_from_is_looked_at_too():
    """Optuna's own words are of its storage alone."""
    said = RuntimeError("An exception is raised during the commit.")
    said.__cause__ = ValueError(TUNES)
    with pytest.raises(UnreachableError, match="has gone: consuming input failed"), told_where_lost(URI):
        raise said


@pytest.mark.parametrize(("uri", "text"), [(URI, "shape"), ("sqlite:///study.db", TUNES)])
def test_what_is_not_the_databases_doing_stays_as_it_is(uri, text):
    """Another error is another error, and a file is no server."""
    with pytest.raises(RuntimeError), told_where_lost(uri):
        raise RuntimeError(text)


def test_the_caches_may_lie_on_a_disk_of_the_nodes_own(tmp_path, monkeypatch):
    """Its environment names the folder; OUT has the rest."""
    paths = SweepPaths(tmp_path / "shared", "exp4")
    assert paths.prefix_cache == tmp_path / "shared" / "cache" / "prefix"
    monkeypatch.setenv("SWEEP_CACHE", str(tmp_path / "own"))
    assert (paths.prefix_cache, paths.token_cache) == (tmp_path / "own" / "prefix", tmp_path / "own" / "tokens")
    assert paths.encoders == tmp_path / "shared" / "encoders"
