"""Who is champion: given by a confirmation alone, and replaced only by a better model on the same dev data."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from model.tasks import TASKS
from orchestrator.champion import crown, dev_data
from orchestrator.errors import SweepError
from tests.predicted import answers, predicted_trial

_TASKS = [TASKS[name].to_dict() for name in ("sentiment", "paraphrase", "similarity")]


class Registry:
    """A model registry of one model in memory: what `crown` asks of it, and no more."""

    def __init__(self):
        self.versions, self.crowned = [], []

    def champion(self):
        """Return the version that has the alias."""
        return self.versions[-1] if self.versions else None

    def crown(self, run, tags):
        """Give the alias to a run's model."""
        self.crowned.append((run, tags))
        self.versions.append(SimpleNamespace(version=str(len(self.crowned)), tags=tags))
        return self.versions[-1].version

    def version(self, number):
        """Return a version."""
        return self.versions[int(number) - 1]


@pytest.fixture
def confirmed(bare_plan, tiny_config, paths, monkeypatch):
    """Return a function from a skill, the sweep's id and more to who is champion after that confirmation."""
    registry = Registry()
    folders = {}

    def fetched(model, _uri, _temporary):
        name, number = model.split("/")
        assert name == "bare"
        return folders[number]

    monkeypatch.setattr("orchestrator.champion.fetch_model", fetched)

    def crowned(skill, sweep_id, *, scores=None, is_baseline=False, dev="a", tasks=None, decay=0.0):
        config = replace(tiny_config, weight_decay=decay)
        plan = bare_plan([config], sweep_id=sweep_id, tasks=tasks or _TASKS)
        plan = replace(
            plan, data={"content": {"sentiment/dev": dev, "sentiment/train": sweep_id}, "max_dev_examples": 9}
        )
        there = replace(paths, name=f"sweep-{len(folders)}").confirmation
        trial = predicted_trial(there, 0, config, answers(skill, np.random.default_rng(len(folders))))
        score = trial.best["dev_score"]
        row = {
            "best_trial": 0, "config": trial.config, "is_baseline": is_baseline, "seeds": 3,
            "verdict": "baseline" if is_baseline else "better",
            "scores": scores or [score, score + 0.001, score - 0.001],
        }  # fmt: skip
        projection = SimpleNamespace(models=registry, runs={0: f"run of {sweep_id}"}, uri="sqlite:///")
        found = crown(projection, plan, there, {"champion": 0, "searched": 6, "rows": [row]}, [trial])
        folders.setdefault(registry.champion().version, there.trial(0).root / trial.best["checkpoint"])
        assert found.crowned == (f"is version {registry.champion().version}" in found.said)
        return found.said, registry

    return crowned


def test_the_first_confirmation_gives_the_alias_with_what_it_rests_on(confirmed):
    """The scores of the fresh seeds, the dev data and the tasks stand at the version."""
    said, registry = confirmed(0.6, "first")

    ((run, tags),) = registry.crowned
    assert run == "run of first"
    assert tags["tasks"] == "sentiment, paraphrase, similarity"
    assert len(json.loads(tags["scores"])) == 3
    assert said == "bare@champion is version 1, trial 0000 of the confirmation: better than the baseline."


def test_a_baseline_that_nothing_beat_is_champion_and_it_is_said_why(confirmed):
    """The plain model."""
    said, _ = confirmed(0.5, "first", is_baseline=True)

    assert said.endswith("the baseline, for nothing was shown to be better.")


def test_a_better_one_on_the_same_dev_data_replaces_it(confirmed):
    """Beyond the noise of examples and seeds."""
    confirmed(0.5, "first")

    said, registry = confirmed(0.7, "second")

    assert registry.champion().version == "2"
    assert "is version 2" in said


@pytest.mark.parametrize("skill", [0.5, 0.4])
def test_one_that_is_no_better_does_not(confirmed, skill):
    """Equal or worse: the champion stays, and by how much the other differs is told."""
    confirmed(0.5, "first")

    said, registry = confirmed(skill, "second")

    assert registry.champion().version == "1"
    assert "stays version 1: this one's mean over 3 fresh seeds is" in said
    assert "beside that of version 1 (" in said


