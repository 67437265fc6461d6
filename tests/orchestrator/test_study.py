"""The study's contract, held over an exact list and over a space, on real databases."""

import gc
import sqlite3
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from model.config import HeadConfig, TrialConfig, config_to_dict, flatten
from orchestrator import file_systems
from orchestrator.errors import SweepError
from orchestrator.paths import SweepPaths
from orchestrator.plan import Plan
from orchestrator.study import TrialStudy

BASE = TrialConfig()
LISTED = [
    BASE,
    replace(BASE, unfrozen_layers="all", pair_encoding={"similarity": "separate"}),
    replace(BASE, tasks=("sentiment",), heads=HeadConfig(dropout=0.0)),
    replace(BASE, learning_rate=1e-5, max_train_examples=100),
    replace(BASE, heads=HeadConfig(common_layers=0, task_layers=3)),
]


def space(trial):
    """Return a config of a small space with a branch, a step, a logarithm and categories of two types."""
    unfrozen = trial.suggest_categorical("unfrozen_layers", [1, 2, "all"])
    branch = "all" if unfrozen == "all" else "frozen"
    return TrialConfig(
        unfrozen_layers=unfrozen,
        learning_rate=trial.suggest_float(f"learning_rate.{branch}", 1e-6, 1e-2, log=True),
        heads=HeadConfig(
            common_layers=trial.suggest_int("heads.common_layers", 0, 6),
            dropout=trial.suggest_float("heads.dropout", 0.0, 0.6, step=0.1),
        ),
    )


@dataclass(frozen=True)
class Case:
    """One kind of sweep on one database; each call of `open` is a new driver."""

    plan: Plan
    folder: Path

    @property
    def uri(self):
        """Return the database."""
        return f"sqlite:///{self.folder / 'study.db'}"

    def open(self, **changes):
        """Return the study as a driver that was just started sees it."""
        return TrialStudy(self.uri, replace(self.plan, **changes), None if self.plan.configs else space)

    def optunas(self):
        """Return the study as Optuna's own tools see it."""
        return optuna.load_study(study_name=self.plan.name, storage=self.uri)


@pytest.fixture(scope="session")
def plans(bare_plan):
    """Return a plan of each kind: an exact list, and a space."""
    return {
        "list": bare_plan(LISTED),
        "space": bare_plan(trials=5, settings={"epochs": 3}),
    }


@pytest.fixture(params=["list", "space"])
def case(request, plans, tmp_path):
    """Return a sweep of each kind on an empty database."""
    return Case(plans[request.param], tmp_path)


def proposals(study):
    """Return all that a study still has to hand out."""
    return list(iter(study.next_proposal, None))


def score(proposal):
    """Return a dev score that depends on the config, as a trial's would."""
    heads = proposal.config.heads
    return round(0.5 + 0.05 * heads.dropout - 0.01 * heads.common_layers + proposal.config.learning_rate, 6)


def run(study, proposal):
    """Report two epochs of a trial and its end."""
    study.report(proposal.number, 1, score(proposal) / 2)
    study.report(proposal.number, 2, score(proposal))
    study.end(proposal.number, "completed", best=score(proposal))


def test_numbers_come_in_order_until_the_total_is_reached(case):
    """Each number is handed out once, in order, and after the last there is none."""
    study = case.open()

    found = proposals(study)

    assert [proposal.number for proposal in found] == list(range(case.plan.trials))
    assert study.next_proposal() is None
    assert study.running() == [0, 1, 2, 3, 4]


def test_the_configs_of_a_list_are_handed_out_once_each_in_file_order(plans, tmp_path):
    """Proposal n is the n-th config, equal in every field."""
    found = proposals(Case(plans["list"], tmp_path).open())

    assert [proposal.config for proposal in found] == LISTED


def test_a_config_that_is_listed_twice_is_trained_twice(bare_plan, tmp_path):
    """Equal configs are trials of their own."""
    study = Case(bare_plan([BASE, BASE, LISTED[1], BASE]), tmp_path).open()

    assert [proposal.config for proposal in proposals(study)] == [BASE, BASE, LISTED[1], BASE]


def test_trial_0_of_a_space_is_the_baseline(plans, tmp_path):
    """The baseline comes first, as the plan has it, with no suggestion in it."""
    plan = plans["space"]

    proposal = Case(plan, tmp_path).open().next_proposal()

    assert proposal.number == 0
    assert config_to_dict(proposal.config) == plan.baseline


def test_settings_hold_in_every_suggestion_of_a_space(plans, tmp_path):
    """What the command line set replaces what the space returned."""
    found = proposals(Case(plans["space"], tmp_path).open())

    assert {proposal.config.epochs for proposal in found[1:]} == {3}


