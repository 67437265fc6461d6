"""The C library's heap under training on a CPU, whose tensors have another size at every step."""

import ctypes

MMAP_THRESHOLD_BYTES = 4 * 2**20
GLIBC_HIGHEST_BYTES = 32 * 2**20
"""Where glibc's own threshold ends up."""
_M_MMAP_THRESHOLD = -3  # malloc.h


def bound_heap(threshold: int = MMAP_THRESHOLD_BYTES) -> bool:
    """Let large tensors have pages of their own, which go back when they are freed; return whether that is possible.

    glibc raises its threshold for that to 32 MiB by itself. Tensors between then come and go on the heap, which falls
    into pieces that fit none of the next step's: a worker that trains the top 2 layers of bert-base needs 40 % more
    memory after a hundred steps. A fixed threshold costs 7 % of a step, for pages that come zeroed
    (docs/failed-ideas.md has what else was tried). Without glibc nothing is done.
    """
    try:
        return bool(ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, threshold))
    except (AttributeError, OSError):
        return False
