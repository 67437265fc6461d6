"""The environment, put back after commands that ran in a test's own process."""

import os
from contextlib import contextmanager


@contextmanager
def own_environment():
    """Undo what a command in this process sets in the environment for the processes that it starts."""
    before = dict(os.environ)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
