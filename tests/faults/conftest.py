"""What the fault tests share: a lab that nothing disturbed, one to be disturbed, and what a trial stores."""

import pytest

from tests.faults.lab import Lab
from tests.faults.stored import stored_by_a_trial


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory, tiny_data, tiny_encoder):
    """Return a lab whose sweep ran to its end in peace."""
    lab = Lab(tmp_path_factory.mktemp("undisturbed"), tiny_data, tiny_encoder)
    lab.run()
    return lab


@pytest.fixture
def lab(tmp_path, tiny_data, tiny_encoder):
    """Return a lab whose sweep was not started yet; what a failed test left running is ended."""
    lab = Lab(tmp_path, tiny_data, tiny_encoder)
    yield lab
    lab.kill_all()


@pytest.fixture(scope="session")
def stored(tmp_path_factory, tiny_data, tiny_encoder):
    """Return, by name, what a trial of two epochs stores."""
    return stored_by_a_trial(tmp_path_factory.mktemp("stored"), tiny_data, tiny_encoder)
