"""The data sets: the course's tab-separated files read strictly, and a report of what was found in them.

A row without a sentence or a label is skipped, counted and named by its line; past 1 in 1,000 rows that is
an error. A label that stands there and is wrong is an error at once. Nothing is guessed, no index shifts.
"""

import hashlib
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.files import content_hash
from model.table_file import DataError, TableFile
from model.tasks import Task

SAMPLE = Path(__file__).parent / "sample"
"""The bundled sample: small, ours, written by scripts/make_sample.py."""

NUMBER = re.compile(r"[-+0-9.eE]+", re.ASCII)
"""What a label may be spelt with: float() alone takes 1_0, infinity and other scripts' digits."""
SKIPPED_LIMIT = 1_000
"""One unusable row in so many is borne."""


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
    lines: NDArray[np.int64]
    """Where each example stands in the file, for messages."""
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
            lines=self.lines[chosen],
        )

    def content_hash(self) -> str:
        """Return a hash of the examples, the same wherever and in whatever format they are stored."""
        labels = None if self.labels is None else self.labels.tolist()
        return content_hash([self.task.name, self.name, self.ids, self.sentences, labels])


Corpus = Mapping[str, Mapping[str, Split]]
"""Task name to split name to examples."""


def load_corpus(
    source: str, tasks: Sequence[Task], splits: Sequence[str] = ("train", "dev"), *, strict: bool = False
) -> Corpus:
    """Return the tasks' splits from a folder of the course's files, or from the hub for `hub`.

    Raises DataError with one line a file that is missing or cannot be used; where it is strict, also for a row that
    is left out, and for dev or test examples that are training examples too.
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
        if strict:
            problems += _strictly(corpus[task.name])
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
        if (folder / name).exists():
            return _inside(folder, name)
    packed = [
        f"{name}{end}" for name in task.files[split] for end in (".gz", ".zip") if (folder / f"{name}{end}").exists()
    ]
    hint = f"; {packed[0]} is there, unpack it" if packed else ""
    raise DataError(f"{folder / task.files[split][0]}: no such file; task {task.name!r} needs it for {split}{hint}")


def _inside(folder: Path, name: str) -> Path:
    """Return a file of the folder; raises DataError where it is a link to somewhere else."""
    target = (folder / name).resolve()
    if not target.is_relative_to(folder.resolve()):
        raise DataError(f"{folder / name}: is a link out of the data folder, to {target}; copy the file there")
    return folder / name


def read_split(path: Path, task: Task, split: str) -> Split:
    """Return the examples of a tab-separated file with a header. Raises DataError."""
    file = TableFile(path)
    reader = file.rows()
    _, header = next(reader, (1, []))
    labelled = task.label_column in header or split != "test"
    columns = _columns(path, header, task, labelled=labelled)
    rows = [(line, [cells[i] for i in columns]) for line, cells in reader]
    return build_split(task, split, rows, source=str(path), source_sha256=file.sha256, labelled=labelled)


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
    ids, sentences, labels, lines = [], [], [], []
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
        lines.append(line)
    if not ids:
        raise DataError(f"{source}: no usable row; expected a header and {task.name} examples")
    if len(skipped) * SKIPPED_LIMIT > len(rows):
        shown = ", ".join(f"line {line} ({why})" for line, why in skipped[:3])
        raise DataError(
            f"{source}:{skipped[0][0]}: {len(skipped)} of {len(rows)} rows cannot be used: {shown}; "
            f"at most 1 in {SKIPPED_LIMIT:,} is borne"
        )
    values = np.array(labels, dtype=np.float64) if labelled else None
    _refuse_undefined(task, split, values, source)
    return Split(
        task=task,
        name=split,
        ids=tuple(ids),
        sentences=tuple(sentences),
        labels=values,
        source=source,
        source_sha256=source_sha256,
        rows=len(rows),
        lines=np.array(lines, dtype=np.int64),
        skipped=tuple(skipped),
    )


Normal = list[tuple[str, ...]]


def normal(split: Split) -> Normal:
    """Return each example's sentences as they compare for duplicates: Unicode NFC, lower case, single spaces."""
    return [
        tuple(" ".join(unicodedata.normalize("NFC", text).lower().split()) for text in sentences)
        for sentences in split.sentences
    ]


def in_both(keys: Normal, train: Normal) -> list[tuple[int, int]]:
    """Return the positions of examples that are training examples too, each with the first of those."""
    first: dict[tuple[str, ...], int] = {}
    for position, key in enumerate(train):
        first.setdefault(key, position)
    return [(position, first[key]) for position, key in enumerate(keys) if key in first]


def _strictly(splits: Mapping[str, Split]) -> list[str]:
    """Return what is borne otherwise: rows left out, and examples of dev or test that are training examples too."""
    problems = [
        f"{split.source}:{line}: {why}; --strict-data leaves out no row"
        for split in splits.values()
        for line, why in split.skipped
    ]
    train = normal(splits["train"]) if "train" in splits else []
    for split in splits.values():
        if split.name != "train" and (both := in_both(normal(split), train)):
            position, other = both[0]
            problems.append(
                f"{split.source}:{split.lines[position]}: {len(both)} of {len(split)} examples are training examples "
                f"too (this one is line {splits['train'].lines[other]} there); --strict-data bears none"
            )
    return problems


def _refuse_undefined(task: Task, split: str, labels: NDArray[np.float64] | None, source: str) -> None:
    """Raise DataError where the metric has no value on these labels."""
    if labels is not None and split != "train" and task.metric == "pearson" and np.ptp(labels) == 0:
        raise DataError(
            f"{source}: all {len(labels)} labels are {labels[0]:g}; Pearson's r, the metric of {task.name!r}, has no "
            "value there"
        )


def _columns(path: Path, header: Sequence[str], task: Task, *, labelled: bool) -> list[int]:
    """Return the positions of id, sentences and label; id is the first column where none is called so."""
    wanted = [*task.sentence_columns, *([task.label_column] if labelled else [])]
    missing = [name for name in wanted if name not in header]
    if missing:
        found = ", ".join(repr(name) for name in header) or "nothing"
        near = get_close_matches(missing[0], [name for name in header if name not in wanted], n=1)
        hint = f"did you mean {near[0]!r}?" if near else "expected a tab-separated header"
        raise DataError(f"{path}:1: no column {missing[0]!r}; found {found}; {hint}")
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
        raise DataError(
            f"{where}: label {text[:60]!r} of task {task.name!r}; expected {kind} {task.low:g}..{task.high:g}"
        )
    return value
