"""Token ids, packed end to end in one Arrow file and read memory-mapped.

A sequence is [CLS] a [SEP], or [CLS] a [SEP] b [SEP] with token types 0 and 1 for a joint pair. A pair that
is encoded separately makes two sequences, a and b in turn.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
from filelock import FileLock
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from model.data import Split
from model.files import DamagedFileError, content_hash, new_folder, read_manifest, write_manifest
from model.packing import spans
from model.tasks import PairEncoding

TOKENS_VERSION = 1
"""Part of the key: raised when the same text would give other ids."""


@dataclass(frozen=True)
class PackedTokens:
    """All sequences of a split; sequence i is `ids[offsets[i]:offsets[i + 1]]`."""

    ids: NDArray[np.int32]
    types: NDArray[np.int8]
    offsets: NDArray[np.int64]
    per_example: int
    """Sequences an example: 2 for separately encoded pairs, else 1."""

    def __len__(self) -> int:
        """Return the number of sequences."""
        return len(self.offsets) - 1

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each sequence."""
        return np.diff(self.offsets)

    @cached_property
    def content_sha256(self) -> str:
        """Return a hash of all that a model sees of these sequences, and of their order."""
        found = hashlib.sha256()
        for values in (self.offsets, self.ids, self.types):
            found.update(f"{values.dtype}{len(values)}".encode())
            found.update(np.ascontiguousarray(values).tobytes())
        return found.hexdigest()

    @cached_property
    def distinct(self) -> "Distinct":
        """Return the sequences without their repetitions."""
        first: dict[bytes, int] = {}
        found = np.empty(len(self), np.int64)
        for i, (start, end) in enumerate(pairwise(self.offsets.tolist())):
            content = self.ids[start:end].tobytes() + self.types[start:end].tobytes()
            found[i] = first.setdefault(content, i)
        sequences = np.fromiter(first.values(), np.int64, len(first))
        sequences = sequences[np.argsort(self.lengths[sequences], kind="stable")]
        place = np.empty(len(self), np.int64)
        place[sequences] = np.arange(len(sequences))
        return Distinct(sequences, place[found])

    def sequences_of(self, examples: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the examples' sequences, an example's next to each other."""
        return (examples[:, None] * self.per_example + np.arange(self.per_example)).reshape(-1)

    def rows(self, sequences: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the places in `ids` of these sequences' tokens, end to end."""
        return spans(self.offsets[sequences], self.lengths[sequences])

    def chunks(self, sequences: NDArray[np.int64], rows: int) -> Iterator[NDArray[np.int64]]:
        """Yield these sequences in turn, so many at a time that their tokens are at most `rows`, or one alone."""
        ends = np.cumsum(self.lengths[sequences])
        start = 0
        while start < len(sequences):
            before = int(ends[start - 1]) if start else 0
            end = max(start + 1, int(np.searchsorted(ends, before + rows, side="right")))
            yield sequences[start:end]
            start = end


@dataclass(frozen=True)
class Distinct:
    """Which sequences of a split differ: what they have in common is computed once."""

    sequences: NDArray[np.int64]
    """The first of each, by ascending length."""
    index: NDArray[np.int64]
    """Of every sequence, the place in `sequences` of its like."""


class TokenCacheError(OSError):
    """The cache's folder takes nothing: full, read-only, gone. Without it tokens are computed each time."""


def tokens_key(split: Split, encoding: PairEncoding, tokenizer_sha256: str, max_tokens: int) -> str:
    """Return the name under which these token ids are kept: a hash of all that they follow from."""
    return content_hash([TOKENS_VERSION, tokenizer_sha256, max_tokens, encoding, split.sentences])


def packed_tokens(
    split: Split,
    encoding: PairEncoding,
    tokenizer: Tokenizer,
    *,
    tokenizer_sha256: str,
    max_tokens: int,
    cache: Path | None,
) -> PackedTokens:
    """Return the split's token ids, from the cache folder where they lie there; written there otherwise.

    One process writes, others wait for it. A damaged file is written anew. Raises TokenCacheError where the folder
    takes nothing.
    """
    if cache is None:
        return encode(split, encoding, tokenizer, max_tokens)
    folder = cache / tokens_key(split, encoding, tokenizer_sha256, max_tokens)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            try:
                return _read(folder)
            except DamagedFileError:
                pass
            _write(folder, encode(split, encoding, tokenizer, max_tokens))
        return _read(folder)
    except OSError as error:
        said = os.strerror(error.errno) if error.errno else " ".join(str(error).split())  # Arrow's text is its own
        raise TokenCacheError(f"{cache}: the token cache cannot be written there ({said})") from error


def encode(split: Split, encoding: PairEncoding, tokenizer: Tokenizer, max_tokens: int) -> PackedTokens:
    """Return the split's token ids, computed; sequences longer than `max_tokens` are cut."""
    tokenizer = Tokenizer.from_str(tokenizer.to_str())
    tokenizer.enable_truncation(max_tokens)  # longest first, as the course's code
    tokenizer.no_padding()
    separate = split.task.is_pair and encoding == "separate"
    texts: list[str | tuple[str, ...]]
    if separate:
        texts = [sentence for pair in split.sentences for sentence in pair]
    else:
        texts = [pair if len(pair) == 2 else pair[0] for pair in split.sentences]
    encoded = tokenizer.encode_batch(texts)
    return _pack(encoded, per_example=2 if separate else 1)


def _pack(encoded: Sequence[Encoding], *, per_example: int) -> PackedTokens:
    lengths = np.fromiter((len(e.ids) for e in encoded), dtype=np.int64, count=len(encoded))
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    ids, types = np.empty(offsets[-1], np.int32), np.empty(offsets[-1], np.int8)
    for e, start, end in zip(encoded, offsets[:-1], offsets[1:], strict=True):
        ids[start:end], types[start:end] = e.ids, e.type_ids
    return PackedTokens(ids, types, offsets, per_example)


def _write(folder: Path, tokens: PackedTokens) -> None:
    lists = [pa.LargeListArray.from_arrays(tokens.offsets, values) for values in (tokens.ids, tokens.types)]
    table = pa.table({"ids": lists[0], "types": lists[1]})
    with new_folder(folder) as temporary:
        with (
            pa.OSFile(str(temporary / "tokens.arrow"), "wb") as sink,
            pa.ipc.new_file(sink, table.schema) as file,
        ):
            file.write_table(table, max_chunksize=max(1, len(table)))
        write_manifest(temporary, {"key": folder.name, "per_example": tokens.per_example})


def _read(folder: Path) -> PackedTokens:
    manifest = read_manifest(folder)
    if manifest.get("key") != folder.name:
        raise DamagedFileError(f"{folder}: holds other tokens than its name says")
    try:
        table = pa.ipc.open_file(pa.memory_map(str(folder / "tokens.arrow"))).read_all()
        ids, types = table["ids"].chunk(0), table["types"].chunk(0)
        arrays = ids.values.to_numpy(), types.values.to_numpy(), ids.offsets.to_numpy()
    except (pa.ArrowException, KeyError, IndexError, AttributeError) as error:
        raise DamagedFileError(f"{folder}: holds no tokens ({error})") from error
    return PackedTokens(*arrays, manifest["per_example"])
