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
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from filelock import FileLock, Timeout
from torch import Tensor

from model.files import DamagedFileError, content_hash, new_folder, read_manifest, write_manifest

STATES = "states.npy"
ENTRY_NAME = re.compile(r"[0-9a-f]{32}-[0-9]+")
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
    """The entries under a folder. One object a process: what it opened stays open, and held."""

    folder: Path
    limit_bytes: int = DEFAULT_LIMIT_BYTES
    _opened: dict[str, Tensor] = field(default_factory=dict)
    _placed: dict[int, Tensor | None] = field(default_factory=dict)
    _holds: list[int] = field(default_factory=list)

    def open(self, entry: Entry) -> Tensor | None:
        """Return an entry's states, memory-mapped and checked, or None where there is no whole one."""
        if entry.name not in self._opened:
            try:
                hold = self._hold(entry.name)
                try:
                    self._opened[entry.name] = self._read(entry)
                except BaseException:
                    os.close(hold)
                    raise
                self._holds.append(hold)
            except (OSError, ValueError):  # absent, damaged, unreadable: none is of use
                return None
        return self._opened[entry.name]

    def has(self, entry: Entry) -> bool:
        """Return whether there is such an entry, unchecked."""
        return (self.folder / entry.name).is_dir()

    def clear(self) -> None:
        """Remove every entry that nobody holds."""
        for path in self._entries():
            self._evict(path)

    def placed(self, rows_RD: Tensor, place: Callable[[], Tensor | None]) -> Tensor | None:
        """Return what `place` made of an opened entry, asked once a process: placing changes what is free."""
        if id(rows_RD) not in self._placed:
            self._placed[id(rows_RD)] = place()
        return self._placed[id(rows_RD)]

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
        """Yield a function that appends rows to the entry of a depth; at the end all entries are there, or none new.

        Call it as the sole builder. Raises PrefixCacheError where there is no room, or the disk refuses.
        """
        try:
            self._remove_leftovers(entries)
            self._make_room(sum(entry.bytes for entry in entries.values()))
            with ExitStack() as stack:
                files: dict[int, BinaryIO] = {}
                folders = {d: stack.enter_context(new_folder(self.folder / e.name)) for d, e in entries.items()}
                for depth, entry in entries.items():
                    files[depth] = (folders[depth] / STATES).open("wb")
                    stack.callback(files[depth].close)
                    header = {"descr": np.dtype(entry.dtype).str, "fortran_order": False, "shape": entry.shape}
                    np.lib.format.write_array_header_1_0(files[depth], header)
                yield lambda depth, rows: _append(files[depth], rows)
                for depth, entry in entries.items():
                    files[depth].close()
                    (folders[depth] / STATES).chmod(0o444)
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
        os.utime(folder)  # eviction removes what was used longest ago
        return torch.from_numpy(rows)

    def _hold(self, name: str) -> int:
        """Return an open file whose shared lock keeps the entry from eviction while this process lives.

        flock, since filelock has no shared locks and the kernel releases these whatever ends the process.
        """
        hold = os.open(self.folder / f"{name}.held", os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(hold, fcntl.LOCK_SH)
        return hold

    def _make_room(self, need: int) -> None:
        """Evict what was used longest ago, and by nobody now, until `need` bytes fit. Raises PrefixCacheError."""
        for path in self._entries():
            if self._fits(need):
                return
            self._evict(path)
        if not self._fits(need):
            free = shutil.disk_usage(self.folder).free
            raise PrefixCacheError(
                f"{self.folder}: the prefix cache needs {need / 1e9:.2f} GB; of its limit of "
                f"{self.limit_bytes / 1e9:.2f} GB {sum(self._entries().values()) / 1e9:.2f} are in use, "
                f"{free / 1e9:.2f} GB are free on the disk"
            )

    def _entries(self) -> dict[Path, int]:
        """Return the entries' sizes, the one used longest ago first; what is no entry is somebody else's."""
        found = []
        for path in self.folder.iterdir() if self.folder.is_dir() else ():
            if ENTRY_NAME.fullmatch(path.name):
                with suppress(OSError):  # another process evicts it, or it is no folder
                    found.append((path.stat().st_mtime, path, sum(file.stat().st_size for file in path.iterdir())))
        return {path: size for _, path, size in sorted(found)}

    def _fits(self, need: int) -> bool:
        room = need + sum(self._entries().values()) <= self.limit_bytes
        return room and need + SPARE_BYTES <= shutil.disk_usage(self.folder).free

    def _evict(self, path: Path) -> None:
        """Remove an entry unless somebody holds it."""
        hold = os.open(self.folder / f"{path.name}.held", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            with suppress(OSError):
                fcntl.flock(hold, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path)
        finally:
            os.close(hold)

    def _remove_leftovers(self, entries: Mapping[int, Entry]) -> None:
        """Remove what a killed builder of these entries left; nobody else builds them now."""
        for entry in entries.values():
            for path in self.folder.glob(f".{entry.name}.*"):
                shutil.rmtree(path, ignore_errors=True)


def _append(file: BinaryIO, rows: Tensor) -> None:
    file.write(rows.cpu().contiguous().numpy().data)
