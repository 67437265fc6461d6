"""The cache of hidden states: whole or absent, built once, evicted by age, and clear about what it cannot hold."""

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from model import prefix_cache
from model.config import TrialConfig
from model.files import read_manifest
from model.frozen_prefix import FrozenPrefix
from model.prefix_cache import STATES, Entry, PrefixCache, PrefixCacheError

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[2]
CORRUPTIONS = 1_000
LENGTHS = [5, 9, 2, 30, 12, 7] * 4


class Kept:
    """Real states of the tiny encoder at two depths, and fresh eyes on them."""

    def __init__(self, source, tokens, folder: Path) -> None:
        """Build them."""
        self.source, self.tokens, self.folder = source, tokens, folder
        self.build()
        self.files = {path: path.read_bytes() for path in self.folder.glob("*/*")}
        self.rows = self.open()

    def prefix(self, unfrozen: int) -> FrozenPrefix:
        """Return a prefix on a cache that has opened nothing yet."""
        return FrozenPrefix(TrialConfig(unfrozen_layers=unfrozen), self.source, CPU, PrefixCache(self.folder))

    def build(self) -> None:
        """Build what is not whole."""
        for unfrozen in (1, 2):
            prefix = self.prefix(unfrozen)
            list(prefix.build([self.tokens]))
            leave(prefix.cache)

    def open(self) -> dict[str, torch.Tensor | None]:
        """Return what a process that opens the cache anew is given of each entry."""
        found = {}
        for prefix in map(self.prefix, (1, 2)):
            entry = prefix.entry(self.tokens, prefix.depth)
            rows = prefix.cache.open(entry)
            found[entry.name] = None if rows is None else rows.clone()
            leave(prefix.cache)
        return found

    def restore(self) -> None:
        """Put everything back as it was written."""
        for path, content in self.files.items():
            path.parent.mkdir(exist_ok=True)
            if not path.is_file() or path.read_bytes() != content:
                path.write_bytes(content)


def leave(cache):
    """Let go of what a cache holds, as the end of its process does."""
    cache.keep_open([])


@pytest.fixture
def kept(tiny_source, random_tokens, tmp_path):
    """Return two small real entries."""
    return Kept(tiny_source, random_tokens(LENGTHS, 90), tmp_path / "states")


def corrupt(kept, draw):
    """Do some damage to a random file; return its name in words."""
    path = draw.choice(sorted(kept.files))
    content = bytearray(path.read_bytes())
    kind = draw.choice(["bit", "bits", "truncation", "extension", "swap", "swapped folders", "missing"])
    if kind in ("bit", "bits"):
        for _ in range(1 if kind == "bit" else 9):
            content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    elif kind == "truncation":
        del content[draw.randrange(len(content)) :]
    elif kind == "extension":
        content += draw.randbytes(draw.randrange(1, 99))
    elif kind == "swap":
        other = draw.choice([p for p in kept.files if p != path])
        content[:], theirs = other.read_bytes(), bytes(content)
        other.write_bytes(theirs)
    elif kind == "swapped folders":
        first, second = sorted({p.parent for p in kept.files})
        first.rename(kept.folder / "aside")
        second.rename(first)
        (kept.folder / "aside").rename(second)
        return kind
    if kind == "missing":
        path.unlink()
    else:
        path.write_bytes(content)
    return f"{kind} of {path.name}"


def changed(kept, name):
    """Return whether an entry says or holds anything else than what was written."""
    for path, content in kept.files.items():
        if path.parent.name == name:
            now = path.read_bytes() if path.is_file() else b""
            if path.name == STATES and now != content:
                return True
            if path.name != STATES and now.rstrip() != content.rstrip():  # white space at the end says nothing
                return True
    return False


def test_no_corruption_is_believed(kept, record_property):
    """Of a thousand random damages none gives a state: what is opened is what was written, bit for bit."""
    draw = random.Random(5)
    believed, refused, kinds = [], 0, set()

    for _ in range(CORRUPTIONS):
        what = corrupt(kept, draw)
        kinds.add(what)
        damaged = {name for name in kept.rows if changed(kept, name)}
        for name, rows in kept.open().items():
            if rows is None:
                refused += 1
                assert name in damaged, f"{what}: the other entry was refused too"
            elif name in damaged or not torch.equal(rows, kept.rows[name]):
                believed.append((what, name))
        kept.restore()

    record_property("refused", refused)
    print(f"{CORRUPTIONS} corruptions of {len(kinds)} kinds: {refused} entries refused, {len(believed)} believed")
    assert believed == []
    assert refused >= CORRUPTIONS * 0.99  # a swap damages two entries; only white space is none
    assert all(torch.equal(rows, kept.rows[name]) for name, rows in kept.open().items())


