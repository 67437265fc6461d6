"""An exported folder is a model that transformers loads, and what it cannot be made of is refused."""

import json
import os
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from transformers import BertModel

from model.checkpoint import StoredModel, load_model, open_checkpoint, release_weights, save_checkpoint
from model.config import HeadConfig, TrialConfig
from model.encoder_files import find_encoder
from model.export import export_model
from model.files import read_manifest
from model.heads import Heads
from model.training import fine_tune

MAX_POOLED = 1e-5
CONFIG = TrialConfig(
    unfrozen_layers=1, heads=HeadConfig(common_layers=1), max_tokens=32, epochs=1, batch_size=16, learning_rate=1e-3,
    prefix_format="fp32",
)  # fmt: skip


@pytest.fixture(scope="module")
def save(tiny_source, tiny_task_data, tmp_path_factory):
    """Return a function that trains a config for an epoch and gives its checkpoint."""

    def saved(config):
        data = tiny_task_data(config)
        (result,) = fine_tune(config, data, tiny_source)
        folder = tmp_path_factory.mktemp("checkpoint") / "best-0001"
        save_checkpoint(
            folder,
            config=config,
            tasks=[entry.task for entry in data],
            encoder=tiny_source,
            state=result.state,
            facts={"dev_score": result.dev.overall, "scores": result.dev.scores},
            with_optimizer=False,
        )
        return open_checkpoint(folder)

    return saved


@pytest.fixture(scope="module")
def checkpoint(save):
    """Return a checkpoint that tests only read."""
    return save(CONFIG)


def pooled_by_transformers(folder, tokens):
    """Return the pooled output of each sequence, one at a time."""
    model = BertModel.from_pretrained(folder).eval()
    found = []
    for start, length in zip(tokens.offsets[:-1], tokens.lengths, strict=True):
        ids, types = (
            torch.tensor(values[start : start + length]).long()[None] for values in (tokens.ids, tokens.types)
        )
        with torch.no_grad():
            found.append(model(input_ids=ids, token_type_ids=types).pooler_output)
    return torch.cat(found)


def pooled_by_us(stored: StoredModel, tokens):
    """Return the pooled output of each sequence in one batch."""
    with torch.no_grad():
        return stored.model.pooled(stored.prefix.inputs([tokens])[0].batch(torch.arange(len(tokens)).numpy()))


@pytest.mark.parametrize(
    ("fields", "bound"),
    [
        ({}, MAX_POOLED),
        ({"unfrozen_layers": "all"}, MAX_POOLED),
        ({"unfrozen_layers": 0}, MAX_POOLED),
        ({"prefix_format": "fp16"}, 3e-3),
    ],
    ids=["top layer", "all", "pooler alone", "top layer over a prefix in fp16"],
)
def test_transformers_gives_our_pooled_output(save, tiny_source, tiny_task_data, tmp_path, fields, bound):
    """BertModel.from_pretrained on the folder agrees with our model, whatever of it was trained."""
    config = replace(CONFIG, **fields)
    checkpoint = save(config)

    export_model(checkpoint, tiny_source, tmp_path / "exported")

    tokens = tiny_task_data(config)[2].dev.tokens
    theirs = pooled_by_transformers(tmp_path / "exported", tokens)
    ours = pooled_by_us(load_model(checkpoint, tiny_source), tokens)
    assert (theirs - ours).abs().max() <= bound
    untrained = pooled_by_transformers(tiny_source.folder, tokens)
    assert (theirs - untrained).abs().max() > 10 * bound, "what was trained is in it"


def test_the_folder_is_an_encoder_of_its_own(checkpoint, tiny_source, tmp_path):
    """The next sweep can start from it: find_encoder takes the folder."""
    export_model(checkpoint, tiny_source, tmp_path / "exported")

    found = find_encoder(str(tmp_path / "exported"))

    assert found.weights_sha256 != tiny_source.weights_sha256
    assert found.tokenizer_sha256 == tiny_source.tokenizer_sha256


def test_whoever_may_read_new_files_may_read_it(checkpoint, tiny_source, tmp_path):
    """The umask decides, as for a copied file; the sweep's own folders are for their owner."""
    before = os.umask(0o022)
    try:
        export_model(checkpoint, tiny_source, tmp_path / "exported")
    finally:
        os.umask(before)

    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "exported").iterdir()}
    assert set(modes.values()) == {0o644}, modes
    assert (tmp_path / "exported").stat().st_mode & 0o777 == 0o755


def test_the_heads_stand_beside_it(checkpoint, tiny_source, tmp_path):
    """heads.safetensors loads into heads of the config that heads.json holds, and the manifest names every file."""
    export_model(checkpoint, tiny_source, tmp_path / "exported")

    about = json.loads((tmp_path / "exported" / "heads.json").read_text(encoding="utf-8"))
    heads = Heads(checkpoint.config, checkpoint.tasks, tiny_source.config.hidden_size)
    heads.load_state_dict(load_file(tmp_path / "exported" / "heads.safetensors"), strict=True)
    assert about["dev_score"] == checkpoint.manifest["dev_score"]
    assert [task["name"] for task in about["tasks"]] == list(CONFIG.tasks)
    names = {path.name for path in (tmp_path / "exported").iterdir()} - {"manifest.json"}
    assert read_manifest(tmp_path / "exported")["files"].keys() == names


def test_released_weights_are_one_clear_line(save, tiny_source, tmp_path):
    """A checkpoint whose weights were released still opens, and says why it cannot be exported or loaded."""
    checkpoint = save(CONFIG)
    size = checkpoint.weights.stat().st_size

    assert release_weights(checkpoint) == size

    released = open_checkpoint(checkpoint.folder)
    assert not (checkpoint.folder / "model.safetensors").exists()
    assert released.manifest["dev_score"] == checkpoint.manifest["dev_score"]
    with pytest.raises(ValueError, match="weights were released"):
        export_model(released, tiny_source, tmp_path / "exported")
    with pytest.raises(ValueError, match="weights were released"):
        load_model(released, tiny_source)
    assert not (tmp_path / "exported").exists()
