"""The study: the one record of which trials exist and how each ended. Optuna's study is asked through here alone.

Lives in a database and is written by one driver at a time. Every method may be called again after a crash,
with the same effect as once.
"""

import logging
import warnings
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.samplers import BaseSampler, RandomSampler
from optuna.storages import RDBStorage, get_storage
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from model.config import TrialConfig, config_from_dict, config_to_dict, flatten, with_settings
from model.failpoints import reach
from orchestrator.bounded_tpe import BoundedTPESampler
from orchestrator.errors import SweepError
from orchestrator.halving import Halving
from orchestrator.lease import FencedError, Holder, Lease
from orchestrator.paths import SweepPaths, sqlite_file
from orchestrator.plan import Plan
from orchestrator.redaction import redacted
from orchestrator.sole_writer import SoleWriterStorage
from orchestrator.spec import Space, on_seed
from orchestrator.study_file import choose_journal, prepare

Ended = Literal["completed", "pruned", "failed"]
_STATES: dict[TrialState, Ended] = {
    TrialState.COMPLETE: "completed",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}
LEASE_S = 30.0
"""Seconds after which the lease of a driver that says nothing, on another machine, may be taken."""

optuna.logging.set_verbosity(optuna.logging.WARNING)
logging.getLogger("alembic").setLevel(logging.WARNING)
warnings.simplefilter("ignore", ExperimentalWarning)


class SpaceError(ValueError):
    """A space's own code fails at a point."""


@dataclass(frozen=True)
class Proposal:
    """A trial to run: its number and its complete config."""

    number: int
    config: TrialConfig


