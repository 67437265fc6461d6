"""What all tests share: one thread, no network, a tiny encoder and tiny data that are made on the spot."""

import os

# Before torch and its kin are imported: the machine is shared, and bit equality needs a fixed thread count.
os.environ |= {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
}

import pytest
from hypothesis import settings

from tests.environment import hear_signals

hear_signals()
settings.register_profile("house", deadline=None)  # a slow machine is not a failure
settings.load_profile("house")


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory):
    """Return a folder with a random BERT of 3 layers, hidden 32, 4 heads, and its WordPiece tokenizer."""
    from tests.tiny import write_encoder

    return write_encoder(tmp_path_factory.mktemp("tiny-encoder"))


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory):
    """Return a folder with the course's nine files, 48/24/24 rows each, from which a model can learn."""
    from tests.tiny import write_data

    return write_data(tmp_path_factory.mktemp("tiny-data"))
