"""Where results go: can it be written as we write, is it the person's own, and is there room."""

import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from model.files import size_text
from orchestrator.errors import SweepError


def unusable(out: Path, root: Path) -> list[str]:
    """Return what is wrong with OUT and with the sweep's folder in it. Leaves nothing behind."""
    there = next(folder for folder in (out, *out.parents) if folder.exists() or folder.is_symlink())
    if not there.is_dir():
        return [f"--out {out}: {there} is no folder"]
    if others := [line for folder in (out, root) if folder.is_dir() and (line := _others(folder))]:
        return others
    try:
        _write_as_we_do(there)
    except OSError as error:
        return [f"--out {out}: {there} cannot be written to as a sweep does ({error.strerror}); name another folder"]
    return []


def require_writable(folder: Path, option: str) -> None:
    """Raise SweepError where a folder to come cannot be made or written to. Leaves nothing behind."""
    there = next(each for each in (folder, *folder.resolve().parents) if each.exists() or each.is_symlink())
    if not there.is_dir():
        raise SweepError(f"{option} {folder}: {there} is no folder")
    try:
        _write_as_we_do(there)
    except OSError as error:
        raise SweepError(f"{option} {folder}: {there} cannot be written to ({error.strerror}); name another") from error


@contextmanager
def private_files() -> Iterator[None]:
    """Let all that this process and those it starts write in the block be the owner's alone, whoever writes it.

    What we write ourselves is so anyway; MLflow, Optuna, SQLite and Ray go by the umask.
    """
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def _others(folder: Path) -> str | None:
    """Return why a folder is not this person's alone: who can write to it can write our results.

    Root's folders are trusted, and those of whoever owns this package: in a container that is often not the user.
    """
    found = folder.stat()
    if found.st_uid not in {os.getuid(), 0, Path(__file__).stat().st_uid}:
        return (
            f"{folder}: belongs to another user (uid {found.st_uid}); chown it, or name a folder of your own with --out"
        )
    if found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX:
        mode = stat.S_IMODE(found.st_mode)
        return (
            f"{folder}: anybody may write to it (mode {mode:o}); chmod o-w {folder}, or where the file system has no "
            "modes, name a folder elsewhere with --out"
        )
    return None


def _write_as_we_do(folder: Path) -> None:
    """Write, flush, lock and rename a file. Raises OSError where that cannot be done."""
    handle, name = tempfile.mkstemp(prefix=".probe-", dir=folder)
    path = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(b"probe")
            file.flush()
            os.fsync(file.fileno())
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path = path.rename(path.with_suffix(".renamed"))
    finally:
        with suppress(OSError):
            path.unlink()


def nearest(folder: Path) -> Path:
    """Return the folder, or the nearest above it that is there."""
    return next(each for each in (folder, *folder.parents) if each.is_dir())


def free_bytes(folder: Path) -> int:
    """Return the room on the disk of a folder, or of the nearest above it that is there."""
    return shutil.disk_usage(nearest(folder)).free


def too_small(folder: Path, needs: Sequence[tuple[str, int]]) -> list[str]:
    """Return a line where the disk of a folder has less room than what is needed, each part with its bytes."""
    there, need = nearest(folder), sum(size for _, size in needs)
    free = free_bytes(there)
    if need <= free:
        return []
    parts = ", ".join(f"{name} {size_text(size)}" for name, size in needs if size)
    advice = "--out elsewhere, a smaller --keep-checkpoints, or a smaller --prefix-cache-gb"
    return [f"{there}: has {size_text(free)} free, the sweep needs about {size_text(need)} ({parts}); {advice}"]