class TrialStudy:
    """The study of one sweep, over Optuna's ask and tell."""

    def __init__(
        self,
        uri: str,
        plan: Plan,
        space: Space | None,
        extend: Callable[[], Plan | None] = lambda: None,
        name: str | None = None,
    ) -> None:
        """Open the study of this plan, or create it; its name in the database is `name`, or the plan's own.

        `extend` is asked when all trials of the plan have ended: for a plan with more of them, or that it is done.
        Raises SweepError where the database cannot be used.
        """
        self._name = name or plan.name
        self._plan = plan
        self._space = space
        self._extend = extend
        self._handed_out: set[int] = set()
        self._file = file = sqlite_file(uri)
        if file is not None:
            prepare(file)
        # Of an exact list, once: a proposal asks for every field that varies over all configs.
        self._listed = dict(enumerate(map(flatten, plan.configs)))
        self._choices = {
            path: list(dict.fromkeys(_choice(values.get(path)) for values in self._listed.values()))
            for path in (plan.varies if plan.configs else ())
        }
        self._halving = Halving(**plan.early_stopping) if plan.early_stopping else None
        reach("study: open")
        try:
            self._storage = RDBStorage(uri, engine_kwargs={"connect_args": {"timeout": 60}} if file else None)
        except ModuleNotFoundError as error:
            raise SweepError(f"{redacted(uri)}: {error}; install the database's driver") from error
        except RuntimeError as error:  # of another version's tables
            said = " ".join(str(error).split())
            raise SweepError(f"{file or redacted(uri)}: {said}; --new starts the sweep afresh") from error
        self._known = SoleWriterStorage(get_storage(self._storage))
        self._study = optuna.create_study(
            study_name=self._name,
            storage=self._known,
            sampler=RandomSampler(),
            direction="maximize",
            load_if_exists=True,
        )
        reach("study: opened")

    def take_lease(self, advice: str) -> Lease:
        """Take the lease on the sweep's name, for a process that has this machine's lock of it.

        From now on nothing is written to the study unless the lease is ours at that moment. Raises
        RunningElsewhereError, which ends with the `advice`.
        """
        engine = self._storage.engine
        holder = Holder.here()
        lease = Lease.take(engine, self._name, holder, ttl_s=LEASE_S, same_host_is_dead=True, advice=advice)
        if self._file is not None:
            engine.dispose()  # our own connections would hold the journal
            choose_journal(self._file)
        lease.guard(engine)
        self._known.begin()
        return lease

    def next_proposal(self) -> Proposal | None:
        """Return the next trial to run, or None where the total is reached.

        First the trials that an earlier driver left running, at the same number and params; then new ones.
        """
        while (trial := self._next_trial()) is not None:
            try:
                return self._hand_out(trial)
            except SpaceError as error:
                # It would fail there for every driver to come: such a point is a failed trial.
                trial.set_user_attr("error", redacted(str(error)))
                trial.set_user_attr("config", self._plan.baseline)
                self.end(trial.number, "failed", failure="space")
        return None

    def _next_trial(self) -> optuna.Trial | None:
        trials = self._study.get_trials(deepcopy=False)
        for trial in trials:
            if trial.state == TrialState.RUNNING and trial.number not in self._handed_out:
                self._study.sampler = self._sampler(trial.number)
                return optuna.Trial(self._study, trial._trial_id)  # noqa: SLF001
        if not self._has_room(trials):
            return None
        self._study.sampler = self._sampler(len(trials))
        reach("study: ask", trial=len(trials))
        asked = self._study.ask()
        reach("study: asked", trial=asked.number)
        return asked

    def hand_out_again(self, number: int) -> None:
        """Take back a trial that was handed out and did not end: `next_proposal` gives it again."""
        self._handed_out.discard(number)

    def report(self, number: int, epoch: int, dev_score: float) -> None:
        """Record an epoch's dev score; recording it again is harmless."""
        trial = self._trial(number)
        if trial.state == TrialState.RUNNING and epoch not in trial.intermediate_values:
            reach("study: report", trial=number, epoch=epoch)
            optuna.Trial(self._study, trial._trial_id).report(dev_score, epoch)  # noqa: SLF001
            reach("study: reported", trial=number, epoch=epoch)

    def goes_on(self, number: int, epoch: int) -> bool:
        """Return whether a trial that was reported up to this epoch goes on.

        Decided once, by the scores that the study has then, and kept: a new driver finds the same answer.
        """
        trial = self._trial(number)
        if self._halving is None or not self._halving.is_rung(epoch, trial.user_attrs["config"]["epochs"]):
            return True
        name = f"goes on after epoch {epoch}"
        if name not in trial.user_attrs:
            tasks = set(trial.user_attrs["config"]["tasks"])  # scores of other tasks are no measure
            scores = {
                other.number: max(value for step, value in other.intermediate_values.items() if step <= epoch)
                for other in self._study.get_trials(deepcopy=False)
                if epoch in other.intermediate_values and set(other.user_attrs["config"]["tasks"]) == tasks
            }
            others = [score for other, score in scores.items() if other != number]
            decided = self._halving.goes_on(scores[number], others)
            reach("study: decide", trial=number, epoch=epoch)
            self._set_attr(trial, name, decided)
            reach("study: decided", trial=number, epoch=epoch, goes_on=decided)
            return decided
        return bool(trial.user_attrs[name])

    def stopped(self, number: int, epoch: int) -> bool:
        """Return whether it was decided that a trial does not go on after this epoch."""
        return self._trial(number).user_attrs.get(f"goes on after epoch {epoch}") is False

    def end(self, number: int, ended: Ended, *, best: float | None = None, failure: str | None = None) -> None:
        """Record how a trial ended: its best dev score, or the class of its failure. The first record stands."""
        trial = self._trial(number)
        if trial.state.is_finished():
            return
        if failure is not None:
            self._set_attr(trial, "failure", failure)
        reach("study: tell", trial=number, state=ended)
        state = next(state for state, name in _STATES.items() if name == ended)
        # Not study.tell: of a pruned trial it would keep the last value, where the best counts.
        self._known.set_trial_state_values(trial._trial_id, state, None if best is None else [best])  # noqa: SLF001
        reach("study: told", trial=number, state=ended)

    def ended(self) -> dict[int, Ended]:
        """Return how each trial that has ended did."""
        return {
            trial.number: _STATES[trial.state]
            for trial in self._study.get_trials(deepcopy=False)
            if trial.state.is_finished()
        }

    def epochs(self) -> dict[int, int]:
        """Return how many epochs were reported of each trial."""
        return {trial.number: len(trial.intermediate_values) for trial in self._study.get_trials(deepcopy=False)}

    def running(self) -> list[int]:
        """Return the numbers of the trials that exist and have not ended."""
        return [t.number for t in self._study.get_trials(deepcopy=False) if not t.state.is_finished()]

    def is_open(self) -> bool:
        """Return whether trials of the plan are still to be run to their end. Changes nothing."""
        trials = self._study.get_trials(deepcopy=False)
        return len(trials) < self._plan.trials or any(not trial.state.is_finished() for trial in trials)

    def has_more(self) -> bool:
        """Return whether there is a trial to run, and extend the plan where all that it has have ended."""
        trials = self._study.get_trials(deepcopy=False)
        return any(not trial.state.is_finished() for trial in trials) or self._has_room(trials)

    def _has_room(self, trials: Sequence[FrozenTrial]) -> bool:
        """Return whether the plan has a trial that does not exist yet; extend it where all that do have ended."""
        if len(trials) >= self._plan.trials and all(trial.state.is_finished() for trial in trials):
            self._plan = self._extend() or self._plan
        return len(trials) < self._plan.trials

    def failures(self, but: Container[int] = ()) -> dict[int, tuple[str, str]]:
        """Return class and text of the failures that the study alone knows of: points where the space fails."""
        return {
            trial.number: (trial.user_attrs["failure"], trial.user_attrs["error"])
            for trial in self._study.get_trials(deepcopy=False)
            if trial.number not in but and {"failure", "error"} <= trial.user_attrs.keys()
        }

    def configs(self, but: Container[int] = ()) -> dict[int, TrialConfig]:
        """Return the config of every trial that exists, `but` these."""
        return {
            trial.number: config_from_dict(trial.user_attrs["config"])
            for trial in self._study.get_trials(deepcopy=False)
            if trial.number not in but and "config" in trial.user_attrs
        }

    def _hand_out(self, trial: optuna.Trial) -> Proposal:
        self._handed_out.add(trial.number)
        config = self._config(trial)
        reach("study: configured", trial=trial.number)
        trial.set_user_attr("config", config_to_dict(config))
        reach("study: handed out", trial=trial.number)
        return Proposal(trial.number, config)

    def _config(self, trial: optuna.Trial) -> TrialConfig:
        """Return a trial's config: a function of its number for a list, of its recorded params for a space."""
        if self._plan.configs:
            for path, choices in self._choices.items():
                trial.suggest_categorical(path, choices)
            return config_from_dict(self._plan.configs[trial.number])
        point, repeat = divmod(trial.number, self._plan.seeds)
        if point == 0:
            return on_seed(config_from_dict(self._plan.baseline), repeat)
        assert self._space is not None
        try:
            return on_seed(with_settings(self._space(trial), self._plan.settings), repeat)
        except (StorageInternalError, FencedError):
            raise
        except (Exception, SystemExit) as error:
            raise SpaceError(f"{type(error).__name__}: {error}") from error

    def _sampler(self, number: int) -> BaseSampler:
        """Return the sampler for one trial: seeded by its number, so that a new driver does not repeat points."""
        if self._plan.configs:
            return ListSampler(self._listed)
        point, repeat = divmod(number, self._plan.seeds)
        if repeat:
            return ListSampler({number: self._trial(number - repeat).params})
        seed = int(np.random.SeedSequence([self._plan.seed, point]).generate_state(1)[0])
        return RandomSampler(seed) if self._plan.sampler == "random" else BoundedTPESampler(seed=seed)

    def _set_attr(self, trial: FrozenTrial, name: str, value: Any) -> None:
        self._known.set_trial_user_attr(trial._trial_id, name, value)  # noqa: SLF001

    def _trial(self, number: int) -> FrozenTrial:
        return self._study.get_trials(deepcopy=False)[number]


class ListSampler(BaseSampler):
    """Proposes what is known already for a trial's number, so that the study knows its params."""

    def __init__(self, configs: Mapping[int, Mapping[str, Any]]) -> None:
        self._configs = configs

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return nothing: every parameter follows from the trial's number alone."""
        del study, trial
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return nothing."""
        del study, trial, search_space
        return {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Return the value of the trial's config."""
        del study, param_distribution
        return _choice(self._configs[trial.number].get(param_name))


def _choice(value: Any) -> Any:
    """Return a value as Optuna stores categories: lists as text."""
    return str(value) if isinstance(value, list | Mapping) else value


def study_of(
    paths: SweepPaths, plan: Plan, space: Space | None, extend: Callable[[], Plan | None] = lambda: None
) -> TrialStudy:
    """Return the study of a sweep, or of its confirmation: in a database that others share, under a name of its own."""
    alone = sqlite_file(paths.study_uri) is not None
    name = None if alone else f"{plan.name} {plan.sweep_id} {paths.stage}"
    return TrialStudy(paths.study_uri, plan, space, extend, name)
