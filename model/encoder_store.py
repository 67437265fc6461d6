"""The encoders that checkpoints need, kept once by content: a checkpoint holds what was trained and names the rest."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from model.files import new_folder
from model.weights import TOKENIZER_FILES, WEIGHTS, EncoderError, EncoderSource, check_folder, find_encoder

PARTS = ("weights", "tokenizer")


def keep_encoder(source: EncoderSource, store: Path) -> None:
    """Put an encoder's files into the store, unless they are there: hard links where the file system has them."""
    folder = store / _name(source.identity())
    if folder.is_dir():
        return
    with new_folder(folder) as temporary:
        for name in ("config.json", WEIGHTS, *TOKENIZER_FILES):
            if (source.folder / name).is_file():
                _link(source.folder / name, temporary / name)


def encoder_of(identity: Mapping[str, Any], given: str, store: Path) -> EncoderSource:
    """Return the encoder of this identity: where it was given, or from the store where it is there no longer.

    Raises EncoderError where neither has it.
    """
    try:
        found = find_encoder(given)
        if all(found.identity()[part] == identity[part] for part in PARTS):
            return found
        trouble = f"encoder {given!r} is not the one that was planned"
    except EncoderError as error:
        trouble = str(error)
    folder = store / _name(identity)
    if not folder.is_dir():
        raise EncoderError(f"{trouble}; nor is it kept in {store}")
    return check_folder(folder, name=identity["name"], expected_sha256=identity["weights"])


def _name(identity: Mapping[str, Any]) -> str:
    return "-".join(identity[part][:16] for part in PARTS)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source.resolve(), target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)
