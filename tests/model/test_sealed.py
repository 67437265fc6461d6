"""The sealed test set: what is in it, that no trial reads it, and that it is known again."""

from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.data import Split, build_split, load_corpus, normal
from model.sealed import FEWEST, open_test, readable, seal, set_apart
from model.table_file import DataError
from model.tasks import TASKS

WORDS = ("fair", "grave", "slow", "loud", "wry", "cold", "Ünkempt")
PAIRS = st.lists(st.tuples(st.sampled_from(WORDS), st.sampled_from(WORDS)), min_size=1, max_size=80)


def split_of(sentences, task="paraphrase", name="train"):
    """Return a split of made-up examples."""
    rows = [(line, [f"id-{line}", *texts, "1"]) for line, texts in enumerate(sentences, start=2)]
    return build_split(TASKS[task], name, rows, source="made", source_sha256="0" * 64, labelled=True)


def many(count):
    """Return so many different sentences."""
    return [(f"sentence {number}",) for number in range(count)]


@given(PAIRS)
def test_every_training_example_is_on_one_side_and_no_sentence_on_both(pairs):
    """Whatever stands there: nothing is lost, nothing twice, and pairs that hang together stay so."""
    train = split_of(pairs)

    kept, test = set_apart(train)

    assert sorted([*kept.ids, *test.ids]) == sorted(train.ids)
    known, apart = ({text for texts in normal(side) for text in texts} for side in (kept, test))
    assert not known & apart


@given(st.randoms())
def test_the_order_of_a_file_decides_nothing(random):
    """The same examples are set apart wherever they stand."""
    sentences = many(200)
    shuffled = random.sample(sentences, k=len(sentences))

    first, second = (set_apart(split_of(each, "sentiment"))[1] for each in (sentences, shuffled))

    assert sorted(first.sentences) == sorted(second.sentences)


def test_pairs_that_hang_together_in_great_number_stay_with_train():
    """One draw would else be the draw of the whole test set."""
    chain = [(f"question {number}", f"question {number + 1}") for number in range(300)]
    alone = [(f"left {number}", f"right {number}") for number in range(1_000)]

    _, test = set_apart(split_of([*chain, *alone]))

    assert not any(texts[0].startswith("question") for texts in test.sentences)
    assert 60 < len(test) < 140


def test_a_tenth_of_the_training_examples_is_set_apart():
    """Of 10,000, to within four standard deviations."""
    _, test = set_apart(split_of(many(10_000), "sentiment"))

    assert abs(len(test) - 1_000) < 4 * 30


def written(folder, *, train=400, test="labelled"):
    """Write sentiment's files, with a test file or without, and return the folder."""
    head, sizes = "\tid\tsentence\tsentiment\n", {"train": train, "dev": 30, "test": 40}
    for name, size in sizes.items():
        if name == "test" and test is None:
            continue
        rows = [f"{n}\t{name}{n}\t{name} sentence {n}\t{n % 5}\n" for n in range(size)]
        if name == "test" and test == "without labels":
            rows, head = [row.rpartition("\t")[0] + "\n" for row in rows], "\tid\tsentence\n"
        (folder / f"ids-sst-{name}.csv").write_text(head + "".join(rows))
    return str(folder)


TASK = TASKS["sentiment"]


@pytest.mark.parametrize(
    ("test", "train", "origin"),
    [("labelled", 400, "test"), ("without labels", 400, "train"), (None, 400, "train"), (None, 3 * FEWEST, "none")],
)
def test_a_labelled_test_file_is_the_test_set_else_a_part_of_train(tmp_path, test, train, origin):
    """A file without labels scores nothing, and a small training set has nothing to give."""
    source = written(tmp_path, train=train, test=test)
    corpus = load_corpus(source, [TASK])

    left, sealed = seal(source, [TASK], corpus)

    assert sealed["sentiment"].origin == origin
    taken = sealed["sentiment"].examples if origin == "train" else 0
    assert len(left["sentiment"]["train"]) == train - taken
    assert left["sentiment"]["dev"] is corpus["sentiment"]["dev"]


@pytest.mark.parametrize("test", ["labelled", None])
def test_what_is_opened_is_what_was_sealed_and_no_trial_has_read_it(tmp_path, test):
    """The same examples by their hash, none of them among those that trials read."""
    source = written(tmp_path, test=test)
    _, sealed = seal(source, [TASK], load_corpus(source, [TASK]))
    plain = {name: asdict(found) for name, found in sealed.items()}

    opened = open_test(source, TASK, plain["sentiment"])

    read = readable(load_corpus(source, [TASK]), plain)["sentiment"]
    assert isinstance(opened, Split)
    assert opened.name == "test"
    assert len(opened) == sealed["sentiment"].examples
    assert not set(opened.sentences) & set(read["train"].sentences)


@pytest.mark.parametrize("test", ["labelled", None])
def test_a_test_set_that_was_changed_is_not_opened(tmp_path, test):
    """Its hash stands in the plan."""
    source = written(tmp_path, test=test)
    _, sealed = seal(source, [TASK], load_corpus(source, [TASK]))
    changed = tmp_path / ("ids-sst-test.csv" if test else "ids-sst-train.csv")
    changed.write_text(changed.read_text().replace("sentence 1", "sentence one "))

    with pytest.raises(DataError, match="changed since the sweep was planned"):
        open_test(source, TASK, asdict(sealed["sentiment"]))


def test_a_damaged_test_file_is_told_when_the_sweep_is_planned(tmp_path):
    """Not after the trials."""
    source = written(tmp_path)
    file = tmp_path / "ids-sst-test.csv"
    file.write_text(file.read_text().replace("\t3\n", "\tgood\n", 1))

    with pytest.raises(DataError, match=r"ids-sst-test.csv:\d+: label 'good'"):
        seal(source, [TASK], load_corpus(source, [TASK]))