def test_the_total_is_a_target_not_an_addition(case):
    """A second driver on a study that has all its trials hands out the open ones and no more."""
    first = case.open()
    for proposal in proposals(first):
        run(first, proposal)

    assert case.open().next_proposal() is None
    assert len(case.optunas().trials) == case.plan.trials


def test_a_raised_total_adds_the_difference(plans, tmp_path):
    """With five trials done and a total of seven, two more are handed out."""
    case = Case(plans["space"], tmp_path)
    first = case.open()
    for proposal in proposals(first):
        run(first, proposal)

    assert [proposal.number for proposal in proposals(case.open(trials=7))] == [5, 6]


def test_a_lowered_total_still_hands_out_what_was_begun(plans, tmp_path):
    """Orphans beyond a lowered total are finished; nothing new is started."""
    case = Case(plans["space"], tmp_path)
    proposals(case.open())

    assert [proposal.number for proposal in proposals(case.open(trials=2))] == [0, 1, 2, 3, 4]


def test_orphans_come_first_with_the_same_number_and_an_equal_config(case):
    """A new driver first hands out what the dead one left running, unchanged, then new trials."""
    dead = case.open()
    lost = [dead.next_proposal() for _ in range(3)]
    run(dead, lost[1])

    again = proposals(case.open())

    assert again[:2] == [lost[0], lost[2]]
    assert [proposal.number for proposal in again] == [0, 2, 3, 4]


def test_an_orphan_keeps_its_config_when_results_came_in_meanwhile(case):
    """Other trials' results, which change what a sampler would suggest now, do not touch it."""
    dead = case.open()
    lost = [dead.next_proposal() for _ in range(4)]
    for proposal in lost[:3]:
        run(dead, proposal)

    assert case.open().next_proposal() == lost[3]


def test_a_trial_that_was_asked_for_and_never_described_is_handed_out(case):
    """Where the driver died between ask and the record of the config, the number is not lost."""
    expected = [p.config for p in proposals(Case(case.plan, case.folder / "undisturbed").open())]
    case.open()
    case.optunas().ask()

    study = case.open()
    found = proposals(study)

    assert [proposal.number for proposal in found] == [0, 1, 2, 3, 4]
    assert [proposal.config for proposal in found] == expected
    assert study.configs() == {proposal.number: proposal.config for proposal in found}


def test_a_death_between_ask_and_description_changes_no_config(case):
    """The config is the one that an undisturbed driver would have given: it follows from number and results."""
    undisturbed, dead = Case(case.plan, case.folder / "undisturbed").open(), case.open()
    for study in (undisturbed, dead):
        for proposal in [study.next_proposal(), study.next_proposal()]:
            run(study, proposal)

    case.optunas().ask()

    assert case.open().next_proposal() == undisturbed.next_proposal()


def test_a_death_in_the_middle_of_a_suggestion_keeps_what_was_recorded(plans, tmp_path):
    """The parameter that the dead driver had recorded stands in the orphan's config."""
    case = Case(plans["space"], tmp_path)
    case.open().next_proposal()
    case.optunas().ask().suggest_categorical("unfrozen_layers", [1, 2, "all"])
    (_, recorded) = case.optunas().trials

    _, orphan = proposals(case.open(trials=2))

    assert orphan.number == 1
    assert orphan.config.unfrozen_layers == recorded.params["unfrozen_layers"]


def test_an_orphan_is_handed_out_once_to_a_driver(case):
    """Asking on gives new trials, not the orphan again."""
    case.open().next_proposal()

    study = case.open()

    assert [study.next_proposal().number, study.next_proposal().number] == [0, 1]


def test_what_is_handed_out_again_comes_before_anything_new(case):
    """A trial whose run left no verdict is given again with an equal config."""
    study = case.open()
    first, second = study.next_proposal(), study.next_proposal()

    study.hand_out_again(first.number)

    assert study.next_proposal() == first
    assert study.next_proposal().number == second.number + 1


def test_a_trial_that_ended_is_not_handed_out_again(case):
    """Taking back an ended trial, or one that was never out, does nothing."""
    study = case.open()
    first = study.next_proposal()
    run(study, first)

    study.hand_out_again(first.number)
    study.hand_out_again(77)

    assert study.next_proposal().number == first.number + 1


def test_reporting_again_is_harmless_and_the_first_value_stands(case):
    """An epoch's value is recorded once, in whatever order the epochs come, and never after the end."""
    study = case.open()
    number = study.next_proposal().number

    study.report(number, 2, 0.6)
    study.report(number, 1, 0.5)
    study.report(number, 2, 0.9)
    study.end(number, "completed", best=0.6)
    study.report(number, 3, 0.7)

    trial = case.optunas().trials[number]
    assert trial.intermediate_values == {1: 0.5, 2: 0.6}
    assert trial.value == 0.6


