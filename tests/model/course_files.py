"""The course's files in small: written, read and refused; and what Hypothesis puts into them."""

import csv

import pytest
from hypothesis import strategies as st

from model.data import read_split
from model.table_file import DataError
from model.tasks import TASKS

SENTIMENT, PARAPHRASE, SIMILARITY = TASKS["sentiment"], TASKS["paraphrase"], TASKS["similarity"]
HEADER = "\tid\tsentence\tsentiment\n"
PAIR_HEADER = "\tid\tsentence1\tsentence2\tsimilarity\n"


def row(text="fine", label="2", identifier="a"):
    """Return a line of a sentiment file."""
    return f"0\t{identifier}\t{text}\t{label}\n"


def pair(label, text="one"):
    """Return a line of a similarity file."""
    return f"0\ta\t{text}\ttwo\t{label}\n"


def split_of(folder, content, task=SENTIMENT, split="train"):
    """Write a text or bytes as a file of a folder and read it as a split."""
    path = folder / "data.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_split(path, task, split)


def refusal_of(folder, content, task=SENTIMENT, split="train"):
    """Return the line with which a file is refused, after `data.csv`."""
    with pytest.raises(DataError) as caught:
        split_of(folder, content, task, split)
    text = str(caught.value)
    assert text.isprintable()
    return text.rpartition("data.csv")[2]


def sentences():
    """Return a strategy of sentences as they can stand in a file: no NUL, no space around them."""
    anything = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
    texts = st.text(st.one_of(st.sampled_from('"\t\n\r, \ufeff\u2028'), anything), min_size=1, max_size=20)
    return texts.map(str.strip).filter(bool)


STYLES = (
    ("\r\n", csv.QUOTE_MINIMAL),
    ("\n", csv.QUOTE_ALL),
    ("\r\n", csv.QUOTE_ALL),
    ("\n", csv.QUOTE_NONNUMERIC),
)
"""Not "\\n" with minimal quoting: Python 3.11 then writes a bare carriage return without quotes."""
