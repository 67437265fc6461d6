"""What the hub keeps: encoders and data sets, fetched file by file at one commit, found again in its cache.

Everything goes through huggingface_hub, so its variables count: HF_HOME (the cache), HF_ENDPOINT (a mirror),
HF_HUB_OFFLINE, HF_TOKEN, HF_HUB_ETAG_TIMEOUT. A commit that is in the cache is never asked for again.
"""

import json
import logging
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from model.data import Split, build_split
from model.encoder_files import MINILM_SHA256, WEIGHTS, EncoderError
from model.files import LFS_POINTER, sha256_of
from model.table_file import DataError
from model.tasks import Task

Kind = Literal["model", "dataset"]

ENCODER_FILES = ("config.json", "tokenizer.json", WEIGHTS)
"""The small ones first: all are asked for, and begun, within seconds of each other."""
INSTEAD_OF_WEIGHTS = ("pytorch_model.bin", f"{WEIGHTS}.index.json", "tf_model.h5", "flax_model.msgpack")
"""What a repository may hold where model.safetensors is missing; asked for by name only, never fetched."""

HUB = "https://huggingface.co"
ANSWER_TIMEOUT_S = 6
"""Seconds to connect, and to answer, unless HF_HUB_ETAG_TIMEOUT is set. A name may have several addresses,
each of which takes that long to fail: four of the hub's own leave room below a minute."""
UNLABELLED = {"", "-1", "-1.0"}
"""How GLUE writes the labels that it keeps to itself."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Downloaded:
    """An encoder's files in the cache, all of one commit; not yet checked (model.encoder_files.check_folder)."""

    folder: Path
    revision: str
    """The commit, 40 hex digits."""
    weights_sha256: str | None = None
    """What the weights must hash to, where this program knows it."""


@dataclass(frozen=True)
class Pin:
    """The commit that a name without @REVISION stands for, and the sha256 of its model.safetensors."""

    revision: str
    weights_sha256: str


PINS = {
    "google-bert/bert-base-uncased": Pin(
        "86b5e0934494bd15c9632b12f734a8a67f723594",
        "68d45e234eb4a928074dfd868cead0219ab85354cc53d20e772753c6bb9169d3",
    ),
    "sentence-transformers/all-MiniLM-L6-v2": Pin("1110a243fdf4706b3f48f1d95db1a4f5529b4d41", MINILM_SHA256),
}
OLD_NAMES = {"bert-base-uncased": "google-bert/bert-base-uncased"}
"""Names from before owners were part of them; a cache that another program filled may lie under either."""


class _HubError(Exception):
    """One line on what the hub did not give, and what to do; becomes an EncoderError or a DataError."""


class _MissingFileError(_HubError):
    """The commit exists and has no such file."""


class _NoAnswerError(_HubError):
    """The endpoint is down, out of reach or overloaded: what is cached may still do."""


REASONS: tuple[tuple[str, type[_HubError], str], ...] = (
    ("HFValidationError", _HubError, "no such folder, and no name on the hub; expected OWNER/NAME[@COMMIT]"),
    ("GatedRepoError", _HubError, "{repo} is gated: accept its terms on {endpoint}, then set HF_TOKEN"),
    ("RepositoryNotFoundError", _HubError, "no {repo} on {endpoint}; a wrong name, or private (HF_TOKEN)"),
    ("RevisionNotFoundError", _HubError, "{endpoint} has the repository, but no {repo}"),
    # By class the next is a missing entry too; in truth the connection was lost.
    ("LocalEntryNotFoundError", _NoAnswerError, "{endpoint} stopped answering for {repo}; try again"),
    ("EntryNotFoundError", _MissingFileError, "{repo} has no {file}"),
)
"""Errors of huggingface_hub by name, the special before the general, and what to say."""
REFUSALS = {
    401: "a wrong name, or private (HF_TOKEN)",  # for either, where no token was sent
    403: "check what HF_TOKEN allows",
    404: "check the name and HF_ENDPOINT",
}


