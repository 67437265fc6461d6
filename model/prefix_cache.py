"""Where hidden states are kept: folders of one array each, whole or absent, read memory-mapped, evicted when old.

One process builds an entry, under a lock that its death releases, in a temporary folder that is renamed when all is
written. A reader checks the sha256 of every file before it uses one, and holds the entry while it lives, so that
eviction passes it by. Anything that is not what its manifest says is as good as absent.
"""

import fcntl
import os
import re
import shutil
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from filelock import FileLock, Timeout
from torch import Tensor

from model.files import DamagedFileError, content_hash, new_folder, read_manifest, size_text, write_manifest

STATES = "states.npy"
ROOM_LOCK = "room.lock"
"""Held while room is made and taken, so that no two builders count on the same."""
ENTRY_NAME = re.compile(r"[0-9a-f]{32}-[0-9]+")
UNFINISHED_NAME = re.compile(r"\.([0-9a-f]{32})-[0-9]+\..+")
"""What new_folder calls an entry until it is whole."""
DEFAULT_LIMIT_BYTES = 50 * 10**9
SPARE_BYTES = 64 * 10**6
"""Left free on the disk beside what is written."""
POLL_S = 0.2


class PrefixCacheError(OSError):
    """The cache cannot take what it should hold; the text says where, what was found and what is needed."""


@dataclass(frozen=True)
class Entry:
    """The states of one split at one depth: a name that follows from all that they follow from."""

    facts: Mapping[str, Any]
    """Encoder, tokens, precision, version: the same for all depths."""
    depth: int
    shape: tuple[int, int]
    dtype: str

    @property
    def family(self) -> str:
        """Return the name that all depths of one split share."""
        return content_hash([dict(self.facts), self.dtype])[:32]

    @property
    def name(self) -> str:
        """Return the name of the entry's folder."""
        return f"{self.family}-{self.depth}"

    @property
    def bytes(self) -> int:
        """Return the size of the array."""
        return self.shape[0] * self.shape[1] * np.dtype(self.dtype).itemsize

    def described(self) -> dict[str, Any]:
        """Return what the entry's manifest says of it."""
        return {**self.facts, "depth": self.depth, "shape": list(self.shape), "dtype": self.dtype}