@pytest.mark.parametrize("first", ["completed", "failed"])
def test_the_first_end_stands(case, first):
    """A second end, of the same kind or another, changes nothing."""
    study = case.open()
    number = study.next_proposal().number
    ends = {"completed": {"best": 0.6}, "failed": {"failure": "diverged"}}

    study.end(number, first, **ends[first])
    for again, facts in ends.items():
        case.open().end(number, again, **facts)

    assert study.ended() == {number: first}
    assert study.running() == []


def test_a_failed_trial_is_told_fail_with_its_class(case):
    """Optuna's own study has it as FAIL without a value, and the class beside it."""
    study = case.open()
    number = study.next_proposal().number

    study.end(number, "failed", failure="diverged")

    trial = case.optunas().trials[number]
    assert trial.state == TrialState.FAIL
    assert trial.values is None
    assert trial.user_attrs["failure"] == "diverged"


def test_a_death_between_the_class_of_a_failure_and_its_end_is_made_good(case):
    """The end recorded again after a crash in its middle has the effect of one."""
    study = case.open()
    number = study.next_proposal().number
    trial = case.optunas().trials[number]
    case.optunas()._storage.set_trial_user_attr(trial._trial_id, "failure", "disk")

    case.open().end(number, "failed", failure="disk")

    assert study.ended() == {number: "failed"}


def test_the_study_knows_the_configs_of_all_trials(case):
    """The configs come back equal, from a driver that did not hand them out."""
    found = proposals(case.open())

    assert case.open().configs() == {proposal.number: proposal.config for proposal in found}


def test_a_lists_params_are_seen_in_optunas_own_study(plans, tmp_path):
    """Each trial has the fields that vary as its params, by their dotted paths, lists as text."""
    case = Case(plans["list"], tmp_path)
    proposals(case.open())

    params = [trial.params for trial in case.optunas().trials]

    assert [list(values) for values in params] == [case.plan.varies] * 5
    for values, config in zip(params, LISTED, strict=True):
        flat = flatten(config_to_dict(config))
        assert values == {path: _told(flat.get(path)) for path in case.plan.varies}


def _told(value):
    return str(value) if isinstance(value, list) else value


def test_a_spaces_params_are_seen_in_optunas_own_study(plans, tmp_path):
    """Each suggested trial has its params under the names that the space gave them."""
    case = Case(plans["space"], tmp_path)
    found = proposals(case.open())

    trials = case.optunas().trials

    assert trials[0].params == {}
    for proposal, trial in zip(found[1:], trials[1:], strict=True):
        branch = "all" if proposal.config.unfrozen_layers == "all" else "frozen"
        assert trial.params == {
            "unfrozen_layers": proposal.config.unfrozen_layers,
            f"learning_rate.{branch}": proposal.config.learning_rate,
            "heads.common_layers": proposal.config.heads.common_layers,
            "heads.dropout": proposal.config.heads.dropout,
        }


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_new_drivers_suggest_what_one_driver_would_have(bare_plan, tmp_path, sampler):
    """However often the driver is replaced between trials, the points are the same, and none comes twice."""
    plan = bare_plan(trials=13, sampler=sampler, seed=7)  # TPE is random for its first 10
    whole, parts = Case(plan, tmp_path / "whole"), Case(plan, tmp_path / "parts")
    undisturbed, study = whole.open(), parts.open()
    for number in range(plan.trials):
        if number in (1, 3, 11, 12):
            study = parts.open()
        expected, found = undisturbed.next_proposal(), study.next_proposal()
        assert found == expected
        run(undisturbed, expected)
        run(study, found)
    assert len({str(config) for config in study.configs().values()}) == plan.trials


def test_another_seed_suggests_other_points(plans, tmp_path):
    """The sampler's seed is the plan's."""
    found = [
        proposals(Case(plans["space"], tmp_path / str(seed)).open(seed=seed))[1].config.learning_rate for seed in (0, 1)
    ]

    assert found[0] != found[1]


def test_readers_and_the_writer_work_at_once(case):
    """The database keeps a write-ahead log, so that a reader's open transaction does not block the driver."""
    study = case.open()
    proposal = study.next_proposal()
    reader = sqlite3.connect(case.folder / "study.db")
    try:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM trials").fetchall()
        study.report(proposal.number, 1, 0.5)
        assert reader.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    finally:
        reader.close()


