"""What the fault tests share: a lab that nothing disturbed, and one to be disturbed."""

import pytest

from tests.faults.lab import Lab


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
