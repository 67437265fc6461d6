"""What a signal does to the process that drives a sweep."""

import os
import pty
import subprocess
import sys

import pytest

from orchestrator.errors import INTERRUPTED
from orchestrator.signals import SIGNALS

PROGRAM = """
import os, signal, time
from orchestrator.signals import Signals
with Signals() as signals:
    if GENTLY:
        signals.gently = lambda: None
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)
"""


def run(gently):
    """Run the program in a terminal of its own; return its exit code and what the terminal got."""
    ours, theirs = pty.openpty()
    program = PROGRAM.replace("GENTLY", str(gently))
    process = subprocess.Popen([sys.executable, "-c", program], stdout=theirs, stderr=theirs, stdin=theirs)
    os.close(theirs)
    code = process.wait(30)
    shown = os.read(ours, 65536)
    os.close(ours)
    return code, shown


def test_a_second_signal_ends_the_process_and_gives_the_cursor_back():
    """Whatever a library does meanwhile: the code is 130, and the terminal is as it was."""
    code, shown = run(gently=True)

    assert code == INTERRUPTED
    assert shown.startswith(b"\x1b[?25h")


def test_a_signal_interrupts_where_nothing_stops_gently():
    """Before trials run there is nothing to save: it is a KeyboardInterrupt."""
    code, shown = run(gently=False)

    assert code not in (0, INTERRUPTED)
    assert b"KeyboardInterrupt" in shown


@pytest.mark.parametrize("number", SIGNALS)
def test_before_and_after_a_sweep_a_signal_ends_the_process_without_a_word(number):
    """The code says that it was interrupted; what was to be saved is saved, or there is nothing yet."""
    program = (
        "import time; from orchestrator.signals import exit_at_once; exit_at_once(); print(flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.readline()
    process.send_signal(number)

    assert process.communicate(timeout=30) == (b"", b"")
    assert process.returncode == INTERRUPTED
