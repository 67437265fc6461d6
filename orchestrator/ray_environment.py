"""What Ray reads from the environment, and when: some of it at its very import, so this comes before.

Kept apart from orchestrator/runner.py for that reason alone; imports no Ray.
"""

import os
import secrets
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from model.files import flush_folder, make_folder
from orchestrator.errors import SweepError
from orchestrator.head_watch import RAYS_PATIENCE_S

QUIET = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1e9",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}
"""Ray's own files, lines and signal handling: the sweep has its own. Tune's snapshots of all trials so far, which grow
with their number, are read by nobody.

The deduplicator's regex is what it leaves out: all that Ray would print of other processes between our lines.
"""

LONGEST_FOLDER = 107 - len("/ray/session_2026-11-26_12-00-00_123456_1234567/sockets/plasma_store.1")
"""Bytes: what the kernel allows a socket's path (man 7 unix), less what Ray puts below its folder."""
TOKEN_BYTES = 32
LOOPBACK = {"127.0.0.1", "localhost", "::1", "[::1]"}


def prepare(out: Path, address: str | None) -> None:
    """Set Ray's environment for a local cluster of our own (no address) or for another's.

    Must be called before anything imports ray: it reads RAY_AUTH_MODE when it is imported.
    """
    os.environ.update(QUIET)
    if address is not None:
        os.environ["RAY_AUTH_MODE"] = "token" if _with_token() else "disabled"  # 2.60 turns it half on by itself
        os.environ.setdefault("RAY_gcs_rpc_server_reconnect_timeout_s", str(RAYS_PATIENCE_S))
        return
    # Ray listens on all interfaces even locally, and whoever reaches it runs code: only we have the token. It keeps to
    # loopback where it holds this machine for one that cannot be part of a cluster; the name is of Windows and macOS.
    for name in ("RAY_ADDRESS", "RAY_AUTH_TOKEN"):  # another cluster's; the latter would come before our token's file
        os.environ.pop(name, None)
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    os.environ["RAY_TMPDIR"] = str(_own_temporary_folder())
    os.environ["RAY_AUTH_MODE"] = "token"
    os.environ["RAY_AUTH_TOKEN_PATH"] = str(_own_token(out))


def named(address: str) -> str:
    """Return the address that is meant: RAY_ADDRESS where `auto` is asked for, and it is set."""
    return os.environ.get("RAY_ADDRESS") or address if address == "auto" else address


def open_to_all(address: str) -> str | None:
    """Return what is wrong with joining this head: one beyond loopback that takes everybody's code, or nothing.

    Of `auto` nothing is known before Ray has found it.
    """
    host = address.rpartition(":")[0]
    if address == "auto" or host in LOOPBACK or _with_token():
        return None
    return (
        "listens beyond this machine's loopback, and RAY_AUTH_MODE is not 'token': whoever "
        "reaches Ray runs code on every node; start it with a token, as ray_cluster.yaml does, and set "
        "RAY_AUTH_MODE=token (for a head on this machine: 127.0.0.1:PORT)"
    )


def token_from() -> str:
    """Return where Ray takes the token of another's cluster from, in words; nothing where it sends none."""
    if not _with_token():
        return ""
    if os.environ.get("RAY_AUTH_TOKEN"):
        return "of RAY_AUTH_TOKEN"
    return f"of {_token_file()}"


def no_token() -> str | None:
    """Return what is wrong where a cluster is to be joined with a token, and there is none."""
    if not _with_token() or os.environ.get("RAY_AUTH_TOKEN"):
        return None
    path = _token_file()
    try:
        if path.read_text(encoding="utf-8", errors="replace").strip():
            return None
        said = "is empty"
    except OSError as error:
        said = f"cannot be read ({error.strerror})"
    return (
        f"RAY_AUTH_MODE is token, and {path} {said}; copy the token that the head was started with to a file of mode "
        "600, and name it with RAY_AUTH_TOKEN_PATH"
    )


def _token_file() -> Path:
    return Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or "~/.ray/auth_token").expanduser()


def _with_token() -> bool:
    return os.environ.get("RAY_AUTH_MODE", "").strip().lower() == "token"


def _own_temporary_folder() -> Path:
    """Return a folder that nobody else enters: in it Ray lets everybody write to its sockets' folder and read its logs.

    One of a short path, as the kernel's limit for a socket's asks; /tmp where the usual one is too long.
    """
    usual = Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir())
    own = usual if _is_private(usual) else usual / f"ray-{os.getuid()}"
    if len(os.fsencode(own)) > LONGEST_FOLDER:
        usual, own = Path("/tmp"), Path(f"/tmp/ray-{os.getuid()}")  # noqa: S108  (ours alone, or passed by)
    with suppress(OSError):
        own.mkdir(mode=0o700, parents=True, exist_ok=True)
    return own if _is_private(own) else Path(tempfile.mkdtemp(prefix="ray-", dir=usual))


def _is_private(folder: Path) -> bool:
    try:
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077


def _own_token(out: Path) -> Path:
    """Return the file with this folder's token, readable by its owner alone. Raises SweepError where it is not."""
    token = out / ".ray-token"
    make_folder(out)
    if not token.exists():
        _make_token(token)
    found = token.lstat()
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise SweepError(
            f"{token} has mode {stat.S_IMODE(found.st_mode):o} and owner {found.st_uid}; expected a file of yours that "
            "nobody else may read (600); delete it, and a new token is made (where the file system has no modes, "
            "name a folder elsewhere with --out)"
        )
    if found.st_size < 2 * TOKEN_BYTES:
        raise SweepError(f"{token} holds {found.st_size} bytes and no token; delete it, and a new token is made")
    return token


def _make_token(token: Path) -> None:
    """Write a token that is whole and on the disk; of two sweeps that begin at once, one makes it."""
    handle, name = tempfile.mkstemp(prefix=".ray-token.", dir=token.parent)
    partial = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(TOKEN_BYTES))
            file.flush()
            os.fsync(file.fileno())
        token.hardlink_to(partial)
    except FileExistsError:
        pass
    except OSError:  # a file system without hard links
        partial.rename(token)
        return
    finally:
        partial.unlink(missing_ok=True)
        flush_folder(token.parent)