@dataclass
class PrefixCache:
    """The entries under a folder, and those of them that this process has open, and so holds."""

    folder: Path
    limit_bytes: int = DEFAULT_LIMIT_BYTES
    _opened: dict[str, "_Opened"] = field(default_factory=dict)

    def open(self, entry: Entry) -> Tensor | None:
        """Return an entry's states, memory-mapped and checked, or None where there is no whole one."""
        if entry.name not in self._opened:
            try:
                hold = self._lock_file(entry.name)
                fcntl.flock(hold, fcntl.LOCK_SH)
                self._opened[entry.name] = _Opened(self._read(entry), hold)
            except (OSError, ValueError):  # absent, damaged, unreadable: none is of use
                return None
        return self._opened[entry.name].rows_RD

    def keep_open(self, entries: Iterable[Entry]) -> None:
        """Let go of all that is open but these: what no trial uses may be evicted."""
        names = {entry.name for entry in entries}
        self._opened = {name: opened for name, opened in self._opened.items() if name in names}

    def moved(self, entry: Entry) -> bool:
        """Return whether an open entry's states were moved already."""
        return self._opened[entry.name].moved is not None

    def move(self, entry: Entry, move: Callable[[Tensor], Tensor] | None) -> Tensor:
        """Return what `move` makes of an open entry's states, made once while it is open."""
        opened = self._opened[entry.name]
        if opened.moved is None:
            assert move is not None
            opened.moved = move(opened.rows_RD)
        return opened.moved

    def has(self, entry: Entry) -> bool:
        """Return whether there is such an entry, unchecked."""
        return (self.folder / entry.name).is_dir()

    def clear(self) -> int:
        """Remove every entry that nobody holds, and what killed builders left; return the bytes that came free."""
        if not self.folder.is_dir():
            return 0
        with FileLock(self.folder / ROOM_LOCK):
            freed = self._remove_leftovers()
            return freed + sum(self._evict({path: size}, size) for path, size in self._entries().items())

    @contextmanager
    def sole_builder(self, entry: Entry) -> Iterator[bool]:
        """Hold the right to build this split's entries, if nobody else has it; yields whether it is ours."""
        lock = FileLock(self.folder / f"{entry.family}.lock")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
        except Timeout:
            yield False
            return
        except OSError as error:
            raise PrefixCacheError(f"{self.folder}: the prefix cache cannot be written there ({error})") from error
        try:
            yield True
        finally:
            lock.release()

    def wait(self) -> None:
        """Let another builder get on."""
        time.sleep(POLL_S)

    @contextmanager
    def writers(self, entries: Mapping[int, Entry]) -> Iterator[Callable[[int, Tensor], None]]:
        """Yield a function that appends rows to the entry of a depth; at the end the entries are there, each whole.

        Call it as the sole builder. The disk's space is taken at once, so that several builders do not count on
        the same. Raises PrefixCacheError where there is no room, or the disk refuses.
        """
        try:
            with ExitStack() as stack:
                files: dict[int, BinaryIO] = {}
                with FileLock(self.folder / ROOM_LOCK):
                    self._remove_leftovers(ours={entry.family for entry in entries.values()})
                    self._make_room(sum(entry.bytes for entry in entries.values()))
                    folders = {d: stack.enter_context(new_folder(self.folder / e.name)) for d, e in entries.items()}
                    for depth, entry in entries.items():
                        files[depth] = stack.enter_context((folders[depth] / STATES).open("wb"))
                        header = {"descr": np.dtype(entry.dtype).str, "fortran_order": False, "shape": entry.shape}
                        np.lib.format.write_array_header_1_0(files[depth], header)
                        if entry.bytes:
                            os.posix_fallocate(files[depth].fileno(), files[depth].tell(), entry.bytes)
                yield lambda depth, rows: _append(files[depth], rows)
                for depth, entry in entries.items():
                    files[depth].close()
                    (folders[depth] / STATES).chmod(0o400)
                    write_manifest(folders[depth], entry.described())
        except PrefixCacheError:
            raise
        except OSError as error:
            raise PrefixCacheError(f"{self.folder}: the prefix cache cannot be written there ({error})") from error

    def _read(self, entry: Entry) -> Tensor:
        folder = self.folder / entry.name
        manifest = read_manifest(folder)
        said = entry.described()
        if {key: manifest.get(key) for key in said} != said or list(manifest["files"]) != [STATES]:
            raise DamagedFileError(f"{folder}: holds other states than its name says")
        # Private pages: nothing written to the tensor could ever reach the file.
        rows = np.load(folder / STATES, mmap_mode="c", allow_pickle=False)
        if rows.shape != entry.shape or rows.dtype != np.dtype(entry.dtype):
            raise DamagedFileError(f"{folder / STATES}: {rows.dtype} {list(rows.shape)}, expected {entry.shape}")
        with suppress(OSError):  # somebody else's, which we may only read
            os.utime(folder)  # eviction removes what was used longest ago
        return torch.from_numpy(rows)

    def _lock_file(self, name: str) -> BinaryIO:
        """Return the open file whose lock keeps the entry from eviction: shared by readers, sole for who removes it.

        flock, since filelock has no shared locks; the kernel releases it when the file is closed or the process ends.
        """
        return os.fdopen(os.open(self.folder / f"{name}.held", os.O_RDONLY | os.O_CREAT, 0o666), "rb")

    def _make_room(self, need: int) -> None:
        """Evict what was used longest ago, and by nobody now, until `need` bytes fit. Raises PrefixCacheError.

        Where that cannot be reached nothing is evicted.
        """
        sizes = self._entries()
        used, free = sum(sizes.values()), shutil.disk_usage(self.folder).free
        missing = max(used + need - self.limit_bytes, need + SPARE_BYTES - free)
        if missing > 0 and (need > self.limit_bytes or self._evict(sizes, missing) < missing):
            raise PrefixCacheError(
                f"{self.folder}: the prefix cache needs {size_text(need)}; of its limit of "
                f"{size_text(self.limit_bytes)} {size_text(used)} are in use, {size_text(free)} are free on the disk "
                "(--prefix-cache-gb; orchestrator.clean NAME --prefix-cache)"
            )

    def _entries(self) -> dict[Path, int]:
        """Return the sizes of entries and of those being built, the one used longest ago first."""
        found = []
        for path in self.folder.iterdir() if self.folder.is_dir() else ():
            if ENTRY_NAME.fullmatch(path.name) or UNFINISHED_NAME.fullmatch(path.name):
                with suppress(OSError):  # another process removes it, or it is no folder: somebody else's file
                    found.append((path.stat().st_mtime, path, sum(file.stat().st_size for file in path.iterdir())))
        return {path: size for _, path, size in sorted(found)}

    def _evict(self, sizes: Mapping[Path, int], need: int) -> int:
        """Remove entries that nobody holds, in this order, if they come to `need` bytes; return what they come to."""
        victims: dict[Path, BinaryIO] = {}
        for path in (path for path in sizes if ENTRY_NAME.fullmatch(path.name)):
            if sum(sizes[victim] for victim in victims) >= need:
                break
            with suppress(OSError):
                lock = self._lock_file(path.name)
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                victims[path] = lock
        freed = sum(sizes[victim] for victim in victims)
        if freed >= need:
            for path in victims:
                shutil.rmtree(path, ignore_errors=True)
        return freed

    def _remove_leftovers(self, ours: Collection[str] = ()) -> int:
        """Remove what killed builders left: folders of splits that nobody builds, or whose builder we are now."""
        freed = 0
        for path, size in self._entries().items():
            if (unfinished := UNFINISHED_NAME.fullmatch(path.name)) is None:
                continue
            lock = FileLock(self.folder / f"{unfinished[1]}.lock")
            with suppress(Timeout, OSError):
                if unfinished[1] not in ours:
                    lock.acquire(timeout=0)
                shutil.rmtree(path, ignore_errors=True)
                freed += size
                lock.release()
        return freed


@dataclass
class _Opened:
    """An entry that this process reads: closing the file lets go of it."""

    rows_RD: Tensor
    hold: BinaryIO
    moved: Tensor | None = None
    """The same states in the device's memory, or pinned for it."""


def _append(file: BinaryIO, rows: Tensor) -> None:
    file.write(rows.cpu().contiguous().numpy().data)
