"""Nothing that is stored and was changed is ever used: flipped bits, lost ends, other content, swapped files."""

import os
import random
import shutil

import pytest

from model.files import DamagedFileError, read_manifest, write_manifest

CASES = int(os.environ.get("SWEEP_CORRUPTIONS", "600"))
"""So many in `make test`; `make corruptions` takes 10,000."""


def damage(rng, path, others):
    """Change a file as disks and people do; return how, or None where the change left it as it was."""
    content = path.read_bytes()
    how = rng.choice(["bit", "bit", "bit", "byte", "cut", "zeros", "longer", "other file", "empty"])
    changed = bytearray(content)
    place = rng.randrange(len(content))
    if how == "bit":
        changed[place] ^= 1 << rng.randrange(8)
    elif how == "byte":
        changed[place] = rng.randrange(256)
    elif how == "cut":
        del changed[place:]
    elif how == "zeros":
        changed[place : place + 4096] = bytes(len(changed[place : place + 4096]))
    elif how == "longer":
        changed += bytes(rng.randrange(1, 64))
    elif how == "other file":
        changed[:] = rng.choice(others).read_bytes()
    else:
        changed.clear()
    if changed == content:
        return None
    path.chmod(0o644)
    path.write_bytes(changed)
    return how


@pytest.mark.parametrize("what", ["state", "best", "verdict", "prefix", "tokens"])
def test_what_was_changed_is_never_accepted(stored, tmp_path, what):
    """Read after any change, it is refused, or is what it was: never something else."""
    rng = random.Random(f"{what} {CASES}")
    target = stored[what]
    value, seen = target.value, {"refused": 0, "as it was": 0}
    others = [path for entry in stored.values() for path in entry.files]
    while sum(seen.values()) < CASES // 5:
        folder = tmp_path / target.folder.name
        shutil.copytree(target.folder, folder)
        path = rng.choice([folder / file.relative_to(target.folder) for file in target.files])
        how = damage(rng, path, others)
        if how is not None:
            try:
                found = target.read(folder)
            except (DamagedFileError, FileNotFoundError):
                seen["refused"] += 1
            else:
                assert found == value, f"{path.name}, {how}: accepted"
                seen["as it was"] += 1
        shutil.rmtree(folder)
    print(what, seen)
    assert seen["as it was" if target.heals else "refused"] > 0.9 * CASES // 5


def test_a_verdict_of_which_both_copies_are_damaged_is_no_verdict(stored, tmp_path):
    """It is logged, and the trial counts as one that has not ended."""
    target = stored["verdict"]
    (tmp_path / "0000").mkdir()
    for path in target.files:
        (tmp_path / "0000" / path.name).write_bytes(path.read_bytes()[:-20])

    assert target.read(tmp_path) is None


@pytest.mark.parametrize("what", ["prefix", "tokens"])
def test_what_was_put_in_anothers_place_is_refused(stored, tmp_path, what):
    """A whole entry under the name of another is whole, and not what its name says."""
    (entry,) = [path for path in (stored[what].folder / "0000").iterdir() if path.is_dir()]
    other = {"key": "0" * 64, "depth": 1}
    shutil.copytree(entry, tmp_path / "0000" / entry.name)
    folder = tmp_path / "0000" / entry.name
    said = read_manifest(folder)
    write_manifest(folder, {key: other.get(key, value) for key, value in said.items() if key != "files"})

    with pytest.raises((DamagedFileError, FileNotFoundError)):
        stored[what].read(tmp_path)
