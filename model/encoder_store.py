"""The encoders that checkpoints need, kept once by content: a checkpoint holds what was trained and names the rest."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from model.encoder_files import (
    IDENTITY,
    MINILM,
    TOKENIZER_FILES,
    WEIGHTS,
    EncoderError,
    EncoderSource,
    check_folder,
    find_encoder,
)
from model.files import new_folder


def keep_encoder(source: EncoderSource, store: Path) -> None:
    """Put an encoder's files into the store, unless they are there and whole.

    Those of a package or of the hub's cache, which nobody edits, are linked where the file system can; a person's
    own are copied: what is written into them later must not reach the store.
    """
    folder = store / _name(source.identity())
    try:
        if _kept(folder, source.identity()):
            return
    except EncoderError:  # changed since
        pass
    with new_folder(folder) as temporary:
        for name in ("config.json", WEIGHTS, *TOKENIZER_FILES):
            if (source.folder / name).is_file():
                _take(source.folder / name, temporary / name, link=source.name == MINILM or source.revision is not None)


def encoder_of(identity: Mapping[str, Any], given: str, store: Path) -> EncoderSource:
    """Return the encoder of this identity: where it was given, or from the store where it is there no longer.

    Raises EncoderError where neither has it.
    """
    try:
        found = find_encoder(given)
        if not found.differing(identity):
            return found
        trouble = f"encoder {given!r} is not the one that was planned"
    except EncoderError as error:
        trouble = str(error)
    kept = _kept(store / _name(identity), identity)
    if kept is None:
        raise EncoderError(f"{trouble}; nor is it kept in {store}")
    return kept


def _kept(folder: Path, identity: Mapping[str, Any]) -> EncoderSource | None:
    """Return the encoder in a folder of the store, None where there is none. Raises EncoderError if it was changed."""
    if not folder.is_dir():
        return None
    found = check_folder(folder, name=identity["name"])
    if changed := found.differing(identity):
        raise EncoderError(f"{folder}: its {' and '.join(changed)} changed since it was kept (sha256)")
    return found


def _name(identity: Mapping[str, Any]) -> str:
    return "-".join(identity[part][:12] for part in IDENTITY)


def _take(source: Path, target: Path, *, link: bool) -> None:
    if link:
        try:
            os.link(source.resolve(), target)
        except OSError:  # another file system, or one without links
            pass
        else:
            return
    shutil.copyfile(source, target)
