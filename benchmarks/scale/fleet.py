"""The machines of a simulated sweep; no Ray is needed to speak of them."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """The machines, and what they take for what."""

    gpus: int = 1000
    arrive_s: float = 120.0
    """They come up evenly within this time."""
    life_s: float = 4 * 3600.0
    """Mean time until the cloud takes one: an exponential distribution."""
    noticed: float = 0.5
    """Share of the losses that are announced."""
    warning_s: float = 120.0
    """By so much."""
    replaced_s: float = 180.0
    """Until a new machine is up in place of one that was taken."""
    detected_s: float = 10.0
    """Until Ray tells that a machine is gone."""
    start_s: float = 15.0
    """A worker's process: Python, torch, the GPU, data and encoder."""
    reset_s: float = 0.5
    """The same process on to its next trial."""
    stop_s: float = 0.5
    message_s: float = 0.005
    """One way between driver and worker."""
    seed: int = 0