def download_encoder(name: str) -> Downloaded:
    """Return the encoder called NAME or NAME@REVISION (a branch, a tag or a commit) on the hub.

    Without @REVISION a known encoder is its pinned commit, any other the default branch, asked for once:
    all files are of the commit it stood for then. Only config.json, model.safetensors and tokenizer.json
    are fetched. Any process may call it, several at once too: files appear in the cache whole or not at
    all. Raises EncoderError, one line, within a minute where the endpoint does not answer.
    """
    given, at, revision = name.partition("@")
    repo = OLD_NAMES.get(given, given)
    pin = PINS.get(repo)
    if at and not revision:
        raise EncoderError(f"encoder {name!r}: nothing after the @; expected a commit, a tag or a branch")
    revision = revision or (pin.revision if pin else "main")
    try:
        folder = _cached_under_any_name(repo, revision) or _snapshot(repo, "model", revision, ENCODER_FILES)
    except _MissingFileError as error:
        raise EncoderError(f"encoder {name!r}: {error}; {_how_to_convert(repo, revision)}") from error
    except _HubError as error:
        raise EncoderError(f"encoder {name!r}: {error}") from error
    expected = pin.weights_sha256 if pin and pin.revision == folder.name else None
    return Downloaded(folder, folder.name, expected)


def download_split(task: Task, split: str, *, labels: bool = True) -> Split:
    """Return one split of the data set that `task.hub` names, read strictly as the course's files are.

    Keys of `task.hub`: `repo`; `files`, split to path (.parquet or .jsonl); `sentences`, the columns in the
    order of the task's own; `label`, a column; `revision`, a commit (else the default branch). A row's id is
    its column `id` or `idx`, or else its number. A test split whose labels are all -1 or missing is unlabelled, as
    any split is without `labels`. Raises DataError, one line, within a minute where the endpoint does not answer.
    """
    where = task.hub or {}
    file = where.get("files", {}).get(split)
    if file is None:
        raise DataError(f"task {task.name!r}: no {split} split on the hub is known; give a folder of data")
    columns = [*where["sentences"], where["label"]]
    if len(columns) != len(task.sentence_columns) + 1:
        raise DataError(f"task {task.name!r}: Task.hub must name {len(task.sentence_columns)} sentences")
    try:
        folder = _snapshot(where["repo"], "dataset", where.get("revision") or "main", (file,))
    except _HubError as error:
        raise DataError(f"task {task.name!r}, {split} split: {error}") from error
    source = f"{where['repo']}@{folder.name[:12]}/{file}"
    optional = where["label"] if split == "test" or not labels else None
    rows = _read(folder / file, columns, optional=optional)
    labelled = labels and (split != "test" or any(cells[-1] not in UNLABELLED for _, cells in rows))
    return build_split(task, split, rows, source=source, source_sha256=sha256_of(folder / file), labelled=labelled)


def _snapshot(repo: str, kind: Kind, revision: str, files: Sequence[str]) -> Path:
    """Return the cache's folder of the commit, named by it, with these files in it. Raises _HubError."""
    from huggingface_hub import constants, hf_hub_download

    cached = _cached(repo, kind, revision, files)
    if cached and (_is_commit(revision) or constants.HF_HUB_OFFLINE):
        return cached
    if constants.HF_HUB_OFFLINE:
        raise _HubError(
            f"{repo}@{revision} is not in the cache {constants.HF_HUB_CACHE} and HF_HUB_OFFLINE is set; "
            "unset it, copy a filled cache there, or give a folder"
        )
    try:
        commit = _ask(repo, kind, revision, files[0])
        for file in files[1:]:
            _ask(repo, kind, commit, file)
    except _NoAnswerError as error:
        if not cached:
            raise
        log.warning("%s; using the cached commit %s", error, cached.name)
        return cached
    if _is_commit(revision) and commit != revision:
        raise _HubError(f"{_endpoint(shown=True)} answered with commit {commit}, asked for {revision}")
    at = revision  # for the first file: so the cache remembers, for use offline, which commit it stood for
    for file in files:
        with _one_line(f"{repo}@{revision}", file):
            path = hf_hub_download(repo, file, repo_type=kind, revision=at, endpoint=_endpoint())
        folder = _folder_of(path, file)
        at = folder.name
    return folder