def test_building_makes_a_damaged_entry_whole_again(kept):
    """Whatever was done to it, the next build gives the same bytes."""
    draw = random.Random(6)

    for _ in range(40):
        corrupt(kept, draw)
        kept.build()

        assert all(torch.equal(rows, kept.rows[name]) for name, rows in kept.open().items())
        assert {path: path.read_bytes().rstrip() for path in kept.files} == {
            path: content.rstrip() for path, content in kept.files.items()
        }


def test_states_are_mapped_and_writing_to_them_never_reaches_the_file(kept):
    """A reader's own mistake stays its own."""
    prefix = kept.prefix(1)

    rows = prefix.cache.open(prefix.entry(kept.tokens, 2))
    rows.zero_()

    assert all(path.read_bytes() == content for path, content in kept.files.items())
    assert all(torch.equal(found, kept.rows[name]) for name, found in kept.open().items())


def test_foreign_files_and_folders_do_no_harm_and_come_to_none(kept):
    """Notes, odd folders and dangling links stay where they are, however little room there is."""
    foreign = [kept.folder / name for name in ("notes.txt", "old/deeper/large.bin", "old/link", f"{'0' * 32}-1")]
    (kept.folder / "old/deeper").mkdir(parents=True)
    foreign[0].write_text("mine", encoding="utf-8")
    foreign[1].write_bytes(bytes(10**6))
    foreign[2].symlink_to("nowhere")
    foreign[3].write_text("a file under the name of an entry", encoding="utf-8")
    small = PrefixCache(kept.folder, THREE_BYTES)

    assert all(torch.equal(rows, kept.rows[name]) for name, rows in kept.open().items())
    for number in range(1, 5):
        write(small, entry_of(number))
    small.clear()

    assert all(os.path.lexists(path) for path in foreign)
    assert list(kept.folder.glob(f"*/{STATES}")) == []
    kept.build()
    assert all(torch.equal(rows, kept.rows[name]) for name, rows in kept.open().items())


# --- several processes ---

BUILDER = """
import sys, time
import numpy as np, torch
from pathlib import Path
from model import frozen_prefix
from model.config import TrialConfig
from model.files import content_hash
from model.frozen_prefix import FrozenPrefix
from model.prefix_cache import PrefixCache
from model.tokens import PackedTokens
from model.encoder_files import find_encoder

task, encoder, folder = sys.argv[1:]
frozen_prefix.CHUNK_ROWS["cpu"] = 64
fill = FrozenPrefix._fill


def counted(self, tokens, entries):
    print("fills", flush=True)
    return fill(self, tokens, entries)


FrozenPrefix._fill = counted


def split(seed):
    draw = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(draw.integers(2, 60, 60))])
    ids = draw.integers(1, 90, offsets[-1], dtype=np.int32)
    return PackedTokens(ids, np.zeros(offsets[-1], np.int8), offsets, 1)


splits = [split(1), split(2)]
prefix = FrozenPrefix(TrialConfig(unfrozen_layers=1), find_encoder(encoder), torch.device("cpu"),
                      PrefixCache(Path(folder)))
print("ready", flush=True)
sys.stdin.readline()
for share in prefix.build(splits, {1, 2, 3}):
    if task == "dies" and share > 0.1:
        print("writes", flush=True)
        time.sleep(600)
print(content_hash([prefix.inputs([tokens])[0].rows_RD.tolist() for tokens in splits]), flush=True)
"""


@pytest.fixture
def builder(tiny_encoder, tmp_path):
    """Return a function that starts a process which builds two splits at three depths once it is told to."""
    started = []

    def start(task="builds"):
        command = [sys.executable, "-c", BUILDER, task, str(tiny_encoder), str(tmp_path / "shared")]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def go(process):
    """Let a builder begin."""
    process.stdin.write("go\n")
    process.stdin.flush()


