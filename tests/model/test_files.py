"""Files and folders that are whole or absent, also where a process is killed while it writes."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.files import (
    DamagedFileError,
    canonical_json,
    content_hash,
    new_folder,
    read_manifest,
    write_json,
    write_manifest,
    write_text,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
ROOT = Path(__file__).parents[2]


def kept_folder(folder):
    """Write a folder with one file and its manifest."""
    with new_folder(folder) as temporary:
        (temporary / "weights").write_bytes(b"old")
        write_manifest(temporary, {"epoch": 1})


@settings(max_examples=40)
@given(st.dictionaries(st.text(), JSON, max_size=4), st.randoms())
def test_a_hash_depends_on_the_value_not_on_the_order_of_its_keys(value, rng):
    """Equal plain values have one text and one hash."""
    keys = list(value)
    rng.shuffle(keys)
    shuffled = {key: value[key] for key in keys}

    assert canonical_json(shuffled) == canonical_json(value)
    assert content_hash(shuffled) == content_hash(value)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_json_does_not_know_has_no_hash(value):
    """NaN is refused rather than written as something that no other reader takes."""
    with pytest.raises(ValueError, match="JSON"):
        content_hash([value])


def test_a_failed_write_leaves_the_old_file(tmp_path):
    """An error leaves the text that stood there, and no temporary file."""
    path = tmp_path / "value.json"
    write_json(path, {"a": 1})

    with pytest.raises(UnicodeEncodeError):
        write_text(path, "new \ud800")

    assert json.loads(path.read_text(encoding="utf-8")) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_comes_into_being_whole(tmp_path):
    """Until the block ends there is no folder of that name; an error in it leaves none."""
    folder = tmp_path / "a" / "checkpoint"

    with new_folder(folder) as temporary:
        (temporary / "weights").write_bytes(b"x")
        assert not folder.exists()
    assert (folder / "weights").read_bytes() == b"x"

    with pytest.raises(KeyError), new_folder(folder.parent / "other"):
        raise KeyError
    assert list(folder.parent.iterdir()) == [folder]


KILLED = """
import os, signal, sys
from pathlib import Path
from model.files import new_folder, write_manifest

with new_folder(Path(sys.argv[1])) as temporary:
    (temporary / "weights").write_bytes(b"new")
    if sys.argv[2] == "after the manifest":
        write_manifest(temporary, {"epoch": 2})
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("when", ["before the manifest", "after the manifest"])
def test_a_killed_writer_leaves_the_old_folder(tmp_path, when):
    """A kill -9 in the middle of writing changes nothing of what stood there."""
    folder = tmp_path / "checkpoint"
    kept_folder(folder)

    ended = subprocess.run([sys.executable, "-c", KILLED, str(folder), when], cwd=ROOT, check=False)

    assert ended.returncode == -signal.SIGKILL
    assert read_manifest(folder)["epoch"] == 1
    assert (folder / "weights").read_bytes() == b"old"


def test_the_write_after_a_killed_one_succeeds(tmp_path):
    """What a killed writer left behind is in nobody's way."""
    folder = tmp_path / "checkpoint"
    subprocess.run([sys.executable, "-c", KILLED, str(folder), ""], cwd=ROOT, check=False)

    kept_folder(folder)

    assert read_manifest(folder)["epoch"] == 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        "null",
        '{"files": 1}',
        '{"files": {"weights": 1}}',
        '{"files": {"weights": {}}}',
        "\xff",
    ],
)
def test_a_manifest_that_is_none_is_refused(tmp_path, text):
    """Whatever stands in the file, the error is the one that callers catch."""
    kept_folder(tmp_path / "kept")
    (tmp_path / "kept/manifest.json").write_bytes(text.encode("latin-1"))

    with pytest.raises(DamagedFileError, match=r"manifest\.json"):
        read_manifest(tmp_path / "kept")


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname", "inner/file", ".."])
def test_a_manifest_names_files_of_its_own_folder_only(tmp_path, name):
    """A path that leads elsewhere is refused, even where a file lies there."""
    kept_folder(tmp_path / "kept")
    (tmp_path / "outside").write_bytes(b"old")
    manifest = tmp_path / "kept/manifest.json"
    manifest.write_text(manifest.read_text(encoding="utf-8").replace('"weights"', json.dumps(name)), encoding="utf-8")

    with pytest.raises(DamagedFileError):
        read_manifest(tmp_path / "kept")
