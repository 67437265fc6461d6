"""The C library's heap: under training on a CPU, whose tensors have another size at every step, and under a driver."""

import ctypes
from collections.abc import Mapping

MMAP_THRESHOLD_BYTES = 4 * 2**20
TRIM_THRESHOLD_BYTES = 64 * 2**20
"""Left at the top of the heap when memory is freed: what glibc itself ends up with."""
DRIVER_MMAP_BYTES, DRIVER_TRIM_BYTES, DRIVER_ARENAS = 256 * 2**10, 16 * 2**20, 2
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # malloc.h


def bound_heap(mmap_threshold: int = MMAP_THRESHOLD_BYTES) -> bool:
    """Let large tensors have pages of their own, which go back when they are freed; return whether that is possible.

    glibc raises its threshold for that to 32 MiB by itself. Tensors between then come and go on the heap, which falls
    into pieces that fit none of the next step's, and a worker grows as it trains. A fixed threshold costs some percent
    of a step, for pages that come zeroed; docs/failed-ideas.md has the figures. Without glibc nothing is done.
    """
    return _tell({_M_MMAP_THRESHOLD: mmap_threshold, _M_TRIM_THRESHOLD: TRIM_THRESHOLD_BYTES})


def bound_driver_heap() -> bool:
    """Let a process of many threads, up for days, give back what it needed for a moment; return whether it can.

    Each thread has an arena of its own by default, and what verdicts on many configs need in one stays there. For a
    process whose threads are yet to start, Ray's above all. Over 900 trials a driver grew by 190 MB without this.
    """
    return _tell({
        _M_ARENA_MAX: DRIVER_ARENAS, _M_MMAP_THRESHOLD: DRIVER_MMAP_BYTES, _M_TRIM_THRESHOLD: DRIVER_TRIM_BYTES
    })  # fmt: skip


def _tell(settings: Mapping[int, int]) -> bool:
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    took = [mallopt(name, value) for name, value in settings.items()]  # all, whatever the first one says
    return all(took)
