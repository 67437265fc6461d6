"""A sweep that no driver works on, opened by a command that changes what is stored of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from orchestrator.hold import hold
from orchestrator.lease import leased
from orchestrator.named import require_sweep
from orchestrator.paths import SweepPaths
from orchestrator.plan import Plan, read_plan
from orchestrator.store import require_same_store
from orchestrator.study import TrialStudy, study_of


@dataclass(frozen=True)
class IdleSweep:
    """A sweep's records, which this process alone may change."""

    paths: SweepPaths
    plan: Plan
    study: TrialStudy


@contextmanager
def idle_sweep(name: str, out: Path, tracking_uri: str | None, advice: str) -> Iterator[IdleSweep]:
    """Open a sweep as its driver would. Raises SweepError where there is none, or a driver, with the `advice`."""
    paths = SweepPaths(out, name)
    require_sweep(name, out)
    with hold(paths, advice):
        require_same_store(paths, tracking_uri)
        plan = read_plan(paths.plan)
        study = study_of(paths, plan, None)
        with leased(study, advice):
            yield IdleSweep(paths, plan, study)
