"""A split's examples: which a cap keeps, where they stand, what identifies them, and whether they can be scored."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.data import Split, read_split, too_uniform
from tests.model.course_files import HEADER, PAIR_HEADER, SENTIMENT, SIMILARITY, pair, row


@pytest.mark.parametrize("labels", [["3"], ["3", "3.0", " 3 "], ["0", "-0.0"]])
def test_equal_labels_are_refused_where_the_metric_has_no_value_on_them(read, refusal, labels):
    """Pearson's r is not defined there: a dev or test file like that scores nothing; one to train on may be read."""
    content = PAIR_HEADER + "".join(map(pair, labels))
    which = f"all {len(labels)} labels are" if len(labels) > 1 else "the only label is"
    said = f"{which} {float(labels[0]):g}; Pearson's r, the metric of 'similarity', has no value there"

    assert refusal(content, SIMILARITY, "dev") == f": {said}"
    assert refusal(content, SIMILARITY, "test") == f": {said}"
    assert len(read(content, SIMILARITY)) == len(labels)
    assert len(read(content + pair("2.5"), SIMILARITY, "dev")) == len(labels) + 1


@pytest.mark.parametrize(
    ("count", "which"),
    [
        (1, "the only label that a cap keeps of 1,000 is 3"),
        (2, "all 2 labels that a cap keeps of 1,000 are 3"),
        (999, None),
        (1_000, None),
        (None, None),
    ],
)
def test_what_a_cap_leaves_may_be_too_uniform(read, count, which):
    """A file with one other label is sound and a part of it is not: the part says so, a row left out or not."""
    other = pair("1", "the one that no cap of these keeps")
    equal = "".join(pair("3", f"text {i}") for i in range(999))
    split = read(PAIR_HEADER + other + equal + pair("3", " "), SIMILARITY, "dev")
    assert "the one that no cap of these keeps" not in {first for first, _ in split.capped(2).sentences}

    said = too_uniform(split.capped(count))

    end = "; Pearson's r, the metric of 'similarity', has no value there"
    assert said == (which and f"{split.source}: {which}{end}")


def test_only_what_is_scored_by_a_correlation_can_be_too_uniform(read, tiny_corpus):
    """Accuracy has a value on one class, nothing is scored on train, and what has no labels is not scored."""
    assert too_uniform(read(HEADER + row() * 3, split="dev").capped(1)) is None
    assert too_uniform(tiny_corpus["similarity"]["train"].capped(1)) is None
    assert too_uniform(read("id\tsentence1\tsentence2\na\tone\ttwo\n", SIMILARITY, "test")) is None


def test_equal_classes_are_no_error(read):
    """Accuracy has a value on them."""
    assert read(HEADER + row() * 3, split="dev").labels.tolist() == [2.0] * 3


@pytest.mark.parametrize("count", [1, 7, 19, 20, 21, None])
def test_a_capped_splits_examples_know_their_lines(read, count):
    """They are the lines in the file, whichever examples were taken."""
    texts = ('"text' + "\n" * (i % 3) + f'{i}"' for i in range(20))
    whole = read(HEADER + "".join(row(text, identifier=f"i{i}") for i, text in enumerate(texts)))
    line_of = dict(zip(whole.ids, whole.lines.tolist(), strict=True))

    capped = whole.capped(count)

    assert line_of["i19"] == 2 + 19 + sum(i % 3 for i in range(19))
    assert len(capped.lines) == min(count or 20, 20)
    assert capped.lines.tolist() == [line_of[identifier] for identifier in capped.ids]


@pytest.mark.parametrize("count", [1, 5, 47, 48, 49, None])
def test_a_cap_keeps_so_many_whole_examples_in_the_files_order(tiny_corpus, count):
    """Ids, sentences and labels stay together; a cap at or beyond the end changes nothing."""
    whole = tiny_corpus["similarity"]["train"]
    rows = list(zip(whole.ids, whole.sentences, whole.labels, strict=True))

    capped = whole.capped(count)

    kept = list(zip(capped.ids, capped.sentences, capped.labels, strict=True))
    assert len(kept) == min(count or 48, 48)
    assert kept == [row for row in rows if row in kept]
    assert (capped.content_hash() == whole.content_hash()) == (len(kept) == 48)


@settings(max_examples=30)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=20), st.data())
def test_a_cap_depends_on_the_sentences_not_on_their_order(numbers, data):
    """A smaller cap takes part of what a larger one takes, and a file in another order gives the same."""
    label = np.zeros(len(numbers))
    whole = Split(
        SENTIMENT,
        "train",
        tuple(map(str, numbers)),
        tuple((f"text {n}",) for n in numbers),
        label,
        "",
        "",
        0,
        np.arange(len(numbers)),
    )
    order = data.draw(st.permutations(range(len(numbers))))
    moved = replace(whole, sentences=tuple(whole.sentences[i] for i in order))
    small, large = sorted(data.draw(st.tuples(st.integers(1, 20), st.integers(1, 20))))

    taken = Counter(whole.capped(large).sentences)

    assert Counter(whole.capped(small).sentences) <= taken
    assert Counter(moved.capped(large).sentences) == taken


def test_the_content_hash_does_not_depend_on_place_or_format(tmp_path):
    """Another folder, another order of columns and quotes give the same hash."""
    first, second = tmp_path / "a.csv", tmp_path / "b.csv"
    first.write_text(HEADER + row("so it goes", "3"), encoding="utf-8")
    second.write_text('sentiment\tsentence\tid\n3.0\t"so it goes"\ta\n', encoding="utf-8")

    hashes = {read_split(path, SENTIMENT, "train").content_hash() for path in (first, second)}

    assert len(hashes) == 1


@pytest.mark.parametrize("changed", [row("other"), row(label="3"), row(identifier="b"), row() + row()])
def test_the_content_hash_depends_on_the_examples(read, changed):
    """Another sentence, label, id or number of rows gives another hash."""
    assert read(HEADER + changed).content_hash() != read(HEADER + row()).content_hash()


def test_the_content_hash_depends_on_the_split(read):
    """The same rows as dev and as train are two things."""
    assert read(HEADER + row(), split="dev").content_hash() != read(HEADER + row()).content_hash()
