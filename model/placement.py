"""Where kept states lie while a trial reads them: in a file, in the GPU's memory, pinned for it, or nowhere."""

import os
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from model.files import size_text

Move = Callable[[Tensor], Tensor]


def placement(size: int, device: torch.device) -> tuple[str, Move | None]:
    """Return where states of so many bytes are read from fast, and how to move them there; None: nowhere.

    On a CPU they stay memory-mapped. On a GPU: in its own memory where they take half of what is free, else in pinned
    memory where they take half of what is available, else nowhere: reading a disk at every step is slower than the
    frozen layers.
    """
    if device.type != "cuda":
        return "memory-mapped from the cache", lambda rows: rows
    torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info(device)
    if size <= free // 2:
        return "in the GPU's memory", lambda rows: rows.to(device)
    available = available_bytes()
    if size <= available // 2:
        return "in pinned memory", Tensor.pin_memory
    return (
        f"computed at every step, being more than half of the {size_text(free)} free on the GPU and of the "
        f"{size_text(available)} beside it"
    ), None


def available_bytes() -> int:
    """Return the memory that a process could still take: the kernel's own estimate, within the cgroup's limit."""
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            available = int(line.split()[1]) * 1024
            break
    else:
        available = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii"))
        used = int(Path("/sys/fs/cgroup/memory.current").read_text(encoding="ascii"))
    except (OSError, ValueError):  # no cgroup, or "max"
        return available
    return min(available, limit - used)
