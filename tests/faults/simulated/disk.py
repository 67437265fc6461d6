"""A disk of which it is known what was fsynced: a power cut leaves that, and of the rest what may be left."""

import os
import random
import stat
from pathlib import Path

LOST, TORN, MIXED = "lost", "torn", "mixed"
"""What a power cut leaves of what was not fsynced: nothing; all names, and of the contents a part; whatever."""


class Disk:
    """A folder and what of it was fsynced: the files' contents and the folders' entries, by inode.

    A name, or its absence, is sure once the folder that holds it was fsynced, a content once the file was.
    """

    def __init__(self, root, sure):
        """Watch a folder; of the paths that match `sure` the database itself takes care."""
        self.root, self._sure, self._tear = root, sure, 0
        self._contents, self._entries, self._held = {}, {}, {}

    def fsynced(self, handle):
        """Take down what is sure from now on."""
        status = os.fstat(handle)
        if self.root not in Path(f"/proc/self/fd/{handle}").readlink().parents:
            return
        if status.st_ino not in self._held:  # an inode that is open is not given to another file
            self._held[status.st_ino] = os.dup(handle)
        if stat.S_ISDIR(status.st_mode):
            self._entries[status.st_ino] = {entry.name: entry.inode() for entry in os.scandir(handle)}
        else:
            self._contents[status.st_ino] = Path(f"/proc/self/fd/{handle}").read_bytes()

    def cut_power(self, policy, seed):
        """Leave of the folder what a power cut may leave."""
        rng = random.Random(seed)
        self._tear = rng.randrange(3)
        places = {path.lstat().st_ino: path for path in self.root.rglob("*")}
        left = self._left_of_folder(self.root.stat().st_ino, self.root, places, policy, rng)
        for path in sorted(self.root.rglob("*"), reverse=True):  # what lies in a folder before the folder
            if not self._is_sure(path):
                path.rmdir() if path.is_dir() else path.unlink()
        self.close()
        _write(self.root, left)
        for path in self.root.rglob("*"):
            handle = os.open(path, os.O_RDONLY)
            self.fsynced(handle)
            os.close(handle)

    def close(self):
        """Forget everything."""
        for handle in self._held.values():
            os.close(handle)
        self._contents, self._entries, self._held = {}, {}, {}

    def _is_sure(self, path):
        return any(path.match(pattern) for pattern in self._sure)

    def _left_of_folder(self, inode, path, places, policy, rng):
        now = {entry.name: entry.inode() for entry in os.scandir(path)} if path else {}
        then = self._entries.get(inode, {})
        left = {}
        for name in sorted(now.keys() | then.keys()):
            if path and self._is_sure(path / name) and not (path / name).is_dir():
                continue
            kept = policy == TORN or (policy == MIXED and rng.random() < 0.5)
            chosen = (now if kept or (path and self._is_sure(path / name)) else then).get(name)
            if chosen is None:
                continue
            place = places.get(chosen)
            if chosen in self._entries or (place and place.is_dir()):
                left[name] = self._left_of_folder(chosen, place, places, policy, rng)
            else:
                left[name] = self._left_of_file(chosen, place, policy, rng)
        return left

    def _left_of_file(self, inode, path, policy, rng):
        sure = self._contents.get(inode, b"")
        now = path.read_bytes() if path else sure
        if now == sure or policy == LOST:
            return sure
        at = rng.randrange(len(now) + 1)
        parts = [now[:at] + sure[at:], bytes(len(now)), sure, now]
        return rng.choice(parts) if policy == MIXED else parts[self._tear]


def _write(folder, tree):
    for name, value in tree.items():
        if isinstance(value, dict):
            (folder / name).mkdir(exist_ok=True)
            _write(folder / name, value)
        else:
            (folder / name).write_bytes(value)