def test_builders_at_once_build_once(builder, tmp_path):
    """Of two processes one fills each split, and all read the same."""
    processes = [builder() for _ in range(2)]
    assert [process.stdout.readline() for process in processes] == ["ready\n"] * 2

    for process in processes:
        go(process)
    said = [process.communicate(timeout=300)[0].split() for process in processes]

    assert [process.returncode for process in processes] == [0] * 2
    assert sum(lines.count("fills") for lines in said) == 2
    assert len({lines[-1] for lines in said}) == 1
    assert len(list((tmp_path / "shared").glob(f"*/{STATES}"))) == 2 * 3
    assert leftovers(tmp_path / "shared") == []


def leftovers(folder):
    """Return what is no entry, lock or hold."""
    names = (path.name for path in folder.iterdir())
    return [name for name in names if not prefix_cache.ENTRY_NAME.fullmatch(name.removesuffix(".held"))
            and not name.endswith(".lock")]  # fmt: skip


def test_a_killed_builder_leaves_nothing_that_a_reader_takes(builder, tmp_path):
    """Killed in the middle of writing, it leaves no entry and no lock; the next one builds all and clears up."""
    folder, killed, next_one = tmp_path / "shared", builder("dies"), builder()
    go(killed)
    assert [killed.stdout.readline() for _ in range(3)] == ["ready\n", "fills\n", "writes\n"]
    during = list(folder.glob(f"[!.]*/{STATES}"))
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    after = list(folder.glob(f"[!.]*/{STATES}"))
    parts = leftovers(folder)
    go(next_one)

    said = next_one.communicate(timeout=300)[0].split()

    assert during == after == []
    assert len(parts) == 3
    assert not any(path.name == "manifest.json" for part in parts for path in (folder / part).glob("*"))
    assert said[:3] == ["ready", "fills", "fills"]
    assert leftovers(folder) == []
    whole = [path for path in folder.iterdir() if path.is_dir()]
    assert len(whole) == 2 * 3
    assert all(read_manifest(path)["files"].keys() == {STATES} for path in whole)


# --- eviction ---


def entry_of(number, rows=64):
    """Return an entry of so many rows of 256 bytes."""
    return Entry({"number": number}, 1, (rows, 64), "float32")


def rows_of(entry):
    """Return the states that this test keeps under an entry's name."""
    return torch.full(entry.shape, float(entry.facts["number"]))


def write(cache, entry):
    """Build an entry."""
    with cache.sole_builder(entry) as is_ours, cache.writers({entry.depth: entry}) as append:
        assert is_ours
        for part in rows_of(entry).split(50):
            append(entry.depth, part)


def there(folder, numbers):
    """Return which of these entries are there."""
    return [number for number in numbers if PrefixCache(folder).has(entry_of(number))]


THREE_BYTES = 3 * (64 * 256 + 1_000)
"""Room for three entries with their manifests, and no more."""


def test_what_was_used_longest_ago_goes_first(tmp_path):
    """Reading counts as use: of three entries the one not read is evicted for a fourth."""
    for number in (1, 2, 3):
        write(PrefixCache(tmp_path, THREE_BYTES), entry_of(number))
        os.utime(tmp_path / entry_of(number).name, (number, number))
    reader = PrefixCache(tmp_path)
    assert torch.equal(reader.open(entry_of(1)), rows_of(entry_of(1)))
    leave(reader)

    write(PrefixCache(tmp_path, THREE_BYTES), entry_of(4))

    assert there(tmp_path, range(1, 5)) == [1, 3, 4]
    write(PrefixCache(tmp_path, THREE_BYTES), entry_of(5))
    assert there(tmp_path, range(1, 6)) == [1, 4, 5]


READER = """
import sys
from pathlib import Path
from model.prefix_cache import Entry, PrefixCache

cache = PrefixCache(Path(sys.argv[1]))
rows = cache.open(Entry({"number": 1}, 1, (64, 64), "float32"))
print("holds", flush=True)
sys.stdin.readline()
print(rows.unique().tolist(), list(rows.shape), flush=True)
sys.stdin.readline()
"""


def test_what_another_process_reads_is_not_evicted(tmp_path):
    """Though used longest ago it stays while its reader lives, who reads right values all along; then it may go."""
    for number in (1, 2, 3):
        write(PrefixCache(tmp_path, THREE_BYTES), entry_of(number))
    command = [sys.executable, "-c", READER, str(tmp_path)]
    reader = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        assert reader.stdout.readline() == "holds\n"
        os.utime(tmp_path / entry_of(1).name, (1, 1))

        for number in (4, 5, 6):
            write(PrefixCache(tmp_path, THREE_BYTES), entry_of(number))
        PrefixCache(tmp_path).clear()
        held = there(tmp_path, range(1, 7))
        reader.stdin.write("read\n")
        reader.stdin.flush()
        values = reader.stdout.readline()
    finally:
        reader.kill()
        reader.wait()
    os.utime(tmp_path / entry_of(1).name, (1, 1))
    PrefixCache(tmp_path).clear()

    assert held == [1]
    assert values == "[1.0] [64, 64]\n"
    assert there(tmp_path, range(1, 7)) == []


