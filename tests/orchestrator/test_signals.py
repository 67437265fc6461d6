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


LIBRARY = """
import ctypes, os, signal, sys, threading, time
from orchestrator.signals import Signals
with Signals(stop_s=1.0) as signals:
    if "handles" in sys.argv:
        signal.signal(signal.SIGTERM, lambda *_: None)
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
    if "twice" in sys.argv:
        threading.Timer(0.4, os.kill, (os.getpid(), signal.SIGTERM)).start()
    threading.Timer(0.6, lambda: print("asked", signals.asked, flush=True)).start()
    if "locked" in sys.argv:
        lock, libc = ctypes.create_string_buffer(64), ctypes.CDLL(None)
        libc.pthread_mutex_lock(lock)
        libc.pthread_mutex_lock(lock)  # returns for no signal: no handler of Python's runs
    while True:
        time.sleep(1)
"""


@pytest.mark.parametrize("library", ["handles", "locked"])
def test_a_signal_that_a_library_swallows_is_heard_and_ends_the_process_in_time(library):
    """ray.init has a handler of its own, and C code that waits lets none run."""
    command = [sys.executable, "-c", LIBRARY, library]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)

    assert (done.returncode, done.stdout) == (INTERRUPTED, "asked True\n")
    assert done.stderr == "the sweep has not stopped in 1 s, and is ended as it stands\n"


@pytest.mark.parametrize("library", ["handles", "locked"])
def test_a_second_signal_ends_the_process_whatever_a_library_does_with_it(library):
    """At once, before the first one's time is over."""
    command = [sys.executable, "-c", LIBRARY, library, "twice"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)

    assert (done.returncode, done.stdout, done.stderr) == (INTERRUPTED, "", "")


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
