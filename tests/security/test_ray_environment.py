"""What is set before Ray is imported: a token always, loopback, and a temporary folder that is ours alone."""

import os
import stat
from pathlib import Path

import pytest

from orchestrator import ray_environment


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

    ray_environment.prepare(tmp_path / "runs", "192.0.2.1:6379")

    assert os.environ["RAY_AUTH_MODE"] == after
    assert (ray_environment.open_to_all("192.0.2.1:6379") is None) == (after == "token")


def _set(monkeypatch, mode):
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    if mode is not None:
        monkeypatch.setenv("RAY_AUTH_MODE", mode)


@pytest.mark.parametrize("trap", ["open to all", "a link", "of another user", "a file"])
def test_a_temporary_folder_that_another_made_first_is_not_used(tmp_path, monkeypatch, trap):
    """One of the right name that is not ours alone is passed by for a new one."""
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    tmp_path.chmod(0o777)
    first = tmp_path / f"ray-{os.getuid()}"
    if trap == "a file":
        first.touch()
    elif trap == "a link":
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        first.symlink_to(tmp_path / "elsewhere")
    else:
        first.mkdir(mode=0o700)
        first.chmod(0o777 if trap == "open to all" else 0o700)
    if trap == "of another user":
        if os.getuid() != 0:
            pytest.skip("only root gives folders away")
        os.chown(first, 54321, 54321)

    ray_environment.prepare(tmp_path / "runs", None)

    chosen = Path(os.environ["RAY_TMPDIR"])
    assert chosen != first
    assert (stat.S_IMODE(chosen.stat().st_mode), chosen.stat().st_uid) == (0o700, os.getuid())
    chosen.rmdir()


def test_a_temporary_folder_is_made_once_and_one_that_is_private_is_kept(tmp_path, monkeypatch):
    """Under one that all share, a folder of our own; what is ours alone already needs none."""
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    tmp_path.chmod(0o777)
    own = tmp_path / f"ray-{os.getuid()}"

    for _ in range(3):
        ray_environment.prepare(tmp_path / "runs", None)
        assert Path(os.environ["RAY_TMPDIR"]) == own
