"""What a person should know of the data before training on it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from model.data import Corpus, Normal, Split, in_both, normal

EXAMPLES = 3
"""So many lines are named of what is counted."""


def report(corpus: Corpus, tokenizer: Tokenizer | None = None) -> dict[str, Any]:
    """Return what a person should know of the data before training on it, as plain values.

    With a tokenizer also the examples' lengths in tokens, a pair in one input.
    """
    found: dict[str, Any] = {}
    for task_name, splits in corpus.items():
        keys = {name: normal(split) for name, split in splits.items()}
        for name, split in splits.items():
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
            entry["repeated_ids"] = _repeated(split.ids, split)
            entry["repeated"] = _repeated(keys[name], split)
            entry["contradicting"] = _contradicting(keys[name], split)
            if split.name != "train":
                both = in_both(keys[name], keys.get("train", []))
                entry["also_in_train"] = len(both)
                entry["also_in_train_lines"] = [
                    [int(split.lines[here]), int(splits["train"].lines[there])] for here, there in both[:EXAMPLES]
                ]
            found[f"{task_name}/{split.name}"] = entry
    return found


def _label_counts(split: Split) -> dict[str, Any]:
    assert split.labels is not None
    if split.task.kind == "regression":
        return {"mean": round(float(split.labels.mean()), 4), "sd": round(float(split.labels.std()), 4)}
    return {f"{value:g}": count for value, count in sorted(Counter(split.labels.tolist()).items())}


def _repeated(keys: Sequence[object], split: Split) -> dict[str, Any]:
    """Return how many examples repeat the key of one before them, and the lines of the first."""
    seen: set[object] = set()
    again = []
    for position, key in enumerate(keys):
        if key in seen:
            again.append(position)
        seen.add(key)
    return _counted(again, split)


def _contradicting(keys: Normal, split: Split) -> dict[str, Any]:
    """Return how many examples have the sentences of one before them and another label."""
    if split.labels is None:
        return _counted([], split)
    first: dict[object, float] = {}
    labelled = zip(keys, split.labels.tolist(), strict=True)
    other = [position for position, (key, label) in enumerate(labelled) if first.setdefault(key, label) != label]
    return _counted(other, split)


def _counted(positions: Sequence[int], split: Split) -> dict[str, Any]:
    return {"count": len(positions), "lines": [int(split.lines[position]) for position in positions[:EXAMPLES]]}


def concerns(found: Mapping[str, Any], corpus: Corpus) -> list[str]:
    """Return a line for each thing in a report that a person may want to mend, or to know when reading scores."""
    lines = []
    for name, entry in found.items():
        task, _, split = name.partition("/")
        source = entry["source"]
        if entry["skipped"]:
            line, why = entry["skipped"][0]
            lines.append(
                f"{source}: {len(entry['skipped'])} of {entry['rows']:,} rows left out, first line {line} ({why})"
            )
        if entry["repeated_ids"]["count"]:
            lines.append(f"{source}: {_said(entry['repeated_ids'], 'rows have an id that another has')}")
        if entry["contradicting"]["count"]:
            lines.append(f"{source}: {_said(entry['contradicting'], 'rows repeat sentences with another label')}")
        if entry.get("also_in_train"):
            here, there = entry["also_in_train_lines"][0]
            lines.append(
                f"{source}: {entry['also_in_train']} of {entry['examples']:,} examples are training examples too, "
                f"first line {here} (there line {there})"
            )
        lines += [f"{source}: {what}" for what in _missing_labels(corpus[task][split])]
    return lines


def _said(counted: Mapping[str, Any], what: str) -> str:
    lines = ", ".join(map(str, counted["lines"]))
    return f"{counted['count']} {what}, first in line{'s' * (len(counted['lines']) > 1)} {lines}"


def _missing_labels(split: Split) -> list[str]:
    """Say which classes no example has."""
    if split.labels is None or split.task.kind == "regression":
        return []
    there = set(split.labels.tolist())
    missing = [f"{label}" for label in range(int(split.task.low), int(split.task.high) + 1) if label not in there]
    return [f"no example of {split.task.name} has label {', '.join(missing)}"] if missing else []
