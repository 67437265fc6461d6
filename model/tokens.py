"""Token ids, packed end to end in one Arrow file and read memory-mapped.

A sequence is [CLS] a [SEP], or [CLS] a [SEP] b [SEP] with token types 0 and 1 for a joint pair. A pair that
is encoded separately makes two sequences, a and b in turn.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from filelock import FileLock
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from model.data import Split
from model.files import DamagedFileError, content_hash, new_folder, read_manifest, write_manifest
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

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each sequence."""
        return np.diff(self.offsets)


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

    One process writes, others wait for it. A damaged file is written anew.
    """
    if cache is None:
        return encode(split, encoding, tokenizer, max_tokens)
    folder = cache / tokens_key(split, encoding, tokenizer_sha256, max_tokens)
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        try:
            return _read(folder)
        except DamagedFileError:
            pass
        _write(folder, encode(split, encoding, tokenizer, max_tokens))
    return _read(folder)


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
        write_manifest(temporary, {"per_example": tokens.per_example})


def _read(folder: Path) -> PackedTokens:
    manifest = read_manifest(folder)
    table = pa.ipc.open_file(pa.memory_map(str(folder / "tokens.arrow"))).read_all()
    ids, types = table["ids"].chunk(0), table["types"].chunk(0)
    return PackedTokens(ids.values.to_numpy(), types.values.to_numpy(), ids.offsets.to_numpy(), manifest["per_example"])
