"""The data sets: the course's tab-separated files read strictly, and a report of what was found in them.

A row without a sentence or a label is skipped, counted and named by its line; past 1 in 1,000 rows that is
an error. A label that stands there and is wrong is an error at once. Nothing is guessed, no index shifts.
"""

import csv
import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from model.files import content_hash, sha256_of
from model.tasks import Task

SAMPLE = Path(__file__).parent / "sample"
"""The bundled sample: small, ours, written by scripts/make_sample.py."""

CELL_LIMIT = 100_000
"""Characters a cell may have: more is a broken quote or another file."""
NUMBER = re.compile(r"[-+0-9.eE]+", re.ASCII)
"""What a label may be spelt with: float() alone takes 1_0, infinity and other scripts' digits."""
SKIPPED_LIMIT = 1_000
"""One unusable row in so many is borne."""


class DataError(ValueError):
    """A data file that cannot be used; the text is FILE:LINE, what is there, what was expected."""


@dataclass(frozen=True)
class Split:
    """The usable examples of one file, in the file's order."""

    task: Task
    name: str
    ids: tuple[str, ...]
    sentences: tuple[tuple[str, ...], ...]
    """One or two sentences an example."""
    labels: NDArray[np.float64] | None
    """None where the file has no label column (the course's student test files)."""
    source: str
    """Where it was read, for messages."""
    source_sha256: str
    rows: int
    """Rows in the file, the unusable ones included."""
    skipped: tuple[tuple[int, str], ...] = field(default=())
    """Line and reason of each row left out."""

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.ids)

    def capped(self, count: int | None) -> "Split":
        """Return at most `count` of the examples, in the file's order; None for all.

        Which ones is decided by a hash of their sentences: files are often sorted, so the first rows are no
        fair sample (SST's dev file begins with reviews that are mostly positive). A smaller cap takes a
        subset of what a larger one takes.
        """
        if count is None or count >= len(self):
            return self
        keys = [hashlib.sha256("\t".join(texts).encode()).digest() for texts in self.sentences]
        chosen = sorted(sorted(range(len(self)), key=lambda i: (keys[i], i))[:count])
        return replace(
            self,
            ids=tuple(self.ids[i] for i in chosen),
            sentences=tuple(self.sentences[i] for i in chosen),
            labels=None if self.labels is None else self.labels[chosen],
        )

    def content_hash(self) -> str:
        """Return a hash of the examples, the same wherever and in whatever format they are stored."""
        labels = None if self.labels is None else self.labels.tolist()
        return content_hash([self.task.name, self.name, self.ids, self.sentences, labels])


Corpus = Mapping[str, Mapping[str, Split]]
"""Task name to split name to examples."""


def load_corpus(source: str, tasks: Sequence[Task], splits: Sequence[str] = ("train", "dev")) -> Corpus:
    """Return the tasks' splits from a folder of the course's files, or from the hub for `hub`.

    Raises DataError with one line a file that is missing or cannot be used.
    """
    if source != "hub" and tasks and not Path(source).is_dir():
        find_file(Path(source), tasks[0], splits[0])  # raises: one line for the folder, not one for each file
    corpus: dict[str, dict[str, Split]] = {}
    problems = []
    for task in tasks:
        corpus[task.name] = {}
        for split in splits:
            try:
                corpus[task.name][split] = load_split(source, task, split)
            except DataError as error:
                problems.append(str(error))
    if problems:
        raise DataError("\n".join(problems))
    return corpus


def load_split(source: str, task: Task, split: str) -> Split:
    """Return one split of one task from a folder, or from the hub for `hub`."""
    if source == "hub":
        from model.hub import download_split

        return download_split(task, split)
    return read_split(find_file(Path(source), task, split), task, split)


def find_file(folder: Path, task: Task, split: str) -> Path:
    """Return the file of a split; raises DataError that names what was looked for."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such data folder; expected {', '.join(task.files[split])} in it")
    for name in task.files[split]:
        if (folder / name).is_file():
            return folder / name
    raise DataError(f"{folder / task.files[split][0]}: no such file; task {task.name!r} needs it for {split}")


def read_split(path: Path, task: Task, split: str) -> Split:
    """Return the examples of a tab-separated file with a header. Raises DataError."""
    reader = _rows(path)
    _, header = next(reader, (1, []))
    labelled = task.label_column in header or split != "test"
    columns = _columns(path, header, task, labelled=labelled)
    rows = [(line, [cells[i] for i in columns]) for line, cells in reader]
    return build_split(task, split, rows, source=str(path), source_sha256=sha256_of(path), labelled=labelled)


def build_split(
    task: Task,
    split: str,
    rows: Sequence[tuple[int, Sequence[str]]],
    *,
    source: str,
    source_sha256: str,
    labelled: bool,
) -> Split:
    """Return a split from rows of (line, [id, sentences..., label]), whatever the file's format was."""
    ids, sentences, labels = [], [], []
    skipped: list[tuple[int, str]] = []
    width = len(task.sentence_columns)
    for line, (identifier, *cells) in rows:
        texts = tuple(cell.strip() for cell in cells[:width])
        if not all(texts):
            skipped.append((line, "empty sentence"))
            continue
        if labelled:
            if not cells[width].strip():
                skipped.append((line, "no label"))
                continue
            labels.append(_label(cells[width], task, f"{source}:{line}"))
        ids.append(identifier)
        sentences.append(texts)
    if not ids:
        raise DataError(f"{source}: no usable row; expected a header and {task.name} examples")
    if len(skipped) * SKIPPED_LIMIT > len(rows):
        shown = ", ".join(f"line {line} ({why})" for line, why in skipped[:3])
        raise DataError(
            f"{source}:{skipped[0][0]}: {len(skipped)} of {len(rows)} rows cannot be used: {shown}; "
            f"at most 1 in {SKIPPED_LIMIT:,} is borne"
        )
    values = np.array(labels, dtype=np.float64) if labelled else None
    return Split(task, split, tuple(ids), tuple(sentences), values, source, source_sha256, len(rows), tuple(skipped))


