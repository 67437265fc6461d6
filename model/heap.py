"""The C library's heap under training on a CPU, whose tensors have another size at every step."""

import ctypes

MMAP_THRESHOLD_BYTES = 4 * 2**20
TRIM_THRESHOLD_BYTES = 64 * 2**20
"""Left at the top of the heap when memory is freed: what glibc itself ends up with."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h


def bound_heap(mmap_threshold: int = MMAP_THRESHOLD_BYTES) -> bool:
    """Let large tensors have pages of their own, which go back when they are freed; return whether that is possible.

    glibc raises its threshold for that to 32 MiB by itself. Tensors between then come and go on the heap, which falls
    into pieces that fit none of the next step's, and a worker grows as it trains. A fixed threshold costs some percent
    of a step, for pages that come zeroed; docs/failed-ideas.md has the figures. Without glibc nothing is done.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, mmap_threshold) and mallopt(_M_TRIM_THRESHOLD, TRIM_THRESHOLD_BYTES))
