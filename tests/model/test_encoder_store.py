"""The store of encoders: a checkpoint's frozen part outlives the folder it came from, and is never another's."""

import shutil

import pytest

from model.encoder_files import EncoderError, find_encoder
from model.encoder_store import encoder_of, keep_encoder
from model.weights import load_encoder


@pytest.fixture
def given(tiny_encoder, tmp_path):
    """Return a copy of the tiny encoder that a test may remove."""
    return find_encoder(str(shutil.copytree(tiny_encoder, tmp_path / "given")))


def test_a_kept_encoder_is_found_where_it_was_given(given, tmp_path):
    """While the folder is there and unchanged, it is what is used."""
    keep_encoder(given, tmp_path / "store")

    assert encoder_of(given.identity(), str(given.folder), tmp_path / "store").folder == given.folder


def test_a_kept_encoder_outlives_its_folder(given, tmp_path):
    """With the folder gone, the store gives the same weights, config and tokenizer."""
    weights = load_encoder(given).state_dict()
    keep_encoder(given, tmp_path / "store")
    shutil.rmtree(given.folder)

    found = encoder_of(given.identity(), str(given.folder), tmp_path / "store")

    assert found.identity() == given.identity()
    assert found.config == given.config
    assert all((tensor == weights[name]).all() for name, tensor in load_encoder(found).state_dict().items())


def test_another_encoder_in_the_same_place_is_not_taken(given, tmp_path):
    """Where other weights lie in the folder now, those that were planned come from the store."""
    keep_encoder(given, tmp_path / "store")
    content = bytearray((given.folder / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (given.folder / "model.safetensors").unlink()  # the store may hold a link to it
    (given.folder / "model.safetensors").write_bytes(content)

    found = encoder_of(given.identity(), str(given.folder), tmp_path / "store")

    assert found.folder.is_relative_to(tmp_path / "store")
    assert found.weights_sha256 == given.weights_sha256


def test_keeping_twice_writes_once_and_a_package_is_linked(given, tmp_path):
    """The second call does nothing; MiniLM's package takes no space, a person's folder is copied."""
    minilm = find_encoder("minilm")
    for _ in range(2):
        keep_encoder(given, tmp_path / "store")
        keep_encoder(minilm, tmp_path / "store")

    links = {(tmp_path / "store" / folder.name / "model.safetensors").stat().st_nlink: folder.name
             for folder in (tmp_path / "store").iterdir()}  # fmt: skip
    assert len(list((tmp_path / "store").iterdir())) == 2
    assert links[1].startswith(given.weights_sha256[:12])


def test_what_is_written_into_the_given_folder_does_not_reach_the_store(given, tmp_path):
    """Weights that are overwritten in place, as cp does, are still there as they were; a spoilt store is mended."""
    keep_encoder(given, tmp_path / "store")
    with (given.folder / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x7f")

    found = encoder_of(given.identity(), str(given.folder), tmp_path / "store")
    assert found.weights_sha256 == given.weights_sha256

    with (found.folder / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x7f")
    again = find_encoder(str(given.folder))
    keep_encoder(again, tmp_path / "store")
    assert encoder_of(again.identity(), "no-such/encoder-at-all/here", tmp_path / "store").folder != found.folder


def test_the_same_weights_under_another_config_are_another_encoder(given, tmp_path):
    """The number of heads is no tensor's shape: it belongs to the identity."""
    keep_encoder(given, tmp_path / "store")
    config = given.folder / "config.json"
    config.write_text(config.read_text().replace('"num_attention_heads": 4', '"num_attention_heads": 8'))

    found = encoder_of(given.identity(), str(given.folder), tmp_path / "store")

    assert found.config == given.config
    assert find_encoder(str(given.folder)).identity() != given.identity()


@pytest.mark.parametrize("spoilt", [False, True], ids=["nothing kept", "kept and changed since"])
def test_an_encoder_that_nobody_has_is_one_line(given, tmp_path, spoilt):
    """Neither place has it, or the store's was changed: EncoderError says so."""
    if spoilt:
        keep_encoder(given, tmp_path / "store")
        (folder,) = (tmp_path / "store").iterdir()
        content = bytearray((folder / "model.safetensors").read_bytes())
        content[-1] ^= 1
        (folder / "model.safetensors").unlink()
        (folder / "model.safetensors").write_bytes(content)
    shutil.rmtree(given.folder)

    with pytest.raises(EncoderError, match="sha256" if spoilt else "nor is it kept in") as caught:
        encoder_of(given.identity(), str(given.folder), tmp_path / "store")

    assert "\n" not in str(caught.value)
