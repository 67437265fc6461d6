"""What Ray reads from the environment, and when: some of it at its very import, so this comes before.

Kept apart from orchestrator/runner.py for that reason alone; imports no Ray.
"""

import os
import secrets
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from model.files import make_folder

QUIET = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}
"""Ray's own files, lines and signal handling: the sweep has its own.

The deduplicator's regex is what it leaves out: all that Ray would print of other processes between our lines.
"""

LOOPBACK = {"127.0.0.1", "localhost", "::1", "[::1]"}


def prepare(out: Path, address: str | None) -> None:
    """Set Ray's environment for a local cluster of our own (no address) or for another's.

    Must be called before anything imports ray: it reads RAY_AUTH_MODE when it is imported.
    """
    os.environ.update(QUIET)
    if address is not None:
        os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # 2.60 turns it half on by itself
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "error")  # what is wrong with the address we say ourselves
        return
    # Ray listens on all interfaces even locally, and whoever reaches it runs code: only we have the token. It keeps to
    # loopback where it holds this machine for one that cannot be part of a cluster; the name is of Windows and macOS.
    for name in ("RAY_ADDRESS", "RAY_AUTH_TOKEN"):  # another cluster's; the latter would come before our token's file
        os.environ.pop(name, None)
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    os.environ["RAY_TMPDIR"] = str(_own_temporary_folder())
    os.environ["RAY_AUTH_MODE"] = "token"
    os.environ["RAY_AUTH_TOKEN_PATH"] = str(_own_token(out))


def open_to_all(address: str) -> str | None:
    """Return what is wrong with joining this head: one of another machine that takes everybody's code, or nothing."""
    host = address.rpartition(":")[0]
    if address == "auto" or host in LOOPBACK or os.environ.get("RAY_AUTH_MODE") == "token":
        return None
    return (
        f"--address {address}: is not on this machine, and RAY_AUTH_MODE is not 'token': whoever reaches Ray runs "
        "code on every node; start it with a token, as ray_cluster.yaml does, and set RAY_AUTH_MODE=token"
    )


def _own_temporary_folder() -> Path:
    """Return a folder that nobody else enters: in it Ray lets everybody write to its sockets' folder and read its logs.

    Its path is short: of a socket's the kernel takes 107 bytes.
    """
    usual = Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir())
    own = usual if _is_private(usual) else usual / f"ray-{os.getuid()}"
    with suppress(OSError):
        own.mkdir(mode=0o700, parents=True, exist_ok=True)
    return own if _is_private(own) else Path(tempfile.mkdtemp(prefix="ray-"))


def _is_private(folder: Path) -> bool:
    try:
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077


def _own_token(out: Path) -> Path:
    """Return the file with this folder's token, readable by its owner alone."""
    token = out / ".ray-token"
    make_folder(out)
    if not token.exists():
        partial = token.with_name(f".ray-token.{os.getpid()}")
        handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(32))
        partial.rename(token)
    return token