def _ask(repo: str, kind: Kind, revision: str, file: str) -> str:
    """Return the commit that a revision stands for, if it has the file.

    One short request before each download: alone, hf_hub_download would retry a dead endpoint for minutes.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    with _one_line(f"{repo}@{revision}", file):
        url = hf_hub_url(repo, file, repo_type=kind, revision=revision, endpoint=_endpoint())
        commit = get_hf_file_metadata(url, timeout=_timeout_s(), endpoint=_endpoint()).commit_hash
    if commit is None:
        raise _HubError(f"{_endpoint(shown=True)} does not answer as a hub; check HF_ENDPOINT and the proxy")
    return commit


@contextmanager
def _one_line(repo: str, file: str) -> Iterator[None]:
    """Turn what huggingface_hub raises (pages of text, of many classes) into a _HubError."""
    from huggingface_hub import errors

    endpoint = _endpoint(shown=True)
    try:
        yield
    except Exception as error:
        # Of any class: beside the library's own there are those of requests, httpx or httpx2, by its version.
        for name, ours, text in REASONS:
            if isinstance(error, getattr(errors, name)):
                raise ours(text.format(repo=repo, file=file, endpoint=endpoint)) from error
        status = error.response.status_code if isinstance(error, errors.HfHubHTTPError) else None
        if status in REFUSALS:
            raise _HubError(f"{endpoint} answered {status} for {repo}; {REFUSALS[status]}") from error
        why = f"status {status}" if status else " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise _NoAnswerError(
            f"{repo} is not in the cache and did not come from {endpoint} ({why}); "
            "check the network and HF_ENDPOINT, or give a folder"
        ) from error


def _cached(repo: str, kind: Kind, revision: str, files: Sequence[str]) -> Path | None:
    """Return the cache's folder of a commit, or of what a branch last stood for, if it has all the files."""
    from huggingface_hub import try_to_load_from_cache

    with _one_line(f"{repo}@{revision}", files[0]):
        found = [try_to_load_from_cache(repo, file, revision=revision, repo_type=kind) for file in files]
    return _folder_of(found[0], files[0]) if all(isinstance(path, str) for path in found) else None


def _cached_under_any_name(repo: str, commit: str) -> Path | None:
    """Return an encoder's cached commit under an old name of its repository."""
    names = [old for old, new in OLD_NAMES.items() if new == repo]
    folders = (_cached(name, "model", commit, ENCODER_FILES) for name in names if _is_commit(commit))
    return next((folder for folder in folders if folder), None)


def _folder_of(path: Any, file: str) -> Path:
    """Return the commit's folder that holds `file` at `path`."""
    return Path(path).parents[file.count("/")]


def _is_commit(revision: str) -> bool:
    return re.fullmatch(r"[0-9a-f]{40}", revision) is not None


