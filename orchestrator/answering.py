"""A stored model's answers to raw texts, as plain values and as a table."""

from collections.abc import Sequence
from typing import Any

from tokenizers import Tokenizer

from model.answers import answer
from model.checkpoint import Checkpoint, load_model
from model.config import encoding_of
from model.data import Split, build_split
from model.encoder_files import EncoderSource
from model.table_file import escaped, quoted
from model.tasks import Task
from model.training import tokenized
from orchestrator.errors import refuse
from orchestrator.tables import Fitting
from orchestrator.texts import Texts

SHOWN_CHARACTERS = 40
"""Of a text in the table."""

Asked = Sequence[tuple[Texts, list[Task]]]


def answers(checkpoint: Checkpoint, source: EncoderSource, asked: Asked) -> list[dict[str, Any]]:
    """Return a model's answer to each text of each task that takes it, in their order.

    Beside the answer stand the tokens that the texts have and how many of them the model reads. Raises SweepError for
    a text without any.
    """
    tokenizer = source.tokenizer()
    every = [(entry, text) for entry, _ in asked for text in entry.texts]
    refuse(
        f"{entry.given} {quoted(text)}: holds nothing that the model's tokenizer knows of"
        for entry, text in every
        if not tokenizer.encode(text, add_special_tokens=False).ids
    )
    model = load_model(checkpoint, source)
    found: dict[tuple[int, str], dict[str, Any]] = {}
    for task in checkpoint.tasks:
        places = [place for place, (_, tasks) in enumerate(asked) if task in tasks]
        if not places:
            continue
        texts = [asked[place][0].texts for place in places]
        examples = tokenized(_split(task, texts), checkpoint.config, tokenizer, source.tokenizer_sha256)
        reads = examples.tokens.lengths.reshape(len(places), -1).sum(axis=1).tolist()
        outputs = model.predict(task, examples)
        separate = encoding_of(checkpoint.config, task) == "separate"
        for place, told, read, output in zip(places, texts, reads, outputs, strict=True):
            found[place, task.name] = {
                "texts": list(told), "task": task.name, **answer(task, output),
                "tokens": _tokens(tokenizer, told, separate=separate), "tokens_read": read,
            }  # fmt: skip
    return [found[place, task.name] for place, (_, tasks) in enumerate(asked) for task in tasks]


def _split(task: Task, texts: Sequence[tuple[str, ...]]) -> Split:
    rows = [(number, [str(number), *told]) for number, told in enumerate(texts)]
    return build_split(task, "texts", rows, source="texts", source_sha256="", labelled=False)


def _tokens(tokenizer: Tokenizer, texts: tuple[str, ...], *, separate: bool) -> int:
    """Return how many tokens an example has, none cut off."""
    if separate:
        return sum(len(tokenizer.encode(text)) for text in texts)
    first, second = (*texts, None)[:2]
    assert first is not None
    return len(tokenizer.encode(first, second))


def cut(found: Sequence[dict[str, Any]], max_tokens: int) -> list[str]:
    """Return a line on each answer to a text that was longer than what the model reads."""
    return [
        f"{_texts(entry)}: has {entry['tokens']:,} tokens, and {entry['task']} was answered from "
        f"{entry['tokens_read']:,}: this model reads {max_tokens} at a time, what is beyond is cut off"
        for entry in found
        if entry["tokens"] > entry["tokens_read"]
    ]


def table(found: Sequence[dict[str, Any]], tasks: Sequence[Task]) -> Fitting:
    """Return the answers as a table."""
    by_name = {task.name: task for task in tasks}
    rows = [[_texts(entry), entry["task"], *_said(entry, by_name[entry["task"]])] for entry in found]
    columns = ["text", "task", "answer", "probabilities"]
    return Fitting(columns, rows, left=columns)


def _texts(entry: dict[str, Any]) -> str:
    shown = (escaped(text) for text in entry["texts"])
    return " | ".join(t if len(t) <= SHOWN_CHARACTERS else f"{t[: SHOWN_CHARACTERS - 1]}…" for t in shown)


def _said(entry: dict[str, Any], task: Task) -> list[str]:
    if task.kind == "regression":
        return [f"{entry['prediction']:.2f} of {task.low:g}..{task.high:g}", ""]
    words = {"0": "no", "1": "yes"} if task.kind == "binary" else {}
    shares = " · ".join(f"{words.get(label, label)} {share:.2f}" for label, share in entry["probabilities"].items())
    label = str(entry["prediction"])
    return [words.get(label, f"{label} of {task.low:g}..{task.high:g}"), shares]
