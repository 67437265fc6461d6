"""The sweep's command line, parsed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class Manner:
    """How one run of the driver goes about it: nothing that results follow from."""

    address: str | None = None
    """A Ray head; None: a Ray of this process alone."""
    concurrent: int | None = None
    """At most so many trials at once; None: as many as there is room for."""
    wait_for_nodes: float = 600.0
    """Seconds that a cluster is given until a node is up that holds a trial."""
    prefix_cache_gb: float = 50.0
    hang_after: float = 600.0
    local: bool = False
    """The first trial alone, in this process."""
    as_json: bool = False
    quiet: bool = False

    @property
    def cache_bytes(self) -> int:
        """Return the limit of the frozen layers' cache."""
        return int(self.prefix_cache_gb * 1e9)


@dataclass(frozen=True, kw_only=True)
class Request(Manner):
    """What a person asks for; every field but the last two is an option of `python -m orchestrator.sweep`."""

    file: Path
    name: str
    profile: Literal["auto", "laptop", "study"] = "auto"
    data: str | None = None
    encoder: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    trials: int | None = None
    max_dev_examples: int | None = None
    seed: int = 0
    new: bool = False
    study_uri: str | None = None
    """A database for the study; None: the one that the sweep has, OUT/NAME/study.db at first."""
    out: Path
    tracking_uri: str | None = None
    gpus_per_trial: float | None = None
    cpus_per_trial: float | None = None
    keep_checkpoints: int = 10
    strict_data: bool = False
    dry_run: bool = False
    out_is_known: bool = True
    """Whether `out` is what was asked for; what was asked for may be impossible."""
    problems: tuple[str, ...] = ()
    """What is wrong with the options as they are written: the first check tells it."""
