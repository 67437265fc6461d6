"""A fine-tuned model as a folder of its own, in the names that transformers loads."""

import json
import shutil
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from model.checkpoint import MODEL, Checkpoint, load_tensors, require_same_encoder, storable
from model.config import config_to_dict
from model.encoder_files import TOKENIZER_FILES, WEIGHTS, EncoderSource
from model.files import new_folder, share, write_json, write_manifest
from model.weights import load_encoder

HEADS = "heads"


def export_model(checkpoint: Checkpoint, encoder: EncoderSource, folder: Path) -> None:
    """Write the encoder with what was trained of it merged in, whole or not at all; the heads stand beside it.

    `BertModel.from_pretrained(folder)` gives the pooled output of our encoder. heads.safetensors holds the heads
    under the names of model/heads.py, heads.json the tasks and the config that say how they are put together.
    Raises ValueError where the encoder is another one than the checkpoint's, or its weights were released.
    """
    require_same_encoder(checkpoint, encoder)
    trained = load_tensors(checkpoint.weights)
    merged: dict[str, Tensor] = dict(load_encoder(encoder).state_dict())
    own = {name.removeprefix("bert."): tensor for name, tensor in trained.items() if name.startswith("bert.")}
    assert own.keys() <= merged.keys(), "a checkpoint's encoder tensors are the encoder's"
    heads = {name.removeprefix("heads."): tensor for name, tensor in trained.items() if name.startswith("heads.")}
    with new_folder(folder) as temporary:
        save_file(storable(merged | own), temporary / WEIGHTS, metadata={"format": "pt"})
        save_file(storable(heads), temporary / f"{HEADS}.safetensors")
        write_json(temporary / f"{HEADS}.json", _about(checkpoint))
        config = json.loads((encoder.folder / "config.json").read_text(encoding="utf-8"))
        config = {key: value for key, value in config.items() if key not in ("torch_dtype", "dtype")}
        write_json(temporary / "config.json", {**config, "dtype": "float32"})
        for name in TOKENIZER_FILES:
            if (encoder.folder / name).is_file():
                shutil.copyfile(encoder.folder / name, temporary / name)
        write_manifest(temporary, {"encoder": encoder.identity(), "dev_score": checkpoint.manifest.get("dev_score")})
        share(temporary)


def _about(checkpoint: Checkpoint) -> dict[str, Any]:
    return {
        "config": config_to_dict(checkpoint.config),
        "tasks": [task.to_dict() for task in checkpoint.tasks],
        "dev_score": checkpoint.manifest.get("dev_score"),
        "scores": checkpoint.manifest.get("scores"),
        "from": {MODEL: checkpoint.manifest["files"][MODEL]["sha256"]},
    }
