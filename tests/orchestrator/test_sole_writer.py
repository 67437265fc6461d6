"""The storage of a process that alone writes: Optuna's own contract, and that it says what the database says."""

import math

import optuna
import pytest
import sqlalchemy as sa
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage, get_storage
from optuna.testing.pytest_storages import StorageTestCase
from optuna.trial import TrialState

from orchestrator.sole_writer import SoleWriterStorage


def opened(folder):
    """Return the storage over a database in this folder, and what lies beneath it."""
    beneath = RDBStorage(f"sqlite:///{folder / 'study.db'}")
    storage = SoleWriterStorage(get_storage(beneath))
    storage.begin()
    return storage, beneath


class TestContract(StorageTestCase):
    """Optuna's tests of a storage, as this version ships them."""

    @pytest.fixture
    def storage(self, tmp_path):
        """Return the storage that is tested: alone from its beginning."""
        return opened(tmp_path)[0]

    @pytest.mark.skip(reason="it is never pickled: Tune's searcher leaves the driver out")
    def test_pickle_storage(self):
        """Left out."""


def test_what_is_known_is_what_the_database_has(tmp_path):
    """After every kind of write, of every trial, in every field."""
    storage, beneath = opened(tmp_path)
    study = optuna.create_study(storage=storage, direction="maximize")
    for number in range(12):
        trial = study.ask()
        trial.suggest_float("rate", 1e-6, 1e-2, log=True)
        trial.suggest_categorical("layers", [1, 2, "all", None, True])
        trial.suggest_float("dropout", 0.0, 0.6, step=0.1)
        trial.set_user_attr("config", {"tasks": ("a", "b"), "epochs": 3, 4: None})
        for epoch in range(1, 1 + number % 4):
            trial.report(math.pi * number / epoch, epoch)
        if number % 3:
            state = (TrialState.COMPLETE, TrialState.PRUNED)[number % 2]
            storage.set_trial_state_values(trial._trial_id, state, [math.e / (1 + number)])
        known = study.get_trials()
        assert known == RDBStorage(beneath.url).get_all_trials(study._study_id)
        assert [storage.get_trial(trial._trial_id) for trial in known] == known


def test_a_look_at_the_study_asks_the_database_nothing(tmp_path):
    """However many trials run; before it is alone, each look asks."""
    storage, beneath = opened(tmp_path)
    study = optuna.create_study(storage=storage)
    for _ in range(5):
        study.ask()
    asked = []
    sa.event.listen(beneath.engine, "before_cursor_execute", lambda *given: asked.append(given[2]))

    assert len(study.get_trials(deepcopy=False)) == 5
    assert asked == []
    assert len(optuna.create_study(storage=SoleWriterStorage(beneath)).get_trials()) == 0
    assert asked != []


def test_a_write_that_failed_is_not_known(tmp_path):
    """What the database refused is read from it again, and a write that took effect after all is seen."""
    storage, beneath = opened(tmp_path)
    study = optuna.create_study(storage=storage)
    trial = study.ask()
    trial.report(0.5, 1)

    def refuse(_connection):
        raise sa.exc.OperationalError("COMMIT", {}, Exception("disk I/O error"))

    sa.event.listen(beneath.engine, "commit", refuse)
    with pytest.raises(StorageInternalError):
        trial.report(0.6, 2)
    sa.event.remove(beneath.engine, "commit", refuse)

    assert study.get_trials()[0].intermediate_values == {1: 0.5}
    other = optuna.load_study(study_name=study.study_name, storage=beneath.url)
    optuna.Trial(other, trial._trial_id).report(0.7, 3)
    assert study.get_trials()[0].intermediate_values == {1: 0.5}, "nobody else writes: it is not looked for"
    sa.event.listen(beneath.engine, "commit", refuse)
    with pytest.raises(StorageInternalError):
        trial.report(0.8, 4)
    sa.event.remove(beneath.engine, "commit", refuse)
    assert study.get_trials()[0].intermediate_values == {1: 0.5, 3: 0.7}


@pytest.mark.parametrize("write", ["create", "state"])
def test_a_write_that_took_effect_and_could_not_be_read_back_is_known_later(tmp_path, write):
    """The connection broke between the two: the next look reads all, and numbers stay places."""
    storage, beneath = opened(tmp_path)
    study = optuna.create_study(storage=storage)
    study.ask()
    read = beneath.get_trial

    def break_off(trial_id):
        if trial_id == 2 or write == "state":
            raise StorageInternalError("the connection was lost")
        return read(trial_id)

    storage._beneath.get_trial = break_off
    with pytest.raises(StorageInternalError):
        study.ask() if write == "create" else storage.set_trial_state_values(1, TrialState.COMPLETE, [0.5])
    storage._beneath.get_trial = read

    study.ask()
    known = study.get_trials()
    assert known == RDBStorage(beneath.url).get_all_trials(study._study_id)
    assert [storage.get_trial(trial._trial_id).number for trial in known] == list(range(len(known)))


def test_trials_share_their_distributions(tmp_path):
    """A sweep over a list of a thousand configs would keep a million choices."""
    storage, _ = opened(tmp_path)
    study = optuna.create_study(storage=storage)
    for number in range(4):
        trial = study.ask()
        trial.suggest_categorical("seed", list(range(50)))
        trial.suggest_float("rate", 0.0, 1.0 + (number == 2))
        study.tell(trial, 0.5)

    trials = study.get_trials(deepcopy=False)

    assert len({id(trial.distributions["seed"]) for trial in trials}) == 1
    assert [trial.distributions["rate"].high for trial in trials] == [1.0, 1.0, 2.0, 1.0]
    storage.begin()
    assert len({id(trial.distributions["seed"]) for trial in study.get_trials(deepcopy=False)}) == 1


def test_what_optuna_adds_to_a_trial_that_it_got_is_not_seen_before_it_is_written(tmp_path):
    """Its Trial writes into what get_trial gave it."""
    storage, beneath = opened(tmp_path)
    study = optuna.create_study(storage=storage)
    trial = study.ask()
    before = study.get_trials(deepcopy=False)

    trial.suggest_float("rate", 0.0, 1.0)

    assert before[0].params == {}
    assert study.get_trials() == RDBStorage(beneath.url).get_all_trials(study._study_id)


def test_what_somebody_else_wrote_before_it_is_alone_is_seen(tmp_path):
    """Whoever takes the lease reads all that the holder before wrote."""
    storage, beneath = opened(tmp_path)
    study = optuna.create_study(storage=storage)
    study.get_trials()
    other = optuna.load_study(study_name=study.study_name, storage=beneath.url)
    other.ask()

    assert study.get_trials() == []
    storage.begin()
    assert len(study.get_trials()) == 1
