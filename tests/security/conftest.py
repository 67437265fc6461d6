"""What the security tests share: a finished sweep, and the environment put back after commands in this process."""

import os

import pytest

from tests.environment import own_environment
from tests.faults.lab import Lab


@pytest.fixture(autouse=True)
def _own_environment():
    """Do so after every test."""
    with own_environment():
        yield


@pytest.fixture(scope="session")
def finished(tmp_path_factory, tiny_data, tiny_encoder):
    """Return a lab whose sweep ran to its end under the usual umask, in which others may read."""
    lab = Lab(tmp_path_factory.mktemp("finished"), tiny_data, tiny_encoder, trials=2, epochs=2)
    before = os.umask(0o022)
    try:
        lab.run()
    finally:
        os.umask(before)
        lab.kill_all()
    return lab