def test_on_storage_of_many_machines_there_is_no_log_that_one_machine_shares(bare_plan, tmp_path, monkeypatch):
    """NFS and its like: SQLite's older journal, which asks nothing of the other machines but locks."""
    mounts = tmp_path / "mounts"
    monkeypatch.setattr(file_systems, "MOUNTS", mounts)
    mounts.write_text("/dev/vda / ext4 rw 0 0\n")
    TrialStudy(f"sqlite:///{tmp_path / 'study.db'}", bare_plan(LISTED), None).next_proposal()
    gc.collect()  # whoever has it open keeps its journal
    assert journal_of(tmp_path / "study.db") == "wal"

    mounts.write_text(f"/dev/vda / ext4 rw 0 0\nserver:/exports {tmp_path.resolve()} nfs4 rw 0 0\n")
    study = TrialStudy(f"sqlite:///{tmp_path / 'study.db'}", bare_plan(LISTED), None)
    assert study.running() == [0]
    assert journal_of(tmp_path / "study.db") == "wal", "whoever only looks changes nothing"

    study.take_lease("")

    assert journal_of(tmp_path / "study.db") == "delete"
    assert study.running() == [0]


def journal_of(path):
    """Return the kind of journal that a database's file asks for."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("PRAGMA journal_mode").fetchone()[0]


@pytest.mark.parametrize(
    ("kind", "shared"), [("ext4", False), ("overlay", False), ("nfs4", True), ("lustre", True), ("fuse.sshfs", True)]
)
def test_the_file_system_of_a_folder_is_that_of_the_deepest_mount(tmp_path, monkeypatch, kind, shared):
    """A folder that is not there yet, under a name with a space, beside one whose name begins alike."""
    place = tmp_path.resolve() / "a place"
    monkeypatch.setattr(file_systems, "MOUNTS", tmp_path / "mounts")
    written = str(place).replace(" ", "\\040")
    (tmp_path / "mounts").write_text(
        f"/dev/vda / ext4 rw 0 0\nx {written} nfs rw 0 0\nx {written} {kind} rw 0 0\nx {written}-else nfs rw 0 0\n"
    )
    assert file_systems.is_shared(place / "runs") == shared
    assert not file_systems.is_shared(tmp_path)


def _fails_past_the_half(trial):
    dropout = trial.suggest_float("heads.dropout", 0.0, 0.6)
    if trial.number > 2:
        raise ValueError("no such point")
    return replace(BASE, heads=HeadConfig(dropout=dropout))


def test_a_point_at_which_the_space_fails_does_not_end_the_sweep(bare_plan, tmp_path):
    """A point that no probe met becomes a failed trial, so that a new driver does not fail there for ever."""
    plan = bare_plan(trials=4, sampler="random")
    study = TrialStudy(f"sqlite:///{tmp_path / 'study.db'}", plan, _fails_past_the_half)

    found = proposals(study)

    assert [proposal.number for proposal in found] == [0, 1, 2]
    assert study.ended() == {3: "failed"}


@pytest.mark.parametrize("folder", ["with space", "with#hash", "with[bracket]"])
def test_the_study_lies_in_its_folder_whatever_that_is_called(bare_plan, tmp_path, folder):
    """Spaces and the like do no harm; what a database's URI cannot hold is refused by the command."""
    paths = SweepPaths(tmp_path / folder, "bare")
    study = TrialStudy(paths.study_uri, bare_plan(LISTED), None)
    study.next_proposal()

    assert [path.name for path in tmp_path.iterdir()] == [folder]
    assert {path.name for path in paths.root.iterdir()} >= {"study.db", "study.db-wal"}
    assert TrialStudy(paths.study_uri, bare_plan(LISTED), None).running() == [0]


@pytest.mark.parametrize("damage", ["other bytes", "a part of it", "a page of zeros"])
def test_a_study_that_is_no_sound_database_is_one_line_and_stays_as_it_is(tmp_path, tiny_plan, damage):
    """What to do about it; nothing is made in its place."""
    path = tmp_path / "study.db"
    TrialStudy(f"sqlite:///{path}", tiny_plan(), None).next_proposal()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    whole = path.read_bytes()
    spoilt = {
        "other bytes": b"certainly not a database\n" * 400,
        "a part of it": whole[: len(whole) // 2],
        "a page of zeros": whole[:8192] + bytes(4096) + whole[12288:],
    }[damage]
    for each in tmp_path.glob("study.db-*"):
        each.unlink()
    path.write_bytes(spoilt)

    with pytest.raises(SweepError, match=r"is no sound database \(.*move it away") as refused:
        TrialStudy(f"sqlite:///{path}", tiny_plan(), None)

    assert path.read_bytes() == spoilt
    assert "\n" not in str(refused.value)
