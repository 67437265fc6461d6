"""The data sets: the course's tab-separated files read strictly, and a report of what was found in them.

A row without a sentence or a label is skipped, counted and named by its line; past 1 in 1,000 rows that is an error. So
is a blank line between rows, of which any number is borne. A label that stands there and is wrong is an error at once.
Nothing is guessed, no index shifts.
"""

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.files import content_hash
from model.table_file import DataError, TableFile, escaped, listed, quoted
from model.tasks import Task

SAMPLE = Path(__file__).parent / "sample"
"""The bundled sample: small, ours, written by scripts/make_sample.py."""

NUMBER = re.compile(r"[-+0-9.eE]+", re.ASCII)
"""What a label may be spelt with: float() alone takes 1_0, infinity and other scripts' digits."""
BLANK = "a blank line"
SKIPPED_LIMIT = 1_000
"""One unusable row in so many is borne."""
NEAR_COLUMNS = 100
"""So many of a header's columns are looked at for a misspelt one: a line holds a million."""


@dataclass(frozen=True)
class Split:
    """The usable examples of one file, in the file's order."""

    task: Task
    name: str
    ids: tuple[str, ...]
    sentences: tuple[tuple[str, ...], ...]
    """One or two sentences an example."""
    labels: NDArray[np.float64] | None
    """None where the file has no label column (the course's student test files), or it was not looked at."""
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
        return self.part(sorted(sorted(range(len(self)), key=lambda i: (keys[i], i))[:count]))

    def part(self, places: Sequence[int]) -> "Split":
        """Return the examples at these places."""
        return replace(
            self,
            ids=tuple(self.ids[i] for i in places),
            sentences=tuple(self.sentences[i] for i in places),
            labels=None if self.labels is None else self.labels[list(places)],
            lines=self.lines[list(places)],
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


def load_split(source: str, task: Task, split: str, *, labels: bool = True) -> Split:
    """Return one split of one task from a folder, or from the hub for `hub`; without `labels` none is looked at."""
    if source == "hub":
        from model.hub import download_split

        return download_split(task, split, labels=labels)
    return read_split(find_file(Path(source), task, split), task, split, labels=labels)


def find_file(folder: Path, task: Task, split: str) -> Path:
    """Return the file of a split; raises DataError that names what was looked for."""
    if not folder.is_dir():
        raise DataError(f"{escaped(str(folder))}: no such data folder; expected {', '.join(task.files[split])} in it")
    for name in task.files[split]:
        if (folder / name).exists():
            return _inside(folder, name)
    packed = [
        f"{name}{end}" for name in task.files[split] for end in (".gz", ".zip") if (folder / f"{name}{end}").exists()
    ]
    hint = f"; {packed[0]} is there, unpack it" if packed else ""
    path = escaped(str(folder / task.files[split][0]))
    raise DataError(f"{path}: no such file; task {task.name!r} needs it for {split}{hint}")


def _inside(folder: Path, name: str) -> Path:
    """Return a file of the folder; raises DataError where it is a link to somewhere else."""
    target = (folder / name).resolve()
    if not target.is_relative_to(folder.resolve()):
        link = f"{folder / name}: is a link out of the data folder, to {target}; copy the file there"
        raise DataError(escaped(link))
    return folder / name


def read_split(path: Path, task: Task, split: str, *, labels: bool = True) -> Split:
    """Return the examples of a tab-separated file with a header; without `labels` as if it had none. Raises DataError.

    A row whose label is missing is then an example like any other.
    """
    file = TableFile(path)
    reader = file.rows()
    line, header = next(reader, (1, []))
    labelled = labels and (task.label_column in header or split != "test")
    columns = _columns(f"{file.name}:{line}", header, task, labelled=labelled)
    rows = [(line, [cells[i] for i in columns] if cells else []) for line, cells in reader]
    return build_split(task, split, rows, source=file.name, source_sha256=file.sha256, labelled=labelled)


def build_split(
    task: Task,
    split: str,
    rows: Sequence[tuple[int, Sequence[str]]],
    *,
    source: str,
    source_sha256: str,
    labelled: bool,
) -> Split:
    """Return a split from rows of (line, [id, sentences..., label]), whatever the file's format was.

    A row without cells is a blank line. Raises DataError.
    """
    ids, sentences, labels, lines = [], [], [], []
    skipped: list[tuple[int, str]] = []
    width = len(task.sentence_columns)
    for line, row in rows:
        if not row:
            skipped.append((line, BLANK))
            continue
        identifier, *cells = row
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
    unusable = [(line, why) for line, why in skipped if why != BLANK]
    if len(unusable) * SKIPPED_LIMIT > len(rows):
        shown = ", ".join(f"line {line} ({why})" for line, why in unusable[:3])
        raise DataError(
            f"{source}:{unusable[0][0]}: {len(unusable)} of {len(rows)} rows cannot be used: {shown}; "
            f"at most 1 in {SKIPPED_LIMIT:,} is borne"
        )
    made = Split(
        task=task,
        name=split,
        ids=tuple(ids),
        sentences=tuple(sentences),
        labels=np.array(labels, dtype=np.float64) if labelled else None,
        source=source,
        source_sha256=source_sha256,
        rows=len(rows),
        lines=np.array(lines, dtype=np.int64),
        skipped=tuple(skipped),
    )
    if problem := too_uniform(made):
        raise DataError(problem)
    return made


def too_uniform(split: Split) -> str | None:
    """Return what is wrong where the metric has no value on the labels, None where it has: Pearson's r on equal ones.

    A file is held to it when it is read; what a cap leaves of one may be more uniform than the file. Nothing is
    measured on train, and nothing on examples without labels.
    """
    if split.labels is None or split.name == "train" or split.task.metric != "pearson" or np.ptp(split.labels) > 0:
        return None
    of_all = len(split) + len(split.skipped)
    kept = f" that a cap keeps of {split.rows - len(split.skipped):,}" if of_all < split.rows else ""
    which = f"all {len(split)} labels{kept} are" if len(split) > 1 else f"the only label{kept} is"
    unmeasured = f"Pearson's r, the metric of {split.task.name!r}, has no value there"
    return f"{split.source}: {which} {split.labels[0]:g}; {unmeasured}"


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


def _columns(where: str, header: Sequence[str], task: Task, *, labelled: bool) -> list[int]:
    """Return the positions of id, sentences and label; id is the first column where none is called so."""
    wanted = [*task.sentence_columns, *([task.label_column] if labelled else [])]
    missing = [name for name in wanted if name not in header]
    if missing:
        others = [name for name in header[:NEAR_COLUMNS] if name not in wanted]
        near = get_close_matches(missing[0], others, n=1)
        hint = f"did you mean {quoted(near[0])}?" if near else "expected a tab-separated header"
        raise DataError(f"{where}: no column {missing[0]!r}; found {listed(header) or 'nothing'}; {hint}")
    twice = [name for name, count in Counter(header).items() if name and count > 1]  # index columns have no name
    if twice:
        raise DataError(f"{where}: column {quoted(twice[0])} stands there twice; expected each name once")
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
            f"{where}: label {quoted(text)} of task {task.name!r}; expected {kind} {task.low:g}..{task.high:g}"
        )
    return value
