"""Points of a space that are built before a sweep starts: its corners, where a range is wrong, and random ones."""

import re
import sys
import warnings
from collections import deque
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study
from optuna.trial import FrozenTrial
from pydantic import ValidationError

from model.config import TrialConfig, explain
from orchestrator.errors import SweepError
from orchestrator.limits import TimeLimitError, time_limit
from orchestrator.spec import Space, line_in

RANDOM_POINTS = 64
CORNERS = 512
"""At most; of a larger space those in which fewest parameters differ from their first value."""
PROBE_S = 30.0
"""Seconds that all of them may take."""
ENOUGH = 16
"""Points that have to be built in that time; of a slow space no more are asked for."""
SHOWN = 5
"""Problems of a space that are told."""

optuna.logging.set_verbosity(optuna.logging.WARNING)


@dataclass(frozen=True)
class Point:
    """What a space makes of some values."""

    params: dict[str, Any]
    config: TrialConfig


def probe(space: Space, path: Path) -> list[Point]:
    """Return random points of the space and its corners. Raises SweepError where it fails, or yields something else."""
    at_corners: list[Point] = []
    at_random: list[Point] = []
    problems: dict[str, str] = {}
    built = 0
    try:
        with time_limit(PROBE_S), redirect_stdout(sys.stderr):
            corners = _CornerSampler()
            study = optuna.create_study(sampler=corners)
            for _ in range(CORNERS):
                _add(space, study, path, at_corners, problems)
                built += 1
                if not corners.next():
                    break
            study = optuna.create_study(sampler=RandomSampler(seed=0))
            for _ in range(RANDOM_POINTS):
                _add(space, study, path, at_random, problems)
                built += 1
    except TimeLimitError as error:
        if built < ENOUGH:
            at = _where(space, path)
            said = f"{at}: the space took {PROBE_S:.0f} s for {built} points; expected a function that builds a config"
            raise SweepError(said) from error
    if problems:
        more = [f"{_where(space, path)}: and {len(problems) - SHOWN} problems more"] if len(problems) > SHOWN else []
        raise SweepError("\n".join([*list(problems.values())[:SHOWN], *more]))
    found = at_random + at_corners
    if all(point.config == found[0].config for point in found):
        raise SweepError(f"{_where(space, path)}: nothing varies in the space; expected trial.suggest_...")
    return found


def _add(space: Space, study: Study, path: Path, found: list[Point], problems: dict[str, str]) -> None:
    """Build the study's next point; what is wrong with it is told once, with the first point that has it."""
    trial = study.ask()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Optuna, of a range that its step does not divide
            config = space(trial)
    except ValidationError as error:
        what, place = "; ".join(explain(error)), line_in(path, error)
    except (Exception, SystemExit) as error:  # noqa: BLE001  (the person's own code)
        what, place = f"{type(error).__name__}: {error}".replace("\n", " "), line_in(path, error)
    else:
        yielded: object = config  # whatever the annotation says
        if isinstance(yielded, TrialConfig):
            found.append(Point(dict(trial.params), yielded))
            return
        what, place = f"the space returns a {type(config).__name__}; expected a TrialConfig", None
    at = f"{path}:{place}" if place else _where(space, path)
    alike = re.sub(r"[-+.\d]+", "#", what)
    problems.setdefault(alike, f"{at}: the space fails at {trial.params}: {what}")


class _CornerSampler(BaseSampler):
    """Gives every parameter its ends in turn, also those that only some values of others bring up."""

    def __init__(self) -> None:
        self._todo: deque[dict[str, Any]] = deque([{}])
        self._asked: dict[str, list[Any]] = {}

    def next(self) -> bool:
        """Take down what the last point leaves to be tried; return whether there is another."""
        decided = self._todo.popleft()
        values = {name: decided.get(name, ends[0]) for name, ends in self._asked.items()}
        before: dict[str, Any] = {}
        for name, ends in self._asked.items():
            if name not in decided:
                self._todo.extend({**before, name: other} for other in ends[1:])
            before[name] = values[name]
        self._asked = {}
        return bool(self._todo)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Return the value that is decided for this point, the first end of one that was not met before."""
        del study, trial
        ends = self._asked.setdefault(param_name, _ends(param_distribution))
        return self._todo[0].get(param_name, ends[0])

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return none: every parameter is given on its own."""
        del study, trial
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: Mapping[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return none."""
        del study, trial, search_space
        return {}


def _ends(distribution: BaseDistribution) -> list[Any]:
    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    return list(dict.fromkeys([distribution.low, distribution.high]))


def _where(space: Space, path: Path) -> str:
    """Return the file, and the line of the function where it stands there."""
    code = getattr(space, "__code__", None)
    return f"{path}:{code.co_firstlineno}" if code is not None and code.co_filename == str(path) else str(path)