def test_one_on_other_dev_data_or_tasks_does_not(confirmed):
    """Their scores say nothing of each other: the alias is then a person's to move."""
    confirmed(0.5, "first")

    other_data, registry = confirmed(0.9, "second", dev="b")
    other_tasks, _ = confirmed(0.9, "third", tasks=_TASKS[:1])

    assert registry.champion().version == "1"
    assert "it was confirmed on other dev data; remove the alias champion in MLflow" in other_data
    assert "it was confirmed on other tasks (sentiment, paraphrase, similarity; here sentiment)" in other_tasks


def test_the_same_confirmation_moves_its_own_champion(confirmed):
    """With more seeds another model of it may be the best."""
    confirmed(0.5, "first")

    _, registry = confirmed(0.4, "first")

    assert registry.champion().version == "2"


def test_with_more_seeds_a_confirmation_still_answers_to_the_champion_that_it_replaced(confirmed):
    """Another config of it, which is no better than that one, does not slip in behind the first."""
    confirmed(0.5, "first")
    confirmed(0.7, "second")

    said, _ = confirmed(0.5, "second", decay=0.1)
    again, _ = confirmed(0.75, "second", decay=0.1)

    assert "stays version 2, another config of this confirmation: this one's mean" in said
    assert "beside that of version 1, which it replaced" in said
    assert "is version 3" in again


def test_who_was_better_than_the_earlier_champion_stays_so_with_more_seeds(confirmed):
    """It was settled when it was crowned, whatever the seeds since say: an honest test may stop when it pleases."""
    confirmed(0.5, "first")
    confirmed(0.7, "second")

    _, registry = confirmed(0.5, "second")

    assert registry.champion().tags["sweep_id"] == "second"
    assert registry.champion().version == "3"
    assert registry.champion().tags["replaced"] == "1"


def test_whoever_is_better_than_the_baseline_that_was_crowned_takes_its_place(confirmed):
    """With more seeds: that one was better than the earlier champion, so this one is."""
    confirmed(0.5, "first")
    confirmed(0.7, "second", is_baseline=True)

    said, registry = confirmed(0.55, "second", decay=0.1)

    assert "is version 3" in said
    assert registry.champion().tags["replaced"] == "1"


def test_a_model_whose_weights_were_released_is_not_crowned_and_it_is_said_why(confirmed, monkeypatch):
    """The rest of the confirmation is published all the same."""
    _, registry = confirmed(0.5, "first")

    def released(*_):
        raise SweepError("its weights were released")

    monkeypatch.setattr(registry, "crown", released)
    said, _ = confirmed(0.7, "second")

    assert said == "its weights were released"
    assert registry.champion().version == "1"


def test_an_earlier_champion_that_somebody_deleted_is_answered_to_no_more(confirmed, monkeypatch):
    """Nothing is known of it."""
    confirmed(0.5, "first")
    _, registry = confirmed(0.7, "second")
    monkeypatch.setattr(registry, "version", lambda _: None)

    _, registry = confirmed(0.5, "second", decay=0.1)

    assert registry.champion().version == "3"
    assert "replaced" not in registry.champion().tags


def test_an_alias_that_somebody_gave_by_hand_is_left_alone(confirmed):
    """Nobody knows what it rests on."""
    _, registry = confirmed(0.5, "first")
    registry.champion().tags.clear()

    said, _ = confirmed(0.9, "second")

    assert registry.champion().version == "1"
    assert "it was not given by a confirmation" in said


def test_the_training_examples_are_no_part_of_what_champions_are_compared_on(bare_plan, tiny_config):
    """Dev data are: with the cap on them."""
    plan = bare_plan([tiny_config])
    one, other, capped = (
        replace(plan, data={"content": {"sentiment/dev": "a", "sentiment/train": train}, "max_dev_examples": cap})
        for train, cap in (("x", None), ("y", None), ("x", 5))
    )

    assert dev_data(one) == dev_data(other) != dev_data(capped)
