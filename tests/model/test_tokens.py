"""Packed token ids against the tokenizer's own, and the cache that never gives wrong ones."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.packing import spans
from model.tokens import PackedTokens, TokenCacheError, encode, packed_tokens, tokens_key


def sequences(tokens):
    """Return each sequence's ids and types as lists."""
    bounds = list(zip(tokens.offsets[:-1], tokens.offsets[1:], strict=True))
    return [(tokens.ids[a:b].tolist(), tokens.types[a:b].tolist()) for a, b in bounds]


def own(tokenizer, *texts):
    """Return the ids and types that the tokenizer itself gives."""
    encoded = tokenizer.encode(*texts)
    return encoded.ids, encoded.type_ids


def assert_same(tokens, expected):
    """Hold two sets of packed tokens to equal arrays of equal types."""
    for name in ("ids", "types", "offsets"):
        found, wanted = getattr(tokens, name), getattr(expected, name)
        assert found.dtype == wanted.dtype
        assert np.array_equal(found, wanted)
    assert tokens.per_example == expected.per_example


@pytest.fixture
def cached(tiny_corpus, tiny_tokenizer, tiny_source, tmp_path):
    """Return a function that gives the similarity dev pairs through a cache folder."""

    def through_cache(cache=tmp_path / "cache", max_tokens=32):
        return packed_tokens(
            tiny_corpus["similarity"]["dev"],
            "joint",
            tiny_tokenizer,
            tokenizer_sha256=tiny_source.tokenizer_sha256,
            max_tokens=max_tokens,
            cache=cache,
        )

    return through_cache


def test_single_sentences_have_the_tokenizers_ids(tiny_corpus, tiny_tokenizer):
    """A sequence is [CLS] a [SEP], all of type 0, one an example."""
    split = tiny_corpus["sentiment"]["dev"]

    tokens = encode(split, "separate", tiny_tokenizer, 64)

    assert tokens.per_example == 1
    assert sequences(tokens) == [own(tiny_tokenizer, text) for (text,) in split.sentences]


def test_separate_pairs_have_the_tokenizers_ids_in_turn(tiny_corpus, tiny_tokenizer):
    """A pair makes two sequences, the first sentence before the second, each as if it stood alone."""
    split = tiny_corpus["paraphrase"]["dev"]

    tokens = encode(split, "separate", tiny_tokenizer, 64)

    assert tokens.per_example == 2
    assert len(tokens) == 2 * len(split)
    assert sequences(tokens) == [own(tiny_tokenizer, text) for pair in split.sentences for text in pair]


def test_joint_pairs_have_the_tokenizers_ids_and_types(tiny_corpus, tiny_tokenizer):
    """A pair makes one sequence [CLS] a [SEP] b [SEP], types 0 and 1."""
    split = tiny_corpus["similarity"]["dev"]

    tokens = encode(split, "joint", tiny_tokenizer, 64)

    assert tokens.per_example == 1
    assert sequences(tokens) == [own(tiny_tokenizer, *pair) for pair in split.sentences]
    assert set(tokens.types.tolist()) == {0, 1}


WORDS = ("the", "plot", "good", "zebra", "x1", "of")


@settings(max_examples=30)
@given(
    st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=30), min_size=2, max_size=2),
    st.integers(8, 40),
)
def test_long_inputs_are_cut_at_max_tokens(tiny_corpus, tiny_tokenizer, words, limit):
    """No sequence is longer; [CLS] and [SEP] stay; of a pair the longer sentence is cut first."""
    pair = tuple(" ".join(side) for side in words)
    split = replace(tiny_corpus["similarity"]["dev"], ids=("a",), sentences=(pair,))
    (first, _), (second, _) = own(tiny_tokenizer, pair[0]), own(tiny_tokenizer, pair[1])

    joint, types = sequences(encode(split, "joint", tiny_tokenizer, limit))[0]
    separate = sequences(encode(split, "separate", tiny_tokenizer, limit))

    for full, (cut, _) in zip((first, second), separate, strict=True):
        assert cut == (full if len(full) <= limit else [*full[: limit - 1], full[-1]])
    left, right = types.count(0) - 2, types.count(1) - 1
    lengths = len(first) - 2, len(second) - 2
    assert len(joint) == min(limit, sum(lengths) + 3)
    assert joint == [*first[: left + 1], first[-1], *second[1 : right + 1], second[-1]]
    if left < lengths[0] and right < lengths[1]:
        assert abs(left - right) <= 1
    elif left < lengths[0]:
        assert left >= right - 1
    elif right < lengths[1]:
        assert right >= left - 1


def test_the_callers_tokenizer_is_left_as_it_was(tiny_corpus, tiny_tokenizer):
    """Cutting is set on a copy."""
    encode(tiny_corpus["similarity"]["dev"], "joint", tiny_tokenizer, 8)

    assert tiny_tokenizer.truncation is None


