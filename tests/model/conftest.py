"""The tiny encoder and data as the model package sees them."""

from dataclasses import replace

import pytest

from model.config import HeadConfig, TrialConfig
from model.data import load_corpus
from model.encoder import Encoder
from model.tasks import TASKS
from model.training import prepare
from model.weights import find_encoder, load_encoder, load_tokenizer

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
