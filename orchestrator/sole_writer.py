"""Optuna's storage for a process that alone writes to a study: its trials are read once, and are known from then on.

Without it each look at the study reads all trials that run from the database: 90 ms where there are a thousand, several
times a report. With it a look costs microseconds, and the database is only written to.
"""

import copy
import json
import threading
from collections.abc import Callable, Container, Sequence
from typing import Any, TypeVar

from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, TrialState

T = TypeVar("T")


class SoleWriterStorage(BaseStorage):
    """A storage over another one, which it asks for everything until `begin`, and from then on only writes to.

    What is known changes after the write beneath has succeeded; after one that failed, of which nobody knows whether it
    took effect, all is read again. Any thread may read; one writes.
    """

    def __init__(self, beneath: BaseStorage) -> None:
        self._beneath = beneath
        self._alone = False
        self._trials: dict[int, list[FrozenTrial]] = {}
        """By study, in the order of their numbers; none is ever changed, copies take their place."""
        self._places: dict[int, tuple[int, int]] = {}
        """By a trial's id: its study and its number."""
        self._distributions: dict[str, BaseDistribution] = {}
        """By parameter, one for all trials: a list of a thousand configs has a thousand choices."""
        self._lock = threading.RLock()

    def begin(self) -> None:
        """Take it from now on that nobody else writes: whoever calls has seen to that."""
        with self._lock:
            self._alone = True
            self._trials.clear()

    # --- trials, read ---

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,  # noqa: FBT001, FBT002  (Optuna's signature)
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        """Return the trials by number."""
        if not self._alone:
            return self._beneath.get_all_trials(study_id, deepcopy=deepcopy, states=states)
        with self._lock:
            trials = list(self._known(study_id))
        if states is not None:
            trials = [trial for trial in trials if trial.state in states]
        return copy.deepcopy(trials) if deepcopy else trials

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """Return a trial of the caller's own: Optuna adds to what it got."""
        with self._lock:
            place = self._places.get(trial_id) if self._alone else None
            if place is None:
                return self._beneath.get_trial(trial_id)
            study_id, number = place
            return _copied(self._known(study_id)[number])

    def _known(self, study_id: int) -> list[FrozenTrial]:
        if study_id not in self._trials:
            trials = self._beneath.get_all_trials(study_id, deepcopy=False)
            for trial in trials:
                self._share(trial)
            self._trials[study_id] = trials
            self._places |= {trial._trial_id: (study_id, trial.number) for trial in trials}  # noqa: SLF001
        return self._trials[study_id]

    # --- trials, written ---

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """Create a trial; return its id."""

        def create() -> int:
            trial_id = self._beneath.create_new_trial(study_id, template_trial)
            self._read_back(study_id, trial_id)
            return trial_id

        return self._write(study_id, create)

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        """Set a parameter."""
        self._set(
            trial_id,
            lambda: self._beneath.set_trial_param(trial_id, param_name, param_value_internal, distribution),
            lambda trial: {
                "params": trial.params | {param_name: distribution.to_external_repr(param_value_internal)},
                "distributions": trial.distributions | {param_name: distribution},
            },
        )

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """Set a trial's state, and its values; return whether that took effect."""
        study_id = self._study_of(trial_id)

        def change() -> bool:
            took = self._beneath.set_trial_state_values(trial_id, state, values)
            self._read_back(study_id, trial_id)  # with the time that it has there
            return took

        return self._write(study_id, change)

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        """Set the value of a step."""
        self._set(
            trial_id,
            lambda: self._beneath.set_trial_intermediate_value(trial_id, step, intermediate_value),
            lambda trial: {"intermediate_values": trial.intermediate_values | {step: float(intermediate_value)}},
        )

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Set an attribute of ours."""
        self._set(
            trial_id,
            lambda: self._beneath.set_trial_user_attr(trial_id, key, value),
            lambda trial: {"user_attrs": trial.user_attrs | {key: json.loads(json.dumps(value))}},  # as it is read back
        )

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Set an attribute of Optuna's."""
        self._set(
            trial_id,
            lambda: self._beneath.set_trial_system_attr(trial_id, key, value),
            lambda trial: {"system_attrs": trial.system_attrs | {key: json.loads(json.dumps(value))}},
        )

    def _set(
        self, trial_id: int, write: Callable[[], object], changes: Callable[[FrozenTrial], dict[str, Any]]
    ) -> None:
        """Write beneath, then let what is known of a trial be that."""
        self._write(self._study_of(trial_id), write)
        with self._lock:
            place = self._places.get(trial_id) if self._alone else None
            if place is not None:
                trial = copy.copy(self._known(place[0])[place[1]])
                for name, value in changes(trial).items():
                    setattr(trial, name, value)
                self._put(place[0], trial)

    def _write(self, study_id: int | None, write: Callable[[], T]) -> T:
        try:
            return write()
        except BaseException:
            self._forget(study_id)
            raise

    def _read_back(self, study_id: int | None, trial_id: int) -> None:
        if self._alone and study_id is not None:
            trial = self._beneath.get_trial(trial_id)
            with self._lock:
                self._put(study_id, trial)

    def _put(self, study_id: int, trial: FrozenTrial) -> None:
        self._share(trial)
        trials = self._known(study_id)
        if trial.number > len(trials):  # there are some that are not known
            self._forget(study_id)
        elif trial.number == len(trials):
            trials.append(trial)
        else:
            trials[trial.number] = trial
        self._places[trial._trial_id] = (study_id, trial.number)  # noqa: SLF001

    def _share(self, trial: FrozenTrial) -> None:
        """Let a trial have the distributions that others have."""
        for name, own in trial.distributions.items():
            shared = self._distributions.setdefault(name, own)
            if own is not shared and own == shared:
                trial.distributions[name] = shared

    def _study_of(self, trial_id: int) -> int | None:
        place = self._places.get(trial_id)
        return place[0] if place is not None else None

    def _forget(self, study_id: int | None) -> None:
        with self._lock:
            if study_id is not None:
                self._trials.pop(study_id, None)

    # --- studies, as they are beneath ---

    def create_new_study(self, directions: Sequence[StudyDirection], study_name: str | None = None) -> int:
        """Create a study; return its id."""
        return self._beneath.create_new_study(directions, study_name)

    def delete_study(self, study_id: int) -> None:
        """Delete a study."""
        self._beneath.delete_study(study_id)
        self._forget(study_id)

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        """Set an attribute of a study."""
        self._beneath.set_study_user_attr(study_id, key, value)

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        """Set an attribute of a study."""
        self._beneath.set_study_system_attr(study_id, key, value)

    def get_study_id_from_name(self, study_name: str) -> int:
        """Return a study's id."""
        return self._beneath.get_study_id_from_name(study_name)

    def get_study_name_from_id(self, study_id: int) -> str:
        """Return a study's name."""
        return self._beneath.get_study_name_from_id(study_id)

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        """Return a study's directions."""
        return self._beneath.get_study_directions(study_id)

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        """Return a study's attributes."""
        return self._beneath.get_study_user_attrs(study_id)

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        """Return a study's attributes."""
        return self._beneath.get_study_system_attrs(study_id)

    def get_all_studies(self) -> list[FrozenStudy]:
        """Return the studies."""
        return self._beneath.get_all_studies()

    def remove_session(self) -> None:
        """Close this thread's connection."""
        self._beneath.remove_session()


def _copied(trial: FrozenTrial) -> FrozenTrial:
    own = copy.copy(trial)
    for name in ("params", "distributions", "user_attrs", "system_attrs", "intermediate_values"):
        setattr(own, name, dict(getattr(trial, name)))
    return own