def test_the_cache_gives_equal_arrays(cached):
    """Written, read again and never cached: the same arrays."""
    computed = cached(cache=None)

    assert_same(cached(), computed)
    assert_same(cached(), computed)


def test_the_cache_is_read_not_written_again(cached, tmp_path):
    """The second call finds the file of the first."""
    cached()
    (file,) = (tmp_path / "cache").glob("*/tokens.arrow")
    written = file.stat().st_mtime_ns, file.stat().st_ino

    cached()

    assert (file.stat().st_mtime_ns, file.stat().st_ino) == written


def test_cached_arrays_are_mapped_not_copied(cached):
    """Ids lie in the file's memory and cannot be written: workers on one node share them."""
    assert not cached().ids.flags.writeable
    assert not cached().ids.flags.owndata


def damaged_places():
    """Name places all over a file, as shares of its length."""
    return [i / 16 for i in range(16)] + [0.999_999]


@pytest.mark.parametrize("name", ["tokens.arrow", "manifest.json"])
@pytest.mark.parametrize("place", damaged_places())
def test_a_flipped_byte_leads_to_a_rewrite(cached, tmp_path, name, place):
    """Wherever the cache is damaged, the ids are computed again and the file is whole afterwards."""
    computed = cached(cache=None)
    cached()
    (file,) = (tmp_path / "cache").glob(f"*/{name}")
    whole = file.read_bytes()
    at = int(place * len(whole))
    file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])

    assert_same(cached(), computed)
    assert file.read_bytes() == whole


@pytest.mark.parametrize("name", ["tokens.arrow", "manifest.json"])
def test_a_truncated_or_missing_file_leads_to_a_rewrite(cached, tmp_path, name):
    """A cache that a full disk cut short is written anew."""
    computed = cached(cache=None)
    cached()
    (file,) = (tmp_path / "cache").glob(f"*/{name}")
    whole = file.read_bytes()

    file.write_bytes(whole[: len(whole) // 2])
    assert_same(cached(), computed)
    file.unlink()
    assert_same(cached(), computed)
    assert file.read_bytes() == whole


@pytest.mark.parametrize("per_example", ["2", "0", "-1", '"1"', "null"])
def test_a_changed_manifest_gives_no_wrong_shape(cached, tmp_path, per_example):
    """What the manifest says of the shape is checked like the file itself."""
    computed = cached(cache=None)
    cached()
    (file,) = (tmp_path / "cache").glob("*/manifest.json")
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace('"per_example": 1', f'"per_example": {per_example}'), encoding="utf-8")

    assert_same(cached(), computed)


def test_the_key_depends_on_all_that_the_ids_follow_from(tiny_corpus):
    """Other sentences, encoding, tokenizer or length have another key; labels have none."""
    split = tiny_corpus["similarity"]["dev"]
    keys = {
        tokens_key(split, "joint", "a", 32),
        tokens_key(split, "separate", "a", 32),
        tokens_key(split, "joint", "b", 32),
        tokens_key(split, "joint", "a", 33),
        tokens_key(split.capped(5), "joint", "a", 32),
    }

    assert len(keys) == 5
    assert tokens_key(replace(split, labels=None), "joint", "a", 32) in keys


def packed(*of_sequences, per_example=1):
    """Return these sequences packed, each a list of (id, type)."""
    ids = [i for sequence in of_sequences for i, _ in sequence]
    types = [t for sequence in of_sequences for _, t in sequence]
    offsets = np.cumsum([0, *map(len, of_sequences)])
    return PackedTokens(np.array(ids, np.int32), np.array(types, np.int8), offsets.astype(np.int64), per_example)


SEQUENCES = st.lists(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 1)), min_size=1, max_size=4), min_size=1, max_size=20
)


@given(SEQUENCES)
def test_distinct_sequences_are_all_that_there_are_once(of_sequences):
    """By ascending length, each the first of its like; `index` leads every sequence to its own."""
    tokens = packed(*of_sequences)

    found = tokens.distinct

    kept = [of_sequences[i] for i in found.sequences]
    assert [kept[place] for place in found.index] == of_sequences
    assert len(kept) == len({tuple(sequence) for sequence in of_sequences})
    assert [len(sequence) for sequence in kept] == sorted(map(len, kept))
    assert [of_sequences.index(sequence) for sequence in kept] == found.sequences.tolist()


def test_sequences_that_differ_in_their_types_alone_are_distinct():
    """A pair [CLS] a [SEP] b [SEP] is not the single sentence of the same ids."""
    assert len(packed([(1, 0), (2, 0)], [(1, 0), (2, 1)], [(1, 0), (2, 0)]).distinct.sequences) == 2


