"""The heap: what a step frees goes back to the system."""

import platform
import subprocess
import sys

import pytest

PROGRAM = """
from pathlib import Path
import torch
from model.heap import bound_heap

def resident():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024

if BOUND: assert bound_heap()
torch.empty(30 * 2**20, dtype=torch.uint8)  # by itself, glibc takes tensors up to this size from the heap from now on
before = resident()
large = [(torch.ones(8 * 2**20, dtype=torch.uint8), torch.ones(2**16, dtype=torch.uint8)) for _ in range(20)]
between = [small for _, small in large]
assert resident() - before > 150
del large
print(resident() - before)
"""


def kept_mb(program, *, bound):
    """Return the MB that stay with a process after it freed 160 between small pieces that live on."""
    done = subprocess.run(
        [sys.executable, "-c", program.replace("BOUND", str(bound))], check=True, capture_output=True, text=True
    )
    return float(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's heap is bounded")
def test_freed_tensors_go_back_to_the_system():
    """However small tensors lie between them; without the bound they stay."""
    assert kept_mb(PROGRAM, bound=True) < 20
    assert kept_mb(PROGRAM, bound=False) > 100


THREADS = """
import threading
from pathlib import Path
import numpy as np
from model.heap import bound_driver_heap

def resident():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024

if BOUND: assert bound_driver_heap()
np.ones(3 * 2**20).sum()  # by itself, glibc takes arrays up to this size from the heap from now on
before, left, turn = resident(), [], threading.Barrier(8)

def work():
    turn.wait()
    large = [(np.ones(2**17), np.ones(2**9)) for _ in range(20)]
    turn.wait()
    left.append([small for _, small in large])

threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert len(left) == 8
print(resident() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's heap is bounded")
def test_what_threads_freed_goes_back_to_the_system():
    """Eight threads that needed 160 MB for a moment leave little behind in a driver."""
    assert kept_mb(THREADS, bound=True) < 20
    assert kept_mb(THREADS, bound=False) > 60
