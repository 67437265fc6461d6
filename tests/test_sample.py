"""The bundled sample: what scripts/make_sample.py writes, and what the sweep relies on in it."""

import csv
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "model" / "sample"
LABELS = {"ids-sst": "sentiment", "quora": "is_duplicate", "sts": "similarity"}
SPLITS = ("train", "dev", "test")
FILES = [f"{stem}-{split}.csv" for stem in LABELS for split in SPLITS]
LARGEST_SHARE = 0.6


def read_rows(stem, split):
    """Return the rows of one file by column."""
    with (SAMPLE / f"{stem}-{split}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", strict=True))


def labels_of(stem, split):
    """Return the labels of one file as numbers."""
    return [float(row[LABELS[stem]]) for row in read_rows(stem, split)]


def sentences_of(stem, split):
    """Return every sentence of one file, both of a pair."""
    return [row[column] for row in read_rows(stem, split) for column in row if column.startswith("sentence")]


def test_generator_writes_the_checked_in_bytes(tmp_path):
    """The script writes exactly the nine files that stand in the repository."""
    script = ROOT / "scripts" / "make_sample.py"
    subprocess.run([sys.executable, script, tmp_path], check=True, timeout=60)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(FILES)
    for name in FILES:
        assert (tmp_path / name).read_bytes() == (SAMPLE / name).read_bytes(), f"{name}: run make sample"


@pytest.mark.parametrize("stem", LABELS)
@pytest.mark.parametrize(("split", "fewest"), [("train", 600), ("dev", 200), ("test", 200)])
def test_sizes(stem, split, fewest):
    """Every file has enough examples to train on or to tell configs apart."""
    assert len(read_rows(stem, split)) >= fewest


@pytest.mark.parametrize("stem", LABELS)
@pytest.mark.parametrize("split", SPLITS)
def test_no_label_dominates(stem, split):
    """The most frequent label, to the nearest whole number, makes up at most 0.6 of a file."""
    labels = labels_of(stem, split)
    ((_, count),) = Counter(map(round, labels)).most_common(1)
    assert count / len(labels) <= LARGEST_SHARE


@pytest.mark.parametrize("stem", LABELS)
def test_every_sentence_stands_once(stem):
    """No sentence of a task is repeated, so none of dev or test stands in train."""
    sentences = [sentence.lower() for split in SPLITS for sentence in sentences_of(stem, split)]
    assert len(set(sentences)) == len(sentences)


@pytest.mark.parametrize("split", SPLITS)
def test_labels_are_in_range(split):
    """Grades are whole from 0 to 4, duplicates 0.0 or 1.0, similarities from 0 to 5; all labels occur."""
    assert set(labels_of("ids-sst", split)) == {0, 1, 2, 3, 4}
    assert {row["is_duplicate"] for row in read_rows("quora", split)} == {"0.0", "1.0"}
    assert all(0 <= label <= 5 for label in labels_of("sts", split))
    assert {round(label) for label in labels_of("sts", split)} == {0, 1, 2, 3, 4, 5}


def test_ids_are_unique():
    """An id is 25 hex digits and stands for one example of all nine files."""
    ids = [row["id"] for stem in LABELS for split in SPLITS for row in read_rows(stem, split)]
    assert len(set(ids)) == len(ids)
    assert all(len(identifier) == 25 and int(identifier, 16) >= 0 for identifier in ids)