def test_where_everything_is_held_there_is_no_room(tmp_path):
    """Nothing in use is removed: the error says what is needed and what is in use."""
    reader = PrefixCache(tmp_path)
    for number in (1, 2, 3):
        write(reader, entry_of(number))
        reader.open(entry_of(number))

    with pytest.raises(PrefixCacheError, match="of its limit of"):
        write(PrefixCache(tmp_path, THREE_BYTES), entry_of(4))

    assert there(tmp_path, range(1, 5)) == [1, 2, 3]
    leave(reader)


def test_an_entry_that_is_evicted_is_read_on_by_who_mapped_it(tmp_path):
    """Even a folder that somebody removes by hand leaves a reader its values."""
    cache = PrefixCache(tmp_path)
    write(cache, entry_of(1))
    rows = cache.open(entry_of(1))

    shutil.rmtree(tmp_path / entry_of(1).name)

    assert torch.equal(rows, rows_of(entry_of(1)))
    assert PrefixCache(tmp_path).open(entry_of(1)) is None


# --- what the cache cannot hold ---


def refusal(folder, limit_bytes=10**9):
    """Return the one line with which the cache refuses an entry; nothing is left of it."""
    with pytest.raises(PrefixCacheError) as caught:
        write(PrefixCache(folder, limit_bytes), entry_of(1, rows=100_000))
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith(f"{folder}: ")
    return text


def test_a_limit_that_is_too_small_is_said(tmp_path):
    """The line has what is needed, the limit, what is in use and what is free."""
    text = refusal(tmp_path, limit_bytes=20_000_000)

    assert "needs 26 MB; of its limit of 20 MB 0.0 MB are in use" in text
    assert not PrefixCache(tmp_path).has(entry_of(1))


def test_a_disk_that_is_too_small_is_said(tmp_path, monkeypatch):
    """Some space is left free beside what is written."""
    usage = shutil.disk_usage(tmp_path)._replace(free=25_600_000 + prefix_cache.SPARE_BYTES - 1)
    monkeypatch.setattr(prefix_cache.shutil, "disk_usage", lambda _: usage)

    assert "90 MB are free on the disk" in refusal(tmp_path)


@pytest.mark.parametrize("below", ["", "deeper"])
def test_a_folder_that_cannot_be_written_is_said(tmp_path, below):
    """A file stands where the folder should be, or above it."""
    (tmp_path / "file").write_text("", encoding="utf-8")

    assert "the prefix cache cannot be written there" in refusal(tmp_path / "file" / below)


def test_a_disk_that_fills_up_while_it_is_written_is_said(tmp_path, monkeypatch):
    """What others wrote meanwhile is an error with the system's words, and no part stays behind."""
    append, room = prefix_cache._append, iter(range(3))

    def fills_up(file, rows):
        if next(room, None) is None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        append(file, rows)

    monkeypatch.setattr(prefix_cache, "_append", fills_up)

    assert "No space left on device" in refusal(tmp_path)
    assert leftovers(tmp_path) == []
    assert not PrefixCache(tmp_path).has(entry_of(1))


@pytest.mark.parametrize("folder", ["file", "file/deeper", "none"])
def test_reading_where_there_is_nothing_gives_nothing(tmp_path, folder):
    """A reader without a cache computes; it is no error, and nothing is made."""
    (tmp_path / "file").write_text("", encoding="utf-8")
    cache = PrefixCache(tmp_path / folder)

    assert cache.open(entry_of(1)) is None
    assert not cache.has(entry_of(1))
    cache.clear()
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_manifest_says_what_the_states_follow_from(kept):
    """A person finds the version, weights, tokens and precision of any entry in its folder."""
    for path, content in kept.files.items():
        if path.name == "manifest.json":
            said = json.loads(content)
            assert {"code", "torch", "weights", "tokens", "precision", "depth", "shape", "dtype"} <= said.keys()
            assert said["shape"] == [int(np.sum(LENGTHS)), 32]