def report(corpus: Corpus, tokenizer: Tokenizer | None = None) -> dict[str, Any]:
    """Return what a person should know of the data before training on it, as plain values.

    With a tokenizer also the examples' lengths in tokens, a pair in one input.
    """
    found: dict[str, Any] = {}
    for task_name, splits in corpus.items():
        train = {_normal(s) for s in splits["train"].sentences} if "train" in splits else set()
        for split in splits.values():
            entry: dict[str, Any] = {
                "source": split.source,
                "rows": split.rows,
                "examples": len(split),
                "skipped": [list(item) for item in split.skipped],
                "content": split.content_hash(),
            }
            if split.labels is not None:
                entry["labels"] = _label_counts(split)
            if tokenizer is not None:
                encoded = tokenizer.encode_batch([s if len(s) == 2 else s[0] for s in split.sentences])
                lengths = np.array([len(each.ids) for each in encoded])
                entry["tokens"] = {
                    "mean": round(float(lengths.mean()), 1),
                    "p99": float(np.percentile(lengths, 99)),
                    "longest": int(lengths.max()),
                }
            if split.name != "train":
                entry["also_in_train"] = sum(_normal(s) in train for s in split.sentences)
            found[f"{task_name}/{split.name}"] = entry
    return found


def _label_counts(split: Split) -> dict[str, Any]:
    assert split.labels is not None
    if split.task.kind == "regression":
        return {"mean": round(float(split.labels.mean()), 4), "sd": round(float(split.labels.std()), 4)}
    return {f"{value:g}": count for value, count in sorted(Counter(split.labels.tolist()).items())}


def _normal(sentences: tuple[str, ...]) -> tuple[str, ...]:
    """Return sentences as they compare for duplicates: Unicode NFC, lower case, single spaces."""
    return tuple(" ".join(unicodedata.normalize("NFC", text).lower().split()) for text in sentences)


def _columns(path: Path, header: Sequence[str], task: Task, *, labelled: bool) -> list[int]:
    """Return the positions of id, sentences and label; id is the first column where none is called so."""
    wanted = [*task.sentence_columns, *([task.label_column] if labelled else [])]
    missing = [name for name in wanted if name not in header]
    if missing:
        found = ", ".join(repr(name) for name in header) or "nothing"
        raise DataError(f"{path}:1: no column {missing[0]!r}; found {found}; expected a tab-separated header")
    twice = [name for name in wanted if header.count(name) > 1]
    if twice:
        raise DataError(f"{path}:1: column {twice[0]!r} stands there twice")
    return [header.index("id") if "id" in header else 0, *(header.index(name) for name in wanted)]


def _label(text: str, task: Task, where: str) -> float:
    try:
        value = float(text) if NUMBER.fullmatch(text.strip()) else float("nan")
    except ValueError:
        value = float("nan")
    whole = task.kind == "regression" or value == round(value) if np.isfinite(value) else False
    if not (whole and task.low <= value <= task.high):
        kind = "a number in" if task.kind == "regression" else "a whole number in"
        raise DataError(f"{where}: label {text!r} of task {task.name!r}; expected {kind} {task.low:g}..{task.high:g}")
    return value


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield line number and cells of each row, the header first; every row as wide as the header."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        byte = error.object[error.start]
        raise DataError(f"{path}:{line}: byte 0x{byte:02X} at offset {error.start} is not UTF-8") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    csv.field_size_limit(CELL_LIMIT)
    reader = csv.reader(_lines(text), delimiter="\t", strict=True)
    line, width = 1, 0
    try:
        for cells in reader:
            if "\0" in "".join(cells):
                raise DataError(f"{path}:{line}: has a NUL byte")
            if cells:
                width = width or len(cells)
                if len(cells) != width:
                    raise DataError(f"{path}:{line}: {len(cells)} fields, the header has {width}; a tab too many?")
                yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{path}:{line}: {error}; a quote that is never closed, or a broken cell?") from error


def _lines(text: str) -> Iterator[str]:
    """Yield lines with their ends; unlike str.splitlines, U+2028 and its kin do not end one."""
    start = 0
    while start < len(text):
        end = text.find("\n", start) + 1 or len(text)
        yield text[start:end]
        start = end
