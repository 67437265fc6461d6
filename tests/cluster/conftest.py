"""What the tests of a cluster's head share: a disk, and PostgreSQL on it."""

import pytest

from tests.cluster.head import Disk, new_head, require_postgres, require_root


@pytest.fixture
def disk():
    """Return an empty disk."""
    require_root()
    disk = Disk()
    yield disk
    disk.remove()


@pytest.fixture(scope="module")
def head():
    """Return a head that is set up, one for the tests of a file."""
    require_root()
    require_postgres()
    with new_head() as head:
        yield head
