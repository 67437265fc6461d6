"""What processes that tests start inherit: the environment, and which signals they hear."""

import os
import signal
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


def hear_signals():
    """Let this process, and so those that it starts, hear what a shell's background job and nohup make it ignore."""
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, usual)
