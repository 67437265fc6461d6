"""What is set before Ray is imported: a token always, loopback, and a temporary folder that is ours alone."""

import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from orchestrator import ray_environment
from orchestrator.errors import SweepError


@pytest.mark.parametrize("before", [None, "disabled", "token"])
def test_a_local_cluster_always_has_a_token_and_keeps_to_loopback(tmp_path, monkeypatch, before):
    """Whatever the environment says: RAY_AUTH_MODE is token, the token one of its own, its file the owner's alone."""
    _set(monkeypatch, before)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "weak")

    ray_environment.prepare(tmp_path / "runs", None)

    assert os.environ["RAY_AUTH_MODE"] == "token"
    assert "RAY_AUTH_TOKEN" not in os.environ
    assert os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "0"  # what that does, test_ports.py shows
    token = Path(os.environ["RAY_AUTH_TOKEN_PATH"])
    assert (token, token.stat().st_mode & 0o777) == (tmp_path / "runs" / ".ray-token", 0o600)
    assert len(token.read_text(encoding="ascii")) == 64


@pytest.mark.parametrize(("before", "after"), [(None, "disabled"), ("disabled", "disabled"), ("token", "token")])
def test_another_cluster_is_joined_in_a_mode_that_is_said(tmp_path, monkeypatch, before, after):
    """RAY_AUTH_MODE is never left to a version's default; one of another machine is joined with a token alone."""
    _set(monkeypatch, before)
    monkeypatch.setenv("RAY_ADDRESS", "192.0.2.1:6379")
    assert ray_environment.named("auto") == "192.0.2.1:6379"  # it is the same in other words

    ray_environment.prepare(tmp_path / "runs", "192.0.2.1:6379")

    assert os.environ["RAY_AUTH_MODE"] == after
    assert (ray_environment.open_to_all("192.0.2.1:6379") is None) == (after == "token")


def _set(monkeypatch, mode):
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    if mode is not None:
        monkeypatch.setenv("RAY_AUTH_MODE", mode)


@pytest.fixture
def short():
    """Yield a folder that all may write to, of a path short enough for Ray's sockets."""
    with tempfile.TemporaryDirectory(prefix="t", dir="/tmp") as folder:
        Path(folder).chmod(0o777)
        yield Path(folder)


@pytest.mark.parametrize("trap", ["open to all", "a link", "of another user", "a file"])
def test_a_temporary_folder_that_another_made_first_is_not_used(tmp_path, short, monkeypatch, trap):
    """One of the right name that is not ours alone is passed by for a new one."""
    monkeypatch.setenv("RAY_TMPDIR", str(short))
    first = short / f"ray-{os.getuid()}"
    if trap == "a file":
        first.touch()
    elif trap == "a link":
        (short / "elsewhere").mkdir(mode=0o700)
        first.symlink_to(short / "elsewhere")
    else:
        first.mkdir(mode=0o700)
        first.chmod(0o777 if trap == "open to all" else 0o700)
    if trap == "of another user":
        if os.getuid() != 0:
            pytest.skip("only root gives folders away")
        os.chown(first, 54321, 54321)

    ray_environment.prepare(tmp_path / "runs", None)

    chosen = Path(os.environ["RAY_TMPDIR"])
    assert (chosen.parent, chosen != first) == (short, True)
    assert (stat.S_IMODE(chosen.stat().st_mode), chosen.stat().st_uid) == (0o700, os.getuid())
    chosen.rmdir()


def test_a_temporary_folder_is_made_once_and_one_that_is_private_is_kept(tmp_path, short, monkeypatch):
    """Under one that all share, a folder of our own; what is ours alone already needs none."""
    monkeypatch.setenv("RAY_TMPDIR", str(short))
    own = short / f"ray-{os.getuid()}"

    for _ in range(3):
        ray_environment.prepare(tmp_path / "runs", None)
        assert Path(os.environ["RAY_TMPDIR"]) == own


def test_a_temporary_folder_too_long_for_a_socket_is_passed_by(tmp_path, monkeypatch):
    """A cluster's TMPDIR may be long; Ray would die of its socket's path."""
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / ("deep" * 20)))

    ray_environment.prepare(tmp_path / "runs", None)

    chosen = os.environ["RAY_TMPDIR"]
    assert len(f"{chosen}/ray/session_2026-11-26_12-00-00_123456_1234567/sockets/plasma_store.1") <= 107
    assert not (tmp_path / ("deep" * 20)).exists()


@pytest.mark.parametrize("trap", ["others may read it", "a link", "of another user"])
def test_a_token_that_others_may_know_is_refused(tmp_path, monkeypatch, trap):
    """Whoever knows the token runs code as us."""
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    out = tmp_path / "runs"
    out.mkdir()
    token = out / ".ray-token"
    if trap == "a link":
        (tmp_path / "known").write_text("0" * 64, encoding="ascii")
        token.symlink_to(tmp_path / "known")
    else:
        token.write_text("0" * 64, encoding="ascii")
        token.chmod(0o644 if trap == "others may read it" else 0o600)
    if trap == "of another user":
        if os.getuid() != 0:
            pytest.skip("only root gives files away")
        os.chown(token, 54321, 54321)

    with pytest.raises(SweepError, match="delete it, and a new token is made") as refused:
        ray_environment.prepare(out, None)

    assert "\n" not in str(refused.value)


def test_sweeps_that_begin_at_once_have_one_token(tmp_path, monkeypatch):
    """The first to make it makes it for all; no half token is ever seen, and nothing is left beside it."""
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    line = "from pathlib import Path; from orchestrator import ray_environment as r; import sys, os; "
    line += "r.prepare(Path(sys.argv[1]), None); print(open(os.environ['RAY_AUTH_TOKEN_PATH']).read())"
    command = [sys.executable, "-c", line, str(tmp_path / "runs")]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(8)]

    tokens = {process.communicate(timeout=60)[0] for process in processes}

    assert len(tokens) == 1
    assert len(tokens.pop().strip()) == 64
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [".ray-token"]
