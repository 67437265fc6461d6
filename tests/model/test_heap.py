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


def kept_mb(*, bound):
    """Return the MB that stay with a process after it freed 160 between small tensors that live on."""
    program = PROGRAM.replace("BOUND", str(bound))
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    return float(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's heap is bounded")
def test_freed_tensors_go_back_to_the_system():
    """However small tensors lie between them; without the bound they stay."""
    assert kept_mb(bound=True) < 20
    assert kept_mb(bound=False) > 100