def _endpoint(*, shown: bool = False) -> str:
    """Return where the hub is; for messages without a password that stands in the address."""
    address = (os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")
    parts = urlsplit(address)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl() if shown else address


def _timeout_s() -> float:
    from huggingface_hub import constants

    return constants.HF_HUB_ETAG_TIMEOUT if os.environ.get("HF_HUB_ETAG_TIMEOUT") else ANSWER_TIMEOUT_S


def _how_to_convert(repo: str, revision: str) -> str:
    """Return what the repository has in place of the missing file, and how to make that usable."""
    instead = []
    for file in INSTEAD_OF_WEIGHTS:
        try:
            _ask(repo, "model", revision, file)
        except _HubError:
            continue
        instead.append(f"{file}, a pickle, which is never loaded" if file.endswith(".bin") else file)
    found = f"it has {' and '.join(instead)}; " if instead else ""
    return (
        f"{found}where you trust it, transformers writes the three files: AutoModel.from_pretrained({repo!r})"
        ".save_pretrained(FOLDER), the same with AutoTokenizer; then --encoder FOLDER"
    )


Row = tuple[int, list[str]]
"""Line and [id, sentences..., label]; what is null is the empty string."""


def _read(path: Path, columns: Sequence[str], *, optional: str | None) -> list[Row]:
    """Return a data file's rows; the optional column may be missing and is then empty. Raises DataError."""
    with path.open("rb") as file:
        if file.read(len(LFS_POINTER)) == LFS_POINTER:
            raise DataError(
                f"{path}: is a Git LFS pointer ({path.stat().st_size} bytes), not the data; "
                f"delete it, and check HF_ENDPOINT ({_endpoint(shown=True)})"
            )
    readers = {".parquet": _read_parquet, ".jsonl": _read_jsonl}
    if path.suffix not in readers:
        raise DataError(f"{path}: cannot be read; expected {' or '.join(readers)}")
    return readers[path.suffix](path, columns, optional)


def _pick(where: str, found: Sequence[str], columns: Sequence[str], optional: str | None) -> list[str | None]:
    """Return the names of id, sentences and label as found; None for what is not there and need not be."""
    missing = [name for name in columns if name not in found and name != optional]
    if missing:
        raise DataError(f"{where}: no column {missing[0]!r}; found {', '.join(map(repr, found)) or 'none'}")
    identifier = next((name for name in ("id", "idx") if name in found), None)
    return [identifier, *(name if name in found else None for name in columns)]


def _read_parquet(path: Path, columns: Sequence[str], optional: str | None) -> list[Row]:
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

    try:
        file = ParquetFile(path)
        names = _pick(str(path), file.schema_arrow.names, columns, optional)
        table = file.read(columns=[name for name in names if name])
        for name in columns[:-1]:
            if not (pa.types.is_string(table[name].type) or pa.types.is_large_string(table[name].type)):
                raise DataError(f"{path}: column {name!r} is {table[name].type}; expected string")
        # As text by Arrow: 3.8 in float32 stays 3.8, which as a Python float would be 3.799999952316284.
        texts = [table[name].cast(pa.large_string()).to_pylist() if name else None for name in names]
    except (pa.ArrowException, KeyError, OSError) as error:
        why = " ".join(str(error).split())[:200]
        raise DataError(f"{path}: not a Parquet file that can be read ({why})") from error
    texts[0] = texts[0] or [str(i) for i in range(table.num_rows)]
    filled = [column or [""] * table.num_rows for column in texts]
    return [(i, [cell or "" for cell in cells]) for i, cells in enumerate(zip(*filled, strict=True), start=1)]


def _read_jsonl(path: Path, columns: Sequence[str], optional: str | None) -> list[Row]:
    rows: list[Row] = []
    for line, text in enumerate(path.read_bytes().split(b"\n"), start=1):
        where = f"{path}:{line}"
        if not text.strip():
            continue
        try:
            values = json.loads(text.decode("utf-8"))
            # Half a surrogate pair passes JSON, and nothing after it.
            json.dumps(values, ensure_ascii=False).encode()
        except (ValueError, RecursionError) as error:
            raise DataError(f"{where}: not a line of JSON ({error})") from error
        if not isinstance(values, dict):
            raise DataError(f"{where}: {str(values)[:50]!r}; expected an object with {', '.join(columns)}")
        identifier, *names = _pick(where, list(values), columns, optional)
        cells = [values[name] if name else None for name in names]
        for name, cell in zip(columns[:-1], cells, strict=False):
            if not isinstance(cell, str | None):
                raise DataError(f"{where}: column {name!r} is {str(cell)[:50]!r}; expected text")
        made_up = values[identifier] if identifier else len(rows)
        rows.append((line, ["" if cell is None else str(cell) for cell in (made_up, *cells)]))
    return rows
