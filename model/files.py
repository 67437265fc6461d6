"""Files that are whole or absent: written under another name, flushed to disk, moved."""

import hashlib
import json
import os
import re
import shutil
import socket
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from model.failpoints import reach

MANIFEST = "manifest.json"


class DamagedFileError(ValueError):
    """A stored file is not what its manifest says: cut short, changed, or missing."""


def sha256_of(path: Path) -> str:
    """Return the hex sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def canonical_json(value: Any) -> str:
    """Return one JSON text for equal values: sorted keys, no NaN, shortest floats."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def content_hash(value: Any) -> str:
    """Return the hex sha256 of a plain value's canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


LFS_POINTER = b"version https://git-lfs"
"""How a file begins that git left for Git LFS to fetch."""


def size_text(size: int) -> str:
    """Return a size in bytes as people write it: 1.2 MB, 59 MB, 8.5 GB."""
    unit, name = (10**9, "GB") if size >= 10**9 else (10**6, "MB")
    return f"{size / unit:.1f} {name}" if size < 10 * unit else f"{size / unit:,.0f} {name}"


def write_json(path: Path, value: Any) -> None:
    """Write a plain value as readable JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def write_sealed(path: Path, what: str | None, value: Mapping[str, Any]) -> None:
    """Write plain values as JSON with a hash of them, and of `what` they are if that is said; whole or not at all."""
    write_json(path, {**value, "digest": _seal(what, json.loads(json.dumps(value)))})


def _seal(what: str | None, value: Any) -> str:
    return content_hash(value if what is None else [what, value])


def read_sealed(path: Path, what: str | None) -> dict[str, Any]:
    """Return what was written sealed. Raises FileNotFoundError, or DamagedFileError where it is something else."""
    try:
        value: dict[str, Any] = json.loads(path.read_bytes())
        whole = value.pop("digest") == _seal(what, value)
    except FileNotFoundError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedFileError(f"{path}: cannot be read ({error})") from error
    if not whole:
        raise DamagedFileError(f"{path}: is not what was written; it was changed")
    return value


def write_text(path: Path, text: str) -> None:
    """Write text, whole or not at all."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write bytes under a temporary name in the same folder, flush them to disk, move them into place."""
    make_folder(path.parent)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=_unfinished(path.name))
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            reach(f"{_kind(path)}: written", path=str(path))
            os.fsync(file.fileno())
        reach(f"{_kind(path)}: flushed", path=str(path))
        os.replace(name, path)  # noqa: PTH105  (atomic, and works on str names from mkstemp)
        reach(f"{_kind(path)}: in place", path=str(path))
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    flush_folder(path.parent)


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder to fill; on success it becomes `folder`, manifest last.

    The manifest is whatever the caller wrote with `write_manifest`. A folder of that name that exists
    already is replaced. After a crash there is the old folder, the new one, or none: never a part.
    """
    make_folder(folder.parent)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=_unfinished(folder.name)))
    try:
        reach(f"{_kind(folder)}/: begun", path=str(folder))
        yield temporary
        reach(f"{_kind(folder)}/: filled", path=str(folder))
        for path in temporary.iterdir():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        flush_folder(temporary)
        reach(f"{_kind(folder)}/: flushed", path=str(folder))
        if folder.exists():
            shutil.rmtree(folder)
        temporary.rename(folder)
        reach(f"{_kind(folder)}/: in place", path=str(folder))
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    flush_folder(folder.parent)


def remove_abandoned(folder: Path) -> None:
    """Remove what processes of this machine that are no more left half-written in a folder, itself only."""
    for path in folder.iterdir() if folder.is_dir() else ():
        named = re.fullmatch(r"\..+\.([^.]+)\.([0-9]+)\.[^.]+", path.name)
        if named and named[1] == _host() and not Path(f"/proc/{named[2]}").exists():
            remove(path)


def remove(path: Path) -> None:
    """Remove a file, or a folder with all that it holds; one that is gone already is fine."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _unfinished(name: str) -> str:
    """Return how the name of a file begins until it is whole: it says who writes it."""
    return f".{name}.{_host()}.{os.getpid()}."


def _host() -> str:
    return socket.gethostname().partition(".")[0]


def share(folder: Path) -> None:
    """Give a folder and its files the modes of the person's umask: what is written here is the owner's alone."""
    mask = os.umask(0o077)
    os.umask(mask)
    folder.chmod(0o777 & ~mask)
    for path in folder.iterdir():
        path.chmod(0o666 & ~mask)


def write_manifest(folder: Path, facts: Mapping[str, Any], *, without: Collection[str] = ()) -> None:
    """Write manifest.json: the facts given, the sha256 of every other file in the folder, and one of all that."""
    files = {
        path.name: {"sha256": sha256_of(path), "bytes": path.stat().st_size}
        for path in sorted(folder.iterdir())
        if path.name != MANIFEST and path.name not in without
    }
    write_sealed(folder / MANIFEST, None, {**facts, "files": files})


def read_manifest(folder: Path, *, contents: bool = True) -> dict[str, Any]:
    """Return the facts of a folder after checking every file that its manifest names.

    Without `contents` a file's size is looked at, not its hash. Raises DamagedFileError where the manifest is
    missing or unreadable, or a file differs from it.
    """
    try:
        manifest = read_sealed(folder / MANIFEST, None)
        named = {str(name): (str(file["sha256"]), int(file["bytes"])) for name, file in manifest["files"].items()}
    except DamagedFileError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedFileError(f"{folder}: no readable {MANIFEST} ({error}); it cannot be used") from error
    for name, (expected, size) in named.items():
        path = folder / name
        if path.parent != folder or not path.is_file():
            raise DamagedFileError(f"{path}: named by {MANIFEST} and missing")
        if path.stat().st_size != size:
            raise DamagedFileError(f"{path}: {path.stat().st_size} bytes, {MANIFEST} says {size}; the file was changed")
        found = sha256_of(path) if contents else expected
        if found != expected:
            raise DamagedFileError(
                f"{path}: sha256 {found[:12]}…, {MANIFEST} says {expected[:12]}…; the file was changed"
            )
    return manifest


def _kind(path: Path) -> str:
    """Return what a file or folder is, for the name of a failpoint: its name without numbers and hashes."""
    said = path.name
    if said.startswith("."):  # unfinished
        said = re.sub(r"\.[^.]+\.[0-9]+\.[^.]+$", "", said[1:])
    if said == MANIFEST:
        return f"{_kind(path.parent)}/{said}"
    return path.parent.name if re.match(r"[0-9a-f]{12}", said) else re.sub(r"-[0-9-]+$", "", said)


def make_folder(folder: Path) -> None:
    """Create a folder and those above it that are missing, so that a power cut leaves them there too.

    They are their owner's alone: who can write there writes our checkpoints, who can read there reads our data.
    """
    for path in reversed([path for path in (folder, *folder.parents) if not path.exists()]):
        path.mkdir(mode=0o700, exist_ok=True)
        flush_folder(path.parent)


def flush_folder(folder: Path) -> None:
    """Write to disk which names a folder holds: flushing a file does not do that (fsync(2))."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
