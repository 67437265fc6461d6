"""The tiny encoder and data as the model package sees them."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from model.config import HeadConfig, TrialConfig
from model.data import load_corpus
from model.encoder import Encoder
from model.encoder_config import EncoderConfig
from model.encoder_files import find_encoder, load_tokenizer
from model.tasks import TASKS
from model.tokens import PackedTokens
from model.training import prepare
from model.weights import load_encoder
from tests.model.course_files import refusal_of, split_of

TINY_CONFIG = TrialConfig(
    heads=HeadConfig(common_layers=1, task_layers=1, dropout=0.1),
    max_tokens=32,
    epochs=3,
    batch_size=16,
    learning_rate=1e-3,
)
COURSE_TASKS = ("sentiment", "paraphrase", "similarity")


@pytest.fixture
def tiny_config():
    """Return a config that trains the tiny encoder on the tiny data within a second."""
    return TINY_CONFIG


@pytest.fixture(scope="session")
def course_tasks():
    """Return the study's three tasks."""
    return [TASKS[name] for name in COURSE_TASKS]


@pytest.fixture(scope="session")
def tiny_source(tiny_encoder):
    """Return the checked source of the tiny encoder."""
    return find_encoder(str(tiny_encoder))


@pytest.fixture(scope="session")
def tiny_tokenizer(tiny_encoder, tiny_source):
    """Return the tiny encoder's tokenizer."""
    return load_tokenizer(tiny_encoder / "tokenizer.json", vocab_size=tiny_source.config.vocab_size)


@pytest.fixture(scope="session")
def tiny_corpus(tiny_data, course_tasks):
    """Return the tiny data, all splits."""
    return load_corpus(str(tiny_data), course_tasks, ("train", "dev", "test"))


@pytest.fixture(scope="session")
def tiny_task_data(tiny_corpus, tiny_tokenizer, tiny_source):
    """Return a function from a config to its tasks' examples."""

    def prepared(config):
        return prepare(tiny_corpus, config, tiny_tokenizer, tokenizer_sha256=tiny_source.tokenizer_sha256, cache=None)

    return prepared


@pytest.fixture(scope="session")
def fresh_encoder(tiny_source):
    """Return a function that gives the tiny encoder anew, with other dropout where it is asked for."""

    def fresh(dropout=0.1):
        shape = replace(tiny_source.config, hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout)
        encoder = Encoder(shape)
        encoder.load_state_dict(load_encoder(tiny_source).state_dict())
        return encoder

    return fresh


@pytest.fixture(scope="session")
def random_encoder():
    """Return a function that gives an encoder of a shape with random weights, biases and LayerNorms included."""

    def drawn(seed=0, deviation=0.02, **shape):
        encoder = Encoder(EncoderConfig(model_type="bert", **shape))
        encoder.initialise(seed, deviation)
        draw = torch.Generator().manual_seed(seed + 1)
        with torch.no_grad():
            for name, parameter in encoder.named_parameters():
                if name.endswith("bias") or "LayerNorm" in name:
                    parameter.add_(torch.randn(parameter.shape, generator=draw), alpha=deviation)
        return encoder

    return drawn


@pytest.fixture(scope="session")
def random_tokens():
    """Return a function that gives sequences of these lengths, with random ids from 1 on and random types."""

    def drawn(lengths, vocab_size=50, *, types=2, per_example=1, seed=0):
        draw = np.random.default_rng(seed)
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        ids = draw.integers(1, vocab_size, offsets[-1], dtype=np.int32)
        return PackedTokens(ids, draw.integers(0, types, offsets[-1], dtype=np.int8), offsets, per_example)

    return drawn


@pytest.fixture(scope="session")
def unpacked():
    """Return a function that gives the rows of each sequence of a batch, in the batch's order."""

    def in_order(rows, packing):
        parts = rows.split(packing.lengths.tolist())
        return [parts[place] for place in packing.restore_B.tolist()]

    return in_order


@pytest.fixture(scope="session")
def padded():
    """Return a function that gives sequences as transformers takes them: padded with zeros, and a mask of the rest."""

    def beside_each_other(tokens, sequences):
        lengths, rows = tokens.lengths[sequences], tokens.rows(np.asarray(sequences))
        real = torch.arange(int(lengths.max())) < torch.from_numpy(lengths)[:, None]
        found = {"attention_mask": real.long()}
        for name, values in (("input_ids", tokens.ids), ("token_type_ids", tokens.types)):
            found[name] = torch.zeros(real.shape, dtype=torch.int64)
            found[name][real] = torch.from_numpy(values[rows].astype(np.int64))
        return found

    return beside_each_other


@pytest.fixture
def read(tmp_path):
    """Return a function that writes a text or bytes as a file and reads it as a split."""
    return partial(split_of, tmp_path)


@pytest.fixture
def refusal(tmp_path):
    """Return a function that gives the line with which a file is refused, after `data.csv`."""
    return partial(refusal_of, tmp_path)