@given(SEQUENCES, st.data())
def test_rows_lead_to_the_tokens_of_sequences_in_any_order(of_sequences, data):
    """Asked for in any order, or more than once, sequences come end to end."""
    tokens = packed(*of_sequences)
    chosen = data.draw(st.lists(st.integers(0, len(of_sequences) - 1), min_size=1))

    rows = tokens.rows(np.array(chosen))

    expected = [token for i in chosen for token in of_sequences[i]]
    assert list(zip(tokens.ids[rows].tolist(), tokens.types[rows].tolist(), strict=True)) == expected


@given(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 9)), min_size=1))
def test_spans_are_ranges_end_to_end(of_spans):
    """Each start counts on for its length; a span may be empty."""
    starts, lengths = (np.array(values, np.int64) for values in zip(*of_spans, strict=True))

    assert spans(starts, lengths).tolist() == [i for start, n in of_spans for i in range(start, start + n)]


@given(SEQUENCES, st.integers(1, 20))
def test_chunks_are_as_large_as_they_may_be(of_sequences, rows):
    """In turn and complete; none has more tokens than allowed unless it is one sequence; none could take the next."""
    tokens = packed(*of_sequences)
    given_order = np.random.default_rng(0).permutation(len(tokens))

    chunks = [chunk.tolist() for chunk in tokens.chunks(given_order, rows)]

    assert [i for chunk in chunks for i in chunk] == given_order.tolist()
    sizes = [sum(len(of_sequences[i]) for i in chunk) for chunk in chunks]
    assert all(size <= rows or len(chunk) == 1 for chunk, size in zip(chunks, sizes, strict=True))
    following = [len(of_sequences[chunk[0]]) for chunk in chunks[1:]]
    assert all(size + after > rows for size, after in zip(sizes, following, strict=False))


@given(st.lists(st.integers(0, 50), min_size=1), st.integers(1, 2))
def test_the_sequences_of_examples_stand_next_to_each_other(examples, per_example):
    """Example i of a separate pair has sequences 2 i and 2 i + 1."""
    tokens = packed([(1, 0)], [(2, 0)], per_example=per_example)

    expected = [i * per_example + side for i in examples for side in range(per_example)]
    assert tokens.sequences_of(np.array(examples)).tolist() == expected


def test_the_content_hash_tells_all_that_a_model_sees():
    """Ids, types, where sequences end and their order count; the objects that hold them, and labels, do not."""
    first, second = [(1, 0), (2, 1)], [(3, 0)]
    others = [
        packed(first, second),
        packed(second, first),
        packed([(1, 0)], [(2, 1), (3, 0)]),
        packed([(1, 0), (2, 0)], second),
        packed([(1, 0), (4, 1)], second),
        packed(first),
    ]

    assert len({tokens.content_sha256 for tokens in others}) == len(others)
    assert packed(first, second).content_sha256 == others[0].content_sha256


def test_cached_tokens_have_the_hash_of_computed_ones(cached):
    """Memory-mapped or not, the same tokens have the same states kept for them."""
    assert cached().content_sha256 == cached(cache=None).content_sha256


def test_a_cache_that_takes_nothing_is_an_error_of_its_own(cached, tmp_path):
    """It names the folder and the reason, so that whoever trains can do without."""
    (tmp_path / "file").write_text("in the folder's place", encoding="utf-8")

    with pytest.raises(TokenCacheError) as raised:
        cached(cache=tmp_path / "file")

    assert str(raised.value) == f"{tmp_path / 'file'}: the token cache cannot be written there (File exists)"


RACER = """
import sys, time
from pathlib import Path
from tokenizers import Tokenizer
from model.data import load_split
from model.files import content_hash
from model.tasks import TASKS
from model.tokens import packed_tokens

data, encoder, cache = sys.argv[1:]
split = load_split(data, TASKS["similarity"], "dev")
tokenizer = Tokenizer.from_file(encoder + "/tokenizer.json")
print("ready", flush=True)
sys.stdin.readline()
tokens = packed_tokens(split, "joint", tokenizer, tokenizer_sha256="x", max_tokens=32, cache=Path(cache))
(file,) = Path(cache).glob("*/tokens.arrow")
print(content_hash([tokens.ids.tolist(), tokens.offsets.tolist()]), file.stat().st_mtime_ns)
"""


def test_two_processes_at_once_write_one_cache(tiny_data, tiny_encoder, tmp_path):
    """Both get the same ids, and one file was written, once."""
    command = [sys.executable, "-c", RACER, str(tiny_data), str(tiny_encoder), str(tmp_path / "cache")]
    racers = [
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
        )
        for _ in range(2)
    ]
    assert [racer.stdout.readline() for racer in racers] == ["ready\n"] * 2

    for racer in racers:
        racer.stdin.write("go\n")
        racer.stdin.flush()
    answers = {racer.communicate(timeout=60)[0] for racer in racers}

    assert len(answers) == 1
    assert [racer.returncode for racer in racers] == [0, 0]
    assert len([path for path in (tmp_path / "cache").iterdir() if path.is_dir()]) == 1
